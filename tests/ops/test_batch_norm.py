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


@pytest.mark.torch
def test_against_torch(torch):
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    gamma, beta, mean, var = parameters(3, "float64")
    y = torch.nn.functional.batch_norm(x, *(torch.tensor(v) for v in (mean, var, gamma, beta)))
    dy = torch.randn_like(y)
    y.backward(dy)
    np.testing.assert_allclose(ops.batch_norm(x.detach().numpy(), gamma, beta, mean, var), y.detach().numpy(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(ops.batch_norm_input_grad(dy.numpy(), gamma, var), x.grad.numpy(), rtol=1e-12)
