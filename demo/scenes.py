"""Cluttered 64x64 grey scenes with one to four handwritten digits each.

The handwriting comes from the UCI Optical Recognition of Handwritten Digits data set (E. Alpaydin and C. Kaynak, CC BY 4.0,
doi 10.24432/C50P49) as shipped with scikit-learn (`sklearn.datasets.load_digits`). Everything else is NumPy and one seed.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
Split = Literal["train", "test"]
Box = tuple[int, int, int, int, int]

SIZE = 64  # side of a scene
MAX_DIGITS = 4
TRAIN_SHARE = 0.75

_CHUNK = 250  # scenes made at once; scenes are always made in whole chunks, so scene i does not depend on `count`
_PATCH = 32  # side of the patch an item is drawn in; a 24 pixel digit fits at any rotation used here
_OVERSAMPLE = 4  # bank pixels per pixel of the 8x8 original
_INK = 0.35  # opacity from which a pixel counts as part of the digit
_FRAGMENTS = 3
_STROKES = 4
_BLOBS = 4
_TRIES = 64  # positions proposed per item before giving up


class Digits(NamedTuple):
    """Handwritten digits: `images` (N, 8, 8) float32 in [0, 1], `labels` (N,) int64."""

    images: FloatArray
    labels: IntArray


class _Items(NamedTuple):
    """Things to paste: opacity patches (N, _PATCH, _PATCH), and the box of their ink within the patch (N, 4)."""

    opacity: FloatArray
    ink: IntArray


def load_digits(split: Split) -> Digits:
    """Handwritten digits of one split.

    The file is ordered by writer, so cutting it once (first three quarters: train, rest: test) keeps nearly all writers on
    one side; a random split would show the model every writer of the test scenes.

    Parameters
    ----------
    split : {"train", "test"}
        Which part.

    Returns
    -------
    Digits
        1347 (train) or 450 (test) digits.

    Raises
    ------
    ValueError
        If `split` is neither.
    """
    from sklearn.datasets import load_digits as sklearn_digits

    if split not in ("train", "test"):
        raise ValueError(f"load_digits: split: expected 'train' or 'test', got {split!r}")
    data = sklearn_digits()
    cut = int(len(data.target) * TRAIN_SHARE)
    part = slice(0, cut) if split == "train" else slice(cut, None)
    return Digits((data.images[part] / 16).astype(np.float32), data.target[part].astype(np.int64))


def digit_scenes(
    count: int, seed: int, split: Split, digits: Digits | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], list[list[Box]]]:
    """Scenes with one to four different digits among strokes, blobs, fragments of digits, a gradient and noise.

    Parameters
    ----------
    count : int
        Number of scenes. The first scenes do not depend on it.
    seed : int
        Non-negative; same seed and split, same scenes.
    split : {"train", "test"}
        Which handwriting is used; also enters the seed.
    digits : Digits, optional
        The handwriting, at least one example of every digit; default ``load_digits(split)``.

    Returns
    -------
    images : ndarray, (count, 64, 64) uint8
        Light ink on a dark ground.
    labels : ndarray, (count, 10) uint8
        1 where the digit is present.
    boxes : list of list of tuple
        Per scene, per digit ``(digit, top, left, bottom, right)``: the smallest box around its ink, half open. Boxes of one
        scene do not overlap.

    Raises
    ------
    ValueError
        If `count` or `seed` is negative, `split` is unknown, or `digits` lacks a digit.
    """
    if count < 0:
        raise ValueError(f"digit_scenes: count: expected a non-negative integer, got {count}")
    if seed < 0:
        raise ValueError(f"digit_scenes: seed: expected a non-negative integer, got {seed}")
    if split not in ("train", "test"):
        raise ValueError(f"digit_scenes: split: expected 'train' or 'test', got {split!r}")
    digits = load_digits(split) if digits is None else digits
    missing = sorted(set(range(10)) - set(digits.labels.tolist()))
    if missing:
        raise ValueError(f"digit_scenes: digits: expected every digit 0 to 9, got none of {missing}")
    bank = _smooth_bank(digits.images)

    images = np.empty((count, SIZE, SIZE), np.uint8)
    labels = np.zeros((count, 10), np.uint8)
    boxes: list[list[Box]] = []
    for chunk, start in enumerate(range(0, count, _CHUNK)):
        rng = np.random.default_rng([seed, split == "test", chunk])
        stop = min(start + _CHUNK, count)
        made, classes, found = _make_chunk(rng, bank, digits.labels)
        images[start:stop] = made[: stop - start]
        for i in range(stop - start):
            present = classes[i] >= 0
            labels[start + i, classes[i, present]] = 1
            boxes.append([(int(c), *map(int, b)) for c, b in zip(classes[i, present], found[i, present], strict=True)])  # type: ignore[misc]
    return images, labels, boxes


def _make_chunk(rng: np.random.Generator, bank: FloatArray, labels: IntArray) -> tuple[NDArray[np.uint8], IntArray, IntArray]:
    """One chunk: images (n, 64, 64), digit per slot (n, 4) or -1, boxes (n, 4, 4)."""
    n = _CHUNK
    classes = np.argsort(rng.random((n, 10)), axis=1)[:, :MAX_DIGITS]
    classes[np.arange(MAX_DIGITS) >= rng.integers(1, MAX_DIGITS + 1, (n, 1))] = -1
    items = _draw(rng, bank, _pick(rng, labels, classes.ravel()), fragment=False)
    pieces = _draw(rng, bank, rng.integers(0, len(bank), n * _FRAGMENTS), fragment=True)

    extent = (items.ink[:, 2:] - items.ink[:, :2]).reshape(n, MAX_DIGITS, 2)
    boxes = _place_digits(rng, extent, classes >= 0)
    canvas = _background(rng, n)
    margin = np.zeros((n, SIZE + 2 * _PATCH, SIZE + 2 * _PATCH), np.float32)  # lets patches hang over the edge
    margin[:, _PATCH:-_PATCH, _PATCH:-_PATCH] = canvas

    extent = (pieces.ink[:, 2:] - pieces.ink[:, :2]).reshape(n, _FRAGMENTS, 2)
    taken = boxes
    for slot in range(_FRAGMENTS):
        box = _place(rng, extent[:, slot], taken)
        taken = np.concatenate([taken, box[:, None]], axis=1)
        _paste(margin, pieces, slot, _FRAGMENTS, box, rng.uniform(90, 230, n))
    for slot in range(MAX_DIGITS):
        _paste(margin, items, slot, MAX_DIGITS, boxes[:, slot], rng.uniform(150, 250, n))

    scene = margin[:, _PATCH:-_PATCH, _PATCH:-_PATCH]
    scene = scene + rng.standard_normal(scene.shape, np.float32) * rng.uniform(2, 10, (n, 1, 1)).astype(np.float32)
    return np.clip(np.rint(scene), 0, 255).astype(np.uint8), classes, boxes


def _smooth_bank(images: FloatArray) -> FloatArray:
    """Catmull-Rom interpolation of 8x8 images (with a border of zeros) to `_OVERSAMPLE` times the size."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    side = padded.shape[1]
    centre = (np.arange(side * _OVERSAMPLE) + 0.5) / _OVERSAMPLE - 0.5
    d = np.abs(centre[:, None] - np.arange(side))
    near = 1.5 * d**3 - 2.5 * d**2 + 1
    far = -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    kernel = np.where(d < 1, near, np.where(d < 2, far, 0)).astype(np.float32)
    return np.clip(kernel @ padded @ kernel.T, 0, 1)


