"""Pooling of blocked tensors against the plain kernels."""

from dataclasses import replace

import numpy as np
import pytest
from ops import blocks
from seeds import seeds

from gradcam import _core
from gradcam.ops import _call, pool
from gradcam.ops.blocked import MOST_TAPS, Blocked, Window, index_shape, max_pool_grad_attributes, pool_attributes

DTYPES = ["float32", "float64"]

# n, c, h, w, window, ceil_mode
CASES = [
    (1, 16, 8, 8, Window((2, 2), (2, 2)), False),
    (2, 21, 16, 27, Window((3, 3), (2, 2), (1, 1), (1, 1)), False),
    (1, 40, 9, 11, Window((3, 3), (1, 1), (1, 1), (1, 1)), False),
    (1, 33, 7, 10, Window((3, 2), (2, 3), (1, 0), (0, 1)), True),
    (2, 5, 10, 12, Window((3, 3), (2, 1), (2, 1), (3, 4), (2, 3)), False),
    (1, 18, 6, 5, Window((2, 2), (3, 3)), True),  # the last window is dropped along one axis
    (1, 16, 2, 2, Window((3, 3), (2, 2)), True),  # every window is cut
    (1, 16, 1, 1, Window((2, 2), (1, 1), (2, 2), (2, 1), (3, 3)), False),  # windows without any cell
    (3, 17, 5, 7, Window((5, 7)), False),
    (1, 16, 4, 4, Window((1, 1), (3, 2)), False),
    (1, 64, 13, 13, Window((3, 3), (2, 2)), True),
]


def options(window, ceil_mode, **more):
    pads = [tuple(pair) for pair in zip(window.pad_lo, window.pad_hi, strict=True)]
    return {"stride": window.stride, "padding": pads, "dilation": window.dilation, "ceil_mode": ceil_mode, **more}


def tolerance(dtype):
    return {"rtol": 1e-12, "atol": 1e-12} if dtype == "float64" else {"rtol": 1e-5, "atol": 1e-6}


def steps(shape, dtype, seed=0):
    """Small integers: many ties."""
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(dtype)


