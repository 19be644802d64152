"""Operators that move elements: reshape, transpose, slice, concat, expand."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradcam.graph.builder import Builder
from gradcam.graph.ir import MANY, Node, Shape, Value
from gradcam.graph.onnx_form import Inputs, OnnxNode, onnx_form
from gradcam.graph.operators import Mixes, elementwise_picture_axis, operator
from gradcam.ops import layout as kernels

if TYPE_CHECKING:
    from gradcam.graph.plan import PlanBuilder

Arrays = list[NDArray[Any] | None]


def _array(arrays: Arrays) -> NDArray[Any]:
    assert arrays[0] is not None
    return arrays[0]


@operator("Reshape", indices=(0,))
class Reshape:
    """The same elements in another shape: no work at run time."""

    @staticmethod
    def shape(node: Node) -> Shape:
        return tuple(node.attrs["shape"])

    @staticmethod
    def picture_axis(node: Node, axes: list[int | None]) -> int | None:
        # At one picture the axis has size 1 and can stand wherever the same number of elements precedes it; an axis
        # that begins there with a larger size has swallowed it as its outer factor, and is independent all the same.
        if axes[0] is None:
            return None
        before = prod(node.input(0).shape[: axes[0]])
        shape = node.outputs[0].shape
        places = [i for i in range(len(shape)) if prod(shape[:i]) == before]
        if not places:
            raise Mixes
        return next((i for i in places if shape[i] == 1), places[0])

    @staticmethod
    def evaluate(node: Node, arrays: Arrays) -> NDArray[Any]:
        return _array(arrays).reshape(node.attrs["shape"])

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        return [g.reshape(dy, node.input(0).shape)]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        p.alias(node.outputs[0], node.input(0))


@operator("Transpose")
class Transpose:
    """Axes in the order `perm`."""

    @staticmethod
    def shape(node: Node) -> Shape:
        return tuple(node.input(0).shape[i] for i in node.attrs["perm"])

    @staticmethod
    def picture_axis(node: Node, axes: list[int | None]) -> int | None:
        return None if axes[0] is None else int(node.attrs["perm"].index(axes[0]))

    @staticmethod
    def evaluate(node: Node, arrays: Arrays) -> NDArray[Any]:
        return np.ascontiguousarray(_array(arrays).transpose(node.attrs["perm"]))

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        return [g.transpose(dy, tuple(int(i) for i in np.argsort(node.attrs["perm"])))]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        x, perm = node.input(0), node.attrs["perm"]
        if [i for i in perm if x.shape[i] != 1] == sorted(i for i in perm if x.shape[i] != 1):
            p.alias(node.outputs[0], x)
        else:
            p.step("copy_output", kernels.transpose_attributes(x.shape, perm), node.inputs, node.outputs)


@operator("Slice")
class Slice:
    """Every `steps[i]`-th element from `starts[i]`, `sizes[i]` of them, along each axis."""

    @staticmethod
    def shape(node: Node) -> Shape:
        return tuple(node.attrs["sizes"])

    @staticmethod
    def picture_axis(node: Node, axes: list[int | None]) -> int | None:
        axis = axes[0]
        if axis is not None:
            whole = (0, 1, node.input(0).shape[axis])
            if tuple(node.attrs[name][axis] for name in ("starts", "steps", "sizes")) != whole:
                raise Mixes
        return axis

    @staticmethod
    def evaluate(node: Node, arrays: Arrays) -> NDArray[Any]:
        result = _array(arrays)
        for axis, (start, step, size) in enumerate(zip(node.attrs["starts"], node.attrs["steps"], node.attrs["sizes"], strict=True)):
            result = np.take(result, start + step * np.arange(size), axis)
        return result

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        return [g.emit("SliceGrad", dy, input_shape=node.input(0).shape, **node.attrs)]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        a = node.attrs
        p.step("copy_output", kernels.slice_attributes(node.input(0).shape, a["starts"], a["steps"], a["sizes"]), node.inputs, node.outputs)


@operator("SliceGrad")
class SliceGrad:
    """dy placed into zeros of the sliced array's shape."""

    @staticmethod
    def shape(node: Node) -> Shape:
        return tuple(node.attrs["input_shape"])

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        return [g.emit("Slice", dy, **{k: node.attrs[k] for k in ("starts", "steps", "sizes")})]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        a = node.attrs
        p.step(
            "pad_output", kernels.slice_grad_attributes(a["input_shape"], a["starts"], a["steps"], a["sizes"]), node.inputs, node.outputs
        )


