"""The feature explanation method: channels weighed where they stand out.

Like the operators of `gradcam.graph.ops.cam`, of one picture with the channels at `channel_axis`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradcam.graph.ir import Node, Shape, Value
from gradcam.graph.operators import operator
from gradcam.graph.ops.cam import spatial_shape, strided
from gradcam.ops._call import Attributes
from gradcam.ops.fem import FEM, fem_attributes

if TYPE_CHECKING:
    from gradcam.graph.plan import PlanBuilder


def _attributes(node: Node, a: Value) -> Attributes:
    return fem_attributes(*strided(a, node.attrs["channel_axis"]), variant=FEM[node.attrs.get("mask", "binary")])


@operator("CamFemWeights")
class FemWeights:
    """A -> weights (1, C) and thresholds (1, C); attribute `mask` is "binary" (default) or "fraction"."""

    @staticmethod
    def shape(node: Node) -> list[Shape]:
        a = node.inputs[0]
        assert a is not None
        return [(a.shape[0], a.shape[node.attrs["channel_axis"]])] * 2

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        assert node.inputs[0] is not None
        p.step("cam_fem_weights", _attributes(node, node.inputs[0]), node.inputs, node.outputs)


@operator("CamFemMap")
class FemMap:
    """weights, thresholds, A -> map (1, *S): the sum of the weights whose channel reaches its threshold."""

    @staticmethod
    def shape(node: Node) -> Shape:
        a = node.inputs[2]
        assert a is not None
        return (a.shape[0], *spatial_shape(a, node.attrs["channel_axis"]))

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        assert node.inputs[2] is not None
        p.step("cam_fem_map", _attributes(node, node.inputs[2]), node.inputs, node.outputs)
