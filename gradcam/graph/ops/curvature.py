"""Second derivatives of the elementwise functions, as nodes of operators that exist already.

p is the product of the two gradients that meet, dy of the first differentiation and v of the second. What falls off
exponentially is left to the gradient kernels, which know its limits; polynomials beside it are bounded where it is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Value

__all__ = ["binary_curvature", "unary_curvature"]

FAR = 50.0
"""exp(-FAR) squared or steeper is 0 in float64."""


def unary_curvature(function: str, x: Value, p: Value, g: Builder, alpha: float) -> Value | None:
    """Emit f''(x) p; None for functions made of straight pieces."""
    rule = _UNARY.get(function)
    return None if rule is None else rule(x, p, g, alpha)


def binary_curvature(function: str, operand: str, a: Value, b: Value, p: Value, g: Builder) -> tuple[Value | None, Value | None]:
    """Emit the derivatives of df/d(operand) with respect to a and b, times p, in the shape of p."""
    rule = _BINARY.get((function, operand))
    return (None, None) if rule is None else rule(a, b, p, g)


# One array -----------------------------------------------------------------------------------------------------------


def _bounded(g: Builder, x: Value) -> Value:
    return g.unary("Clip", x, -FAR, FAR)


def _sigmoid(x: Value, p: Value, g: Builder, alpha: float) -> Value:
    """-tanh(x / 2) times the slope."""
    return g.unary_grad("Sigmoid", x, g.scale(g.mul(p, g.unary("Tanh", g.scale(x, 0.5))), -1))


def _tanh(x: Value, p: Value, g: Builder, alpha: float) -> Value:
    """-2 tanh(x) times the slope."""
    return g.unary_grad("Tanh", x, g.scale(g.mul(p, g.unary("Tanh", x)), -2))


def _hard_swish(x: Value, p: Value, g: Builder, alpha: float) -> Value:
    """1/3 inside (-3, 3), where the slope of a clip is 1."""
    return g.unary_grad("Clip", x, g.scale(p, 1 / 3), -3.0, 3.0)


def _elu(x: Value, p: Value, g: Builder, alpha: float) -> Value:
    """The slope again where x < 0."""
    return g.unary_grad("Elu", x, g.unary_grad("Relu", g.scale(x, -1), p), alpha)


def _softplus(x: Value, p: Value, g: Builder, alpha: float) -> Value:
    """The slope of softplus is the sigmoid."""
    return g.unary_grad("Sigmoid", x, p)


def _erf(x: Value, p: Value, g: Builder, alpha: float) -> Value:
    """-2 x times the slope."""
    return g.unary_grad("Erf", x, g.scale(g.mul(p, _bounded(g, x)), -2))


def _gelu(x: Value, p: Value, g: Builder, alpha: float) -> Value:
    """(2 - x^2) phi(x), phi the normal density: erf'(z) (1 - z^2) / sqrt(2) at z = x / sqrt(2)."""
    z = g.scale(_bounded(g, x), sqrt(0.5))
    return g.unary_grad("Erf", z, g.mul(p, g.unary("Affine", g.mul(z, z), -sqrt(0.5), sqrt(0.5))))


def _gelu_tanh(x: Value, p: Value, g: Builder, alpha: float) -> Value:
    """s'(u) (2 u' + x u'' - x u'^2 tanh(u / 2)) for x s(u), u = 2 sqrt(2/pi) (x + 0.044715 x^3), s the sigmoid."""
    x, linear = _bounded(g, x), 2 * sqrt(2 / pi)
    cubic, square = linear * 0.044715, g.mul(x, x)
    u, slope = g.mul(x, g.unary("Affine", square, cubic, linear)), g.unary("Affine", square, 3 * cubic, linear)
    bend = g.mul(g.mul(x, g.mul(slope, slope)), g.unary("Tanh", g.scale(u, 0.5)))
    return g.unary_grad("Sigmoid", u, g.mul(p, g.sub(g.unary("Affine", square, 12 * cubic, 2 * linear), bend)))


