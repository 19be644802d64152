"""Comparisons, logic and selection.

A boolean that is computed at run time is a real number, 1 or 0; constants stay booleans. No gradient passes a comparison,
and a selection hands its gradient to the branch that was taken, alone: what the other branch holds, NaN even, is not read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Node, Shape, Value
from gradcam.graph.onnx_form import Inputs, OnnxNode, Unsupported, onnx_form
from gradcam.graph.operators import operator, same_shape
from gradcam.ops.binary import binary_attributes, broadcast_shape
from gradcam.ops.convert import convert_attributes

if TYPE_CHECKING:
    from gradcam.graph.plan import PlanBuilder

__all__ = ["as_real", "select"]


def _pair(items: Any) -> tuple[Any, Any]:
    a, b = items
    assert a is not None
    assert b is not None
    return a, b


class _Binary:
    """What comparisons and Keep share."""

    @staticmethod
    def shape(node: Node) -> Shape:
        """Broadcast."""
        a, b = _pair(node.inputs)
        return broadcast_shape(a.shape, b.shape)

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        """Emit one step."""
        a, b = _pair(node.inputs)
        p.step("binary_output", binary_attributes(node.op, a.shape, b.shape), node.inputs, node.outputs, inplace=(0,))


_COMPARE: dict[str, Callable[..., Any]] = {"Less": np.less, "LessOrEqual": np.less_equal, "Equal": np.equal}


class Comparison(_Binary):
    """1 where it holds, else 0; a comparison with NaN does not hold."""

    @staticmethod
    def evaluate(node: Node, arrays: list[NDArray[Any] | None]) -> NDArray[Any]:
        """Compare in NumPy."""
        a, b = _pair(arrays)
        return np.asarray(_COMPARE[node.op](a, b)).astype(a.dtype)

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        """There is none."""
        return [None, None]


for _op in _COMPARE:
    operator(_op)(Comparison)


@operator("Keep")
class Keep(_Binary):
    """a where b is not 0, else 0."""

    @staticmethod
    def evaluate(node: Node, arrays: list[NDArray[Any] | None]) -> NDArray[Any]:
        a, b = _pair(arrays)
        return np.asarray(np.where(b != 0, a, a.dtype.type(0)))

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        a, b = _pair(node.inputs)
        return [None if a.data is not None else g.sum_to(g.emit("Keep", dy, b), a.shape), None]


@operator("Quantize")
class Quantize(_Binary):
    """The integer nearest to a / b, the even one of two; its gradient is that of a / b (straight-through)."""

    @staticmethod
    def evaluate(node: Node, arrays: list[NDArray[Any] | None]) -> NDArray[Any]:
        a, b = _pair(arrays)
        return np.asarray(np.rint(a / b))

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        a, b = _pair(node.inputs)
        pairs = ((v, g.emit("BinaryGrad", a, b, dy, function="Div", operand=name)) for v, name in ((a, "a"), (b, "b")))
        return [None if v.data is not None else g.sum_to(gradient, v.shape) for v, gradient in pairs]


@operator("ToReal", indices=(0,), dtype=np.floating)
class ToReal:
    """An index as a real number; exact up to 2^24 in float32."""

    shape = staticmethod(same_shape)

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        return [None]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        p.step("convert_to_real", convert_attributes(node.outputs[0].size), node.inputs, node.outputs)


@operator("ToIndex", dtype=np.int64)
class ToIndex:
    """A real number without its fraction, as an index."""

    shape = staticmethod(same_shape)

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        p.step("convert_to_index", convert_attributes(node.outputs[0].size), node.inputs, node.outputs)


def as_real(g: Builder, x: Value) -> Value:
    """Return integers and booleans as real numbers."""
    if x.is_real:
        return x
    return g.emit("ToReal", x) if x.data is None else g.constant(x.data.astype(g.real))


def negation(g: Builder, x: Value) -> Value:
    """Return 1 - x."""
    return g.emit("Affine", x, alpha=-1.0, beta=1.0) if x.data is None else g.constant(1 - x.data)


def select(g: Builder, condition: Value, a: Value, b: Value) -> Value:
    """Return a where the condition (1 or 0) holds, else b; the other one is not read there."""
    return g.add(g.emit("Keep", a, condition), g.emit("Keep", b, negation(g, condition)))


# ONNX forms ----------------------------------------------------------------------------------------------------------


def _constants(inputs: Inputs) -> list[NDArray[Any]] | None:
    """The data of all inputs if they are constants."""
    arrays = [v.data for v in inputs if v is not None and v.data is not None]
    return arrays if len(arrays) == len(inputs) else None


_NUMPY: dict[str, Callable[..., Any]] = {
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Xor": np.logical_xor,
    "Not": np.logical_not,
    "Where": np.where,
    "IsNaN": np.isnan,
}
_AT_RUN_TIME: dict[str, Callable[..., Value]] = {
    "Equal": lambda g, a, b: g.emit("Equal", a, b),
    "Greater": lambda g, a, b: g.emit("Less", b, a),
    "GreaterOrEqual": lambda g, a, b: g.emit("LessOrEqual", b, a),
    "Less": lambda g, a, b: g.emit("Less", a, b),
    "LessOrEqual": lambda g, a, b: g.emit("LessOrEqual", a, b),
    "And": lambda g, a, b: g.emit("Mul", a, b),
    "Or": lambda g, a, b: g.emit("Max", a, b),
    "Xor": lambda g, a, b: negation(g, g.emit("Equal", a, b)),
    "Not": negation,
    "Where": select,
    "IsNaN": lambda g, x: negation(g, g.emit("Equal", x, x)),
}


@onnx_form(*_NUMPY)
def logic(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """In NumPy where all inputs are constants, else on real numbers."""
    count = {"Not": 1, "IsNaN": 1, "Where": 3}.get(node.op_type, 2)
    values = [node.required(inputs, i) for i in range(count)]
    arrays = _constants(values)
    if arrays is not None:
        g.reserve(int(np.prod(np.broadcast_shapes(*(a.shape for a in arrays)), dtype=object)))
        return g.constant(np.asarray(_NUMPY[node.op_type](*arrays)))
    return _AT_RUN_TIME[node.op_type](g, *(as_real(g, v) for v in values))


@onnx_form("IsInf")
def is_inf(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Either sign can be left out."""
    x = node.required(inputs, 0)
    wanted = [s for s, name in ((-np.inf, "detect_negative"), (np.inf, "detect_positive")) if node.attrs.get(name, 1)]
    if x.data is not None:
        return g.constant(np.isin(x.data, wanted))
    if not wanted:
        return g.constant(np.zeros(x.shape, np.bool_))
    y = x if len(wanted) == 1 else g.emit("Abs", x, alpha=0.0, beta=0.0)
    return g.emit("Equal", y, g.constant(wanted[-1]))


