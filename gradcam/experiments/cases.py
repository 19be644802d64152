"""Pairs of a picture and a class to explain, and maps of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gradcam.datasets import Scenes
from gradcam.errors import BlankMapWarning
from gradcam.explanation import Explanation
from gradcam.metrics import region_masses
from gradcam.model import Model
from gradcam.resampling import resize
from gradcam.targets import ClassScore, Negative

__all__ = [
    "VARIANTS",
    "AnyCases",
    "Cases",
    "Maps",
    "absent",
    "centred",
    "drawn",
    "enlarged",
    "explained",
    "maps_and_weights",
    "most_crowded",
    "present",
    "quadrant_maps",
    "raw_maps",
    "region_numbers",
    "relative",
]

Maps = NDArray[np.floating[Any]]

VARIANTS: dict[str, Callable[[Maps], Maps]] = {
    "max(L,0)": lambda maps: np.maximum(maps, 0),
    "L": lambda maps: maps,
    "|L|": np.abs,
    "max(-L,0)": lambda maps: np.maximum(-maps, 0),
}
"""What may be shown of a signed map L."""

_CHUNK = 100  # cases of one run


class AnyCases(Protocol):
    """What maps of any pictures with a class each are made from, and judged by."""

    def __len__(self) -> int: ...

    @property
    def inputs(self) -> NDArray[np.float32]:
        """Pictures as networks read them, (M, C, H, W)."""

    @property
    def size(self) -> tuple[int, ...]:
        """Height and width of a picture."""

    @property
    def masks(self) -> NDArray[np.bool_]:
        """Where the objects are, (M, H, W)."""

    def targets(self, sign: int = 1) -> list[Any]:
        """Score of each class, or its negative."""


@dataclass(frozen=True)
class Cases:
    """Pictures with one class each; a picture may come several times.

    Attributes
    ----------
    scenes : Scenes
        The pictures, M of them.
    picture : ndarray of int64, shape (M,)
        Number of each picture in the scenes that the cases were taken from.
    classes : ndarray of int64, shape (M,)
        What is explained in each.
    """

    scenes: Scenes
    picture: NDArray[np.int64]
    classes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, chosen: slice | NDArray[Any]) -> Cases:
        """Return some of the cases."""
        return replace(self, scenes=self.scenes[chosen], picture=self.picture[chosen], classes=self.classes[chosen])

    @cached_property
    def inputs(self) -> NDArray[np.float32]:
        """Pictures as networks read them, (M, 1, H, W)."""
        return self.scenes.inputs

    @property
    def size(self) -> tuple[int, ...]:
        """Height and width of a picture."""
        return self.scenes.images.shape[1:]

    @cached_property
    def boxes(self) -> NDArray[np.int64]:
        """Box of each object, (M, 2, 2); zeros where the class is absent."""
        return self._each(lambda scenes, c: scenes.class_boxes(c))

    @cached_property
    def masks(self) -> NDArray[np.bool_]:
        """The boxes as masks, (M, H, W); empty where the class is absent."""
        return drawn(self.boxes, self.scenes.images.shape[1:])

    @property
    def others(self) -> NDArray[np.bool_]:
        """Slots of the picture that hold an object of another class, (M, K)."""
        return np.asarray((self.scenes.classes >= 0) & (self.scenes.classes != self.classes[:, None]))

    @property
    def several(self) -> NDArray[np.bool_]:
        """Whether the picture holds an object of another class, (M,)."""
        return np.asarray(self.others.any(axis=1))

    @cached_property
    def other_masks(self) -> NDArray[np.bool_]:
        """Boxes of the objects of other classes as one mask, (M, H, W)."""
        every = drawn(self.scenes.boxes, self.scenes.images.shape[1:])
        return np.asarray(np.any(every & self.others[:, :, None, None], axis=1))

    @cached_property
    def regions(self) -> NDArray[np.bool_]:
        """`gradcam.datasets.Scenes.regions` of each class, (M, 4, H, W): its object, other objects, distractors, ground."""
        return self._each(lambda scenes, c: scenes.regions(c))

    def targets(self, sign: int = 1) -> list[Any]:
        """Score of each class, or its negative."""
        scores = [ClassScore(int(c)) for c in self.classes]
        return scores if sign > 0 else [Negative(score) for score in scores]

    def _each(self, function: Any) -> NDArray[Any]:
        parts = [function(self.scenes[i : i + 1], int(c)) for i, c in enumerate(self.classes)]
        return np.concatenate(parts)


def drawn(boxes: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Boxes (..., 2, 2) as masks (..., H, W)."""
    (top, bottom), (left, right) = np.moveaxis(boxes, (-2, -1), (0, 1))[..., None, None]
    rows, columns = np.arange(shape[0])[:, None], np.arange(shape[1])
    return np.asarray((rows >= top) & (rows < bottom) & (columns >= left) & (columns < right))