def _exp(x: Value, p: Value, g: Builder, alpha: float) -> Value:
    return g.unary_grad("Exp", x, p)


def _log(x: Value, p: Value, g: Builder, alpha: float) -> Value:
    """The slope of the logarithm is the reciprocal."""
    return g.unary_grad("Reciprocal", x, p)


def _sqrt(x: Value, p: Value, g: Builder, alpha: float) -> Value:
    """-1 / (2 x) times the slope."""
    return g.unary_grad("Sqrt", x, g.scale(g.emit("Div", p, x), -0.5))


def _reciprocal(x: Value, p: Value, g: Builder, alpha: float) -> Value:
    """-2 / x times the slope."""
    return g.unary_grad("Reciprocal", x, g.scale(g.emit("Div", p, x), -2))


def _softsign(x: Value, p: Value, g: Builder, alpha: float) -> Value:
    """-2 sign(x) / (1 + |x|) times the slope."""
    signed, steep = g.mul(p, g.unary("Sign", x)), g.unary("Affine", g.unary("Abs", x), 1.0, 1.0)
    return g.unary_grad("Softsign", x, g.scale(g.emit("Div", signed, steep), -2))


def _mish(x: Value, p: Value, g: Builder, alpha: float) -> Value:
    """Of x w: w' (2 + x (1 + s - 4 s / q)) with w' = 4 s t^2 / q^2, s and t the sigmoids of x and -x, q = 1 + t^2."""
    s, t = g.unary("Sigmoid", x), g.unary("Sigmoid", g.scale(x, -1))
    q = g.unary("Affine", g.mul(t, t), 1.0, 1.0)
    bend = g.unary("Affine", g.mul(_bounded(g, x), g.sub(g.unary("Affine", s, 1.0, 1.0), g.emit("Div", g.scale(s, 4), q))), 1.0, 2.0)
    return g.unary_grad("Sigmoid", x, g.mul(p, g.mul(bend, g.emit("Div", g.scale(t, 4), g.mul(q, q)))))


def _silu(x: Value, p: Value, g: Builder, alpha: float) -> Value:
    """S' (2 - x tanh(x / 2)), s the sigmoid."""
    bend = g.mul(_bounded(g, x), g.unary("Tanh", g.scale(x, -0.5)))
    return g.unary_grad("Sigmoid", x, g.mul(p, g.unary("Affine", bend, 1.0, 2.0)))


def _sin(x: Value, p: Value, g: Builder, alpha: float) -> Value:
    return g.scale(g.mul(p, g.unary("Sin", x)), -1)


def _cos(x: Value, p: Value, g: Builder, alpha: float) -> Value:
    return g.scale(g.mul(p, g.unary("Cos", x)), -1)


def _tan(x: Value, p: Value, g: Builder, alpha: float) -> Value:
    """2 tan(x) times the slope."""
    return g.unary_grad("Tan", x, g.scale(g.mul(p, g.unary("Tan", x)), 2))


def _sinh(x: Value, p: Value, g: Builder, alpha: float) -> Value:
    return g.mul(p, g.unary("Sinh", x))


def _cosh(x: Value, p: Value, g: Builder, alpha: float) -> Value:
    return g.mul(p, g.unary("Cosh", x))


def _arc(function: str, factor: float, square: float) -> Callable[[Value, Value, Builder, float], Value]:
    """Return the rule: factor x / (1 + square x^2) times the slope."""

    def rule(x: Value, p: Value, g: Builder, alpha: float) -> Value:
        below = g.unary("Affine", g.mul(x, x), square, 1.0)
        return g.unary_grad(function, x, g.scale(g.emit("Div", g.mul(p, x), below), factor))

    return rule


def _far_arc(function: str, factor: float) -> Callable[[Value, Value, Builder, float], Value]:
    """Return the rule: factor x / (1 + x^2) times the slope, as factor / (x + 1/x), which does not overflow."""

    def rule(x: Value, p: Value, g: Builder, alpha: float) -> Value:
        below = g.add(x, g.unary("Reciprocal", x))
        return g.unary_grad(function, x, g.scale(g.emit("Div", p, below), factor))

    return rule