def _pick(rng: np.random.Generator, labels: IntArray, classes: IntArray) -> IntArray:
    """Index of a random example of each class; -1 (no digit) gives any."""
    order = np.argsort(labels, kind="stable")
    first = np.searchsorted(labels[order], np.arange(11))
    classes = np.maximum(classes, 0)
    amount = first[classes + 1] - first[classes]
    chosen: IntArray = order[first[classes] + rng.integers(0, amount)]
    return chosen


def _draw(rng: np.random.Generator, bank: FloatArray, index: IntArray, *, fragment: bool) -> _Items:
    """Scale (14 to 24 pixels), rotate (up to 12 degrees) and shear bank images into patches; a fragment keeps one small disc."""
    n = len(index)
    size = rng.uniform(14, 24, n)
    angle = np.deg2rad(rng.uniform(-12, 12, n))
    shear = rng.uniform(-0.15, 0.15, n)
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=1).reshape(n, 2, 2)
    skew = np.broadcast_to(np.eye(2), (n, 2, 2)).copy()
    skew[:, 1, 0] = shear
    into_bank = (turn @ skew) * (8 * _OVERSAMPLE / size)[:, None, None]

    axis = np.arange(_PATCH) - (_PATCH - 1) / 2
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij")).reshape(2, -1)
    at = (into_bank @ grid).astype(np.float32) + np.float32((bank.shape[1] - 1) / 2)
    value = _bilinear(bank, index, at).reshape(n, _PATCH, _PATCH)
    opacity = np.clip(1.6 * value - 0.3, 0, 1)  # crisper edges than plain interpolation
    if fragment:
        towards = rng.uniform(0, 2 * np.pi, n)
        centre = np.stack([np.sin(towards), np.cos(towards)], axis=1) * (0.32 * size)[:, None]
        distance = np.linalg.norm(grid[None] - centre[:, :, None], axis=1).reshape(n, _PATCH, _PATCH)
        radius = rng.uniform(0.16, 0.26, n) * size
        opacity *= np.clip(radius[:, None, None] - distance + 0.5, 0, 1).astype(np.float32)
    return _Items(opacity, _ink_box(opacity))


