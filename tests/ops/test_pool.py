from __future__ import annotations

import numpy as np
import pytest
from reference import pool as reference

from gradcam import _core
from gradcam.environment import threads
from gradcam.ops import _call, pool

# shape, kernel, stride, padding pairs, dilation, ceil_mode
CASES = [
    ((2, 3, 11), (2,), (2,), ((0, 0),), (1,), False),
    ((2, 3, 11), (3,), (2,), ((1, 1),), (1,), True),
    ((1, 2, 8, 8), (2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1), False),
    ((1, 2, 16, 37), (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), False),
    ((2, 1, 9, 41), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), False),
    ((1, 3, 7, 10), (3, 2), (2, 3), ((1, 0), (0, 1)), (1, 1), True),
    ((1, 2, 10, 12), (3, 3), (2, 1), ((2, 3), (1, 4)), (2, 3), False),
    ((1, 2, 6, 5), (2, 2), (3, 3), ((0, 0), (0, 0)), (1, 1), True),  # the last window is dropped along axis 0
    ((1, 2, 2, 2), (3, 3), (2, 2), ((0, 0), (0, 0)), (1, 1), True),  # every window is cut
    ((1, 1, 1, 1), (2, 2), (1, 1), ((2, 2), (2, 1)), (3, 3), False),  # windows without any cell
    ((3, 1, 5, 7), (5, 7), (1, 1), ((0, 0), (0, 0)), (1, 1), False),
    ((2, 2, 9, 40), (4, 44), (3, 1), ((0, 1), (2, 2)), (1, 1), False),  # one window in a row
    ((2, 1, 6, 19), (3, 15), (1, 5), ((1, 0), (3, 0)), (2, 1), False),
    ((1, 2, 5, 9), (2, 5), (2, 1), ((0, 0), (0, 0)), (1, 2), False),
    ((1, 1, 4, 4), (1, 1), (3, 2), ((0, 0), (0, 0)), (1, 1), False),
    ((1, 2, 5, 6, 7), (2, 3, 2), (2, 1, 2), ((0, 1), (1, 1), (0, 0)), (1, 2, 1), False),
    ((2, 2, 4, 3, 5), (3, 3, 3), (2, 2, 2), ((1, 1), (1, 1), (1, 1)), (1, 1, 1), True),
    ((0, 3, 4, 4), (2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1), False),
]
DTYPES = ["float32", "float64"]


