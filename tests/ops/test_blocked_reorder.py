"""Reorders between plain and blocked tensors."""

from dataclasses import replace

import numpy as np
import pytest
from ops import blocks

from gradcam import _core
from gradcam.ops import _call
from gradcam.ops._call import Attributes
from gradcam.ops.blocked import Blocked, copy_attributes

DTYPES = ["float32", "float64"]
TENSORS = [
    Blocked(1, 16, 4, 4),
    Blocked(1, 1, 1, 1, 1, 2, 3, 4),
    Blocked(2, 3, 5, 7, 1, 1, 1, 1),
    Blocked(3, 37, 6, 9, 0, 2, 1, 0),
    Blocked(2, 64, 3, 18, 3, 0, 0, 1),
    Blocked(1, 23, 40, 31, 1, 1, 1, 1),
]


def from_plain(x, tensor):
    return blocks.run("blocked_from_plain", Attributes(tensor.ints), [x], tensor.shape)


def to_plain(x, tensor):
    return blocks.run("blocked_to_plain", Attributes(tensor.ints), [x], blocks.plain_shape(tensor))


def copy(pieces, y, dtype, workers=1):
    """Concat: pieces of (array, tensor) into one array that held garbage."""
    out, to = np.full(y.shape, np.nan, dtype), 0
    for x, tensor in pieces:
        attributes = copy_attributes(tensor, y, to)
        _core.call("blocked_copy", _call.isa, out.dtype.char, attributes.ints, attributes.reals, (x,), (out,), workers)
        to += tensor.c
    return out


@pytest.mark.parametrize("tensor", TENSORS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_there_and_back(isa, tensor, dtype):
    x = blocks.random(blocks.plain_shape(tensor), dtype)
    x.flat[0] = np.nan
    blocked = from_plain(x, tensor)
    assert blocked.dtype == dtype
    np.testing.assert_array_equal(blocked, blocks.to_blocked(x, tensor))
    np.testing.assert_array_equal(to_plain(blocks.to_blocked(x, tensor, spare=7), tensor), x)


@pytest.mark.parametrize("tensor", TENSORS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_copy_changes_the_border(isa, tensor, dtype):
    x, y = blocks.random(blocks.plain_shape(tensor), dtype), replace(tensor, top=2, left=0, bottom=1, right=5)
    for workers in (1, 3):
        out = copy([(blocks.to_blocked(x, tensor, spare=7), tensor)], y, dtype, workers)
        np.testing.assert_array_equal(blocks.from_blocked(out, y), x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_copies_concatenate(isa, dtype, workers):
    tensors = [Blocked(2, 32, 5, 6, 1, 1, 1, 1), Blocked(2, 16, 5, 6), Blocked(2, 19, 5, 6, 0, 3, 2, 1)]
    arrays, y = [blocks.random(blocks.plain_shape(tensor), dtype, i) for i, tensor in enumerate(tensors)], Blocked(2, 67, 5, 6, 2, 2, 2, 2)
    pieces = [(blocks.to_blocked(x, tensor, spare=-3), tensor) for x, tensor in zip(arrays, tensors, strict=True)]
    np.testing.assert_array_equal(blocks.from_blocked(copy(pieces, y, dtype, workers), y), np.concatenate(arrays, 1))


@pytest.mark.parametrize(
    ("x", "y", "to", "argument"),
    [
        (Blocked(1, 16, 4, 4), Blocked(2, 32, 4, 4), 0, "shape"),
        (Blocked(1, 16, 4, 4), Blocked(1, 32, 5, 4), 0, "shape"),
        (Blocked(1, 16, 4, 4), Blocked(1, 32, 4, 3), 0, "shape"),
        (Blocked(1, 16, 4, 4), Blocked(1, 32, 4, 4), 8, "axis"),
        (Blocked(1, 16, 4, 4), Blocked(1, 32, 4, 4), 32, "axis"),
        (Blocked(1, 16, 4, 4), Blocked(1, 32, 4, 4), -16, "axis"),
        (Blocked(1, 15, 4, 4), Blocked(1, 32, 4, 4), 0, "axis"),
        (Blocked(1, 48, 4, 4), Blocked(1, 32, 4, 4), 0, "axis"),
        (Blocked(1, 0, 4, 4), Blocked(1, 32, 4, 4), 0, "shape"),
        (Blocked(1, 16, 4, 4, -1), Blocked(1, 32, 4, 4), 0, "padding"),
    ],
)
def test_wrong_copies_are_refused(x, y, to, argument):
    with pytest.raises(ValueError, match=argument):
        _core.operands("blocked_copy", "scalar", "f", copy_attributes(x, y, to).ints, ())


def test_wrong_numbers_of_attributes_are_refused():
    for kernel, ints in [("blocked_from_plain", (1,) * 7), ("blocked_to_plain", (1,) * 9), ("blocked_copy", (1,) * 16)]:
        with pytest.raises(ValueError, match="attributes"):
            _core.operands(kernel, "scalar", "f", ints, ())


def test_sizes_that_overflow_are_refused():
    huge = Blocked(1, 16, 2**40, 2**40)
    with pytest.raises(MemoryError, match="overflows"):
        _core.operands("blocked_copy", "scalar", "f", copy_attributes(huge, huge).ints, ())