@onnx_form("QuantizeLinear")
def quantize_linear(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Rounded to a multiple of the scale, as a real number: y = clip(round(x / s) + z).

    Backwards rounding is passed straight through: the gradient is that of x / s inside the range of the type and 0 outside.
    """
    x, low, high = node.required(inputs, 0), *_range(node, inputs)
    scale, zero = _per_axis(node, x, as_real(g, node.required(inputs, 1)), g), node.optional(inputs, 2)
    y = g.emit("Quantize", as_real(g, x), scale)
    if zero is not None:
        y = g.add(y, _per_axis(node, x, as_real(g, zero), g))
    return g.emit("Clip", y, alpha=low, beta=high)


@onnx_form("DequantizeLinear")
def dequantize_linear(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """(x - z) s."""
    x = node.required(inputs, 0)
    scale, zero = _per_axis(node, x, as_real(g, node.required(inputs, 1)), g), node.optional(inputs, 2)
    y = as_real(g, x)
    if zero is not None:
        y = g.sub(y, _per_axis(node, x, as_real(g, zero), g))
    return g.mul(y, scale)


_QUANTIZED = {2: (0, 255), 3: (-128, 127), 4: (0, 65535), 5: (-32768, 32767), 21: (0, 15), 22: (-8, 7), 25: (0, 3), 26: (-2, 1)}
"""Ranges of the types that QuantizeLinear rounds to, by their codes in onnx.TensorProto.DataType."""


_NARROW_RANGES = {"int4": (-8.0, 7.0), "uint4": (0.0, 15.0), "int2": (-2.0, 1.0), "uint2": (0.0, 3.0)}


def _range(node: OnnxNode, inputs: Inputs) -> tuple[float, float]:
    """Range of the quantized type: that of the zero point, or named by an attribute, or uint8."""
    zero = node.optional(inputs, 2)
    if zero is not None and zero.dtype.name in _NARROW_RANGES:
        return _NARROW_RANGES[zero.dtype.name]
    if zero is not None and zero.dtype.kind in "iu" and zero.dtype.itemsize <= 2:
        limits = np.iinfo(zero.dtype)
        return float(limits.min), float(limits.max)
    code = int(node.attrs.get("output_dtype", 0)) or 2
    if code not in _QUANTIZED or zero is not None:
        raise Unsupported("quantization to a type that is no integer of 8 or 16 bits")
    low, high = _QUANTIZED[code]
    return float(low), float(high)


def _per_axis(node: OnnxNode, x: Value, parameter: Value, g: Builder) -> Value:
    """A scale or zero point that broadcasts with x: one, one per step of an axis, or one per block of an axis."""
    if parameter.size == 1 and len(parameter.shape) < 2:
        return g.reshape(parameter, ())
    axis = node.axis(int(node.attrs.get("axis", 1)), len(x.shape))
    block = int(node.attrs.get("block_size", 0))
    if not block and parameter.shape != (x.shape[axis],):
        raise node.bad(f"scales or zero points of shape {parameter.shape} do not fit axis {axis} of {x.shape}")
    if not block:
        return g.reshape(parameter, (x.shape[axis], *(1,) * (len(x.shape) - axis - 1)))
    if parameter.data is None:
        raise Unsupported("scales of blocks that are computed at run time")
    return g.constant(np.repeat(parameter.data, block, axis).take(range(x.shape[axis]), axis))
