"""Winograd kernels on blocked tensors against the direct convolution in float64."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from ops.blocks import from_blocked, to_blocked
from reference import conv as reference

from gradcam import _core
from gradcam.ops import _call
from gradcam.ops.blocked import BLOCK, Blocked, epilogue, winograd_attributes, winograd_border, winograd_pack_attributes
from gradcam.ops.conv import conv_input_grad
from gradcam.ops.unary import UNARY

BOUND = {"float32": 3e-6, "float64": 8e-15}
DTYPES = list(BOUND)
REACH = 3e38  # of a spare lane: its square, and its multiples, overflow in float32


def normal(shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def kernel(name, attributes, inputs, workers=1):
    """Flat output, full of NaN before the kernel writes it."""
    dtype = inputs[0].dtype
    (elements,) = _core.operands(name, _call.isa, dtype.char, attributes.ints, attributes.reals)[1]
    y = np.full(elements, np.nan, dtype)
    _core.call(name, _call.isa, dtype.char, attributes.ints, attributes.reals, tuple(inputs), (y,), workers)
    return y


def pack(w, *, gradient=False, workers=1):
    return kernel("blocked_winograd_pack", winograd_pack_attributes(*w.shape[:2], gradient=gradient), [w], workers)


def input_tensor(shape, size, pad, extra=(0, 0, 0, 0)):
    """Blocked tensor of x (N, C, H, W) with the border that an output of `size` reads, and more."""
    (top, bottom), (left, right) = (winograd_border(n, out, p) for n, out, p in zip(shape[2:], size, pad, strict=True))
    return Blocked(*shape, *(a + b for a, b in zip((top, left, bottom, right), extra, strict=True)))


def winograd(
    x,
    w,
    size,
    pad,
    *,
    gradient=False,
    bias=None,
    residual=None,
    op=None,
    alpha=0.0,
    beta=0.0,
    workers=1,
    extra=(0, 0, 0, 0),
    out=(0, 0, 0, 0),
):
    """The convolution by the kernels; `residual` is a pair of an array and the border of its tensor."""
    tensor = input_tensor(x.shape, size, pad, extra)
    y = Blocked(x.shape[0], w.shape[1 if gradient else 0], *size, *out)
    beside = None if residual is None else Blocked(y.n, y.c, y.h, y.w, *residual[1])
    code = -1 if op is None else UNARY[op]
    attributes = winograd_attributes(tensor, y, pad, epilogue(code, bias=bias is not None, residual=beside), (alpha, beta))
    added = None if residual is None else to_blocked(residual[0], beside, 7.0)
    inputs = [to_blocked(x, tensor, REACH), pack(w, gradient=gradient), bias, added]
    return from_blocked(kernel("blocked_winograd_output", attributes, inputs, workers), y)


def direct(x, w, size, pad):
    """The sum itself in float64: y[i] = sum of w[r] x[i + r - pad], 0 outside x."""
    x, w = np.asarray(x, np.float64), np.asarray(w, np.float64)
    wide = np.zeros((*x.shape[:2], *(max(n + p, out + 2) for n, p, out in zip(x.shape[2:], pad, size, strict=True))))
    wide[:, :, pad[0] : pad[0] + x.shape[2], pad[1] : pad[1] + x.shape[3]] = x
    y = np.zeros((x.shape[0], w.shape[0], *size))
    for i, j in np.ndindex(3, 3):
        y += np.einsum("nchw,kc->nkhw", wide[:, :, i : i + size[0], j : j + size[1]], w[:, :, i, j], optimize=True)
    return y


def flipped(w):
    return w[:, :, ::-1, ::-1].swapaxes(0, 1)


def largest(channels):
    """About the largest of many sums of 9 products of normal numbers per channel: a few outputs need not have it."""
    return 4 * np.sqrt(9 * channels)


def near(y, expected, dtype, scale=None):
    assert y.dtype == dtype
    assert y.shape == expected.shape
    error = np.abs(y - expected).max() / np.abs(expected if scale is None else scale).max()
    assert error <= BOUND[dtype], error


# n, c, k, height, width, output, pad, extra border of x, border of y
CASES = [
    (1, 1, 1, 1, 1, (1, 1), (1, 1), (0, 0, 0, 0), (0, 0, 0, 0)),
    (1, 16, 32, 4, 4, (4, 4), (1, 1), (0, 0, 0, 0), (0, 0, 0, 0)),
    (1, 17, 33, 5, 9, (5, 9), (1, 1), (0, 0, 0, 0), (1, 1, 1, 1)),
    (2, 5, 50, 14, 14, (14, 14), (1, 1), (1, 2, 3, 4), (1, 2, 3, 4)),
    (3, 48, 20, 7, 3, (5, 1), (0, 0), (0, 0, 0, 0), (0, 1, 5, 0)),
    (1, 40, 70, 13, 30, (15, 32), (2, 2), (2, 0, 0, 1), (2, 2, 2, 2)),
    (1, 31, 16, 40, 37, (39, 38), (0, 2), (0, 0, 0, 0), (0, 0, 0, 0)),
    (2, 33, 300, 6, 6, (6, 7), (2, 0), (0, 3, 1, 0), (0, 0, 1, 1)),
    (1, 3, 4, 1, 40, (1, 40), (1, 1), (0, 0, 0, 0), (1, 0, 0, 1)),
    (1, 3, 4, 9, 9, (3, 17), (0, 1), (0, 0, 0, 0), (0, 0, 0, 0)),  # fewer and more outputs than inputs
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values(isa, case, dtype):
    n, c, k, h, wide, size, pad, extra, out = case
    x, w = normal((n, c, h, wide), dtype), normal((k, c, 3, 3), dtype, 1)
    near(winograd(x, w, size, pad, extra=extra, out=out), direct(x, w, size, pad), dtype, largest(c))


def random_case(seed):
    generator = np.random.default_rng(seed)
    h, wide, c, k = (int(v) for v in generator.integers((1, 1, 16, 1), (41, 41, 80, 100)))
    lo, hi = generator.integers(0, 3, (2, 2))
    size = tuple(max(int(n + a + b) - 2, 1) for n, a, b in zip((h, wide), lo, hi, strict=True))
    extra, out = generator.integers(0, 4, (2, 4))
    return int(generator.integers(1, 3)), c, k, h, wide, size, tuple(map(int, lo)), tuple(map(int, extra)), tuple(map(int, out))


@pytest.mark.parametrize("dtype", DTYPES)
def test_random_shapes_forward_and_gradient(isa, dtype):
    for seed in range(25):
        n, c, k, h, wide, size, pad, extra, out = random_case(seed)
        x, w = normal((n, c, h, wide), dtype, seed), normal((k, c, 3, 3), dtype, seed + 1)
        near(winograd(x, w, size, pad, extra=extra, out=out), direct(x, w, size, pad), dtype, largest(c))
        dy = normal((n, k, *size), dtype, seed + 2)
        back = (2 - pad[0], 2 - pad[1])
        expected = direct(dy, flipped(w), (h, wide), back)
        near(winograd(dy, w, (h, wide), back, gradient=True), expected, dtype, largest(k))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("channels", "filters", "size"), [(64, 64, 28), (256, 256, 14), (512, 64, 14)])
def test_error_stays_within_its_bound_for_many_channels(isa, channels, filters, size, dtype):
    x, w = normal((1, channels, size, size), dtype), normal((filters, channels, 3, 3), dtype, 1)
    near(winograd(x, w, (size, size), (1, 1)), direct(x, w, (size, size), (1, 1)), dtype)


def test_the_direct_sum_is_the_reference():
    x, w = normal((2, 3, 6, 7)), normal((4, 3, 3, 3), seed=1)
    geometry = reference.Conv((1, 1), ((1, 2), (0, 1)), (1, 1), 1)
    expected = reference.conv(x, w, None, geometry)
    np.testing.assert_allclose(direct(x, w, expected.shape[2:], (1, 0)), expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("padding", [(0, 0), (1, 1), (2, 2), (0, 2)])
def test_gradient_is_that_of_the_plain_convolution(isa, padding):
    x_size, k, c = (11, 6), 19, 21
    size = tuple(n + 2 * p - 2 for n, p in zip(x_size, padding, strict=True))
    w, dy = normal((k, c, 3, 3)), normal((2, k, *size), seed=1)
    expected = conv_input_grad(dy, w, x_size, padding=padding)
    geometry = reference.Conv((1, 1), tuple((p, p) for p in padding), (1, 1), 1)
    np.testing.assert_allclose(expected, reference.conv_input_grad(dy, w, (2, c, *x_size), geometry), rtol=1e-12, atol=1e-12)
    near(winograd(dy, w, x_size, tuple(2 - p for p in padding), gradient=True), expected, "float64")


# --- epilogue

ACTIVATIONS = {
    "Relu": (0.0, 0.0, lambda v: np.maximum(v, 0)),
    "Clip": (-1.5, 6.0, lambda v: np.clip(v, -1.5, 6)),
    "LeakyRelu": (0.25, 0.0, lambda v: np.where(v < 0, 0.25 * v, v)),
    "Sigmoid": (0.0, 0.0, lambda v: 1 / (1 + np.exp(-v))),
    "HardSwish": (0.0, 0.0, lambda v: v * np.clip(v + 3, 0, 6) / 6),
    "Softplus": (0.0, 0.0, lambda v: np.logaddexp(v, 0)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", [None, *ACTIVATIONS])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("has_residual", [False, True])
def test_epilogue(isa, dtype, op, has_bias, has_residual):
    x, w = normal((2, 20, 6, 9), dtype), normal((37, 20, 3, 3), dtype, 1) / np.sqrt(np.array(20, dtype))
    size = (6, 9)
    bias = normal((37,), dtype, 2) if has_bias else None
    r = normal((2, 37, *size), dtype, 3) if has_residual else None
    alpha, beta, function = ACTIVATIONS.get(op, (0.0, 0.0, lambda v: v))
    sums = direct(x, w, size, (1, 1))
    total = sums + (bias[:, None, None] if has_bias else 0) + (r if has_residual else 0)
    residual = (r, (2, 0, 1, 3)) if has_residual else None
    y = winograd(x, w, size, (1, 1), bias=bias, residual=residual, op=op, alpha=alpha, beta=beta, out=(1, 1, 2, 2))
    near(y, function(total), dtype, np.abs(sums))


def test_the_residual_may_be_the_output(isa):
    x, w, r = normal((1, 20, 10, 9)), normal((35, 20, 3, 3), seed=1), normal((1, 35, 10, 9), seed=2)
    tensor, y = input_tensor(x.shape, (10, 9), (1, 1)), Blocked(1, 35, 10, 9, 1, 1, 1, 1)
    attributes = winograd_attributes(tensor, y, (1, 1), epilogue(UNARY["Relu"], residual=y))
    held = to_blocked(r, y)
    inputs = (to_blocked(x, tensor), pack(w), None, held)
    expected = kernel("blocked_winograd_output", attributes, inputs)
    _core.call("blocked_winograd_output", _call.isa, "d", attributes.ints, attributes.reals, inputs, (held,), 3)
    np.testing.assert_array_equal(held.ravel(), expected)


# --- determinism


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 20, 70, 14, 14), (1, 16, 16, 40, 33), (3, 17, 40, 9, 5), (1, 8, 200, 3, 3), (1, 64, 8, 7, 7)])
def test_same_bits_for_any_number_of_workers(isa, dtype, shape):
    n, c, k, h, wide = shape
    x, w = normal((n, c, h, wide), dtype), normal((k, c, 3, 3), dtype, 1)
    bias, r = normal((k,), dtype, 2), normal((n, k, h, wide), dtype, 3)
    options = {"bias": bias, "residual": (r, (0, 0, 0, 0)), "op": "Relu", "out": (1, 1, 3, 3)}
    one = winograd(x, w, (h, wide), (1, 1), **options)
    for workers in (2, 3, 4, 9):
        assert winograd(x, w, (h, wide), (1, 1), workers=workers, **options).tobytes() == one.tobytes()
        for gradient in (False, True):
            assert pack(w, gradient=gradient, workers=workers).tobytes() == pack(w, gradient=gradient).tobytes()


def test_same_bits_for_a_picture_alone_and_in_a_batch(isa):
    x, w = normal((5, 18, 10, 13), "float32"), normal((20, 18, 3, 3), "float32", 1)
    together = winograd(x, w, (10, 13), (1, 1))
    for i in range(5):
        assert winograd(x[i : i + 1], w, (10, 13), (1, 1)).tobytes() == together[i : i + 1].tobytes()


# --- what is not finite


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_stays_within_the_tiles_that_read_it_and_does_not_vanish(isa, dtype, value):
    x, w = normal((1, 18, 11, 14), dtype), normal((20, 18, 3, 3), dtype, 1)
    expected = direct(x, w, (11, 14), (1, 1))
    for row, column in [(0, 0), (4, 3), (5, 8), (7, 12), (10, 13)]:
        poisoned = x.copy()
        poisoned[0, 17, row, column] = value
        y = winograd(poisoned, w, (11, 14), (1, 1))
        lost = ~np.isfinite(y)
        readers = np.zeros((11, 14), bool)
        readers[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = True
        assert lost[:, :, readers].all()
        tiles = np.zeros((12, 16), bool)
        for i, j in zip(*np.nonzero(readers), strict=True):
            tiles[i // 4 * 4 : i // 4 * 4 + 4, j // 4 * 4 : j // 4 * 4 + 4] = True
        assert not lost[:, :, ~tiles[:11, :14]].any()
        near(np.where(lost, 0, y), np.where(lost, 0, expected), dtype)


@pytest.mark.parametrize("op", ["Relu", "Clip"])
def test_nan_of_bias_and_residual_is_kept(isa, op):
    x, w, bias, r = normal((1, 3, 5, 5)), normal((4, 3, 3, 3), seed=1), np.zeros(4), np.zeros((1, 4, 5, 5))
    bias[1], r[0, 2, 3, 3] = np.nan, np.nan
    y = winograd(x, w, (5, 5), (1, 1), bias=bias, residual=(r, (0, 0, 0, 0)), op=op, alpha=-1.0, beta=1.0)
    expected = np.zeros(y.shape, bool)
    expected[0, 1], expected[0, 2, 3, 3] = True, True
    np.testing.assert_array_equal(np.isnan(y), expected)


# --- packed weights


@pytest.mark.parametrize("gradient", [False, True])
def test_packed_weights(isa, gradient):
    """Each packed number is one of G g G^T, each of them occurs, what is left is zero."""
    points = (0, 0.75, -0.75, 1.5, -1.5)
    g = np.array([[p**i / np.prod([p - q for q in points if q != p]) for i in range(3)] for p in points] + [[0, 0, 1]])
    w = normal((21, 35, 3, 3))
    rows = flipped(w) if gradient else w
    u = np.einsum("ai,rcij,bj->abrc", g, rows, g).reshape(36, *rows.shape[:2])
    packed = pack(w, gradient=gradient).reshape(36, -1)
    assert packed.shape[1] == -(-rows.shape[0] // 32) * 32 * -(-rows.shape[1] // BLOCK) * BLOCK
    for point in range(36):
        np.testing.assert_allclose(np.sort(packed[point][packed[point] != 0]), np.sort(u[point].ravel()), rtol=1e-13, atol=1e-15)


# --- bad input

TOO_LARGE = "expected a size that fits into memory"
X, Y = Blocked(1, 3, 6, 9, 1, 1, 3, 4), Blocked(1, 5, 6, 9)


def refused(text, name, attributes):
    with pytest.raises(MemoryError if text == TOO_LARGE else ValueError, match=text):
        _core.operands(name, _call.isa, "f", attributes.ints, attributes.reals)


@pytest.mark.parametrize(
    ("ints", "text"),
    [
        ((0, 3, 0), "shape: expected sizes of at least 1"),
        ((3, -1, 0), "shape: expected sizes of at least 1"),
        ((3, 3, 2), "op: expected a known operator code"),
        ((3, 3), "attributes: expected another number"),
        ((3, 3, 0, 0), "attributes: expected another number"),
        ((1 << 40, 1 << 40, 0), TOO_LARGE),
        ((1 << 62, 1, 0), TOO_LARGE),
        ((1 << 31, 1 << 28, 0), TOO_LARGE),
    ],
)
def test_pack_refuses(ints, text):
    refused(text, "blocked_winograd_pack", _call.Attributes(ints))


@pytest.mark.parametrize(
    ("x", "y", "pad", "text"),
    [
        (X, dataclasses.replace(Y, n=2), (1, 1), "shape: expected sizes"),
        (dataclasses.replace(X, c=0), Y, (1, 1), "shape: expected sizes"),
        (X, dataclasses.replace(Y, w=0), (1, 1), "shape: expected sizes"),
        (X, Y, (-1, 1), "padding: "),
        (X, Y, (1, -1), "padding: "),
        (dataclasses.replace(X, top=0), Y, (1, 1), "padding: "),
        (dataclasses.replace(X, left=0), Y, (1, 1), "padding: "),
        (dataclasses.replace(X, bottom=2), Y, (1, 1), "padding: "),
        (dataclasses.replace(X, right=3), Y, (1, 1), "padding: "),
        (X, dataclasses.replace(Y, h=9), (1, 1), "padding: "),
        (X, dataclasses.replace(Y, w=13), (1, 1), "padding: "),
        (dataclasses.replace(X, bottom=-1), Y, (1, 1), "padding: "),
        (X, dataclasses.replace(Y, c=1 << 60), (1, 1), TOO_LARGE),
        (dataclasses.replace(X, h=1 << 60), Y, (1, 1), TOO_LARGE),
        (dataclasses.replace(X, c=1 << 45), dataclasses.replace(Y, c=1 << 45), (1, 1), TOO_LARGE),
        (X, Y, (1 << 62, 1), "padding: "),
    ],
)
def test_output_refuses_shapes(x, y, pad, text):
    refused(text, "blocked_winograd_output", winograd_attributes(x, y, pad))


def test_output_accepts_the_least_border():
    assert winograd_border(6, 6, 1) == (X.top, X.bottom)
    assert winograd_border(9, 9, 1) == (X.left, X.right)
    attributes = winograd_attributes(X, Y, (1, 1), epilogue(bias=True, residual=Y))
    inputs, outputs = _core.operands("blocked_winograd_output", _call.isa, "f", *attributes)
    assert inputs == (10 * 14 * 16, 36 * 32 * 16, 5, 6 * 9 * 16)
    assert outputs == (6 * 9 * 16,)


def test_output_refuses_attributes():
    name, good = "blocked_winograd_output", winograd_attributes(X, Y, (1, 1))
    refused("op: ", name, winograd_attributes(X, Y, (1, 1), epilogue(len(UNARY))))
    refused("op: ", name, winograd_attributes(X, Y, (1, 1), epilogue(-2)))
    refused("shape: ", name, winograd_attributes(X, Y, (1, 1), epilogue(residual=dataclasses.replace(Y, c=6))))
    refused("attributes: ", name, _call.Attributes(good.ints[:-1], good.reals))
    refused("attributes: ", name, _call.Attributes((*good.ints, 0), good.reals))
    refused("attributes: ", name, _call.Attributes(good.ints, good.reals[:1]))


@pytest.mark.parametrize("absent", [0, 1, 2, 3])
def test_output_refuses_arrays_of_another_size(absent):
    attributes = winograd_attributes(X, Y, (1, 1), epilogue(bias=True, residual=Y))
    sizes = _core.operands("blocked_winograd_output", _call.isa, "f", *attributes)[0]
    inputs = [np.zeros(size - (i == absent), "float32") for i, size in enumerate(sizes)]
    with pytest.raises(ValueError, match=f"inputs: expected an array of {sizes[absent]} elements, got {sizes[absent] - 1}"):
        kernel("blocked_winograd_output", attributes, inputs)
