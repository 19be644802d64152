"""A study whose networks are not trained: every number can be computed, none means anything."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gradcam.experiments import QUICK, Study
from gradcam.experiments.cases import present

SMALL = replace(QUICK, seeds=(0, 1), test_scenes=6)


class Untrained(Study):
    """Random networks, and all objects count as seen."""

    def _train(self, design, seed):
        return design.model(seed)

    def seen(self, design, seed):
        return present(self.test)


@pytest.fixture(scope="session")
def untrained():
    return Untrained(SMALL)
