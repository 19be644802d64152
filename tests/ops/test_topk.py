from __future__ import annotations

import numpy as np
import pytest
from graph.cases import F64, run
from hypothesis import given
from hypothesis import strategies as st
from reference import topk as reference

from gradcam import _core, ops
from gradcam.environment import threads
from gradcam.graph.builder import Builder

SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0]


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize(("shape", "k"), [((1,), 1), ((5,), 5), ((3, 7), 2), ((2, 1, 9), 9), ((4, 40), 3), ((0, 4), 2), ((2, 3, 1), 1)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_are_the_reference(isa, shape, k, largest, dtype):
    rng = np.random.default_rng(0)
    for x in (rng.standard_normal(shape), rng.integers(0, 3, shape), rng.choice([*SPECIAL, 1.0], shape)):
        x = x.astype(dtype)
        y = ops.topk(x, k, largest=largest)
        assert y.dtype == np.int64
        assert y.shape == (*shape[:-1], k)
        np.testing.assert_array_equal(y, reference.topk(x, k, largest))


@given(st.lists(st.sampled_from([*SPECIAL, 1.0, 2.0, 2.0000002]), min_size=1, max_size=30), st.integers(1, 30), st.booleans())
def test_any_row(values, k, largest):
    x = np.array(values, np.float32)
    k = min(k, len(values))
    np.testing.assert_array_equal(ops.topk(x, k, largest=largest), reference.topk(x, k, largest))


@pytest.mark.parametrize(("n", "k"), [(1000, 10), (21843, 10), (21843, 21843)])
def test_long_rows_are_a_stable_sort(isa, n, k):
    x = np.random.default_rng(1).integers(0, n // 3, (2, n)).astype("float32")
    np.testing.assert_array_equal(ops.topk(x, k), np.argsort(-x, axis=-1, kind="stable")[:, :k])
    np.testing.assert_array_equal(ops.topk(x, k, largest=False), np.argsort(x, axis=-1, kind="stable")[:, :k])


def test_equal_numbers_ascend_and_nan_is_last(isa):
    x = np.array([np.nan, 2, -0.0, 0.0, np.nan, 2, -np.inf])
    assert ops.topk(x, 7).tolist() == [1, 5, 2, 3, 6, 0, 4]
    assert ops.topk(x, 7, largest=False).tolist() == [6, 2, 3, 1, 5, 0, 4]


def test_the_first_is_argmax(isa):
    x = np.random.default_rng(2).integers(0, 5, (6, 50)).astype("float32")
    np.testing.assert_array_equal(ops.topk(x, 1)[:, 0], ops.argmax(x))


def test_any_number_of_threads_gives_the_same_bytes(isa):
    x = np.random.default_rng(3).integers(0, 99, (29, 1000)).astype("float32")
    found = set()
    for n in (1, 2, 3, 4):
        with threads(n):
            found.add(ops.topk(x, 10).tobytes())
    assert len(found) == 1


@pytest.mark.parametrize("k", [0, -1, 4, 2**70])
def test_k_outside_the_row(k):
    with pytest.raises(ValueError, match=f"topk: k: expected 1 to 3, the size of the last axis, got {k}"):
        ops.topk(np.ones((2, 3)), k)


def test_bad_input():
    with pytest.raises(TypeError, match=r"topk: k: expected an integer, got 1\.0"):
        ops.topk(np.ones(3), 1.0)
    with pytest.raises(TypeError, match="topk: x: expected float32 or float64, got int64"):
        ops.topk(np.arange(3), 1)
    with pytest.raises(ValueError, match="topk: x: expected 1 to 8 axes, got 0"):
        ops.topk(np.float64(3), 1)
    with pytest.raises(ValueError, match="topk: k: expected 1 to 0"):
        ops.topk(np.ones((2, 0)), 1)


@pytest.mark.parametrize(
    ("ints", "message"),
    [
        ((1, 4, 2), "attributes"),
        ((1, 4, 2, 1, 0), "attributes"),
        ((-1, 4, 2, 1), "shape"),
        ((1, 0, 1, 1), "shape"),
        ((1, 4, 0, 1), "parameter"),
        ((1, 4, 5, 1), "parameter"),
        ((1, 4, 2, 2), "op"),
        ((1, 4, 2, -1), "op"),
        ((2**40, 2**40, 1, 1), "expected a size that fits"),
    ],
)
def test_bad_attributes(ints, message):
    with pytest.raises((ValueError, MemoryError), match=f"topk_output: {message}"):
        _core.operands("topk_output", _core.isa, "f", ints, ())


def test_record():
    g = Builder(F64)
    x = np.random.default_rng(4).integers(0, 4, (2, 3, 6)).astype(float)
    value = g.input("x", x.shape)
    outputs = [g.emit("TopKIndices", value, k=3, largest=largest) for largest in (True, False)]
    assert [(o.shape, o.dtype) for o in outputs] == [((2, 3, 3), np.int64)] * 2
    for largest, got in zip((True, False), run(g, outputs, [x]), strict=True):
        np.testing.assert_array_equal(got, reference.topk(x, 3, largest))


def test_found_classes_feed_a_gather():
    g = Builder(F64)
    x = np.random.default_rng(5).standard_normal((1, 9))
    value = g.input("x", x.shape)
    index = g.reshape(g.emit("TopKIndices", value, k=4, largest=True), (4,))
    (got,) = run(g, [g.emit("Gather", value, index, axis=1)], [x])
    np.testing.assert_array_equal(got[0], np.sort(x[0])[::-1][:4])
