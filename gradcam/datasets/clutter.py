"""Ground that is no plain grey: a gradient, soft blobs and thin curved strokes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gradcam.datasets.draws import Draws

__all__ = ["background"]

_STROKES = 4
_BLOBS = 4


def background(rng: Draws, n: int, side: int) -> NDArray[np.float32]:
    """Draw n grounds, (n, side, side), about 15 to 150 of 255. Terms are added one by one: no library orders the sums."""
    axis = (2 * np.arange(side) - (side - 1)) / (side - 1)
    slope = rng.uniform(0, 25, (n, 1)) * rng.directions(n)
    ground = rng.uniform(15, 60, (n, 1, 1)) + (slope[:, 0, None] * axis)[:, :, None] + (slope[:, 1, None] * axis)[:, None]

    centre = rng.uniform(-1, 1, (_BLOBS, 2, n, 1))
    radius = rng.uniform(0.12, 0.75, (_BLOBS, 2, n, 1))
    light = rng.uniform(-30, 70, (_BLOBS, n, 1))
    for where, reach, strength in zip(centre, radius, light, strict=True):
        rows, columns = _bumps((axis - where) / reach)
        ground += (strength * rows)[:, :, None] * columns[:, None]
    return (ground + _strokes(rng, n, side)).astype(np.float32)


def _bumps(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (1 - t^2)^2 within 1 of the middle: a bell like that of Gauss, without an exponential."""
    rest = np.maximum(1 - t * t, 0)
    return rest * rest


def _strokes(rng: Draws, n: int, side: int) -> NDArray[np.float64]:
    """Thin quadratic curves (n, side, side), drawn by spreading many points over their four nearest pixels."""
    points = 2 * side
    t = np.arange(points) / (points - 1)
    start, middle, end = rng.uniform(0, side - 2, (3, 2, n, _STROKES, 1))
    y, x = (1 - t) * (1 - t) * start + 2 * t * (1 - t) * middle + t * t * end
    light = rng.uniform(0.2, 1.2, (n, _STROKES, 1)) * rng.chance(0.7, (n, _STROKES, 1))
    top, left = y.astype(np.int64), x.astype(np.int64)
    canvas = np.zeros(n * side * side)
    base = np.arange(n)[:, None, None] * side * side + top * side + left
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
        share = np.abs(1 - dy - (y - top)) * np.abs(1 - dx - (x - left)) * light
        canvas += np.bincount((base + dy * side + dx).ravel(), share.ravel(), len(canvas))
    return 90 * np.minimum(canvas, 1).reshape(n, side, side)
