"""MaxUnpool: values put back where a max pooling found them."""

from __future__ import annotations

from math import prod

import numpy as np

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Value
from gradcam.graph.onnx_form import Inputs, OnnxNode, onnx_form
from gradcam.graph.ops.gather import checked_index
from gradcam.graph.ops.indexing import place
from gradcam.graph.windows import windows


@onnx_form("MaxUnpool")
def max_unpool(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Zeros with x at `indices`, positions in the flattened result; of equal positions the last one holds.

    A given output shape may be larger than the one that kernel, strides and pads make: the rest is zeros at the high ends.
    """
    x, index = node.required(inputs, 0), node.required(inputs, 1)
    kernel, rank = tuple(int(n) for n in node.attrs.get("kernel_shape", ())), len(x.shape) - 2
    if rank < 1 or len(kernel) != rank or min(kernel) < 1 or index.shape != x.shape:
        raise node.bad(f"expected one kernel size per spatial axis and indices like x, got {kernel}, {index.shape} and {x.shape}")
    stride, lo, hi, _ = windows(node, x.shape[2:], kernel)
    axes = zip(x.shape[2:], stride, lo, hi, kernel, strict=True)
    shape = (*x.shape[:2], *((n - 1) * s - a - b + k for n, s, a, b, k in axes))
    wanted = node.ints(inputs, 2, "") or shape
    if min(shape) < 1 or len(wanted) != len(shape) or any(w < n for w, n in zip(wanted, shape, strict=True)):
        raise node.bad(f"output_shape: expected at least {shape}, got {wanted}")
    checked = checked_index(node, index, prod(shape), g)
    g.reserve(prod(shape))
    rows = checked if checked.data is None else checked.data.reshape(-1)
    y = place(g, g.constant(np.zeros(shape)), prod(shape), rows, x, "none")
    if wanted == shape:
        return y
    return g.emit("Pad", y, lo=(0,) * len(shape), hi=tuple(w - n for w, n in zip(wanted, shape, strict=True)), value=0.0)
