"""ONNX reductions that are composed of sums, maxima and products."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Value
from gradcam.graph.onnx_form import Inputs, OnnxNode, onnx_form
from gradcam.graph.ops.reduce import reduced_axes

Axes = list[int]


def _norm(g: Builder, x: Value, axes: Axes) -> Value:
    """Root of the sum of squares; 0, with gradient 0, where that is 0."""
    total = g.sum(g.mul(x, x), axes, keepdims=True)
    root = g.unary("Sqrt", g.unary("Clip", total, float(np.finfo(g.real).tiny), np.inf))
    return g.mul(root, g.unary("Sign", total))


def _log_sum_exp(g: Builder, x: Value, axes: Axes) -> Value:
    """With the largest number taken out, where it is finite."""
    limit = float(np.finfo(g.real).max)
    largest = g.unary("Clip", g.reduce("ReduceMax", x, axes, True), -limit, limit)
    return g.add(g.unary("Log", g.sum(g.unary("Exp", g.sub(x, largest)), axes, keepdims=True)), largest)


def _product(g: Builder, x: Value, axes: Axes) -> Value:
    """Halves multiplied with each other until one number is left."""
    rest = [a for a in range(len(x.shape)) if a not in axes]
    kept = tuple(1 if a in axes else n for a, n in enumerate(x.shape))
    x = g.transpose(x, (*rest, *axes))
    x = g.reshape(x, (*x.shape[: len(rest)], prod(x.shape[len(rest) :])))
    axis = len(rest)
    if x.shape[-1] == 0:
        return g.constant(np.ones(kept))
    while (count := x.shape[-1]) > 1:
        half = count // 2
        parts = [g.part(x, axis, start, size) for start, size in ((0, half), (half, half), (2 * half, count - 2 * half)) if size]
        y = g.mul(parts[0], parts[1])
        x = y if len(parts) == 2 else g.emit("Concat", y, parts[2], axis=axis)
    return g.reshape(x, kept)


_FORMS: dict[str, Callable[[Builder, Value, Axes], Value]] = {
    "ReduceL1": lambda g, x, axes: g.sum(g.unary("Abs", x), axes, keepdims=True),
    "ReduceL2": _norm,
    "ReduceSumSquare": lambda g, x, axes: g.sum(g.mul(x, x), axes, keepdims=True),
    "ReduceLogSum": lambda g, x, axes: g.unary("Log", g.sum(x, axes, keepdims=True)),
    "ReduceLogSumExp": _log_sum_exp,
    "ReduceProd": _product,
}
_NUMPY: dict[str, Callable[[NDArray[Any], tuple[int, ...]], Any]] = {
    "ReduceL1": lambda x, axes: np.abs(x).sum(axes, keepdims=True),
    "ReduceL2": lambda x, axes: np.sqrt((x * x).sum(axes, keepdims=True)),
    "ReduceSumSquare": lambda x, axes: (x * x).sum(axes, keepdims=True),
    "ReduceLogSum": lambda x, axes: np.log(x.sum(axes, keepdims=True)),
    "ReduceLogSumExp": lambda x, axes: np.logaddexp.reduce(x.astype(float), axes, keepdims=True),
    "ReduceProd": lambda x, axes: x.prod(axes, keepdims=True),
}


@onnx_form(*_FORMS)
def reduction(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Axes as for ReduceSum; no axes with noop_with_empty_axes mean each element for itself."""
    x, axes = node.required(inputs, 0), reduced_axes(node, inputs)
    if x.data is not None:
        with np.errstate(divide="ignore"):
            y = g.constant(np.asarray(_NUMPY[node.op_type](x.data, tuple(axes))).astype(x.data.dtype))
    else:
        y = _FORMS[node.op_type](g, x, axes)
    return y if node.attrs.get("keepdims", 1) else g.reshape(y, tuple(n for a, n in enumerate(y.shape) if a not in axes))


@onnx_form("Mean")
def mean(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Of any number of arrays, broadcast."""
    return g.scale(reduce(g.add, [node.required(inputs, i) for i in range(len(inputs))]), 1 / max(len(inputs), 1))