def _bilinear(bank: FloatArray, index: IntArray, at: FloatArray) -> FloatArray:
    """Sample ``bank[index]`` at positions `at` (n, 2, points); 0 outside."""
    side = bank.shape[1]
    at = np.clip(at, 0, side - 1.001)  # the outermost bank pixels are 0, so clamping equals zero padding
    low = at.astype(np.int64)
    fy, fx = (at - low).transpose(1, 0, 2)
    flat = bank.reshape(-1)
    corner = index[:, None] * side * side + low[:, 0] * side + low[:, 1]
    top = flat[corner] * (1 - fx) + flat[corner + 1] * fx
    bottom = flat[corner + side] * (1 - fx) + flat[corner + side + 1] * fx
    value: FloatArray = top * (1 - fy) + bottom * fy
    return value


def _ink_box(opacity: FloatArray) -> IntArray:
    """Smallest half-open box (n, 4) around the ink; the empty box where there is none."""
    ink = opacity >= _INK
    box = np.zeros((len(ink), 4), np.int64)
    for axis in (0, 1):
        line: NDArray[np.bool_] = np.any(ink, axis=2 - axis)
        box[:, axis] = line.argmax(axis=1)
        box[:, axis + 2] = np.where(line.any(axis=1), _PATCH - line[:, ::-1].argmax(axis=1), 0)
    return box


def _place(rng: np.random.Generator, extent: IntArray, taken: IntArray) -> IntArray:
    """A free box (n, 4) of height and width `extent` (n, 2), clear of `taken` (n, k, 4) by a pixel; -1 where none was found."""
    n = len(extent)
    space = SIZE - extent
    corner = (rng.random((n, _TRIES, 2)) * (space + 1)[:, None]).astype(np.int64)
    box = np.concatenate([corner, corner + extent[:, None]], axis=2)
    a, b = box[:, :, None], taken[:, None]
    apart = (a[..., :2] > b[..., 2:]) | (b[..., :2] > a[..., 2:])  # below or right of it, or above or left of it
    free = (apart.any(axis=3) | (b[..., 0] < 0)).all(axis=2)
    chosen = box[np.arange(n), free.argmax(axis=1)]
    return np.where(np.any(free, axis=1)[:, None], chosen, -1)


