"""Elementwise functions of two arrays, element by element."""

import math

import numpy as np

FUNCTIONS = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": lambda a, b: a / b,
    "Pow": lambda a, b: math.pow(a, b),
    "PRelu": lambda a, b: b * a if a < 0 else a,
    "Max": max,
    "Min": min,
    "Less": lambda a, b: 1.0 if a < b else 0.0,
    "LessOrEqual": lambda a, b: 1.0 if a <= b else 0.0,
    "Equal": lambda a, b: 1.0 if a == b else 0.0,
    "Keep": lambda a, b: a if b != 0 else 0.0,
    "Quantize": lambda a, b: round(a / b),
}


def binary(op, a, b):
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(b, np.float64))
    return np.asarray([FUNCTIONS[op](float(x), float(y)) for x, y in zip(a.ravel(), b.ravel(), strict=True)]).reshape(a.shape)
