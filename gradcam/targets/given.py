"""Targets from what a user may give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradcam.errors import TargetError
from gradcam.targets.base import Target
from gradcam.targets.classes import ClassScore, Top

__all__ = ["as_target", "per_picture"]


def as_target(target: Any) -> Target:
    """Return a target from what a user may give: a target, a class index, a class name, or None."""
    if isinstance(target, Target):
        return target
    return Top() if target is None else ClassScore(target)


def per_picture(target: Any, pictures: int) -> list[Target]:
    """One target for each picture, from one for all or a list with one each."""
    if isinstance(target, Sequence) and not isinstance(target, str):
        if len(target) != pictures:
            raise TargetError(f"target: expected one target for each of {pictures} pictures, got {len(target)}")
        return [as_target(t) for t in target]
    if isinstance(target, np.ndarray) and target.ndim == 1 and target.dtype.kind in "iu":
        return per_picture([int(t) for t in target], pictures)
    return [as_target(target)] * pictures
