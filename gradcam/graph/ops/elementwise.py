"""Elementwise functions of one array and of two (broadcast)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Node, Shape, Value
from gradcam.graph.onnx_form import Inputs, OnnxNode, Unsupported, onnx_form
from gradcam.graph.operators import GuidedRule, operator, same_shape
from gradcam.graph.ops.curvature import binary_curvature, unary_curvature
from gradcam.ops.binary import binary_attributes, broadcast_shape
from gradcam.ops.unary import SLOPE_IS_0_OR_1, UNARY, unary_attributes

if TYPE_CHECKING:
    from gradcam.graph.plan import PlanBuilder

Arrays = list[NDArray[Any] | None]


# One array -----------------------------------------------------------------------------------------------------------


_STEPS = ("Sign", "Floor", "Ceil", "Round")
"""Functions whose derivative is 0 wherever they have one."""


def _define_unary(op: str) -> None:
    @operator(op)
    class Unary:
        """y = f(x), with f the operator of that name in ONNX (`gradcam.ops.unary`)."""

        shape = staticmethod(same_shape)

        @staticmethod
        def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
            if op in _STEPS:
                return [None]
            # Where the derivative asks only between which bounds x lies, y says it too: x need not be kept.
            x = node.outputs[0] if op in SLOPE_IS_0_OR_1 else node.inputs[0]
            assert x is not None
            return [g.unary_grad(op, x, dy, node.attrs.get("alpha", 0.0), node.attrs.get("beta", 0.0))]

        if op in ("Relu", "Clip"):

            @staticmethod
            def guided_gradient(node: Node, dy: Value, g: Builder, rule: GuidedRule) -> list[Value | None] | None:
                if op == "Clip" and not (rule.clip and node.attrs["alpha"] == 0):
                    return None
                positive = g.unary("Relu", dy)
                return Unary.gradient(node, positive, g) if rule.gated else [positive]

        @staticmethod
        def lower(node: Node, p: PlanBuilder) -> None:
            attributes = unary_attributes(op, node.outputs[0].size, node.attrs.get("alpha", 0.0), node.attrs.get("beta", 0.0))
            p.step("unary_output", attributes, node.inputs, node.outputs, inplace=(0,))


for _op in UNARY:
    _define_unary(_op)


@operator("UnaryGrad")
class UnaryGrad:
    """dx = f'(x) dy."""

    shape = staticmethod(same_shape)

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        x, first = node.inputs
        assert x is not None
        assert first is not None
        function, alpha, beta = (node.attrs[name] for name in ("function", "alpha", "beta"))
        return [unary_curvature(function, x, g.mul(first, dy), g, alpha), g.unary_grad(function, x, dy, alpha, beta)]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        a = node.attrs
        p.step(
            "unary_input_grad",
            unary_attributes(a["function"], node.outputs[0].size, a["alpha"], a["beta"]),
            node.inputs,
            node.outputs,
            inplace=(1, 0),
        )


def _plain(op: str, *names: str, **defaults: float) -> None:
    """Register an ONNX operator with float attributes that are our alpha and beta, in this order."""

    @onnx_form(op)
    def emit(node: OnnxNode, x: Inputs, g: Builder) -> Value:
        values = [float(node.attrs.get(name, defaults[name])) for name in names] + [0.0, 0.0]
        return g.emit(op, node.required(x, 0), alpha=values[0], beta=values[1])


for _op in ("Relu", "Sigmoid", "Tanh", "HardSwish", "Softplus", "Erf", "Exp", "Log", "Reciprocal", "Softsign", "Mish"):
    _plain(_op)
_plain("LeakyRelu", "alpha", alpha=0.01)
_plain("HardSigmoid", "alpha", "beta", alpha=0.2, beta=0.5)
_plain("Elu", "alpha", alpha=1.0)
_plain("ThresholdedRelu", "alpha", alpha=1.0)


def _numpy_or_node(op: str, function: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    """Register an operator that shape arithmetic uses too: a constant is computed at once."""

    @onnx_form(op)
    def emit(node: OnnxNode, x: Inputs, g: Builder) -> Value:
        value = node.required(x, 0)
        return g.constant(function(value.data)) if value.data is not None else g.emit(op, value, alpha=0.0, beta=0.0)


_numpy_or_node("Sqrt", np.sqrt)
_numpy_or_node("Abs", np.abs)
_numpy_or_node("Neg", np.negative)
_FOLDED: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "Sign": np.sign,
    "Floor": np.floor,
    "Ceil": np.ceil,
    "Round": np.rint,
    "Sin": np.sin,
    "Cos": np.cos,
    "Tan": np.tan,
    "Asin": np.arcsin,
    "Acos": np.arccos,
    "Atan": np.arctan,
    "Sinh": np.sinh,
    "Cosh": np.cosh,
    "Asinh": np.arcsinh,
    "Acosh": np.arccosh,
    "Atanh": np.arctanh,
}
for _op, _function in _FOLDED.items():
    _numpy_or_node(_op, _function)


