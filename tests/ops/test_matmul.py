from __future__ import annotations

import numpy as np
import pytest
from reference import matmul as reference

from gradcam import _core
from gradcam.environment import threads
from gradcam.ops import _call
from gradcam.ops.matmul import matmul, matmul_attributes, matmul_input_grads

DTYPES = ["float32", "float64"]
FLAGS = [(False, False), (False, True), (True, False), (True, True)]
# leading axes of a, of b, then m, k, n
CASES = [
    ((), (), 1, 1, 1),
    ((), (), 3, 4, 5),
    ((), (), 5, 1, 7),
    ((), (), 7, 13, 1),
    ((2,), (2,), 3, 4, 5),
    ((2, 3), (2, 3), 6, 2, 3),
    ((), (4,), 2, 3, 2),
    ((4,), (), 5, 3, 2),
    ((2, 1), (3,), 4, 5, 6),
    ((1, 3), (2, 1), 5, 3, 4),
    ((2, 1, 2), (3, 1), 1, 6, 2),
]


def normal(shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def integers(shape, dtype, seed=0):
    return np.random.default_rng(seed).integers(-8, 9, shape).astype(dtype)


def operands(case, flags, make, dtype):
    lead_a, lead_b, m, k, n = case
    a = make((*lead_a, *((k, m) if flags[0] else (m, k))), dtype)
    b = make((*lead_b, *((n, k) if flags[1] else (k, n))), dtype, 1)
    return a, b


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("flags", FLAGS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_small_integers_are_exact(isa, case, flags, dtype):
    a, b = operands(case, flags, integers, dtype)
    y = matmul(a, b, trans_a=flags[0], trans_b=flags[1])
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, reference.matmul(a, b, *flags))


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("flags", FLAGS, ids=str)
def test_real_numbers_are_within_their_bound(isa, case, flags):
    a, b = operands(case, flags, normal, "float64")
    np.testing.assert_allclose(matmul(a, b, trans_a=flags[0], trans_b=flags[1]), reference.matmul(a, b, *flags), rtol=1e-12, atol=1e-12)
    a, b = a.astype(np.float32), b.astype(np.float32)
    error = np.abs(matmul(a, b, trans_a=flags[0], trans_b=flags[1]) - reference.matmul(a, b, *flags))
    assert (error <= case[3] * 2.0**-24 * reference.matmul(np.abs(a), np.abs(b), *flags)).all()


@pytest.mark.parametrize("flags", FLAGS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_edge_of_a_tile(isa, flags, dtype):
    """1 to 20 rows and 1 to 70 columns."""
    for m in range(1, 21):
        for n in range(1, 71):
            k = 1 + (m + n) % 7
            a, b = operands(((), (), m, k, n), flags, integers, dtype)
            expected = (a.T if flags[0] else a) @ (b.T if flags[1] else b)
            np.testing.assert_array_equal(matmul(a, b, trans_a=flags[0], trans_b=flags[1]), expected, err_msg=f"{m} x {k} x {n}")


@pytest.mark.parametrize("flags", FLAGS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "k", "n"), [(1, 700, 300), (4, 257, 90), (5, 256, 300), (130, 513, 40), (33, 255, 530)])
def test_several_blocks(isa, flags, dtype, m, k, n):
    a, b = operands(((), (), m, k, n), flags, integers, dtype)
    expected = (a.T if flags[0] else a).astype(float) @ (b.T if flags[1] else b).astype(float)
    np.testing.assert_array_equal(matmul(a, b, trans_a=flags[0], trans_b=flags[1]), expected)


def test_random_shapes_are_exact(isa):
    generator = np.random.default_rng(4)
    for seed in range(200):
        rank = int(generator.integers(0, 4))
        lead = generator.integers(1, 4, rank)
        leads = [
            tuple(int(n) for n in np.where(generator.random(rank) < 0.3, 1, lead))[generator.integers(0, rank + 1) :] for _ in range(2)
        ]
        m, k, n = (int(v) for v in generator.integers(1, (24, 40, 80)))
        flags = FLAGS[seed % 4]
        a, b = operands((*leads, m, k, n), flags, integers, "float32")
        expected = np.matmul(np.swapaxes(a, -1, -2) if flags[0] else a, np.swapaxes(b, -1, -2) if flags[1] else b)
        np.testing.assert_array_equal(matmul(a, b, trans_a=flags[0], trans_b=flags[1]), expected, err_msg=f"{a.shape} {b.shape} {flags}")


@pytest.mark.parametrize(("a", "b"), [((3,), (3,)), ((3,), (3, 4)), ((2, 3), (3,)), ((3,), (5, 3, 4)), ((5, 2, 3), (3,))])
def test_vectors_follow_numpy(a, b):
    a, b = integers(a, "float64"), integers(b, "float64", 1)
    np.testing.assert_array_equal(matmul(a, b), np.matmul(a, b))


@pytest.mark.parametrize(("m", "k", "n"), [(0, 3, 4), (2, 0, 4), (2, 3, 0), (0, 0, 0)])
def test_empty_axes(isa, m, k, n):
    y = matmul(np.ones((m, k)), np.ones((k, n)))
    np.testing.assert_array_equal(y, np.zeros((m, n)))
    assert matmul(np.ones((0, m + 1, 3)), np.ones((3, 4))).shape == (0, m + 1, 4)


@pytest.mark.parametrize(("m", "k", "n"), [(1, 0, 40), (9, 0, 40)])
def test_no_products_sum_to_zero(isa, m, k, n):
    attributes = matmul_attributes((m, k), (k, n))
    y = np.full((m, n), np.nan, np.float32)
    empty = np.empty((m, k), np.float32), np.empty((k, n), np.float32)
    _core.call("matmul_output", isa, "f", attributes.ints, (), empty, (y,), 1)
    np.testing.assert_array_equal(y, 0)


# --- rows without a factor


def live(isa, a, b, workers=1, trans_a=False):
    y = np.full((a.shape[1] if trans_a else a.shape[0], b.shape[1]), np.nan, a.dtype)
    ints = matmul_attributes(a.shape, b.shape, trans_a=trans_a).ints
    _core.call("matmul_live_output", isa, a.dtype.char, ints, (), (a, b), (y,), workers)
    return y


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("trans_a", [False, True])
@pytest.mark.parametrize(("m", "k", "n"), [(1, 1, 1), (1, 90, 300), (2, 37, 9000), (3, 5, 70), (4, 64, 33), (1, 0, 5)])
@pytest.mark.parametrize("share", [0, 0.2, 0.9, 1])
def test_rows_without_a_factor_change_nothing(isa, dtype, trans_a, m, k, n, share):
    a, b = normal((m, k), dtype), normal((k, n), dtype, 1)
    a[np.random.default_rng(2).random((m, k)) >= share] = 0
    a = np.ascontiguousarray(a.T) if trans_a else a
    y = live(isa, a, b, trans_a=trans_a)
    np.testing.assert_array_equal(y, matmul(a, b, trans_a=trans_a))
    for workers in (2, 3, 5):
        assert live(isa, a, b, workers, trans_a).tobytes() == y.tobytes()


def test_only_rows_with_a_factor_are_read(isa):
    a, b = normal((2, 20), "float32"), normal((20, 50), "float32", 1)
    a[:, [0, 7, 8, 19]] = 0
    expected = matmul(a, b)
    b[[0, 7, 8, 19]] = np.nan
    np.testing.assert_array_equal(live(isa, a, b), expected)
    a[1, 8] = np.nan  # a factor for one row of y is one for all
    assert np.isnan(live(isa, a, b)).all()


def test_rows_without_a_factor_are_for_few_rows_as_they_lie():
    for ints, message in (((5, 2, 3, 0, 0, 0), "shape"), ((4, 2, 3, 0, 1, 0), "op"), ((4, -2, 3, 0, 0, 0), "shape")):
        with pytest.raises(ValueError, match=message):
            _core.operands("matmul_live_output", _core.isa, "f", ints, ())


# --- gradients


@pytest.mark.parametrize("case", CASES, ids=str)
def test_input_grads_are_central_differences_and_adjoint(isa, case):
    a, b = operands(case, (False, False), normal, "float64")
    dy = normal(matmul(a, b).shape, seed=2)
    da, db = matmul_input_grads(a, b, dy)
    assert (da.shape, db.shape) == (a.shape, b.shape)
    step = 1e-4
    for gradient, direction, moved in (
        (da, normal(a.shape, seed=3), lambda d: matmul(a + d, b)),
        (db, normal(b.shape, seed=4), lambda d: matmul(a, b + d)),
    ):
        high, low = (np.vdot(dy, moved(sign * step * direction)) for sign in (1, -1))
        np.testing.assert_allclose(np.vdot(gradient, direction), (high - low) / (2 * step), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(np.vdot(da, a), np.vdot(dy, matmul(a, b)), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(np.vdot(db, b), np.vdot(dy, matmul(a, b)), rtol=1e-10, atol=1e-12)


# --- NaN and infinity


@pytest.mark.parametrize("flags", FLAGS, ids=str)
@pytest.mark.parametrize(("m", "k", "n"), [(1, 40, 33), (3, 5, 7), (9, 70, 21)])
def test_nan_and_infinity_stay_in_their_rows_and_columns(isa, flags, m, k, n):
    a, b = operands(((), (), m, k, n), flags, normal, "float32")
    left, right = a.T if flags[0] else a, b.T if flags[1] else b
    left[0, k // 2], right[k - 1, n - 1] = np.nan, np.inf
    left[m - 1, k - 1] = 0 if m > 1 else left[m - 1, k - 1]  # 0 * inf is NaN
    with np.errstate(invalid="ignore"):
        expected = left.astype(float) @ right.astype(float)
    y = matmul(a, b, trans_a=flags[0], trans_b=flags[1])
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(y), np.isinf(expected))


# --- threads and layouts


@pytest.mark.parametrize("flags", FLAGS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("workers", [2, 3, 4])
def test_the_number_of_threads_changes_no_bit(isa, monkeypatch, flags, dtype, workers):
    monkeypatch.setattr(_call, "SERIAL_ELEMENTS", 0)
    for case in (((), (), 1, 130, 200), ((), (), 4, 70, 33), ((), (), 100, 300, 9), ((), (), 40, 20, 150), ((20,), (20,), 6, 7, 8)):
        a, b = operands(case, flags, normal, dtype)
        found = []
        for count in (1, workers):
            with threads(count):
                found.append(matmul(a, b, trans_a=flags[0], trans_b=flags[1]).tobytes())
        assert found[0] == found[1], case


def test_arrays_in_other_layouts():
    a, b = normal((6, 7), "float32"), normal((7, 8), "float32", 1)
    expected = matmul(a, b)
    for view in (np.asfortranarray(a), np.concatenate([a, a], 1)[:, :7], a.astype(a.dtype.newbyteorder())):
        assert matmul(view, b).tobytes() == expected.tobytes()


# --- bad input

A, B = np.zeros((2, 3), np.float32), np.zeros((3, 4), np.float32)


@pytest.mark.parametrize(
    ("a", "b", "keywords", "error", "message"),
    [
        (A, A, {}, ValueError, r"matmul: b: expected 3 rows to multiply a of shape \(2, 3\), got shape \(2, 3\)"),
        (A, B, {"trans_b": True}, ValueError, "matmul: b: expected 3 rows"),
        (A, B, {"trans_a": True}, ValueError, "matmul: b: expected 2 rows"),
        (A[0], B, {"trans_a": True}, ValueError, "matmul: trans_a, trans_b: expected a matrix to transpose, got a vector"),
        (A, B[:, 0], {"trans_b": True}, ValueError, "expected a matrix to transpose, got a vector"),
        (
            np.zeros((2, 2, 3)),
            np.zeros((3, 3, 4)),
            {},
            ValueError,
            r"matmul: b: expected leading axes that broadcast with \(2, 2, 3\), got \(3, 3, 4\)",
        ),
        (np.float32(1), B, {}, ValueError, "matmul: a: expected 1 to 8 axes, got 0"),
        (A, B.astype(float), {}, TypeError, "matmul: b: expected float32 like the first array, got float64"),
        (A.astype(int), B, {}, TypeError, "matmul: a: expected float32 or float64, got int64"),
    ],
)
def test_bad_arrays_are_refused(a, b, keywords, error, message):
    with pytest.raises(error, match=message):
        matmul(a, b, **keywords)


def test_bad_gradients_are_refused():
    with pytest.raises(ValueError, match=r"matmul_input_grads: dy: expected shape \(2, 4\), got \(2, 3\)"):
        matmul_input_grads(A, B, A)
    with pytest.raises(ValueError, match="matmul_input_grads: a: expected 2 to 8 axes, got 1"):
        matmul_input_grads(A[0], B, A)
    with pytest.raises(ValueError, match="matmul_input_grads: b: "):
        matmul_input_grads(A, A, A)


HUGE = 2**62


@pytest.mark.parametrize(
    ("ints", "error", "message"),
    [
        ((-1, 2, 3, 0, 0, 0), ValueError, "shape"),
        ((1, 2, -3, 0, 0, 0), ValueError, "shape"),
        ((1, 2, 3, 2, 0, 0), ValueError, "op"),
        ((1, 2, 3, 0, -1, 0), ValueError, "op"),
        ((1, 2, 3, 0, 0, -1), ValueError, "rank"),
        ((1, 2, 3, 0, 0, 7), ValueError, "rank"),
        ((1, 2, 3, 0, 0, HUGE), ValueError, "rank"),
        ((1, 2, 3, 0, 0, 1, 0, 1, 1), ValueError, "shape"),
        ((1, 2, 3, 0, 0, 1, 2, -1, 1), ValueError, "strides"),
        ((1, 2, 3, 0, 0, 1, 2, 1), ValueError, "attributes"),
        ((1, 2, 3, 0, 0, 0, 0), ValueError, "attributes"),
        ((1, 2, 3, 0, 0), ValueError, "attributes"),
        ((HUGE, 2, 3, 0, 0, 0), MemoryError, "overflows"),
        ((2**31, 2**31, 2**31, 0, 0, 0), MemoryError, "overflows"),
        ((1, 2, 3, 0, 0, 1, HUGE, HUGE, 0), MemoryError, "overflows"),
        ((1, 2, 3, 0, 0, 2, 2**40, 2**40, 0, 0, 0, 0), MemoryError, "overflows"),
    ],
)
def test_the_kernel_refuses_bad_attributes(ints, error, message):
    for dtype in "fd":
        with pytest.raises(error, match=message):
            _core.operands("matmul_output", _core.isa, dtype, ints, ())


@pytest.mark.torch
@pytest.mark.parametrize("case", CASES, ids=str)
def test_matmul_of_torch(torch, case):
    a, b = (torch.tensor(v, requires_grad=True) for v in operands(case, (False, False), normal, "float64"))
    y = torch.matmul(a, b)
    dy = normal(tuple(y.shape), seed=2)
    y.backward(torch.tensor(dy))
    np.testing.assert_allclose(matmul(a.detach(), b.detach()), y.detach().numpy(), rtol=1e-12, atol=1e-12)
    for got, leaf in zip(matmul_input_grads(a.detach(), b.detach(), dy), (a, b), strict=True):
        np.testing.assert_allclose(got, leaf.grad.numpy(), rtol=1e-12, atol=1e-12)