def options(case, **more):
    _, _, stride, padding, dilation, ceil_mode = case
    return {"stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode, **more}


def random(shape, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def tolerance(dtype):
    return {"rtol": 1e-12, "atol": 1e-12} if dtype == "float64" else {"rtol": 1e-5, "atol": 1e-6}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_max_pool_is_the_reference(isa, case, dtype):
    shape, kernel, *rest = case
    x, window = random(shape, dtype), reference.Pool(kernel, *rest)
    y = pool.max_pool(x, kernel, **options(case))
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, reference.max_pool(x, window))
    dy = random(y.shape, dtype, 1)
    dx = pool.max_pool_input_grad(x, dy, kernel, **options(case))
    np.testing.assert_allclose(dx, reference.max_pool_input_grad(x, dy, window), **tolerance(dtype))
    values = random(shape, dtype, 2)
    picked = pool.max_pool_pick(x, values, kernel, **options(case))
    assert picked.dtype == dtype
    np.testing.assert_array_equal(picked, reference.max_pool_pick(x, values, window))
    if dtype == "float64":  # adjoint: <dy, P v> = <P' dy, v>
        np.testing.assert_allclose(np.vdot(dy, picked), np.vdot(dx, values), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count_include_pad", [False, True])
def test_average_pool_is_the_reference(isa, case, dtype, count_include_pad):
    shape, kernel, *rest = case
    x, window = random(shape, dtype), reference.Pool(kernel, *rest, count_include_pad)
    more = options(case, count_include_pad=count_include_pad)
    y = pool.average_pool(x, kernel, **more)
    np.testing.assert_allclose(y, reference.average_pool(x, window), **tolerance(dtype))
    dy = random(y.shape, dtype, 1)
    dx = pool.average_pool_input_grad(dy, shape[2:], kernel, **more)
    np.testing.assert_allclose(dx, reference.average_pool_input_grad(shape, dy, window), **tolerance(dtype))
    if dtype == "float64":  # adjoint: <dy, P x> = <P' dy, x>
        np.testing.assert_allclose(np.vdot(dy, y), np.vdot(dx, x), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_of_small_integers_are_exact(isa, case, dtype):
    shape, kernel, *rest = case
    x = np.random.default_rng(2).integers(-9, 10, shape).astype(dtype)
    expected = reference.average_pool(x, reference.Pool(kernel, *rest)).astype(dtype)
    np.testing.assert_array_equal(pool.average_pool(x, kernel, **options(case)), expected)


@pytest.mark.parametrize("case", CASES[:8])
def test_max_pool_input_grad_is_the_central_difference(case):
    shape, kernel, *_ = case
    x = np.random.default_rng(3).permutation(np.prod(shape)).reshape(shape).astype(float)  # no two values are near
    dy = random(pool.max_pool(x, kernel, **options(case)).shape, "float64", 1)
    dx, direction, step = pool.max_pool_input_grad(x, dy, kernel, **options(case)), random(shape, "float64", 4), 1e-3
    high, low = (np.vdot(dy, pool.max_pool(x + sign * step * direction, kernel, **options(case))) for sign in (1, -1))
    np.testing.assert_allclose(np.vdot(dx, direction), (high - low) / (2 * step), rtol=1e-6)


def test_the_first_of_equal_maxima_takes_the_gradient(isa):
    x = np.zeros((1, 1, 4, 4), np.float32)
    x[0, 0, 1, 2] = x[0, 0, 0, 3] = 5
    dx = pool.max_pool_input_grad(x, np.array([[[[1, 2], [3, 4]]]], np.float32), 2)
    expected = np.zeros((4, 4))
    expected[0, 0], expected[0, 3], expected[2, 0], expected[2, 2] = 1, 2, 3, 4
    np.testing.assert_array_equal(dx[0, 0], expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2), (3, 1), (4, 3)])
def test_nan_is_the_maximum_and_infinity_counts(isa, dtype, kernel, stride):
    x = random((2, 3, 19, 37), dtype)
    generator = np.random.default_rng(5)
    for value in (np.nan, np.inf, -np.inf):
        x[generator.random(x.shape) < 0.1] = value
    window = reference.Pool((kernel,) * 2, (stride,) * 2, ((1, 1),) * 2, (1, 1))
    y = pool.max_pool(x, kernel, stride=stride, padding=1)
    np.testing.assert_array_equal(y, reference.max_pool(x, window))
    dy = np.ones_like(y)
    np.testing.assert_array_equal(
        pool.max_pool_input_grad(x, dy, kernel, stride=stride, padding=1), reference.max_pool_input_grad(x, dy, window)
    )
    values = random(x.shape, dtype, 6)
    np.testing.assert_array_equal(
        pool.max_pool_pick(x, values, kernel, stride=stride, padding=1), reference.max_pool_pick(x, values, window)
    )
    np.testing.assert_array_equal(pool.max_pool_pick(x, x, kernel, stride=stride, padding=1), y)  # its own values
    with np.errstate(invalid="ignore"):
        average = reference.average_pool(x, window)
    np.testing.assert_allclose(pool.average_pool(x, kernel, stride=stride, padding=1), average, **tolerance(dtype))
    assert np.isnan(pool.global_max_pool(x)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("values", [[0, 1, 2], [-np.inf, -1], [0, 1, np.nan], [-np.inf, np.nan], [-np.inf], [np.inf, 0]], ids=str)
def test_the_first_maximum_of_a_single_window(isa, dtype, values):
    x = np.random.default_rng(7).choice(np.array(values, dtype), (3, 5, 6, 21))
    window = reference.Pool((4, 21), (2, 1), ((0, 0),) * 2, (1, 1))
    dy = np.random.default_rng(9).integers(1, 9, (3, 5, 2, 1)).astype(dtype)
    dx = pool.max_pool_input_grad(x, dy, (4, 21), stride=(2, 1))
    np.testing.assert_array_equal(dx, reference.max_pool_input_grad(x, dy, window))
    rare = np.where(np.random.default_rng(8).random(x.shape) < 0.02, x, x.dtype.type(-5))
    dx = pool.max_pool_input_grad(rare, dy, (4, 21), stride=(2, 1))
    np.testing.assert_array_equal(dx, reference.max_pool_input_grad(rare, dy, window))


def test_padding_never_wins(isa):
    x = np.full((1, 1, 3, 3), -np.inf, np.float32)
    dy = np.ones((1, 1, 2, 2), np.float32)
    assert (pool.max_pool(x, 3, stride=2, padding=1) == -np.inf).all()
    assert pool.max_pool_input_grad(x, dy, 3, stride=2, padding=1)[0, 0, 0, 0] == 1
    assert pool.max_pool_input_grad(x, dy, 3, stride=2, padding=1).sum() == 4
    values = np.arange(9, dtype=np.float32).reshape(x.shape)
    assert pool.max_pool_pick(x, values, 3, stride=2, padding=1).tolist() == [[[[0, 1], [3, 4]]]]


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_the_number_of_threads_changes_no_bit(isa, monkeypatch, workers):
    monkeypatch.setattr(_call, "SERIAL_ELEMENTS", 0)
    x, dy = random((1, 5, 13, 17), "float32"), random((1, 5, 7, 9), "float32", 1)

    def run(count):
        with threads(count):
            return [
                pool.max_pool(x, 3, stride=2, padding=1),
                pool.average_pool(x, 3, stride=2, padding=1),
                pool.max_pool_input_grad(x, dy, 3, stride=2, padding=1),
                pool.max_pool_pick(x, -x, 3, stride=2, padding=1),
                pool.average_pool_input_grad(dy, (13, 17), 3, stride=2, padding=1),
            ]

    for one, many in zip(run(1), run(workers), strict=True):
        assert one.tobytes() == many.tobytes()


@pytest.mark.parametrize("shape", [(2, 3, 5), (1, 65, 7, 7), (2, 2, 3, 4, 5), (0, 2, 3)])
def test_global_pools(isa, shape):
    x = random(shape, "float32")
    axes = tuple(range(2, len(shape)))
    np.testing.assert_allclose(pool.global_average_pool(x), x.mean(axes, np.float64, keepdims=True), rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(pool.global_max_pool(x), x.max(axes, keepdims=True))


def test_output_shape_of_the_builder():
    shape = pool.pool_output_shape((2, 3, 6, 5), (2, 2), stride=(3, 3), pad_lo=(0, 0), pad_hi=(0, 0), dilation=(1, 1), ceil_mode=True)
    assert shape == (2, 3, 2, 2)


X = np.zeros((1, 2, 5, 5), np.float32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel": 0}, "max_pool: kernel: expected at least 1, got 0"),
        ({"kernel": 2, "stride": (1, 0)}, "max_pool: stride: expected at least 1, got 0"),
        ({"kernel": 2, "dilation": -1}, "max_pool: dilation: expected at least 1, got -1"),
        ({"kernel": 2, "padding": 2}, r"max_pool: padding: expected 0 to 1 \(less than the dilated kernel\), got \(2, 2\)"),
        ({"kernel": 2, "padding": -1}, "max_pool: padding: expected 0 to 1"),
        ({"kernel": 6}, "max_pool: kernel: expected a window within the 5 cells of the padded input, got 6"),
        ({"kernel": (2, 2, 2)}, r"max_pool: kernel: expected one number or 2 \(one per spatial axis\), got \(2, 2, 2\)"),
        ({"kernel": 2, "padding": ((0, 0),)}, "max_pool: padding: expected one number, or 2 numbers or"),
    ],
)
def test_bad_windows_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        pool.max_pool(X, **arguments)


def test_bad_arrays_are_refused():
    with pytest.raises(ValueError, match=r"max_pool: x: expected 3 to 5 axes .* got shape \(5, 5\)"):
        pool.max_pool(X[0, 0], 2)
    with pytest.raises(ValueError, match="average_pool: x: expected at least 1 channel"):
        pool.average_pool(X[:, :0], 2)
    with pytest.raises(ValueError, match="global_max_pool: x: expected sizes of at least 1"):
        pool.global_max_pool(X[:, :, :0])
    with pytest.raises(TypeError, match="max_pool: x: expected float32 or float64, got int64"):
        pool.max_pool(X.astype(np.int64), 2)
    with pytest.raises(ValueError, match=r"max_pool_input_grad: dy: expected shape \(1, 2, 2, 2\), got \(1, 2, 5, 5\)"):
        pool.max_pool_input_grad(X, X, 2)
    with pytest.raises(TypeError, match="dy: expected float32 like the first array, got float64"):
        pool.max_pool_input_grad(X, np.zeros((1, 2, 2, 2)), 2)
    with pytest.raises(ValueError, match=r"max_pool_pick: values: expected shape \(1, 2, 5, 5\) like x, got \(1, 2, 4, 5\)"):
        pool.max_pool_pick(X, X[:, :, 1:], 2)
    with pytest.raises(TypeError, match="max_pool_pick: values: expected float32 like the first array, got float64"):
        pool.max_pool_pick(X, X.astype(float), 2)
    with pytest.raises(ValueError, match="max_pool_pick: kernel: expected at least 1, got 0"):
        pool.max_pool_pick(X, X, 0)
    with pytest.raises(ValueError, match="average_pool_input_grad: dy: expected shape"):
        pool.average_pool_input_grad(X, (5, 5), 2)


GOOD = {"n": 1, "c": 1, "in": (4, 4), "kernel": (2, 2), "stride": (1, 1), "lo": (0, 0), "hi": (0, 0), "dilation": (1, 1)}
HUGE = 2**62
LARGE = 2**28
KERNELS = ["pool_max_output", "pool_max_input_grad", "pool_max_pick", "pool_average_output", "pool_average_input_grad"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"in": (0, 4)}, ValueError, "shape"),
        ({"n": -1}, ValueError, "shape"),
        ({"c": 0}, ValueError, "shape"),
        ({"kernel": (0, 2)}, ValueError, "kernel"),
        ({"stride": (0, 1)}, ValueError, "stride"),
        ({"dilation": (1, 0)}, ValueError, "dilation"),
        ({"lo": (2, 0)}, ValueError, "padding"),
        ({"hi": (0, -1)}, ValueError, "padding"),
        ({"kernel": (5, 2)}, ValueError, "shape"),
        ({"in": (HUGE, HUGE)}, MemoryError, "overflows"),
        ({"n": HUGE, "c": HUGE}, MemoryError, "overflows"),
        ({"kernel": (HUGE, 2), "dilation": (HUGE, 1)}, MemoryError, "overflows"),
        ({"kernel": (1, 1), "dilation": (HUGE, 1)}, MemoryError, "overflows"),
        ({"stride": (HUGE, 1)}, MemoryError, "overflows"),
    ],
)
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_kernel_refuses_bad_attributes(kernel, change, error, message):
    a = GOOD | change
    ints = (2, a["n"], a["c"], *a["in"], *a["kernel"], *a["stride"], *a["lo"], *a["hi"], *a["dilation"], 0, 0)
    with pytest.raises(error, match=message):
        _core.operands(kernel, _core.isa, "f", ints, ())
    with pytest.raises(ValueError, match="attributes"):
        _core.operands(kernel, _core.isa, "f", ints[:-1], ())
    with pytest.raises(ValueError, match="rank"):
        _core.operands(kernel, _core.isa, "f", (4, *ints[1:]), ())


