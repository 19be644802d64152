"""Depthwise convolution of blocked tensors against the plain kernels."""

from dataclasses import replace

import numpy as np
import pytest
from ops import blocks

from gradcam import _core
from gradcam.ops._call import Attributes
from gradcam.ops.blocked import BLOCK, Blocked, Window, depthwise_attributes, depthwise_grad_attributes, epilogue
from gradcam.ops.conv import conv, conv_input_grad
from gradcam.ops.unary import UNARY, unary_attributes

DTYPES = ["float32", "float64"]

# n, c, h, w, window
CASES = [
    (1, 16, 9, 14, Window((3, 3), (1, 1), (1, 1), (1, 1))),
    (2, 21, 8, 15, Window((3, 3), (2, 2), (1, 1), (1, 1))),
    (1, 40, 7, 7, Window((5, 5), (1, 1), (2, 2), (2, 2))),
    (2, 3, 17, 30, Window((5, 5), (2, 2), (2, 2), (2, 2))),
    (1, 35, 13, 16, Window((7, 7), (1, 1), (3, 3), (3, 3))),
    (1, 16, 5, 3, Window((3, 3), (1, 1), (1, 1), (1, 1))),
    (2, 18, 11, 23, Window((3, 3), (1, 1), (2, 3), (2, 3), (2, 3))),
    (1, 20, 12, 19, Window((2, 4), (3, 1), (0, 1), (1, 2))),
    (1, 17, 10, 21, Window((3, 3), (2, 1), (0, 1), (0, 1))),
    (1, 32, 10, 10, Window((1, 1))),
    (1, 16, 9, 20, Window((3, 3), (2, 2))),  # the last row of x is in no window
    (1, 16, 1, 1, Window((3, 3), (1, 1), (1, 1), (1, 1))),
    (1, 24, 6, 33, Window((3, 3), (1, 3), (1, 1), (1, 1))),
]


def options(window):
    pads = [tuple(pair) for pair in zip(window.pad_lo, window.pad_hi, strict=True)]
    return {"stride": window.stride, "padding": pads, "dilation": window.dilation}


def tolerance(dtype):
    return {"rtol": 1e-12, "atol": 1e-12} if dtype == "float64" else {"rtol": 1e-5, "atol": 1e-5}


def bordered(n, c, h, w, window, more=0):
    """Tensor whose border is as large as the window wants."""
    (top, left), (bottom, right) = window.pad_lo, window.pad_hi
    return Blocked(n, c, h, w, top + more, left, bottom, right + more)