@onnx_form("Selu")
def selu(node: OnnxNode, x: Inputs, g: Builder) -> Value:
    """Gamma times the exponential linear unit (Klambauer et al. 2017)."""
    alpha, gamma = float(node.attrs.get("alpha", 1.67326319217681884765625)), float(node.attrs.get("gamma", 1.05070102214813232421875))
    return g.scale(g.emit("Elu", node.required(x, 0), alpha=alpha, beta=0.0), gamma)


@onnx_form("Celu")
def celu(node: OnnxNode, x: Inputs, g: Builder) -> Value:
    """The exponential linear unit at scale alpha, with slope 1 on both sides of 0 (Barron 2017)."""
    alpha = float(node.attrs.get("alpha", 1.0))
    if not alpha > 0:
        raise Unsupported(f"attribute 'alpha' = {alpha}: only positive numbers")
    return g.scale(g.emit("Elu", g.scale(node.required(x, 0), 1 / alpha), alpha=1.0, beta=0.0), alpha)


@onnx_form("Swish")
def swish(node: OnnxNode, x: Inputs, g: Builder) -> Value:
    """Return x times the sigmoid of alpha x."""
    value = node.required(x, 0)
    return g.mul(value, g.emit("Sigmoid", g.scale(value, float(node.attrs.get("alpha", 1.0))), alpha=0.0, beta=0.0))


@onnx_form("Shrink")
def shrink(node: OnnxNode, x: Inputs, g: Builder) -> Value:
    """Numbers within lambd of 0 become 0, the others come nearer to 0 by bias."""
    value, limit, bias = node.required(x, 0), float(node.attrs.get("lambd", 0.5)), float(node.attrs.get("bias", 0.0))
    size, sign = (g.emit(op, value, alpha=0.0, beta=0.0) for op in ("Abs", "Sign"))
    return g.emit("Keep", g.sub(value, g.scale(sign, bias)), g.emit("Less", g.constant(limit), size))


@onnx_form("Gelu")
def gelu(node: OnnxNode, x: Inputs, g: Builder) -> Value:
    """Gaussian error linear unit, exact or by tanh."""
    return g.emit("GeluTanh" if node.attrs.get("approximate", "none") == "tanh" else "Gelu", node.required(x, 0), alpha=0.0, beta=0.0)


@onnx_form("Clip")
def clip(node: OnnxNode, x: Inputs, g: Builder) -> Value:
    """Bounds are attributes up to opset 10, inputs after; computed ones make it a maximum and a minimum."""
    value, low, high = node.required(x, 0), node.optional(x, 1), node.optional(x, 2)
    if not value.is_real or any(v is not None and v.data is None for v in (low, high)):
        for op, bound in (("Max", low), ("Min", high)):
            value = value if bound is None else g.emit(op, value, bound)
        return value
    bounds = []
    for given, name, default in ((low, "min", -np.inf), (high, "max", np.inf)):
        bounds.append(float(node.attrs.get(name, default)) if given is None else float(np.asarray(given.data).reshape(())))
    return g.emit("Clip", value, alpha=bounds[0], beta=bounds[1])


# Two arrays ----------------------------------------------------------------------------------------------------------


