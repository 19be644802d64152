"""ONNX operators that only move, repeat, drop or add up positions: compositions of reshapes, copies and taps."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Value
from gradcam.graph.onnx_form import Inputs, OnnxNode, onnx_form
from gradcam.graph.ops.resample import check_positions, emit_taps, pick
from gradcam.graph.windows import windows
from gradcam.ops.resample import Taps


def _blocks(node: OnnxNode, x: Value) -> int:
    """Block size of a node on pictures (N, C, H, W)."""
    size = int(node.attrs.get("blocksize", 0))
    if len(x.shape) != 4 or size < 1:
        raise node.bad(f"expected an input with 4 axes and a block size of at least 1, got shape {x.shape} and {size}")
    return size


@onnx_form("DepthToSpace")
def depth_to_space(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Channels become blocks of pixels; mode DCR has the block first in the channel axis, CRD last."""
    x = node.required(inputs, 0)
    size = _blocks(node, x)
    mode = node.attrs.get("mode", "DCR")
    n, c, h, w = x.shape
    if mode not in ("DCR", "CRD") or c % size**2:
        raise node.bad(f"expected mode DCR or CRD and a multiple of {size**2} channels, got '{mode}' and {c}")
    c //= size**2
    if mode == "DCR":
        y = g.transpose(g.reshape(x, (n, size, size, c, h, w)), (0, 3, 4, 1, 5, 2))
    else:
        y = g.transpose(g.reshape(x, (n, c, size, size, h, w)), (0, 1, 4, 2, 5, 3))
    return g.reshape(y, (n, c, h * size, w * size))


