"""What a set of scenes holds, and where everything in it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["DISTRACTOR", "REGIONS", "Scenes"]

DISTRACTOR = 255
"""Value of `Scenes.owner` where a distractor lies."""

REGIONS = ("own", "other", "distractor", "ground")
"""The parts of `Scenes.regions`, in their order."""


@dataclass(frozen=True, eq=False)
class Scenes:
    """Pictures with targets, boxes and masks. Objects of one picture are of different classes, and their boxes do not overlap.

    Attributes
    ----------
    images : ndarray of uint8, shape (N, H, W)
        Grey pictures.
    labels : ndarray of uint8, shape (N, C)
        1 where the class is present.
    classes : ndarray of int64, shape (N, K)
        Class of each object; -1 where a picture has fewer than K.
    boxes : ndarray of int64, shape (N, K, 2, 2)
        Smallest box around each object's mask, as `gradcam.boxes` gives boxes: ``[[top, bottom], [left, right]]``, half open; zeros
        where there is no object.
    owner : ndarray of uint8, shape (N, H, W)
        Whose ink lies where: 0 ground and clutter, k + 1 object k, `DISTRACTOR` a distractor.
    negative : ndarray of bool, shape (N,)
        Pictures of negative contrast: dark ink on a light ground.
    names : tuple of str
        Names of the C classes.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    classes: NDArray[np.int64]
    boxes: NDArray[np.int64]
    owner: NDArray[np.uint8]
    negative: NDArray[np.bool_]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, pictures: slice | NDArray[Any]) -> Scenes:
        """Return some of the pictures, chosen by a slice, their numbers, or a mask of shape (N,)."""
        if isinstance(pictures, int | np.integer):
            raise TypeError(f"Scenes: index: expected a slice or an array, got {pictures!r}: write scenes[{pictures}:{pictures + 1}]")
        arrays = {name: array[pictures] for name, array in vars(self).items() if name != "names"}
        return replace(self, **arrays)

    @property
    def inputs(self) -> NDArray[np.float32]:
        """Pictures as networks read them: (N, 1, H, W) float32 of [0, 1]."""
        return np.divide(self.images[:, None], np.float32(255), dtype=np.float32)

    @property
    def objects(self) -> NDArray[np.int64]:
        """Picture and slot of every object, (M, 2), in order: ``scenes.boxes[tuple(scenes.objects.T)]``."""
        return np.argwhere(self.classes >= 0)

    def slots(self, c: int) -> NDArray[np.int64]:
        """Slot of the object of class `c` in each picture, (N,); -1 where the class is absent."""
        found = self.classes == self._checked("slots", c)
        return np.where(found.any(axis=1), found.argmax(axis=1), -1)

    def class_boxes(self, c: int) -> NDArray[np.int64]:
        """Box of the object of class `c` in each picture, (N, 2, 2); zeros where the class is absent."""
        slot = self.slots(self._checked("class_boxes", c))
        return np.where((slot < 0)[:, None, None], 0, self.boxes[np.arange(len(self)), np.maximum(slot, 0)])

    def class_masks(self, c: int) -> NDArray[np.bool_]:
        """Positions of the object of class `c` in each picture, (N, H, W)."""
        slot = self.slots(self._checked("class_masks", c))
        return np.asarray((self.owner == (slot + 1)[:, None, None]) & (slot >= 0)[:, None, None])

    def regions(self, c: int) -> NDArray[np.bool_]:
        """Split each picture by whose ink lies where, seen from class `c`.

        Returns
        -------
        ndarray of bool, shape (N, 4, H, W)
            In the order of `REGIONS`: the object of the class, those of other classes, distractors, and the ground with its clutter.
            Every position lies in exactly one of them.
        """
        own = self.class_masks(self._checked("regions", c))
        distractor, ground = self.owner == DISTRACTOR, self.owner == 0
        return np.stack([own, ~(own | distractor | ground), distractor, ground], axis=1)

    def _checked(self, function: str, c: int) -> int:
        if not isinstance(c, int | np.integer) or not 0 <= c < len(self.names):
            raise ValueError(f"{function}: c: expected a class from 0 to {len(self.names) - 1}, got {c!r}")
        return int(c)
