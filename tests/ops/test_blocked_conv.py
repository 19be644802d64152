"""Direct convolution of blocked tensors against the plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from ops.blocks import from_blocked, to_blocked
from seeds import seeds

from gradcam import _core
from gradcam.ops import _call
from gradcam.ops.blocked import BLOCK, Blocked, Window, conv_attributes, epilogue
from gradcam.ops.conv import conv, conv_output_shape
from gradcam.ops.conv import conv_attributes as plain_attributes
from gradcam.ops.unary import UNARY

SPARE = 7.5  # what readers must not let through


def geometry(seed, *, groups=None):
    """A convolution that fits: (shape of x, shape of w, window options)."""
    rng = np.random.default_rng(seed)
    groups = int(rng.choice([1, 1, 1, 2, 4])) if groups is None else groups
    if groups == 1:
        c, k = (int(rng.choice([1, 3, 16, 24, 32, 40, 64, 100])) for _ in range(2))
    else:
        c, k = (groups * int(rng.choice([16 // groups, 16, 32, 48])) for _ in range(2))
    kernel = tuple(int(n) for n in rng.integers(1, 5, 2))
    stride = tuple(int(n) for n in rng.integers(1, 4, 2))
    dilation = tuple(int(n) for n in rng.integers(1, 3, 2))
    lo, hi = (tuple(int(rng.integers(0, d * (n - 1) + 1)) for n, d in zip(kernel, dilation, strict=True)) for _ in range(2))
    size = tuple(int(n) for n in rng.integers(8, 33, 2))
    return (int(rng.integers(1, 3)), c, *size), (k, c // groups, *kernel), stride, lo, hi, dilation, groups


def border(first, last, size):
    return max(0, -first), max(0, last - (size - 1))


def forward(
    x, w, bias, stride, lo, hi, dilation, groups, *, finish=None, residual=None, extra=(0, 0, 0, 0), alpha=0.0, beta=0.0, workers=1
):
    """y by the blocked kernel, with `extra` border around what is needed."""
    shape = conv_output_shape(x.shape, w.shape, stride=stride, pad_lo=lo, pad_hi=hi, dilation=dilation)
    ends = [
        border(-a, -a + (n - 1) * s + d * (k - 1), size)
        for a, n, s, d, k, size in zip(lo, shape[2:], stride, dilation, w.shape[2:], x.shape[2:], strict=True)
    ]
    t, left, b, r = extra
    source = Blocked(*x.shape, ends[0][0] + t, ends[1][0] + left, ends[0][1] + b, ends[1][1] + r)
    result, other = Blocked(*shape, *extra), Blocked(*shape, 1, 0, 2, 1)
    finish = epilogue(-1 if finish is None else UNARY[finish], bias=bias is not None, residual=None if residual is None else other)
    attributes = conv_attributes(source, result, Window(w.shape[2:], stride, lo, hi, dilation), finish, (alpha, beta), groups=groups)
    return run(
        attributes, to_blocked(x, source, SPARE), w, bias, None if residual is None else to_blocked(residual, other, SPARE), result, workers
    )


def run(attributes, source, w, bias, residual, result, workers):
    count = _core.operands("blocked_conv_pack", _call.isa, w.dtype.char, attributes.ints, attributes.reals)[1][0]
    (packed,) = _call.call("blocked_conv_pack", attributes, [w], [(count,)])
    y = np.full(result.shape, np.nan, w.dtype)
    inputs = (source, packed, bias, residual)
    _core.call("blocked_conv_output", _call.isa, w.dtype.char, attributes.ints, attributes.reals, inputs, (y,), workers)
    return from_blocked(y, result)


def gradient(dy, w, x_shape, stride, lo, hi, dilation, groups, workers=1):
    """dx by the blocked kernel; the border of dy covers what any class of pixels reads."""
    source = Blocked(
        *dy.shape,
        *(int(np.ceil((k - 1) * d / s)) + 2 + a for k, d, s, a in zip(w.shape[2:], dilation, stride, lo, strict=True)),
        *(int(a) + 9 for a in (0, 0)),
    )
    result = Blocked(*x_shape, 0, 1, 0, 1)
    attributes = conv_attributes(source, result, Window(w.shape[2:], stride, lo, hi, dilation), groups=groups, gradient=True)
    return run(attributes, to_blocked(dy, source, SPARE), w, None, None, result, workers)


def naive(x, w, bias, stride, lo, hi, dilation, groups):
    options = {"stride": stride, "pad_lo": lo, "pad_hi": hi, "dilation": dilation}
    attributes = plain_attributes(x.shape, w.shape, **options, groups=groups, has_bias=bias is not None)
    return _call.call("conv_output_naive", attributes, [x, w, bias], [conv_output_shape(x.shape, w.shape, **options)])[0]


def naive_grad(dy, w, x_shape, stride, lo, hi, dilation, groups):
    options = {"stride": stride, "pad_lo": lo, "pad_hi": hi, "dilation": dilation}
    attributes = plain_attributes(x_shape, w.shape, **options, groups=groups, has_bias=False, gradient=True)
    return _call.call("conv_input_grad_naive", attributes, [dy, w], [x_shape])[0]


def integers(shape, dtype, seed=0):
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


@pytest.mark.parametrize("seed", seeds(40))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_small_integers_are_exact(isa, seed, dtype):
    shape, w_shape, *window = geometry(seed)
    x, w, bias = integers(shape, dtype), integers(w_shape, dtype, 1), integers(w_shape[:1], dtype, 2) if seed % 3 else None
    y = forward(x, w, bias, *window, extra=(seed % 2, seed % 3, 1, 0), workers=seed % 4 + 1)
    np.testing.assert_array_equal(y, naive(x, w, bias, *window))


@pytest.mark.parametrize(("channels", "kernel"), [(200, (3, 3)), (196, (3, 3)), (1160, (1, 1)), (1153, (1, 1)), (105, (5, 5))])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_in_several_parts_whose_last_block_is_not_full(isa, channels, kernel, dtype):
    """Weights of so many channels do not stay close together: only the last part may leave lanes out."""
    pad = tuple(n // 2 for n in kernel)
    window = ((1, 1), pad, pad, (1, 1), 1)
    x, w = integers((1, channels, 9, 8), dtype), integers((24, channels, *kernel), dtype, 1)
    np.testing.assert_array_equal(forward(x, w, None, *window, workers=2), naive(x, w, None, *window))
    turned = np.ascontiguousarray(w.swapaxes(0, 1))
    dx = gradient(x, turned, (1, 24, 9, 8), *window, workers=2)
    np.testing.assert_array_equal(dx, naive_grad(x, turned, (1, 24, 9, 8), *window))


@pytest.mark.parametrize("seed", seeds(40))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradient_on_small_integers_is_exact(isa, seed, dtype):
    shape, w_shape, stride, lo, hi, dilation, groups = geometry(seed)
    w = integers(w_shape, dtype, 1)
    dy = integers(conv_output_shape(shape, w_shape, stride=stride, pad_lo=lo, pad_hi=hi, dilation=dilation), dtype)
    dx = gradient(dy, w, shape, stride, lo, hi, dilation, groups, workers=seed % 4 + 1)
    np.testing.assert_array_equal(dx, naive_grad(dy, w, shape, stride, lo, hi, dilation, groups))


@pytest.mark.parametrize("stride", [(9, 2), (50, 50), (10**6, 10**6)])
@pytest.mark.parametrize("size", [(8, 8), (3, 20)])
def test_strides_longer_than_the_picture(isa, stride, size):
    shape, w = (1, 32, *size), integers((48, 32, 2, 3), "float32", 1)
    window = (stride, (1, 0), (0, 2), (1, 1), 1)
    x = integers(shape, "float32")
    dy = integers(conv_output_shape(shape, w.shape, stride=stride, pad_lo=(1, 0), pad_hi=(0, 2), dilation=(1, 1)), "float32", 2)
    np.testing.assert_array_equal(forward(x, w, None, *window), naive(x, w, None, *window))
    np.testing.assert_array_equal(gradient(dy, w, shape, *window, workers=2), naive_grad(dy, w, shape, *window))


WINDOW = ((1, 1), (1, 1), (1, 1), (1, 1), 1)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 14, 15])
@pytest.mark.parametrize("height", [1, 2, 3, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_all_tile_edges(isa, width, height, stride):
    x, w = integers((1, 32, height, width), "float32"), integers((48, 32, 3, 3), "float32", 1)
    window = ((stride, stride), *WINDOW[1:])
    np.testing.assert_array_equal(forward(x, w, None, *window), naive(x, w, None, *window))


@pytest.mark.parametrize("name", [None, "Relu", "Clip", "Sigmoid", "HardSwish", "LeakyRelu", "Silu"])
@pytest.mark.parametrize("with_residual", [False, True])
def test_epilogue(isa, name, with_residual):
    rng = np.random.default_rng(3)
    x, w, bias = (rng.standard_normal(s).astype("float32") for s in ((1, 20, 9, 11), (40, 20, 3, 3), (40,)))
    residual = rng.standard_normal((1, 40, 9, 11)).astype("float32") if with_residual else None
    alpha, beta = {"Clip": (-2.0, 3.0), "LeakyRelu": (0.1, 0.0)}.get(name, (0.0, 0.0))
    y = forward(x, w, bias, *WINDOW, finish=name, residual=residual, alpha=alpha, beta=beta)
    z = conv(x.astype("float64"), w.astype("float64"), bias.astype("float64"), padding=1) + (0 if residual is None else residual)
    want = {
        None: lambda z: z,
        "Relu": lambda z: np.maximum(z, 0),
        "Clip": lambda z: np.clip(z, -2, 3),
        "Sigmoid": lambda z: 1 / (1 + np.exp(-z)),
        "Silu": lambda z: z / (1 + np.exp(-z)),
        "HardSwish": lambda z: z * np.clip(z + 3, 0, 6) / 6,
        "LeakyRelu": lambda z: np.where(z < 0, 0.1 * z, z),
    }[name](z)
    np.testing.assert_allclose(y, want, rtol=2e-6, atol=3e-6 * np.abs(z).max())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_same_bits_for_any_number_of_workers(isa, dtype):
    rng = np.random.default_rng(5)
    x, w = rng.standard_normal((1, 96, 30, 17)).astype(dtype), rng.standard_normal((72, 96, 3, 3)).astype(dtype)
    first = forward(x, w, None, *WINDOW)
    for workers in (2, 3, 4, 7):
        np.testing.assert_array_equal(forward(x, w, None, *WINDOW, workers=workers), first)


def test_rounding_stays_within_its_bound(isa):
    rng = np.random.default_rng(6)
    x, w = rng.standard_normal((1, 256, 14, 14)), rng.standard_normal((64, 256, 3, 3))
    want = conv(x, w, padding=1)
    error = np.abs(
        forward(x.astype("float32"), w.astype("float32"), None, *WINDOW)
        - conv(x.astype("float32").astype("float64"), w.astype("float32").astype("float64"), padding=1)
    )
    assert error.max() <= 2e-6 * np.abs(want).max()


def test_nan_reaches_its_windows_and_no_other(isa):
    x, w = integers((1, 16, 6, 6), "float32"), np.ones((16, 16, 3, 3), "float32")
    x[0, 3, 2, 2] = np.nan
    y = forward(x, w, None, *WINDOW, finish="Relu")
    assert np.isnan(y[0, :, 1:4, 1:4]).all()
    assert np.isfinite(np.delete(y[0].reshape(16, -1), [6 * i + j for i in (1, 2, 3) for j in (1, 2, 3)], axis=1)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_relu_in_registers_keeps_negative_zero(isa, dtype):
    x, w, bias = np.full((1, 16, 3, 5), -1, dtype), np.zeros((16, 16, 1, 1), dtype), np.full(16, -0.0, dtype)
    y = forward(x, w, bias, (1, 1), (0, 0), (0, 0), (1, 1), 1, finish="Relu")
    assert not y.any()
    assert np.signbit(y).all()


SOURCE, RESULT = Blocked(1, 32, 8, 8, 1, 1, 1, 1), Blocked(1, 32, 8, 8)


def bad(source=SOURCE, result=RESULT, finish=None, groups=1, kernel=(3, 3), pad=(1, 1), **window):
    return conv_attributes(source, result, Window(kernel, pad_lo=pad, pad_hi=(1, 1), **window), finish, groups=groups)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"source": Blocked(1, 32, 8, 8)}, "padding"),
        ({"source": Blocked(1, 32, 8, 8, 1, 1, 1, 0)}, "padding"),
        ({"pad": (-1, 1)}, "padding"),
        ({"stride": (0, 1)}, "stride"),
        ({"dilation": (1, 0)}, "dilation"),
        ({"kernel": (0, 3)}, "kernel"),
        ({"kernel": (2**40, 2**40)}, "fits into memory"),
        ({"groups": 3}, "groups"),
        ({"groups": 32, "source": Blocked(1, 32, 8, 8, 1, 1, 1, 1), "result": Blocked(1, 96, 8, 8)}, None),
        ({"result": Blocked(2, 32, 8, 8)}, "shape"),
        ({"result": Blocked(1, 32, 8, 0)}, "shape"),
        ({"finish": (999, 0, 0)}, "op"),
        ({"finish": epilogue(residual=Blocked(1, 16, 8, 8))}, "shape"),
        ({"finish": (-1, 2, 0)}, "op"),
    ],
)
def test_bad_geometry_is_refused(changes, words):
    a = bad(**changes)
    if words is None:
        _core.operands("blocked_conv_output", _call.isa, "f", a.ints, a.reals)
        return
    with pytest.raises((ValueError, OverflowError, MemoryError), match=words):
        _core.operands("blocked_conv_output", _call.isa, "f", a.ints, a.reals)


def test_channels_that_make_no_whole_blocks_are_refused():
    a = bad(groups=3, source=Blocked(1, 15, 8, 8, 1, 1, 1, 1), result=Blocked(1, 15, 8, 8))
    with pytest.raises(ValueError, match="groups"):
        _core.operands("blocked_conv_output", _call.isa, "f", a.ints, a.reals)
    assert BLOCK == 16
