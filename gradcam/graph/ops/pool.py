"""Max and average pooling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Node, Shape, Value
from gradcam.graph.onnx_form import Inputs, OnnxNode, onnx_form
from gradcam.graph.operators import keeps_axis_0, operator, same_shape
from gradcam.graph.windows import windows
from gradcam.ops._call import Attributes
from gradcam.ops.pool import pool_attributes, pool_output_shape

if TYPE_CHECKING:
    from gradcam.graph.plan import PlanBuilder


def _attributes(shape: Shape, attrs: dict[str, Any]) -> Attributes:
    options = {name: attrs[name] for name in ("stride", "pad_lo", "pad_hi", "dilation", "ceil_mode", "count_include_pad")}
    return pool_attributes(shape, attrs["kernel"], **options)


class Pool:
    """What max and average pooling share."""

    picture_axis = staticmethod(keeps_axis_0)

    @staticmethod
    def shape(node: Node) -> Shape:
        """(N, C, *S) -> (N, C, *O)."""
        x = node.inputs[0]
        assert x is not None
        options = {name: node.attrs[name] for name in ("stride", "pad_lo", "pad_hi", "dilation", "ceil_mode")}
        return pool_output_shape(x.shape, node.attrs["kernel"], **options)


@operator("MaxPool")
class MaxPool(Pool):
    """Largest value of each window; the first maximum takes the gradient."""

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        return [g.emit("MaxPoolGrad", node.inputs[0], dy, **node.attrs)]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        x = node.inputs[0]
        assert x is not None
        p.step("pool_max_output", _attributes(x.shape, node.attrs), node.inputs, node.outputs)


@operator("MaxPoolGrad")
class MaxPoolGrad:
    """dx of max pooling from x and dy."""

    picture_axis = staticmethod(keeps_axis_0)

    shape = staticmethod(same_shape)

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        return [None, g.emit("MaxPoolPick", node.inputs[0], dy, **node.attrs)]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        p.step("pool_max_input_grad", _attributes(node.outputs[0].shape, node.attrs), node.inputs, node.outputs)


@operator("MaxPoolPick")
class MaxPoolPick(Pool):
    """Elements of the second input where the windows of the first have their maxima: max pooling, linearised."""

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        return [None, g.emit("MaxPoolGrad", node.inputs[0], dy, **node.attrs)]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        x = node.inputs[0]
        assert x is not None
        p.step("pool_max_pick", _attributes(x.shape, node.attrs), node.inputs, node.outputs)


@operator("MaxPoolIndices", dtype=np.int64)
class MaxPoolIndices(Pool):
    """Position in the flattened x of the first maximum of each window; `count_include_pad` flattens space in column-major order.

    Where pictures are run one by one, positions count from the start of each picture: MaxUnpool reads them in the same way.
    """

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        x = node.inputs[0]
        assert x is not None
        p.step("pool_max_index", _attributes(x.shape, node.attrs), node.inputs, node.outputs)


@operator("AveragePool")
class AveragePool(Pool):
    """Mean of each window."""

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        assert node.inputs[0] is not None
        return [g.emit("AveragePoolGrad", dy, input_shape=node.inputs[0].shape, **node.attrs)]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        x = node.inputs[0]
        assert x is not None
        p.step("pool_average_output", _attributes(x.shape, node.attrs), node.inputs, node.outputs)


@operator("AveragePoolGrad")
class AveragePoolGrad:
    """dx of average pooling from dy."""

    picture_axis = staticmethod(keeps_axis_0)

    @staticmethod
    def shape(node: Node) -> Shape:
        return tuple(node.attrs["input_shape"])

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        attrs = {name: value for name, value in node.attrs.items() if name != "input_shape"}
        return [g.emit("AveragePool", dy, **attrs)]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        p.step("pool_average_input_grad", _attributes(node.outputs[0].shape, node.attrs), node.inputs, node.outputs)


@onnx_form("MaxPool", "AveragePool")
def pool(node: OnnxNode, inputs: Inputs, g: Builder) -> list[Value]:
    """All attributes of ONNX, including auto_pad, ceil_mode and dilations, and the indices of MaxPool."""
    x = node.required(inputs, 0)
    window = _window(node, x)
    result = [g.emit(node.op_type, x, **window, count_include_pad=bool(node.attrs.get("count_include_pad", 0)))]
    if node.op_type == "MaxPool" and len(node.outputs) > 1 and node.outputs[1]:
        result.append(g.emit("MaxPoolIndices", x, **window, count_include_pad=bool(node.attrs.get("storage_order", 0))))
    return result


def _window(node: OnnxNode, x: Value) -> dict[str, Any]:
    """Kernel, stride, padding, dilation and ceil_mode of a pooling node."""
    if not 3 <= len(x.shape) <= 5:
        raise node.bad(f"expected an input with 3 to 5 axes, got {x.shape}")
    kernel = tuple(int(v) for v in node.attrs.get("kernel_shape", ()))
    if len(kernel) != len(x.shape) - 2 or min(kernel) < 1:
        raise node.bad(f"attribute 'kernel_shape': expected {len(x.shape) - 2} sizes, got {kernel}")
    stride, pad_lo, pad_hi, dilation = windows(node, x.shape[2:], kernel)
    for n, k, d, lo, hi in zip(x.shape[2:], kernel, dilation, pad_lo, pad_hi, strict=True):
        extent = d * (k - 1) + 1
        if min(lo, hi) < 0 or max(lo, hi) >= extent or n + lo + hi < extent:
            raise node.bad(f"a window of {extent} does not fit {n} positions padded by ({lo}, {hi})")
    geometry = {"stride": stride, "pad_lo": pad_lo, "pad_hi": pad_hi, "dilation": dilation}
    return {"kernel": kernel, **geometry, "ceil_mode": bool(node.attrs.get("ceil_mode", 0))}


@onnx_form("GlobalMaxPool")
def global_max_pool(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Max pooling with one window."""
    x = node.required(inputs, 0)
    ones, zeros = (1,) * (len(x.shape) - 2), (0,) * (len(x.shape) - 2)
    options = {"stride": ones, "pad_lo": zeros, "pad_hi": zeros, "dilation": ones}
    return g.emit("MaxPool", x, kernel=x.shape[2:], ceil_mode=False, count_include_pad=False, **options)


