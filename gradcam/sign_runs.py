"""What a sign report needs further runs of a model for: logits of saturated probabilities, and maps of other classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.errors import TargetError
from gradcam.sign_diagnosis import CERTAINTY
from gradcam.sign_facts import SignFacts
from gradcam.targets import ClassScore, Target, Weighted

__all__ = ["other_maps", "saturation"]

Measure = Callable[[Sequence[Target]], SignFacts]
"""Runs a model for one target per picture."""


def saturation(
    scores: NDArray[Any], targets: Sequence[Target], logit: bool, measure: Measure
) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """Scores that are probabilities (else NaN), and the largest gradients of their logits if one of them is extreme.

    Parameters
    ----------
    scores : ndarray, shape (N,)
        What was explained.
    targets : sequence of Target
        One per picture.
    logit : bool
        The scores stand before the model's Softmax or Sigmoid.
    measure : callable
        Runs the model.
    """
    scores = np.asarray(scores, np.float64)
    extreme = np.minimum(np.abs(scores), np.abs(1 - scores))
    named = np.asarray([type(t).__name__ == "Probability" for t in targets], bool)
    classes = [_class_of(t) for t in targets]
    known = np.asarray([c is not None for c in classes], bool)
    probable = known & (named | (extreme < CERTAINTY) & (not logit))
    if not (probable & (extreme < 0.01)).any():
        return (np.where(probable, scores, np.nan), None) if probable.any() else (None, None)
    logits = [ClassScore(c or 0, output=t.output_name()) for c, t in zip(classes, targets, strict=True)]
    return np.where(probable, scores, np.nan), measure(logits).gradients.largest.max(axis=1)


def other_maps(targets: Sequence[Target], classes: int | None, measure: Measure) -> tuple[NDArray[Any], ...]:
    """Raw maps of the next and of the previous class, where the targets are classes.

    Parameters
    ----------
    targets : sequence of Target
        One per picture.
    classes : int or None
        Their number, where it is known.
    measure : callable
        Runs the model.
    """
    if not targets or not all(isinstance(getattr(t, "c", None), int) and not hasattr(t, "d") for t in targets):
        return ()
    maps = []
    for step in (1, -1)[: 2 if classes is None else classes - 1]:
        try:
            maps.append(measure([_neighbour(t, step, classes) for t in targets]).map)
        except TargetError:  # beyond the last class, where their number is not known
            continue
    return tuple(maps)


def _class_of(target: Target) -> int | None:
    """Class of a score that may be a probability: of the class itself, or a weight for one output alone."""
    if isinstance(target, Weighted):
        weights = np.asarray(target.array)
        chosen = np.flatnonzero(weights)
        return int(chosen[0]) if chosen.size == 1 and weights.ndim == 2 else None
    c = getattr(target, "c", None)
    return c if isinstance(c, int) and type(target).__name__ in ("ClassScore", "Probability") else None


def _neighbour(target: Any, step: int, classes: int | None) -> Target:
    """The same target of another class."""
    c = target.c + step
    if classes is None and c < 0:
        raise TargetError("target: there is no class before the first")
    found: Target = replace(target, c=c if classes is None else c % classes)
    return found
