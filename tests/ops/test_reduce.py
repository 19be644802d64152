from __future__ import annotations

import numpy as np
import pytest
from gradcheck import assert_gradient
from reference import reduce as reference

from gradcam import ops
from gradcam.environment import threads

CASES = [
    ((5,), (0,)),
    ((3, 4, 5), (1,)),
    ((3, 4, 5), (0, 2)),
    ((2, 3, 7, 7), (2, 3)),
    ((1, 2, 1, 3), (0, 1, 2, 3)),
    ((4, 1, 6), (1,)),
    ((2, 3, 2, 3, 2), (0, 2, 4)),
]
OPS = {"sum": ops.sum, "mean": ops.mean, "max": ops.max, "min": ops.min}


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize(("shape", "axes"), CASES)
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-6), ("float64", 1e-13)])
def test_values_are_the_reference(isa, op, shape, axes, dtype, bound):
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    y = OPS[op](x, axes)
    np.testing.assert_allclose(y, reference.reduce(op, x, axes), rtol=bound, atol=bound)
    kept = OPS[op](x, axes, keepdims=True)
    assert kept.shape == tuple(1 if i in axes else n for i, n in enumerate(shape))
    assert kept.tobytes() == y.tobytes()


@pytest.mark.parametrize(("shape", "axes"), CASES)
def test_small_integers_are_exact(isa, shape, axes):
    x = np.random.default_rng(1).integers(-8, 9, shape).astype("float32")
    np.testing.assert_array_equal(ops.sum(x, axes), x.sum(axes))


def test_sums_are_taken_in_double(isa):
    x = np.full(100_000, 0.1, np.float32)
    assert ops.sum(x) == np.float32(np.float64(np.float32(0.1)) * 100_000)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize(("shape", "axes"), CASES)
def test_gradients_are_central_differences(isa, op, shape, axes):
    rng = np.random.default_rng(2)
    x = rng.permutation(np.linspace(-3, 3, int(np.prod(shape)))).reshape(shape)
    dy = rng.standard_normal(OPS[op](x, axes).shape)
    assert_gradient(ops.reduce_input_grad(op, x, dy, axes), lambda v: OPS[op](np.ascontiguousarray(v), axes), x, dy)


def test_equal_extremes_share_the_gradient():
    x = np.asarray([[1.0, 3, 3], [np.nan, np.nan, 0]])
    dx = ops.reduce_input_grad("max", x, np.asarray([1.0, 1.0]), 1)
    assert dx.tolist() == [[0, 0.5, 0.5], [0.5, 0.5, 0]]
    np.testing.assert_array_equal(dx, reference.reduce_input_grad("max", x, np.ones(2), (1,)))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_argmax_takes_the_first_and_nan_wins(isa, axis):
    x = np.random.default_rng(3).integers(0, 3, (4, 5, 6)).astype("float32")
    x[1, 2, 3] = np.nan
    index = ops.argmax(x, axis)
    assert index.dtype == np.int64
    np.testing.assert_array_equal(index, reference.argmax(x, axis))


@pytest.mark.parametrize("op", OPS)
def test_nan_and_infinity_propagate(isa, op):
    x = np.ones((3, 40), np.float32)
    x[0, 17], x[1, 5] = np.nan, np.inf
    y = OPS[op](x, 1)
    assert np.isnan(y[0])
    assert y[1] == (1 if op == "min" else np.inf)
    assert y[2] == (40 if op == "sum" else 1)


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 2), (0, 1, 2)])
def test_any_number_of_threads_gives_the_same_bytes(isa, axes):
    x = np.random.default_rng(4).standard_normal((29, 31, 37)).astype("float32")
    found = set()
    for n in (1, 2, 3, 4):
        with threads(n):
            found.add((ops.mean(x, axes).tobytes(), ops.max(x, axes).tobytes(), ops.argmax(x, axes[0]).tobytes()))
    assert len(found) == 1


def test_bad_input():
    with pytest.raises(ValueError, match=r"sum: axes"):
        ops.sum(np.ones((2, 3)), 2)
    with pytest.raises(TypeError, match="mean: x: expected float32"):
        ops.mean(np.arange(3))
    with pytest.raises(ValueError, match="reduce_input_grad: op"):
        ops.reduce_input_grad("product", np.ones(2), np.ones(()))
    with pytest.raises(ValueError, match="reduce_input_grad: dy: expected shape"):
        ops.reduce_input_grad("sum", np.ones((2, 3)), np.ones(2), 0)


@pytest.mark.torch
def test_against_torch(torch):
    x = torch.randint(0, 3, (3, 4, 5)).double().requires_grad_()
    for op, function in (("max", torch.amax), ("min", torch.amin), ("sum", torch.sum), ("mean", torch.mean)):
        x.grad = None
        y = function(x, dim=(0, 2))
        dy = torch.randn_like(y)
        y.backward(dy)
        np.testing.assert_allclose(ops.reduce_input_grad(op, x.detach().numpy(), dy.numpy(), (0, 2)), x.grad.numpy(), rtol=1e-13)
