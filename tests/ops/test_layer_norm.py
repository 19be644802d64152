"""The kernels of layer norm against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from gradcheck import assert_gradient
from reference import layer_norm as reference

from gradcam.ops import _call
from gradcam.ops._call import Attributes
from gradcam.ops.layer_norm import layer_norm_attributes

EPSILON = 1e-5
SIZES = [1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 97, 128, 131, 384]
"""Whole and broken vectors and groups of vectors, of every level."""
PARTS = [(True, True), (True, False), (False, True), (False, False)]


def output(x, gamma, beta, **keywords):
    attributes = layer_norm_attributes(x.shape, 1, EPSILON, gamma=gamma is not None, beta=beta is not None)
    return _call.call("layer_norm_output", attributes, [x, gamma, beta], [x.shape], **keywords)[0]


def gradient(x, gamma, dy, **keywords):
    attributes = layer_norm_attributes(x.shape, 1, EPSILON, gamma=gamma is not None, beta=False)
    return _call.call("layer_norm_input_grad", attributes, [x, gamma, dy], [x.shape], **keywords)[0]


def operands(rows, n, dtype, seed=0, offset=30.0):
    """Rows whose means are far larger than their deviations; factors and biases."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, n)) * rng.uniform(0.1, 5, (rows, 1)) + offset * rng.standard_normal((rows, 1))
    return tuple(a.astype(dtype) for a in (x, rng.standard_normal(n), rng.standard_normal(n), rng.standard_normal((rows, n))))


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 6e-7), ("float64", 1e-12)])
def test_values_are_the_reference(isa, n, dtype, bound):
    x, gamma, beta, _ = operands(5, n, dtype, n)
    scale = np.abs(reference.layer_norm(x, None, None, EPSILON)).max()
    for has_gamma, has_beta in PARTS:
        parts = gamma if has_gamma else None, beta if has_beta else None
        y, want = output(x, *parts), reference.layer_norm(x, *parts, EPSILON)
        assert y.dtype == dtype
        np.testing.assert_allclose(y, want, rtol=0, atol=bound * max(1, scale * (np.abs(gamma).max() if has_gamma else 1)))


@pytest.mark.parametrize("n", SIZES[1:])
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-6), ("float64", 1e-12)])
def test_gradients_are_the_reference(isa, n, dtype, bound):
    x, gamma, _, dy = operands(3, n, dtype, n)
    for factor in (gamma, None):
        want = reference.layer_norm_input_grad(x, factor, dy, EPSILON)
        terms = np.abs(dy).max() * (1 if factor is None else np.abs(gamma).max()) / x.astype(np.float64).std(1, keepdims=True)
        assert (np.abs(gradient(x, factor, dy) - want) / terms).max() <= bound


@pytest.mark.parametrize("n", [2, 5, 19])
def test_gradients_are_central_differences(isa, n):
    x, gamma, beta, dy = operands(3, n, "float64", n, offset=1.0)
    assert_gradient(gradient(x, gamma, dy), lambda v: output(np.ascontiguousarray(v), gamma, beta), x, dy)


def test_one_number_in_a_row_has_no_slope(isa):
    x, gamma, beta, dy = operands(9, 1, "float32")
    np.testing.assert_array_equal(output(x, gamma, beta), np.broadcast_to(beta, x.shape))
    np.testing.assert_array_equal(gradient(x, gamma, dy), np.zeros(x.shape))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_makes_its_row_nan_and_no_other(isa, bad):
    x, gamma, beta, dy = operands(4, 37, "float32")
    x[2, 36] = bad
    for found in (output(x, gamma, beta), gradient(x, gamma, dy)):
        assert np.isnan(found).all(1).tolist() == [False, False, True, False]
        assert np.isfinite(found[[0, 1, 3]]).all()


def test_a_large_mean_does_not_shift_a_row(isa):
    deviation = np.resize([1.0, -1.0, 3.0, -3.0], 64)
    y = output((2.0**22 + deviation)[None].astype(np.float32), None, None)
    np.testing.assert_allclose(y[0], deviation / np.sqrt(5 + EPSILON), rtol=3e-7)


@pytest.mark.parametrize("n", [33, 96])
def test_any_number_of_threads_and_work_in_place_give_the_same_bytes(isa, n):
    x, gamma, beta, dy = operands(301, n, "float32")
    results = {(output(x, gamma, beta, num_threads=k).tobytes(), gradient(x, gamma, dy, num_threads=k).tobytes()) for k in (1, 2, 3, 4)}
    assert len(results) == 1
    for position, (kernel, arrays) in enumerate((("layer_norm_output", (x, gamma, beta)), ("layer_norm_input_grad", (x, gamma, dy)))):
        for place in (0, 2)[: position + 1]:
            inputs = [a.copy() for a in arrays]
            attributes = layer_norm_attributes(x.shape, 1, EPSILON, gamma=True, beta=position == 0)
            _call._core.call(kernel, _call.isa, "f", attributes.ints, attributes.reals, tuple(inputs), (inputs[place],), 1)
            assert inputs[place].tobytes() == next(iter(results))[position]


def test_an_empty_batch():
    assert output(np.empty((0, 5), np.float32), None, None).shape == (0, 5)


@pytest.mark.parametrize(
    ("ints", "epsilon", "error"),
    [
        ((2, 0, 0, 0), 1e-5, "sizes of at least 1"),
        ((-1, 3, 0, 0), 1e-5, "sizes of at least 1"),
        ((2, 3, 2, 0), 1e-5, "operator code"),
        ((2, 3, 0, -1), 1e-5, "operator code"),
        ((2, 3, 0, 0), -1.0, "finite parameter"),
        ((2, 3, 0, 0), float("nan"), "finite parameter"),
    ],
)
@pytest.mark.parametrize("kernel", ["layer_norm_output", "layer_norm_input_grad"])
def test_bad_attributes_are_refused(kernel, ints, epsilon, error):
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match=error):
        _call.call(kernel, Attributes(ints, (epsilon,)), [x, None, x if kernel.endswith("grad") else None], [x.shape])


def test_a_size_that_overflows_is_refused():
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(MemoryError, match="layer_norm_output: expected a size that fits into memory"):
        _call.call("layer_norm_output", Attributes((2**62, 3, 0, 0), (1e-5,)), [x, None, None], [x.shape])


def test_the_gradient_has_no_bias():
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match="operator code"):
        _call.call("layer_norm_input_grad", Attributes((2, 3, 0, 1), (1e-5,)), [x, None, x], [x.shape])


@pytest.mark.torch
@pytest.mark.parametrize("n", [5, 48])
def test_against_torch(torch, n):
    x, gamma, beta, dy = operands(4, n, "float64")
    t = [torch.tensor(a, requires_grad=True) for a in (x, gamma, beta)]
    y = torch.nn.functional.layer_norm(t[0], (n,), t[1], t[2], EPSILON)
    y.backward(torch.tensor(dy))
    np.testing.assert_allclose(output(x, gamma, beta), y.detach().numpy(), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(gradient(x, gamma, dy), t[0].grad.numpy(), rtol=1e-10, atol=1e-11)