def pack(w, gradient=False):
    c, _, kh, kw = w.shape
    shape = (-(-c // BLOCK), kh, kw, BLOCK)
    return blocks.run("blocked_depthwise_pack", Attributes((c, kh, kw, int(gradient))), [w], shape)


def depthwise(
    x, w, x_tensor, y_tensor, window, *, bias=None, residual=None, residual_tensor=None, code=-1, parameters=(0.0, 0.0), spare=0.0
):
    finish = epilogue(code, bias=bias is not None, residual=residual_tensor)
    attributes = depthwise_attributes(x_tensor, y_tensor, window, finish, parameters)
    r = None if residual is None else blocks.to_blocked(residual, residual_tensor, spare)
    inputs = [blocks.to_blocked(x, x_tensor, spare), pack(w), bias, r]
    return blocks.from_blocked(blocks.run("blocked_depthwise_output", attributes, inputs, y_tensor.shape), y_tensor)


def example(case, dtype):
    n, c, h, w, window = case
    x, weight = blocks.random((n, c, h, w), dtype), blocks.random((c, 1, *window.kernel), dtype, 1)
    return x, weight, blocks.random((c,), dtype, 2), window


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("more", [0, 2])
def test_output_is_the_plain_convolution(isa, case, dtype, more):
    x, w, bias, window = example(case, dtype)
    expected = conv(x, w, bias, **options(window), groups=x.shape[1])
    x_tensor, y_tensor = bordered(*x.shape, window, more), Blocked(*expected.shape, more, 1, 0, more)
    for spare in (0.0, 1e3):
        y = depthwise(x, w, x_tensor, y_tensor, window, bias=bias, spare=spare)
        np.testing.assert_allclose(y, expected, **tolerance(dtype))
    np.testing.assert_allclose(
        depthwise(x, w, x_tensor, y_tensor, window), conv(x, w, **options(window), groups=x.shape[1]), **tolerance(dtype)
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "parameters", "function"),
    [
        ("Relu", (0.0, 0.0), lambda v: np.maximum(v, 0)),
        ("Clip", (0.0, 0.75), lambda v: np.clip(v, 0, 0.75)),
        ("LeakyRelu", (0.25, 0.0), lambda v: np.where(v < 0, v / 4, v)),
        ("HardSwish", (0.0, 0.0), lambda v: v * np.clip(v + 3, 0, 6) / 6),
    ],
)
@pytest.mark.parametrize("has_residual", [False, True])
def test_epilogues(isa, dtype, name, parameters, function, has_residual):
    for case in (CASES[1], CASES[4], CASES[5]):
        x, w, bias, window = example(case, dtype)
        expected = conv(x, w, bias, **options(window), groups=x.shape[1])
        residual = blocks.random(expected.shape, dtype, 3) if has_residual else None
        r_tensor = Blocked(*expected.shape, 2, 0, 1, 3) if has_residual else None
        code = unary_attributes(name, 1).ints[0]
        y = depthwise(
            x, w, bordered(*x.shape, window), Blocked(*expected.shape, 1, 1, 1, 1), window,
            bias=bias, residual=residual, residual_tensor=r_tensor, code=code, parameters=parameters, spare=5.0,
        )  # fmt: skip
        np.testing.assert_allclose(y, function(expected + (residual if has_residual else 0)), **tolerance(dtype))


@pytest.mark.parametrize("name", ["Relu", "Clip"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_not_a_number_reaches_its_windows(isa, name, dtype):
    x, w, bias, window = example(CASES[0], dtype)
    x[0, 3, 4, 5] = np.nan
    y_tensor, code = Blocked(*x.shape), unary_attributes(name, 1).ints[0]
    y = depthwise(x, w, bordered(*x.shape, window), y_tensor, window, bias=bias, code=code, parameters=(0.0, 6.0))
    expected = np.zeros(x.shape, bool)
    expected[0, 3, 3:6, 4:7] = True
    np.testing.assert_array_equal(np.isnan(y), expected)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_input_gradient_is_the_plain_one(isa, case, dtype):
    x, w, _, window = example(case, dtype)
    dy = blocks.random(conv(x, w, **options(window), groups=x.shape[1]).shape, dtype, 3)
    expected = conv_input_grad(dy, w, x.shape[2:], **options(window), groups=x.shape[1])
    dx_tensor, dy_tensor = Blocked(*x.shape, 1, 0, 2, 3), Blocked(*dy.shape, 0, 2, 1, 0)
    attributes = depthwise_grad_attributes(dx_tensor, dy_tensor, window)
    inputs = [blocks.to_blocked(dy, dy_tensor, spare=50), pack(w)]
    dx = blocks.run("blocked_depthwise_input_grad", attributes, inputs, dx_tensor.shape)
    np.testing.assert_allclose(blocks.from_blocked(dx, dx_tensor), expected, **tolerance(dtype))
    if window.stride != (1, 1):
        return
    extents = [d * (k - 1) for d, k in zip(window.dilation, window.kernel, strict=True)]
    turned = replace(
        window,
        pad_lo=tuple(e - p for e, p in zip(extents, window.pad_lo, strict=True)),
        pad_hi=tuple(e - p for e, p in zip(extents, window.pad_hi, strict=True)),
    )
    dy_tensor = bordered(*dy.shape, turned)
    inputs = [blocks.to_blocked(dy, dy_tensor, spare=50), pack(w, gradient=True), None, None]
    dx = blocks.run("blocked_depthwise_output", depthwise_attributes(dy_tensor, dx_tensor, turned), inputs, dx_tensor.shape)
    np.testing.assert_allclose(blocks.from_blocked(dx, dx_tensor), expected, **tolerance(dtype))


X, Y, WINDOW = Blocked(1, 16, 8, 8, 1, 1, 1, 1), Blocked(1, 16, 8, 8), Window((3, 3), (1, 1), (1, 1), (1, 1))


@pytest.mark.parametrize(
    ("changes", "argument"),
    [
        ({"x": replace(X, top=0)}, "padding"),
        ({"x": replace(X, left=0)}, "padding"),
        ({"x": replace(X, bottom=0)}, "padding"),
        ({"x": replace(X, right=0)}, "padding"),
        ({"x": replace(X, n=2)}, "shape"),
        ({"x": replace(X, c=17)}, "shape"),
        ({"y": replace(Y, h=7)}, "shape"),
        ({"y": replace(Y, w=9)}, "shape"),
        ({"window": replace(WINDOW, kernel=(0, 3))}, "kernel"),
        ({"window": replace(WINDOW, kernel=(3, 11))}, "shape"),
        ({"window": replace(WINDOW, stride=(1, 0))}, "stride"),
        ({"window": replace(WINDOW, dilation=(0, 1))}, "dilation"),
        ({"window": replace(WINDOW, pad_lo=(-1, 1))}, "padding"),
        ({"finish": epilogue(1000)}, "op"),
        ({"finish": epilogue(residual=replace(Y, w=7))}, "shape"),
        ({"finish": (-1, 0)}, "attributes"),
        ({"finish": (-1, 0, 0, 0)}, "attributes"),
    ],
)
def test_what_does_not_fit_is_refused(changes, argument):
    attributes = depthwise_attributes(**{"x": X, "y": Y, "window": WINDOW, **changes})
    with pytest.raises(ValueError, match=argument):
        _core.operands("blocked_depthwise_output", "scalar", "f", attributes.ints, attributes.reals)


def test_operands():
    attributes = depthwise_attributes(X, Y, WINDOW, epilogue(bias=True, residual=replace(Y, top=2)))
    operands = _core.operands("blocked_depthwise_output", "scalar", "f", attributes.ints, attributes.reals)
    assert operands[0] == (10 * 10 * 16, 9 * 16, 16, 10 * 8 * 16)
    assert operands[1] == (8 * 8 * 16,)
    with pytest.raises(ValueError, match="shape"):
        _core.operands("blocked_depthwise_input_grad", "scalar", "f", depthwise_grad_attributes(X, replace(Y, h=9), WINDOW).ints, ())
    for ints, argument in (((0, 3, 3, 0), "shape"), ((4, 3, 0, 0), "kernel"), ((4, 3, 3, 2), "op"), ((4, 3, 3), "attributes")):
        with pytest.raises(ValueError, match=argument):
            _core.operands("blocked_depthwise_pack", "scalar", "f", ints, ())


def test_silu_is_exact_to_4_ulp_over_its_range(isa):
    rng = np.random.default_rng(0)
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 3e38, -3e38, -104.0, -150.0, 89.0]
    x = np.concatenate([np.linspace(-125, 100, 40000), rng.uniform(-3, 3, 8000), special, np.zeros(4)]).astype("float32")
    x = np.resize(x, (1, 16, 55, 55))
    w, tensor = np.ones((16, 1, 1, 1), "float32"), Blocked(1, 16, 55, 55)
    y = depthwise(x, w, tensor, tensor, Window((1, 1)), code=UNARY["Silu"]).ravel()
    x = x.ravel()
    wide = x.astype("float64")
    with np.errstate(over="ignore", invalid="ignore"):
        want = np.where(np.isneginf(wide), 0, np.where(wide < 0, wide * np.exp(wide) / (1 + np.exp(wide)), wide / (1 + np.exp(-wide))))
    normal = np.isfinite(wide)
    spacing = np.spacing(np.maximum(np.abs(want[normal]), 1e-45).astype("float32")).astype("float64")
    assert (np.abs(y[normal] - want[normal]) / spacing).max() <= 4
    np.testing.assert_array_equal(y[~normal], want[~normal])
