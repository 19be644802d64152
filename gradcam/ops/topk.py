"""Positions of the largest or smallest numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.ops._call import Attributes, array, call
from gradcam.ops.reduce import MAX_RANK

__all__ = ["topk", "topk_attributes"]


def topk_attributes(shape: Sequence[int], k: int, largest: bool) -> Attributes:
    """Return the attributes of ``topk_output``; rows lie along the last axis."""
    return Attributes((math.prod(shape[:-1]), shape[-1], k, int(largest)))


def topk(x: object, k: int, *, largest: bool = True) -> NDArray[Any]:
    """Return the positions of the `k` largest or smallest numbers along the last axis, best first.

    Equal numbers go by ascending position; NaN comes after all numbers, for the largest and for the smallest.

    Parameters
    ----------
    x : array_like, shape (..., n)
        float32 or float64, at least 1 axis.
    k : int
        How many, 1 to n.
    largest : bool
        False takes the smallest numbers.

    Returns
    -------
    ndarray of int64, shape (..., k)

    Raises
    ------
    TypeError
        For wrong dtypes, or a `k` that is no integer.
    ValueError
        For an array without axes, or a `k` outside 1 to n.
    """
    x = array("topk", "x", x, ndim=(1, MAX_RANK))
    try:
        count = index(k)
    except TypeError:
        raise TypeError(f"topk: k: expected an integer, got {k!r}") from None
    if not 1 <= count <= x.shape[-1]:
        raise ValueError(f"topk: k: expected 1 to {x.shape[-1]}, the size of the last axis, got {count}")
    return call("topk_output", topk_attributes(x.shape, count, largest), [x], [(*x.shape[:-1], count)], result=np.int64)[0]
