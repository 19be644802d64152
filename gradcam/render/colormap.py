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
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["DIVERGING", "NO_DATA", "SEQUENTIAL", "TABLES", "colorize", "colormap", "paint"]

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
