"""Operators that only move elements: transpose, slice, split, concat, expand, pad, and their gradients.

All of them are one kernel, the copy of a strided region (``copy_output``), or the same copy into an array filled with a
value (``pad_output``). The builders below return its attributes; those with a fill are for ``pad_output``.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam import _core
from gradcam.environment import resolve_threads
from gradcam.ops import _call
from gradcam.ops._call import Attributes, array, call
from gradcam.ops.reduce import checked_axis, reduce_attributes

__all__ = [
    "concat",
    "concat_attributes",
    "concat_input_grad",
    "contiguous_strides",
    "copy_attributes",
    "expand",
    "expand_attributes",
    "expand_input_grad",
    "pad",
    "pad_attributes",
    "pad_constant_attributes",
    "pad_grad_attributes",
    "pad_input_grad",
    "slice",
    "slice_attributes",
    "slice_grad_attributes",
    "slice_input_grad",
    "split",
    "transpose",
    "transpose_attributes",
    "transpose_input_grad",
]

Ints = Sequence[int]
MAX_RANK = 8


def contiguous_strides(shape: Ints) -> tuple[int, ...]:
    """Return the row-major strides of an array of this shape, in elements."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def copy_attributes(shape: Ints, x_count: int, x_offset: int, x_strides: Ints, y_count: int, y_offset: int, y_strides: Ints) -> Attributes:
    """Return the attributes of ``copy_output``: a region of `shape`, and where it lies in x and in y (in elements)."""
    return Attributes((len(shape), *shape, x_count, x_offset, *x_strides, y_count, y_offset, *y_strides))


def pad_attributes(
    shape: Ints, x_count: int, x_offset: int, x_strides: Ints, y_count: int, y_offset: int, y_strides: Ints, value: float
) -> Attributes:
    """Return the attributes of ``pad_output``: as `copy_attributes`, and the value of all other elements of y."""
    return Attributes(copy_attributes(shape, x_count, x_offset, x_strides, y_count, y_offset, y_strides).ints, (value,))


def transpose_attributes(shape: Ints, perm: Ints) -> Attributes:
    """Return the copy ``x (shape) -> y``, where axis i of y is axis ``perm[i]`` of x."""
    out_shape, strides, count = [shape[axis] for axis in perm], contiguous_strides(shape), math.prod(shape)
    return copy_attributes(out_shape, count, 0, [strides[axis] for axis in perm], count, 0, contiguous_strides(out_shape))


def _slice_view(shape: Ints, starts: Ints, steps: Ints) -> tuple[int, tuple[int, ...]]:
    strides = contiguous_strides(shape)
    offset = sum(start * stride for start, stride in zip(starts, strides, strict=True))
    return offset, tuple(step * stride for step, stride in zip(steps, strides, strict=True))


def slice_attributes(shape: Ints, starts: Ints, steps: Ints, out_shape: Ints) -> Attributes:
    """Return the copy ``x (shape) -> y (out_shape)`` with ``y[i] = x[starts + i * steps]``."""
    offset, strides = _slice_view(shape, starts, steps)
    return copy_attributes(out_shape, math.prod(shape), offset, strides, math.prod(out_shape), 0, contiguous_strides(out_shape))


def slice_grad_attributes(shape: Ints, starts: Ints, steps: Ints, out_shape: Ints) -> Attributes:
    """Return the gradient of a slice: dy (out_shape) scattered into zeros, dx (shape); for ``pad_output``."""
    offset, strides = _slice_view(shape, starts, steps)
    return pad_attributes(out_shape, math.prod(out_shape), 0, contiguous_strides(out_shape), math.prod(shape), offset, strides, 0.0)


def concat_attributes(part_shape: Ints, out_shape: Ints, axis: int, offset: int) -> Attributes:
    """Return the copy of one part into y (out_shape), from position `offset` of the axis on."""
    strides = contiguous_strides(out_shape)
    start = offset * strides[axis]
    return copy_attributes(part_shape, math.prod(part_shape), 0, contiguous_strides(part_shape), math.prod(out_shape), start, strides)


def expand_attributes(shape: Ints, out_shape: Ints) -> Attributes:
    """Return the copy ``x (shape) -> y (out_shape)`` that repeats axes of size 1 and missing leading axes, as NumPy broadcasts."""
    missing = len(out_shape) - len(shape)
    sizes = (*(1 for _ in range(missing)), *shape)
    strides = [0 if size == 1 else stride for size, stride in zip(sizes, (0,) * missing + contiguous_strides(shape), strict=True)]
    return copy_attributes(out_shape, math.prod(shape), 0, strides, math.prod(out_shape), 0, contiguous_strides(out_shape))


