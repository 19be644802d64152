"""Leaving out the channels that hold NaN or infinity, of one picture with the channels at `channel_axis`."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from gradcam.graph.ir import Node, Shape
from gradcam.graph.operators import operator, same_shape
from gradcam.graph.ops.cam import strided
from gradcam.ops.finite import drop_attributes, finite_attributes

if TYPE_CHECKING:
    from gradcam.graph.plan import PlanBuilder


@operator("CamFinite")
class Finite:
    """A[, g] -> mask (1, C): 1 for a channel in which A or g has a number that is not finite."""

    @staticmethod
    def shape(node: Node) -> Shape:
        a = node.inputs[0]
        assert a is not None
        return (a.shape[0], a.shape[node.attrs["channel_axis"]])

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        a, g = (*node.inputs, None)[:2]
        assert a is not None
        channels, positions, strides = strided(a, node.attrs["channel_axis"])
        p.step("cam_finite", finite_attributes(channels, positions, strides, None if g is None else strides), (a, g), node.outputs)


@operator("CamDrop")
class Drop:
    """array, mask (1, C) -> the array with 0 in every channel whose mask is not 0."""

    shape = staticmethod(same_shape)

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        shape, axis = node.outputs[0].shape, node.attrs["channel_axis"]
        p.step("cam_drop", drop_attributes(prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])), node.inputs, node.outputs)
