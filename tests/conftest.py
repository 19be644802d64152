"""What all tests share: the folder of models and pictures, torch, the floating-point guard, hypothesis profiles.

GRADCAM_TEST_REMOTE="COMMAND" has kernels and plans computed on another CPU (see remote.py).
GRADCAM_REQUIRE_SHARED=1 and GRADCAM_REQUIRE_TORCH=1 turn a skip for want of the one or the other into a failure.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import hypothesis
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

# variable -> what the reason of a skip says when the thing is missing
REQUIRED = {"GRADCAM_REQUIRE_SHARED": "../shared", "GRADCAM_REQUIRE_TORCH": "'torch'"}

if os.environ.get("GRADCAM_TEST_REMOTE"):
    import remote

    remote.install(os.environ["GRADCAM_TEST_REMOTE"])

hypothesis.settings.register_profile("ci", derandomize=True, deadline=None, database=None, print_blob=True, max_examples=50)
hypothesis.settings.register_profile("deep", deadline=None, print_blob=True, max_examples=2000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder beside the project that holds models, pictures and golden values."""
    if not SHARED.is_dir():
        pytest.skip("no folder ../shared beside the project")
    return SHARED


@pytest.fixture(scope="session")
def torch() -> ModuleType:
    return pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def floating_point_untouched() -> Iterator[None]:
    """No test, and no code under test, leaves the process with subnormals off or another NumPy error state."""
    before = np.geterr()
    yield
    smallest = float("5e-324")
    assert smallest * 1.0 != 0.0, "subnormal numbers are switched off"
    assert np.geterr() == before, "NumPy's error state was changed"


def _require(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not report.skipped:
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    for variable, phrase in REQUIRED.items():
        if os.environ.get(variable) == "1" and phrase in reason:
            report.outcome = "failed"
            report.longrepr = f"{variable}=1 forbids this skip: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):  # also rewrites skips by marks and by pytest.skip
    report = yield
    _require(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):  # pytest.importorskip at the top of a file
    report = yield
    _require(report)
    return report


def pytest_sessionstart(session: pytest.Session) -> None:
    """Catch, whatever their reasons say, tests that would skip for want of the whole folder."""
    if os.environ.get("GRADCAM_REQUIRE_SHARED") == "1" and not SHARED.is_dir():
        raise pytest.UsageError(f"GRADCAM_REQUIRE_SHARED=1, but {SHARED} is no folder")
