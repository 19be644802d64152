"""Helpers of gradient tests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def central_differences(function: Callable[[NDArray], NDArray], x: NDArray, dy: NDArray, step: float = 1e-5) -> NDArray:
    """Gradient of sum(dy * function(x)) by central differences, one element at a time."""
    x = np.asarray(x, np.float64)
    gradient = np.empty_like(x)
    for i in np.ndindex(x.shape):
        low, high = x.copy(), x.copy()
        low[i] -= step
        high[i] += step
        gradient[i] = (dy * (function(high) - function(low))).sum() / (2 * step)
    return gradient


def assert_gradient(got: NDArray, function: Callable[[NDArray], NDArray], x: NDArray, dy: NDArray) -> None:
    """The gradient is that of central differences to 1e-6 of its largest element."""
    want = central_differences(function, x, dy)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=2e-8 * max(1.0, float(np.abs(want).max(initial=0))))
