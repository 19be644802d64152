"""The products that steps count: every kernel of convolutions and matrix products states them."""

from __future__ import annotations

import re
from math import prod

import numpy as np
import pytest
from graph.cases import CASES, F64, Case, build, conv, normal

from gradcam import _core
from gradcam.ops import _call
from gradcam.ops.attention import View
from gradcam.graph.compilation import compile_plan
from gradcam.graph.passes import prune

F32 = np.dtype(np.float32)

NO_PRODUCTS = re.compile(
    r"unary_|binary_|softmax_|batch_norm_|layer_norm_|pool_|reduce_|argmax_|topk_|copy_|pad_|gather_|rows_|sample_|resample_|convert_|cam_|bf16_round|tap_sums"
    r"|blocked_(from_plain|to_plain|copy|max_pool|average_pool|channel|tap_sums)|eigen_(matrix|vector|project|sign)"
    r"|\w+_pack$|\w+_naive$"  # packing moves numbers; plans never run the naive kernels
)
"""Kernels that are no product of two large operands: a new kernel belongs here, or among the cases below."""


def window(stride: int, pads: int, groups: int = 1):
    return conv((stride,) * 2, (pads,) * 2, (pads,) * 2, (1, 1), groups)


def forward(x, w, attrs):
    return Case("Conv", (normal(x), normal(w), None), attrs, constants=(1,))


def backward(dy, w, attrs, shape):
    return Case("ConvInputGrad", (normal(dy), normal(w)), {**attrs, "input_shape": shape}, constants=(1,))


def whole(shape):
    return None if shape is None else View.of(prod(shape), np.empty(shape, np.int8), 0)


UNEVEN = conv((2, 1), (1, 0), (1, 0), (1, 1), 2)
WEIGHT, MEAN = {"weight_shape": (6, 2, 3, 2)}, {"input_shape": (2, 4, 7, 6), "divisor": 42.0}
PLAIN = {"trans_a": False, "trans_b": False}
ATTENTION = Case(
    "Attention",
    (normal((2, 5, 4)), normal((2, 7, 4)), normal((2, 7, 6)), None),
    {"batch": (2,), "sizes": (5, 7, 4, 6), "views": tuple(map(whole, ((2, 5, 4), (2, 7, 4), (2, 7, 6), None, (2, 5, 6)))), "scale": 0.5},
)
EIGEN = Case("CamEigen", (normal((1, 5, 3, 4)), None, None, None), {"channel_axis": 1, "term": "activations", "center": True})
COUNTED = [  # kernel, one use of it, type, products: results times what each adds up (of a gradient: of the convolution itself)
    ("conv_output", forward((2, 4, 7, 6), (6, 2, 3, 2), UNEVEN), F64, 2 * 6 * 4 * 5 * (2 * 3 * 2)),
    ("conv_input_grad", backward((2, 6, 4, 5), (6, 2, 3, 2), UNEVEN, (2, 4, 7, 6)), F64, 2 * 6 * 4 * 5 * (2 * 3 * 2)),
    ("matmul_output", Case("MatMul", (normal((2, 4, 3)), normal((5, 4))), {"trans_a": True, "trans_b": True}), F64, 2 * 3 * 5 * 4),
    (
        "linear_output",
        Case("MatMul", (normal((2, 20, 32)), normal((48, 32))), {"trans_a": False, "trans_b": True}, constants=(1,)),
        F32,
        40 * 48 * 32,
    ),
    ("blocked_conv_output", forward((1, 20, 9, 8), (18, 20, 3, 3), window(2, 1)), F32, 18 * 5 * 4 * 20 * 9),
    ("blocked_conv_output", backward((1, 18, 5, 4), (18, 20, 3, 3), window(2, 1), (1, 20, 9, 8)), F32, 18 * 5 * 4 * 20 * 9),
    ("blocked_winograd_output", forward((1, 32, 13, 12), (40, 32, 3, 3), window(1, 1)), F32, 40 * 13 * 12 * 32 * 9),
    (
        "blocked_weight_grad",
        Case("ConvWeightGrad", (normal((2, 6, 4, 5)), normal((2, 20, 7, 6))), {**UNEVEN, "groups": 1, "weight_shape": (6, 20, 3, 2)}),
        F32,
        2 * 6 * 4 * 5 * (20 * 6),
    ),
    ("blocked_stem_output", forward((1, 3, 10, 10), (16, 3, 3, 3), window(2, 1)), F32, 16 * 5 * 5 * 27),
    ("blocked_depthwise_output", forward((1, 20, 6, 6), (20, 1, 3, 3), window(1, 1, 20)), F32, 20 * 36 * 9),
    ("blocked_depthwise_input_grad", backward((1, 20, 3, 3), (20, 1, 3, 3), window(2, 1, 20), (1, 20, 6, 6)), F32, 20 * 9 * 9),
    ("eigen_gram", EIGEN, F64, 5 * 6 // 2 * 12),
    ("matmul_live_output", Case("MatMul", (normal((3, 32)), normal((32, 48))), PLAIN, constants=(1,)), F64, 3 * 32 * 48),
    (
        "conv_weight_grad",
        Case("ConvWeightGrad", (normal((2, 6, 4, 5)), normal((2, 4, 7, 6))), {**UNEVEN, **WEIGHT}),
        F64,
        2 * 6 * 4 * 5 * 12,
    ),
    ("tap_product", Case("TapProduct", (normal((2, 6, 6)), normal((6, 2, 3, 2))), {**UNEVEN, **WEIGHT, **MEAN}), F64, 2 * 6 * 2 * 6),
    ("attention_output", ATTENTION, F32, 2 * 5 * 7 * (4 + 6)),
    ("bf16_conv_output", forward((1, 20, 9, 8), (18, 20, 3, 3), window(2, 1)), F32, 18 * 5 * 4 * 20 * 9),
    ("bf16_linear_output", Case("MatMul", (normal((3, 32)), normal((32, 48))), PLAIN, constants=(1,)), F32, 3 * 32 * 48),
]


def steps(case: Case, real, precision="float32"):
    g, _, _, outputs = build(case, real)
    g.graph.outputs = list(outputs)
    return compile_plan(prune(g.graph), real, precision=precision).steps


@pytest.mark.parametrize(("kernel", "case", "real", "products"), COUNTED, ids=lambda v: str(v) if isinstance(v, (str, Case)) else "")
def test_products_of_a_step(kernel, case, real, products):
    precision = "bfloat16" if kernel.startswith("bf16") else "float32"
    if precision == "bfloat16" and _call.isa == "avx512" and not _core.bfloat16:
        pytest.skip("this CPU has no AVX512_BF16")
    counts = [step.products for step in steps(case, real, precision) if step.kernel == kernel]
    assert counts == [products]


def test_every_kernel_is_counted_or_known_to_have_no_products():
    counted = {kernel for kernel, *_ in COUNTED}
    assert {kernel for kernel in _core.kernels if not NO_PRODUCTS.match(kernel)} == counted


@pytest.mark.parametrize("case", CASES, ids=str)
def test_no_other_kernel_counts_products(case):
    for step in steps(case, F64):
        assert (step.products > 0) == (NO_PRODUCTS.match(step.kernel) is None), step.kernel
