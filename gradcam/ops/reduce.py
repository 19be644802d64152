"""Sums, means, extremes over any axes, their gradients, and argmax."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.ops._call import Attributes, array, call

__all__ = ["REDUCE", "argmax", "argmax_attributes", "max", "mean", "min", "reduce_attributes", "reduce_input_grad", "sum"]

REDUCE = {"sum": 0, "mean": 1, "max": 2, "min": 3}
"""Operator codes of the reduction kernels."""

Axes = int | Iterable[int] | None
MAX_RANK = 8


def reduce_attributes(op: str, shape: Sequence[int], axes: Iterable[int]) -> Attributes:
    """Return the attributes of ``reduce_output`` and ``reduce_extreme_input_grad``; `op` is a key of `REDUCE`."""
    reduced = {axis % len(shape) for axis in axes}
    return Attributes((REDUCE[op], len(shape), *shape, *(int(axis in reduced) for axis in range(len(shape)))))


def argmax_attributes(shape: Sequence[int], axis: int) -> Attributes:
    """Return the attributes of ``argmax_output``."""
    axis %= len(shape)
    return Attributes((math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])))


def checked_axis(function: str, argument: str, axis: int, rank: int) -> int:
    """Return the axis as a non-negative number; ValueError if there is none."""
    if not -rank <= axis < rank:
        raise ValueError(f"{function}: {argument}: expected an axis of an array with {rank} axes, got {axis}")
    return axis % rank


def _axes(function: str, axes: Axes, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Non-negative axes in ascending order; None means all of them."""
    rank = len(shape)
    if axes is None:
        chosen = list(range(rank))
    else:
        chosen = sorted(checked_axis(function, "axes", axis, rank) for axis in ((axes,) if isinstance(axes, int) else axes))
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"{function}: axes: expected different axes, got {axes}")
    for axis in chosen:
        if shape[axis] == 0:
            raise ValueError(f"{function}: x: expected at least 1 element along axis {axis}, got shape {shape}")
    return tuple(chosen)


def _kept_shape(shape: tuple[int, ...], axes: tuple[int, ...], keepdims: bool) -> tuple[int, ...]:
    return tuple(1 if axis in axes else size for axis, size in enumerate(shape) if keepdims or axis not in axes)


def _reduce(op: str, x: object, axes: Axes, keepdims: bool) -> NDArray[Any]:
    x = array(op, "x", x, ndim=(0, MAX_RANK))
    chosen = _axes(op, axes, x.shape)
    return call("reduce_output", reduce_attributes(op, x.shape, chosen), [x], [_kept_shape(x.shape, chosen, keepdims)])[0]


def sum(x: object, axes: Axes = None, keepdims: bool = False) -> NDArray[Any]:
    """Return the sum over axes, accumulated in double in an order that only the shape decides.

    Parameters
    ----------
    x : array_like
        float32 or float64, up to 8 axes.
    axes : int or iterable of int, optional
        Axes to reduce; None means all.
    keepdims : bool
        Keep reduced axes with size 1.

    Returns
    -------
    ndarray

    Raises
    ------
    TypeError, ValueError
        For wrong dtypes, axes that do not exist or occur twice, or a reduced axis of size 0.
    """
    return _reduce("sum", x, axes, keepdims)


def mean(x: object, axes: Axes = None, keepdims: bool = False) -> NDArray[Any]:
    """Return the mean over axes, accumulated in double; parameters and errors as in `sum`."""
    return _reduce("mean", x, axes, keepdims)


def max(x: object, axes: Axes = None, keepdims: bool = False) -> NDArray[Any]:
    """Return the maximum over axes, NaN if one is among them; parameters and errors as in `sum`."""
    return _reduce("max", x, axes, keepdims)


def min(x: object, axes: Axes = None, keepdims: bool = False) -> NDArray[Any]:
    """Return the minimum over axes, NaN if one is among them; parameters and errors as in `sum`."""
    return _reduce("min", x, axes, keepdims)


def reduce_input_grad(op: str, x: object, dy: object, axes: Axes = None) -> NDArray[Any]:
    """Return the gradient of ``sum(dy * op(x, axes))`` with respect to `x`.

    The gradient of a maximum or minimum is shared evenly between equal values (NaN equals NaN here).

    Parameters
    ----------
    op : {"sum", "mean", "max", "min"}
        The reduction.
    x : array_like
        What was reduced.
    dy : array_like
        Gradient at the output, with or without the reduced axes (of size 1), of the dtype of `x`.
    axes : int or iterable of int, optional
        Reduced axes; None means all.

    Returns
    -------
    ndarray
        Of the shape of `x`.

    Raises
    ------
    TypeError, ValueError
        For wrong dtypes, shapes, axes, or an unknown `op`.
    """
    name = "reduce_input_grad"
    if op not in REDUCE:
        raise ValueError(f"{name}: op: expected one of {', '.join(REDUCE)}, got {op!r}")
    x = array(name, "x", x, ndim=(0, MAX_RANK))
    dy = array(name, "dy", dy, like=x)
    chosen = _axes(name, axes, x.shape)
    kept = _kept_shape(x.shape, chosen, True)
    if dy.shape not in (kept, _kept_shape(x.shape, chosen, False)):
        raise ValueError(f"{name}: dy: expected shape {kept}, with or without the axes of size 1 that were reduced, got {dy.shape}")
    if op in ("sum", "mean"):
        divisor = math.prod(x.shape[axis] for axis in chosen) if op == "mean" else 1
        return np.broadcast_to(dy.reshape(kept) / dy.dtype.type(divisor), x.shape).copy()
    attributes = reduce_attributes(op, x.shape, chosen)
    (y,) = call("reduce_output", attributes, [x], [dy.shape])
    return call("reduce_extreme_input_grad", attributes, [x, y, dy], [x.shape])[0]


def argmax(x: object, axis: int = -1) -> NDArray[Any]:
    """Return the position of the first maximum along an axis; a NaN counts as the maximum.

    Parameters
    ----------
    x : array_like
        float32 or float64, at least 1 axis.
    axis : int
        Axis to search along.

    Returns
    -------
    ndarray of int64
        Of the shape of `x` without the axis.

    Raises
    ------
    TypeError, ValueError
        For wrong dtypes, an axis that does not exist or has size 0.
    """
    x = array("argmax", "x", x, ndim=(1, MAX_RANK))
    (chosen,) = _axes("argmax", (axis,), x.shape)
    shape = _kept_shape(x.shape, (chosen,), False)
    return call("argmax_output", argmax_attributes(x.shape, chosen), [x], [shape], result=np.int64)[0]