def _divide(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """Divide as ONNX does: integers are truncated."""
    if a.dtype.kind == "f":
        return np.asarray(a / b)
    return np.asarray(np.trunc(np.true_divide(a, b))).astype(a.dtype)


_NUMPY: dict[str, Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": _divide,
    "Pow": lambda a, b: np.asarray(np.power(a, b)).astype(a.dtype),
    "Max": np.maximum,
    "Min": np.minimum,
    "PRelu": lambda a, b: np.where(a < 0, a * b, a),
}


def _define_binary(op: str) -> None:
    @operator(op)
    class Binary:
        """y = f(a, b), broadcast, with f the operator of that name in ONNX (`gradcam.ops.binary`)."""

        @staticmethod
        def shape(node: Node) -> Shape:
            a, b = node.inputs
            assert a is not None
            assert b is not None
            return broadcast_shape(a.shape, b.shape)

        @staticmethod
        def evaluate(node: Node, arrays: Arrays) -> NDArray[Any]:
            a, b = arrays
            assert a is not None
            assert b is not None
            return np.asarray(_NUMPY[op](a, b))

        @staticmethod
        def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
            a, b = node.inputs
            assert a is not None
            assert b is not None
            return _summed(g, (a, b), _binary_gradients(op, a, b, dy, g))

        @staticmethod
        def lower(node: Node, p: PlanBuilder) -> None:
            a, b = node.inputs
            assert a is not None
            assert b is not None
            p.step("binary_output", binary_attributes(op, a.shape, b.shape), node.inputs, node.outputs, inplace=(0,))


def _summed(g: Builder, operands: tuple[Value, ...], gradients: tuple[Value | None, ...]) -> list[Value | None]:
    """Sum gradients from the broadcast shape to those of the operands; None for constants."""
    pairs = zip(operands, gradients, strict=True)
    return [None if v.data is not None or gradient is None else g.sum_to(gradient, v.shape) for v, gradient in pairs]


def _binary_gradients(op: str, a: Value, b: Value, dy: Value, g: Builder) -> tuple[Value, Value]:
    """Gradients in the broadcast shape; those of sums and products are sums and products."""
    if op == "Add":
        return dy, dy
    if op == "Sub":
        return dy, g.scale(dy, -1)
    if op == "Mul":
        return g.mul(dy, b), g.mul(dy, a)
    return g.emit("BinaryGrad", a, b, dy, function=op, operand="a"), g.emit("BinaryGrad", a, b, dy, function=op, operand="b")


for _op in _NUMPY:
    _define_binary(_op)


@operator("BinaryGrad")
class BinaryGrad:
    """Gradient of one operand, in the broadcast shape."""

    @staticmethod
    def shape(node: Node) -> Shape:
        assert node.inputs[2] is not None
        return node.inputs[2].shape

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        a, b, first = node.inputs
        assert a is not None
        assert b is not None
        assert first is not None
        da, db = binary_curvature(node.attrs["function"], node.attrs["operand"], a, b, g.mul(first, dy), g)
        return [*_summed(g, (a, b), (da, db)), g.emit("BinaryGrad", a, b, dy, **node.attrs)]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        a, b, _ = node.inputs
        assert a is not None
        assert b is not None
        p.step(
            f"binary_{node.attrs['operand']}_grad", binary_attributes(node.attrs["function"], a.shape, b.shape), node.inputs, node.outputs
        )


@onnx_form("Add", "Sub", "Mul", "Div")
def arithmetic(node: OnnxNode, x: Inputs, g: Builder) -> Value:
    """NumPy broadcasting since opset 7; before it, `axis` placed the second operand."""
    a, b = node.required(x, 0), node.required(x, 1)
    if node.opset < 7 and node.attrs.get("broadcast", 0):
        axis = node.attrs.get("axis", len(a.shape) - len(b.shape))
        b = g.reshape(b, b.shape + (1,) * (len(a.shape) - axis - len(b.shape)))
    return g.emit(node.op_type, a, b)


@onnx_form("Mod")
def modulo(node: OnnxNode, x: Inputs, g: Builder) -> Value:
    """Return the rest of a / b, with the sign of b, or of a with fmod = 1; no gradient passes the number of times."""
    a, b = node.required(x, 0), node.required(x, 1)
    towards_zero = bool(node.attrs.get("fmod", 0))
    if a.data is not None and b.data is not None:
        return g.constant(np.asarray((np.fmod if towards_zero else np.mod)(a.data, b.data)))
    quotient = g.emit("Div", a, b)
    size = g.emit("Floor", g.emit("Abs", quotient, alpha=0.0, beta=0.0), alpha=0.0, beta=0.0)
    count = g.mul(g.emit("Sign", quotient, alpha=0.0, beta=0.0), size)
    rest = g.sub(a, g.mul(count, g.emit("Keep", b, count)))  # an infinite b goes 0 times into a
    if towards_zero:
        return rest
    return g.add(rest, g.emit("Keep", b, g.emit("Less", g.mul(rest, b), g.constant(0.0))))


@onnx_form("Pow", "PRelu")
def power(node: OnnxNode, x: Inputs, g: Builder) -> Value:
    """The exponent may be an integer; the slope of PRelu broadcasts like any second operand."""
    a, b = node.required(x, 0), node.required(x, 1)
    if a.is_real and b.data is not None and not b.is_real:
        b = g.constant(b.data.astype(g.real))
    return g.emit(node.op_type, a, b)


@onnx_form("Max", "Min", "Sum")
def variadic(node: OnnxNode, x: Inputs, g: Builder) -> Value:
    """Fold any number of operands from the left."""
    op = {"Sum": "Add"}.get(node.op_type, node.op_type)
    result = node.required(x, 0)
    for index in range(1, len(x)):
        result = g.emit(op, result, node.required(x, index))
    return result


@onnx_form("Identity", "Dropout")
def identity(node: OnnxNode, x: Inputs, g: Builder) -> list[Value]:
    """At inference both hand their input on: the output is another name of it, and the mask of Dropout keeps everything."""
    training = node.optional(x, 2)
    if training is not None and bool(node.array(x, 2)):
        raise Unsupported("training_mode = 1")
    value = node.required(x, 0)
    return [value] if len(node.outputs) < 2 else [value, g.constant(np.ones(value.shape, np.bool_))]
