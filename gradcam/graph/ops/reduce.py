"""Sums, means and extremes over axes; positions of maxima."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Node, Shape, Value
from gradcam.graph.onnx_form import Inputs, OnnxNode, onnx_form
from gradcam.graph.operators import Mixes, operator, same_shape
from gradcam.ops.reduce import argmax_attributes, reduce_attributes
from gradcam.ops.topk import topk_attributes

if TYPE_CHECKING:
    from gradcam.graph.plan import PlanBuilder

_NUMPY: dict[str, Any] = {"ReduceSum": np.sum, "ReduceMean": np.mean, "ReduceMax": np.max, "ReduceMin": np.min}
_CODES = {"ReduceSum": "sum", "ReduceMean": "mean", "ReduceMax": "max", "ReduceMin": "min"}


class Reduction:
    """What all share; attribute `axes` is sorted and non-negative, and the reduced axes are dropped."""

    @staticmethod
    def shape(node: Node) -> Shape:
        """Drop the reduced axes."""
        assert node.inputs[0] is not None
        return tuple(n for i, n in enumerate(node.inputs[0].shape) if i not in node.attrs["axes"])

    @staticmethod
    def picture_axis(node: Node, axes: list[int | None]) -> int | None:
        """Refuse a reduced axis."""
        if axes[0] is None:
            return None
        if axes[0] in node.attrs["axes"]:
            raise Mixes
        return axes[0] - len([axis for axis in node.attrs["axes"] if axis < axes[0]])

    @staticmethod
    def evaluate(node: Node, arrays: list[NDArray[Any] | None]) -> NDArray[Any]:
        """Reduce in NumPy."""
        assert arrays[0] is not None
        return np.asarray(_NUMPY[node.op](arrays[0], axis=node.attrs["axes"])).astype(arrays[0].dtype)

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        """Spread dy evenly (mean, sum), or over the equal extremes."""
        x = node.inputs[0]
        assert x is not None
        if node.op in ("ReduceMax", "ReduceMin"):
            return [g.emit("ReduceExtremeGrad", x, node.outputs[0], dy, axes=node.attrs["axes"], reduction=node.op)]
        kept = tuple(1 if i in node.attrs["axes"] else n for i, n in enumerate(x.shape))
        count = prod(x.shape[i] for i in node.attrs["axes"])
        dy = g.scale(dy, 1 / count if node.op == "ReduceMean" else 1)
        return [g.expand(g.reshape(dy, kept), x.shape)]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        """Emit one step."""
        assert node.inputs[0] is not None
        p.step("reduce_output", reduce_attributes(_CODES[node.op], node.inputs[0].shape, node.attrs["axes"]), node.inputs, node.outputs)


for _op in _CODES:
    operator(_op)(Reduction)


@operator("ReduceExtremeGrad")
class ReduceExtremeGrad:
    """dx of a maximum or minimum from x, y and dy, shared evenly between equal values."""

    shape = staticmethod(same_shape)

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        """Linear in dy alone: its weights are what it makes of ones."""
        x, y, first = node.inputs
        assert first is not None
        weights = g.emit("ReduceExtremeGrad", x, y, g.constant(np.ones(first.shape)), **node.attrs)
        return [None, None, g.sum(g.mul(weights, dy), node.attrs["axes"])]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        attributes = reduce_attributes(_CODES[node.attrs["reduction"]], node.outputs[0].shape, node.attrs["axes"])
        p.step("reduce_extreme_input_grad", attributes, node.inputs, node.outputs)


@operator("ArgMax", dtype=np.int64)
class ArgMax:
    """Position of the first maximum along `axis`, which is dropped."""

    @staticmethod
    def shape(node: Node) -> Shape:
        assert node.inputs[0] is not None
        return tuple(n for i, n in enumerate(node.inputs[0].shape) if i != node.attrs["axis"])

    @staticmethod
    def picture_axis(node: Node, axes: list[int | None]) -> int | None:
        if axes[0] is None:
            return None
        if axes[0] == node.attrs["axis"]:
            raise Mixes
        return axes[0] - int(node.attrs["axis"] < axes[0])

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        assert node.inputs[0] is not None
        p.step("argmax_output", argmax_attributes(node.inputs[0].shape, node.attrs["axis"]), node.inputs, node.outputs)


@operator("TopKIndices", dtype=np.int64)
class TopKIndices:
    """Positions of the `k` largest (attribute `largest`: or smallest) numbers along the last axis, best first."""

    @staticmethod
    def shape(node: Node) -> Shape:
        assert node.inputs[0] is not None
        return (*node.inputs[0].shape[:-1], node.attrs["k"])

    @staticmethod
    def picture_axis(node: Node, axes: list[int | None]) -> int | None:
        assert node.inputs[0] is not None
        if axes[0] == len(node.inputs[0].shape) - 1:
            raise Mixes
        return axes[0]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        assert node.inputs[0] is not None
        attributes = topk_attributes(node.inputs[0].shape, node.attrs["k"], node.attrs["largest"])
        p.step("topk_output", attributes, node.inputs, node.outputs)


def reduced_axes(node: OnnxNode, inputs: Inputs) -> list[int]:
    """Axes of an ONNX reduction, an attribute or (newer opsets) a constant input; none means all, or no axis with noop_with_empty_axes."""
    rank = len(node.required(inputs, 0).shape)
    given = node.ints(inputs, 1, "axes")
    if not given:
        return [] if node.attrs.get("noop_with_empty_axes", 0) else list(range(rank))
    return sorted({node.axis(a, rank) for a in given})


@onnx_form("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin")
def reduce(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """One reduction; no axis leaves the input as it is."""
    return g.reduce(node.op_type, node.required(inputs, 0), reduced_axes(node, inputs), bool(node.attrs.get("keepdims", 1)))


@onnx_form("GlobalAveragePool")
def global_average_pool(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Mean over the spatial axes: (N, C, *S) -> (N, C, *1)."""
    x = node.required(inputs, 0)
    return g.reduce("ReduceMean", x, range(2, len(x.shape)), keepdims=True)
