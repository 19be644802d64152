from __future__ import annotations

import itertools

import numpy as np
import pytest
from gradcheck import assert_gradient
from reference import layout as reference

from gradcam import ops
from gradcam.environment import threads
from gradcam.ops import _call
from gradcam.ops.layout import copy_attributes, pad_attributes

SLICES = [
    ((7, 5), (1, 0), (6, None), (2, 1)),
    ((7, 5), (None, -1), (None, None), (-1, -2)),
    ((3, 40), (0, 3), (3, 37), (1, 3)),
    ((2, 3, 4), (1, 1, 1), (2, 2, 2), None),
]


def numbers(shape, dtype="float32"):
    return np.arange(int(np.prod(shape)), dtype=dtype).reshape(shape) - 7


def windows(starts, stops, steps):
    return tuple(slice(*w) for w in zip(starts, stops, steps or (None,) * len(starts), strict=True))


@pytest.mark.parametrize("perm", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 17, 33), (20, 1, 21), (16, 16, 16)])
def test_transpose(isa, shape, perm):
    x = numbers(shape)
    y = ops.transpose(x, perm)
    np.testing.assert_array_equal(y, x.transpose(perm))
    np.testing.assert_array_equal(ops.transpose_input_grad(y, perm), x)


def test_transpose_of_many_axes(isa):
    x = numbers((2, 3, 2, 3, 2, 2))
    np.testing.assert_array_equal(ops.transpose(x), x.T)
    np.testing.assert_array_equal(ops.transpose(x, (5, 0, 3, 2, 4, 1)), x.transpose(5, 0, 3, 2, 4, 1))


@pytest.mark.parametrize(("shape", "starts", "stops", "steps"), SLICES)
def test_slice_and_its_gradient(isa, shape, starts, stops, steps):
    x = numbers(shape)
    y = ops.slice(x, starts, stops, steps)
    np.testing.assert_array_equal(y, x[windows(starts, stops, steps)])
    want = np.zeros_like(x)
    want[windows(starts, stops, steps)] = y
    np.testing.assert_array_equal(ops.slice_input_grad(y, shape, starts, stops, steps), want)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_concat_and_split(isa, axis):
    parts = [numbers(tuple(n if i == axis % 3 else 4 for i in range(3))) for n in (1, 5, 2)]
    y = ops.concat(parts, axis)
    np.testing.assert_array_equal(y, np.concatenate(parts, axis))
    for got, want in zip(ops.concat_input_grad(y, (1, 5, 2), axis), parts, strict=True):
        np.testing.assert_array_equal(got, want)
    for got, want in zip(ops.split(y, (3, 5), axis), np.split(y, [3], axis), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("pads", [((1, 2), (0, 3)), ((0, 0), (0, 0)), ((2, 0), (-1, 1)), ((-1, -1), (-2, 4))])
def test_pad_and_its_gradient(isa, pads):
    x = numbers((4, 5))
    y = ops.pad(x, pads, 2.5)
    np.testing.assert_array_equal(y, reference.pad(x, pads, 2.5))
    dy = np.random.default_rng(0).standard_normal(y.shape)
    assert_gradient(ops.pad_input_grad(dy, pads), lambda v: ops.pad(v, pads, 2.5), x.astype(float), dy)


@pytest.mark.parametrize(
    ("small", "large"), [((3, 1), (2, 3, 4)), ((1,), (5,)), ((), (2, 2)), ((2, 1, 3), (2, 4, 3)), ((1, 1, 33), (6, 2, 33))]
)
def test_expand_and_its_gradient(isa, small, large):
    x = numbers(small)
    np.testing.assert_array_equal(ops.expand(x, large), np.broadcast_to(x, large))
    dy = numbers(large, "float64")
    assert_gradient(ops.expand_input_grad(dy, small), lambda v: ops.expand(v, large), np.asarray(x, float), dy)


def test_copies_with_any_strides_are_the_reference(isa):
    rng = np.random.default_rng(1)
    for _ in range(60):
        rank = int(rng.integers(0, 4))
        shape = tuple(int(n) for n in rng.integers(1, 6, rank))
        x = rng.standard_normal(500).astype("float32")
        xs = tuple(int(s) for s in rng.integers(-7, 8, rank))
        order, ys, size = rng.permutation(rank), [0] * rank, int(rng.integers(1, 3))
        for i in order:  # every element of y at most once
            ys[i] = size * int(rng.choice([-1, 1]))
            size *= shape[i] + int(rng.integers(0, 2))
        xo = 250
        yo = -sum(min(0, (n - 1) * s) for n, s in zip(shape, ys, strict=True))
        count = 1 + yo + sum(max(0, (n - 1) * s) for n, s in zip(shape, ys, strict=True)) + 3
        y = np.full(count, 7.0, np.float32)
        want = y.copy()
        reference.copy_region(shape, x, xo, xs, want, yo, ys)
        attributes = pad_attributes(shape, 500, xo, xs, count, yo, ys, 7.0)
        np.testing.assert_array_equal(_call.call("pad_output", attributes, [x], [(count,)])[0], want)


@pytest.mark.parametrize(
    "change",
    [{"x_offset": -1}, {"x_offset": 490}, {"y_offset": 95}, {"x_strides": (60, 1)}, {"y_strides": (-10, 1)}, {"y_strides": (2**62, 1)}],
)
def test_regions_outside_an_array_are_refused(change):
    view = {"x_count": 500, "x_offset": 0, "x_strides": (10, 1), "y_count": 100, "y_offset": 0, "y_strides": (10, 1)} | change
    with pytest.raises((ValueError, MemoryError)):
        _call.call("copy_output", copy_attributes((10, 10), **view), [np.zeros(500, np.float32)], [(100,)])


@pytest.mark.parametrize("shape", [(61, 67, 17), (1, 300, 200)])
def test_any_number_of_threads_gives_the_same_bytes(isa, shape):
    x, found = numbers(shape), set()
    for n in (1, 2, 3, 4):
        with threads(n):
            found.add(
                (ops.transpose(x).tobytes(), ops.pad(x, ((1, 1),) * 3).tobytes(), ops.slice(x, (0, 1, 2), (None, 60, None)).tobytes())
            )
    assert len(found) == 1


def test_bad_input():
    with pytest.raises(ValueError, match="transpose: axes"):
        ops.transpose(np.ones((2, 3)), (0, 0))
    with pytest.raises(ValueError, match="concat"):
        ops.concat([np.ones((2, 3)), np.ones((3, 3))], 1)
    with pytest.raises(ValueError, match="expand"):
        ops.expand(np.ones((2, 3)), (2, 4))
    with pytest.raises(ValueError, match="split"):
        ops.split(np.ones(5), (2, 2), 0)
    with pytest.raises(TypeError, match="pad: x: expected float32"):
        ops.pad(np.arange(3), ((1, 1),))
