"""What the figures of the experiments share; matplotlib is imported when something is drawn."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.errors import require
from gradcam.experiments.cases import enlarged, most_crowded, present, raw_maps
from gradcam.experiments.networks import LAYERS, Design
from gradcam.experiments.results import Table
from gradcam.experiments.study import Study
from gradcam.render.signs import signed_picture

__all__ = [
    "COLOURS",
    "bars",
    "flat_bars",
    "grid",
    "grouped_bars",
    "legend",
    "lines",
    "outline",
    "png",
    "show_map",
    "show_picture",
    "stacked",
]

COLOURS = ("#2166ac", "#d6604d", "#4d9221", "#8073ac", "#b35806", "#666666", "#01665e", "#c51b7d")
"""Colours of series, in their order."""


def grid(rows: int, columns: int, *, width: float = 4.0, height: float = 3.0) -> tuple[Any, Any]:
    """Return a figure without a window, and its axes [rows][columns]."""
    figure = require("matplotlib.figure", "experiments").Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
    return figure, axes


def bars(ax: Any, table: Table, measures: Sequence[str], rows: Sequence[tuple[str, ...]], labels: Sequence[str]) -> None:
    """Draw one group of bars per row, called `labels`, a bar per measure, with the 95 % interval over the seeds."""
    _bars(ax, [_numbers(table, measure, rows) for measure in measures], labels, measures)


def grouped_bars(
    ax: Any, table: Table, measure: str, series: Sequence[Sequence[tuple[str, ...]]], labels: Sequence[str], names: Sequence[str]
) -> None:
    """Draw one measure of many rows: series i, called ``names[i]``, has one row per group; the groups are called `labels`."""
    _bars(ax, [_numbers(table, measure, rows) for rows in series], labels, names)


def _bars(ax: Any, series: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]], labels: Sequence[str], names: Sequence[str]) -> None:
    """Draw groups of bars: means and half widths of each series."""
    width = 0.8 / len(series)
    for i, ((means, halves), name) in enumerate(zip(series, names, strict=True)):
        places = np.arange(len(means)) + (i - (len(series) - 1) / 2) * width
        ax.bar(places, means, width, yerr=halves, label=name, color=COLOURS[i % len(COLOURS)], error_kw={"elinewidth": 1})
    ax.set_xticks(np.arange(len(labels)), labels)
    ax.axhline(0, color="black", linewidth=0.6)


def flat_bars(ax: Any, table: Table, measure: str, rows: Sequence[tuple[str, ...]], labels: Sequence[str]) -> None:
    """Draw a measure as lying bars, one per row from top to bottom, with the 95 % interval over the seeds."""
    means, halves = _numbers(table, measure, rows)
    colours = [COLOURS[i % len(COLOURS)] for i in range(len(rows))]
    ax.barh(np.arange(len(rows)), means, 0.7, xerr=halves, color=colours, error_kw={"elinewidth": 1})
    ax.set_yticks(np.arange(len(rows)), labels)
    ax.invert_yaxis()
    ax.axvline(0, color="black", linewidth=0.6)


def stacked(ax: Any, table: Table, measures: Sequence[str], rows: Sequence[tuple[str, ...]], labels: Sequence[str]) -> None:
    """Draw one bar per row, the measures on top of each other."""
    bottom = np.zeros(len(rows))
    for i, measure in enumerate(measures):
        means, _ = _numbers(table, measure, rows)
        ax.bar(np.arange(len(rows)), means, 0.7, bottom=bottom, label=measure, color=COLOURS[i % len(COLOURS)])
        bottom += np.nan_to_num(means)
    ax.set_xticks(np.arange(len(rows)), labels)


def lines(ax: Any, table: Table, measure: str, rows: Sequence[tuple[str, ...]], x: Sequence[float], *, label: str, number: int) -> None:
    """Draw a measure against x, one point per row, with the 95 % interval as a band; `number` chooses the colour."""
    means, halves = _numbers(table, measure, rows)
    colour = COLOURS[number % len(COLOURS)]
    ax.plot(x, means, color=colour, label=label, marker="o", markersize=3)
    ax.fill_between(x, means - halves, means + halves, color=colour, alpha=0.2, linewidth=0)


def show_map(ax: Any, map: NDArray[Any], image: NDArray[np.uint8] | None = None, title: str = "", peak: float | None = None) -> None:
    """Draw a signed map at the picture's size: blue below zero, red above, white at zero; full colour at `peak`, its own by default."""
    rgb = None if image is None else np.repeat(image[..., None], 3, axis=2)
    ax.imshow(signed_picture(map, float(np.abs(map).max()) if peak is None else peak, rgb), interpolation="nearest")
    ax.set_title(title, fontsize=9)
    ax.set_xticks([])
    ax.set_yticks([])


def outline(ax: Any, box: NDArray[np.int64], colour: str = "black") -> None:
    """Draw a box ``[[top, bottom], [left, right]]`` over a picture; an empty one leaves it as it is."""
    (top, bottom), (left, right) = box - 0.5
    if bottom > top:
        ax.plot([left, right, right, left, left], [top, top, bottom, bottom, top], color=colour, linewidth=1)


def show_picture(ax: Any, image: NDArray[np.uint8], title: str = "", box: NDArray[np.int64] | None = None) -> None:
    """Draw a picture, and a box ``[[top, bottom], [left, right]]`` in it."""
    ax.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    if box is not None:
        outline(ax, box, COLOURS[1])
    ax.set_title(title, fontsize=9)
    ax.set_xticks([])
    ax.set_yticks([])


def designs(study: Study, chosen: Mapping[str, Design], title: str, height: float) -> Any:
    """Return a figure of the maps of two objects of one scene, at the last layer of networks of several designs; the first seed's."""
    example = most_crowded(present(study.test))
    figure, axes = grid(2, len(chosen) + 1, width=2.0, height=height)
    for row, c in enumerate(example.classes[:2]):
        case = example[row : row + 1]
        show_picture(axes[row][0], case.scenes.images[0], f"{title} {c}", case.boxes[0])
        for ax, (name, design) in zip(axes[row][1:], chosen.items(), strict=True):
            maps = raw_maps(study.trained(design, study.scale.seeds[0]), case, LAYERS[-1])
            show_map(ax, enlarged(maps, case)[0], case.scenes.images[0], name.replace(", ", "\n"))
    return figure


def png(figure: Any) -> bytes:
    """Return a figure as a PNG file; the same figure gives the same bytes."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    return content.getvalue()


def legend(figure: Any, ax: Any) -> None:
    """Put one legend of an axis' series above the whole figure."""
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize=9)


def _numbers(table: Table, measure: str, rows: Sequence[tuple[str, ...]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means and half widths of the intervals; a single seed has no width."""
    found = [table.interval(measure, *row) for row in rows]
    means = np.array([interval.mean for interval in found], np.float64)
    return means, np.nan_to_num(np.array([interval.high for interval in found], np.float64) - means)
