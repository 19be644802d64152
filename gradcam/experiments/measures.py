"""Numbers that several experiments take of maps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.experiments.cases import Cases, Maps, enlarged, maps_and_weights
from gradcam.metrics import energy_in_region, iou, pointing_game, region_masses
from gradcam.model import Model

__all__ = ["SIGNS_CAPTION", "balance", "localisation", "signs_of"]

SIGNS_CAPTION = (
    "Where signs are, from -1 (all negative) to 1 (all positive): activations, weights of the channels, the map; and the map inside the "
    "box of the explained object and outside of it."
)


def localisation(maps: Maps, cases: Cases) -> dict[str, float]:
    """Return how well maps find their objects: means over the cases.

    Parameters
    ----------
    maps : array, shape (M, h, w)
        What is shown, at the layer's size.
    cases : Cases
        The objects.

    Returns
    -------
    dict
        ``hits``: pointing game, the maximum lies in the box; ``energy``: share of positive mass in the box; ``iou``: of the part above 15 %
        of the maximum with the box, both as boxes; ``blank``: share of maps without a positive value.
    """
    large, boxes = enlarged(maps, cases), cases.boxes
    return {
        "hits": float(pointing_game(large, boxes, tolerance=0).mean()),
        "energy": float(energy_in_region(large, boxes).mean()),
        "iou": float(iou(large, boxes).mean()),
        "blank": float((maps.max(axis=(1, 2)) <= 0).mean()),
    }


def balance(values: NDArray[Any]) -> float:
    """Return (p - n) / (p + n) with the sums p of positive and n of negative values: 1 all positive, -1 all negative; 0 if all are 0."""
    positive, negative = (float(np.maximum(sign * values, 0).sum(dtype=np.float64)) for sign in (1, -1))
    return (positive - negative) / (positive + negative or 1)


def signs_of(model: Model, cases: Cases, layer: str, *, sign: int = 1) -> dict[str, float]:
    """Return the balance of activations, weights and map of Grad-CAM at a layer, and of the map in the boxes and outside of them."""
    maps, weights = maps_and_weights(model, cases, layer, sign=sign)
    activations = np.asarray(model.run(cases.inputs, outputs=[layer]))
    masks = cases.masks
    masses = region_masses(enlarged(maps, cases), np.stack([masks, ~masks], axis=1))
    positive, negative = masses.positive.sum(axis=0), masses.negative.sum(axis=0)
    inside, outside = (positive - negative) / np.maximum(positive + negative, np.finfo(np.float64).tiny)
    return {
        "activations": balance(activations),
        "weights": balance(weights),
        "map": balance(maps),
        "map in box": float(inside),
        "map outside": float(outside),
    }
