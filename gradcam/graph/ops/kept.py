"""What the way back keeps of the way forward, in place of tensors: emitted by the pass `keep_choices`, never by a reader.

Values in bytes have the type `BYTE`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradcam.graph.ir import Node, Shape
from gradcam.graph.operators import operator
from gradcam.graph.ops.blocked import Blocking
from gradcam.ops.blocked import index_shape, pool_attributes
from gradcam.ops.unary import bits_shape, unary_attributes

if TYPE_CHECKING:
    from gradcam.graph.plan import PlanBuilder


@operator("SlopeBits")
class SlopeBits:
    """A bit per element of x: whether a function whose slope is 0 or 1 has the slope 1 there."""

    @staticmethod
    def shape(node: Node) -> Shape:
        return bits_shape(node.input(0).size)

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        a = node.attrs
        p.step("unary_slope_bits", unary_attributes(a["function"], node.input(0).size, a["alpha"], a["beta"]), node.inputs, node.outputs)


@operator("BitsGrad")
class BitsGrad:
    """Keep dy where a bit is set: inputs bits, dy."""

    @staticmethod
    def shape(node: Node) -> Shape:
        return node.input(1).shape

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        p.step("unary_bits_grad", unary_attributes("Relu", node.outputs[0].size), node.inputs, node.outputs, inplace=(1,))


@operator("BlockedMaxPoolIndex")
class BlockedMaxPoolIndex:
    """BlockedMaxPool, and a byte per element of it: which tap of its window is the first maximum."""

    @staticmethod
    def shape(node: Node) -> list[Shape]:
        result = node.attrs["result"]
        return [result.shape, index_shape(result)]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        a = node.attrs
        attributes = pool_attributes(a["sources"][0], a["result"], a["window"], ceil_mode=a["ceil_mode"])
        p.step("blocked_max_pool_index", attributes, node.inputs, node.outputs)


@operator("BlockedMaxPoolIndexGrad")
class BlockedMaxPoolIndexGrad(Blocking):
    """dx of max pooling from those bytes and dy."""

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        a = node.attrs
        attributes = pool_attributes(a["result"], a["sources"][1], a["window"], ceil_mode=a["ceil_mode"])
        p.step("blocked_max_pool_index_grad", attributes, node.inputs, node.outputs)
