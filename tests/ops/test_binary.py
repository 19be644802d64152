from __future__ import annotations

import numpy as np
import pytest
from gradcheck import central_differences
from reference import binary as reference

from gradcam import ops
from gradcam.ops import _call
from gradcam.ops.binary import BINARY, binary_attributes, broadcast_shape

OPS = list(BINARY)
STEPS = ["Less", "LessOrEqual", "Equal", "Keep", "Quantize"]
SMOOTH = [op for op in OPS if op not in STEPS]
SHAPES = [
    ((3, 4, 5), (3, 4, 5)),
    ((2, 3, 7), (3, 1)),
    ((1, 3, 1), (2, 1, 5)),
    ((4, 33), (33,)),
    ((2, 5, 6, 7), (5, 1, 1)),
    ((6,), ()),
    ((), (6,)),
    ((2, 1, 3, 1, 2), (1, 4, 1, 5, 2)),
    ((1, 1), (1, 1)),
    ((2, 2, 2, 2, 2, 2, 2, 2), (2, 1, 2, 1, 2, 1, 2, 1)),
]


def operands(op, a_shape, b_shape, dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(0.3, 2, a_shape), rng.uniform(0.4, 2, b_shape)
    if op in ("Less", "LessOrEqual", "Equal", "Keep"):  # with ties and zeros
        a, b = np.round(a), np.round(rng.integers(0, 3, b_shape))
    if op != "Pow":
        a, b = a * rng.choice([-1, 1], a_shape), b * rng.choice([-1, 1], b_shape)
    return np.asarray(a, dtype), np.asarray(b, dtype)


def output(op, a, b, **keywords):
    return _call.call("binary_output", binary_attributes(op, a.shape, b.shape), [a, b], [broadcast_shape(a.shape, b.shape)], **keywords)[0]


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-6), ("float64", 1e-14)])
def test_values_are_the_reference(isa, op, shapes, dtype, bound):
    a, b = operands(op, *shapes, dtype)
    np.testing.assert_allclose(output(op, a, b), reference.binary(op, a, b), rtol=bound)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Max", "Min", "PRelu", "Less", "LessOrEqual", "Equal", "Keep"])
def test_small_integers_are_exact(isa, op):
    rng = np.random.default_rng(1)
    a, b = rng.integers(-8, 9, (5, 1, 19)).astype("float32"), rng.integers(-8, 9, (3, 19)).astype("float32")
    np.testing.assert_array_equal(output(op, a, b), reference.binary(op, a, b))