def _pad_region(shape: Ints, lo: Ints, hi: Ints) -> tuple[tuple[int, ...], tuple[int, ...], int, int]:
    """Region common to x and its padded form: its shape, the shape of the padded array, its offset in both."""
    out_shape = tuple(low + size + high for size, low, high in zip(shape, lo, hi, strict=True))
    common = tuple(max(0, size - max(0, -low) - max(0, -high)) for size, low, high in zip(shape, lo, hi, strict=True))
    x_offset, y_offset = (
        sum(max(0, sign * low) * stride for low, stride in zip(lo, contiguous_strides(sizes), strict=True))
        for sign, sizes in ((-1, shape), (1, out_shape))
    )
    return common, out_shape, x_offset, y_offset


def pad_constant_attributes(shape: Ints, lo: Ints, hi: Ints, value: float) -> Attributes:
    """Return ``pad_output`` of x (shape) with `lo` cells before and `hi` cells behind each axis; negative numbers crop."""
    region, out_shape, x_offset, y_offset = _pad_region(shape, lo, hi)
    x_strides, y_strides = contiguous_strides(shape), contiguous_strides(out_shape)
    return pad_attributes(region, math.prod(shape), x_offset, x_strides, math.prod(out_shape), y_offset, y_strides, value)


def pad_grad_attributes(shape: Ints, lo: Ints, hi: Ints) -> Attributes:
    """Return ``pad_output`` from dy (padded shape) to dx (shape): padding is cut off, cropped cells get 0."""
    region, out_shape, x_offset, y_offset = _pad_region(shape, lo, hi)
    x_strides, y_strides = contiguous_strides(shape), contiguous_strides(out_shape)
    return pad_attributes(region, math.prod(out_shape), y_offset, y_strides, math.prod(shape), x_offset, x_strides, 0.0)


def _permutation(function: str, axes: Ints | None, rank: int) -> tuple[int, ...]:
    if axes is None:
        return tuple(range(rank))[::-1]
    chosen = tuple(checked_axis(function, "axes", axis, rank) for axis in axes)
    if sorted(chosen) != list(range(rank)):
        raise ValueError(f"{function}: axes: expected each of {rank} axes once, got {tuple(axes)}")
    return chosen


def transpose(x: object, axes: Ints | None = None) -> NDArray[Any]:
    """Return a contiguous copy of `x` whose axis i is axis ``axes[i]`` of `x`.

    Parameters
    ----------
    x : array_like
        float32 or float64, up to 8 axes.
    axes : sequence of int, optional
        A permutation; by default the reversal.

    Returns
    -------
    ndarray

    Raises
    ------
    TypeError, ValueError
        For wrong dtypes, or axes that are no permutation.
    """
    x = array("transpose", "x", x, ndim=(0, MAX_RANK))
    perm = _permutation("transpose", axes, x.ndim)
    return call("copy_output", transpose_attributes(x.shape, perm), [x], [tuple(x.shape[axis] for axis in perm)])[0]


def transpose_input_grad(dy: object, axes: Ints | None = None) -> NDArray[Any]:
    """Return the gradient of ``sum(dy * transpose(x, axes))`` with respect to `x`: the inverse permutation of `dy`."""
    dy = array("transpose_input_grad", "dy", dy, ndim=(0, MAX_RANK))
    perm = _permutation("transpose_input_grad", axes, dy.ndim)
    return transpose(dy, tuple(perm.index(axis) for axis in range(dy.ndim)))


def concat(arrays: Sequence[object], axis: int) -> NDArray[Any]:
    """Join arrays along an axis.

    Parameters
    ----------
    arrays : sequence of array_like
        At least one; equal dtypes and, except along `axis`, equal shapes of 1 to 8 axes.
    axis : int
        Axis to join along.

    Returns
    -------
    ndarray

    Raises
    ------
    TypeError, ValueError
        For wrong dtypes, shapes or axes.
    """
    if not arrays:
        raise ValueError("concat: arrays: expected at least one array, got none")
    first = array("concat", "arrays[0]", arrays[0], ndim=(1, MAX_RANK))
    parts = [array("concat", f"arrays[{i}]", part, like=first) for i, part in enumerate(arrays)]
    axis = checked_axis("concat", "axis", axis, first.ndim)
    for i, part in enumerate(parts):
        wanted = (*first.shape[:axis], *part.shape[axis : axis + 1], *first.shape[axis + 1 :])
        if part.shape != wanted:
            raise ValueError(f"concat: arrays[{i}]: expected the shape {first.shape} except along axis {axis}, got {part.shape}")
    y = np.empty((*first.shape[:axis], sum(part.shape[axis] for part in parts), *first.shape[axis + 1 :]), first.dtype)
    workers, offset = resolve_threads(None) if y.size >= _call.SERIAL_ELEMENTS else 1, 0
    for part in parts:
        attributes = concat_attributes(part.shape, y.shape, axis, offset)
        _core.call("copy_output", _call.isa, y.dtype.char, attributes.ints, (), (part,), (y,), workers)
        offset += part.shape[axis]
    return y


