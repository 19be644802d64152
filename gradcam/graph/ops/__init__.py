"""All operators: one module per family, each with its records and their ONNX forms."""

from gradcam.graph.ops import (
    adaptive,
    cam,
    conv,
    eigen,
    elementwise,
    fem,
    finite,
    gather,
    layout,
    matmul,
    norm,
    pool,
    reduce,
    shape,
    signs,
    softmax,
)

__all__ = [
    "adaptive",
    "cam",
    "conv",
    "eigen",
    "elementwise",
    "fem",
    "finite",
    "gather",
    "layout",
    "matmul",
    "norm",
    "pool",
    "reduce",
    "shape",
    "signs",
    "softmax",
]
