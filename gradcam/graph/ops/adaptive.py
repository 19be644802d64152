"""Adaptive average pooling (an operator of ours, ONNX has none): its windows depend on the size of the input, which a graph knows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Value
from gradcam.graph.onnx_form import Inputs, OnnxNode, onnx_form

__all__ = ["pooled_averages"]


def pooled_averages(size: int, count: int) -> NDArray[np.float64]:
    """Return the matrix (size, count) whose column i averages the elements from floor(i size / count) to ceil((i + 1) size / count)."""
    i, n = np.arange(count), np.arange(size)[:, None]
    starts, ends = i * size // count, -(-(i + 1) * size // count)
    return np.where((n >= starts) & (n < ends), 1 / (ends - starts), 0.0)


@onnx_form("gradcam::AdaptiveAveragePool")
def adaptive_average_pool(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Equal windows are average pooling; an axis that they do not divide is multiplied by a matrix first."""
    x = node.required(inputs, 0)
    counts = tuple(int(n) for n in node.attrs.get("output_size", ()))
    if not 3 <= len(x.shape) <= 5 or len(counts) != len(x.shape) - 2 or min(counts) < 1:
        raise node.bad(f"attribute 'output_size': expected {max(1, len(x.shape) - 2)} sizes for an input {x.shape}, got {counts}")
    if x.shape[2:] == counts:
        return x
    last = len(x.shape) - 1
    for axis, count in enumerate(counts, start=2):
        size = x.shape[axis]
        if size % count:
            g.reserve(size * count)
            swapped = [last if i == axis else axis if i == last else i for i in range(last + 1)]
            product = g.emit("MatMul", g.transpose(x, swapped), g.constant(pooled_averages(size, count)), trans_a=False, trans_b=False)
            x = g.transpose(product, swapped)
    kernel = tuple(size // count for size, count in zip(x.shape[2:], counts, strict=True))
    ones, zeros = (1,) * len(kernel), (0,) * len(kernel)
    options = {"stride": kernel, "pad_lo": zeros, "pad_hi": zeros, "dilation": ones}
    return g.emit("AveragePool", x, kernel=kernel, ceil_mode=False, count_include_pad=False, **options)
