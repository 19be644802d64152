"""Slices of a volume, or frames of a video, side by side on one colour scale. Needs the ``image`` extra."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from math import ceil, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.render.colormap import blend, shares
from gradcam.render.figure import CELL, GAP, LONGEST, Scale, panel
from gradcam.resampling import resize

__all__ = ["Slices", "montage", "pictured"]

Slices = int | Sequence[int] | None
"""How many slices, spread evenly; or which; or as many as fit by default."""

_MOST = 16
"""Slices that are shown by default; more of them are too small to read."""


def montage(
    frames: NDArray[np.uint8] | None, values: NDArray[np.floating[Any]], alpha: float, cmap: str | None, slices: Slices = None
) -> NDArray[np.uint8]:
    """Draw a map over slices of a volume or frames of a video, with their numbers and one colour scale for all.

    Parameters
    ----------
    frames : ndarray of uint8, shape (D, H, W, 3), optional
        What the network saw; by default the map is drawn alone.
    values : ndarray, shape (d, h, w)
        The map.
    alpha, cmap
        As in `gradcam.overlay`.
    slices : int or sequence of int, optional
        As in `gradcam.overlay`.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
    """
    if frames is None:
        frames, alpha = np.zeros((*values.shape, 3), np.uint8), 1.0
    depth, height, width = frames.shape[:3]
    chosen = _chosen(slices, depth)
    columns = min(len(chosen), ceil(sqrt(len(chosen) * height / width)))
    room = LONGEST // columns - 2 * GAP, LONGEST // ceil(len(chosen) / columns) - 4 * GAP
    factor = min(CELL / max(height, width), max(room[0], 1) / width, max(room[1], 1) / height)
    cell = max(1, round(height * factor)), max(1, round(width * factor))
    places, scale = shares(values, cmap)
    times = max(1, int(factor))  # small slices stay pixels, the map over them is smooth
    placed = resize(resize(places[None], (depth, *values.shape[1:]))[0][chosen], (times * height, times * width))
    drawn = [
        (f"slice {i}", blend(np.repeat(np.repeat(frames[i], times, 0), times, 1), one, scale.table, alpha))
        for i, one in zip(chosen, placed, strict=True)
    ]
    rows = [drawn[i : i + columns] for i in range(0, len(drawn), columns)]
    return panel(rows, Scale("one scale for all slices", scale.peak, scale.table), cell=cell)


def _chosen(slices: Slices, depth: int) -> list[int]:
    """Numbers of the slices that are shown."""
    if slices is None:
        slices = min(depth, _MOST)
    try:
        if not isinstance(slices, Sequence | np.ndarray):
            count = operator.index(slices)
            if not 1 <= count <= depth:
                raise ValueError(f"overlay: slices: expected 1 to {depth} slices, got {count}")
            return [(2 * i + 1) * depth // (2 * count) for i in range(count)]
        numbers = [operator.index(i) for i in slices]
    except TypeError:
        raise TypeError(f"overlay: slices: expected how many slices or their numbers, got {slices!r}") from None
    if not numbers or not all(-depth <= i < depth for i in numbers):
        raise ValueError(f"overlay: slices: expected numbers from 0 to {depth - 1}, got {slices!r}")
    return [i % depth for i in numbers]


def pictured(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Show an array that a network was given (C, *S) as a picture (*S, 3).

    Three channels are red, green and blue, of others the mean is grey; the smallest value is black, the largest white.
    """
    colours = np.moveaxis(array if len(array) == 3 else array.mean(axis=0, keepdims=True, dtype=np.float64), 0, -1).astype(np.float64)
    known = np.isfinite(colours)
    low, high = np.min(colours, where=known, initial=np.inf), np.max(colours, where=known, initial=-np.inf)
    span = high - low if high > low else 1.0
    unit = np.where(known, colours - (low if known.any() else 0.0), 0.0) / span
    return np.ascontiguousarray(np.broadcast_to(np.rint(255 * unit).astype(np.uint8), (*colours.shape[:-1], 3)))
