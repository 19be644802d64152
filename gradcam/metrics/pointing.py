"""Whether a map points at the object that it should explain."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradcam.localisation import boxes as draw_boxes
from gradcam.localisation import mask as draw_mask
from gradcam.metrics.regions import as_boxes, as_region, flat_maps, scaled
from gradcam.resampling import as_maps

__all__ = ["energy_in_region", "iou", "pointing_game", "swapped"]

Numbers = NDArray[np.float64]


def pointing_game(map: ArrayLike, region: ArrayLike, tolerance: float = 15) -> Numbers:
    """Ask whether the maximum of each map lies in, or near, the region of its object.

    Parameters
    ----------
    map : array of float32 or float64, shape (N, *spatial)
        Maps at the size of the pictures. Of equal maxima the first in memory order counts; non-finite positions do not.
    region : array of bool (N, *spatial), or of int (N, axes, 2)
        Where the object of each picture is: a mask, or boxes ``[start, stop)`` as `gradcam.boxes` gives them.
    tolerance : float
        Largest distance to the region, in pixels, at which a miss still counts as a hit; 15 in the paper, for photos.

    Returns
    -------
    array of float64, shape (N,)
        1 for a hit and 0 for a miss; NaN where the region is empty. A map that is constant, or nowhere finite, points nowhere: a miss.
        The mean is the paper's hits / (hits + misses).

    Raises
    ------
    TypeError, ValueError
        Arrays that do not fit, or a negative tolerance.

    References
    ----------
    Zhang et al., Top-down Neural Attention by Excitation Backprop, IJCV 2018, section 4.1.

    Examples
    --------
    >>> import numpy as np
    >>> from gradcam.metrics import pointing_game
    >>> pointing_game(np.array([[0.1, 0.9, 0.2, 0.0]]), np.array([[[2, 4]]]), tolerance=0)
    array([0.])
    """
    maps = as_maps("pointing_game", "map", map)
    inside = as_region("pointing_game", "region", region, maps.shape)
    if not isinstance(tolerance, Real) or isinstance(tolerance, bool):
        raise TypeError(f"pointing_game: tolerance: expected a real number, got {tolerance!r}")
    if not tolerance >= 0:
        raise ValueError(f"pointing_game: tolerance: expected at least 0, got {tolerance}")
    axes = tuple(range(1, maps.ndim))
    finite = np.isfinite(maps)
    values = flat_maps(np.where(finite, maps, -np.inf))
    points = np.any(finite, axis=axes) & (np.min(maps, axis=axes, where=finite, initial=np.inf) < np.max(values, axis=1))
    peak = np.unravel_index(values.argmax(axis=1), maps.shape[1:])
    distance = np.zeros(maps.shape, np.int64)
    for axis, place in enumerate(peak):
        line = np.arange(maps.shape[axis + 1]) - place[:, None]
        distance += (line**2).reshape(len(maps), *(n if i == axis else 1 for i, n in enumerate(maps.shape[1:])))
    hit = np.any(inside & (distance <= float(tolerance) ** 2), axis=axes) & points
    return np.where(np.any(inside, axis=axes), hit, np.nan)


def energy_in_region(map: ArrayLike, region: ArrayLike) -> Numbers:
    """Share of the positive evidence that lies in the region of the object (the energy-based pointing game).

    Parameters
    ----------
    map, region
        As in `pointing_game`. Non-finite positions are left out of all sums.

    Returns
    -------
    array of float64, shape (N,)
        ``sum of max(m, 0) in the region / sum of max(m, 0)``, of [0, 1]. 0 for a map without a positive value (the flags of
        `gradcam.Explanation` name it); NaN where the region is empty.

    Raises
    ------
    TypeError, ValueError
        Arrays that do not fit.

    References
    ----------
    Wang et al., Score-CAM, CVPR Workshops 2020, section 4.3.

    Examples
    --------
    >>> import numpy as np
    >>> from gradcam.metrics import energy_in_region
    >>> energy_in_region(np.array([[3.0, 1.0, -5.0]]), np.array([[True, False, False]]))
    array([0.75])
    """
    maps = as_maps("energy_in_region", "map", map)
    inside = flat_maps(as_region("energy_in_region", "region", region, maps.shape))
    values, some = scaled(maps)
    share = np.sum(values, axis=1, where=inside) / np.where(some, values.sum(axis=1), 1)
    return np.where(inside.any(axis=1), np.minimum(share, 1), np.nan)


def iou(map: ArrayLike, region: ArrayLike, threshold: float = 0.15) -> Numbers:
    """Intersection over union of the place that a map points at and the region of its object.

    Parameters
    ----------
    map : array of float32 or float64, shape (N, *spatial)
        Maps at the size of the pictures.
    region : array of bool (N, *spatial), or of int (N, axes, 2)
        A mask is compared with `gradcam.mask` of the map, boxes with `gradcam.boxes` of it.
    threshold : float
        Share of the maximum from which positions count, as there.

    Returns
    -------
    array of float64, shape (N,)
        Of [0, 1]. 0 for a map without a positive value; NaN where the region is empty.

    Raises
    ------
    TypeError, ValueError
        Arrays that do not fit, or a threshold outside [0, 1).

    References
    ----------
    Selvaraju et al., Grad-CAM, ICCV 2017, section 4.1.

    Examples
    --------
    >>> import numpy as np
    >>> from gradcam.metrics import iou
    >>> iou(np.array([[0.0, 1.0, 1.0, 0.1]]), np.array([[[2, 4]]]))
    array([0.33333333])
    """
    maps = as_maps("iou", "map", map)
    given = np.asarray(region)
    if given.dtype != np.bool_:
        wanted, found = as_boxes("iou", "region", given, maps.shape), draw_boxes(maps, threshold)
        both = np.maximum(np.minimum(wanted[..., 1], found[..., 1]) - np.maximum(wanted[..., 0], found[..., 0]), 0)
        shared, first, second = (np.prod(lengths, axis=1) for lengths in (both, *(b[..., 1] - b[..., 0] for b in (wanted, found))))
    else:
        inside = flat_maps(as_region("iou", "region", given, maps.shape))
        above = flat_maps(draw_mask(maps, threshold))
        shared, first, second = (np.count_nonzero(part, axis=1) for part in (inside & above, inside, above))
    return np.where(first > 0, shared / np.maximum(first + second - shared, 1), np.nan)


def swapped(map: ArrayLike, own: ArrayLike, other: ArrayLike) -> Numbers:
    """Ask whether a map of one class prefers the object of another class that is in the same picture.

    Parameters
    ----------
    map : array of float32 or float64, shape (N, *spatial)
        Maps of a class, signed or after ReLU. Non-finite positions are left out.
    own, other : array of bool (N, *spatial), or of int (N, axes, 2)
        Where the object of that class is, and where that of the other class: masks or boxes.

    Returns
    -------
    array of float64, shape (N,)
        1 where the mean of the map over `other` is larger than that over `own`, 0 where it is smaller, 0.5 where they are equal, as in
        a blank map; NaN where a region has no finite position. The mean of it is the swap rate: 0 of a map that tells the classes
        apart, 0.5 of one that does not know them. Means, not sums: a larger object attracts no more.

    Raises
    ------
    TypeError, ValueError
        Arrays that do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from gradcam.metrics import swapped
    >>> swapped(np.array([[1.0, 1.0, 3.0]]), np.array([[[0, 2]]]), np.array([[[2, 3]]]))
    array([1.])
    """
    maps = as_maps("swapped", "map", map)
    means = [_region_mean(maps, as_region("swapped", name, region, maps.shape)) for name, region in (("own", own), ("other", other))]
    with np.errstate(invalid="ignore"):
        return np.asarray(0.5 * np.sign(means[1] - means[0]) + 0.5)


def _region_mean(maps: NDArray[Any], inside: NDArray[np.bool_]) -> Numbers:
    """Mean over the finite positions of a region; NaN where there are none."""
    chosen = flat_maps(inside & np.isfinite(maps))
    count = chosen.sum(axis=1)
    total = np.sum(flat_maps(maps), axis=1, where=chosen, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
