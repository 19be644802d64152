"""Blocked arrays from plain ones and back, in plain NumPy."""

import numpy as np

from gradcam import _core
from gradcam.ops import _call
from gradcam.ops.blocked import BLOCK, Blocked


def to_blocked(x, tensor: Blocked, spare=0.0):
    """x (N, C, H, W) in the layout of `tensor`, spare lanes filled with `spare`."""
    full = np.full(tensor.shape, 0, x.dtype)
    inner = full[:, :, tensor.top : tensor.top + tensor.h, tensor.left : tensor.left + tensor.w]
    lanes = np.full((tensor.n, tensor.shape[1] * BLOCK, tensor.h, tensor.w), spare, x.dtype)
    lanes[:, : tensor.c] = x
    inner[...] = lanes.reshape(tensor.n, -1, BLOCK, tensor.h, tensor.w).transpose(0, 1, 3, 4, 2)
    return full


def from_blocked(y, tensor: Blocked):
    """Channels of a blocked array as (N, C, H, W); fails unless its border is zero."""
    y = y.reshape(tensor.shape)
    inner = y[:, :, tensor.top : tensor.top + tensor.h, tensor.left : tensor.left + tensor.w]
    border = y.copy()
    border[:, :, tensor.top : tensor.top + tensor.h, tensor.left : tensor.left + tensor.w] = 0
    assert not border.any(), "the border is not zero"
    return inner.transpose(0, 1, 4, 2, 3).reshape(tensor.n, -1, tensor.h, tensor.w)[:, : tensor.c]


def random(shape, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def plain_shape(tensor: Blocked):
    return (tensor.n, tensor.c, tensor.h, tensor.w)


def run(kernel, attributes, inputs, shape):
    """Output of a kernel, which must write all of it, with the same bits for 1 to 4 workers."""
    dtype = next(x.dtype for x in inputs if x is not None)
    results = []
    for workers in (1, 2, 3, 4):
        y = np.full(shape, -12345.6, dtype)
        _core.call(kernel, _call.isa, dtype.char, attributes.ints, attributes.reals, tuple(inputs), (y,), workers)
        results.append(y)
    for y in results[1:]:
        np.testing.assert_array_equal(y.view(np.uint8), results[0].view(np.uint8))
    return results[0]
