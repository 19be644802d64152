"""bfloat16: how kernels of `csrc/blocked/bf16.h` are told about it, and whether they may run."""

from __future__ import annotations

import os

import numpy as np

from gradcam import _core
from gradcam.ops import _call
from gradcam.ops._call import Attributes

__all__ = ["BFLOAT16", "PRECISIONS", "check_precision", "mixed_attributes"]

BFLOAT16 = np.dtype([("bfloat16", np.uint16)])
"""Type of values in bfloat16; arrays hold their bits as uint16."""

PRECISIONS = ("float32", "bfloat16")


def mixed_attributes(attributes: Attributes, *, result: bool, residual: bool) -> Attributes:
    """Attributes of a `bf16_` kernel from those of the kernel it stands for: whether result and residual are bfloat16."""
    return Attributes((*attributes.ints, int(result), int(residual)), attributes.reals)


def check_precision(function: str, precision: str) -> None:
    """Raise ValueError unless this process computes in `precision`.

    A level of kernels without instructions for bfloat16 computes the same sums, slower than in float32: it does so only where
    ``GRADCAM_ISA`` asks for that level.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"{function}: precision: expected one of {', '.join(map(repr, PRECISIONS))}, got {precision!r}")
    if precision == "float32" or (_core.bfloat16 and _call.isa == "avx512"):
        return
    if _call.isa == "avx512" or not os.environ.get("GRADCAM_ISA"):
        raise ValueError(
            f"{function}: precision: expected 'float32', got 'bfloat16': that needs a CPU with AVX512_BF16, "
            f"this one has {', '.join(_core.isas)}"
        )
