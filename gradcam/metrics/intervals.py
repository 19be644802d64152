"""How sure a mean over few repetitions is."""

from __future__ import annotations

from math import pi, sqrt, tan
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Interval", "mean_interval", "student_quantile"]


class Interval(NamedTuple):
    """A mean of n repetitions and the interval that holds the true one, at the level asked for."""

    mean: Any
    low: Any
    high: Any
    n: int


def mean_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Mean over repetitions, with a confidence interval by Student's t.

    Parameters
    ----------
    values : array of real numbers, shape (n, ...)
        One number, or one array of numbers, for each repetition: each training seed, say. All of them finite.
    level : float
        Confidence, between 0 and 1.

    Returns
    -------
    Interval
        ``mean``, ``low`` and ``high``, numbers or arrays of float64 of shape (...), and ``n``:
        ``mean +- t sqrt(sum (v - mean)^2 / (n (n - 1)))`` with t the quantile of Student's distribution with n - 1 degrees of freedom. One
        repetition says nothing of the others: then low and high are NaN.

    Raises
    ------
    TypeError, ValueError
        No real numbers, none at all, NaN or infinity among them, or a level outside (0, 1).

    References
    ----------
    Student, The Probable Error of a Mean, Biometrika 1908.

    Examples
    --------
    >>> from gradcam.metrics import mean_interval
    >>> found = mean_interval([0.8, 0.9, 1.0])
    >>> round(float(found.mean), 3), round(float(found.low), 3), round(float(found.high), 3), found.n
    (0.9, 0.652, 1.148, 3)
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"mean_interval: values: expected real numbers, got {array.dtype}")
    array = array.astype(np.float64)
    if not array.ndim or not len(array):
        raise ValueError(f"mean_interval: values: expected one value or more along axis 0, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("mean_interval: values: expected finite numbers, got NaN or infinity: leave undefined ones out")
    if not isinstance(level, Real) or not 0 < level < 1:
        raise ValueError(f"mean_interval: level: expected a number between 0 and 1, got {level!r}")
    n = len(array)
    mean: NDArray[np.float64] = np.asarray(array.mean(axis=0))
    half = np.full(mean.shape, np.nan)
    if n > 1:
        half = np.asarray(student_quantile(float(level), n - 1) * array.std(axis=0, ddof=1) / sqrt(n))
    return Interval(mean[()], (mean - half)[()], (mean + half)[()], n)


def student_quantile(level: float, freedom: int) -> float:
    """Return the t for which Student's distribution with so many degrees of freedom has probability `level` in [-t, t].

    For whole degrees of freedom that probability is a finite series in the angle atan(t / sqrt(freedom)) (Abramowitz and Stegun,
    Handbook of Mathematical Functions, 26.7.3 and 26.7.4); it grows with the angle, which is found by bisection.
    """
    low, high = 0.0, pi / 2
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if _central_probability(middle, freedom) < level else (low, middle)
    return sqrt(freedom) * tan(low)


def _central_probability(angle: float, freedom: int) -> float:
    """Probability of [-t, t] with t = sqrt(freedom) tan(angle)."""
    sine, cosine = np.sin(angle), np.cos(angle)
    if freedom == 1:
        return 2 * angle / pi
    first = freedom % 2  # powers of the cosine are 1, 3, ... or 0, 2, ...
    steps = np.arange(first + 2, freedom, 2, dtype=np.float64)
    terms = np.cumprod(np.concatenate([[cosine if first else 1.0], (steps - 1) / steps * cosine**2]))
    total = float(sine * terms.sum())
    return 2 / pi * (angle + total) if first else total
