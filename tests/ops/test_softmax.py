from __future__ import annotations

import numpy as np
import pytest
from gradcheck import assert_gradient
from reference import softmax as reference

from gradcam import ops
from gradcam.environment import threads

CASES = [((3, 10), -1), ((2, 5, 4), 1), ((7,), 0), ((2, 3, 1), 2), ((1, 1000), 1), ((4, 3, 2, 5), 0)]
FUNCTIONS = {False: ops.softmax, True: ops.log_softmax}


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(("shape", "axis"), CASES)
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 2e-6), ("float64", 1e-13)])
def test_values_are_the_reference(isa, log, shape, axis, dtype, bound):
    x = (8 * np.random.default_rng(0).standard_normal(shape)).astype(dtype)
    np.testing.assert_allclose(FUNCTIONS[log](x, axis), reference.softmax(x, axis, log), rtol=bound, atol=bound)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(("shape", "axis"), CASES[:4])
def test_gradients_are_central_differences(isa, log, shape, axis):
    rng = np.random.default_rng(1)
    x, dy = rng.standard_normal(shape), rng.standard_normal(shape)
    dx = ops.softmax_input_grad(FUNCTIONS[log](x, axis), dy, axis, log)
    assert_gradient(dx, lambda v: FUNCTIONS[log](v, axis), x, dy)


@pytest.mark.parametrize("axis", [0, 1])
def test_gradient_of_a_saturated_softmax_keeps_its_digits(isa, axis):
    x = np.zeros((1, 5))
    x[0, 2] = 15  # 1 - y = 1e-6
    dy = np.zeros((1, 5))
    dy[0, 2] = 1
    p = reference.softmax(x, 1)
    want = p * (dy - p[:, 2:3])
    want[0, 2] = p[0, 2] * (p[0, :2].sum() + p[0, 3:].sum())
    x, dy, want = (np.ascontiguousarray(np.moveaxis(a, 1, axis)) for a in (x, dy, want))
    y = ops.softmax(x.astype(np.float32), axis)
    np.testing.assert_allclose(ops.softmax_input_grad(y, dy.astype(np.float32), axis), want, rtol=1e-5)


def test_large_scores_minus_infinity_and_nan(isa):
    x = np.asarray([[1000.0, 999, -np.inf], [np.nan, 1, 2], [0, 0, 0]], np.float32)
    y = ops.softmax(x)
    np.testing.assert_allclose(y[0], [1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1)), 0], rtol=1e-6)
    assert np.isnan(y[1]).all()
    np.testing.assert_allclose(y[2], 1 / 3, rtol=1e-6)
    assert ops.log_softmax(x)[0, 2] == -np.inf


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_any_number_of_threads_gives_the_same_bytes(isa, axis):
    x = np.random.default_rng(2).standard_normal((31, 29, 37)).astype("float32")
    found = set()
    for n in (1, 2, 3, 4):
        with threads(n):
            y = ops.softmax(x, axis)
            found.add((y.tobytes(), ops.softmax_input_grad(y, x, axis).tobytes()))
    assert len(found) == 1


def test_bad_input():
    with pytest.raises(ValueError, match="softmax: axis"):
        ops.softmax(np.ones((2, 3)), 2)
    with pytest.raises(TypeError, match="softmax: x: expected float32"):
        ops.softmax(np.arange(3))
    with pytest.raises(ValueError, match="softmax_input_grad: dy"):
        ops.softmax_input_grad(np.ones((2, 3)), np.ones((3, 2)))


@pytest.mark.torch
@pytest.mark.parametrize("log", [False, True])
def test_against_torch(torch, log):
    x = torch.randn(3, 4, 5, dtype=torch.float64, requires_grad=True)
    y = (torch.log_softmax if log else torch.softmax)(x, 1)
    dy = torch.randn_like(y)
    y.backward(dy)
    ours = FUNCTIONS[log](x.detach().numpy(), 1)
    np.testing.assert_allclose(ours, y.detach().numpy(), rtol=1e-13)
    np.testing.assert_allclose(ops.softmax_input_grad(ours, dy.numpy(), 1, log), x.grad.numpy(), rtol=1e-11, atol=1e-14)
