"""Operators on blocked tensors (`gradcam.ops.blocked`): emitted by the pass `assign_layouts`, never by a reader.

Values have the shape of the array that holds the tensor; what it means is in the attributes, as `Blocked`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradcam.graph.ir import Node, Shape
from gradcam.graph.operators import operator
from gradcam.ops.blocked import blocked_conv_attributes, copy_attributes, epilogue
from gradcam.ops.unary import UNARY

if TYPE_CHECKING:
    from gradcam.graph.plan import PlanBuilder


class Blocking:
    """What all share: attribute `result` is the tensor computed."""

    @staticmethod
    def shape(node: Node) -> Shape:
        """Shape of the array."""
        shape: Shape = node.attrs["result"].shape
        return shape


@operator("ToBlocked")
class ToBlocked(Blocking):
    """A plain tensor (N, C, H, W) in blocks."""

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        p.step("blocked_from_plain", node.attrs["result"].attributes, node.inputs, node.outputs)


@operator("FromBlocked")
class FromBlocked:
    """The plain tensor (N, C, H, W)."""

    @staticmethod
    def shape(node: Node) -> Shape:
        source = node.attrs["source"]
        return (source.n, source.c, source.h, source.w)

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        p.step("blocked_to_plain", node.attrs["source"].attributes, node.inputs, node.outputs)


@operator("BlockedConcat")
class BlockedConcat(Blocking):
    """Tensors one after the other along the channels; of one tensor, a copy with another border."""

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        start = 0
        for value, source in zip(node.inputs, node.attrs["sources"], strict=True):
            p.step("blocked_copy", copy_attributes(source, node.attrs["result"], start), (value,), node.outputs)
            start += source.c


@operator("BlockedConv")
class BlockedConv(Blocking):
    """A convolution or its input gradient, with residual and activation: inputs x, w, b, residual.

    ``algorithm`` is ``"direct"``, ``"winograd"``, ``"depthwise"`` or ``"stem"`` (x is plain).
    """

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        x, w, b, residual = node.inputs
        assert w is not None
        a = node.attrs
        finish = epilogue(-1 if a["function"] is None else UNARY[a["function"]], bias=b is not None, residual=a["residual"])
        kernel, attributes, key = _ALGORITHMS[a["algorithm"]](a, finish)
        packed = p.packed(f"blocked_{kernel}_pack", attributes, w, key)
        p.step(f"blocked_{kernel}_output", attributes, (x, packed, b, residual), node.outputs)


def _direct(a: dict[str, Any], finish: tuple[int, ...]) -> tuple[str, Any, tuple[int, ...]]:
    window = {name: a[name] for name in ("stride", "pad", "dilation", "groups", "gradient")}
    attributes = blocked_conv_attributes(a["source"], a["result"], a["kernel"], **window, finish=finish, alpha=a["alpha"], beta=a["beta"])
    key = (a["source"].c, a["result"].c, a["groups"], *a["kernel"], int(a["gradient"]))
    # The gradient's packs hold the taps class by class, which the whole window decides.
    return "conv", attributes, key if not a["gradient"] else (*key, *a["stride"], *a["pad"], *a["dilation"])


_ALGORITHMS = {"direct": _direct}
