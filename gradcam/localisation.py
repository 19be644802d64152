"""From a map to the place that it points at: the part above a share of its maximum, and the box around it.

Selvaraju et al., Grad-CAM, ICCV 2017, section 4.1 (weakly-supervised localisation): the map is cut at 15 % of its maximum, and
one box is drawn around the largest connected segment.
"""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradcam.resampling import as_maps

__all__ = ["boxes", "mask"]

Floats = NDArray[np.floating[Any]]


def mask(map: ArrayLike, threshold: float = 0.15) -> NDArray[np.bool_]:
    """Find the positions whose value exceeds a share of the maximum of their image.

    Parameters
    ----------
    map : array of float32 or float64, shape (N, *spatial)
        Maps with one batch axis and one to three spatial axes, raw or finished, with ReLU or signed, of any scale.
    threshold : float
        Share of the maximum, at least 0 and below 1.

    Returns
    -------
    array of bool, shape (N, *spatial)
        ``m > threshold * max m``. False everywhere in an image without a positive value. Non-finite positions are False and
        are left out of the maximum.

    Raises
    ------
    TypeError
        The array is not of a floating type, or the threshold is no real number.
    ValueError
        No batch axis, an axis of length 0, or a threshold outside [0, 1).

    References
    ----------
    Selvaraju et al., Grad-CAM, ICCV 2017, section 4.1.

    Examples
    --------
    >>> import numpy as np, gradcam
    >>> gradcam.mask(np.array([[0.0, 0.1, 1.0, 0.2]]))
    array([[False, False,  True,  True]])
    """
    return _above(as_maps("mask", "map", map), _threshold("mask", threshold))


def boxes(map: ArrayLike, threshold: float = 0.15) -> NDArray[np.int64]:
    """Draw the smallest box around the largest connected part of each image's `mask`.

    Positions are connected through faces: left and right, above and below, before and behind, never across a corner
    (4-connectivity in two dimensions, 6 in three). Of parts of equal size the one with the larger maximum counts, then the
    one that comes first in memory order.

    Parameters
    ----------
    map : array of float32 or float64, shape (N, *spatial)
        As in `mask`.
    threshold : float
        As in `mask`.

    Returns
    -------
    array of int64, shape (N, axes, 2)
        ``[start, stop)`` along each of the spatial axes, in their order: ``[[top, bottom], [left, right]]`` of a picture. All
        zeros where the mask of the image is empty.

    Raises
    ------
    TypeError, ValueError
        As `mask`.

    References
    ----------
    Selvaraju et al., Grad-CAM, ICCV 2017, section 4.1.

    Examples
    --------
    >>> import numpy as np, gradcam
    >>> gradcam.boxes(np.array([[0.0, 0.1, 1.0, 0.2]]))
    array([[[2, 4]]])
    """
    maps = as_maps("boxes", "map", map)
    above = _above(maps, _threshold("boxes", threshold))
    result = np.zeros((len(maps), maps.ndim - 1, 2), np.int64)
    places = np.nonzero(above)
    if not places[0].size:
        return result
    labels = _components(above)[above]
    chosen = _largest(places[0], labels, maps[above])
    image, *axes = (place[chosen[labels]] for place in places)
    for axis, place in enumerate(axes):
        result[image, axis, 0] = maps.shape[axis + 1]
        np.minimum.at(result[:, axis, 0], image, place)
        np.maximum.at(result[:, axis, 1], image, place + 1)
    return result


def _threshold(function: str, threshold: float) -> float:
    if not isinstance(threshold, Real) or isinstance(threshold, bool):
        raise TypeError(f"{function}: threshold: expected a real number, got {threshold!r}")
    if not 0 <= threshold < 1:
        raise ValueError(f"{function}: threshold: expected at least 0 and less than 1, got {threshold}")
    return float(threshold)


def _above(maps: Floats, threshold: float) -> NDArray[np.bool_]:
    finite = np.isfinite(maps)
    peak = np.max(maps, axis=tuple(range(1, maps.ndim)), where=finite, initial=0, keepdims=True).astype(np.float64)
    above: NDArray[np.bool_] = finite & (maps > threshold * peak)
    return above


def _components(above: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Number the connected parts of all images, in memory order but with gaps; meaningless outside the mask.

    Runs along the last axis are the nodes, and two runs that touch along another axis are joined (union-find), so that
    the slow part, which is not NumPy's, goes over pairs of runs and not over positions.
    """
    first = above.copy()
    first[..., 1:] &= ~above[..., :-1]
    run = np.cumsum(first.reshape(-1), dtype=np.intp).reshape(above.shape) - 1
    count = int(run.flat[-1]) + 1
    parent = list(range(count))
    for axis in range(1, above.ndim - 1):
        here, there = (slice(None),) * axis + (slice(None, -1),), (slice(None),) * axis + (slice(1, None),)
        touching = above[here] & above[there]
        pairs = np.unique(run[here][touching] * count + run[there][touching])
        for a, b in zip((pairs // count).tolist(), (pairs % count).tolist(), strict=True):
            a, b = _root(parent, a), _root(parent, b)
            parent[max(a, b)] = min(a, b)
    for node in range(count):  # a parent comes before its children and is a root by now
        parent[node] = parent[parent[node]]
    labels: NDArray[np.intp] = np.asarray(parent, np.intp)[run]
    return labels


def _root(parent: list[int], node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]  # halves the path for the next search
        node = parent[node]
    return node


def _largest(image: NDArray[np.intp], labels: NDArray[np.intp], values: Floats) -> NDArray[np.bool_]:
    """Tell for each label whether it is the largest part of its image."""
    size = np.bincount(labels)
    peak = np.zeros(size.size)
    np.maximum.at(peak, labels, values)
    owner = np.zeros(size.size, np.intp)
    owner[labels] = image
    numbers = np.flatnonzero(size)
    ranked = numbers[np.lexsort((numbers, -peak[numbers], -size[numbers], owner[numbers]))]
    best = ranked[np.unique(owner[ranked], return_index=True)[1]]
    chosen = np.zeros(size.size, np.bool_)
    chosen[best] = True
    return chosen
