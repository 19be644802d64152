"""Coordinates within the patches that items are drawn in, and what makes a fragment of an item."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradcam.datasets.draws import Draws

__all__ = ["Pose", "fragment", "pose"]


class Pose(NamedTuple):
    """Size and place of n items in their patches of P x P pixels.

    `y` and `x`, (n, P, P): where each pixel lies on the item, in pixels from its centre after rotation and shear. `side`, (n, 1, 1): the
    item's side in pixels.
    """

    y: NDArray[np.float32]
    x: NDArray[np.float32]
    side: NDArray[np.float32]


def pose(rng: Draws, n: int, patch: int, scale: tuple[float, float]) -> Pose:
    """Draw sides, rotations of up to 12 degrees and shears of up to 0.15."""
    side = rng.uniform(float(scale[0]), float(scale[1]), (n, 1, 1)).astype(np.float32)
    cosine, sine = (part[:, None, None].astype(np.float32) for part in rng.turns(0.105, n))
    shear = rng.uniform(-0.15, 0.15, (n, 1, 1)).astype(np.float32)
    row, column = _axes(patch)
    skewed = column + shear * row
    return Pose(cosine * row - sine * skewed, sine * row + cosine * skewed, side)


def _axes(patch: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Row and column of each pixel, counted from the centre of the patch."""
    axis = (np.arange(patch) - (patch - 1) / 2).astype(np.float32)
    return axis[:, None], axis[None, :]


def fragment(rng: Draws, opacity: NDArray[np.float32], side: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keep of each item what lies in one small disc off its centre."""
    n, patch = opacity.shape[:2]
    centre = rng.directions(n)[:, :, None, None].astype(np.float32) * (np.float32(0.32) * side)[:, None]
    row, column = _axes(patch)
    down, right = row - centre[:, 0], column - centre[:, 1]
    radius = rng.uniform(0.16, 0.26, (n, 1, 1)).astype(np.float32) * side
    return np.asarray(opacity * np.clip(radius - np.sqrt(down * down + right * right) + np.float32(0.5), 0, 1))
