"""Resampling of maps on other grids, one axis after the other, and the checks that all functions on maps share.

Arrays are (N, *spatial) with one to three spatial axes. Coordinates, weights and sums are float64; a float32 map comes back
as float32, rounded once.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["as_maps", "as_size", "check_grid", "resample", "resize"]

Floats = NDArray[np.floating[Any]]

_GRIDS = ("linear", "linear-corners", "nearest", "cubic-spline")


def resize(map: ArrayLike, size: int | Sequence[int], mode: str = "linear") -> Floats:
    """Resize each map, one axis after the other, without antialiasing.

    Parameters
    ----------
    map : array of float32 or float64, shape (N, *spatial)
        Maps with one batch axis and one to three spatial axes.
    size : int or sequence of int
        New lengths of the spatial axes.
    mode : {"linear", "linear-corners", "nearest", "cubic-spline"}
        Half-pixel linear (PyTorch ``align_corners=False``, OpenCV ``INTER_LINEAR``), linear with corners aligned
        (``align_corners=True``), nearest (PyTorch ``nearest``), cubic spline (``scipy.ndimage.zoom`` of order 3).

    Returns
    -------
    array of the same type, shape (N, *size)
        A new array. Equal sizes give a copy. Samples of weight 0 are not read, so a NaN stays where it is; only the cubic
        spline, whose samples depend on all others of their line, spreads it along the line.

    Raises
    ------
    TypeError
        The array is not of a floating type, or a size is no integer.
    ValueError
        Unknown mode, no batch axis, an axis of length 0, or a size that does not fit.
    """
    maps = as_maps("resize", "map", map)
    lengths = as_size("resize", size, maps.ndim - 1)
    check_grid("resize", mode)
    return resample(maps, lengths, mode)


def as_maps(function: str, argument: str, maps: ArrayLike) -> Floats:
    """Return maps (N, *spatial) in native byte order, half types widened; TypeError or ValueError in the name of a function."""
    array = np.asarray(maps)
    if array.dtype == np.float16 or array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    if array.dtype.type not in (np.float32, np.float64):
        raise TypeError(f"{function}: {argument}: expected float32 or float64, got {array.dtype}")
    if not 2 <= array.ndim <= 4:
        raise ValueError(f"{function}: {argument}: expected one batch axis and 1 to 3 spatial axes, got shape {array.shape}")
    if 0 in array.shape[1:]:
        raise ValueError(f"{function}: {argument}: expected spatial axes of length 1 or more, got shape {array.shape}")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def as_size(function: str, size: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    """Return the lengths of the spatial axes that a caller asks for."""
    items = size if isinstance(size, Sequence | np.ndarray) else (size,)
    try:
        lengths = tuple(operator.index(item) for item in items)
    except TypeError:
        raise TypeError(f"{function}: size: expected integers, got {size!r}") from None
    if len(lengths) != ndim or min(lengths) < 1:
        raise ValueError(f"{function}: size: expected {ndim} positive integer{'s' if ndim > 1 else ''}, got {size!r}")
    return lengths


def check_grid(function: str, mode: str) -> None:
    """Raise ValueError for an unknown grid."""
    if mode not in _GRIDS:
        raise ValueError(f"{function}: mode: expected one of {', '.join(_GRIDS)}, got {mode!r}")


def resample(maps: Floats, size: tuple[int, ...], mode: str) -> Floats:
    """Resize without checks, see `resize`."""
    if maps.shape[1:] == size:
        return maps.copy()
    values = maps.astype(np.float64)
    for axis, length in enumerate(size, start=1):
        if values.shape[axis] != length:
            values = _resize_axis(values, axis, length, mode)
    return values.astype(maps.dtype)


def _resize_axis(values: NDArray[np.float64], axis: int, length: int, mode: str) -> NDArray[np.float64]:
    """Resize one axis. Positions are fractions of integers, so a sample that is hit exactly has a weight of exactly 0 beside it."""
    old = values.shape[axis]
    index = np.arange(length)
    if mode == "nearest":
        return np.asarray(values.take(np.minimum(index * old // length, old - 1), axis=axis))
    if mode == "linear":
        low, rest = np.divmod(np.maximum((2 * index + 1) * old - length, 0), 2 * length)
        return _interpolate(values, axis, low, rest / (2 * length))
    low, rest = np.divmod(index * (old - 1), max(length - 1, 1))
    fraction = rest / max(length - 1, 1)
    if mode == "linear-corners":
        return _interpolate(values, axis, low, fraction)
    return _interpolate_spline(values, axis, low, fraction)


def _interpolate(values: NDArray[np.float64], axis: int, low: NDArray[np.intp], fraction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear interpolation along one axis between samples ``low`` and ``low + 1``, the last sample being repeated.

    Equal neighbours give their value without rounding, so that a constant map stays constant, and a neighbour of weight 0
    is not read.
    """
    high = np.minimum(low + 1, values.shape[axis] - 1)
    near, far = values.take(low, axis=axis), values.take(high, axis=axis)
    shape = [1] * values.ndim
    shape[axis] = -1
    weight = fraction.reshape(shape)
    with np.errstate(invalid="ignore"):
        return np.where((weight == 0) | (near == far), near, near * (1 - weight) + far * weight)


def _interpolate_spline(
    values: NDArray[np.float64], axis: int, low: NDArray[np.intp], fraction: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Cubic B-spline through the samples, mirrored at the first and the last of them."""
    lines = np.moveaxis(values, axis, -1)
    # The weights sum to 1, so values may be taken relative to the first: a constant line stays constant to the last bit.
    origin = lines[..., :1]
    with np.errstate(invalid="ignore"):
        coefficients = _spline_coefficients(lines - origin)
        t = fraction
        weights = ((1 - t) ** 3 / 6, (4 - 6 * t**2 + 3 * t**3) / 6, (1 + 3 * t + 3 * t**2 - 3 * t**3) / 6, t**3 / 6)
        last = lines.shape[-1] - 1
        result = np.zeros((*lines.shape[:-1], low.size))
        for offset, weight in zip((-1, 0, 1, 2), weights, strict=True):
            # Whole-sample mirror: index -1 is 1, index last + 1 is last - 1.
            tap = np.abs(low + offset) % max(2 * last, 1)
            tap = np.minimum(tap, 2 * last - tap)
            result += coefficients[..., tap] * weight
        return np.moveaxis(result + origin, -1, axis)


def _spline_coefficients(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Solve (c[i-1] + 4 c[i] + c[i+1]) / 6 = m[i] with mirrored ends along the last axis, by elimination without pivoting."""
    count = samples.shape[-1]
    if count == 1:
        return samples
    c = 6 * samples
    # Row 0 is 4 c[0] + 2 c[1], row -1 is 2 c[-2] + 4 c[-1], the others 1, 4, 1.
    ratio = np.empty(count)
    ratio[0] = 0.5
    c[..., 0] /= 4
    for i in range(1, count):
        before = 2.0 if i == count - 1 else 1.0
        pivot = 4 - before * ratio[i - 1]
        ratio[i] = 1 / pivot
        c[..., i] = (c[..., i] - before * c[..., i - 1]) / pivot
    for i in range(count - 2, -1, -1):
        c[..., i] -= ratio[i] * c[..., i + 1]
    return c
