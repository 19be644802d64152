"""Elementwise functions and their derivatives, element by element with the math module."""

import math

import numpy as np


def sigmoid(x):
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def gelu_tanh(x):
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gate_parts(op, a):
    """Of x s(x) at |x| = a: s(-a), and a times the slope of s."""
    if op == "Gelu":
        return 0.5 * math.erfc(a / math.sqrt(2)), a * math.exp(-a * a / 2) / math.sqrt(2 * math.pi)
    linear = 2 * math.sqrt(2 / math.pi)
    w = a if op == "Silu" else linear * (a + 0.044715 * a**3)
    e = math.exp(-w)
    return e / (1 + e), (a if op == "Silu" else linear * (a + 3 * 0.044715 * a**3)) * e / (1 + e) ** 2


FUNCTIONS = {  # name: (f(x, alpha, beta), alpha, beta)
    "Relu": (lambda x, a, b: 0.0 if x < 0 else x, 0, 0),
    "LeakyRelu": (lambda x, a, b: a * x if x < 0 else x, 0.1, 0),
    "Clip": (lambda x, a, b: min(max(x, a), b), -1.5, 2.5),
    "Sigmoid": (lambda x, a, b: sigmoid(x), 0, 0),
    "Tanh": (lambda x, a, b: math.tanh(x), 0, 0),
    "HardSigmoid": (lambda x, a, b: min(max(a * x + b, 0), 1), 0.2, 0.5),
    "HardSwish": (lambda x, a, b: x * min(max(x / 6 + 0.5, 0), 1), 0, 0),
    "Elu": (lambda x, a, b: a * math.expm1(x) if x < 0 else x, 1.3, 0),
    "Softplus": (lambda x, a, b: max(x, 0) + math.log1p(math.exp(-abs(x))), 0, 0),
    "Erf": (lambda x, a, b: math.erf(x), 0, 0),
    "Gelu": (lambda x, a, b: x * 0.5 * math.erfc(-x / math.sqrt(2)), 0, 0),
    "GeluTanh": (lambda x, a, b: gelu_tanh(x), 0, 0),
    "Exp": (lambda x, a, b: math.exp(x), 0, 0),
    "Log": (lambda x, a, b: math.log(x), 0, 0),
    "Sqrt": (lambda x, a, b: math.sqrt(x), 0, 0),
    "Reciprocal": (lambda x, a, b: 1 / x, 0, 0),
    "Abs": (lambda x, a, b: abs(x), 0, 0),
    "Neg": (lambda x, a, b: -x, 0, 0),
    "Affine": (lambda x, a, b: a * x + b, -0.7, 0.3),
    "ThresholdedRelu": (lambda x, a, b: x if x > a else 0.0, 0.625, 0),
    "Softsign": (lambda x, a, b: x / (1 + abs(x)), 0, 0),
    "Mish": (lambda x, a, b: x * math.tanh(max(x, 0) + math.log1p(math.exp(-abs(x)))), 0, 0),
    "Silu": (lambda x, a, b: x / (1 + math.exp(-x)), 0, 0),
    "Sign": (lambda x, a, b: float(x > 0) - float(x < 0), 0, 0),
    "Floor": (lambda x, a, b: math.floor(x), 0, 0),
    "Ceil": (lambda x, a, b: math.ceil(x), 0, 0),
    "Round": (lambda x, a, b: round(x), 0, 0),  # halves to even
    "Sin": (lambda x, a, b: math.sin(x), 0, 0),
    "Cos": (lambda x, a, b: math.cos(x), 0, 0),
    "Tan": (lambda x, a, b: math.tan(x), 0, 0),
    "Asin": (lambda x, a, b: math.asin(x), 0, 0),
    "Acos": (lambda x, a, b: math.acos(x), 0, 0),
    "Atan": (lambda x, a, b: math.atan(x), 0, 0),
    "Sinh": (lambda x, a, b: math.sinh(x), 0, 0),
    "Cosh": (lambda x, a, b: math.cosh(x), 0, 0),
    "Asinh": (lambda x, a, b: math.asinh(x), 0, 0),
    "Acosh": (lambda x, a, b: math.acosh(x), 0, 0),
    "Atanh": (lambda x, a, b: math.atanh(x), 0, 0),
}


def unary(op, x):
    function, alpha, beta = FUNCTIONS[op]
    return np.asarray([function(float(v), alpha, beta) for v in np.ravel(x)]).reshape(np.shape(x))
