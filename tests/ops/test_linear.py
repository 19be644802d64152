"""Linear layers with packed weights against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from gradcam import _core
from gradcam.ops import _call
from gradcam.ops._call import Attributes
from gradcam.ops.unary import UNARY


def linear(x, w, bias=None, residual=None, function=None, *, transposed=False, alpha=0.0, beta=0.0, workers=1):
    rows, k = x.shape
    m = w.shape[0 if transposed else 1]
    code = -1 if function is None else UNARY[function]
    a = Attributes((rows, k, m, int(transposed), code, int(bias is not None), int(residual is not None)), (alpha, beta))
    count = _core.operands("linear_pack", _call.isa, x.dtype.char, a.ints, a.reals)[1][0]
    (packed,) = _call.call("linear_pack", a, [w], [(count,)])
    y = np.full((rows, m), np.nan, x.dtype)
    _core.call("linear_output", _call.isa, x.dtype.char, a.ints, a.reals, (x, packed, bias, residual), (y,), workers)
    return y


def integers(shape, dtype, seed):
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("k", "m"), [(16, 16), (32, 48), (48, 80), (1280, 32)])
@pytest.mark.parametrize("rows", [1, 2, 3, 7, 8, 13, 14, 15, 29, 230])
def test_small_integers_are_exact(isa, dtype, transposed, k, m, rows):
    x, w = integers((rows, k), dtype, 0), integers((k, m), dtype, 1)
    bias, residual = integers(m, dtype, 2), integers((rows, m), dtype, 3)
    given = np.ascontiguousarray(w.T) if transposed else w
    np.testing.assert_array_equal(linear(x, given, transposed=transposed), x @ w)
    want = np.maximum(x @ w + bias + residual, 0)
    for workers in (1, 2, 5):
        np.testing.assert_array_equal(linear(x, given, bias, residual, "Relu", transposed=transposed, workers=workers), want)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_long_sums_of_many_tiles(isa, dtype):
    x, w, bias = integers((450, 1040), dtype, 0), integers((1040, 336), dtype, 1), integers(336, dtype, 2)
    residual = integers((450, 336), dtype, 3)
    for workers in (1, 4):
        got = linear(x, w, bias, residual, "LeakyRelu", alpha=0.5, workers=workers)
        want = x @ w + bias + residual
        np.testing.assert_array_equal(got, np.where(want < 0, 0.5 * want, want))


@pytest.mark.parametrize("function", ["Clip", "Sigmoid", "HardSwish", "LeakyRelu"])
def test_activations(isa, function):
    rng = np.random.default_rng(0)
    x, w, bias = (rng.standard_normal(s).astype("float32") for s in ((23, 64), (64, 48), (48,)))
    alpha, beta = {"Clip": (-2.0, 3.0), "LeakyRelu": (0.1, 0.0)}.get(function, (0.0, 0.0))
    z = x.astype(float) @ w.astype(float) + bias
    want = {
        "Clip": np.clip(z, -2, 3),
        "Sigmoid": 1 / (1 + np.exp(-z)),
        "HardSwish": z * np.clip(z + 3, 0, 6) / 6,
        "LeakyRelu": np.where(z < 0, 0.1 * z, z),
    }[function]
    np.testing.assert_allclose(linear(x, w, bias, function=function, alpha=alpha, beta=beta), want, atol=2e-6 * np.abs(z).max())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_same_bits_for_any_number_of_workers_and_rows(isa, dtype):
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((197, 192)).astype(dtype), rng.standard_normal((192, 144)).astype(dtype)
    whole = linear(x, w)
    for workers in (2, 3, 4):
        np.testing.assert_array_equal(linear(x, w, workers=workers), whole)
    narrow = linear(x, w[:, :16].copy(), function="Gelu")
    for workers in (3, 6, 14, 16):  # more than there are tiles of outputs: rows are shared out too
        np.testing.assert_array_equal(linear(x, w[:, :16].copy(), function="Gelu", workers=workers), narrow)
    np.testing.assert_array_equal(linear(x[:50].copy(), w), whole[:50])
    np.testing.assert_array_equal(linear(x[196:].copy(), w), whole[196:])


def test_nan_stays_in_its_row(isa):
    x, w = np.ones((20, 16), "float32"), np.ones((16, 16), "float32")
    x[5, 3] = np.nan
    y = linear(x, w, function="Relu")
    assert np.isnan(y[5]).all()
    assert (np.delete(y, 5, axis=0) == 16).all()


@pytest.mark.parametrize(
    ("ints", "words"),
    [
        ((0, 16, 16, 0, -1, 0, 0), "shape"),
        ((4, 17, 16, 0, -1, 0, 0), "shape"),
        ((4, 16, 8, 0, -1, 0, 0), "shape"),
        ((4, 16, 16, 2, -1, 0, 0), "op"),
        ((4, 16, 16, 0, 999, 0, 0), "op"),
        ((4, 16, 16, 0, -1, 2, 0), "op"),
        ((4, 16, 16, 0, -1, 0, -1), "op"),
        ((4, 16, 16, 0, -1, 0), "attributes"),
        ((2**40, 2**40, 16, 0, -1, 0, 0), "fits into memory"),
    ],
)
def test_bad_geometry_is_refused(ints, words):
    with pytest.raises((ValueError, OverflowError, MemoryError), match=words):
        _core.operands("linear_output", _call.isa, "f", ints, (0.0, 0.0))