def _place_digits(rng: np.random.Generator, extent: IntArray, present: NDArray[np.bool_]) -> IntArray:
    """Boxes (n, 4, 4) for the digits that are `present` (n, 4), -1 for the others; a scene that gets stuck starts over."""
    boxes = np.full((*extent.shape[:2], 4), -1, np.int64)
    todo = np.arange(len(extent))
    while len(todo):
        trial = np.full((len(todo), MAX_DIGITS, 4), -1, np.int64)
        for slot in range(MAX_DIGITS):
            box = _place(rng, extent[todo, slot], trial[:, :slot])
            trial[:, slot] = np.where(present[todo, slot, None], box, -1)
        boxes[todo] = trial
        todo = todo[((trial[..., 0] < 0) & present[todo]).any(axis=1)]
    return boxes


def _paste(canvas: FloatArray, items: _Items, slot: int, slots: int, box: IntArray, brightness: NDArray[np.float64]) -> None:
    """Blend each scene's item `slot` over `canvas` (margin of `_PATCH` on every side) so that its ink fills `box`; skip -1."""
    rows = np.flatnonzero(box[:, 0] >= 0)
    which = rows * slots + slot
    corner = box[rows, :2] - items.ink[which, :2] + _PATCH
    windows = sliding_window_view(canvas, (_PATCH, _PATCH), axis=(1, 2), writeable=True)
    under = windows[rows, corner[:, 0], corner[:, 1]]
    light = brightness[rows, None, None].astype(np.float32)
    windows[rows, corner[:, 0], corner[:, 1]] = under + items.opacity[which] * (light - under)


def _background(rng: np.random.Generator, n: int) -> FloatArray:
    """Linear gradient, soft blobs and thin curved strokes, (n, 64, 64)."""
    axis = np.linspace(-1, 1, SIZE)
    towards = rng.uniform(0, 2 * np.pi, (n, 1, 1))
    slope = rng.uniform(0, 25, (n, 1, 1))
    ground = rng.uniform(15, 60, (n, 1, 1)) + slope * (np.sin(towards) * axis[:, None] + np.cos(towards) * axis)

    centre = rng.uniform(-1, 1, (2, n, _BLOBS, 1))
    radius = rng.uniform(0.05, 0.3, (2, n, _BLOBS, 1))
    bump = np.exp(-0.5 * ((axis - centre) / radius) ** 2)
    ground += np.einsum("nby,nbx->nyx", bump[0] * rng.uniform(-30, 70, (n, _BLOBS, 1)), bump[1], optimize=True)
    return (ground + _strokes(rng, n)).astype(np.float32)


def _strokes(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Thin quadratic curves (n, 64, 64), drawn by spreading many points over their four nearest pixels."""
    points = 2 * SIZE
    t = np.linspace(0, 1, points)
    start, middle, end = rng.uniform(0, SIZE - 2, (3, 2, n, _STROKES, 1))
    y, x = (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end
    light = rng.uniform(0.2, 1.2, (n, _STROKES, 1)) * (rng.random((n, _STROKES, 1)) < 0.7)
    top, left = y.astype(np.int64), x.astype(np.int64)
    canvas = np.zeros(n * SIZE * SIZE)
    base = np.arange(n)[:, None, None] * SIZE * SIZE + top * SIZE + left
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
        share = np.abs(1 - dy - (y - top)) * np.abs(1 - dx - (x - left)) * light
        canvas += np.bincount((base + dy * SIZE + dx).ravel(), share.ravel(), len(canvas))
    return 90 * np.minimum(canvas, 1).reshape(n, SIZE, SIZE)
