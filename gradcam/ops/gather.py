"""Rows of an axis by number, and the gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.ops._call import Attributes, array, call
from gradcam.ops.reduce import checked_axis

__all__ = ["gather", "gather_attributes", "gather_input_grad"]


def gather_attributes(x_shape: Sequence[int], count: int, axis: int, batch_axes: int = 0) -> Attributes:
    """Return the attributes of ``gather_output`` and ``gather_input_grad`` for `count` indices into an axis of x.

    With `batch_axes`, each step of so many leading axes of x has `count` indices of its own.
    """
    axis %= len(x_shape)
    batch, outer, inner = x_shape[:batch_axes], x_shape[batch_axes:axis], x_shape[axis + 1 :]
    return Attributes((math.prod(batch), math.prod(outer), x_shape[axis], math.prod(inner), count))


def _indices(function: str, indices: object, size: int) -> NDArray[np.int64]:
    """Return int64 indices, all of which exist on an axis of this size."""
    values = np.asarray(indices)
    if values.dtype.kind not in "iu" and values.size:
        raise TypeError(f"{function}: indices: expected integers, got {values.dtype}")
    if size < 1:
        raise ValueError(f"{function}: x: expected at least 1 element along the axis, got 0")
    wrong = values[(values < -size) | (values >= size)] if values.size else values
    if wrong.size:
        raise ValueError(f"{function}: indices: expected {-size}..{size - 1}, got {wrong.flat[0]}")
    return np.require(values, np.int64, ["C_CONTIGUOUS", "ALIGNED"])


def gather(x: object, indices: object, axis: int = 0) -> NDArray[Any]:
    """Return the rows of an axis that `indices` name, like ``numpy.take``.

    Parameters
    ----------
    x : array_like
        float32 or float64, at least 1 axis.
    indices : array_like of int
        Any shape; negative numbers count from the end.
    axis : int
        Axis that the indices replace.

    Returns
    -------
    ndarray, shape (x.shape[:axis]..., indices.shape..., x.shape[axis + 1:]...)

    Raises
    ------
    TypeError
        For wrong dtypes.
    ValueError
        For an axis or an index that does not exist.
    """
    x = array("gather", "x", x)
    axis = checked_axis("gather", "axis", axis, x.ndim)
    numbers = _indices("gather", indices, x.shape[axis])
    shape = (*x.shape[:axis], *numbers.shape, *x.shape[axis + 1 :])
    return call("gather_output", gather_attributes(x.shape, numbers.size, axis), [x, numbers], [shape])[0]


def gather_input_grad(dy: object, indices: object, size: int, axis: int = 0) -> NDArray[Any]:
    """Return the gradient of ``sum(dy * gather(x, indices, axis))`` with respect to `x`.

    Rows that several indices name add up in the order of the indices.

    Parameters
    ----------
    dy : array_like, shape (outer..., indices.shape..., inner...)
        Gradient at the output.
    indices : array_like of int
        As in `gather`.
    size : int
        Size of the axis of `x`.
    axis : int
        Axis of `x` that the indices replaced; negative numbers count from the end of the shape of `x`.

    Returns
    -------
    ndarray, shape (outer..., size, inner...)

    Raises
    ------
    TypeError
        For wrong dtypes.
    ValueError
        For an axis or an index that does not exist, or a `dy` that cannot come from these indices.
    """
    name = "gather_input_grad"
    dy = array(name, "dy", dy)
    numbers = _indices(name, indices, size)
    rank = dy.ndim - numbers.ndim + 1
    axis = checked_axis(name, "axis", axis, rank) if rank > 0 else 0
    if rank < 1 or dy.shape[axis : axis + numbers.ndim] != numbers.shape:
        raise ValueError(f"{name}: dy: expected the axes {numbers.shape} of the indices at axis {axis}, got shape {dy.shape}")
    shape = (*dy.shape[:axis], size, *dy.shape[axis + numbers.ndim :])
    return call("gather_input_grad", gather_attributes(shape, numbers.size, axis), [dy, numbers], [shape])[0]
