"""How alike two maps are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradcam.metrics.regions import flat_maps, scaled
from gradcam.resampling import as_maps

__all__ = ["overlap", "rank_correlation"]

Floats = NDArray[np.floating[Any]]


def overlap(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Share of the positive evidence that two maps have in the same places.

    Parameters
    ----------
    first, second : array of float32 or float64, shape (N, *spatial)
        Maps of any scale, for example of two classes. Non-finite positions count as 0.

    Returns
    -------
    array of float64, shape (N,)
        ``sum_x min(p(x), q(x))`` with p and q the positive parts, each divided by its sum; of [0, 1]: 0 without a common place, 1 for maps
        that differ in scale alone. NaN where one of them has no positive value.

    Raises
    ------
    TypeError, ValueError
        Arrays that do not fit.

    References
    ----------
    Swain and Ballard, Color Indexing, IJCV 1991 (histogram intersection); Judd et al., A Benchmark of Computational Models of Saliency to
    Predict Human Fixations, 2012 (similarity).

    Examples
    --------
    >>> import numpy as np
    >>> from gradcam.metrics import overlap
    >>> overlap(np.array([[1.0, 1.0, 0.0]]), np.array([[0.0, 3.0, 1.0]]))
    array([0.5])
    """
    a, b = _pair("overlap", first, second)
    (p, some_p), (q, some_q) = scaled(a), scaled(b)
    p, q = (values / np.where(some, values.sum(axis=1), 1)[:, None] for values, some in ((p, some_p), (q, some_q)))
    return np.where(some_p & some_q, np.minimum(np.minimum(p, q).sum(axis=1), 1), np.nan)


def rank_correlation(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Spearman's rank correlation of two maps; equal values have the mean of their ranks.

    Parameters
    ----------
    first, second : array of float32 or float64, shape (N, *spatial)
        Signed maps, or absolute values of them.

    Returns
    -------
    array of float64, shape (N,)
        Of [-1, 1]; NaN where a map is constant or not finite.

    Raises
    ------
    TypeError, ValueError
        Arrays that do not fit.

    References
    ----------
    Spearman, The Proof and Measurement of Association between Two Things, 1904; for maps: Adebayo et al., Sanity Checks for Saliency
    Maps, NeurIPS 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from gradcam.metrics import rank_correlation
    >>> rank_correlation(np.array([[1.0, 2.0, 3.0]]), np.array([[1.0, 10.0, 9.0]]))
    array([0.5])
    """
    a, b = _pair("rank_correlation", first, second)
    return np.asarray([_spearman(x, y) for x, y in zip(flat_maps(a), flat_maps(b), strict=True)], np.float64)


def _pair(function: str, first: ArrayLike, second: ArrayLike) -> tuple[Floats, Floats]:
    a, b = as_maps(function, "first", first), as_maps(function, "second", second)
    if a.shape != b.shape:
        raise ValueError(f"{function}: second: expected the shape of the first, {a.shape}, got {b.shape}")
    return a, b


def _spearman(a: Floats, b: Floats) -> float:
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return np.nan
    x, y = _doubled_ranks(a), _doubled_ranks(b)
    spread = float(np.sqrt(float(x @ x) * float(y @ y)))
    return min(max(float(x @ y) / spread, -1.0), 1.0) if spread else np.nan


def _doubled_ranks(values: Floats) -> NDArray[np.float64]:
    """Twice the ranks minus their mean: whole numbers."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((2 * last - counts + 1 - (values.size + 1))[which.reshape(-1)], np.float64)