def present(scenes: Scenes) -> Cases:
    """Every object of every picture."""
    picture, slot = scenes.objects.T
    return Cases(scenes[picture], picture, scenes.classes[picture, slot])


def most_crowded(cases: Cases) -> Cases:
    """Return the cases of the first picture that has the most of them, for figures."""
    pictures, counts = np.unique(cases.picture, return_counts=True)
    return cases[cases.picture == pictures[counts.argmax()]]


def absent(scenes: Scenes, seed: int = 0) -> Cases:
    """One class for each picture that is not in it, drawn at random."""
    rng = np.random.default_rng(seed)
    draws = np.where(scenes.labels == 0, rng.random(scenes.labels.shape), -1)
    return Cases(scenes, np.arange(len(scenes)), draws.argmax(axis=1))


def explained(
    model: Model, cases: AnyCases, layer: str | None, method: str = "gradcam", *, sign: int = 1, **keywords: Any
) -> list[Explanation]:
    """Explain all cases: the score of each class, or its negative; signed maps, some cases in each explanation."""
    inputs, targets = cases.inputs, cases.targets(sign)
    given: dict[str, Any] = {"layer": layer, "method": method, "relu": False, **keywords}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BlankMapWarning)  # blank maps are counted, not told
        return [model.explain(inputs[i : i + _CHUNK], target=targets[i : i + _CHUNK], **given) for i in range(0, len(cases), _CHUNK)]


def raw_maps(model: Model, cases: AnyCases, layer: str | None, method: str = "gradcam", *, sign: int = 1, **keywords: Any) -> Maps:
    """Signed maps at the layer's size, (M, h, w)."""
    return np.concatenate([e.raw for e in explained(model, cases, layer, method, sign=sign, **keywords)])


def quadrant_maps(model: Model, cases: AnyCases, layer: str, *, sign: int = 1) -> Maps:
    """Return Q1 to Q4 of Grad-CAM at the layer's size, (M, 4, h, w); they sum to the map. See `gradcam.signs`."""
    found = explained(model, cases, layer, sign=sign, signs=True)  # signs: their arrays are kept, so that nothing runs twice
    return np.concatenate([np.stack(e.signs(compare=False).quadrants, axis=1) for e in found])


def centred(maps: Maps) -> Maps:
    """Subtract each map's mean over the positions: the map of activations that are counted from their own mean in each channel."""
    return np.asarray(maps - maps.mean(axis=(1, 2), keepdims=True))


def maps_and_weights(model: Model, cases: AnyCases, layer: str, *, sign: int = 1) -> tuple[Maps, Maps]:
    """Return signed Grad-CAM maps at the layer's size, (M, h, w), and the weights of its channels, (M, C)."""
    found = explained(model, cases, layer, sign=sign)
    maps, weights = (np.concatenate([getattr(e, name) for e in found]) for name in ("raw", "weights"))
    return maps, weights


def enlarged(maps: Maps, cases: AnyCases) -> Maps:
    """Bring maps to the size of the pictures, as `Explanation.map` does it: after the ReLU, linearly. (M, H, W)."""
    return resize(maps, cases.size)


def region_numbers(maps: Maps, regions: NDArray[np.bool_]) -> list[dict[str, float]]:
    """Return for each region which part of the positive and of the negative mass lies there, and how dense it is.

    Parameters
    ----------
    maps : array, shape (M, H, W)
        Signed maps at the size of the pictures.
    regions : ndarray of bool, shape (M, R, H, W)

    Returns
    -------
    list of dict
        Shares are ratios of sums over all cases, so that pictures count by their mass. A density is the share divided by that of maps
        with the same masses spread evenly over each picture: 1 without preference, NaN where there is no mass or no region.
    """
    masses = region_masses(maps, regions)
    numbers: list[dict[str, float]] = [{"area": float(area)} for area in masses.areas.mean(axis=0)]
    for name, parts, totals in (
        ("positive", masses.positive, masses.total_positive),
        ("negative", masses.negative, masses.total_negative),
    ):
        found, even, total = parts.sum(axis=0), (totals[:, None] * masses.areas).sum(axis=0), totals.sum()
        for r, row in enumerate(numbers):
            row[f"{name} share"] = float(found[r] / total) if total > 0 else np.nan
            row[f"{name} density"] = float(found[r] / even[r]) if even[r] > 0 else np.nan
    return numbers


def relative(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Largest difference, relative to the largest value."""
    return float(np.abs(first - second).max() / np.abs(second).max())
