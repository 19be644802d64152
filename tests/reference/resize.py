"""Resize along one axis, output by output, as ONNX's operator page states it."""

from __future__ import annotations

import math

import numpy as np


def position(d, old, new, scale, transform):
    """Source coordinate of output d."""
    if transform == "half_pixel":
        return (d + 0.5) / scale - 0.5
    if transform == "pytorch_half_pixel":
        return (d + 0.5) / scale - 0.5 if new > 1 else 0.0
    if transform == "align_corners":
        return d * (old - 1) / (new - 1) if new > 1 else 0.0
    if transform == "tf_half_pixel_for_nn":
        return (d + 0.5) / scale
    assert transform == "asymmetric"
    return d / scale


def nearest(x, scale, rounding):
    """Index before it is clipped."""
    if rounding == "simple":
        return math.floor(x) if scale >= 1 else math.ceil(x)
    if rounding == "round_prefer_floor":
        return math.floor(x) if x - math.floor(x) <= 0.5 else math.ceil(x)
    assert rounding == "floor"
    return math.floor(x)


def cubic(d, a=-0.75):
    """Weight at distance d."""
    d = abs(d)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def resize_axis(line, new, scale, mode, transform, rounding):
    """line (old, ...) -> (new, ...), samples beyond the ends are those at the ends."""
    old = line.shape[0]
    result = np.zeros((new, *line.shape[1:]))
    for d in range(new):
        x = position(d, old, new, scale, transform)
        if mode == "nearest":
            result[d] = line[min(max(nearest(x, scale, rounding), 0), old - 1)]
            continue
        weight, reach = (lambda t: max(0.0, 1 - abs(t)), 1) if mode == "linear" else (cubic, 2)
        for i in range(math.floor(x) - reach, math.ceil(x) + reach + 1):
            result[d] += weight(i - x) * line[min(max(i, 0), old - 1)]
    return result


def resize(x, sizes, scales, mode, transform, rounding="round_prefer_floor"):
    """All axes, one after the other."""
    for axis, (new, scale) in enumerate(zip(sizes, scales, strict=True)):
        if (new, scale) != (x.shape[axis], 1):
            x = np.moveaxis(resize_axis(np.moveaxis(x, axis, 0), new, scale, mode, transform, rounding), 0, axis)
    return x
