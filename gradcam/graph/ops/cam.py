"""Reductions of class-activation maps: channel weights, and maps from weights, activations and gradients.

All take one picture with the channels at `channel_axis` (positive) and read the arrays where they lie.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from gradcam.graph.ir import Node, Shape, Value
from gradcam.graph.operators import operator
from gradcam.ops._call import Attributes
from gradcam.ops.cam import cam_attributes, smooth_attributes

if TYPE_CHECKING:
    from gradcam.graph.plan import PlanBuilder


def spatial_shape(value: Value, channel_axis: int) -> Shape:
    """Shape without batch and channels."""
    return tuple(n for i, n in enumerate(value.shape) if i not in (0, channel_axis))


def strided(array: Value, channel_axis: int) -> tuple[int, int, tuple[int, int]]:
    """Channels, positions, and their strides in elements; the channels are axis 1 or the last one."""
    channels, positions = array.shape[channel_axis], prod(spatial_shape(array, channel_axis))
    return channels, positions, (positions, 1) if channel_axis == 1 else (1, channels)


def _attributes(node: Node, array: Value) -> Attributes:
    channels, positions, strides = strided(array, node.attrs["channel_axis"])
    options = {name: node.attrs[name] for name in ("variant", "omit_nan", "epsilon") if name in node.attrs}
    return cam_attributes(channels, positions, strides, strides, **options)


def _last(node: Node) -> Value:
    value = node.inputs[-1]
    assert value is not None
    return value


def _weights(op: str, kernel: str, outputs: int) -> None:
    """Register (arrays...) -> weights (1, C), and where the method has a rule for them 1 for each degenerate channel."""

    @operator(op)
    class Weights:
        """One weight per channel."""

        @staticmethod
        def shape(node: Node) -> list[Shape]:
            array = _last(node)
            return [(array.shape[0], array.shape[node.attrs["channel_axis"]])] * outputs

        @staticmethod
        def lower(node: Node, p: PlanBuilder) -> None:
            p.step(kernel, _attributes(node, _last(node)), node.inputs, node.outputs)


def _map(op: str, kernel: str) -> None:
    """Register (..., array) -> map (1, *S)."""

    @operator(op)
    class Map:
        """One value per position."""

        @staticmethod
        def shape(node: Node) -> Shape:
            array = _last(node)
            return (array.shape[0], *spatial_shape(array, node.attrs["channel_axis"]))

        @staticmethod
        def lower(node: Node, p: PlanBuilder) -> None:
            p.step(kernel, _attributes(node, _last(node)), node.inputs, node.outputs)


_weights("CamChannelMean", "cam_channel_mean", 1)
_weights("CamPlusPlusWeights", "cam_plusplus_weights", 2)
_weights("CamXGradWeights", "cam_xgrad_weights", 2)
_map("CamCombine", "cam_combine")
_map("CamProduct", "cam_product")


@operator("CamSmoothWeights")
class SmoothWeights:
    """(activations, gradient samples (1, samples, ...)) -> weights (1, C), and 1 for each degenerate channel."""

    @staticmethod
    def shape(node: Node) -> list[Shape]:
        array = node.inputs[0]
        assert array is not None
        return [(1, array.shape[node.attrs["channel_axis"]])] * 2

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        array, axis = node.inputs[0], node.attrs["channel_axis"]
        assert array is not None
        samples, positions = _last(node).shape[1], prod(spatial_shape(array, axis))
        attributes = smooth_attributes(
            samples, array.shape[axis], positions, axis != 1, variant=node.attrs["variant"], epsilon=node.attrs["epsilon"]
        )
        p.step("cam_smooth_weights", attributes, node.inputs, node.outputs)
