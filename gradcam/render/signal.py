"""Curves of a signal over the heat of its positions. Needs the ``image`` extra."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.errors import require
from gradcam.render.colormap import DIVERGING, blend, shares
from gradcam.render.figure import BAR_HEIGHT, GAP, LINE, Scale, colour_bar
from gradcam.resampling import resize

__all__ = ["draw_signal"]

_WIDTH = 960
_LEFT = 120
_HEIGHT = 1040
_ROWS = (14, 160)
"""Least and greatest height of a channel."""

_FINE = 3
"""Curves are drawn this much larger and shrunk, so that their edges are smooth."""


def draw_signal(
    curves: NDArray[np.floating[Any]] | None, values: NDArray[np.floating[Any]], alpha: float, cmap: str | None
) -> NDArray[np.uint8]:
    """Draw every channel as a curve, each on its own scale, over a band of colours along the time axis.

    Parameters
    ----------
    curves : ndarray, shape (C, L), optional
        The signal; gaps where it is not finite. By default the band is drawn alone.
    values : ndarray, shape (l,)
        The map.
    alpha : float
        Weight of the colours; white has 1 - alpha.
    cmap : str, optional
        As in `gradcam.overlay`.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
    """
    image, draw = require("PIL.Image", "image"), require("PIL.ImageDraw", "image")
    font = require("PIL.ImageFont", "image").load_default(15)
    count, length = (1, len(values)) if curves is None else curves.shape
    least, greatest = _ROWS
    row = min(greatest, max(least, _HEIGHT // count))
    places, scale = shares(values, cmap)
    band = _columns(resize(places[None], length)[0], 0.5 if scale.table in DIVERGING else 0.0)
    colours = blend(np.full((1, _WIDTH, 3), 255, np.uint8), band[None], scale.table, alpha)
    bottom = GAP + count * row
    canvas = image.new("RGB", (_LEFT + _WIDTH + GAP, bottom + 2 * LINE + BAR_HEIGHT + LINE + 3 * GAP), "white")
    pen = draw.Draw(canvas)
    step = -(-LINE // row)  # names of many channels would cover each other
    for channel in range(count):
        top = GAP + channel * row
        stripe = image.fromarray(np.ascontiguousarray(np.broadcast_to(colours, (row - 1, _WIDTH, 3))))
        canvas.paste(stripe, (_LEFT, top))
        if curves is None:
            continue
        curve = curves[channel]
        low, high = _range(curve)
        canvas.paste("black", (_LEFT, top), _curve(image, draw, curve, (low, high), (_WIDTH, row - 1)))
        if row >= 3 * LINE:
            for y, text, anchor in ((top, f"{high:.3g}", "ra"), (top + row - 2, f"{low:.3g}", "rd")):
                pen.text((_LEFT - 6, y), text, fill="dimgrey", font=font, anchor=anchor)
        if channel % step == 0:
            pen.text((GAP, top + row / 2), f"channel {channel}", fill="black", font=font, anchor="lm")
    _axis(pen, font, length, bottom)
    colour_bar(canvas, Scale("", scale.peak, scale.table), bottom + 2 * LINE + 2 * GAP)
    return np.asarray(canvas)


def _columns(values: NDArray[np.floating[Any]], neutral: float) -> NDArray[np.floating[Any]]:
    """Value for each column of pixels: of those that share a column the one farthest from what is neutral."""
    starts = np.arange(_WIDTH) * len(values) // _WIDTH
    high, low = np.maximum.reduceat(values, starts), np.minimum.reduceat(values, starts)
    return np.where(neutral - low > high - neutral, low, high)


def _range(curve: NDArray[np.floating[Any]]) -> tuple[float, float]:
    """Least and greatest finite value; 0 and 0 where there is none."""
    known = curve[np.isfinite(curve)]
    return (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)


def _curve(image: Any, draw: Any, curve: NDArray[np.floating[Any]], ends: tuple[float, float], size: tuple[int, int]) -> Any:
    """Mask of a curve, pieces of it between values that are not finite."""
    width, height = (n * _FINE for n in size)
    mask = image.new("L", (width, height))
    pen = draw.Draw(mask)
    span, edge = ends[1] - ends[0] or 1.0, min(2 * _FINE, height / 4)
    share = (curve.astype(np.float64) - ends[0]) / span if ends[1] > ends[0] else np.where(np.isfinite(curve), 0.5, np.nan)
    points = np.stack([(np.arange(len(curve)) + 0.5) * (width / len(curve)), edge + (1 - share) * (height - 2 * edge)], axis=1)
    known = np.isfinite(share)
    for piece in np.split(np.arange(len(curve)), np.flatnonzero(np.diff(known)) + 1):
        if known[piece[0]]:
            line = points[piece] if len(piece) > 1 else points[piece] + [[-_FINE, 0], [_FINE, 0]]
            pen.line(line.ravel().tolist(), fill=255, width=_FINE + 1, joint="curve")
    return mask.reduce(_FINE)


def _axis(pen: Any, font: Any, length: int, top: int) -> None:
    """Numbers of samples below the curves."""
    step = 1
    while length / step > 10:
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    for sample in range(0, length, step):
        x = _LEFT + (sample + 0.5) * _WIDTH / length
        pen.line([(x, top), (x, top + 5)], fill="black")
        pen.text((x, top + 7), str(sample), fill="black", font=font, anchor="ma")
    pen.text((GAP, top + 7), "sample", fill="black", font=font, anchor="la")