@operator("Concat")
class Concat:
    """Arrays one after the other along `axis`."""

    @staticmethod
    def shape(node: Node) -> Shape:
        first, axis = node.input(0), node.attrs["axis"]
        total = sum(v.shape[axis] for v in node.inputs if v is not None)
        return (*first.shape[:axis], total, *first.shape[axis + 1 :])

    @staticmethod
    def picture_axis(node: Node, axes: list[int | None]) -> int | None:
        found = {axis for axis in axes if axis is not None}
        if len(found) > 1 or node.attrs["axis"] in found:
            raise Mixes
        if not found:
            return None
        axis = found.pop()
        if any(v is not None and own is None and v.shape[axis] != 1 for v, own in zip(node.inputs, axes, strict=True)):
            raise Mixes
        return axis

    @staticmethod
    def evaluate(node: Node, arrays: Arrays) -> NDArray[Any]:
        return np.concatenate([a for a in arrays if a is not None], node.attrs["axis"])

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        grads: list[Value | None] = []
        start, axis = 0, node.attrs["axis"]
        for v in node.inputs:
            assert v is not None
            starts = tuple(start if i == axis else 0 for i in range(len(v.shape)))
            grads.append(None if v.data is not None else g.emit("Slice", dy, starts=starts, steps=(1,) * len(v.shape), sizes=v.shape))
            start += v.shape[axis]
        return grads

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        start, axis = 0, node.attrs["axis"]
        for v in node.inputs:
            assert v is not None
            p.step("copy_output", kernels.concat_attributes(v.shape, node.outputs[0].shape, axis, start), (v,), node.outputs)
            start += v.shape[axis]


@operator("Expand")
class Expand:
    """x broadcast to `shape`."""

    picture_axis = staticmethod(elementwise_picture_axis)

    @staticmethod
    def shape(node: Node) -> Shape:
        return tuple(node.attrs["shape"])

    @staticmethod
    def evaluate(node: Node, arrays: Arrays) -> NDArray[Any]:
        return np.ascontiguousarray(np.broadcast_to(_array(arrays), node.attrs["shape"]))

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        return [g.sum_to(dy, node.input(0).shape)]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        p.step("copy_output", kernels.expand_attributes(node.input(0).shape, node.attrs["shape"]), node.inputs, node.outputs)


# ONNX forms ----------------------------------------------------------------------------------------------------------


