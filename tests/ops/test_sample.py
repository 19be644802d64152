"""Kernels that read and write at positions which are data."""

from __future__ import annotations

import numpy as np
import pytest
from reference import sample as reference

from gradcam import _core
from gradcam.ops import _call
from gradcam.ops.pool import pool_attributes, pool_output_shape
from gradcam.ops.rows import rows_last_attributes, rows_number_attributes
from gradcam.ops.sample import sample_attributes

SHAPES = [(2, 3, 5, 4, 3), (1, 1, 1, 1, 1), (3, 2, 7, 0, 2), (0, 2, 3, 4, 1), (1, 5, 64, 33, 4)]
WILD = [-1, 2**62, -(2**63), 2**63 - 1]


def integers(rng, shape, low, high):
    """Indices, some of which do not exist."""
    index = rng.integers(low, high, shape)
    return np.where(rng.random(shape) < 0.1, rng.choice(WILD, shape), index)


def index_call(kernel, attributes, inputs, shape, workers, dtype="float32"):
    y = np.empty(shape, np.int64)
    _core.call(kernel, _call.isa, np.dtype(dtype).char, attributes.ints, attributes.reals, tuple(inputs), (y,), workers)
    return y


@pytest.mark.parametrize(("batch", "outer", "axis", "count", "taps"), SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("workers", [1, 3])
def test_sums_of_taps_and_their_gradients_are_the_reference(isa, batch, outer, axis, count, taps, dtype, workers):
    rng = np.random.default_rng(0)
    index = integers(rng, (batch, count, taps), -1, axis + 1)
    x, w, dy = (rng.integers(-8, 9, s).astype(dtype) for s in ((batch, outer, axis), index.shape, (batch, outer, count)))
    attributes = sample_attributes(x.shape, index.shape)
    for kernel, inputs, wanted in (
        ("sample_output", [x, index, w], reference.sample(x, index, w)),
        ("sample_input_grad", [dy, index, w], reference.sample_input_grad(dy, index, w, axis)),
        ("sample_weight_grad", [x, index, dy], reference.sample_weight_grad(x, index, dy)),
    ):
        inputs = [a if a.size else None for a in inputs]
        if all(a is None for a in inputs) or not wanted.size:
            continue
        (found,) = _call.call(kernel, attributes, inputs, [wanted.shape], num_threads=workers)
        np.testing.assert_array_equal(found, wanted)


def test_what_is_no_tap_is_not_read(isa):
    x, index = np.ones((1, 1, 2), np.float32), np.array([[[0, 7], [-1, 1]]])
    w = np.array([[[2, np.nan], [np.inf, 3]]], np.float32)
    attributes = sample_attributes(x.shape, index.shape)
    assert _call.call("sample_output", attributes, [x, index, w], [(1, 1, 2)])[0].tolist() == [[[2, 3]]]
    dy = np.ones((1, 1, 2), np.float32)
    assert _call.call("sample_input_grad", attributes, [dy, index, w], [(1, 1, 2)])[0].tolist() == [[[2, 3]]]
    assert _call.call("sample_weight_grad", attributes, [x, index, dy], [(1, 2, 2)])[0].tolist() == [[[1, 0], [0, 1]]]


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize(("count", "sizes"), [(1, (1,)), (50, (5,)), (70, (3, 4)), (90, (2, 3, 2, 1, 2))])
@pytest.mark.parametrize("workers", [1, 3])
def test_row_numbers_are_the_reference(isa, wrap, count, sizes, workers):
    rng = np.random.default_rng(1)
    x = integers(rng, (count, len(sizes)), -2, 6)
    strides = tuple(int(n) for n in rng.integers(0, 9, len(sizes)))
    for base in (np.zeros(count, np.int64), rng.integers(0, 1000, count)):
        attributes = rows_number_attributes(x.shape, sizes, strides, wrap=wrap, base=base.any())
        found = index_call("rows_number", attributes, [x, base if base.any() else None], (count,), workers)
        np.testing.assert_array_equal(found, reference.row_numbers(x, base, sizes, strides, wrap))


def test_a_row_number_that_does_not_fit_is_no_row(isa):
    x, base = np.array([[1], [0]]), np.array([2**63 - 1, 2**63 - 1])
    attributes = rows_number_attributes(x.shape, (2,), (1,), wrap=False, base=True)
    assert index_call("rows_number", attributes, [x, base], (2,), 1).tolist() == [-(2**63), 2**63 - 1]


@pytest.mark.parametrize(("batch", "count", "size"), [(1, 1, 1), (3, 9, 4), (2, 0, 3), (5, 40, 17)])
@pytest.mark.parametrize("workers", [1, 3])
def test_last_rows_are_the_reference(isa, batch, count, size, workers):
    x = integers(np.random.default_rng(2), (batch, count), -size, size)
    found = index_call("rows_last", rows_last_attributes(x.shape, size), [x if x.size else None], (batch, size), workers)
    np.testing.assert_array_equal(found, reference.last_rows(x, size))


POOLS = [
    ((2, 3, 11), (3,), (2,), (1,), (0,), (2,), True),
    ((2, 2, 6, 7), (2, 3), (2, 2), (0, 1), (1, 1), (1, 1), False),
    ((1, 1, 7, 6), (3, 2), (1, 2), (2, 0), (2, 1), (2, 2), False),
    ((2, 1, 3, 4, 5), (2, 2, 2), (1, 2, 2), (0, 1, 0), (1, 0, 1), (1, 1, 1), True),
]


@pytest.mark.parametrize(("shape", "kernel", "stride", "lo", "hi", "dilation", "ceil"), POOLS)
@pytest.mark.parametrize("column_major", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("workers", [1, 3])
def test_positions_of_maxima_are_the_reference(isa, shape, kernel, stride, lo, hi, dilation, ceil, column_major, dtype, workers):
    x = np.random.default_rng(3).choice([0.0, 1.0, -np.inf, np.nan, 2.0], shape, p=[0.3, 0.3, 0.2, 0.05, 0.15]).astype(dtype)
    options = {"stride": stride, "pad_lo": lo, "pad_hi": hi, "dilation": dilation, "ceil_mode": ceil}
    out = pool_output_shape(shape, kernel, **options)
    attributes = pool_attributes(shape, kernel, **options, count_include_pad=column_major)
    found = index_call("pool_max_index", attributes, [x], out, workers, dtype)
    np.testing.assert_array_equal(found, reference.max_positions(x, kernel, stride, lo, dilation, out[2:], column_major))


@pytest.mark.parametrize(
    ("kernel", "ints", "message"),
    [
        ("sample_output", (1, 0, 3, 2, 1), "size"),
        ("sample_output", (1, 2, 3, 2), "attributes"),
        ("sample_output", (2**40, 2, 2**40, 2, 1), "overflows"),
        ("rows_number", (4, 0, 1, 0), "rank"),
        ("rows_number", (4, 2, 1, 0, 3, 0, 1, 1), "size"),
        ("rows_number", (4, 1, 1, 0, 3, -1), "stride"),
        ("rows_number", (4, 1, 1, 0, 2**40, 2**40), "overflows"),
        ("rows_last", (1, 2, 0), "size"),
    ],
)
def test_bad_attributes(kernel, ints, message):
    with pytest.raises((ValueError, MemoryError), match=message):
        _core.operands(kernel, _core.isa, "f", ints, ())
