"""Attention as one kernel, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from reference.attention import attention as reference

from gradcam import _core
from gradcam.ops import _call
from gradcam.ops.attention import View, attention_attributes

RTOL = {"float32": 3e-6, "float64": 1e-13}


def memory(array):
    """The array that a view is of, as it lies in memory, and the view of it that a kernel is told."""
    whole = array
    while isinstance(whole.base, np.ndarray):
        whole = whole.base
    offset = (array.__array_interface__["data"][0] - whole.__array_interface__["data"][0]) // array.itemsize
    return whole, View.of(whole.size, array, offset)


def attention(q, k, v, bias=None, scale=1.0, workers=1, y=None):
    batch, rows, keys = q.shape[:-2], q.shape[-2], k.shape[-2]
    y = np.full((*batch, rows, v.shape[-1]), np.nan, q.dtype) if y is None else y
    arrays, views = zip(*(memory(a) for a in (q, k, v, y)), strict=True)
    shape = (*batch, rows, keys)
    beside = None if bias is None else (np.ascontiguousarray(bias), View.of(bias.size, np.broadcast_to(bias, shape), 0))
    sizes = (rows, keys, q.shape[-1], v.shape[-1])
    a = attention_attributes(batch, sizes, (*views[:3], None if beside is None else beside[1], views[3]), scale)
    inputs = (*arrays[:3], None if beside is None else beside[0])
    _core.call("attention_output", _call.isa, q.dtype.char, a.ints, a.reals, inputs, (arrays[3],), workers)
    return y


def operands(batch, rows, keys, depth, width, dtype="float32", seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((*batch, *s)).astype(dtype) for s in ((rows, depth), (keys, depth), (keys, width))]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("batch", "rows", "keys", "depth", "width"),
    [
        ((), 1, 1, 1, 1),
        ((), 5, 1, 3, 2),
        ((2,), 1, 7, 16, 16),
        ((2, 3), 9, 17, 5, 33),
        ((3,), 49, 49, 32, 32),
        ((1, 2), 15, 31, 64, 48),
        ((2,), 13, 50, 128, 127),
        ((), 120, 33, 7, 9),
    ],
)
def test_values(isa, dtype, batch, rows, keys, depth, width):
    q, k, v = operands(batch, rows, keys, depth, width, dtype)
    bias = np.random.default_rng(1).standard_normal((*batch, rows, keys)).astype(dtype)
    for own in (None, bias):
        want = reference(q, k, v, own, 0.37)
        np.testing.assert_allclose(attention(q, k, v, own, 0.37), want, rtol=0, atol=RTOL[dtype] * np.abs(v).max())


@pytest.mark.parametrize("shape", [(3, 6, 11), (1, 6, 11), (3, 1, 11), (1, 1, 11), (11,)])
def test_bias_is_broadcast(isa, shape):
    q, k, v = operands((3,), 6, 11, 8, 8)
    bias = np.random.default_rng(1).standard_normal(shape).astype("float32")
    np.testing.assert_allclose(attention(q, k, v, bias), reference(q, k, v, bias), rtol=0, atol=1e-5)


def test_heads_are_read_and_written_where_they_lie(isa):
    """Queries, keys and values of all heads side by side in one array, the result with heads side by side."""
    tokens = np.random.default_rng(0).standard_normal((2, 21, 3, 4, 20)).astype("float32")
    q, k, v = (tokens[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
    y = np.full((2, 21, 4, 20), np.nan, "float32")
    attention(q, k, v, scale=0.2, y=y.transpose(0, 2, 1, 3))
    np.testing.assert_allclose(y.transpose(0, 2, 1, 3), reference(q, k, v, scale=0.2), rtol=0, atol=1e-5)


def test_keys_are_shared_by_heads(isa):
    q, k, v = operands((4,), 9, 10, 6, 6)
    k, v = (np.broadcast_to(a[:1], a.shape) for a in (k, v))
    np.testing.assert_allclose(attention(q, k, v), reference(q, k, v), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("batch", "rows", "keys"), [((3,), 197, 197), ((), 300, 40), ((2,), 30, 3000)])
def test_same_bits_for_any_number_of_workers(isa, batch, rows, keys):
    q, k, v = operands(batch, rows, keys, 24, 40)
    whole = attention(q, k, v, scale=0.2)
    for workers in (2, 3, 5, 16):
        np.testing.assert_array_equal(attention(q, k, v, scale=0.2, workers=workers), whole)


def test_large_scores_do_not_overflow(isa):
    q, k, v = operands((), 6, 20, 8, 8)
    q *= 1e4
    y = attention(q, k, v)
    assert np.isfinite(y).all()
    np.testing.assert_allclose(y, reference(q, k, v), rtol=0, atol=1e-4)


def test_masked_keys_count_nothing_and_a_row_without_keys_is_nan(isa):
    q, k, v = operands((2,), 5, 19, 8, 8)
    bias = np.zeros((2, 5, 19), "float32")
    bias[:, :, 12:] = bias[1, 3] = -np.inf
    y = attention(q, k, v, bias)
    assert np.isnan(y[1, 3]).all()
    y[1, 3] = 0
    want = reference(q, k[:, :12], v[:, :12])
    want[1, 3] = 0
    np.testing.assert_allclose(y, want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_inf_stay_in_their_rows(isa, bad):
    q, k, v = operands((2,), 8, 21, 8, 8)
    good = attention(q, k, v)
    q[1, 2, 3] = bad
    y = attention(q, k, v)
    assert np.isnan(y[1, 2]).any()
    y[1, 2] = good[1, 2]
    np.testing.assert_array_equal(y, good)
    v[0, 4, 5] = bad
    assert not np.isfinite(attention(q, k, v)[0, :, 5]).any()
    v[0, 4, 5], k[0, 20] = 0, np.nan
    assert np.isnan(attention(q, k, v)[0]).all()


GOOD = (1, 4, 5, 3, 2, 0, 2, 24, 0, 3, 12, 30, 0, 3, 15, 20, 0, 2, 10, 16, 0, 2, 8)


def test_good_geometry_is_accepted():
    counts = _core.operands("attention_output", _call.isa, "f", GOOD, (1.0,))
    assert counts == ([24, 30, 20, 0], [16]) or [list(c) for c in counts] == [[24, 30, 20, 0], [16]]


@pytest.mark.parametrize(
    ("place", "value"),
    [(0, 5), (0, -1), (1, 0), (2, 0), (3, 0), (4, 0), (5, 2), (6, 0), (7, 23), (8, 1), (9, -3), (10, 13), (19, 17), (20, 1), (21, 1)],
)
def test_bad_geometry_is_refused(place, value):
    ints = list(GOOD)
    ints[place] = value
    with pytest.raises((ValueError, OverflowError, MemoryError)):
        _core.operands("attention_output", _call.isa, "f", tuple(ints), (1.0,))


def test_sizes_that_fit_no_memory_are_refused():
    ints = list(GOOD)
    ints[1] = ints[2] = 2**40
    with pytest.raises((ValueError, OverflowError, MemoryError)):
        _core.operands("attention_output", _call.isa, "f", tuple(ints), (1.0,))