@onnx_form("Reshape")
def reshape(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """0 keeps an axis (unless allowzero), -1 takes what is left."""
    x = node.required(inputs, 0)
    wanted = node.ints(inputs, 1, "shape")
    if wanted is None:
        raise node.bad("no shape")
    shape = list(wanted)
    if not node.attrs.get("allowzero", 0):
        if any(n == 0 and i >= len(x.shape) for i, n in enumerate(shape)):
            raise node.bad(f"shape {wanted} keeps an axis that {x.shape} does not have")
        shape = [x.shape[i] if n == 0 else n for i, n in enumerate(shape)]
    if shape.count(-1) > 1 or any(n < -1 for n in shape):
        raise node.bad(f"shape {wanted} is not a shape")
    if -1 in shape:
        known = prod(n for n in shape if n != -1)
        shape[shape.index(-1)] = x.size // known if known else 0
    if prod(shape) != x.size:
        raise node.bad(f"shape {wanted} does not hold the {x.size} elements of {x.shape}")
    return g.reshape(x, tuple(shape))


@onnx_form("Flatten")
def flatten(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Two axes: those before `axis` and the rest."""
    x = node.required(inputs, 0)
    axis = int(node.attrs.get("axis", 1))
    axis = axis + len(x.shape) if axis < 0 else axis
    if not 0 <= axis <= len(x.shape):
        raise node.bad(f"axis {node.attrs.get('axis')} does not exist in an array of {len(x.shape)} axes")
    return g.reshape(x, (prod(x.shape[:axis]), prod(x.shape[axis:])))


@onnx_form("Squeeze")
def squeeze(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Drop axes of size 1: those named, or all."""
    x = node.required(inputs, 0)
    given = node.ints(inputs, 1, "axes")
    axes = {node.axis(a, len(x.shape)) for a in given} if given is not None else {i for i, n in enumerate(x.shape) if n == 1}
    if any(x.shape[a] != 1 for a in axes):
        raise node.bad(f"axes {sorted(axes)} of {x.shape} are not all of size 1")
    return g.reshape(x, tuple(n for i, n in enumerate(x.shape) if i not in axes))


@onnx_form("Unsqueeze")
def unsqueeze(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Insert axes of size 1."""
    x = node.required(inputs, 0)
    given = node.ints(inputs, 1, "axes") or ()
    rank = len(x.shape) + len(given)
    axes = {node.axis(a, rank) for a in given}
    if len(axes) != len(given):
        raise node.bad(f"axes {given} name an axis twice")
    rest = iter(x.shape)
    return g.reshape(x, tuple(1 if i in axes else next(rest) for i in range(rank)))


@onnx_form("Transpose")
def transpose(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Reverse the axes unless told otherwise."""
    x = node.required(inputs, 0)
    perm = tuple(int(i) for i in node.attrs.get("perm", range(len(x.shape) - 1, -1, -1)))
    if sorted(perm) != list(range(len(x.shape))):
        raise node.bad(f"attribute 'perm': {perm} is no order of {len(x.shape)} axes")
    return g.transpose(x, perm)


@onnx_form("Slice")
def slice_(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Attributes up to opset 9, constant inputs after; bounds beyond the array are clipped."""
    x = node.required(inputs, 0)
    starts, ends = node.ints(inputs, 1, "starts"), node.ints(inputs, 2, "ends")
    if starts is None or ends is None or len(starts) != len(ends):
        raise node.bad("starts and ends do not fit together")
    axes = node.ints(inputs, 3, "axes") or tuple(range(len(starts)))
    steps = node.ints(inputs, 4, "steps") or (1,) * len(starts)
    if len(axes) != len(starts) or len(steps) != len(starts) or 0 in steps:
        raise node.bad("axes and steps do not fit the starts")
    begin, stride, sizes = [0] * len(x.shape), [1] * len(x.shape), list(x.shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        i = node.axis(axis, len(x.shape))
        positions = range(*slice(start, end if end > -(2**31) or step > 0 else None, step).indices(x.shape[i]))
        begin[i], stride[i], sizes[i] = (positions.start if len(positions) else 0), step, len(positions)
        longer = MANY * x.shape[i]
        if len(positions) == x.shape[i] and len(range(*slice(start, end, step).indices(longer))) != longer:
            g.graph.cuts.append((x, i))
    if tuple(sizes) == x.shape and all(s == 1 for s in stride):
        return x
    return g.emit("Slice", x, starts=tuple(begin), steps=tuple(stride), sizes=tuple(sizes))


@onnx_form("Split")
def split(node: OnnxNode, inputs: Inputs, g: Builder) -> list[Value]:
    """Sizes are an attribute or a constant input; otherwise equal parts, the last one smaller."""
    x = node.required(inputs, 0)
    axis = node.axis(int(node.attrs.get("axis", 0)), len(x.shape))
    sizes = node.ints(inputs, 1, "split")
    if sizes is None:
        count = int(node.attrs.get("num_outputs", len(node.outputs)))
        each = -(-x.shape[axis] // count)
        sizes = tuple(min(each, max(0, x.shape[axis] - i * each)) for i in range(count))
    if len(sizes) < len(node.outputs):
        raise node.bad(f"{len(node.outputs)} outputs, but sizes {sizes}")
    return split_into(node, x, axis, sizes, g)[: len(node.outputs)]


def split_into(node: OnnxNode, x: Value, axis: int, sizes: Sequence[int], g: Builder) -> list[Value]:
    """Parts of the given sizes, one after the other along an axis."""
    if sum(sizes) != x.shape[axis] or min(sizes, default=0) < 0:
        raise node.bad(f"sizes {tuple(sizes)} do not make up axis {axis} of {x.shape}")
    parts, start = [], 0
    for size in sizes:
        starts = tuple(start if i == axis else 0 for i in range(len(x.shape)))
        parts.append(g.emit("Slice", x, starts=starts, steps=(1,) * len(x.shape), sizes=(*x.shape[:axis], size, *x.shape[axis + 1 :])))
        start += size
    return parts


@onnx_form("Concat")
def concat(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Empty parts are left out."""
    values = [node.required(inputs, i) for i in range(len(inputs))]
    axis = node.axis(int(node.attrs.get("axis", 1)), len(values[0].shape))
    for v in values:
        if len(v.shape) != len(values[0].shape) or any(
            n != m for i, (n, m) in enumerate(zip(v.shape, values[0].shape, strict=True)) if i != axis
        ):
            raise node.bad(f"shapes {values[0].shape} and {v.shape} cannot be joined along axis {axis}")
    parts = [v for v in values if v.shape[axis]] or values[:1]
    return parts[0] if len(parts) == 1 else g.emit("Concat", *parts, axis=axis)


@onnx_form("Expand")
def expand(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Two-way broadcasting with the shape given."""
    x = node.required(inputs, 0)
    try:
        shape = np.broadcast_shapes(x.shape, tuple(int(n) for n in node.array(inputs, 1)))
    except ValueError:
        raise node.bad(f"{x.shape} cannot be broadcast to {tuple(node.array(inputs, 1))}") from None
    return g.expand(x, shape)
