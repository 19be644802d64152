"""Operators on blocked tensors (`gradcam.ops.blocked`): emitted by the pass `assign_layouts`, never by a reader.

Values have the shape of the array that holds the tensor; what it means is in the attributes, as `Blocked`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gradcam.graph.ir import Node, Shape
from gradcam.graph.operators import operator
from gradcam.graph.ops.conv import products
from gradcam.ops._call import Attributes
from gradcam.ops.blocked import (
    conv_attributes,
    copy_attributes,
    depthwise_attributes,
    depthwise_grad_attributes,
    epilogue,
    function_code,
    max_pool_grad_attributes,
    pool_attributes,
    scale_attributes,
    stem_attributes,
    weight_attributes,
    winograd_attributes,
    winograd_pack_attributes,
)

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
        shape: Shape = node.attrs["source"].plain_shape
        return shape

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
        x, _, b, residual = node.inputs
        name, pack, attributes, key = _kernel(node)
        w, a = node.input(1), node.attrs
        packed = p.packed(f"blocked_{name}_pack", pack, w, key)
        count = products(a["source" if a["gradient"] else "result"].size, w)
        p.step(f"blocked_{name}_output", attributes, (x, packed, b, residual), node.outputs, products=count)


_Kernel = tuple[str, Attributes, Attributes, tuple[int, ...]]
"""Name, attributes of the pack and of the output, what the pack depends on."""


def _direct(a: dict[str, Any], finish: tuple[int, ...], parameters: tuple[float, float]) -> _Kernel:
    source, result, window, groups, gradient = (a[name] for name in ("source", "result", "window", "groups", "gradient"))
    attributes = conv_attributes(source, result, window, finish, parameters, groups=groups, gradient=gradient)
    key = (source.c, result.c, groups, int(gradient), *window.kernel)
    if gradient:  # packs hold the taps class by class: the whole window decides, and whether all classes have pixels
        key = (*key, *window.ints, *(min(pair) for pair in zip(window.stride, (result.h, result.w), strict=True)))
    return "conv", attributes, attributes, key


def _depthwise(a: dict[str, Any], finish: tuple[int, ...], parameters: tuple[float, float]) -> _Kernel:
    window = a["window"]
    pack = Attributes((a["source"].c, *window.kernel, int(a["gradient"])))
    if a["gradient"]:  # at stride 1: the same convolution with turned filters
        window = window.turned()
    return "depthwise", pack, depthwise_attributes(a["source"], a["result"], window, finish, parameters), pack.ints


def _stem(a: dict[str, Any], finish: tuple[int, ...], parameters: tuple[float, float]) -> _Kernel:
    source, window = a["source"], a["window"]
    pack = Attributes((a["result"].c, source.c, *window.kernel))
    return "stem", pack, stem_attributes((source.c, source.h, source.w), a["result"], window, finish, parameters), pack.ints


def _winograd(a: dict[str, Any], finish: tuple[int, ...], parameters: tuple[float, float]) -> _Kernel:
    source, result, gradient = a["source"], a["result"], a["gradient"]
    pad = (a["window"].turned() if gradient else a["window"]).pad_lo
    k, c = (source.c, result.c) if gradient else (result.c, source.c)
    pack = winograd_pack_attributes(k, c, gradient=gradient)
    return "winograd", pack, winograd_attributes(source, result, pad, finish, parameters), pack.ints


_ALGORITHMS: dict[str, Callable[[dict[str, Any], tuple[int, ...], tuple[float, float]], _Kernel]] = {
    "direct": _direct,
    "depthwise": _depthwise,
    "stem": _stem,
    "winograd": _winograd,
}


def _kernel(node: Node) -> _Kernel:
    """What computes a BlockedConv."""
    a = node.attrs
    finish = epilogue(function_code(a["function"]), bias=node.inputs[2] is not None, residual=a["residual"])
    return _ALGORITHMS[a["algorithm"]](a, finish, (a["alpha"], a["beta"]))


def direct_kernel(node: Node) -> tuple[Attributes, tuple[int, ...]]:
    """Attributes of the direct kernel of a BlockedConv, and what its pack depends on."""
    _, _, attributes, key = _kernel(node)
    return attributes, key


@operator("BlockedDepthwiseGrad")
class BlockedDepthwiseGrad(Blocking):
    """dx of a depthwise convolution of any stride: inputs dy, w."""

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        dy, w, a = node.input(0), node.input(1), node.attrs
        pack = Attributes((a["source"].c, *a["window"].kernel, 0))
        packed = p.packed("blocked_depthwise_pack", pack, w, pack.ints)
        attributes = depthwise_grad_attributes(a["result"], a["source"], a["window"])
        p.step("blocked_depthwise_input_grad", attributes, (dy, packed), node.outputs, products=products(a["source"].size, w))


@operator("BlockedConvWeightGrad")
class BlockedConvWeightGrad:
    """dw of a convolution of one group, plain: inputs dy, x."""

    @staticmethod
    def shape(node: Node) -> Shape:
        return tuple(node.attrs["weight_shape"])

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        dy, x = node.attrs["sources"]
        attributes = weight_attributes(x, dy, node.attrs["window"])
        p.step("blocked_weight_grad", attributes, node.inputs, node.outputs, products=products(dy.size, node.outputs[0]))


def _define_pool(op: str, kernel: str) -> None:
    @operator(f"Blocked{op}")
    class Pool(Blocking):
        """As the plain operator of that name; the gradient of max pooling reads x and dy, that of average pooling dy."""

        @staticmethod
        def lower(node: Node, p: PlanBuilder) -> None:
            a, sources, result = node.attrs, node.attrs["sources"], node.attrs["result"]
            if op == "MaxPoolGrad":
                x, dy = sources
                attributes = max_pool_grad_attributes(x, dy, result, a["window"], ceil_mode=a["ceil_mode"])
            else:
                tensors = (result, sources[0]) if op == "AveragePoolGrad" else (sources[0], result)
                attributes = pool_attributes(*tensors, a["window"], ceil_mode=a["ceil_mode"], count_include_pad=a["count_include_pad"])
            p.step(f"blocked_{kernel}", attributes, node.inputs, node.outputs)


_define_pool("MaxPool", "max_pool_output")
_define_pool("MaxPoolGrad", "max_pool_input_grad")
_define_pool("AveragePool", "average_pool_output")
_define_pool("AveragePoolGrad", "average_pool_input_grad")


@operator("BlockedMean")
class BlockedMean:
    """Mean over the pixels, as a plain (N, C)."""

    @staticmethod
    def shape(node: Node) -> Shape:
        source = node.attrs["source"]
        return (source.n, source.c)

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        p.step("blocked_channel_mean", node.attrs["source"].attributes, node.inputs, node.outputs)


@operator("BlockedScale")
class BlockedScale(Blocking):
    """x times one plain number per picture and channel, (N, C)."""

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        p.step("blocked_channel_scale", scale_attributes(node.attrs["source"], node.attrs["result"]), node.inputs, node.outputs)
