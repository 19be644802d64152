"""Colour tables of 256 rows, read from ``tables.npz``, which matplotlib's tables were rounded to.

viridis, inferno: by Stefan van der Walt and Nathaniel Smith, released by them under CC0. turbo: Anton Mikhailov, Copyright
2019 Google LLC, Apache-2.0. jet: a formula as old as plotting, here as matplotlib evaluates it. diverging and purple-green:
RdBu, reversed, and PRGn of ColorBrewer, Copyright 2002 Cynthia Brewer and Mark Harrower, Apache-2.0. They are interpolated as
by matplotlib, but on 257 points of which the last is dropped, so that row 128 is the neutral centre to the last bit: blue or
purple is below zero, near white is zero, red or green is above.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["DIVERGING", "NO_DATA", "SEQUENTIAL", "TABLES", "Scaled", "blend", "colorize", "colormap", "paint", "shares"]

SEQUENTIAL = ("viridis", "inferno", "turbo", "jet")
DIVERGING = ("diverging", "purple-green")
TABLES = SEQUENTIAL + DIVERGING
NO_DATA = (128, 128, 128)
"""Colour of positions without a value."""


@cache
def colormap(name: str) -> NDArray[np.uint8]:
    """Return a colour table, shape (256, 3).

    Raises
    ------
    ValueError
        There is no table of that name; the message lists those there are.
    """
    if name not in TABLES:
        raise ValueError(f"colormap: cmap: expected one of {', '.join(TABLES)}, got {name!r}")
    with np.load(Path(__file__).with_name("tables.npz")) as tables:
        table = np.array(tables[name], np.uint8)
    table.flags.writeable = False
    return table


def colorize(values: NDArray[np.floating[Any]], cmap: str) -> NDArray[np.uint8]:
    """Colours of values in [0, 1] (clipped), shape (*values.shape, 3); NaN gets `NO_DATA`."""
    return paint(np.clip(values, 0, 1) * 256, colormap(cmap))


def paint(rows: NDArray[np.floating[Any]], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Colours of rows of a table: fractions are cut off, the last row is the end; NaN gets `NO_DATA`."""
    missing = np.isnan(rows)
    colours = table[np.minimum(np.where(missing, 0, rows), 255).astype(np.intp)]
    colours[missing] = NO_DATA
    return colours


class Scaled(NamedTuple):
    """How a map is coloured: the table, and of a diverging one the value at its ends."""

    table: str
    peak: float


def shares(values: NDArray[np.floating[Any]], cmap: str | None) -> tuple[NDArray[np.floating[Any]], Scaled]:
    """Place of a map's values in a table, from 0 to 1; a diverging one (by default where values are negative) has 0 at its centre."""
    known = np.isfinite(values)
    table = cmap or ("diverging" if np.min(values, where=known, initial=0) < 0 else "viridis")
    if table not in DIVERGING:
        return values, Scaled(table, 0.0)
    peak = np.max(np.abs(values), where=known, initial=0)
    return 0.5 + 0.5 * (values / (peak or 1)), Scaled(table, float(peak))


def blend(picture: NDArray[np.uint8], places: NDArray[np.floating[Any]], table: str, alpha: float) -> NDArray[np.uint8]:
    """Colours of places in a table over a picture (..., 3), rounded."""
    return np.rint(alpha * colorize(places, table) + (1 - alpha) * picture).astype(np.uint8)
