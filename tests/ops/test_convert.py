from __future__ import annotations

import numpy as np
import pytest

from gradcam import _core
from gradcam.ops import _call
from gradcam.ops.convert import convert_attributes


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_real_numbers_lose_their_fraction(isa, dtype):
    x = np.array([0.0, -0.0, 0.9, -0.9, 1.5, -2.5, 2.0**24, -(2.0**62)], dtype)
    (y,) = _call.call("convert_to_index", convert_attributes(x.size), [x], [x.shape], result=np.int64)
    np.testing.assert_array_equal(y, np.trunc(x).astype(np.int64))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_no_index_becomes_the_nearest(isa, dtype):
    x = np.array([np.nan, np.inf, -np.inf, 2.0**63, 1e30, -(2.0**63), -1e30], dtype)
    (y,) = _call.call("convert_to_index", convert_attributes(x.size), [x], [x.shape], result=np.int64)
    most, least = 2**63 - 1, -(2**63)
    assert y.tolist() == [0, most, least, most, most, least, least]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_indices_become_the_nearest_number(isa, dtype):
    i = np.array([0, -1, 7, 2**24 + 1, 2**62 + 3, -(2**63)])
    y = np.empty(i.shape, dtype)
    _core.call("convert_to_real", isa, y.dtype.char, (i.size,), (), (i,), (y,), 1)
    np.testing.assert_array_equal(y, i.astype(dtype))


def test_bad_attributes():
    with pytest.raises(ValueError, match="convert_to_index: shape"):
        _core.operands("convert_to_index", _core.isa, "f", (-1,), ())
    with pytest.raises(ValueError, match="convert_to_real"):
        _core.operands("convert_to_real", _core.isa, "f", (), ())
