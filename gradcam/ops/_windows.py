"""Strides, dilations and paddings as users give them: one number, one per axis, or (low, high) pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["Padding", "per_axis", "per_side"]

Padding = int | Sequence[int] | Sequence[tuple[int, int]]


def per_axis(function: str, argument: str, value: Any, rank: int, least: int) -> tuple[int, ...]:
    """Return one integer per spatial axis, each at least `least`."""
    numbers = (value,) * rank if np.ndim(value) == 0 else tuple(value)
    whole = all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in numbers)
    if len(numbers) != rank or not whole or min(numbers) < least:
        raise ValueError(f"{function}: {argument}: expected an integer >= {least}, or {rank} of them, got {value!r}")
    return tuple(int(n) for n in numbers)


def per_side(function: str, padding: Any, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return low and high padding per spatial axis."""
    if np.ndim(padding) == 2:
        pairs = [tuple(pair) for pair in padding]
        if len(pairs) == rank and all(len(pair) == 2 for pair in pairs):
            low, high = zip(*pairs, strict=True)
            return per_axis(function, "padding", low, rank, 0), per_axis(function, "padding", high, rank, 0)
        raise ValueError(f"{function}: padding: expected {rank} (low, high) pairs, got {padding!r}")
    both = per_axis(function, "padding", padding, rank, 0)
    return both, both
