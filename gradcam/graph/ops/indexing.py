"""ONNX operators that pick and place elements by their positions, all of them emitted as Gather and its gradient.

Positions become row numbers of the flattened array, constants now and computed ones at run time, with an axis of size 1 before them.
Where the array's own leading axis has size 1, that is this one: it may be the axis of the pictures, and every picture is then read at
positions of its own.
"""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Value
from gradcam.graph.onnx_form import Inputs, OnnxNode, Unsupported, onnx_form
from gradcam.graph.ops.gather import checked_index
from gradcam.graph.ops.logic import as_real, negation
from gradcam.graph.ops.rows import row_numbers

__all__ = ["place"]

Rows = NDArray[np.int64]


# Rows of an array ----------------------------------------------------------------------------------------------------


def _as_rows(g: Builder, x: Value, count: int) -> tuple[Value, int]:
    """Return x as `count` rows, and the axis they lie along."""
    return g.reshape(x, (1, count, x.size // count if count else 0)), 1


def _take(g: Builder, x: Value, count: int, rows: Rows | Value) -> Value:
    """Return some of the `count` rows of x: (*lead, rows, elements of a row)."""
    table, axis = _as_rows(g, x, count)
    if isinstance(rows, Value):
        return g.emit("Gather", table, _led(g, table, axis, rows), axis=axis, batch_axes=axis)
    return g.emit("Gather", table, g.constant(rows), axis=axis)


def _led(g: Builder, table: Value, axis: int, rows: Value) -> Value:
    """Return computed row numbers with the leading axis of the table."""
    return g.reshape(rows, (*table.shape[:axis], rows.size))


def place(g: Builder, x: Value, count: int, rows: Rows | Value, updates: Value, reduction: str) -> Value:
    """Return x with `updates` (one row for each of `rows`) written, added, ... at these rows."""
    if not updates.size:
        return x
    table, axis = _as_rows(g, x, count)
    new = g.reshape(updates, (*table.shape[:axis], rows.size, table.shape[-1]))
    if isinstance(rows, Value):
        return g.reshape(_place_computed(g, table, axis, _led(g, table, axis, rows), new, reduction), x.shape)
    if reduction == "add":
        table = g.add(table, _scattered(g, table, axis, rows, new))
    else:
        for own in _rounds(rows, last_only=reduction == "none"):
            part = g.emit("Gather", new, g.constant(own), axis=axis)
            if reduction != "none":
                part = g.emit(_REDUCTIONS[reduction], g.emit("Gather", table, g.constant(rows[own]), axis=axis), part)
            untouched = np.ones((count, 1), np.bool_)
            untouched[rows[own]] = False
            kept = g.emit("Keep", table, as_mask(g, untouched))
            table = g.add(kept, _scattered(g, table, axis, rows[own], part))
    return g.reshape(table, x.shape)


def _place_computed(g: Builder, table: Value, axis: int, rows: Value, updates: Value, reduction: str) -> Value:
    """The same for row numbers that are computed at run time: for each row of the table, the last update that names it."""
    if not rows.size:
        return table
    if reduction == "add":
        return g.add(table, g.emit("GatherGrad", updates, rows, axis=axis, batch_axes=axis, input_shape=table.shape))
    if reduction != "none":
        raise Unsupported(f"reduction '{reduction}' at computed indices")
    last = g.emit("LastRows", rows, size=table.shape[axis])
    found = g.reshape(g.emit("LessOrEqual", g.constant(0.0), as_real(g, last)), (*table.shape[: axis + 1], 1))
    chosen = g.emit("Gather", updates, last, axis=axis, batch_axes=axis)  # of a row without an update the last one, dropped here
    return g.add(g.emit("Keep", table, negation(g, found)), g.emit("Keep", chosen, found))


_REDUCTIONS = {"mul": "Mul", "max": "Max", "min": "Min"}


def as_mask(g: Builder, mask: NDArray[np.bool_]) -> Value:
    """Return a constant of ones and zeros."""
    return g.constant(mask.astype(g.real))


def _scattered(g: Builder, table: Value, axis: int, rows: Rows, updates: Value) -> Value:
    return g.emit("GatherGrad", updates, g.constant(rows), axis=axis, input_shape=table.shape)


def _rounds(rows: Rows, last_only: bool) -> list[Rows]:
    """Positions of `rows`, split so that no row comes twice in a part; only the last of equal rows if asked for."""
    waiting, parts = np.arange(rows.size), []
    while waiting.size:
        order = waiting[::-1] if last_only else waiting
        first = order[np.unique(rows[order], return_index=True)[1]]
        parts.append(np.sort(first))
        waiting = waiting[:0] if last_only else np.setdiff1d(waiting, first)
    return parts


# Row numbers ---------------------------------------------------------------------------------------------------------


def _element_rows(node: OnnxNode, index: Value, x: Value, axis: int, g: Builder) -> Rows | Value:
    """Positions in the flattened x of what GatherElements reads."""
    if len(index.shape) != len(x.shape) or any(a > b for i, (a, b) in enumerate(zip(index.shape, x.shape, strict=True)) if i != axis):
        raise node.bad(f"indices of shape {index.shape} do not fit an array of shape {x.shape}")
    if not index.size:
        return np.zeros(0, np.int64)
    checked = checked_index(node, index, x.shape[axis], g)
    g.reserve(index.size)
    places = [np.zeros((), np.int64) if a == axis else p for a, p in enumerate(np.indices(index.shape, np.int64, sparse=True))]
    if checked.data is not None:
        places[axis] = checked.data
    strides = [prod(x.shape[a + 1 :]) for a in range(len(x.shape))]
    rows = sum((p * stride for p, stride in zip(places, strides, strict=True)), np.zeros(index.shape, np.int64))
    if checked.data is not None:
        return rows.reshape(-1)
    column = g.reshape(checked, (*index.shape, 1))
    return row_numbers(g, column, (x.shape[axis],), wrap=True, strides=(strides[axis],), base=g.constant(rows))


def _nd_rows(node: OnnxNode, index: Value, shape: tuple[int, ...], batch: int, g: Builder) -> tuple[Rows | Value, int]:
    """Row numbers of GatherND and the number of rows; x is a table whose row number is made of the axes that the index names."""
    depth = index.shape[-1] if index.shape else 0
    if not depth or batch + depth > len(shape) or index.shape[:batch] != shape[:batch]:
        raise node.bad(f"indices of shape {index.shape} do not fit an array of shape {shape}")
    sizes, count = shape[batch : batch + depth], prod(shape[: batch + depth])
    tables = np.arange(prod(shape[:batch])).reshape(*shape[:batch], *(1,) * (len(index.shape) - 1 - batch))
    base = np.broadcast_to(tables * prod(sizes), index.shape[:-1])
    if index.data is None:
        return row_numbers(g, checked_index(node, index, 0, g), sizes, wrap=True, base=g.constant(np.ascontiguousarray(base))), count
    data, limits = index.data.astype(np.int64), np.asarray(sizes, np.int64)
    if data.size and not ((data >= -limits) & (data < limits)).all():
        raise node.bad(f"an index is out of range for axes of sizes {sizes}")
    positions = np.where(data < 0, data + limits, data)
    return (base + positions @ np.asarray([prod(sizes[k + 1 :]) for k in range(depth)], np.int64)).reshape(-1), count


# ONNX forms ----------------------------------------------------------------------------------------------------------


def _swapped(g: Builder, x: Value, axis: int) -> Value:
    """Return x with the last axis and `axis` exchanged; integers travel as real numbers."""
    perm = list(range(len(x.shape)))
    perm[axis], perm[-1] = perm[-1], perm[axis]
    if x.is_real or x.data is not None or perm == sorted(perm):
        return g.transpose(x, perm)
    return g.emit("ToIndex", g.transpose(as_real(g, x), perm))


@onnx_form("GatherElements")
def gather_elements(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """y[i, j] = x[index[i, j], j] along axis 0, likewise along others."""
    x, index = node.required(inputs, 0), node.required(inputs, 1)
    axis = node.axis(int(node.attrs.get("axis", 0)), len(x.shape))
    return g.reshape(_take(g, x, x.size, _element_rows(node, index, x, axis, g)), index.shape)


@onnx_form("GatherND")
def gather_nd(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """The last axis of the indices names a position along the first axes of x that are no batch axes."""
    x, index, batch = node.required(inputs, 0), node.required(inputs, 1), int(node.attrs.get("batch_dims", 0))
    if not 0 <= batch < min(len(x.shape), len(index.shape)):
        raise node.bad(f"attribute 'batch_dims': {batch} of {x.shape} and {index.shape}")
    rows, count = _nd_rows(node, index, x.shape, batch, g)
    return g.reshape(_take(g, x, count, rows), (*index.shape[:-1], *x.shape[batch + index.shape[-1] :]))


@onnx_form("ScatterElements", "Scatter")
def scatter_elements(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Write x[index[i, j], j] = updates[i, j] along axis 0, likewise along others; of equal indices the last one holds."""
    x, index, updates = (node.required(inputs, i) for i in range(3))
    axis, reduction = node.axis(int(node.attrs.get("axis", 0)), len(x.shape)), _reduction(node)
    if updates.shape != index.shape:
        raise node.bad(f"updates of shape {updates.shape} do not fit indices of shape {index.shape}")
    return place(g, x, x.size, _element_rows(node, index, x, axis, g), updates, reduction)


@onnx_form("ScatterND")
def scatter_nd(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Write rows at the positions that GatherND would read."""
    x, index, updates = (node.required(inputs, i) for i in range(3))
    reduction, (rows, count) = _reduction(node), _nd_rows(node, index, x.shape, 0, g)
    if updates.shape != (*index.shape[:-1], *x.shape[index.shape[-1] :]):
        raise node.bad(f"updates of shape {updates.shape} do not fit indices of shape {index.shape}")
    return place(g, x, count, rows, updates, reduction)


def _reduction(node: OnnxNode) -> str:
    reduction = str(node.attrs.get("reduction", "none"))
    if reduction not in ("none", "add", *_REDUCTIONS):
        raise Unsupported(f"attribute 'reduction' = '{reduction}'")
    return reduction


@onnx_form("ArgMax", "ArgMin")
def arg_extreme(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Forward only; of equal numbers the first, or the last if asked for."""
    x = node.required(inputs, 0)
    axis = node.axis(int(node.attrs.get("axis", 0)), len(x.shape))
    size, last = x.shape[axis], bool(node.attrs.get("select_last_index", 0))
    x = as_real(g, x)
    if node.op_type == "ArgMin":
        x = g.scale(x, -1) if x.data is None else g.constant(-x.data)
    if last:
        along = tuple(i == axis for i in range(len(x.shape)))
        starts, steps = tuple((size - 1) * a for a in along), tuple(-1 if a else 1 for a in along)
        x = g.emit("Slice", x, starts=starts, steps=steps, sizes=x.shape)
    result = g.emit("ArgMax", x, axis=axis)
    if last:
        result = g.emit("ToIndex", g.emit("Affine", as_real(g, result), alpha=-1.0, beta=float(size - 1)))
    return g.reshape(result, (*x.shape[:axis], 1, *x.shape[axis + 1 :])) if node.attrs.get("keepdims", 1) else result


@onnx_form("Hardmax")
def hardmax(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """1 at the first maximum, 0 elsewhere; along one axis since opset 13, before it over all axes from `axis` on, flattened."""
    x = node.required(inputs, 0)
    axis = node.axis(int(node.attrs.get("axis", 1 if node.opset < 13 else -1)), len(x.shape))
    rows = g.reshape(x, (*x.shape[:axis], prod(x.shape[axis:]))) if node.opset < 13 else x
    size, rest = rows.shape[axis], len(rows.shape) - axis - 1
    first = as_real(g, g.emit("ArgMax", rows, axis=axis))
    first = g.reshape(first, (*rows.shape[:axis], 1, *rows.shape[axis + 1 :]))
    return g.reshape(g.emit("Equal", first, g.constant(np.arange(size, dtype=float).reshape(size, *(1,) * rest))), x.shape)


@onnx_form("TopK")
def top_k(node: OnnxNode, inputs: Inputs, g: Builder) -> list[Value]:
    """Values (with gradient) and positions of the k largest or smallest, best first."""
    x = as_real(g, node.required(inputs, 0))
    axis = node.axis(int(node.attrs.get("axis", -1)), len(x.shape))
    count = node.ints(inputs, 1, "k")
    if count is None or len(count) != 1 or not 1 <= count[0] <= x.shape[axis]:
        raise node.bad(f"k = {count} of an axis of {x.shape[axis]}")
    rows, last = _swapped(g, x, axis), len(x.shape) - 1
    index = g.emit("TopKIndices", rows, k=count[0], largest=bool(node.attrs.get("largest", 1)))
    values = g.emit("Gather", rows, index, axis=last, batch_axes=last)
    return [_swapped(g, values, axis), _swapped(g, index, axis)]


@onnx_form("NonZero")
def non_zero(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Of constants: how many there are is part of the shape."""
    return g.constant(np.asarray(np.nonzero(node.array(inputs, 0)), np.int64))


@onnx_form("Unique")
def unique(node: OnnxNode, inputs: Inputs, g: Builder) -> list[Value]:
    """Of constants: how many there are is part of the shape."""
    x = node.array(inputs, 0)
    axis = node.attrs.get("axis")
    y, first, inverse, counts = np.unique(x, return_index=True, return_inverse=True, return_counts=True, axis=axis)
    inverse = inverse.reshape(-1)
    if not node.attrs.get("sorted", 1):
        order = np.argsort(first)
        y, first, counts = np.take(y, order, axis or 0), first[order], counts[order]
        inverse = np.argsort(order)[inverse]
    return [g.constant(y), *(g.constant(a.astype(np.int64)) for a in (first, inverse, counts))]


def _bit_shift(node: OnnxNode, a: NDArray[np.integer], b: NDArray[np.integer]) -> NDArray[np.integer]:
    return np.asarray(np.left_shift(a, b) if node.attrs.get("direction") == "LEFT" else np.right_shift(a, b))


@onnx_form("BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot")
def bit_arithmetic(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Of constants."""
    arrays = [node.array(inputs, i) for i in range(1 if node.op_type == "BitwiseNot" else 2)]
    g.reserve(prod(np.broadcast_shapes(*(a.shape for a in arrays))))
    if node.op_type == "BitShift":
        return g.constant(_bit_shift(node, *arrays))
    functions = {"BitwiseAnd": np.bitwise_and, "BitwiseOr": np.bitwise_or, "BitwiseXor": np.bitwise_xor, "BitwiseNot": np.invert}
    return g.constant(np.asarray(functions[node.op_type](*arrays)))
