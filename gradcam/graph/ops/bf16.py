"""Operators on bfloat16: emitted by the pass `use_bfloat16`, never by a reader. Values in bfloat16 have the type `BFLOAT16`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradcam.graph.ir import Node, Shape
from gradcam.graph.operators import operator, same_shape
from gradcam.graph.ops.blocked import Blocking, direct_kernel
from gradcam.graph.ops.conv import products as conv_products
from gradcam.graph.ops.matmul import Linear, linear_kernel
from gradcam.graph.ops.matmul import products as linear_products
from gradcam.ops._call import Attributes
from gradcam.ops.bf16 import BFLOAT16, mixed_attributes

if TYPE_CHECKING:
    from gradcam.graph.plan import PlanBuilder


def _emit(node: Node, p: PlanBuilder, name: str, attributes: Attributes, key: tuple[int, ...], products: int) -> None:
    x, _, b, residual = node.inputs
    mixed = mixed_attributes(
        attributes, result=node.outputs[0].dtype == BFLOAT16, residual=residual is not None and residual.dtype == BFLOAT16
    )
    packed = p.packed(f"bf16_{name}_pack", mixed, node.input(1), key, BFLOAT16)
    p.step(f"bf16_{name}_output", mixed, (x, packed, b, residual), node.outputs, products=products)


@operator("Bf16Round")
class Bf16Round:
    """x rounded to the nearest bfloat16, ties to even."""

    @staticmethod
    def shape(node: Node) -> Shape:
        return same_shape(node)

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        p.step("bf16_round", Attributes((node.input(0).size,)), node.inputs, node.outputs)


@operator("Bf16Conv")
class Bf16Conv(Blocking):
    """BlockedConv by the direct algorithm, x and weights in bfloat16, residual and result in either type."""

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        attributes, key = direct_kernel(node)
        _emit(node, p, "conv", attributes, key, conv_products(node.attrs["result"].size, node.input(1)))


@operator("Bf16Linear")
class Bf16Linear:
    """Linear with x and weights in bfloat16, residual and result in either type."""

    @staticmethod
    def shape(node: Node) -> Shape:
        return Linear.shape(node)

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        attributes, key = linear_kernel(node)
        _emit(node, p, "linear", attributes, key, linear_products(node))
