"""ONNX reductions that are a sum with something before and after it, and the product."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Value
from gradcam.graph.onnx_form import Inputs, OnnxNode, onnx_form
from gradcam.graph.ops.reduce import reduced_axes


def _apply(g: Builder, op: str, x: Value, alpha: float = 0.0, beta: float = 0.0) -> Value:
    return g.emit(op, x, alpha=alpha, beta=beta)


@onnx_form("ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp", "ReduceProd")
def composed_reduction(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Axes as of the other reductions; without any, what comes before and after the sum is still done."""
    x = node.required(inputs, 0)
    axes = reduced_axes(node, inputs)
    y = _over(node.op_type, x, axes, g)  # the axes stay, with size 1
    kept = y.shape if node.attrs.get("keepdims", 1) else tuple(n for i, n in enumerate(y.shape) if i not in axes)
    return g.reshape(y, kept)


def _over(op: str, x: Value, axes: Sequence[int], g: Builder) -> Value:
    if op == "ReduceL1":
        return g.sum(_apply(g, "Abs", x), axes, keepdims=True)
    if op in ("ReduceL2", "ReduceSumSquare"):
        total = g.sum(g.mul(x, x), axes, keepdims=True)
        return total if op == "ReduceSumSquare" else _root(total, g)
    if op == "ReduceLogSum":
        return _apply(g, "Log", g.sum(x, axes, keepdims=True))
    return _log_sum_exp(x, axes, g) if op == "ReduceLogSumExp" else _product(x, axes, g)


def _root(total: Value, g: Builder) -> Value:
    """Square root whose gradient is 0 at 0: that of a norm, as frameworks choose it there."""
    root = _apply(g, "Sqrt", _apply(g, "Clip", total, float(np.finfo(g.real).tiny), np.inf))
    return g.mul(root, _apply(g, "Sign", total))


def _log_sum_exp(x: Value, axes: Sequence[int], g: Builder) -> Value:
    """Exponentials of differences from the largest number, which infinity is not."""
    largest = float(np.finfo(g.real).max)
    shift = _apply(g, "Clip", g.reduce("ReduceMax", x, axes, keepdims=True), -largest, largest)
    return g.add(_apply(g, "Log", g.sum(_apply(g, "Exp", g.sub(x, shift)), axes, keepdims=True)), shift)


def _product(x: Value, axes: Sequence[int], g: Builder) -> Value:
    """Pairs, then pairs of pairs: gradients are products of the other numbers, whether or not one of them is 0."""
    for axis in axes:
        while (n := x.shape[axis]) > 1:
            pairs = g.mul(_part(x, axis, 0, n // 2, g), _part(x, axis, n // 2, n // 2, g))
            x = g.emit("Concat", pairs, _part(x, axis, n - 1, 1, g), axis=axis) if n % 2 else pairs
        if n == 0:
            shape = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
            x = g.constant(np.ones(shape, x.dtype))
    return g.sum(x, axes, keepdims=True)  # of single numbers: it says that the axes are reduced, even those that had size 1 before


def _part(x: Value, axis: int, start: int, size: int, g: Builder) -> Value:
    starts = tuple(start if i == axis else 0 for i in range(len(x.shape)))
    sizes = tuple(size if i == axis else n for i, n in enumerate(x.shape))
    return g.emit("Slice", x, starts=starts, steps=(1,) * len(x.shape), sizes=sizes)