_UNARY: dict[str, Callable[[Value, Value, Builder, float], Value]] = {
    "Sigmoid": _sigmoid,
    "Tanh": _tanh,
    "HardSwish": _hard_swish,
    "Elu": _elu,
    "Softplus": _softplus,
    "Erf": _erf,
    "Gelu": _gelu,
    "GeluTanh": _gelu_tanh,
    "Exp": _exp,
    "Log": _log,
    "Sqrt": _sqrt,
    "Reciprocal": _reciprocal,
    "Softsign": _softsign,
    "Mish": _mish,
    "Silu": _silu,
    "Sin": _sin,
    "Cos": _cos,
    "Tan": _tan,
    "Asin": _arc("Asin", 1, -1),
    "Acos": _arc("Acos", 1, -1),
    "Atan": _far_arc("Atan", -2),
    "Sinh": _sinh,
    "Cosh": _cosh,
    "Asinh": _far_arc("Asinh", -1),
    "Acosh": _arc("Acosh", 1, -1),
    "Atanh": _arc("Atanh", 2, -1),
}


# Two arrays ----------------------------------------------------------------------------------------------------------

Pair = tuple[Value | None, Value | None]


def _slope(g: Builder, function: str, operand: str, a: Value, b: Value, dy: Value) -> Value:
    return g.emit("BinaryGrad", a, b, dy, function=function, operand=operand)


def _div_a(a: Value, b: Value, p: Value, g: Builder) -> Pair:
    """Of 1 / b."""
    return None, g.scale(g.emit("Div", g.emit("Div", p, b), b), -1)


def _div_b(a: Value, b: Value, p: Value, g: Builder) -> Pair:
    """Of -a / b^2."""
    da = _div_a(a, b, p, g)[1]
    assert da is not None
    return da, g.scale(g.emit("Div", g.mul(da, a), b), -2)


def _pow_mixed(a: Value, b: Value, p: Value, g: Builder) -> Value:
    """Mixed derivative of a^b: a^(b-1) (1 + b log a)."""
    lower = g.sub(b, g.constant(1.0))
    return g.add(g.mul(p, g.emit("Pow", a, lower)), g.mul(b, _slope(g, "Pow", "b", a, lower, p)))


def _pow_a(a: Value, b: Value, p: Value, g: Builder) -> Pair:
    """Of b a^(b-1)."""
    return g.mul(b, _slope(g, "Pow", "a", a, g.sub(b, g.constant(1.0)), p)), _pow_mixed(a, b, p, g)


def _pow_b(a: Value, b: Value, p: Value, g: Builder) -> Pair:
    """Of a^b log a; a^b log^2 a is the square of a^(b/2) log a, which the kernel defines at a = 0."""
    half = g.mul(b, g.constant(0.5))
    return _pow_mixed(a, b, p, g), _slope(g, "Pow", "b", a, half, _slope(g, "Pow", "b", a, half, p))


def _prelu_mixed(a: Value, p: Value, g: Builder) -> Value:
    """1 where a < 0."""
    return g.unary_grad("Relu", g.expand(g.scale(a, -1), p.shape), p)


def _prelu_a(a: Value, b: Value, p: Value, g: Builder) -> Pair:
    return None, _prelu_mixed(a, p, g)


def _prelu_b(a: Value, b: Value, p: Value, g: Builder) -> Pair:
    return _prelu_mixed(a, p, g), None


_BINARY: dict[tuple[str, str], Callable[[Value, Value, Value, Builder], Pair]] = {
    ("Div", "a"): _div_a,
    ("Div", "b"): _div_b,
    ("Pow", "a"): _pow_a,
    ("Pow", "b"): _pow_b,
    ("PRelu", "a"): _prelu_a,
    ("PRelu", "b"): _prelu_b,
}
