from __future__ import annotations

import numpy as np
import pytest
from gradcheck import assert_gradient
from reference import resample as reference

from gradcam import ops
from gradcam.environment import threads
from gradcam.ops import Taps, _call
from gradcam.ops.resample import resample_attributes

CASES = [  # shape, axis, outputs, number of taps
    ((5, 3), 0, 4, 9),
    ((2, 5, 3), 1, 7, 12),
    ((2, 3, 7), 2, 5, 11),
    ((2, 3, 7), -1, 1, 3),
    ((4,), 0, 6, 5),
    ((2, 3, 2000), 1, 2, 5),  # rows of several blocks
    ((1, 1, 1), 1, 3, 2),
]


def taps(shape, axis, count, number, seed=0):
    """Random taps, several of them at one place."""
    rng = np.random.default_rng(seed)
    size = shape[axis]
    return size, count, rng.integers(0, count, number), rng.integers(0, size, number), np.round(rng.standard_normal(number), 1)


@pytest.mark.parametrize(("shape", "axis", "count", "number"), CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_are_the_reference(isa, shape, axis, count, number, dtype):
    _, _, rows, indices, weights = taps(shape, axis, count, number)
    x = np.random.default_rng(1).standard_normal(shape).astype(dtype)
    table = Taps.of(shape[axis], count, rows, indices, weights)
    want = reference.resample(x, rows, indices, weights, count, axis)
    y = ops.resample(x, table, axis)
    assert y.dtype == dtype
    bound = 1e-12 if dtype == "float64" else 2e-5
    np.testing.assert_allclose(y, want, rtol=0, atol=bound)
    np.testing.assert_allclose(table.apply(x.astype(np.float64), axis), want, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("shape", "axis", "count", "number"), CASES)
def test_transposed_taps_are_the_gradient(isa, shape, axis, count, number):
    table = Taps.of(*taps(shape, axis, count, number))
    x = np.random.default_rng(2).standard_normal(shape)
    dy = np.random.default_rng(3).standard_normal(ops.resample(x, table, axis).shape)
    dx = ops.resample(dy, table.transposed(), axis)
    assert_gradient(dx, lambda v: ops.resample(v, table, axis), x, dy)
    again = table.transposed().transposed()
    np.testing.assert_array_equal(ops.resample(x, again, axis), ops.resample(x, table, axis))


def test_equal_places_add_up_and_zeros_are_left_out():
    table = Taps.of(3, 3, [2, 0, 2, 0, 1], [1, 0, 1, 0, 2], [0.5, 1, 0.25, -1, 2])
    assert table.starts.tolist() == [0, 0, 1, 2]
    assert table.indices.tolist() == [2, 1]
    assert table.weights.tolist() == [2, 0.75]


def test_picks_and_the_identity():
    x = np.array([[1.0, -0.0, np.nan, np.inf]], np.float32)
    np.testing.assert_array_equal(ops.resample(x, Taps.pick(4, [3, 1, -1, 2])), [[np.inf, -0.0, 0, np.nan]])
    assert np.signbit(ops.resample(x, Taps.pick(4, [1]))).all()
    assert Taps.pick(4, range(4)).is_identity
    assert not any(Taps.pick(4, index).is_identity for index in ([0, 1, 2], [0, 1, 2, 3, -1], [0, 1, 3, 2], [0, 1, 2, -1]))
    assert not Taps.of(2, 2, [0, 1], [0, 1], [1, 2]).is_identity


def test_no_taps_at_all():
    x = np.full((2, 3), np.nan)
    np.testing.assert_array_equal(ops.resample(x, Taps.pick(3, [-1, -1])), np.zeros((2, 2)))
    np.testing.assert_array_equal(ops.resample(x, Taps.pick(2, [-1, -1, -1]), 0), np.zeros((3, 3)))
    assert ops.resample(x, Taps.pick(3, [])).shape == (2, 0)
    assert ops.resample(np.ones((0, 3)), Taps.pick(3, [1])).shape == (0, 1)


@pytest.mark.parametrize("inner", [1, 4])
@pytest.mark.parametrize("wrong", [3, -1, 2**62, -(2**63)])
def test_taps_out_of_range_read_nothing(isa, inner, wrong):
    """Taps are data: the kernel itself must stay inside, whatever they are."""
    x, weights = np.ones((2, 3, inner), np.float32), np.ones(2, np.float32)

    def run(starts, indices):
        operands = [x, np.asarray(starts), np.asarray(indices), weights]
        return _call.call("resample_output", resample_attributes(x.shape, 2, 2, 1), operands, [(2, 2, inner)])[0]

    y = run([0, 1, 2], [0, wrong])
    assert (y[:, 0] == 1).all()
    assert np.isnan(y[:, 1]).all()
    for starts in ([0, 1, wrong], [wrong, 1, 2], [0, wrong, 2], [2, 1, 0]):
        y = run(starts, [0, 1])
        broken = [not 0 <= a <= b <= 2 for a, b in zip(starts[:-1], starts[1:], strict=True)]
        np.testing.assert_array_equal(np.isnan(y), np.broadcast_to(np.reshape(broken, (1, 2, 1)), y.shape))


@pytest.mark.parametrize("axis", [0, 1])
def test_any_number_of_threads_gives_the_same_bytes(isa, axis):
    x = np.random.default_rng(4).standard_normal((300, 257)).astype("float32")
    table, found = Taps.of(*taps(x.shape, axis, 400, 1500)), set()
    for n in (1, 2, 3, 4):
        with threads(n):
            found.add(ops.resample(x, table, axis).tobytes())
    assert len(found) == 1


def test_bad_input():
    with pytest.raises(ValueError, match="resample: x: expected 3 elements along axis 1 like the taps"):
        ops.resample(np.ones((3, 2)), Taps.pick(3, [0]))
    with pytest.raises(ValueError, match="resample: axis"):
        ops.resample(np.ones((3, 2)), Taps.pick(3, [0]), 2)
    with pytest.raises(TypeError, match="resample: x"):
        ops.resample(np.ones((3, 2), int), Taps.pick(2, [0]))
    for rows, indices in (([2], [0]), ([-1], [0]), ([0], [3]), ([0], [-1])):
        with pytest.raises(ValueError, match="Taps.of: indices: expected rows below 2 and indices below 3"):
            Taps.of(3, 2, rows, indices, [1.0])
    for ints in ((1, 0, 1, 1, 1), (1, 3, 1, 1, 0), (-1, 3, 1, 1, 1), (1, 3, 1, -1, 1), (1, 3, 1), (2**62, 3, 2**62, 1, 1)):
        with pytest.raises(Exception, match="resample_output"):
            _call.call("resample_output", _call.Attributes(ints), [np.ones(3), np.zeros(2, int), np.zeros(1, int), np.ones(1)], [(1,)])
