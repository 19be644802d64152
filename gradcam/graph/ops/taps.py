"""Gradients summed over all positions, from what they would be computed from: emitted by the pass `reduce_early` alone."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from gradcam.graph.ir import Node, Shape
from gradcam.graph.operators import operator
from gradcam.graph.ops.conv import products
from gradcam.ops._call import Attributes
from gradcam.ops.blocked import tap_attributes
from gradcam.ops.conv import conv_attributes
from gradcam.ops.reduce import reduce_attributes

if TYPE_CHECKING:
    from gradcam.graph.plan import PlanBuilder


def _attributes(node: Node) -> Attributes:
    a = node.attrs
    window = {name: a[name] for name in ("stride", "pad_lo", "pad_hi", "dilation")}
    return conv_attributes(a["input_shape"], a["weight_shape"], groups=a["groups"], has_bias=False, **window)


def _sums_shape(node: Node) -> Shape:
    a = node.attrs
    return (a["input_shape"][0], a["weight_shape"][0], prod(a["weight_shape"][2:]))


@operator("TapSums")
class TapSums:
    """Sums of dy (N, K, *O) over the outputs of a convolution whose tap lies inside the input: (N, K, taps)."""

    shape = staticmethod(_sums_shape)

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        p.step("tap_sums", _attributes(node), node.inputs, node.outputs)


@operator("BlockedTapSums")
class BlockedTapSums:
    """The same of a blocked dy."""

    shape = staticmethod(_sums_shape)

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        p.step("blocked_tap_sums", tap_attributes(node.attrs["source"], _attributes(node)), node.inputs, node.outputs)


@operator("TapProduct")
class TapProduct:
    """Sum over all positions of the input gradient, divided by `divisor`: sums of the taps, w (K, C/groups, *kernel) -> (N, C)."""

    @staticmethod
    def shape(node: Node) -> Shape:
        return tuple(node.attrs["input_shape"][:2])

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        attributes = Attributes(_attributes(node).ints, (node.attrs["divisor"],))
        p.step("tap_product", attributes, node.inputs, node.outputs, products=products(prod(node.input(0).shape[:2]), node.input(1)))


@operator("WeightSums")
class WeightSums:
    """Constant weights (K, C S) summed over the S positions of each of `channels` channels when the plan is made: (K, C)."""

    @staticmethod
    def shape(node: Node) -> Shape:
        return (node.input(0).shape[0], node.attrs["channels"])

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        w = node.input(0)
        k, c = node.outputs[0].shape
        shape = (k, c, w.shape[1] // c)
        p.alias(node.outputs[0], p.packed("reduce_output", reduce_attributes("sum", shape, (2,)), w, shape))