def test_operands_of_good_attributes():
    ints = pool.pool_attributes(
        (2, 3, 5), (2,), stride=(2,), pad_lo=(1,), pad_hi=(0,), dilation=(1,), ceil_mode=True, count_include_pad=True
    ).ints
    assert ints == (1, 2, 3, 5, 2, 2, 1, 0, 1, 1, 1)
    assert _core.operands("pool_max_input_grad", _core.isa, "d", ints, ()) == ((30, 18), (30,))
    assert _core.operands("pool_max_pick", _core.isa, "d", ints, ()) == ((30, 30), (18,))
    assert _core.operands("pool_average_input_grad", _core.isa, "d", ints, ()) == ((18,), (30,))


@pytest.mark.torch
@pytest.mark.parametrize("case", [case for case in CASES if all(lo == hi for lo, hi in case[3]) and case[0][0] and case[0] != (1, 1, 1, 1)])
def test_pools_of_torch(torch, case):
    shape, kernel, stride, padding, dilation, ceil_mode = case
    pad = [lo for lo, _ in padding]
    functional, rank = torch.nn.functional, len(kernel)
    if any(2 * p > k for p, k in zip(pad, kernel, strict=True)):
        pytest.skip("torch pads by half the kernel at the most")
    x = random(shape, "float64")
    leaf = torch.tensor(x, requires_grad=True)
    y = getattr(functional, f"max_pool{rank}d")(leaf, kernel, stride, pad, dilation, ceil_mode)
    dy = random(tuple(y.shape), "float64", 1)
    y.backward(torch.tensor(dy))
    np.testing.assert_array_equal(pool.max_pool(x, kernel, **options(case)), y.detach().numpy())
    np.testing.assert_allclose(pool.max_pool_input_grad(x, dy, kernel, **options(case)), leaf.grad.numpy(), rtol=1e-12)
    if set(dilation) != {1}:
        return
    for include in (False, True):
        leaf.grad = None
        y = getattr(functional, f"avg_pool{rank}d")(leaf, kernel, stride, pad, ceil_mode, include)
        y.backward(torch.tensor(dy))
        more = options(case, count_include_pad=include)
        np.testing.assert_allclose(pool.average_pool(x, kernel, **more), y.detach().numpy(), rtol=1e-12, atol=1e-14)
        dx = pool.average_pool_input_grad(dy, shape[2:], kernel, **more)
        np.testing.assert_allclose(dx, leaf.grad.numpy(), rtol=1e-12, atol=1e-14)
