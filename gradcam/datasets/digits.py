"""Handwritten digits in cluttered scenes.

The handwriting is the test part of Optical Recognition of Handwritten Digits (E. Alpaydin and C. Kaynak, UCI Machine Learning
Repository, 1998, doi 10.24432/C50P49, CC BY 4.0), which scikit-learn carries.
"""

from __future__ import annotations

from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradcam.datasets.composition import Contrast, Items, Layout, Split, compose
from gradcam.datasets.draws import Draws
from gradcam.datasets.patches import Pose, fragment, pose
from gradcam.datasets.scenes import Scenes
from gradcam.errors import require

__all__ = ["Handwriting", "digit_scenes", "load_handwriting"]

_STREAM = 1
_OVERSAMPLE = 4  # bank pixels per pixel of an 8x8 original
_SHARES = {"train": (0, 60), "validation": (60, 75), "test": (75, 100)}
"""Of the file, in percent."""


class Handwriting(NamedTuple):
    """Handwritten digits: `images` (N, 8, 8), ink 0 to 16, and `labels` (N,), 0 to 9."""

    images: NDArray[Any]
    labels: NDArray[Any]


def load_handwriting(split: Split) -> Handwriting:
    """Return the handwritten digits of one split.

    The file is ordered by writer, so cutting it twice (60, 15 and 25 percent) keeps nearly all writers in one split; a random split
    would show a model every writer of the test scenes.

    Parameters
    ----------
    split : {"train", "validation", "test"}
        Which part.

    Returns
    -------
    Handwriting
        1078, 269 or 450 digits: ink 0 to 16 as float64, labels as int64.

    Raises
    ------
    ValueError
        There is no such split.
    MissingExtraError
        scikit-learn is not installed (extra ``experiments``).
    """
    if split not in get_args(Split):
        raise ValueError(f"load_handwriting: split: expected one of {', '.join(get_args(Split))}, got {split!r}")
    data = require("sklearn.datasets", "experiments").load_digits()
    begin, end = (len(data.target) * percent // 100 for percent in _SHARES[split])
    return Handwriting(np.asarray(data.images[begin:end]), np.asarray(data.target[begin:end], np.int64))


def digit_scenes(
    count: int,
    *,
    seed: int = 0,
    split: Split = "train",
    size: int = 64,
    objects: tuple[int, int] = (1, 4),
    scale: tuple[float, float] = (14, 24),
    distractors: int = 3,
    contrast: Contrast = "positive",
    handwriting: Handwriting | tuple[ArrayLike, ArrayLike] | None = None,
) -> Scenes:
    """Make scenes of different handwritten digits among strokes, blobs, a gradient, noise, and fragments of other digits.

    Parameters
    ----------
    count : int
        Number of scenes. The first scenes do not depend on it.
    seed : int
        Same seed, same bits, on any machine.
    split : {"train", "validation", "test"}
        Whose handwriting is used (`load_handwriting`); scenes of two splits share neither a digit nor random numbers.
    size : int
        Side of the pictures, at least 16.
    objects : (int, int)
        The fewest and the most digits of a picture, 0 to 10; each number is as likely as the others.
    scale : (float, float)
        The smallest and the largest side of a digit with its margins, in pixels, 8 to two thirds of `size`.
    distractors : int
        Fragments of digits beside them, at most 16; one that finds no room is left out.
    contrast : {"positive", "negative", "mixed"}
        Light ink on a dark ground, the same pictures turned around (255 - value), or either by chance.
    handwriting : Handwriting, optional
        Other digits than those of `split`: images (N, 8, 8), ink 0 to 16, and labels, with at least one example of every digit.

    Returns
    -------
    Scenes
        Classes 0 to 9, named ``"0"`` to ``"9"``.

    Raises
    ------
    ValueError, TypeError
        A setting makes no scenes, or the digits do not fit beside each other.
    MissingExtraError
        scikit-learn is not installed (extra ``experiments``).

    Examples
    --------
    >>> from gradcam.datasets import digit_scenes
    >>> scenes = digit_scenes(8, seed=1, split="test")
    >>> scenes.inputs.shape, scenes.labels.shape
    ((8, 1, 64, 64), (8, 10))
    """
    layout = Layout(count, seed, split, size, objects, scale, distractors, contrast)
    layout.check("digit_scenes", 10)
    images, labels = _checked(load_handwriting(split) if handwriting is None else handwriting)
    bank = _smooth_bank(images)

    def draw(rng: Draws, classes: NDArray[np.int64]) -> Items:
        present = classes[classes >= 0]
        return Items(_sample(bank, _pick(rng, labels, present), pose(rng, len(present), layout.patch, scale)))

    def distract(rng: Draws, n: int) -> Items:
        placed = pose(rng, n, layout.patch, scale)
        return Items(fragment(rng, _sample(bank, rng.below(len(bank), (n,)), placed), placed.side))

    return compose("digit_scenes", layout, tuple(map(str, range(10))), _STREAM, draw, distract)


def _checked(handwriting: Handwriting | tuple[ArrayLike, ArrayLike]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    images, labels = np.asarray(handwriting[0], np.float64), np.asarray(handwriting[1], np.int64)
    if images.shape != (labels.size, 8, 8) or labels.ndim != 1:
        raise ValueError(f"digit_scenes: handwriting: expected shapes (N, 8, 8) and (N,), got {images.shape} and {labels.shape}")
    missing = sorted(set(range(10)) - set(labels.tolist()))
    if missing or not set(labels.tolist()) <= set(range(10)):
        raise ValueError(f"digit_scenes: handwriting: expected every digit 0 to 9 and no other label, got none of {missing}")
    if not ((images >= 0) & (images <= 16)).all():
        raise ValueError("digit_scenes: handwriting: expected ink from 0 to 16")
    return np.rint(images * 16) / 256, labels


def _smooth_bank(images: NDArray[np.float64]) -> NDArray[np.float32]:
    """Catmull-Rom interpolation of 8x8 images (with a border of zeros) to `_OVERSAMPLE` times the size.

    Pixels and weights are short binary fractions, so the products are exact in whatever order a library adds them.
    """
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    side = padded.shape[1]
    centre = (np.arange(side * _OVERSAMPLE) + 0.5) / _OVERSAMPLE - 0.5
    d = np.abs(centre[:, None] - np.arange(side))
    near = 1.5 * d * d * d - 2.5 * d * d + 1
    far = -0.5 * d * d * d + 2.5 * d * d - 4 * d + 2
    kernel = np.where(d < 1, near, np.where(d < 2, far, 0))
    return np.clip(kernel @ padded @ kernel.T, 0, 1).astype(np.float32)


def _pick(rng: Draws, labels: NDArray[np.int64], classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index of a random example of each class."""
    order = np.argsort(labels, kind="stable")
    first = np.searchsorted(labels[order], np.arange(11))
    amount = first[classes + 1] - first[classes]
    chosen: NDArray[np.int64] = order[first[classes] + rng.below(amount, classes.shape)]
    return chosen


def _sample(bank: NDArray[np.float32], index: NDArray[np.int64], placed: Pose) -> NDArray[np.float32]:
    """Opacity (n, P, P): ``bank[index]`` sampled bilinearly, with crisper edges than plain interpolation."""
    side = bank.shape[1]
    step, middle = np.float32(8 * _OVERSAMPLE) / placed.side, np.float32((side - 1) / 2)
    # the outermost bank pixels are 0, so holding positions back equals a border of zeros
    y, x = (np.clip(step * axis + middle, 0, np.float32(side - 1.001)) for axis in (placed.y, placed.x))
    top, left = y.astype(np.int32), x.astype(np.int32)
    fy, fx = y - top.astype(np.float32), x - left.astype(np.float32)
    flat = bank.reshape(-1)
    corner = index[:, None, None].astype(np.int32) * (side * side) + top * side + left
    a, b, c, d = (flat.take(corner + offset) for offset in (0, 1, side, side + 1))
    upper, lower = a + fx * (b - a), c + fx * (d - c)
    value = upper + fy * (lower - upper)
    return np.asarray(np.clip(np.float32(1.6) * value - np.float32(0.3), 0, 1))
