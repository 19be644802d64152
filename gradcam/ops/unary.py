"""Elementwise functions of one array, named as ONNX names them, and their gradients."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gradcam.ops._call import Attributes, array, call

__all__ = [
    "BYTE",
    "SLOPE_IS_0_OR_1",
    "UNARY",
    "abs",
    "bits_shape",
    "clip",
    "elu",
    "erf",
    "exp",
    "gelu",
    "hard_sigmoid",
    "hard_swish",
    "leaky_relu",
    "log",
    "neg",
    "reciprocal",
    "relu",
    "sigmoid",
    "softplus",
    "sqrt",
    "tanh",
    "unary_attributes",
    "unary_input_grad",
]

_NAMES = (
    "Relu",
    "LeakyRelu",
    "Clip",
    "Sigmoid",
    "Tanh",
    "HardSigmoid",
    "HardSwish",
    "Elu",
    "Softplus",
    "Erf",
    "Gelu",
    "GeluTanh",
    "Exp",
    "Log",
    "Sqrt",
    "Reciprocal",
    "Abs",
    "Neg",
    "Affine",
    "ThresholdedRelu",
    "Softsign",
    "Mish",
    "Silu",
    "Sign",
    "Floor",
    "Ceil",
    "Round",
    "Sin",
    "Cos",
    "Tan",
    "Asin",
    "Acos",
    "Atan",
    "Sinh",
    "Cosh",
    "Asinh",
    "Acosh",
    "Atanh",
)
UNARY: dict[str, int] = {name: code for code, name in enumerate(_NAMES)}
"""Operator codes of the unary kernels."""

BYTE = np.dtype([("byte", np.uint8)])
"""Type of values that lie in bytes and are no numbers to compute with; arrays hold them as uint8."""

SLOPE_IS_0_OR_1 = ("Relu", "Clip")
"""Functions that ``unary_slope_bits`` knows."""


def bits_shape(count: int) -> tuple[int, ...]:
    """Shape of the bytes that hold one bit for each of `count` elements (`csrc/ops/unary.h`)."""
    return (-(-count // 16) * 2,)


def unary_attributes(op: str, count: int, alpha: float = 0.0, beta: float = 0.0) -> Attributes:
    """Return the attributes of the unary kernels for `count` elements.

    `op` is a key of `UNARY`. `alpha` and `beta` are: the slope for negative values and nothing (LeakyRelu), the bounds (Clip), scale
    and shift (HardSigmoid and Affine), the negative limit with its sign changed and nothing (Elu), the threshold and
    nothing (ThresholdedRelu); others ignore them.
    """
    return Attributes((UNARY[op], count), (float(alpha), float(beta)))


def _output(function: str, op: str, x: object, alpha: float = 0.0, beta: float = 0.0) -> NDArray[Any]:
    values = array(function, "x", x)
    return call("unary_output", unary_attributes(op, values.size, alpha, beta), [values], [values.shape])[0]


def unary_input_grad(op: str, x: object, dy: object, *, alpha: float = 0.0, beta: float = 0.0) -> NDArray[Any]:
    """Return ``f'(x) dy``, the gradient of ``sum(dy * f(x))``.

    Where f has no derivative, the rules are: Relu, LeakyRelu, Elu and ThresholdedRelu take the branch below (0 for Relu); Clip and
    HardSigmoid count as constant on their bounds, HardSwish as constant at -3 and as the identity at 3; Abs has slope 0 at 0; Sign,
    Floor, Ceil and Round have it everywhere.
    Functions made of straight pieces hand `dy` on where `x` is NaN.

    Parameters
    ----------
    op : str
        A key of `UNARY`, for example ``"Relu"``.
    x : array_like
        What f was applied to, float32 or float64. For Relu and Clip it may be the output instead.
    dy : array_like
        Gradient of the output, of the shape and dtype of `x`.
    alpha, beta : float
        Parameters of f, see `unary_attributes`.

    Returns
    -------
    ndarray
        Of the shape and dtype of `x`.

    Raises
    ------
    ValueError
        Unknown `op`, or shapes differ.
    TypeError
        `x` or `dy` is not of a floating type, or their types differ.
    """
    if op not in UNARY:
        raise ValueError(f"unary_input_grad: op: expected one of {', '.join(UNARY)}, got {op!r}")
    values = array("unary_input_grad", "x", x)
    seed = array("unary_input_grad", "dy", dy, like=values)
    if seed.shape != values.shape:
        raise ValueError(f"unary_input_grad: dy: expected shape {values.shape} like x, got {seed.shape}")
    return call("unary_input_grad", unary_attributes(op, values.size, alpha, beta), [values, seed], [values.shape])[0]


def relu(x: object) -> NDArray[Any]:
    """Return 0 where ``x < 0``, else x: NaN and -0.0 pass through.

    Parameters
    ----------
    x : array_like
        float32 or float64, any shape.

    Returns
    -------
    ndarray
        Of the shape and dtype of `x`.

    Raises
    ------
    TypeError
        `x` is not of a floating type.
    """
    return _output("relu", "Relu", x)


def leaky_relu(x: object, alpha: float = 0.01) -> NDArray[Any]:
    """Return ``alpha x`` where ``x < 0``, else x; types as for `relu`."""
    return _output("leaky_relu", "LeakyRelu", x, alpha)


def clip(x: object, low: float = -math.inf, high: float = math.inf) -> NDArray[Any]:
    """Return x limited to ``[low, high]`` (`high` wins where they cross, NaN stays); types as for `relu`."""
    if np.isnan(low) or np.isnan(high):
        raise ValueError(f"clip: low, high: expected numbers, got {low, high}")
    return _output("clip", "Clip", x, low, high)


def sigmoid(x: object) -> NDArray[Any]:
    """Return ``1 / (1 + exp(-x))``; types as for `relu`."""
    return _output("sigmoid", "Sigmoid", x)


def tanh(x: object) -> NDArray[Any]:
    """Return the hyperbolic tangent; types as for `relu`."""
    return _output("tanh", "Tanh", x)


def hard_sigmoid(x: object, alpha: float = 0.2, beta: float = 0.5) -> NDArray[Any]:
    """Return ``alpha x + beta`` limited to [0, 1] (PyTorch has alpha = 1/6); types as for `relu`."""
    return _output("hard_sigmoid", "HardSigmoid", x, alpha, beta)


def hard_swish(x: object) -> NDArray[Any]:
    """Return ``x (x + 3) / 6`` within [-3, 3], 0 below, x above (Howard et al. 2019); types as for `relu`."""
    return _output("hard_swish", "HardSwish", x)


def elu(x: object, alpha: float = 1.0) -> NDArray[Any]:
    """Return ``alpha (exp(x) - 1)`` where ``x < 0``, else x (Clevert et al. 2016); types as for `relu`."""
    return _output("elu", "Elu", x, alpha)


def softplus(x: object) -> NDArray[Any]:
    """Return ``log(1 + exp(x))``; types as for `relu`."""
    return _output("softplus", "Softplus", x)


def erf(x: object) -> NDArray[Any]:
    """Return the error function; types as for `relu`."""
    return _output("erf", "Erf", x)


def gelu(x: object, approximate: Literal["none", "tanh"] = "none") -> NDArray[Any]:
    """Return the Gaussian error linear unit (Hendrycks and Gimpel 2016).

    Parameters
    ----------
    x : array_like
        float32 or float64, any shape.
    approximate : {"none", "tanh"}
        ``x Phi(x)`` with the normal distribution function Phi, or ``x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2``.

    Returns
    -------
    ndarray
        Of the shape and dtype of `x`.

    Raises
    ------
    TypeError
        `x` is not of a floating type.
    ValueError
        Unknown `approximate`.
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate: expected 'none' or 'tanh', got {approximate!r}")
    return _output("gelu", "Gelu" if approximate == "none" else "GeluTanh", x)


def exp(x: object) -> NDArray[Any]:
    """Return the exponential; types as for `relu`."""
    return _output("exp", "Exp", x)


def log(x: object) -> NDArray[Any]:
    """Return the natural logarithm, -inf at 0, NaN below; types as for `relu`."""
    return _output("log", "Log", x)


def sqrt(x: object) -> NDArray[Any]:
    """Return the square root, NaN below 0; types as for `relu`."""
    return _output("sqrt", "Sqrt", x)


def reciprocal(x: object) -> NDArray[Any]:
    """Return ``1 / x``; types as for `relu`."""
    return _output("reciprocal", "Reciprocal", x)


def abs(x: object) -> NDArray[Any]:
    """Return the absolute value; types as for `relu`."""
    return _output("abs", "Abs", x)


def neg(x: object) -> NDArray[Any]:
    """Return ``-x``; types as for `relu`."""
    return _output("neg", "Neg", x)
