"""Fixtures of the kernel tests."""

from collections.abc import Iterator

import pytest

from gradcam import _core
from gradcam.ops import _call


@pytest.fixture(params=_core.isas)
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Each ISA level that this CPU runs."""
    monkeypatch.setattr(_call, "isa", request.param)
    yield request.param
