"""Gradients of gradients against central differences in float64, at extreme arguments, and against torch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from graph.cases import CASES, F64, STRAIGHT_THROUGH, build, normal, positive, run, spaced
from graph.test_autodiff import central_differences

from gradcam.errors import UnsupportedOpError
from gradcam.graph.autodiff import gradients
from gradcam.graph.builder import Builder
from gradcam.graph.operators import OPERATORS
from gradcam.ops.unary import UNARY


def contracted(g, value, direction):
    """Scalar product of a value and a direction, as a function of the arrays."""
    return lambda arrays: np.vdot(direction, run(g, [value], arrays)[0])


ONCE = ("BatchNormTrain",)
"""Operators that are differentiated once: training needs no more."""


@pytest.mark.parametrize("case", [case for case in CASES if case.op not in (*STRAIGHT_THROUGH, *ONCE)], ids=str)
def test_hessian_vector_product_is_the_central_difference_of_the_gradient(case):
    g, inputs, arrays, (y, *_) = build(case)
    inputs.append(g.input("dy", y.shape))
    arrays.append(normal(y.shape, 11))
    reals = [(value, i) for i, value in enumerate(inputs) if value.is_real]
    targets = [value for value, _ in reals]
    for first in gradients(g, y, targets[:-1], targets[-1]):
        direction = normal(first.shape, 12)
        seed = g.input("v", first.shape)
        found = run(g, gradients(g, first, targets, seed), [*arrays, direction])
        g.graph.inputs.remove(seed)
        for (value, position), product in zip(reals, found, strict=True):
            assert product.shape == value.shape
            expected = central_differences(contracted(g, first, direction), arrays, position)
            np.testing.assert_allclose(product, expected, rtol=0, atol=1e-6 * max(1.0, np.abs(expected).max(initial=0)))


def test_what_is_differentiated_once_says_so():
    g = Builder(np.dtype(np.float64))
    x, gamma, beta = g.input("x", (4, 3)), g.input("gamma", (3,)), g.input("beta", (3,))
    y, mean, _ = g.emit_all("BatchNormTrain", x, gamma, beta, epsilon=1e-3)
    (first,) = gradients(g, g.sum(g.mul(y, y), (0, 1)), [x])
    with pytest.raises(UnsupportedOpError, match="'BatchNormTrainGrad' .* has no gradient rule"):
        gradients(g, g.sum(first, (0, 1)), [x])
    with pytest.raises(UnsupportedOpError, match="'BatchNormTrain' .* has no gradient rule"):
        gradients(g, g.add(g.sum(y, (0, 1)), g.sum(mean, (0,))), [x])


def hessian_product(op, x, direction, **attrs):
    """H v of sum f(x), which is f''(x) v for an elementwise function."""
    g = Builder(x.dtype)
    value, seed = g.input("x", x.shape), g.input("v", x.shape)
    (first,) = gradients(g, g.emit(op, value, **({"alpha": 0.0, "beta": 0.0} | attrs)), [value], g.constant(np.ones(x.shape)))
    return run(g, gradients(g, first, [value], seed), [x, direction])[0]


CURVATURE = {
    "Sigmoid": lambda x: np.exp(-np.abs(x)) * (np.exp(-np.abs(x)) - 1) / (1 + np.exp(-np.abs(x))) ** 3 * np.sign(x),
    "Tanh": lambda x: -2 * np.tanh(x) / np.cosh(np.minimum(np.abs(x), 350)) ** 2,
    "HardSwish": lambda x: np.where(np.abs(x) < 3, 1 / 3, 0),
    "Elu": lambda x: np.where(x < 0, 1.3 * np.exp(np.minimum(x, 0)), 0),
    "Softplus": lambda x: np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))) ** 2,
    "Erf": lambda x: -4 * x / np.sqrt(np.pi) * np.exp(-(x**2)),
    "Softsign": lambda x: -2 * np.sign(x) / (1 + np.abs(x)) ** 3,
    "Atan": lambda x: -2 * x / (1 + x**2) ** 2,
    "Asinh": lambda x: -x / (1 + x**2) ** 1.5,
    "Gelu": lambda x: (2 - x**2) * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi),
}


@pytest.mark.parametrize("op", CURVATURE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_curvature_of_saturating_functions_keeps_its_digits(op, dtype):
    x = np.concatenate([np.linspace(-12, 12, 97), [-9e3, -80, 80, 9e3]]).astype(dtype)
    found = hessian_product(op, x, np.ones_like(x), alpha=1.3 if op == "Elu" else 0.0)
    expected = CURVATURE[op](x.astype(np.float64))
    bound = 2e-6 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(found, expected, rtol=bound, atol=np.finfo(dtype).smallest_normal + bound * 1e-3)


def mish_curvature(x):
    """By the textbook: u = softplus(x), y = x tanh(u), u' = s, u'' = s (1 - s), tanh' = k, tanh'' = -2 tanh(u) k."""
    s, t = 1 / (1 + np.exp(-np.maximum(x, -700))), 1 / (1 + np.exp(np.minimum(x, 700)))
    u = np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
    k = 1 / np.cosh(np.minimum(u, 350)) ** 2
    return 2 * k * s + x * k * (s * t - 2 * np.tanh(u) * s * s)


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 3e-7), ("float64", 1e-15)])
def test_curvature_of_mish_which_changes_its_sign(dtype, bound):
    x = np.linspace(-20, 20, 401).astype(dtype)
    np.testing.assert_allclose(hessian_product("Mish", x, np.ones_like(x)), mish_curvature(x.astype(np.float64)), rtol=0, atol=bound)


NOT_FLAT = ("Exp", "Log", "Sqrt", "Reciprocal", "Sin", "Cos", "Tan", "Asin", "Acos", "Sinh", "Cosh", "Acosh", "Atanh")
"""Functions that have no limit of their curvature at one of the infinities, or no value there."""


@pytest.mark.parametrize("op", [op for op in UNARY if op not in NOT_FLAT])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_curvature_vanishes_at_infinity_and_beyond_the_range_of_powers(op, dtype):
    x = np.array([-np.inf, -1e30, 1e30, np.inf], dtype)
    found = hessian_product(op, x, np.ones_like(x), alpha=0.2, beta=0.7)
    slowly = 1e-50 if op in ("Softsign", "Atan", "Asinh") else 0  # as a power of x
    np.testing.assert_allclose(found, [0, 0, 0, 0], atol=slowly)
    assert found[0] == found[-1] == 0


PIECES = ["Relu", "LeakyRelu", "Clip", "HardSigmoid", "Abs", "Neg", "Affine", "ThresholdedRelu", "Sign", "Floor", "Ceil", "Round"]


@pytest.mark.parametrize("op", PIECES)
def test_functions_of_straight_pieces_have_no_second_derivative(op):
    g = Builder(F64)
    x, v = g.input("x", (2, 9)), g.input("v", (2, 9))
    (first,) = gradients(g, g.emit(op, x, alpha=0.3, beta=0.8), [x], g.constant(np.ones((2, 9))))
    (second,) = gradients(g, first, [x], v)
    assert second.data is not None  # known to be zero without a run
    assert not second.data.any()


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0, 3.0])
def test_power_with_a_constant_exponent_at_zero_and_below(exponent):
    g = Builder(F64)
    x, v = g.input("x", (3,)), g.input("v", (3,))
    (first,) = gradients(g, g.emit("Pow", x, g.constant(exponent)), [x], g.constant(np.ones(3)))
    (second,) = gradients(g, first, [x], v)
    a = positive((3,)) if exponent == 0.5 else np.array([-1.5, 0.0, 2.0])
    b = exponent
    expected = np.zeros(3) if b == 1 else b * (b - 1) * a ** (b - 2)
    np.testing.assert_allclose(run(g, [second], [a, np.ones(3)])[0], expected, rtol=1e-13)


def test_power_of_zero_with_an_exponent_that_varies():
    g = Builder(F64)
    a, b, v = g.input("a", (2,)), g.input("b", (2,)), g.input("v", (2,))
    firsts = gradients(g, g.emit("Pow", a, b), [a, b], g.constant(np.ones(2)))
    seconds = [second for first in firsts for second in gradients(g, first, [a, b], v)]
    found = run(g, seconds, [np.zeros(2), np.array([2.0, 3.0]), np.ones(2)])
    np.testing.assert_array_equal(found, [[2, 0], [0, 0], [0, 0], [0, 0]])


def test_hessian_is_symmetric():
    """Of a network of two convolutions with everything that bends between them."""
    g = Builder(F64)
    x = g.input("x", (1, 3, 6, 5))
    (first,) = gradients(g, g.sum(small_network(g, x, "Gelu"), (0,)), [x])
    u, v = g.input("u", x.shape), g.input("v", x.shape)
    products = [gradients(g, first, [x], seed)[0] for seed in (u, v)]
    a, b, c = normal(x.shape), normal(x.shape, 1), normal(x.shape, 2)
    hu, hv = run(g, products, [a, b, c])
    np.testing.assert_allclose(np.vdot(c, hu), np.vdot(b, hv), rtol=1e-10)
    assert np.abs(hu).max() > 1e-3


def test_a_missing_rule_is_named(monkeypatch):
    g = Builder(F64)
    x = g.input("x", (1, 4))
    (first,) = gradients(g, g.emit("HardSwish", x, alpha=0.0, beta=0.0), [x], g.constant(np.ones((1, 4))))
    monkeypatch.setitem(OPERATORS, "UnaryGrad", replace(OPERATORS["UnaryGrad"], gradient=None))
    with pytest.raises(UnsupportedOpError, match=r"operator 'UnaryGrad' \(output 'hardswish_1.grad'\) has no gradient rule"):
        gradients(g, first, [x], g.constant(np.ones((1, 4))))


@pytest.mark.parametrize("reduction", ["ReduceMax", "ReduceMin"])
def test_equal_extremes_average_what_is_fed_in(reduction):
    g = Builder(F64)
    x, v = g.input("x", (2, 3)), g.input("v", (2, 3))
    y = g.emit(reduction, x, axes=(1,))
    (first,) = gradients(g, g.mul(y, y), [x], g.constant(np.ones(2)))  # 2 y at the extremes
    (second,) = gradients(g, first, [x], v)
    a = np.array([[4.0, 4.0, 1.0], [2.0, 5.0, 6.0]]) * (1 if reduction == "ReduceMax" else -1)
    direction = np.array([[1.0, 3.0, 7.0], [1.0, 1.0, 9.0]])
    # y(x + t v) moves by the mean of v over the ties, and so does each tie's half of 2 y
    np.testing.assert_allclose(run(g, [second], [a, direction])[0], [[2, 2, 0], [0, 0, 18]])


# --- torch

ACTIVATIONS = ["Gelu", "GeluTanh", "SiLU", "HardSwish", "Elu", "Softplus", "Tanh", "Relu"]
W1, W2, GAMMA, BETA, MEAN, VAR = (
    normal((4, 3, 3, 3), 21) * 0.4,
    normal((6, 2, 3, 3), 22) * 0.4,
    normal((4,), 23),
    normal((4,), 24),
    normal((4,), 25),
    positive((4,), 26),
)
FC = normal((6, 5), 27)
CONV1 = {"stride": (1, 1), "pad_lo": (1, 1), "pad_hi": (1, 1), "dilation": (1, 1), "groups": 1}
CONV2 = CONV1 | {"groups": 2}
POOL = {"kernel": (2, 2), "stride": (1, 1), "pad_lo": (0, 0), "pad_hi": (0, 0), "dilation": (1, 1)}


def small_network(g, x, activation):
    """conv, bn, activation, max pooling, grouped conv, activation, average pooling, mean, linear, softmax; class 2."""

    def act(v):
        return g.mul(v, g.emit("Sigmoid", v, alpha=0.0, beta=0.0)) if activation == "SiLU" else g.emit(activation, v, alpha=1.0, beta=0.0)

    h = g.emit("Conv", x, g.constant(W1), None, **CONV1)
    h = act(g.emit("BatchNorm", h, *(g.constant(p) for p in (GAMMA, BETA, MEAN, VAR)), epsilon=1e-5))
    h = g.emit("MaxPool", h, ceil_mode=False, count_include_pad=False, **POOL)
    h = act(g.emit("Conv", h, g.constant(W2), None, **CONV2))
    h = g.emit("AveragePool", h, ceil_mode=False, count_include_pad=False, **POOL)
    logits = g.emit("MatMul", g.reduce("ReduceMean", h, (2, 3), False), g.constant(FC), trans_a=False, trans_b=False)
    return g.reshape(g.emit("Gather", g.emit("Softmax", logits, axis=1), g.constant(np.array([2])), axis=1), (1,))


def torch_network(torch, x, activation):
    f = torch.nn.functional
    act = {
        "Gelu": f.gelu,
        "GeluTanh": lambda v: f.gelu(v, approximate="tanh"),
        "SiLU": f.silu,
        "HardSwish": lambda v: v * (v + 3).clamp(0, 6) / 6,  # hardswish itself is differentiated once only
        "Elu": f.elu,
        "Softplus": f.softplus,
        "Tanh": torch.tanh,
        "Relu": torch.relu,
    }[activation]
    w1, w2, gamma, beta, mean, var, fc = map(torch.tensor, (W1, W2, GAMMA, BETA, MEAN, VAR, FC))
    h = act(f.batch_norm(f.conv2d(x, w1, padding=1), mean, var, gamma, beta, eps=1e-5))
    h = act(f.conv2d(f.max_pool2d(h, 2, 1), w2, padding=1, groups=2))
    return torch.softmax(f.avg_pool2d(h, 2, 1).mean((2, 3)) @ fc, 1)[0, 2]


@pytest.mark.torch
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_hessian_vector_product_of_torch(torch, activation):
    g = Builder(F64)
    x = g.input("x", (1, 3, 6, 5))
    (first,) = gradients(g, small_network(g, x, activation), [x])
    v = g.input("v", x.shape)
    (second,) = gradients(g, first, [x], v)
    a, direction = spaced(x.shape, 3, 0.03), normal(x.shape, 1)
    found = run(g, [second], [a, direction])[0]

    leaf = torch.tensor(a, requires_grad=True)
    (gradient,) = torch.autograd.grad(torch_network(torch, leaf, activation), leaf, create_graph=True)
    (expected,) = torch.autograd.grad((gradient * torch.tensor(direction)).sum(), leaf)
    peak = float(expected.abs().max())
    assert peak > 1e-6
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-11 * peak)