@onnx_form("SpaceToDepth")
def space_to_depth(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Blocks of pixels become channels; mode DCR has the block first in the channel axis, CRD last."""
    x = node.required(inputs, 0)
    size = _blocks(node, x)
    mode = node.attrs.get("mode", "DCR")
    n, c, h, w = x.shape
    if mode not in ("DCR", "CRD") or h % size or w % size:
        raise node.bad(f"expected mode DCR or CRD and sizes that are multiples of {size}, got '{mode}' and {(h, w)}")
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    y = g.transpose(g.reshape(x, (n, c, h // size, size, w // size, size)), order)
    return g.reshape(y, (n, c * size**2, h // size, w // size))


@onnx_form("Tile")
def tile(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Every axis repeated; the repeats must be constant."""
    x = node.required(inputs, 0)
    repeats = tuple(int(n) for n in node.array(inputs, 1).reshape(-1))
    if len(repeats) != len(x.shape) or min(repeats, default=1) < 0:
        raise node.bad(f"expected {len(x.shape)} repeats of at least 0, got {repeats}")
    for axis, times in enumerate(repeats):
        if axis == 0 and times != 1:  # pictures meet
            check_positions(node, x.shape[0] * times)
            x = pick(g, x, 0, np.tile(np.arange(x.shape[0]), times))
        elif times != 1:
            shape = x.shape
            before, after = prod(shape[:axis]), prod(shape[axis:])
            x = g.expand(g.reshape(x, (before, 1, after)), (before, times, after))
            x = g.reshape(x, (*shape[:axis], times * shape[axis], *shape[axis + 1 :]))
    return x


@onnx_form("CenterCropPad")
def center_crop_pad(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Each axis cut or padded with zeros at both ends to a constant size; the odd cell goes to the high end."""
    x = node.required(inputs, 0)
    rank = len(x.shape)
    axes = tuple(node.axis(int(a), rank) for a in node.attrs.get("axes", range(rank)))
    sizes = node.ints(inputs, 1, "shape")
    if sizes is None or len(sizes) != len(axes) or len(set(axes)) != len(axes) or min(sizes, default=1) < 0:
        raise node.bad(f"expected a size of at least 0 for each of the axes {axes}, got {sizes}")
    lo, hi = [0] * rank, [0] * rank
    for axis, size in zip(axes, sizes, strict=True):
        more = size - x.shape[axis]
        lo[axis] = more // 2 if more > 0 else -(-more // 2)
        hi[axis] = more - lo[axis]
    return g.emit("Pad", x, lo=tuple(lo), hi=tuple(hi), value=0.0) if any(lo) or any(hi) else x


@onnx_form("ReverseSequence")
def reverse_sequence(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """The first elements of each sequence reversed; the lengths must be constant."""
    x = node.required(inputs, 0)
    lengths = node.array(inputs, 1).reshape(-1)
    time, batch = (node.axis(int(node.attrs.get(f"{name}_axis", i)), len(x.shape)) for i, name in enumerate(("time", "batch")))
    if {time, batch} != {0, 1}:
        raise node.bad(f"expected time and batch to be the axes 0 and 1, got {time} and {batch}")
    steps, count = x.shape[time], x.shape[batch]
    if lengths.size != count or (count and not (0 <= lengths.min() and lengths.max() <= steps)):
        raise node.bad(f"expected {count} lengths of 0 to {steps}, got {lengths.tolist()}")
    check_positions(node, steps * count)
    order = np.tile(np.arange(steps), (count, 1))  # (batch, time)
    for line, length in zip(order, lengths, strict=True):
        line[:length] = line[:length][::-1]
    if count and (order == order[0]).all():
        return pick(g, x, time, order[0])
    own = np.arange(count)[:, None]
    index = order * count + own if time == 0 else order + own * steps
    flat = g.reshape(x, (steps * count, *x.shape[2:]))
    return g.reshape(pick(g, flat, 0, index.T if time == 0 else index), x.shape)


@onnx_form("Compress")
def compress(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """The positions of an axis, or of the flattened array, where a constant condition holds."""
    x = node.required(inputs, 0)
    if "axis" not in node.attrs:
        x = g.reshape(x, (x.size,))
    axis = node.axis(int(node.attrs.get("axis", 0)), len(x.shape))
    kept = np.flatnonzero(node.array(inputs, 1).reshape(-1))
    if kept.size and kept[-1] >= x.shape[axis]:
        raise node.bad(f"the condition selects position {int(kept[-1])} of axis {axis} of {x.shape}")
    check_positions(node, kept.size)
    return pick(g, x, axis, kept, always=axis == 0)


@onnx_form("CumSum")
def cum_sum(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Sums of all elements up to each position: a product with a constant triangle."""
    x = node.required(inputs, 0)
    axis = node.axis(int(node.array(inputs, 1).reshape(())), len(x.shape))
    n, reverse, strict = x.shape[axis], bool(node.attrs.get("reverse", 0)), bool(node.attrs.get("exclusive", 0))
    if x.data is not None:
        data = np.flip(x.data, axis) if reverse else x.data
        total = data.cumsum(axis, dtype=data.dtype) - (data if strict else 0)
        return g.constant((np.flip(total, axis) if reverse else total).astype(x.dtype))
    check_positions(node, n, n)
    g.reserve(n * n)
    triangle = np.tri(n, k=-1 if strict else 0)
    triangle = triangle.T if reverse else triangle
    before, after = prod(x.shape[:axis]), prod(x.shape[axis + 1 :])
    if axis == 0:
        y = g.emit("MatMul", g.constant(triangle), g.reshape(x, (n, after)), trans_a=False, trans_b=False)
    elif after == 1:
        y = g.emit("MatMul", g.reshape(x, (before, n)), g.constant(triangle), trans_a=False, trans_b=True)
    else:
        y = g.emit("MatMul", g.constant(triangle), g.reshape(x, (before, n, after)), trans_a=False, trans_b=False)
    return g.reshape(y, x.shape)


@onnx_form("Trilu")
def trilu(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Upper or lower triangle of the last two axes, zeros elsewhere."""
    x = node.required(inputs, 0)
    if len(x.shape) < 2:
        raise node.bad(f"expected an input with at least 2 axes, got {x.shape}")
    k = int(node.array(inputs, 1).reshape(())) if node.optional(inputs, 1) is not None else 0
    rows, columns = x.shape[-2:]
    k = max(-rows, min(k, columns))
    upper = bool(node.attrs.get("upper", 1))
    if x.data is not None:
        return g.constant(np.triu(x.data, k) if upper else np.tril(x.data, k))
    check_positions(node, rows * columns)
    lower = np.tri(rows, columns, k - 1 if upper else k, dtype=np.bool_)
    index = np.where(~lower if upper else lower, np.arange(rows * columns).reshape(rows, columns), -1)
    axis = len(x.shape) - 2
    return g.reshape(pick(g, g.reshape(x, (*x.shape[:-2], rows * columns)), axis, index, always=axis == 0), x.shape)


@onnx_form("Col2Im")
def col2im(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Columns (N, C * block, L) added up at the places of a picture (N, C, *S) that they were cut out of."""
    x = node.required(inputs, 0)
    image, block = (tuple(int(n) for n in node.array(inputs, i).reshape(-1)) for i in (1, 2))
    if len(x.shape) != 3 or len(image) != len(block) or not image or min(image + block) < 1:
        raise node.bad(f"expected columns (N, C * block, L) and positive sizes, got {x.shape}, {image} and {block}")
    n, depth, columns = x.shape
    cells = prod(block)
    stride, lo, hi, dilation = windows(node, image, block)
    axes = zip(image, block, stride, lo, hi, dilation, strict=True)
    counts = [(size + a + b - d * (k - 1) - 1) // s + 1 for size, k, s, a, b, d in axes]
    if depth % cells or min(counts) < 1 or prod(counts) != columns:
        raise node.bad(f"blocks {block} of a picture {image} make {counts} columns of {cells} cells, got {x.shape}")
    check_positions(node, max(prod(image), cells * columns))
    places: NDArray[np.int64] = np.zeros((1, 1), np.int64)  # (cells, columns), by row-major position; negative outside
    outside: NDArray[np.bool_] = np.zeros((1, 1), np.bool_)
    for size, k, s, a, d, count in zip(image, block, stride, lo, dilation, counts, strict=True):
        at = np.arange(k)[:, None] * d + np.arange(count) * s - a
        places = (places[:, None, :, None] * size + at[None, :, None, :]).reshape(-1, places.shape[1] * count)
        beyond = (at < 0) | (at >= size)
        outside = (outside[:, None, :, None] | beyond[None, :, None, :]).reshape(places.shape)
    sources = np.flatnonzero(~outside)
    taps = Taps.of(cells * columns, prod(image), places.reshape(-1)[sources], sources, np.ones(sources.size))
    y = emit_taps(g, g.reshape(x, (n, depth // cells, cells * columns)), 2, taps)
    return g.reshape(y, (n, depth // cells, *image))


# ONNX dtypes of constants that EyeLike makes; real numbers are those of the graph.
_EYE_TYPES: dict[int, type] = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_, 10: np.float32, 11: np.float64}


@onnx_form("EyeLike")
def eye_like(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Ones on a diagonal, in the shape of the input."""
    x = node.required(inputs, 0)
    wanted = int(node.attrs.get("dtype", 0))
    if len(x.shape) != 2 or wanted and wanted not in _EYE_TYPES:
        raise node.bad(f"expected an input with 2 axes and a numeric dtype, got {x.shape} and {wanted}")
    g.reserve(x.size)
    k = max(-x.shape[0], min(int(node.attrs.get("k", 0)), x.shape[1]))
    return g.constant(np.eye(*x.shape, k, dtype=_EYE_TYPES[wanted] if wanted else x.dtype))


@onnx_form("OneHot")
def one_hot(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Of constant indices, depth and values; an index out of range has no hot element."""
    index = node.array(inputs, 0)
    depth = int(node.array(inputs, 1).reshape(()))
    values: NDArray[Any] = node.array(inputs, 2).reshape(-1)
    if depth < 1 or values.size != 2:
        raise node.bad(f"expected a depth of at least 1 and two values, got {depth} and {values.size}")
    axis = node.axis(int(node.attrs.get("axis", -1)), index.ndim + 1)
    check_positions(node, depth)
    g.reserve(index.size * depth)
    index = index.astype(np.int64)
    places = np.expand_dims(np.where(index < 0, index + depth, index), axis)
    hot = places == np.arange(depth).reshape([-1 if i == axis else 1 for i in range(index.ndim + 1)])
    return g.constant(np.where(hot, values[1], values[0]))
