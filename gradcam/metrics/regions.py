"""Regions of pictures, as masks or boxes, and how much of a signed map lies in each."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradcam.resampling import as_maps

__all__ = ["RegionMasses", "as_boxes", "as_region", "flat_maps", "region_masses", "scaled"]

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class RegionMasses:
    """How much of the maps of N pictures lies in R regions each.

    Attributes
    ----------
    positive, negative : ndarray of float64, shape (N, R)
        Sums of max(m, 0) and of max(-m, 0) in each region, both at least 0.
    total_positive, total_negative : ndarray of float64, shape (N,)
        The same sums over the whole picture.
    areas : ndarray of float64, shape (N, R)
        Share of the positions that lies in each region: what the shares of a map without preference would be.
    """

    positive: NDArray[np.float64]
    negative: NDArray[np.float64]
    total_positive: NDArray[np.float64]
    total_negative: NDArray[np.float64]
    areas: NDArray[np.float64]

    @property
    def positive_shares(self) -> NDArray[np.float64]:
        """Share of the positive mass in each region, of [0, 1]; NaN in pictures without positive mass."""
        return _shares(self.positive, self.total_positive)

    @property
    def negative_shares(self) -> NDArray[np.float64]:
        """Share of the negative mass in each region, of [0, 1]; NaN in pictures without negative mass."""
        return _shares(self.negative, self.total_negative)


def _shares(parts: NDArray[np.float64], total: NDArray[np.float64]) -> NDArray[np.float64]:
    some = (total > 0)[:, None]
    return np.where(some, parts / np.where(some, total[:, None], 1), np.nan)


def region_masses(map: ArrayLike, regions: ArrayLike) -> RegionMasses:
    """Measure how much positive and negative evidence lies in each of several regions.

    Parameters
    ----------
    map : array of float32 or float64, shape (N, *spatial)
        Signed maps. Non-finite positions are left out.
    regions : array of bool, shape (N, R, *spatial)
        Regions of each picture, for example `gradcam.datasets.Scenes.regions`. They need neither be disjoint nor cover it.

    Returns
    -------
    RegionMasses

    Raises
    ------
    TypeError, ValueError
        The arrays are of another type or do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from gradcam.metrics import region_masses
    >>> masses = region_masses(np.array([[3.0, 1.0, -2.0]]), np.array([[[True, False, False], [False, True, True]]]))
    >>> masses.positive_shares, masses.negative_shares
    (array([[0.75, 0.25]]), array([[0., 1.]]))
    """
    maps = as_maps("region_masses", "map", map)
    chosen = np.asarray(regions)
    if chosen.dtype != np.bool_:
        raise TypeError(f"region_masses: regions: expected bool, got {chosen.dtype}")
    if chosen.ndim != maps.ndim + 1 or (chosen.shape[0], *chosen.shape[2:]) != maps.shape:
        wanted = ", ".join(str(n) for n in maps.shape[1:])
        raise ValueError(f"region_masses: regions: expected shape ({len(maps)}, R, {wanted}), got {chosen.shape}")
    flat = chosen.reshape(*chosen.shape[:2], prod(maps.shape[1:]))
    values = flat_maps(np.where(np.isfinite(maps), maps, 0).astype(np.float64))
    signed = np.maximum(values, 0), np.maximum(-values, 0)
    inside = [np.where(flat, part[:, None], 0).sum(axis=2) for part in signed]
    return RegionMasses(inside[0], inside[1], signed[0].sum(axis=1), signed[1].sum(axis=1), flat.mean(axis=2))


def flat_maps(arrays: NDArray[Any]) -> NDArray[Any]:
    """Return arrays (N, *spatial) with one axis of positions."""
    return arrays.reshape(len(arrays), prod(arrays.shape[1:]))


def as_region(function: str, argument: str, region: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return a mask (N, *spatial) of a mask, or of boxes (N, axes, 2) of integers as `gradcam.boxes` gives them."""
    given = np.asarray(region)
    if given.dtype == np.bool_:
        if given.shape != shape:
            raise ValueError(f"{function}: {argument}: expected a mask of shape {shape}, got {given.shape}")
        return given
    boxes = as_boxes(function, argument, given, shape)
    inside = np.ones(shape, np.bool_)
    for axis in range(len(shape) - 1):
        place = np.arange(shape[axis + 1]).reshape(-1, *(1,) * (len(shape) - 2 - axis))
        low, high = (boxes[:, axis, end].reshape(shape[0], *(1,) * (len(shape) - 1)) for end in (0, 1))
        inside &= (place >= low) & (place < high)
    return inside


def as_boxes(function: str, argument: str, boxes: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Check boxes (N, axes, 2): ``[start, stop)`` along each axis."""
    if boxes.dtype.kind not in "iu":
        raise TypeError(f"{function}: {argument}: expected a mask of bool or boxes of integers, got {boxes.dtype}")
    if boxes.shape != (shape[0], len(shape) - 1, 2):
        raise ValueError(f"{function}: {argument}: expected boxes of shape {(shape[0], len(shape) - 1, 2)}, got {boxes.shape}")
    if ((boxes < 0) | (boxes > np.asarray(shape[1:])[:, None])).any() or (boxes[..., 0] > boxes[..., 1]).any():
        raise ValueError(f"{function}: {argument}: expected boxes [start, stop) within the map")
    return boxes.astype(np.int64)


def scaled(maps: Floats) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return max(m, 0) of each map divided by its largest finite value, with 0 at non-finite positions, and which maps have any."""
    values = flat_maps(np.where(np.isfinite(maps), np.maximum(maps, 0), 0).astype(np.float64))
    peak = values.max(axis=1)
    return values / np.where(peak > 0, peak, 1)[:, None], peak > 0
