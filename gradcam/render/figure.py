"""Panels of titled pictures, and PNG files. Needs the ``image`` extra."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.errors import require
from gradcam.render.colormap import colormap

__all__ = ["encode_png", "panel", "shrink"]

LONGEST = 1600
"""Longest side of a picture that is written."""

_CELL = 256
_GAP = 12
_TITLE = 26
_BAR = 14


def encode_png(rgb: NDArray[np.uint8]) -> bytes:
    """Return a picture (H, W, 3) as the bytes of a PNG file."""
    buffer = io.BytesIO()
    require("PIL.Image", "image").fromarray(shrink(rgb)).save(buffer, "PNG")
    return buffer.getvalue()


def shrink(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture whose longest side is at most `LONGEST`."""
    height, width = rgb.shape[:2]
    if max(height, width) <= LONGEST:
        return rgb
    image = require("PIL.Image", "image")
    factor = LONGEST / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(image.fromarray(rgb).resize(size, image.Resampling.LANCZOS))


def panel(rows: Sequence[Sequence[tuple[str, NDArray[np.uint8]]]], signed: str | None = None) -> NDArray[np.uint8]:
    """Compose rows of (title, picture) into one picture.

    Parameters
    ----------
    rows : sequence of rows
        Pictures are RGB or grey and are enlarged or shrunk to cells of equal size.
    signed : str, optional
        Text beside a colour bar of signed maps, drawn below the rows.
    """
    image, draw = require("PIL.Image", "image"), require("PIL.ImageDraw", "image")
    font = require("PIL.ImageFont", "image").load_default(15)
    columns = max(len(row) for row in rows)
    width = columns * (_CELL + _GAP) + _GAP
    height = len(rows) * (_CELL + _TITLE + _GAP) + _GAP + (_BAR + _TITLE + _GAP if signed else 0)
    canvas = image.new("RGB", (width, height), "white")
    pen = draw.Draw(canvas)
    for i, row in enumerate(rows):
        for j, (title, picture) in enumerate(row):
            left, top = _GAP + j * (_CELL + _GAP), _GAP + i * (_CELL + _TITLE + _GAP)
            pen.text((left + _CELL / 2, top + _TITLE / 2), title, fill="black", font=font, anchor="mm")
            canvas.paste(_cell(image, picture), (left, top + _TITLE))
    if signed:
        _bar(image, pen, canvas, font, signed, height - _BAR - _TITLE - _GAP)
    return np.asarray(canvas)


def _cell(image: Any, picture: NDArray[np.uint8]) -> Any:
    """Fit a picture into a white cell; few pixels are enlarged by whole factors, so that they stay pixels."""
    found = image.fromarray(picture).convert("RGB")
    factor = _CELL / max(found.size)
    resampling = image.Resampling.NEAREST if factor >= 2 and factor == int(factor) else image.Resampling.BICUBIC
    scaled = found.resize((max(1, round(found.width * factor)), max(1, round(found.height * factor))), resampling)
    cell = image.new("RGB", (_CELL, _CELL), "white")
    cell.paste(scaled, ((_CELL - scaled.width) // 2, (_CELL - scaled.height) // 2))
    return cell


def _bar(image: Any, pen: Any, canvas: Any, font: Any, text: str, top: int) -> None:
    """Colour bar of the diverging table from -1 to 1 at the right end, its text before it."""
    bar = image.fromarray(np.ascontiguousarray(np.broadcast_to(colormap("diverging")[None], (_BAR, 256, 3)))).resize((_CELL, _BAR))
    left = canvas.width - _GAP - _CELL
    canvas.paste(bar, (left, top))
    for share, label in ((0.0, "against"), (0.5, "0"), (1.0, "for")):
        anchor = {0.0: "lm", 0.5: "mm", 1.0: "rm"}[share]
        pen.text((left + share * _CELL, top + _BAR + _TITLE / 2), label, fill="black", font=font, anchor=anchor)
    pen.text((left - _GAP, top + _BAR / 2), text, fill="black", font=font, anchor="rm")
