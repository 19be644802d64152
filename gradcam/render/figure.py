"""Panels of titled pictures, and PNG files. Needs the ``image`` extra."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradcam.errors import require
from gradcam.render.colormap import colormap

__all__ = ["Scale", "encode_png", "panel", "shrink"]

LONGEST = 1600
"""Longest side of a picture that is written."""

_CELL = 256
_GAP = 12
_LINE = 19
_BAR = 14


class Scale(NamedTuple):
    """Colour bar of signed maps: the text before it, and the value at its ends."""

    text: str
    peak: float


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


def panel(rows: Sequence[Sequence[tuple[str, NDArray[np.uint8]]]], signed: str | Scale | None = None) -> NDArray[np.uint8]:
    """Compose rows of (title, picture) into one picture.

    Parameters
    ----------
    rows : sequence of rows
        Pictures are RGB or grey and are enlarged or shrunk to cells of equal size. Titles may have several lines; a line
        that is too long for its cell is cut.
    signed : str or Scale, optional
        Text beside a colour bar of signed maps, drawn below the rows; with the value at its ends where it is known.
    """
    image, draw = require("PIL.Image", "image"), require("PIL.ImageDraw", "image")
    font = require("PIL.ImageFont", "image").load_default(15)
    columns = max(len(row) for row in rows)
    titles = [_LINE * max((title.count("\n") + 1 for title, _ in row), default=1) + 7 for row in rows]
    width = columns * (_CELL + _GAP) + _GAP
    height = sum(titles) + len(rows) * (_CELL + _GAP) + _GAP + (_BAR + _LINE + 7 + _GAP if signed else 0)
    canvas = image.new("RGB", (width, height), "white")
    pen = draw.Draw(canvas)
    top = _GAP
    for row, above in zip(rows, titles, strict=True):
        for j, (title, picture) in enumerate(row):
            left = _GAP + j * (_CELL + _GAP)
            lines = title.split("\n")
            for i, line in enumerate(lines):
                middle = top + above - 7 - _LINE * (len(lines) - i - 0.5)
                pen.text((left + _CELL / 2, middle), _cut(pen, line, font), fill="black", font=font, anchor="mm")
            canvas.paste(_cell(image, picture), (left, top + above))
        top += above + _CELL + _GAP
    if signed:
        _bar(image, pen, canvas, font, Scale(signed, 0.0) if isinstance(signed, str) else signed, top)
    return np.asarray(canvas)


def _cut(pen: Any, line: str, font: Any) -> str:
    """The line, or as much of it as fits a cell."""
    if pen.textlength(line, font=font) <= _CELL:
        return line
    while line and pen.textlength(line + "...", font=font) > _CELL:
        line = line[:-1]
    return line + "..."


def _cell(image: Any, picture: NDArray[np.uint8]) -> Any:
    """Fit a picture into a white cell; few pixels are enlarged by whole factors, so that they stay pixels."""
    found = image.fromarray(picture).convert("RGB")
    factor = _CELL / max(found.size)
    resampling = image.Resampling.NEAREST if factor >= 2 and factor == int(factor) else image.Resampling.BICUBIC
    scaled = found.resize((max(1, round(found.width * factor)), max(1, round(found.height * factor))), resampling)
    cell = image.new("RGB", (_CELL, _CELL), "white")
    cell.paste(scaled, ((_CELL - scaled.width) // 2, (_CELL - scaled.height) // 2))
    return cell


def _bar(image: Any, pen: Any, canvas: Any, font: Any, scale: Scale, top: int) -> None:
    """Colour bar of the diverging table from -1 to 1 at the right end, its text before it."""
    bar = image.fromarray(np.ascontiguousarray(np.broadcast_to(colormap("diverging")[None], (_BAR, 256, 3)))).resize((_CELL, _BAR))
    left = canvas.width - _GAP - _CELL
    canvas.paste(bar, (left, top))
    ends = (f"against {-scale.peak:.2g}", f"{scale.peak:.2g} for") if scale.peak else ("against", "for")
    for share, label, anchor in ((0.0, ends[0], "lm"), (0.5, "0", "mm"), (1.0, ends[1], "rm")):
        pen.text((left + share * _CELL, top + _BAR + _LINE / 2 + 4), label, fill="black", font=font, anchor=anchor)
    if canvas.width > 2 * _CELL:
        pen.text((left - _GAP, top + _BAR / 2), scale.text, fill="black", font=font, anchor="rm")