def pooled(kernel, x, y_shape, window, **more):
    x_tensor, y_tensor = Blocked(*x.shape, 1, 2, 0, 3), Blocked(*y_shape, 2, 0, 1, 1)
    inputs = [blocks.to_blocked(x, x_tensor, spare=1e3)]
    return blocks.from_blocked(blocks.run(kernel, pool_attributes(x_tensor, y_tensor, window, **more), inputs, y_tensor.shape), y_tensor)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_max_pool_is_the_plain_one(isa, case, dtype):
    *shape, window, ceil_mode = case
    x = blocks.random(shape, dtype)
    x.flat[:: x.size // 7 + 1] = np.nan
    expected = pool.max_pool(x, window.kernel, **options(window, ceil_mode))
    y = pooled("blocked_max_pool_output", x, expected.shape, window, ceil_mode=ceil_mode)
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count_include_pad", [False, True])
def test_average_pool_is_the_plain_one(isa, case, dtype, count_include_pad):
    *shape, window, ceil_mode = case
    more = {"ceil_mode": ceil_mode, "count_include_pad": count_include_pad}
    x = blocks.random(shape, dtype)
    expected = pool.average_pool(x, window.kernel, **options(window, **more))
    y = pooled("blocked_average_pool_output", x, expected.shape, window, **more)
    np.testing.assert_allclose(y, expected, **tolerance(dtype))
    x.flat[x.size // 2] = np.nan
    y = pooled("blocked_average_pool_output", x, expected.shape, window, **more)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(pool.average_pool(x, window.kernel, **options(window, **more))))


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_max_pool_gradient_is_the_plain_one(isa, case, dtype):
    *shape, window, ceil_mode = case
    x = steps(shape, dtype)
    x.flat[:: x.size // 7 + 1] = np.nan
    x[:, 1 % shape[1]] = -np.inf
    dy = blocks.random(pool.max_pool(x, window.kernel, **options(window, ceil_mode)).shape, dtype, 1)
    expected = pool.max_pool_input_grad(x, dy, window.kernel, **options(window, ceil_mode))
    x_tensor, dy_tensor, dx_tensor = Blocked(*shape, 1, 2, 0, 3), Blocked(*dy.shape, 2, 0, 1, 1), Blocked(*shape, 0, 1, 2, 0)
    inputs = [blocks.to_blocked(x, x_tensor, spare=4), blocks.to_blocked(dy, dy_tensor, spare=4)]
    attributes = max_pool_grad_attributes(x_tensor, dy_tensor, dx_tensor, window, ceil_mode=ceil_mode)
    dx = blocks.run("blocked_max_pool_input_grad", attributes, inputs, dx_tensor.shape)
    np.testing.assert_array_equal(blocks.from_blocked(dx, dx_tensor), expected)


def first_maxima(x, y_shape, window):
    """Tap of the first maximum of each window in scan order, a NaN as the maximum; 255 for a window without a cell."""
    found = np.full(y_shape, 255)
    for n, c, oh, ow in np.ndindex(*y_shape):
        largest = None
        for tap, (th, tw) in enumerate(np.ndindex(*window.kernel)):
            h, w = (
                o * s - p + t * d for o, s, p, t, d in zip((oh, ow), window.stride, window.pad_lo, (th, tw), window.dilation, strict=True)
            )
            if not (0 <= h < x.shape[2] and 0 <= w < x.shape[3]):
                continue
            value = x[n, c, h, w]
            if largest is None or value > largest or (np.isnan(value) and not np.isnan(largest)):
                largest, found[n, c, oh, ow] = value, tap
    return found


def by_index(x, dy, x_tensor, y_tensor, dx_tensor, window, ceil_mode, workers):
    """Result, indices and gradient of the kernels that remember where the maxima lie, all blocked."""
    dtype = x.dtype
    y, index, dx = np.full(y_tensor.shape, 7, dtype), np.full(index_shape(y_tensor), 77, np.uint8), np.full(dx_tensor.shape, 7, dtype)
    for kernel, tensor, inputs, outputs in (
        ("blocked_max_pool_index", x_tensor, (blocks.to_blocked(x, x_tensor, spare=4),), (y, index)),
        ("blocked_max_pool_index_grad", dx_tensor, (index, blocks.to_blocked(dy, y_tensor, spare=4)), (dx,)),
    ):
        ints = pool_attributes(tensor, y_tensor, window, ceil_mode=ceil_mode).ints
        _core.call(kernel, _call.isa, dtype.char, ints, (), inputs, outputs, workers)
    return y, index, dx


def check_index(shape, window, ceil_mode, dtype, borders, seed=0):
    """Both kernels against the plain pool, its gradient and loops: the same bits, for 1 to 4 workers."""
    x = steps(shape, dtype, seed)
    x.flat[:: x.size // 7 + 1] = np.nan
    x[:, 1 % shape[1]] = -np.inf
    expected = pool.max_pool(x, window.kernel, **options(window, ceil_mode))
    dy = blocks.random(expected.shape, dtype, 1)
    dy.flat[:: dy.size // 5 + 1] = -0.0
    tensors = Blocked(*shape, *borders[0]), Blocked(*dy.shape, *borders[1]), Blocked(*shape, *borders[2])
    first = by_index(x, dy, *tensors, window, ceil_mode, 1)
    np.testing.assert_array_equal(blocks.from_blocked(first[0], tensors[1]), expected)
    index = blocks.from_blocked(first[1], Blocked(*dy.shape))
    np.testing.assert_array_equal(index, first_maxima(x, dy.shape, window))
    dx = np.ascontiguousarray(blocks.from_blocked(first[2], tensors[2]))
    want = pool.max_pool_input_grad(x, dy, window.kernel, **options(window, ceil_mode))
    np.testing.assert_array_equal(dx.view(np.uint8), want.view(np.uint8))
    for workers in (2, 3, 4):
        for a, b in zip(by_index(x, dy, *tensors, window, ceil_mode, workers), first, strict=True):
            np.testing.assert_array_equal(a.view(np.uint8), b.view(np.uint8))


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_max_pool_by_index_is_the_plain_one(isa, case, dtype):
    *shape, window, ceil_mode = case
    check_index(shape, window, ceil_mode, dtype, ((1, 2, 0, 3), (2, 0, 1, 1), (0, 1, 2, 0)))


@pytest.mark.parametrize("seed", seeds(25))
def test_max_pool_by_index_is_the_plain_one_for_any_windows(isa, seed):
    rng = np.random.default_rng(seed)
    while True:
        kernel, stride, dilation = (tuple(int(v) for v in rng.integers(1, high, 2)) for high in (5, 4, 3))
        extent = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
        lo, hi = (tuple(int(rng.integers(0, e)) for e in extent) for _ in range(2))
        size = [int(v) for v in rng.integers(1, 12, 2)]
        if all(s + a + b >= e for s, a, b, e in zip(size, lo, hi, extent, strict=True)):
            break
    borders = rng.integers(0, 3, (3, 4)).tolist()
    shape = [int(rng.integers(1, 3)), int(rng.integers(1, 40)), *size]
    check_index(shape, Window(kernel, stride, lo, hi, dilation), bool(rng.integers(2)), DTYPES[seed % 2], borders, seed)


def test_a_byte_counts_no_more_than_its_taps():
    x = Blocked(1, 16, 40, 40)
    for window, fits in ((Window((15, 17)), True), (Window((16, 16)), False)):
        y = Blocked(1, 16, *(41 - k for k in window.kernel))
        assert (np.prod(window.kernel) <= MOST_TAPS) == fits
        for kernel in ("blocked_max_pool_index", "blocked_max_pool_index_grad"):
            if fits:
                _core.operands(kernel, "scalar", "f", pool_attributes(x, y, window).ints, ())
                continue
            with pytest.raises(ValueError, match="kernel"):
                _core.operands(kernel, "scalar", "f", pool_attributes(x, y, window).ints, ())


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count_include_pad", [False, True])
def test_average_pool_gradient_is_the_plain_one(isa, case, dtype, count_include_pad):
    *shape, window, ceil_mode = case
    more = {"ceil_mode": ceil_mode, "count_include_pad": count_include_pad}
    dy = blocks.random(pool.average_pool(np.zeros(shape, dtype), window.kernel, **options(window, **more)).shape, dtype, 1)
    expected = pool.average_pool_input_grad(dy, shape[2:], window.kernel, **options(window, **more))
    dx_tensor, dy_tensor = Blocked(*shape, 0, 1, 2, 0), Blocked(*dy.shape, 2, 0, 1, 1)
    attributes, inputs = pool_attributes(dx_tensor, dy_tensor, window, **more), [blocks.to_blocked(dy, dy_tensor, spare=9)]
    dx = blocks.from_blocked(blocks.run("blocked_average_pool_input_grad", attributes, inputs, dx_tensor.shape), dx_tensor)
    np.testing.assert_allclose(dx, expected, **tolerance(dtype))


X, Y, WINDOW = Blocked(1, 16, 8, 8), Blocked(1, 16, 4, 4), Window((3, 3), (2, 2), (1, 1), (1, 1))


@pytest.mark.parametrize(
    ("changes", "argument"),
    [
        ({"y": replace(Y, n=2)}, "shape"),
        ({"y": replace(Y, c=32)}, "shape"),
        ({"y": replace(Y, h=5)}, "shape"),
        ({"y": replace(Y, w=3)}, "shape"),
        ({"x": replace(X, c=0)}, "shape"),
        ({"x": replace(X, top=-1)}, "padding"),
        ({"window": replace(WINDOW, kernel=(3, 0))}, "kernel"),
        ({"window": replace(WINDOW, stride=(0, 2))}, "stride"),
        ({"window": replace(WINDOW, dilation=(1, 0))}, "dilation"),
        ({"window": replace(WINDOW, pad_lo=(3, 1))}, "padding"),
    ],
)
def test_what_does_not_fit_is_refused(changes, argument):
    ints = pool_attributes(**{"x": X, "y": Y, "window": WINDOW, **changes}).ints
    for kernel in (
        "blocked_max_pool_output",
        "blocked_max_pool_index",
        "blocked_max_pool_index_grad",
        "blocked_average_pool_output",
        "blocked_average_pool_input_grad",
    ):
        with pytest.raises(ValueError, match=argument):
            _core.operands(kernel, "scalar", "f", ints, ())


@pytest.mark.parametrize("kernel", ["blocked_max_pool_output", "blocked_average_pool_input_grad"])
def test_attributes_that_contradict_each_other_are_refused(kernel):
    ints = pool_attributes(X, Y, WINDOW).ints
    assert _core.operands(kernel, "scalar", "f", ints, ())
    for at, value, argument in ((16, 1, "attributes"), (17, 2, "shape"), (18, 15, "shape"), (19, 7, "shape"), (20, 7, "shape")):
        with pytest.raises(ValueError, match=argument):
            _core.operands(kernel, "scalar", "f", (*ints[:at], value, *ints[at + 1 :]), ())
    for wrong in (ints[:16], ints[:-1], (*ints, 0)):
        with pytest.raises(ValueError, match="attributes|rank"):
            _core.operands(kernel, "scalar", "f", wrong, ())
    one_axis = pool.pool_attributes((1, 16, 64), (3,), stride=(2,), pad_lo=(1,), pad_hi=(1,), dilation=(1,)).ints
    with pytest.raises(ValueError, match="rank"):
        _core.operands(kernel, "scalar", "f", (*ints[:16], *one_axis), ())


def test_a_gradient_of_another_shape_is_refused():
    for dx in (replace(X, n=2), replace(X, c=17), replace(X, h=7), replace(X, w=9)):
        with pytest.raises(ValueError, match="shape"):
            _core.operands("blocked_max_pool_input_grad", "scalar", "f", max_pool_grad_attributes(X, Y, dx, WINDOW).ints, ())
