"""Where the sign of a class-activation map comes from: products by quadrant, and what is said of each channel.

All take one picture with the channels at `channel_axis` (positive) and read the arrays where they lie.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from gradcam.graph.ir import Node, Shape, Value
from gradcam.graph.operators import operator
from gradcam.ops.cam import cam_attributes

if TYPE_CHECKING:
    from gradcam.graph.plan import PlanBuilder

COLUMNS = 7
"""Numbers per channel of CamChannelSigns, as `csrc/cam/signs.h` lists them."""


def _spatial(value: Value, channel_axis: int) -> Shape:
    return tuple(n for i, n in enumerate(value.shape) if i not in (0, channel_axis))


def _sizes(value: Value, channel_axis: int) -> tuple[int, int, tuple[int, int]]:
    """Channels, positions, and the strides of both."""
    channels, positions = value.shape[channel_axis], prod(_spatial(value, channel_axis))
    return channels, positions, (positions, 1) if channel_axis == 1 else (1, channels)


@operator("CamQuadrants")
class CamQuadrants:
    """(weights (1, C) or gradients, activations) -> the four quadrants (1, 4, *S) and the map (1, *S).

    With ``over="positions"`` (gradients only) the sums run over the positions of each channel: (1, 4, C) and (1, C).
    """

    @staticmethod
    def shape(node: Node) -> list[Shape]:
        array, axis = node.input(1), node.attrs["channel_axis"]
        kept = (array.shape[axis],) if node.attrs["over"] == "positions" else _spatial(array, axis)
        return [(1, 4, *kept), (1, *kept)]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        first, array = node.input(0), node.input(1)
        channels, positions, strides = _sizes(array, node.attrs["channel_axis"])
        if node.attrs["over"] == "positions":
            channels, positions, strides = positions, channels, (strides[1], strides[0])
        attributes = cam_attributes(channels, positions, strides, strides, variant=int(first.shape == array.shape))
        p.step("cam_quadrants", attributes, node.inputs, node.outputs)


@operator("CamChannelSigns")
class CamChannelSigns:
    """Array -> (1, C, COLUMNS): sums of both signs, extremes, what is not finite, and where the largest value lies."""

    @staticmethod
    def shape(node: Node) -> Shape:
        return (1, node.input(0).shape[node.attrs["channel_axis"]], COLUMNS)

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        channels, positions, strides = _sizes(node.input(0), node.attrs["channel_axis"])
        p.step("cam_channel_signs", cam_attributes(channels, positions, strides, strides), node.inputs, node.outputs)
