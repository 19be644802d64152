"""Removes parts of pictures and asks how the scores change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gradcam.datasets import Scenes
from gradcam.experiments.cases import Cases, Maps, drawn
from gradcam.experiments.study import Study
from gradcam.metrics import pointing_game
from gradcam.model import Model

__all__ = ["erased", "free_boxes", "pointed", "removal_numbers"]

Boxes = NDArray[np.int64]

_TRIES = 200  # boxes proposed for each picture


def pointed(maps: Maps, cases: Cases) -> NDArray[np.int64]:
    """Return the slot of the other object in whose box the mean of a map (M, H, W) is largest, (M,); every picture has one."""
    boxes = drawn(cases.scenes.boxes, maps.shape[1:])
    areas = np.maximum(boxes.sum(axis=(2, 3)), 1)
    means = np.where(boxes, maps[:, None], 0).sum(axis=(2, 3), dtype=np.float64) / areas
    return np.asarray(np.where(cases.others, means, -np.inf).argmax(axis=1))


def free_boxes(boxes: Boxes, scenes: Scenes, seed: int = 0) -> tuple[Boxes, NDArray[np.bool_]]:
    """Place boxes (M, 2, 2) of the same sizes at random where no object is; also return which pictures have such a place, (M,)."""
    rng = np.random.default_rng(seed)
    sizes = boxes[:, :, 1] - boxes[:, :, 0]
    objects = drawn(scenes.boxes, scenes.images.shape[1:]).any(axis=1)
    found, placed = np.zeros_like(boxes), np.zeros(len(boxes), np.bool_)
    for _ in range(_TRIES):
        corner = np.floor(rng.random(sizes.shape) * (np.array(objects.shape[1:]) - sizes + 1)).astype(np.int64)
        trial = np.stack([corner, corner + sizes], axis=-1)
        new = ~placed & ~(drawn(trial, objects.shape[1:]) & objects).any(axis=(1, 2))
        found[new], placed = trial[new], placed | new
    return found, placed


def erased(images: NDArray[np.uint8], boxes: Boxes) -> NDArray[np.uint8]:
    """Fill a box of each picture (M, H, W) with the median of the pixels that surround it."""
    inside = drawn(boxes, images.shape[1:])
    around = drawn(boxes + np.array([-1, 1]), images.shape[1:]) & ~inside
    fill = np.array([np.median(image[ring]) for image, ring in zip(images, around, strict=True)])
    return np.where(inside, fill[:, None, None], images).astype(np.uint8)


def removal_numbers(study: Study, model: Model, cases: Cases, maps: Maps) -> dict[str, dict[str, float]]:
    """Return how the scores of the cases change when a part of the picture is removed: means, and the share that rises.

    The first three are of the cases whose map has its maximum on another object: that object, a random place of its size, the own object.
    The last two are of pictures with several other objects: the one on which the map is densest, and the one on which it is least so.
    """
    every, pictures = np.arange(len(cases)), cases.scenes
    most, least = (pictures.boxes[every, pointed(sign * maps, cases)] for sign in (1, -1))
    free, placed = free_boxes(most, pictures)
    placed &= pointing_game(maps, most, tolerance=0) > 0
    several = cases.others.sum(axis=1) > 1
    before = study.scores(model, cases.inputs)[every, cases.classes]
    numbers = {}
    for name, boxes, chosen in (
        ("pointed at", most, placed),
        ("random place", free, placed),
        ("own object", cases.boxes, placed & cases.masks.any(axis=(1, 2))),
        ("of several: densest", most, several),
        ("of several: least dense", least, several),
    ):
        if chosen.any():
            changed = replace(pictures[chosen], images=erased(pictures.images[chosen], boxes[chosen]))
            change = study.scores(model, changed.inputs)[np.arange(len(changed)), cases.classes[chosen]] - before[chosen]
            numbers[name] = {"change": float(change.mean()), "rises": float((change > 0).mean()), "cases": float(len(changed))}
    return numbers