def _split(function: str, argument: str, x: object, sizes: Ints, axis: int) -> tuple[NDArray[Any], ...]:
    x = array(function, argument, x, ndim=(1, MAX_RANK))
    axis = checked_axis(function, "axis", axis, x.ndim)
    if any(size < 0 for size in sizes) or sum(sizes) != x.shape[axis]:
        raise ValueError(f"{function}: sizes: expected sizes that add up to {x.shape[axis]} (axis {axis}), got {tuple(sizes)}")
    parts: list[NDArray[Any]] = []
    for i, size in enumerate(sizes):
        starts = tuple(sum(sizes[:i]) if a == axis else 0 for a in range(x.ndim))
        shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
        parts += call("copy_output", slice_attributes(x.shape, starts, (1,) * x.ndim, shape), [x], [shape])
    return tuple(parts)


def concat_input_grad(dy: object, sizes: Ints, axis: int) -> tuple[NDArray[Any], ...]:
    """Return the gradients of a concatenation of parts with these sizes along `axis`: `dy`, cut into the parts."""
    return _split("concat_input_grad", "dy", dy, sizes, axis)


def split(x: object, sizes: Ints, axis: int) -> tuple[NDArray[Any], ...]:
    """Cut an array along an axis into parts of the given sizes.

    Parameters
    ----------
    x : array_like
        float32 or float64, 1 to 8 axes.
    sizes : sequence of int
        Sizes of the parts, which add up to the size of the axis.
    axis : int
        Axis to cut.

    Returns
    -------
    tuple of ndarray

    Raises
    ------
    TypeError, ValueError
        For wrong dtypes, sizes or axes.
    """
    return _split("split", "x", x, sizes, axis)


def _ranges(
    function: str, shape: Ints, starts: Sequence[int | None], stops: Sequence[int | None], steps: Sequence[int | None] | None
) -> list[range]:
    """Positions that a basic slice takes along each axis; axes without numbers are taken whole."""
    given = [None] * len(starts) if steps is None else steps
    if not len(starts) == len(stops) == len(given) <= len(shape):
        raise ValueError(
            f"{function}: starts, stops, steps: expected equally many numbers, at most {len(shape)} (one per axis), "
            f"got {len(starts)}, {len(stops)} and {len(given)}"
        )
    if 0 in given:
        raise ValueError(f"{function}: steps: expected steps other than 0, got {tuple(given)}")
    whole = [builtins.slice(None)] * (len(shape) - len(starts))
    slices = [*map(builtins.slice, starts, stops, given), *whole]
    return [range(*part.indices(size)) for part, size in zip(slices, shape, strict=True)]


def slice(x: object, starts: Sequence[int | None], stops: Sequence[int | None], steps: Sequence[int | None] | None = None) -> NDArray[Any]:
    """Return ``x[starts[0]:stops[0]:steps[0], ...]`` with the meaning that NumPy gives it, as a contiguous copy.

    Parameters
    ----------
    x : array_like
        float32 or float64, up to 8 axes.
    starts, stops, steps : sequence of (int or None)
        One number per axis, from the first axis on; further axes are taken whole. Steps default to 1 and may be negative.

    Returns
    -------
    ndarray

    Raises
    ------
    TypeError, ValueError
        For wrong dtypes, more numbers than axes, or a step of 0.
    """
    x = array("slice", "x", x, ndim=(0, MAX_RANK))
    taken = _ranges("slice", x.shape, starts, stops, steps)
    shape = tuple(len(positions) for positions in taken)
    attributes = slice_attributes(x.shape, [r.start for r in taken], [r.step for r in taken], shape)
    return call("copy_output", attributes, [x], [shape])[0]


