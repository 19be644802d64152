"""Selection along one axis, and its scatter gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Node, Shape, Value
from gradcam.graph.onnx_form import Inputs, OnnxNode, onnx_form
from gradcam.graph.operators import Mixes, operator
from gradcam.ops.gather import gather_attributes

if TYPE_CHECKING:
    from gradcam.graph.plan import PlanBuilder


def _pair(node: Node) -> tuple[Value, Value]:
    a, b = node.inputs
    assert a is not None
    assert b is not None
    return a, b


@operator("Gather")
class Gather:
    """Elements of x at the positions `index` along `axis`; the axis is replaced by those of the index."""

    @staticmethod
    def shape(node: Node) -> Shape:
        x, index = _pair(node)
        axis = node.attrs["axis"]
        return (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])

    @staticmethod
    def picture_axis(node: Node, axes: list[int | None]) -> int | None:
        axis = node.attrs["axis"]
        if axes[1] is not None or axes[0] == axis:
            raise Mixes
        return axes[0] if axes[0] is None or axes[0] < axis else axes[0] - 1 + len(_pair(node)[1].shape)

    @staticmethod
    def evaluate(node: Node, arrays: list[NDArray[Any] | None]) -> NDArray[Any]:
        x, index = arrays
        assert x is not None
        assert index is not None
        return np.asarray(np.take(x, index, node.attrs["axis"]))

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        x, index = _pair(node)
        return [g.emit("GatherGrad", dy, index, input_shape=x.shape, axis=node.attrs["axis"]), None]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        x, index = _pair(node)
        p.step("gather_output", gather_attributes(x.shape, index.size, node.attrs["axis"]), node.inputs, node.outputs)


@operator("GatherGrad")
class GatherGrad:
    """dy added into zeros of x's shape at the positions that were read."""

    @staticmethod
    def shape(node: Node) -> Shape:
        return tuple(node.attrs["input_shape"])

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        return [g.emit("Gather", dy, node.inputs[1], axis=node.attrs["axis"]), None]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        _, index = _pair(node)
        p.step("gather_input_grad", gather_attributes(node.outputs[0].shape, index.size, node.attrs["axis"]), node.inputs, node.outputs)


@onnx_form("Gather")
def gather(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """The indices must be constant (they are, after folding, in every classifier)."""
    x = node.required(inputs, 0)
    axis = node.axis(int(node.attrs.get("axis", 0)), len(x.shape))
    index = node.array(inputs, 1).astype(np.int64)
    if index.size and not (-x.shape[axis] <= index.min() and index.max() < x.shape[axis]):
        raise node.bad(f"index {int(index.max())} is out of range for axis {axis} of {x.shape}")
    return g.emit("Gather", x, g.constant(np.where(index < 0, index + x.shape[axis], index)), axis=axis)