@pytest.mark.parametrize("op", SMOOTH)
@pytest.mark.parametrize("shapes", SHAPES[:9])
def test_gradients_are_central_differences(isa, op, shapes):
    a, b = operands(op, *shapes)
    dy = np.random.default_rng(2).standard_normal(broadcast_shape(*shapes))
    da, db = ops.binary_input_grads(op, a, b, dy)
    assert (da.shape, db.shape) == (a.shape, b.shape)
    np.testing.assert_allclose(da, central_differences(lambda v: output(op, v, b), a, dy), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(db, central_differences(lambda v: output(op, a, v), b, dy), rtol=1e-6, atol=1e-7)


def test_derivatives_where_there_are_none():
    ones = np.ones(3)
    da, db = ops.binary_input_grads("Max", np.asarray([1.0, 2, 3]), np.asarray([1.0, 5, 0]), ones)
    assert (da.tolist(), db.tolist()) == ([0.5, 0, 1], [0.5, 1, 0])
    da, db = ops.binary_input_grads("PRelu", np.asarray([0.0, -1, 1]), np.full(3, 0.25), ones)
    assert (da.tolist(), db.tolist()) == ([0.25, 0.25, 1], [0, -1, 0])
    da, db = ops.binary_input_grads("Pow", np.asarray([0.0, 2, 2]), np.asarray([2.0, 0, 3]), ones)
    np.testing.assert_allclose(da, [0, 0, 12])
    np.testing.assert_allclose(db, [0, np.log(2), 8 * np.log(2)])


@pytest.mark.parametrize("op", SMOOTH)
def test_nan_spreads_from_either_operand(isa, op):
    a, b = np.asarray([3.0, np.nan, 2.0], np.float32), np.asarray([np.nan, 1.0, 2.0], np.float32)  # pow(1, NaN) is 1
    keeps = output(op, a, b)
    assert np.isnan(keeps[1])
    assert np.isnan(keeps[0]) == (op != "PRelu")  # the slope of a positive number is not read
    assert not np.isnan(keeps[2])


@pytest.mark.parametrize("op", OPS)
def test_any_number_of_threads_gives_the_same_bytes(isa, op):
    a, b = operands(op, (7, 61, 53), (61, 1), "float32")
    assert len({output(op, a, b, num_threads=n).tobytes() for n in (1, 2, 3, 4)}) == 1


def test_comparisons_with_nan_do_not_hold(isa):
    a, b = np.asarray([np.nan, 1, np.nan, np.inf]), np.asarray([1, np.nan, np.nan, np.inf])
    assert output("Less", a, b).tolist() == [0, 0, 0, 0]
    assert output("LessOrEqual", a, b).tolist() == output("Equal", a, b).tolist() == [0, 0, 0, 1]


def test_what_is_not_kept_is_not_read(isa):
    a, b, dy = np.asarray([np.nan, np.inf, 2, -0.0]), np.asarray([0.0, -0.0, 1, 1]), np.asarray([np.nan, np.inf, 3, 4])
    assert output("Keep", a, b).tolist() == [0, 0, 2, 0]
    da, db = ops.binary_input_grads("Keep", a, b, dy)
    assert (da.tolist(), db.tolist()) == ([0, 0, 3, 4], [0, 0, 0, 0])


@pytest.mark.parametrize("op", ["Less", "LessOrEqual", "Equal"])
def test_comparisons_have_no_gradient(isa, op):
    da, db = ops.binary_input_grads(op, np.asarray([1.0, 2, np.nan]), np.asarray([1.0, 3, 4]), np.full(3, np.inf))
    assert (da.tolist(), db.tolist()) == ([0, 0, 0], [0, 0, 0])


def test_rounding_is_to_even_and_its_gradient_that_of_the_quotient(isa):
    a, b = np.asarray([0.5, 1.5, 2.5, -0.5, -3.7, np.inf, np.nan]), np.asarray(1.0)
    np.testing.assert_array_equal(output("Quantize", a, b), [0, 2, 2, 0, -4, np.inf, np.nan])
    a, b, dy = np.asarray([0.7, -1.3]), np.asarray(0.25), np.asarray([2.0, -3.0])
    for got, want in zip(ops.binary_input_grads("Quantize", a, b, dy), ops.binary_input_grads("Div", a, b, dy), strict=True):
        np.testing.assert_array_equal(got, want)


def test_bad_input():
    with pytest.raises(ValueError, match=r"add: b: expected a shape that broadcasts|add: .*broadcast"):
        ops.add(np.ones((2, 3)), np.ones((2, 4)))
    with pytest.raises(TypeError, match="mul: b: expected float64"):
        ops.mul(np.ones(2), np.ones(2, np.float32))
    with pytest.raises(ValueError, match="binary_input_grads: op: expected one of Add"):
        ops.binary_input_grads("Nope", np.ones(2), np.ones(2), np.ones(2))
    with pytest.raises(ValueError, match="dy: expected the broadcast shape"):
        ops.binary_input_grads("Mul", np.ones((2, 1)), np.ones(3), np.ones(3))
    assert ops.sub(np.empty((0, 3)), np.ones(3)).shape == (0, 3)


@pytest.mark.torch
@pytest.mark.parametrize("op", SMOOTH)
def test_against_torch(torch, op):
    functions = {
        "Add": torch.add,
        "Sub": torch.sub,
        "Mul": torch.mul,
        "Div": torch.div,
        "Pow": torch.pow,
        "Max": torch.maximum,
        "Min": torch.minimum,
    }
    functions["PRelu"] = lambda x, slope: torch.where(x > 0, x, slope * x)
    a, b = operands(op, (2, 3, 5), (3, 1))
    ta, tb = torch.tensor(a, requires_grad=True), torch.tensor(b, requires_grad=True)
    y = functions[op](ta, tb)
    dy = np.random.default_rng(4).standard_normal(y.shape)
    y.backward(torch.tensor(dy))
    da, db = ops.binary_input_grads(op, a, b, dy)
    np.testing.assert_allclose(output(op, a, b), y.detach().numpy(), rtol=1e-13)
    np.testing.assert_allclose(da, ta.grad.numpy(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(db, tb.grad.numpy(), rtol=1e-12, atol=1e-13)
