"""Signed maps and their quadrants over a picture, on one scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradcam.errors import require
from gradcam.resampling import resize
from gradcam.render.colormap import NO_DATA, colorize, colormap
from gradcam.render.figure import Scale, panel
from gradcam.render.overlay import as_rgb

if TYPE_CHECKING:
    from gradcam.sign_report import SignReport

__all__ = ["plot_signs", "sign_cells", "sign_panel", "signed_picture", "signs_peak"]

Place = Callable[[NDArray[Any]], NDArray[Any]]
"""Puts a map of the layer's size onto the picture; NaN where the model saw nothing."""

_SHORT = ("supporting, active", "opposing, below zero", "supporting, below zero", "opposing, active")
_SMALLEST = 256


def signed_picture(values: NDArray[Any], peak: float, image: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Draw a signed map: blue is below zero, red above, both full at `peak`.

    Zero is white, or over a picture its pale grey: the colours are multiplied by it, so that they stay those of the table.
    NaN leaves the picture as it is, or gets the grey "no data" colour.
    """
    known = np.isfinite(values)[..., None]
    colours = colorize(0.5 + 0.5 * np.clip(np.where(known[..., 0], values, 0) / (peak or 1), -1, 1), "diverging").astype(np.float64)
    if image is None:
        return np.rint(np.where(known, colours, NO_DATA)).astype(np.uint8)
    shade = 0.76 + 0.24 * image.mean(-1, keepdims=True) / 255
    return np.rint(np.where(known, colours * shade, image)).astype(np.uint8)


def signs_peak(report: SignReport) -> float:
    """Largest absolute value of the map and its quadrants, the common scale; 1 where all are 0."""
    maps = np.stack([report.map, *report.quadrants])
    return float(np.abs(maps[np.isfinite(maps)]).max(initial=0)) or 1.0


def sign_cells(
    report: SignReport, image: NDArray[np.uint8] | None = None, place: Place | None = None
) -> list[tuple[str, NDArray[np.uint8]]]:
    """Titled pictures of one picture's signed map and its four quadrants, on one scale."""
    peak = signs_peak(report)
    photo = None if image is None else _enlarged(as_rgb("signs", image))

    def draw(values: NDArray[Any]) -> NDArray[np.uint8]:
        values = np.atleast_2d(values)
        if photo is None:
            return signed_picture(values, peak)
        placed = values if place is None else place(values)
        return signed_picture(resize(placed[None], photo.shape[:2])[0], peak, photo)

    cells = [(f"signed map\nsum {_number(report.masses.sum())}", draw(report.map))]
    for q, values in enumerate(report.quadrants):
        cells.append((f"Q{q + 1} {_SHORT[q]}\n{_number(report.masses[q])} ({report.shares[q]:.0%})", draw(values)))
    return cells


def sign_panel(report: SignReport, image: NDArray[np.uint8] | None = None, *, place: Place | None = None) -> NDArray[np.uint8]:
    """Draw one picture's report: the picture, the signed map below it, and the four quadrants beside both.

    Parameters
    ----------
    report : SignReport
        Of one picture, with one or two spatial axes.
    image : ndarray of uint8, optional
        The picture.
    place : callable, optional
        Puts a map onto the picture; by default it covers it.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
    """
    if report.map.ndim > 2:
        raise ValueError(f"signs: map: expected one or two spatial axes, got shape {report.map.shape}")
    signed, *quadrants = sign_cells(report, image, place)
    title = report.context.titles[0] if report.context.titles else "the picture"
    if image is not None:
        first = (title, _enlarged(as_rgb("signs", image)))
    else:
        first = (
            f"{title}\nwhat the ReLU leaves",
            signed_picture(np.atleast_2d(np.where(report.map < 0, 0, report.map)), signs_peak(report)),
        )
    return panel([[first, *quadrants[:2]], [signed, *quadrants[2:]]], scale=Scale("all on one scale", signs_peak(report)))


def plot_signs(report: SignReport, image: ArrayLike | None) -> Any:
    """Draw one picture's report with matplotlib; see `SignReport.plot`."""
    if report.map.ndim > 2:
        raise ValueError(f"plot: map: expected one or two spatial axes, got shape {report.map.shape}")
    figure = require("matplotlib.figure", "plot").Figure(figsize=(9.5, 6.2), layout="constrained")
    table = require("matplotlib.colors", "plot").ListedColormap(colormap("diverging") / 255)
    axes, peak = figure.subplots(2, 3), signs_peak(report)
    drawn = {(1, 0): ("signed map = Q1 + Q2 + Q3 + Q4", report.map)}
    for q, place in enumerate([(0, 1), (0, 2), (1, 1), (1, 2)]):
        drawn[place] = f"Q{q + 1} {_SHORT[q]}\n{_number(report.masses[q])} ({report.shares[q]:.0%})", report.quadrants[q]
    if image is None:
        drawn[0, 0] = "what the ReLU leaves", np.where(report.map < 0, 0, report.map)
    else:
        axes[0, 0].imshow(np.asarray(image), cmap="gray")
        axes[0, 0].set_title("picture", fontsize=10)
    for place, (title, values) in drawn.items():
        aspect = "equal" if values.ndim == 2 else "auto"
        shown = axes[place].imshow(np.atleast_2d(values), cmap=table, vmin=-peak, vmax=peak, aspect=aspect)
        axes[place].set_title(title, fontsize=10)
    for one in axes.flat:
        one.set_xticks([])
        one.set_yticks([])
    figure.colorbar(shown, ax=axes, shrink=0.6, label="against  <  0  <  for")
    if report.context.titles:
        figure.suptitle(report.context.titles[0])
    return figure


def _enlarged(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A small picture with each pixel repeated, so that maps over it are smooth."""
    times = max(1, _SMALLEST // max(image.shape[:2]))
    return np.repeat(np.repeat(image, times, 0), times, 1)


def _number(value: float) -> str:
    return f"{value:+.3g}" if value else "0"
