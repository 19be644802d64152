"""Shapes filled with textures, drawn by formulas: the same pictures can be labelled by either."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from gradcam.datasets.composition import Contrast, Items, Layout, Split, compose, labels_of
from gradcam.datasets.draws import Draws
from gradcam.datasets.patches import Pose, fragment, pose
from gradcam.datasets.scenes import Scenes

__all__ = ["SHAPES", "TEXTURES", "By", "shape_scenes"]

SHAPES = ("disc", "square", "triangle", "cross", "ring", "half")
TEXTURES = ("rows", "columns", "slopes", "checks", "dots", "rings")

By = Literal["shape", "texture"]

_STREAM = 2

Floats = NDArray[np.float32]


def shape_scenes(
    count: int,
    *,
    by: By = "shape",
    seed: int = 0,
    split: Split = "train",
    size: int = 64,
    objects: tuple[int, int] = (1, 3),
    scale: tuple[float, float] = (18, 26),
    distractors: int = 3,
    contrast: Contrast = "positive",
) -> Scenes:
    """Make scenes of textured shapes among strokes, blobs, a gradient, noise, and plain fragments of shapes.

    Every object has a shape and a texture, drawn independently; the objects of a picture differ in both. `by` says which of the two the
    labels name, and changes nothing else: the pictures are the same.

    Parameters
    ----------
    count : int
        Number of scenes. The first scenes do not depend on it.
    by : {"shape", "texture"}
        What the classes are: `SHAPES` (disc, square, triangle, cross, ring, half a disc) or `TEXTURES` (stripes along rows, columns or a
        diagonal, checks, dots, rings around the centre).
    seed, split, size, distractors, contrast
        As in `digit_scenes`; a split has random numbers of its own.
    objects : (int, int)
        The fewest and the most objects of a picture, 0 to 6; each number is as likely as the others.
    scale : (float, float)
        The smallest and the largest side of an object, in pixels, 8 to two thirds of `size`; textures need about 12.

    Returns
    -------
    Scenes
        Classes 0 to 5, named as in `SHAPES` or `TEXTURES`. An object's mask is its whole shape, dark parts of the texture too.

    Raises
    ------
    ValueError, TypeError
        A setting makes no scenes, or the objects do not fit beside each other.

    Examples
    --------
    >>> from gradcam.datasets import shape_scenes
    >>> scenes = shape_scenes(8, by="texture")
    >>> scenes.inputs.shape, scenes.names[1]
    ((8, 1, 64, 64), 'columns')
    """
    if by not in get_args(By):
        raise ValueError(f"shape_scenes: by: expected one of {', '.join(get_args(By))}, got {by!r}")
    layout = Layout(count, seed, split, size, objects, scale, distractors, contrast)
    layout.check("shape_scenes", len(SHAPES))

    textures: list[NDArray[np.int64]] = []

    def draw(rng: Draws, classes: NDArray[np.int64]) -> Items:
        present = classes >= 0
        textures.append(np.where(present, rng.distinct(len(classes), classes.shape[1], len(TEXTURES)), -1))
        placed = pose(rng, int(present.sum()), layout.patch, scale)
        period = rng.uniform(4.5, 6, placed.side.shape).astype(np.float32)
        return Items(_silhouettes(classes[present], placed), _tones(textures[-1][present], placed, period))

    def distract(rng: Draws, n: int) -> Items:
        placed = pose(rng, n, layout.patch, scale)
        bars_and_arcs = np.where(rng.chance(0.5, (n,)), SHAPES.index("cross"), SHAPES.index("ring"))
        return Items(fragment(rng, _silhouettes(bars_and_arcs, placed), placed.side))

    scenes = compose("shape_scenes", layout, SHAPES, _STREAM, draw, distract)
    if by == "shape" or not textures:
        return replace(scenes, names=SHAPES if by == "shape" else TEXTURES)
    classes = np.concatenate(textures)[:count]
    return replace(scenes, classes=classes, labels=labels_of(classes, len(TEXTURES)), names=TEXTURES)


def _silhouettes(shapes: NDArray[np.int64], placed: Pose) -> NDArray[np.float32]:
    """Opacity (n, P, P) of each shape: its depth below the edge in pixels, cut to [0, 1] around the edge."""
    depth = np.empty_like(placed.y)
    for number, name in enumerate(SHAPES):
        chosen = shapes == number
        depth[chosen] = _depth(name, placed.y[chosen], placed.x[chosen], placed.side[chosen] / 2)
    return np.asarray(np.clip(depth + 0.5, 0, 1))


def _depth(name: str, y: Floats, x: Floats, r: Floats) -> Floats:
    """Depth below the nearest edge, in pixels, negative outside; r is half of the side."""
    distance = np.sqrt(y * y + x * x)
    if name == "disc":
        return np.asarray(r - distance)
    if name == "square":
        return np.asarray(0.88 * r - np.maximum(np.abs(y), np.abs(x)))
    if name == "triangle":  # base below, apex above
        return np.asarray(np.minimum(0.9 * r - y, 0.447 * (y + 0.95 * r) - 0.831 * np.abs(x)))
    if name == "cross":
        across, along = (np.minimum(0.36 * r - np.abs(a), r - np.abs(b)) for a, b in ((y, x), (x, y)))
        return np.asarray(np.maximum(across, along))
    if name == "ring":
        return np.asarray(0.26 * r - np.abs(distance - 0.74 * r))
    low = y + 0.5 * r  # half a disc, flat side above
    return np.asarray(np.minimum(1.1 * r - np.sqrt(low * low + x * x), low))


def _tones(textures: NDArray[np.int64], placed: Pose, period: Floats) -> NDArray[np.float32]:
    """Brightness (n, P, P) of each texture, 0.25 to 1 of the light of its object."""
    tone = np.empty_like(placed.y)
    for number, name in enumerate(TEXTURES):
        chosen = textures == number
        tone[chosen] = _tone(name, placed.y[chosen], placed.x[chosen], period[chosen])
    return 0.25 + 0.75 * tone


def _tone(name: str, y: Floats, x: Floats, period: Floats) -> Floats:
    """Light parts 1, dark parts 0."""
    if name == "rows":
        return _stripes(y / period)
    if name == "columns":
        return _stripes(x / period)
    if name == "slopes":
        return _stripes(0.707 * (y + x) / period)
    if name == "checks":
        rows, columns = _stripes(y / (1.5 * period)), _stripes(x / (1.5 * period))
        return np.asarray(rows * columns + (1 - rows) * (1 - columns))
    if name == "dots":
        down, right = (_wave(axis / period) * period / 2 for axis in (y, x))
        return np.asarray(np.clip(0.3 * period + 0.5 - np.sqrt(down * down + right * right), 0, 1))
    return _stripes(np.asarray(np.sqrt(y * y + x * x) / period))


def _wave(t: Floats) -> Floats:
    """Triangle wave of period 1: 0 at whole numbers, 1 between them."""
    return np.asarray(2 * np.abs(t - np.floor(t + 0.5)))


def _stripes(t: Floats) -> Floats:
    """Soft stripes of period 1, light at whole numbers."""
    return np.asarray(np.clip(2.5 * (0.5 - _wave(t)) + 0.5, 0, 1))
