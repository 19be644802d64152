"""Convolution from plain colours to blocked channels against the plain kernel."""

from dataclasses import replace

import numpy as np
import pytest
from ops import blocks

from gradcam import _core
from gradcam.ops._call import Attributes
from gradcam.ops.blocked import BLOCK, Blocked, Window, epilogue, stem_attributes
from gradcam.ops.conv import conv
from gradcam.ops.unary import unary_attributes

DTYPES = ["float32", "float64"]

# n, c, h, w, filters, window
CASES = [
    (1, 3, 31, 56, 64, Window((7, 7), (2, 2), (3, 3), (3, 3))),
    (2, 3, 15, 29, 32, Window((3, 3), (2, 2), (0, 0), (1, 1))),
    (1, 3, 9, 28, 48, Window((3, 3), (1, 1), (1, 1), (1, 1))),
    (3, 1, 12, 17, 5, Window((5, 3), (2, 1), (2, 0), (1, 2))),
    (1, 4, 16, 24, 40, Window((4, 4), (4, 4))),
    (1, 3, 7, 5, 17, Window((3, 3), (1, 1), (1, 1), (1, 1))),
    (1, 2, 13, 61, 33, Window((3, 2), (3, 3), (0, 1), (0, 1))),
    (2, 3, 11, 25, 16, Window((3, 3), (1, 1), (2, 2), (2, 2), (2, 2))),
    (1, 1, 1, 1, 1, Window((1, 1))),
    (1, 3, 9, 15, 64, Window((3, 3), (1, 1), (0, 0), (0, 0))),
    (1, 3, 10, 84, 20, Window((7, 7), (2, 2), (3, 3), (3, 3))),
]


def options(window):
    pads = [tuple(pair) for pair in zip(window.pad_lo, window.pad_hi, strict=True)]
    return {"stride": window.stride, "padding": pads, "dilation": window.dilation}


def tolerance(dtype):
    return {"rtol": 1e-11, "atol": 1e-11} if dtype == "float64" else {"rtol": 1e-4, "atol": 1e-4}


def example(case, dtype):
    n, c, h, w, filters, window = case
    return (
        blocks.random((n, c, h, w), dtype),
        blocks.random((filters, c, *window.kernel), dtype, 1),
        blocks.random((filters,), dtype, 2),
        window,
    )


def stem(x, w, y_tensor, window, *, bias=None, residual=None, residual_tensor=None, code=-1, parameters=(0.0, 0.0)):
    packed = blocks.run("blocked_stem_pack", Attributes(w.shape), [w], (-(-w.shape[0] // BLOCK), *w.shape[1:], BLOCK))
    finish = epilogue(code, bias=bias is not None, residual=residual_tensor)
    r = None if residual is None else blocks.to_blocked(residual, residual_tensor, spare=9)
    attributes = stem_attributes(x.shape[1:], y_tensor, window, finish, parameters)
    return blocks.from_blocked(blocks.run("blocked_stem_output", attributes, [x, packed, bias, r], y_tensor.shape), y_tensor)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_output_is_the_plain_convolution(isa, case, dtype):
    x, w, bias, window = example(case, dtype)
    for shift, border in ((bias, (0, 0, 0, 0)), (None, (2, 1, 0, 3))):
        expected = conv(x, w, shift, **options(window))
        y = stem(x, w, Blocked(*expected.shape, *border), window, bias=shift)
        np.testing.assert_allclose(y, expected, **tolerance(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_small_integers_are_exact(isa, dtype):
    for case in CASES:
        x, w, bias, window = (np.round(4 * v) if isinstance(v, np.ndarray) else v for v in example(case, dtype))
        expected = conv(x, w, bias, **options(window))
        np.testing.assert_array_equal(stem(x, w, Blocked(*expected.shape, 1, 1, 1, 1), window, bias=bias), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("has_residual", [False, True])
@pytest.mark.parametrize(
    ("name", "parameters", "function"),
    [
        ("Relu", (0.0, 0.0), lambda v: np.maximum(v, 0)),
        ("Clip", (0.0, 6.0), lambda v: np.clip(v, 0, 6)),
        ("LeakyRelu", (0.25, 0.0), lambda v: np.where(v < 0, v / 4, v)),
    ],
)
def test_epilogues(isa, dtype, name, parameters, function, has_residual):
    code = unary_attributes(name, 1).ints[0]
    for case in (CASES[0], CASES[3], CASES[5]):
        x, w, bias, window = example(case, dtype)
        expected = conv(x, w, bias, **options(window))
        residual = blocks.random(expected.shape, dtype, 3) if has_residual else None
        r_tensor = Blocked(*expected.shape, 2, 0, 1, 3) if has_residual else None
        more = {"residual": residual, "residual_tensor": r_tensor, "code": code, "parameters": parameters}
        y = stem(x, w, Blocked(*expected.shape, 1, 1, 1, 1), window, bias=bias, **more)
        np.testing.assert_allclose(y, function(expected + (residual if has_residual else 0)), **tolerance(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_not_a_number_reaches_its_windows(isa, dtype):
    x, w, bias, window = example(CASES[2], dtype)
    x[0, 1, 4, 13] = np.nan
    y = stem(x, w, Blocked(1, 48, 9, 28), window, bias=bias, code=0)
    expected = np.zeros(y.shape, bool)
    expected[0, :, 3:6, 12:15] = True
    np.testing.assert_array_equal(np.isnan(y), expected)


Y, WINDOW = Blocked(1, 32, 4, 4), Window((3, 3), (2, 2), (1, 1), (1, 1))


@pytest.mark.parametrize(
    ("changes", "argument"),
    [
        ({"size": (0, 8, 8)}, "shape"),
        ({"size": (5, 8, 8)}, "shape"),
        ({"size": (3, 0, 8)}, "shape"),
        ({"size": (3, 9, 8)}, "shape"),
        ({"y": replace(Y, w=5)}, "shape"),
        ({"y": replace(Y, c=0)}, "shape"),
        ({"window": replace(WINDOW, kernel=(3, 0))}, "kernel"),
        ({"window": replace(WINDOW, stride=(0, 2))}, "stride"),
        ({"window": replace(WINDOW, dilation=(1, 0))}, "dilation"),
        ({"window": replace(WINDOW, pad_hi=(1, -1))}, "padding"),
        ({"finish": epilogue(-2)}, "op"),
        ({"finish": epilogue(residual=replace(Y, h=3))}, "shape"),
        ({"finish": (-1, 0)}, "attributes"),
    ],
)
def test_what_does_not_fit_is_refused(changes, argument):
    attributes = stem_attributes(**{"size": (3, 8, 8), "y": Y, "window": WINDOW, **changes})
    with pytest.raises(ValueError, match=argument):
        _core.operands("blocked_stem_output", "scalar", "f", attributes.ints, attributes.reals)


def test_operands():
    attributes = stem_attributes((3, 8, 8), replace(Y, n=2), WINDOW, epilogue(bias=True))
    operands = _core.operands("blocked_stem_output", "scalar", "f", attributes.ints, attributes.reals)
    assert operands[0] == (2 * 3 * 8 * 8, 32 * 27, 32, 0)
    assert operands[1] == (2 * 32 * 16,)
    for ints, argument in (((0, 3, 3, 3), "shape"), ((4, 5, 3, 3), "shape"), ((4, 3, 0, 3), "kernel"), ((4, 3, 3), "attributes")):
        with pytest.raises(ValueError, match=argument):
            _core.operands("blocked_stem_pack", "scalar", "f", ints, ())
