"""Convolution and its gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Node, Shape, Value
from gradcam.graph.onnx_form import Inputs, OnnxNode, onnx_form
from gradcam.graph.operators import keeps_axis_0, operator, sums_pictures
from gradcam.graph.windows import transposed_windows, windows
from gradcam.ops._call import Attributes
from gradcam.ops.binary import binary_attributes
from gradcam.ops.conv import conv_attributes, conv_output_shape
from gradcam.ops.unary import unary_attributes

if TYPE_CHECKING:
    from gradcam.graph.plan import PlanBuilder


def _geometry(attrs: dict[str, Any]) -> dict[str, Any]:
    return {name: attrs[name] for name in ("stride", "pad_lo", "pad_hi", "dilation")}


def products(values: int, weight: Value) -> int:
    """Products of a convolution with so many results, or of a gradient from so many: each meets one filter."""
    return values * (weight.size // weight.shape[0])


def _pack_key(attributes: Attributes) -> tuple[int, ...]:
    """What the packed layout depends on: all but the picture (rank, c, k, groups, kernel, gradient)."""
    rank, _, c, k, groups = attributes.ints[:5]
    return (rank, c, k, groups, *attributes.ints[5 + rank : 5 + 2 * rank], attributes.ints[-1])


@operator("Conv", learned=True)
class Conv:
    """y = w * x + b: x (N, C, *S), w (K, C/groups, *kernel), b (K) or absent."""

    picture_axis = staticmethod(keeps_axis_0)

    @staticmethod
    def shape(node: Node) -> Shape:
        x, w = node.inputs[:2]
        assert x is not None
        assert w is not None
        return conv_output_shape(x.shape, w.shape, **_geometry(node.attrs))

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        x, w, b = node.input(0), node.input(1), node.inputs[2]
        dw = None if w.data is not None else g.emit("ConvWeightGrad", dy, x, weight_shape=w.shape, **node.attrs)
        db = None if b is None or b.data is not None else g.sum(dy, (0, *range(2, len(dy.shape))))
        return [g.emit("ConvInputGrad", dy, w, input_shape=x.shape, **node.attrs), dw, db]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        x, w, b = node.inputs
        assert x is not None
        assert w is not None
        attributes = conv_attributes(x.shape, w.shape, **_geometry(node.attrs), groups=node.attrs["groups"], has_bias=b is not None)
        packed = p.packed("conv_pack", attributes, w, _pack_key(attributes))
        p.step("conv_output", attributes, (x, packed, b), node.outputs, products=products(node.outputs[0].size, w))


@operator("FusedConv", learned=True)
class FusedConv:
    """A convolution plus `residual`, through the elementwise `function` (None: none): emitted by the pass `fuse`."""

    picture_axis = staticmethod(keeps_axis_0)
    shape = staticmethod(Conv.shape)

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        *operands, residual = node.inputs
        y, attrs = node.outputs[0], node.attrs
        Conv.lower(Node("Conv", tuple(operands), node.outputs, attrs), p)
        if residual is not None:
            p.step("binary_output", binary_attributes("Add", y.shape, residual.shape), (y, residual), (y,))
        if attrs["function"] is not None:
            p.step("unary_output", unary_attributes(attrs["function"], y.size, attrs["alpha"], attrs["beta"]), (y,), (y,))


@operator("ConvInputGrad")
class ConvInputGrad:
    """dx of a convolution: dy (N, K, *O), w (K, C/groups, *kernel) -> (N, C, *S)."""

    picture_axis = staticmethod(keeps_axis_0)

    @staticmethod
    def shape(node: Node) -> Shape:
        return tuple(node.attrs["input_shape"])

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        source, w = node.input(0), node.input(1)
        attrs = {name: value for name, value in node.attrs.items() if name != "input_shape"}
        dw = None if w.data is not None else g.emit("ConvWeightGrad", source, dy, weight_shape=w.shape, **attrs)
        return [g.emit("Conv", dy, w, None, **attrs), dw]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        dy, w = node.input(0), node.input(1)
        attributes = conv_attributes(
            node.outputs[0].shape, w.shape, **_geometry(node.attrs), groups=node.attrs["groups"], has_bias=False, gradient=True
        )
        packed = p.packed("conv_pack", attributes, w, _pack_key(attributes))
        p.step("conv_input_grad", attributes, (dy, packed), node.outputs, products=products(dy.size, w))


@operator("ConvWeightGrad")
class ConvWeightGrad:
    """dw of a convolution: dy (N, K, *O), x (N, C, *S) -> (K, C/groups, *kernel)."""

    picture_axis = staticmethod(sums_pictures)

    @staticmethod
    def shape(node: Node) -> Shape:
        return tuple(node.attrs["weight_shape"])

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        x = node.input(1)
        attrs = {name: value for name, value in node.attrs.items() if name != "weight_shape"}
        return [g.emit("Conv", x, dy, None, **attrs), g.emit("ConvInputGrad", node.inputs[0], dy, input_shape=x.shape, **attrs)]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        x_shape, w_shape = node.input(1).shape, node.outputs[0].shape
        attributes = conv_attributes(x_shape, w_shape, **_geometry(node.attrs), groups=node.attrs["groups"], has_bias=False)
        p.step("conv_weight_grad", attributes, node.inputs, node.outputs, products=products(node.input(0).size, node.outputs[0]))


@onnx_form("Conv")
def conv(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """All attributes of ONNX, including auto_pad."""
    x, w, b = node.required(inputs, 0), node.required(inputs, 1), node.optional(inputs, 2)
    if len(x.shape) != len(w.shape) or not 3 <= len(x.shape) <= 5:
        raise node.bad(f"expected input and weight with 3 to 5 axes each, got {x.shape} and {w.shape}")
    kernel = w.shape[2:]
    if 0 in w.shape:
        raise node.bad(f"expected weights of at least one element, got shape {w.shape}")
    if tuple(node.attrs.get("kernel_shape", kernel)) != kernel:
        raise node.bad(f"attribute 'kernel_shape': {tuple(node.attrs['kernel_shape'])} is not the weight's {kernel}")
    stride, pad_lo, pad_hi, dilation = windows(node, x.shape[2:], kernel)
    groups = int(node.attrs.get("group", 1))
    if groups < 1 or w.shape[0] % groups or x.shape[1] != w.shape[1] * groups:
        raise node.bad(f"attribute 'group': {groups} groups of {w.shape[1]} channels do not make the input's {x.shape[1]} channels")
    if b is not None and b.shape != (w.shape[0],):
        raise node.bad(f"expected a bias of shape {(w.shape[0],)}, got {b.shape}")
    if any(n + lo + hi < d * (k - 1) + 1 for n, k, d, lo, hi in zip(x.shape[2:], kernel, dilation, pad_lo, pad_hi, strict=True)):
        raise node.bad(f"the kernel {kernel} does not fit into the padded input {x.shape}")
    if np.min(pad_lo + pad_hi) < 0:
        raise node.bad("attribute 'pads': negative padding")
    return g.emit("Conv", x, w, b, stride=stride, pad_lo=pad_lo, pad_hi=pad_hi, dilation=dilation, groups=groups)


@onnx_form("ConvTranspose")
def conv_transpose(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """The input gradient of a convolution, with all attributes of ONNX: output_padding, output_shape, auto_pad, groups."""
    x, w, b = node.required(inputs, 0), node.required(inputs, 1), node.optional(inputs, 2)
    rank = len(x.shape) - 2
    if len(x.shape) != len(w.shape) or not 1 <= rank <= 3 or 0 in w.shape or 0 in x.shape:
        raise node.bad(f"expected input and weight with 3 to 5 axes each and at least one element, got {x.shape} and {w.shape}")
    kernel = w.shape[2:]
    if tuple(node.attrs.get("kernel_shape", kernel)) != kernel:
        raise node.bad(f"attribute 'kernel_shape': {tuple(node.attrs['kernel_shape'])} is not the weight's {kernel}")
    groups = int(node.attrs.get("group", 1))
    if groups < 1 or x.shape[1] != w.shape[0] or w.shape[0] % groups:
        raise node.bad(f"attribute 'group': {groups} groups of a weight of shape {w.shape} do not fit the input's {x.shape[1]} channels")
    channels = w.shape[1] * groups
    if b is not None and b.shape != (channels,):
        raise node.bad(f"expected a bias of shape {(channels,)}, got {b.shape}")
    stride, dilation, lo, hi, more = transposed_windows(node, x.shape[2:], kernel)
    whole = tuple(s * (n - 1) + d * (k - 1) + 1 for n, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True))
    size = tuple(n - a - c + m for n, a, c, m in zip(whole, lo, hi, more, strict=True))
    if min(size) < 1:
        raise node.bad(f"attribute 'pads': {lo} and {hi} leave nothing of an output of {whole}")
    attrs = {"stride": stride, "dilation": dilation, "groups": groups}
    direct = min(lo + hi) >= 0 and all(0 <= m < s for m, s in zip(more, stride, strict=True))
    if direct:
        y = g.emit("ConvInputGrad", x, w, input_shape=(x.shape[0], channels, *size), pad_lo=lo, pad_hi=hi, **attrs)
    else:  # cut out of, or zeros around, the whole output
        zeros = (0,) * rank
        y = g.emit("ConvInputGrad", x, w, input_shape=(x.shape[0], channels, *whole), pad_lo=zeros, pad_hi=zeros, **attrs)
        around = tuple(-a for a in lo), tuple(m - c for m, c in zip(more, hi, strict=True))
        y = g.emit("Pad", y, lo=(0, 0, *around[0]), hi=(0, 0, *around[1]), value=0.0)
    return y if b is None else g.add(y, g.reshape(b, (channels, *(1,) * rank)))
