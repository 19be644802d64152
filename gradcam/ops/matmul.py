"""Matrix products on arrays, and their input gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradcam.ops import _call
from gradcam.ops._call import Attributes

__all__ = ["FEW_ROWS", "matmul", "matmul_attributes", "matmul_input_grads", "matmul_shape"]

Shape = tuple[int, ...]
Floats = NDArray[np.floating[Any]]

FEW_ROWS = 4
"""So many rows of the left operand are taken through the right one as it lies (`MATMUL_SKINNY` of `csrc/ops/matmul.h`)."""


def matmul_shape(a_shape: Shape, b_shape: Shape, trans_a: bool = False, trans_b: bool = False) -> Shape:
    """Shape of the product; leading axes broadcast."""
    m = a_shape[-1] if trans_a else a_shape[-2]
    n = b_shape[-2] if trans_b else b_shape[-1]
    return (*np.broadcast_shapes(a_shape[:-2], b_shape[:-2]), m, n)


def matmul_attributes(a_shape: Shape, b_shape: Shape, *, trans_a: bool = False, trans_b: bool = False) -> Attributes:
    """Attributes of `csrc/ops/matmul.h` for arrays of two or more axes."""
    *batch, m, n = matmul_shape(a_shape, b_shape, trans_a, trans_b)
    k = a_shape[-2] if trans_a else a_shape[-1]
    if len(batch) and a_shape[:-2] == b_shape[:-2]:  # one axis will do
        batch = [int(np.prod(batch))]
        strides = [[1], [1]]
    else:
        strides = [_strides(a_shape[:-2], len(batch)), _strides(b_shape[:-2], len(batch))]
    return Attributes((m, n, k, int(trans_a), int(trans_b), len(batch), *batch, *strides[0], *strides[1]))


def _strides(lead: Shape, rank: int) -> list[int]:
    """Strides of the leading axes in matrices, 0 where they are broadcast."""
    strides, step = [], 1
    for size in reversed((1,) * (rank - len(lead)) + lead):
        strides.append(0 if size == 1 else step)
        step *= size
    return strides[::-1]


def matmul(a: ArrayLike, b: ArrayLike, *, trans_a: bool = False, trans_b: bool = False, num_threads: int | None = None) -> Floats:
    """Matrix product with the broadcasting of `numpy.matmul`.

    Parameters
    ----------
    a : array_like of float32 or float64, shape (..., M, K), (..., K, M) if `trans_a`, or (K,)
        Left operand.
    b : array_like, shape (..., K, N), (..., N, K) if `trans_b`, or (K,)
        Right operand.
    trans_a, trans_b : bool
        The operand's last two axes are exchanged.
    num_threads : int, optional
        See `gradcam.set_num_threads`.

    Returns
    -------
    ndarray, shape (..., M, N)

    Raises
    ------
    ValueError, TypeError
        Shapes or types that do not fit.
    """
    left = _call.array("matmul", "a", a, ndim=(1, 8))
    right = _call.array("matmul", "b", b, ndim=(1, 8), like=left)
    vector_a, vector_b = left.ndim == 1, right.ndim == 1
    if vector_a and trans_a or vector_b and trans_b:
        raise ValueError("matmul: trans_a, trans_b: expected a matrix to transpose, got a vector")
    left = left[None] if vector_a else left
    right = right[:, None] if vector_b else right
    k = left.shape[-2] if trans_a else left.shape[-1]
    if k != right.shape[-1 if trans_b else -2]:
        raise ValueError(f"matmul: b: expected {k} rows to multiply a of shape {left.shape}, got shape {right.shape}")
    try:
        shape = matmul_shape(left.shape, right.shape, trans_a, trans_b)
    except ValueError:
        raise ValueError(f"matmul: b: expected leading axes that broadcast with {left.shape}, got {right.shape}") from None
    if 0 in shape:
        result = np.zeros(shape, left.dtype)
    else:
        attributes = matmul_attributes(left.shape, right.shape, trans_a=trans_a, trans_b=trans_b)
        result = _call.call("matmul_output", attributes, [left, right], [shape], num_threads=num_threads)[0]
    result = result[..., 0, :] if vector_a else result
    return result[..., 0] if vector_b else result


def matmul_input_grads(a: ArrayLike, b: ArrayLike, dy: ArrayLike, *, num_threads: int | None = None) -> tuple[Floats, Floats]:
    """Gradients of `matmul` (two or more axes, not transposed) with respect to both operands.

    Parameters
    ----------
    a, b : array_like, shapes (..., M, K) and (..., K, N)
        Operands.
    dy : array_like, shape (..., M, N)
        Gradient of the product.

    Returns
    -------
    da, db : ndarray
        In the shapes of the operands; broadcast axes are summed out.
    """
    left = _call.array("matmul_input_grads", "a", a, ndim=(2, 8))
    right = _call.array("matmul_input_grads", "b", b, ndim=(2, 8), like=left)
    grad = _call.array("matmul_input_grads", "dy", dy, ndim=(2, 8), like=left)
    if left.shape[-1] != right.shape[-2]:
        raise ValueError(
            f"matmul_input_grads: b: expected {left.shape[-1]} rows to multiply a of shape {left.shape}, got shape {right.shape}"
        )
    shape = matmul_shape(left.shape, right.shape)
    if grad.shape != shape:
        raise ValueError(f"matmul_input_grads: dy: expected shape {shape}, got {grad.shape}")
    da = matmul(grad, right, trans_b=True, num_threads=num_threads)
    db = matmul(left, grad, trans_a=True, num_threads=num_threads)
    return _sum_to(da, left.shape), _sum_to(db, right.shape)


def _sum_to(array: Floats, shape: Shape) -> Floats:
    lead = array.ndim - len(shape)
    axes = tuple(i for i, n in enumerate(array.shape) if i < lead or (shape[i - lead] == 1 and n != 1))
    return np.asarray(array.sum(axis=axes)).reshape(shape) if axes else array
