"""One number per channel of a blocked tensor: means, their gradient, scaling."""

from dataclasses import replace

import numpy as np
import pytest
from ops import blocks

from gradcam import _core
from gradcam.ops import _call
from gradcam.ops._call import Attributes
from gradcam.ops.blocked import Blocked, scale_attributes

DTYPES = ["float32", "float64"]
TENSORS = [
    Blocked(1, 16, 7, 7),
    Blocked(1, 1, 1, 1, 1, 2, 3, 4),
    Blocked(2, 3, 5, 6, 1, 1, 1, 1),
    Blocked(3, 37, 6, 9, 0, 2, 1, 0),
    Blocked(2, 64, 3, 18, 3, 0, 0, 1),
]


@pytest.mark.parametrize("tensor", TENSORS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_means_are_summed_in_double(isa, tensor, dtype):
    x = blocks.random(blocks.plain_shape(tensor), dtype)
    x[0, 0] += 1e7
    y = blocks.run("blocked_channel_mean", Attributes(tensor.ints), [blocks.to_blocked(x, tensor, spare=1e30)], (tensor.n, tensor.c))
    assert y.dtype == dtype
    np.testing.assert_allclose(y, x.mean((2, 3), np.float64), rtol=1e-13 if dtype == "float64" else 1e-7, atol=1e-13)
    x[0, -1, 0, 0], x[-1, 0, -1, -1] = np.nan, np.inf
    y = blocks.run("blocked_channel_mean", Attributes(tensor.ints), [blocks.to_blocked(x, tensor)], (tensor.n, tensor.c))
    np.testing.assert_array_equal(np.isnan(y), np.isnan(x).any((2, 3)))
    np.testing.assert_array_equal(np.isinf(y), np.isinf(x).any((2, 3)) & ~np.isnan(x).any((2, 3)))


@pytest.mark.parametrize("tensor", TENSORS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_of_means(isa, tensor, dtype):
    dy = blocks.random((tensor.n, tensor.c), dtype)
    dy[-1, 0] = np.nan
    dx = blocks.from_blocked(blocks.run("blocked_channel_mean_grad", Attributes(tensor.ints), [dy], tensor.shape), tensor)
    expected = (dy.astype(np.float64) / (tensor.h * tensor.w)).astype(dtype)
    np.testing.assert_array_equal(dx, np.broadcast_to(expected[:, :, None, None], dx.shape))


@pytest.mark.parametrize("tensor", TENSORS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_scale(isa, tensor, dtype):
    x, s = blocks.random(blocks.plain_shape(tensor), dtype), blocks.random((tensor.n, tensor.c), dtype, 1)
    x[0, 0, 0, 0] = s[-1, -1] = np.nan
    y_tensor = replace(tensor, top=2, left=0, bottom=1, right=2)
    blocked = blocks.to_blocked(x, tensor, spare=7)
    y = blocks.run("blocked_channel_scale", scale_attributes(tensor, y_tensor), [blocked, s], y_tensor.shape)
    np.testing.assert_array_equal(blocks.from_blocked(y, y_tensor), x * s[:, :, None, None])
    attributes = scale_attributes(tensor, tensor)  # in place
    _core.call("blocked_channel_scale", _call.isa, x.dtype.char, attributes.ints, attributes.reals, (blocked, s), (blocked,), 3)
    np.testing.assert_array_equal(blocks.from_blocked(blocked, tensor), x * s[:, :, None, None])


X = Blocked(1, 16, 8, 8, 1, 1, 1, 1)


@pytest.mark.parametrize("y", [replace(X, n=2), replace(X, c=17), replace(X, h=7), replace(X, w=9)], ids=str)
def test_scaling_into_another_shape_is_refused(y):
    with pytest.raises(ValueError, match="shape"):
        _core.operands("blocked_channel_scale", "scalar", "f", scale_attributes(X, y).ints, ())


def test_operands():
    x = replace(X, n=2, c=17)
    assert _core.operands("blocked_channel_mean", "scalar", "f", x.ints, ())[:2] == ((2 * 2 * 100 * 16,), (34,))
    assert _core.operands("blocked_channel_mean_grad", "scalar", "f", x.ints, ())[:2] == ((34,), (2 * 2 * 100 * 16,))
    assert _core.operands("blocked_channel_scale", "scalar", "f", scale_attributes(x, x).ints, ())[0] == (2 * 2 * 100 * 16, 34)
    for kernel, ints in (
        ("blocked_channel_mean", X.ints[:7]),
        ("blocked_channel_mean_grad", (*X.ints, 1)),
        ("blocked_channel_scale", X.ints),
    ):
        with pytest.raises(ValueError, match="attributes"):
            _core.operands(kernel, "scalar", "f", ints, ())