@onnx_form("LpPool")
def lp_pool(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """(sum of |x|^p)^(1/p) over each window; padding counts as zeros."""
    x = node.required(inputs, 0)
    window = _window(node, x)
    channels, kernel = x.shape[1], window.pop("kernel")
    shape = pool_output_shape(x.shape, kernel, **window)
    # Windows that ceil_mode cuts off at the end reach into more zeros.
    axes = zip(x.shape[2:], shape[2:], kernel, window["stride"], window["dilation"], window["pad_lo"], strict=True)
    window["pad_hi"] = tuple(max(0, (out - 1) * s + d * (k - 1) + 1 - n - lo) for n, out, k, s, d, lo in axes)
    del window["ceil_mode"]
    p = _power(node)
    ones = g.constant(np.ones((channels, 1, *kernel)))
    return _root(g, g.emit("Conv", _powered(g, x, p), ones, None, groups=channels, **window), p)


@onnx_form("GlobalLpPool")
def global_lp_pool(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """(sum of |x|^p)^(1/p) over all positions."""
    x, p = node.required(inputs, 0), _power(node)
    return _root(g, g.sum(_powered(g, x, p), range(2, len(x.shape)), keepdims=True), p)


def _power(node: OnnxNode) -> float:
    p = float(node.attrs.get("p", 2))
    if not 1 <= p < np.inf:
        raise node.bad(f"attribute 'p': expected a number of at least 1, got {p}")
    return p


def _powered(g: Builder, x: Value, p: float) -> Value:
    """|x|^p."""
    if p == 2:
        return g.mul(x, x)
    x = g.emit("Abs", x, alpha=0.0, beta=0.0)
    return x if p == 1 else g.emit("Pow", x, g.constant(np.asarray(p)))


def _root(g: Builder, x: Value, p: float) -> Value:
    """x^(1/p). Zero counts as the least normal number, so that a window of zeros has the gradient 0 and not NaN."""
    if p == 1:
        return x
    x = g.emit("Max", x, g.constant(np.asarray(np.finfo(g.real).tiny)))
    return g.emit("Sqrt", x, alpha=0.0, beta=0.0) if p == 2 else g.emit("Pow", x, g.constant(np.asarray(1 / p)))
