"""Selection along one axis, and its scatter gradient."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Node, Shape, Value
from gradcam.graph.onnx_form import Inputs, OnnxNode, Unsupported, onnx_form
from gradcam.graph.operators import Mixes, operator
from gradcam.ops._call import Attributes
from gradcam.ops.gather import gather_attributes

if TYPE_CHECKING:
    from gradcam.graph.plan import PlanBuilder


def _batch_axes(node: Node) -> int:
    return int(node.attrs.get("batch_axes", 0))


@operator("Gather", indices=(1,))
class Gather:
    """Elements of x at the positions `index` along `axis`; the axis is replaced by those of the index.

    The first `batch_axes` axes of the index (none by default) are those of x: each step of them has indices of its own.
    """

    @staticmethod
    def shape(node: Node) -> Shape:
        x, index = node.input(0), node.input(1)
        axis = node.attrs["axis"]
        return (*x.shape[:axis], *index.shape[_batch_axes(node) :], *x.shape[axis + 1 :])

    @staticmethod
    def picture_axis(node: Node, axes: list[int | None]) -> int | None:
        x, index = node.input(0), node.input(1)
        axis, batch = node.attrs["axis"], _batch_axes(node)
        own, chosen = axes
        if own is None and chosen is None:
            return None
        if own == axis:
            raise Mixes
        if chosen is not None and chosen >= batch:  # every picture picks from the same x
            if own is not None:
                raise Mixes
            return chosen - batch + int(axis)
        place = chosen if own is None else own
        assert place is not None
        if own is not None and chosen is not None and own != chosen:
            raise Mixes
        if place < batch and (x.shape[place] != 1 or index.shape[place] != 1):
            raise Mixes
        return place if place < axis else place - 1 + len(index.shape) - batch

    @staticmethod
    def evaluate(node: Node, arrays: list[NDArray[Any] | None]) -> NDArray[Any]:
        x, index = arrays
        assert x is not None
        assert index is not None
        axis, batch = node.attrs["axis"], _batch_axes(node)
        if batch == 0:
            return np.asarray(np.take(x, index, axis))
        rows = [np.take(one, own, axis - batch) for one, own in zip(*(a.reshape(-1, *a.shape[batch:]) for a in (x, index)), strict=True)]
        return np.asarray(rows, x.dtype).reshape(Gather.shape(node))

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        x, index = node.input(0), node.input(1)
        return [g.emit("GatherGrad", dy, index, input_shape=x.shape, **node.attrs), None]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        x, index = node.input(0), node.input(1)
        p.step("gather_output", _attributes(node, x, index), node.inputs, node.outputs)


def _attributes(node: Node, x: Value, index: Value) -> Attributes:
    batch = _batch_axes(node)
    return gather_attributes(x.shape, prod(index.shape[batch:]), node.attrs["axis"], batch)


@operator("GatherGrad", indices=(1,))
class GatherGrad:
    """dy added into zeros of x's shape at the positions that were read."""

    @staticmethod
    def shape(node: Node) -> Shape:
        return tuple(node.attrs["input_shape"])

    @staticmethod
    def picture_axis(node: Node, axes: list[int | None]) -> int | None:
        index = node.input(1)
        axis, batch = node.attrs["axis"], _batch_axes(node)
        width = len(index.shape) - batch
        if axes[0] is None and axes[1] is None:
            return None
        if axes[0] is None or axes[1] is not None and (axes[1] >= batch or axes[1] != axes[0]):
            raise Mixes
        if axis <= axes[0] < axis + width or axes[0] < batch and index.shape[axes[0]] != 1:
            raise Mixes
        return axes[0] if axes[0] < axis else axes[0] + 1 - width

    @staticmethod
    def evaluate(node: Node, arrays: list[NDArray[Any] | None]) -> NDArray[Any]:
        dy, index = arrays
        assert dy is not None
        assert index is not None
        shape, axis, batch = tuple(node.attrs["input_shape"]), node.attrs["axis"], _batch_axes(node)
        dx = np.zeros((prod(shape[:batch]), prod(shape[batch:axis]), shape[axis], prod(shape[axis + 1 :])), dy.dtype)
        seeds = dy.reshape(*dx.shape[:2], -1, dx.shape[3])
        for one, own, seed in zip(dx, index.reshape(len(dx), -1), seeds, strict=True):
            for j, row in enumerate(own):
                one[:, row] += seed[:, j]
        return dx.reshape(shape)

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        return [g.emit("Gather", dy, node.inputs[1], axis=node.attrs["axis"], batch_axes=_batch_axes(node)), None]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        p.step("gather_input_grad", _attributes(node, node.outputs[0], node.input(1)), node.inputs, node.outputs)


@onnx_form("Gather")
def gather(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Constant indices are checked; a computed one that does not exist gives NaN."""
    x, index = node.required(inputs, 0), node.required(inputs, 1)
    axis = node.axis(int(node.attrs.get("axis", 0)), len(x.shape))
    return g.emit("Gather", x, checked_index(node, index, x.shape[axis], g), axis=axis)


def checked_index(node: OnnxNode, index: Value, size: int, g: Builder) -> Value:
    """Return an index along an axis of this size: a constant without negative numbers, or one that is computed."""
    if index.data is None:
        if index.is_real:
            raise Unsupported(f"indices '{index.name}' that are no integers")
        return index
    data = index.data.astype(np.int64)
    if data.size and not (-size <= data.min() and data.max() < size):
        raise node.bad(f"index {int(data.max() if data.max() >= size else data.min())} is out of range for an axis of {size}")
    return g.constant(np.where(data < 0, data + size, data))
