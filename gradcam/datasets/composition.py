"""Objects and distractors pasted on cluttered ground: what the sets of scenes share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from gradcam.datasets.clutter import background
from gradcam.datasets.draws import Draws
from gradcam.datasets.scenes import DISTRACTOR, Scenes

__all__ = ["Contrast", "Items", "Layout", "Split", "compose", "labels_of"]

Split = Literal["train", "validation", "test"]
Contrast = Literal["positive", "negative", "mixed"]

_CHUNK = 100  # scenes made at once; always whole chunks, so that scene i does not depend on `count`
_INK = 0.35  # opacity from which a pixel counts as part of an object
_TRIES = 64  # positions proposed per item before giving up
_ROUNDS = 200  # fresh starts of scenes that got stuck before the call gives up

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


class Items(NamedTuple):
    """Things to paste: opacity of patches (n, P, P), and brightness as a share of the item's light; None: all of it."""

    opacity: Floats
    tone: Floats | None = None


@dataclass(frozen=True)
class Layout:
    """The checked settings of a set of scenes."""

    count: int
    seed: int
    split: Split
    size: int
    objects: tuple[int, int]
    scale: tuple[float, float]
    distractors: int
    contrast: Contrast

    def check(self, function: str, classes: int) -> None:
        """Raise ValueError or TypeError for settings that make no scenes."""
        for name in ("count", "seed", "distractors"):
            _whole(function, name, getattr(self, name), 0)
        _whole(function, "size", self.size, 16)
        for name, choices in (("split", get_args(Split)), ("contrast", get_args(Contrast))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{function}: {name}: expected one of {', '.join(choices)}, got {getattr(self, name)!r}")
        if self.distractors > 16:
            raise ValueError(f"{function}: distractors: expected at most 16, got {self.distractors}")
        low, high = _pair(function, "objects", self.objects)
        most = min(classes, 16)
        if not (isinstance(low, int | np.integer) and isinstance(high, int | np.integer) and 0 <= low <= high <= most and high):
            raise ValueError(
                f"{function}: objects: expected the fewest and the most objects of a picture, 0 to {most}, got {self.objects!r}"
            )
        low, high = _pair(function, "scale", self.scale)
        if not 8 <= low <= high <= self.size / 1.5:
            raise ValueError(
                f"{function}: scale: expected the smallest and the largest side of an object, 8 to {self.size / 1.5:g}, got {self.scale!r}"
            )

    @property
    def patch(self) -> int:
        """Side of the patches that items are drawn in: at the rotations and shears used here the largest fits."""
        return 2 * ceil(0.675 * self.scale[1])


def _whole(function: str, name: str, value: Any, least: int) -> None:
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise TypeError(f"{function}: {name}: expected an integer, got {value!r}")
    if value < least:
        raise ValueError(f"{function}: {name}: expected an integer of at least {least}, got {value}")


def _pair(function: str, name: str, value: Any) -> tuple[Any, Any]:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise TypeError(f"{function}: {name}: expected two numbers, got {value!r}")
    return value[0], value[1]


DrawObjects = Callable[[Draws, Ints], Items]
"""Draws the objects of scenes, given the class in each slot (n, slots) or -1: one item for each class, in order."""
DrawDistractors = Callable[[Draws, int], Items]


def compose(function: str, layout: Layout, names: tuple[str, ...], stream: int, draw: DrawObjects, distract: DrawDistractors) -> Scenes:
    """Make the scenes.

    Parameters
    ----------
    names : tuple of str
        Names of the classes.
    stream : int
        Number of the set, which keeps its random numbers apart from those of others.
    draw, distract : callable
        Draw the patches of objects and of distractors.
    """
    n, side, slots = layout.count, layout.size, int(layout.objects[1])
    scenes = Scenes(
        np.empty((n, side, side), np.uint8),
        np.zeros((n, len(names)), np.uint8),
        np.full((n, slots), -1, np.int64),
        np.zeros((n, slots, 2, 2), np.int64),
        np.zeros((n, side, side), np.uint8),
        np.zeros(n, np.bool_),
        names,
    )
    for chunk, start in enumerate(range(0, n, _CHUNK)):
        part = slice(start, min(start + _CHUNK, n))
        rng = Draws(layout.seed, stream, ("train", "validation", "test").index(layout.split), chunk)
        made = _chunk(function, layout, len(names), rng, draw, distract)
        for name, array in made.items():
            getattr(scenes, name)[part] = array[: part.stop - start]
    return replace(scenes, labels=labels_of(scenes.classes, len(names)))


def labels_of(classes: Ints, count: int) -> NDArray[np.uint8]:
    """Multi-label targets (N, count) of the classes of each picture's objects."""
    return np.asarray(np.any(classes[:, :, None] == np.arange(count), axis=1)).astype(np.uint8)


def _chunk(
    function: str, layout: Layout, classes: int, rng: Draws, draw: DrawObjects, distract: DrawDistractors
) -> dict[str, NDArray[Any]]:
    n, (fewest, most) = _CHUNK, layout.objects
    chosen = rng.distinct(n, int(most), classes)
    chosen[np.arange(most) >= fewest + rng.below(most - fewest + 1, (n, 1))] = -1
    present = chosen >= 0
    items, extras = draw(rng, chosen), distract(rng, n * layout.distractors)
    ink, extra_ink = (_ink_boxes(one.opacity) for one in (items, extras))
    number = (np.cumsum(present) - 1).reshape(present.shape)
    extent = np.where(present[..., None], _extents(ink)[number], 0) if len(ink) else np.zeros((*present.shape, 2), np.int64)

    boxes = _place_objects(function, layout, rng, extent, present)
    canvas = _Canvas(layout, background(rng, n, layout.size))
    taken = boxes
    for slot in range(layout.distractors):
        which = np.arange(n) * layout.distractors + slot
        box = _place(rng, _extents(extra_ink)[which], taken, layout.size)
        taken = np.concatenate([taken, box[:, None]], axis=1)
        canvas.paste(extras, extra_ink, which, box, rng.uniform(90, 230, (n,)), DISTRACTOR)
    for slot in range(int(most)):
        canvas.paste(items, ink, number[:, slot], boxes[:, slot], rng.uniform(150, 250, (n,)), slot + 1)

    light, owner = canvas.inner()
    light = light + rng.noise(light.shape) * rng.uniform(2, 10, (n, 1, 1)).astype(np.float32)
    images = np.clip(np.rint(light), 0, 255).astype(np.uint8)
    negative = rng.chance({"positive": 0, "negative": 1, "mixed": 0.5}[layout.contrast], (n,))
    images = np.where(negative[:, None, None], 255 - images, images)
    return {"images": images, "classes": chosen, "boxes": np.maximum(boxes, 0), "owner": owner, "negative": negative}


def _ink_boxes(opacity: Floats) -> Ints:
    """Smallest half-open box (n, 2, 2) around the ink of each patch; the empty box where there is none."""
    ink = opacity >= _INK
    box = np.zeros((len(ink), 2, 2), np.int64)
    for axis in (0, 1):
        line: NDArray[np.bool_] = np.any(ink, axis=2 - axis)
        box[:, axis, 0] = line.argmax(axis=1)
        box[:, axis, 1] = np.where(line.any(axis=1), ink.shape[1] - line[:, ::-1].argmax(axis=1), 0)
    return box


def _extents(boxes: Ints) -> Ints:
    """Height and width of boxes (n, 2, 2)."""
    return boxes[:, :, 1] - boxes[:, :, 0]


def _place(rng: Draws, extent: Ints, taken: Ints, side: int) -> Ints:
    """A free box (n, 2, 2) of an extent (n, 2), clear of `taken` (n, k, 2, 2) by a pixel; -1 where none was found or it is empty."""
    n = len(extent)
    corner = rng.below(side - extent[:, None] + 1, (n, _TRIES, 2))
    box = np.stack([corner, corner + extent[:, None]], axis=-1)
    a, b = box[:, :, None], taken[:, None]
    apart = (a[..., 0] > b[..., 1]) | (b[..., 0] > a[..., 1])
    free = np.all(np.any(apart, axis=3) | (b[..., 0, 0] < 0), axis=2)
    found = np.any(free, axis=1) & np.all(extent > 0, axis=1)
    return np.where(found[:, None, None], box[np.arange(n), np.argmax(free, axis=1)], -1)


def _place_objects(function: str, layout: Layout, rng: Draws, extent: Ints, present: NDArray[np.bool_]) -> Ints:
    """Boxes (n, slots, 2, 2) of the objects that are present, -1 for the others; a scene that gets stuck starts over."""
    boxes = np.full((*extent.shape, 2), -1, np.int64)
    todo = np.arange(len(extent))
    for _ in range(_ROUNDS):
        trial = np.full((len(todo), *boxes.shape[1:]), -1, np.int64)
        for slot in range(extent.shape[1]):
            box = _place(rng, extent[todo, slot], trial[:, :slot], layout.size)
            trial[:, slot] = np.where(present[todo, slot, None, None], box, -1)
        boxes[todo] = trial
        todo = todo[((trial[:, :, 0, 0] < 0) & present[todo]).any(axis=1)]
        if not len(todo):
            return boxes
    raise ValueError(
        f"{function}: objects: expected as many as fit beside each other: {layout.objects[1]} of up to {layout.scale[1]:g} pixels "
        f"do not in {layout.size} x {layout.size}"
    )


class _Canvas:
    """Light and owner of every pixel, with a margin so that patches may hang over the edge."""

    def __init__(self, layout: Layout, ground: Floats) -> None:
        self.margin = layout.patch
        around = ((0, 0), (self.margin, self.margin), (self.margin, self.margin))
        self.light = np.pad(ground, around)
        self.owner = np.zeros(self.light.shape, np.uint8)

    def paste(self, items: Items, ink: Ints, number: Ints, box: Ints, light: NDArray[np.float64], owner: int) -> None:
        """Blend each scene's item over the canvas so that its ink fills `box`; skip -1."""
        rows = np.flatnonzero(box[:, 0, 0] >= 0)
        which = number[rows]
        corner = box[rows, :, 0] - ink[which, :, 0] + self.margin
        opacity = items.opacity[which]
        side = opacity.shape[1]
        paint = light[rows, None, None].astype(np.float32)
        if items.tone is not None:
            paint = paint * items.tone[which]
        under = self._windows(self.light, side, rows, corner)
        self._windows(self.light, side, rows, corner, under + opacity * (paint - under))
        whose = self._windows(self.owner, side, rows, corner)
        self._windows(self.owner, side, rows, corner, np.where(opacity >= _INK, np.uint8(owner), whose))

    @staticmethod
    def _windows(array: NDArray[Any], side: int, rows: Ints, corner: Ints, new: NDArray[Any] | None = None) -> NDArray[Any]:
        windows = sliding_window_view(array, (side, side), axis=(1, 2), writeable=True)
        if new is None:
            return np.asarray(windows[rows, corner[:, 0], corner[:, 1]])
        windows[rows, corner[:, 0], corner[:, 1]] = new
        return new

    def inner(self) -> tuple[Floats, NDArray[np.uint8]]:
        """Light and owner without the margin."""
        kept = slice(self.margin, -self.margin)
        return self.light[:, kept, kept], self.owner[:, kept, kept]
