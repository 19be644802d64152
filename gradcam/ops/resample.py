"""Sparse linear maps along one axis: interpolation, padding by repetition, and their transposes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradcam.ops._call import Attributes, array, call
from gradcam.ops.reduce import checked_axis

__all__ = ["Taps", "resample", "resample_attributes"]


@dataclass(frozen=True, slots=True)
class Taps:
    """A sparse matrix (count, size) by rows.

    Output j is the sum of ``weights[t] * x[indices[t]]`` for t from ``starts[j]`` up to ``starts[j + 1]``.

    Attributes
    ----------
    size : int
        Length of the axis that is read.
    starts : ndarray of int64, shape (count + 1,)
        Where the taps of each output begin.
    indices : ndarray of int64, shape (taps,)
        What each tap reads.
    weights : ndarray of float64, shape (taps,)
        Factor of each tap. There is at least one tap; an output need not have any.
    """

    size: int
    starts: NDArray[np.int64]
    indices: NDArray[np.int64]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, size: int, count: int, rows: ArrayLike, indices: ArrayLike, weights: ArrayLike) -> Taps:
        """Return the taps ``(rows[t], indices[t], weights[t])`` in any order; equal places add up, weights of 0 are left out.

        Raises
        ------
        ValueError
            A row outside of `count` or an index outside of `size`.
        """
        row, index = (np.asarray(a, np.int64).reshape(-1) for a in (rows, indices))
        weight = np.asarray(weights, np.float64).reshape(-1)
        if row.size and not (0 <= row.min() and row.max() < count and 0 <= index.min() and index.max() < size):
            raise ValueError(f"Taps.of: indices: expected rows below {count} and indices below {size}")
        places, inverse = np.unique(row * size + index, return_inverse=True)
        total = np.bincount(inverse, weight, places.size)
        places, total = places[total != 0], total[total != 0]
        starts = np.searchsorted(places, np.arange(count + 1) * size)
        return cls(size, starts.astype(np.int64), *_at_least_one(places % max(size, 1), total))

    @classmethod
    def pick(cls, size: int, index: ArrayLike) -> Taps:
        """Return the taps of ``y[j] = x[index[j]]``, and 0 where the index is negative."""
        index = np.asarray(index, np.int64).reshape(-1)
        rows = np.flatnonzero(index >= 0)
        return cls.of(size, index.size, rows, index[rows], np.ones(rows.size))

    @property
    def count(self) -> int:
        """Number of outputs."""
        return self.starts.size - 1

    @property
    def is_identity(self) -> bool:
        """Whether every output is the input at its own place."""
        return (
            self.count == self.size == self.indices.size
            and bool((self.weights == 1).all())
            and bool((self.indices == np.arange(self.size)).all())
            and bool((self.starts == np.arange(self.size + 1)).all())
        )

    def transposed(self) -> Taps:
        """Return the taps of the transposed matrix, which carry the gradient back."""
        used = int(self.starts[-1])
        rows = np.repeat(np.arange(self.count), np.diff(self.starts))
        return Taps.of(self.count, self.size, self.indices[:used], rows, self.weights[:used])

    def apply(self, x: NDArray[Any], axis: int) -> NDArray[Any]:
        """Return the map of `x` in NumPy, for constants of any type of numbers."""
        lines = np.moveaxis(x, axis, 0)
        result = np.zeros((self.count, *lines.shape[1:]))
        lengths = np.diff(self.starts)
        for t in range(int(lengths.max(initial=0))):
            rows = np.flatnonzero(lengths > t)
            taps = self.starts[rows] + t
            result[rows] += self.weights[taps].reshape(-1, *(1,) * (x.ndim - 1)) * lines[self.indices[taps]]
        return np.ascontiguousarray(np.moveaxis(result, 0, axis).astype(x.dtype))


def _at_least_one(indices: NDArray[np.int64], weights: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Operands of a kernel are never empty: a tap that no output uses stands for none."""
    return (indices, weights) if indices.size else (np.zeros(1, np.int64), np.zeros(1))


def resample_attributes(x_shape: Sequence[int], count: int, taps: int, axis: int) -> Attributes:
    """Return the attributes of ``resample_output``."""
    axis %= len(x_shape)
    return Attributes((math.prod(x_shape[:axis]), x_shape[axis], math.prod(x_shape[axis + 1 :]), count, taps))


def resample(x: object, taps: Taps, axis: int = -1) -> NDArray[Any]:
    """Return the sparse linear map of each line along one axis. Its input gradient is ``resample(dy, taps.transposed(), axis)``.

    Elements that no tap names are not read, so a NaN there goes nowhere.

    Parameters
    ----------
    x : array_like
        float32 or float64, at least 1 axis.
    taps : Taps
        The matrix; weights are rounded to the type of `x`.
    axis : int
        Axis of ``taps.size`` elements.

    Returns
    -------
    ndarray, shape (x.shape[:axis]..., taps.count, x.shape[axis + 1:]...)

    Raises
    ------
    TypeError
        For a wrong dtype.
    ValueError
        For an axis that does not exist or does not have the size of the taps.
    """
    x = array("resample", "x", x)
    axis = checked_axis("resample", "axis", axis, x.ndim)
    if x.shape[axis] != taps.size or taps.size < 1:
        raise ValueError(f"resample: x: expected {max(taps.size, 1)} elements along axis {axis} like the taps, got shape {x.shape}")
    shape = (*x.shape[:axis], taps.count, *x.shape[axis + 1 :])
    attributes = resample_attributes(x.shape, taps.count, taps.indices.size, axis)
    return call("resample_output", attributes, [x, taps.starts, taps.indices, taps.weights.astype(x.dtype)], [shape])[0]
