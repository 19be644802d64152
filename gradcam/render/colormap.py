"""Colour tables of 256 rows, read from ``tables.npz``.

viridis, inferno: by Stefan van der Walt and Nathaniel Smith, released by them under CC0. turbo: Anton Mikhailov, Copyright
2019 Google LLC, Apache-2.0. jet: a formula as old as plotting, here as matplotlib evaluates it. diverging: RdBu of
ColorBrewer, Copyright 2002 Cynthia Brewer and Mark Harrower, Apache-2.0, interpolated as by matplotlib and reversed: blue
is below zero, white is zero, red is above.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

__all__ = ["NO_DATA", "TABLES", "colorize", "colormap"]

TABLES = ("viridis", "inferno", "turbo", "jet", "diverging")
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


def colorize(values: NDArray[np.floating], cmap: str) -> NDArray[np.uint8]:
    """Colours of values in [0, 1] (clipped), shape (*values.shape, 3); NaN gets `NO_DATA`."""
    missing = np.isnan(values)
    index = np.minimum(np.where(missing, 0, np.clip(values, 0, 1)) * 256, 255).astype(np.intp)
    colours = colormap(cmap)[index]
    colours[missing] = NO_DATA
    return cast("NDArray[np.uint8]", colours)
