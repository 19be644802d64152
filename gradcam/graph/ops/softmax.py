"""Softmax and log-softmax along one axis."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Node, Value
from gradcam.graph.onnx_form import Inputs, OnnxNode, onnx_form
from gradcam.graph.operators import Mixes, operator, same_shape
from gradcam.ops.softmax import softmax_attributes

if TYPE_CHECKING:
    from gradcam.graph.plan import PlanBuilder


class Normaliser:
    """What both share; attribute `axis` is non-negative."""

    shape = staticmethod(same_shape)

    @staticmethod
    def picture_axis(node: Node, axes: list[int | None]) -> int | None:
        """Refuse the normalised axis."""
        if axes[0] == node.attrs["axis"]:
            raise Mixes
        return axes[0]

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        """Emit the gradient from the output, not from the input."""
        return [g.emit("SoftmaxGrad", node.outputs[0], dy, axis=node.attrs["axis"], log=node.op == "LogSoftmax")]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        """Emit one step."""
        attributes = softmax_attributes(node.outputs[0].shape, node.attrs["axis"], log=node.op == "LogSoftmax")
        p.step("softmax_output", attributes, node.inputs, node.outputs, inplace=(0,))


@operator("Softmax")
class Softmax(Normaliser):
    """y = exp(x) / sum exp(x)."""


@operator("LogSoftmax")
class LogSoftmax(Normaliser):
    """y = x - log sum exp(x)."""


@operator("SoftmaxGrad")
class SoftmaxGrad:
    """dx from y and dy."""

    shape = staticmethod(same_shape)

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        """With v = `dy`: of y (dy sum y - sum y dy), which is symmetric in dy and v, or of dy - exp(y) sum dy (log)."""
        y, first = node.inputs
        assert y is not None
        assert first is not None
        axes = (node.attrs["axis"],)
        if node.attrs["log"]:
            weighted = g.mul(g.emit("Exp", y, alpha=0.0, beta=0.0), dy)
            by_y = g.scale(g.mul(weighted, g.sum(first, axes, keepdims=True)), -1)
            return [by_y, g.sub(dy, g.sum(weighted, axes, keepdims=True))]
        total, mean, other = (g.sum(x, axes, keepdims=True) for x in (y, g.mul(y, first), g.mul(y, dy)))
        product = g.mul(first, dy)
        spread = g.add(g.mul(product, total), g.sum(g.mul(y, product), axes, keepdims=True))
        by_y = g.sub(spread, g.add(g.mul(dy, mean), g.mul(first, other)))
        return [by_y, g.emit("SoftmaxGrad", y, dy, **node.attrs)]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        attributes = softmax_attributes(node.outputs[0].shape, node.attrs["axis"], log=node.attrs["log"])
        p.step("softmax_input_grad", attributes, node.inputs, node.outputs, inplace=(1,))


@onnx_form("Softmax", "LogSoftmax")
def softmax(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Along one axis since opset 13; before it, over all axes from `axis` (default 1) on, flattened."""
    x = node.required(inputs, 0)
    rank = len(x.shape)
    if node.opset >= 13:
        return g.emit(node.op_type, x, axis=node.axis(int(node.attrs.get("axis", -1)), rank))
    axis = node.axis(int(node.attrs.get("axis", 1)), rank)
    flat = g.reshape(x, (*x.shape[:axis], prod(x.shape[axis:])))
    return g.reshape(g.emit(node.op_type, flat, axis=axis), x.shape)
