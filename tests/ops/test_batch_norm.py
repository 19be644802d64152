from __future__ import annotations

import numpy as np
import pytest
from gradcheck import assert_gradient
from reference import batch_norm as reference

from gradcam import ops
from gradcam.environment import threads

SHAPES = [(2, 3), (1, 5, 7), (2, 4, 5, 6), (1, 1, 2, 3, 4), (0, 3, 2)]


def parameters(channels, dtype):
    rng = np.random.default_rng(0)
    gamma, beta, mean = rng.standard_normal((3, channels))
    return [v.astype(dtype) for v in (gamma, beta, mean, rng.uniform(0.2, 3, channels))]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 2e-6), ("float64", 1e-13)])
def test_values_are_the_reference(isa, shape, dtype, bound):
    x = np.random.default_rng(1).standard_normal(shape).astype(dtype)
    given = parameters(shape[1], dtype)
    np.testing.assert_allclose(ops.batch_norm(x, *given, epsilon=1e-3), reference.batch_norm(x, *given, 1e-3), rtol=bound, atol=bound)


@pytest.mark.parametrize("shape", SHAPES[:4])
def test_gradients_are_central_differences(isa, shape):
    rng = np.random.default_rng(2)
    x, dy = rng.standard_normal((2, *shape))
    given = parameters(shape[1], "float64")
    dx = ops.batch_norm_input_grad(dy, given[0], given[3])
    assert_gradient(dx, lambda v: ops.batch_norm(np.ascontiguousarray(v), *given), x, dy)


@pytest.mark.parametrize("shape", [*SHAPES[:4], (3, 2, 17, 19), (1, 3)])
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 4e-6), ("float64", 1e-12)])
def test_training_form_is_the_reference(isa, shape, dtype, bound):
    x = (np.random.default_rng(1).standard_normal(shape) + 0.7).astype(dtype)
    gamma, beta, *_ = parameters(shape[1], dtype)
    for got, want in zip(ops.batch_norm_train(x, gamma, beta, epsilon=1e-2), reference.batch_norm_train(x, gamma, beta, 1e-2), strict=True):
        assert got.dtype == dtype
        np.testing.assert_allclose(got, want, rtol=bound, atol=bound)


@pytest.mark.parametrize("shape", [(4, 3), (3, 2, 7), (2, 2, 5, 6), (2, 1, 2, 3, 4), (1, 3, 17)])
def test_training_gradients_are_central_differences(isa, shape):
    x, dy = np.random.default_rng(2).standard_normal((2, *shape))
    gamma, beta, *_ = parameters(shape[1], "float64")
    _, mean, var = ops.batch_norm_train(x, gamma, beta)
    dx, dgamma, dbeta = ops.batch_norm_train_grads(dy, x, gamma, mean, var)
    assert_gradient(dx, lambda v: ops.batch_norm_train(v, gamma, beta).y, x, dy)
    assert_gradient(dgamma, lambda v: ops.batch_norm_train(x, v, beta).y, gamma, dy)
    assert_gradient(dbeta, lambda v: ops.batch_norm_train(x, gamma, v).y, beta, dy)


def test_a_large_mean_costs_no_digits(isa):
    x = (np.random.default_rng(4).standard_normal((8, 2, 40)) + 1000).astype("float32")
    _, mean, var = ops.batch_norm_train(x, *parameters(2, "float32")[:2])
    np.testing.assert_allclose(mean, x.mean((0, 2), dtype=float), rtol=1e-7)
    np.testing.assert_allclose(var, x.var((0, 2), dtype=float), rtol=1e-6)


def test_training_form_has_the_same_bits_for_any_number_of_threads(isa):
    x, dy = np.random.default_rng(3).standard_normal((2, 5, 13, 21, 17)).astype("float32")
    gamma, beta, *_ = parameters(13, "float32")

    def run(count):
        y, mean, var = ops.batch_norm_train(x, gamma, beta, num_threads=count)
        grads = ops.batch_norm_train_grads(dy, x, gamma, mean, var, num_threads=count)
        return b"".join(array.tobytes() for array in (y, mean, var, *grads))

    assert len({run(count) for count in (1, 2, 3, 4)}) == 1