def slice_input_grad(
    dy: object,
    shape: Ints,
    starts: Sequence[int | None],
    stops: Sequence[int | None],
    steps: Sequence[int | None] | None = None,
) -> NDArray[Any]:
    """Return the gradient of ``sum(dy * slice(x, ...))`` with respect to `x` of the given shape: `dy` within zeros."""
    name = "slice_input_grad"
    dy = array(name, "dy", dy, ndim=(0, MAX_RANK))
    taken = _ranges(name, shape, starts, stops, steps)
    wanted = tuple(len(positions) for positions in taken)
    if dy.shape != wanted:
        raise ValueError(f"{name}: dy: expected shape {wanted}, got {dy.shape}")
    attributes = slice_grad_attributes(shape, [r.start for r in taken], [r.step for r in taken], wanted)
    return call("pad_output", attributes, [dy], [tuple(shape)])[0]


def _lo_hi(function: str, pads: Sequence[Ints], rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if len(pads) != rank or any(len(pair) != 2 for pair in pads):
        raise ValueError(f"{function}: pads: expected {rank} (low, high) pairs, one per axis, got {pads}")
    return tuple(pair[0] for pair in pads), tuple(pair[1] for pair in pads)


def pad(x: object, pads: Sequence[Ints], value: float = 0.0) -> NDArray[Any]:
    """Surround an array with a constant.

    Parameters
    ----------
    x : array_like
        float32 or float64, up to 8 axes.
    pads : sequence of (int, int)
        Cells before and behind each axis; negative numbers crop.
    value : float
        What the new cells hold.

    Returns
    -------
    ndarray

    Raises
    ------
    TypeError, ValueError
        For wrong dtypes, another number of pairs than of axes, or cropping more than there is.
    """
    x = array("pad", "x", x, ndim=(0, MAX_RANK))
    lo, hi = _lo_hi("pad", pads, x.ndim)
    shape = tuple(low + size + high for size, low, high in zip(x.shape, lo, hi, strict=True))
    if any(size < 0 for size in shape):
        raise ValueError(f"pad: pads: expected to crop at most the shape {x.shape}, got {pads}")
    return call("pad_output", pad_constant_attributes(x.shape, lo, hi, float(value)), [x], [shape])[0]


def pad_input_grad(dy: object, pads: Sequence[Ints]) -> NDArray[Any]:
    """Return the gradient of ``sum(dy * pad(x, pads))`` with respect to `x`: `dy` without the padding, 0 where x was cropped."""
    name = "pad_input_grad"
    dy = array(name, "dy", dy, ndim=(0, MAX_RANK))
    lo, hi = _lo_hi(name, pads, dy.ndim)
    shape = tuple(size - low - high for size, low, high in zip(dy.shape, lo, hi, strict=True))
    if any(size < 0 for size in shape):
        raise ValueError(f"{name}: pads: expected at most the padding that fits into shape {dy.shape}, got {pads}")
    return call("pad_output", pad_grad_attributes(shape, lo, hi), [dy], [shape])[0]


def _check_broadcast(function: str, argument: str, small: Ints, large: Ints) -> None:
    sizes = tuple(large)[len(large) - len(small) :]
    fits = len(small) <= len(large) and all(a in (1, b) for a, b in zip(small, sizes, strict=True))
    if not fits or len(large) > MAX_RANK:
        raise ValueError(f"{function}: {argument}: expected a shape that {tuple(small)} broadcasts to, got {tuple(large)}")


def expand(x: object, shape: Ints) -> NDArray[Any]:
    """Return a contiguous copy of `x` broadcast to a shape, like ``numpy.broadcast_to``.

    Parameters
    ----------
    x : array_like
        float32 or float64.
    shape : sequence of int
        Shape of the result; axes of size 1 and missing leading axes are repeated.

    Returns
    -------
    ndarray

    Raises
    ------
    TypeError, ValueError
        For wrong dtypes, or a shape that `x` does not broadcast to.
    """
    x = array("expand", "x", x, ndim=(0, MAX_RANK))
    _check_broadcast("expand", "shape", x.shape, shape)
    return call("copy_output", expand_attributes(x.shape, shape), [x], [tuple(shape)])[0]


def expand_input_grad(dy: object, shape: Ints) -> NDArray[Any]:
    """Return the gradient of ``sum(dy * expand(x, dy.shape))`` with respect to `x` of the given shape: sums over repeated axes."""
    name = "expand_input_grad"
    dy = array(name, "dy", dy, ndim=(0, MAX_RANK))
    _check_broadcast(name, "dy", shape, dy.shape)
    missing = dy.ndim - len(shape)
    repeated = [axis for axis in range(dy.ndim) if axis < missing or shape[axis - missing] != dy.shape[axis]]
    if 0 in (dy.shape[axis] for axis in repeated):
        return np.zeros(shape, dy.dtype)
    return call("reduce_output", reduce_attributes("sum", dy.shape, repeated), [dy], [tuple(shape)])[0]