def test_nan_spoils_its_channel_alone_in_training_form(isa):
    x = np.random.default_rng(3).standard_normal((3, 4, 5)).astype("float32")
    x[1, 2, 3] = np.nan
    y, mean, var = ops.batch_norm_train(x, *parameters(4, "float32")[:2])
    assert np.isnan(y).any((0, 2)).tolist() == [False, False, True, False]
    assert np.isnan(y[:, 2]).all()
    assert np.isnan(mean).tolist() == np.isnan(var).tolist() == [False, False, True, False]


def test_nan_stays_in_its_place_and_threads_do_not_matter(isa):
    x = np.random.default_rng(3).standard_normal((3, 17, 41, 13)).astype("float32")
    x[1, 2, 3, 4] = np.nan
    given, found = parameters(17, "float32"), set()
    for n in (1, 2, 3, 4):
        with threads(n):
            found.add(ops.batch_norm(x, *given).tobytes())
    assert len(found) == 1
    assert np.argwhere(np.isnan(ops.batch_norm(x, *given))).tolist() == [[1, 2, 3, 4]]


def test_bad_input():
    x, given = np.ones((1, 3, 2)), parameters(3, "float64")
    with pytest.raises(ValueError, match=r"batch_norm: gamma: expected shape \(3,\)"):
        ops.batch_norm(x, np.ones(2), *given[1:])
    with pytest.raises(TypeError, match="batch_norm: var"):
        ops.batch_norm(x, *given[:3], np.ones(3, np.float32))
    with pytest.raises(ValueError, match="epsilon"):
        ops.batch_norm(x, *given, epsilon=-1.0)


def test_bad_input_in_training_form():
    x, (gamma, beta, mean, var) = np.ones((2, 3, 4)), parameters(3, "float64")
    with pytest.raises(ValueError, match=r"batch_norm_train: x: expected a batch of at least 1, got shape \(0, 3\)"):
        ops.batch_norm_train(np.ones((0, 3)), gamma, beta)
    with pytest.raises(ValueError, match=r"batch_norm_train: beta: expected shape \(3,\)"):
        ops.batch_norm_train(x, gamma, np.ones(2))
    with pytest.raises(ValueError, match=r"batch_norm_train_grads: x: expected shape \(2, 3, 4\) like dy, got \(2, 3, 5\)"):
        ops.batch_norm_train_grads(x, np.ones((2, 3, 5)), gamma, mean, var)
    with pytest.raises(TypeError, match="batch_norm_train_grads: var"):
        ops.batch_norm_train_grads(x, x, gamma, mean, var.astype("float32"))
    with pytest.raises(ValueError, match="epsilon"):
        ops.batch_norm_train(x, gamma, beta, epsilon=np.nan)


@pytest.mark.torch
def test_training_form_against_torch(torch):
    x = torch.randn(4, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    gamma, beta = (torch.tensor(v).requires_grad_() for v in parameters(3, "float64")[:2])
    y = torch.nn.functional.batch_norm(x, None, None, gamma, beta, training=True)
    dy = torch.randn_like(y)
    y.backward(dy)
    given = [v.detach().numpy() for v in (x, gamma, beta)]
    got, mean, var = ops.batch_norm_train(*given)
    np.testing.assert_allclose(got, y.detach().numpy(), rtol=1e-11, atol=1e-12)
    grads = ops.batch_norm_train_grads(dy.numpy(), *given[:2], mean, var)
    for got, want in zip(grads, (x, gamma, beta), strict=True):
        np.testing.assert_allclose(got, want.grad.numpy(), rtol=1e-10, atol=1e-11)


@pytest.mark.torch
def test_against_torch(torch):
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    gamma, beta, mean, var = parameters(3, "float64")
    y = torch.nn.functional.batch_norm(x, *(torch.tensor(v) for v in (mean, var, gamma, beta)))
    dy = torch.randn_like(y)
    y.backward(dy)
    np.testing.assert_allclose(ops.batch_norm(x.detach().numpy(), gamma, beta, mean, var), y.detach().numpy(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(ops.batch_norm_input_grad(dy.numpy(), gamma, var), x.grad.numpy(), rtol=1e-12)
