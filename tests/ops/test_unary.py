from __future__ import annotations

import numpy as np
import pytest
from gradcheck import assert_gradient
from reference import unary as reference

from gradcam import _core, ops
from gradcam.ops import _call
from gradcam.ops.unary import SLOPE_IS_0_OR_1, UNARY, bits_shape, unary_attributes

OPS = list(reference.FUNCTIONS)
PIECEWISE = ["Relu", "LeakyRelu", "Clip", "HardSigmoid", "HardSwish", "Abs", "Neg", "Affine"]
PIECEWISE += ["ThresholdedRelu", "Sign", "Floor", "Ceil", "Round"]
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-42, -1e-42, 3.0, -3.0]


def output(op, x, **keywords):
    _, alpha, beta = reference.FUNCTIONS[op]
    return _call.call("unary_output", unary_attributes(op, x.size, alpha, beta), [x], [x.shape], **keywords)[0]


def gradient(op, x, dy, **keywords):
    _, alpha, beta = reference.FUNCTIONS[op]
    return _call.call("unary_input_grad", unary_attributes(op, x.size, alpha, beta), [x, dy], [x.shape], **keywords)[0]


def inputs(op, dtype, count=4001):
    x = np.concatenate([np.linspace(-30, 30, count), np.linspace(-2, 2, 513)])
    if op in ("Log", "Sqrt", "Reciprocal"):
        x = np.abs(x) + 1e-3
    elif op in ("Asin", "Acos", "Atanh"):
        x = x / 30.1
    elif op == "Acosh":
        x = np.abs(x) + 1.001
    return x.astype(dtype)


def test_every_operator_has_a_reference():
    assert set(UNARY) == set(OPS)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize(("dtype", "ulps"), [("float32", 6), ("float64", 12)])
def test_values_are_the_reference_within_a_few_ulps(isa, op, dtype, ulps):
    x = inputs(op, dtype)
    got, want = output(op, x), reference.unary(op, x)
    assert got.dtype == dtype
    unit = np.spacing(np.abs(want).astype(dtype)).astype(np.float64)
    if op in ("GeluTanh", "HardSwish", "HardSigmoid", "Elu", "Affine", "Gelu"):  # products and sums: relative to their terms
        unit = np.maximum(unit, np.spacing(np.maximum(np.abs(x), 1).astype(dtype)).astype(np.float64) / (8 if op == "Gelu" else 1))
    assert (np.abs(got.astype(np.float64) - want) / unit).max() <= ulps


@pytest.mark.parametrize("op", ["Gelu", "GeluTanh", "Silu"])
def test_gates_and_their_slopes_keep_their_digits_over_the_whole_range(isa, op):
    """Every exponent, both signs, and a grid where the function bends: subnormal numbers and results too."""
    spread = np.arange(0, 0x7F800000, 99_991, dtype=np.uint32).view(np.float32)
    x = np.concatenate([spread, -spread, np.linspace(-16, 16, 20_001, dtype=np.float32), [np.inf, -np.inf]]).astype(np.float32)
    size = np.abs(x).astype(np.float64)
    step, bend = np.array([reference.gate_parts(op, a) if a < 200 else (0.0, 0.0) for a in size]).T  # 0 long before
    size[step == 0] = 0
    values = np.where(x < 0, 0.0, x) - size * step
    slopes = np.where(x < 0, step - bend, 1 - (step - bend))

    def ulps(found, want, terms):
        exact = found.astype(np.float64) == want
        with np.errstate(invalid="ignore"):
            return np.where(exact, 0, np.abs(found - want) / np.spacing(terms.astype(np.float32))).max()

    assert ulps(output(op, x), values, np.abs(values)) <= 5
    assert ulps(gradient(op, x, np.ones_like(x)), slopes, np.maximum(np.abs(slopes), np.maximum(step, bend))) <= 7


@pytest.mark.parametrize("op", ["Gelu", "GeluTanh", "Silu"])
def test_gates_keep_nan_and_the_sign_of_zero(isa, op):
    x = np.resize(np.asarray([np.nan, -0.0, 0.0, -np.nan], np.float32), 37)
    y = output(op, x)
    assert (np.isnan(y) == np.isnan(x)).all()
    assert (np.signbit(y) == np.signbit(x))[~np.isnan(x)].all()
    assert (np.isnan(gradient(op, x, np.ones_like(x))) == np.isnan(x)).all()


@pytest.mark.parametrize("op", OPS)
def test_gradients_are_central_differences(isa, op):
    rng = np.random.default_rng(0)
    x = rng.uniform(-4, 4, 40)
    kinks = {"Clip": (-1.5, 2.5), "HardSigmoid": (-2.5, 2.5), "HardSwish": (-3, 3), "ThresholdedRelu": (0.625,)}.get(op, (0,))
    kinks = {"Floor": range(-4, 5), "Ceil": range(-4, 5), "Round": np.arange(-3.5, 4)}.get(op, kinks)
    if op in ("Asin", "Acos", "Atanh", "Acosh", "Tan"):
        x = np.abs(x) + 1.2 if op == "Acosh" else x / 4.5
    x = np.abs(x) + 0.1 if op in ("Log", "Sqrt", "Reciprocal") else x[np.min([np.abs(x - k) for k in kinks], axis=0) > 1e-3]
    dy = rng.standard_normal(x.shape)
    assert_gradient(gradient(op, x, dy), lambda v: output(op, np.ascontiguousarray(v)), x, dy)


@pytest.mark.parametrize("op", OPS)
def test_float32_gradients_are_those_of_float64(isa, op):
    x, rng = inputs(op, "float32"), np.random.default_rng(1)
    dy = rng.standard_normal(x.shape).astype("float32")
    got, want = gradient(op, x, dy), gradient(op, x.astype("float64"), dy.astype("float64"))
    np.testing.assert_allclose(got, want, rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("op", "x", "slope"),
    [
        ("Relu", 0.0, 0.0),
        ("LeakyRelu", 0.0, 0.1),
        ("Elu", 0.0, 1.3),
        ("Clip", -1.5, 0.0),
        ("Clip", 2.5, 0.0),
        ("HardSwish", -3.0, 0.0),
        ("HardSwish", 3.0, 1.0),
        ("HardSigmoid", -2.5, 0.0),
        ("HardSigmoid", 2.5, 0.0),
        ("Abs", 0.0, 0.0),
        ("ThresholdedRelu", 0.625, 0.0),
        ("Sign", 0.0, 0.0),
        ("Floor", 1.0, 0.0),
        ("Ceil", 1.0, 0.0),
        ("Round", 0.5, 0.0),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_derivatives_at_kinks(isa, op, x, slope, dtype):
    x = np.full(9, x, dtype)
    np.testing.assert_allclose(gradient(op, x, np.full(9, 2, dtype)), np.full(9, 2 * slope), rtol=1e-6)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nan_stays_nan_and_position_does_not_matter(isa, op, dtype):
    x = np.asarray([1.0, np.nan, 1.0] if op in ("Asin", "Acos", "Acosh", "Atanh") else [0.5, np.nan, 2.0], dtype)
    assert np.isnan(output(op, x)).tolist() == [False, True, False]
    for length in (1, 3, 7, 8, 9, 31, 67):
        line = np.resize(inputs(op, dtype), length)
        whole = output(op, line)
        for i in range(length):
            assert output(op, line[i : i + 1]).tobytes() == whole[i : i + 1].tobytes()


@pytest.mark.parametrize("op", PIECEWISE)
def test_special_values_are_the_same_bytes_at_every_level(monkeypatch, op):
    x = np.resize(np.asarray(SPECIAL, np.float32), 37)
    found = set()
    for level in _call._core.isas:
        monkeypatch.setattr(_call, "isa", level)
        found.add((output(op, x).tobytes(), gradient(op, x, np.ones_like(x)).tobytes()))
    assert len(found) == 1


def test_relu_keeps_nan_and_negative_zero(isa):
    y = ops.relu(np.asarray([np.nan, -0.0, -1.0, np.inf, -np.inf], np.float32))
    assert np.isnan(y[0])
    assert np.signbit(y[1])
    assert y[2:].tolist() == [0, np.inf, 0]


def test_limits_of_the_special_functions(isa):
    big = np.asarray([-1e4, -200, 200, 1e4], np.float32)
    np.testing.assert_array_equal(ops.sigmoid(big), [0, 0, 1, 1])
    np.testing.assert_array_equal(ops.tanh(big), [-1, -1, 1, 1])
    np.testing.assert_array_equal(ops.erf(big), [-1, -1, 1, 1])
    np.testing.assert_array_equal(ops.exp(big), [0, 0, np.inf, np.inf])
    np.testing.assert_array_equal(ops.softplus(big), [0, 0, 200, 1e4])
    small = np.float32(-95.0)
    np.testing.assert_allclose(ops.exp(np.full(5, small)), np.exp(np.float64(small)), rtol=1e-4)  # a subnormal result


@pytest.mark.parametrize("op", OPS)
def test_any_number_of_threads_gives_the_same_bytes(isa, op):
    x = np.resize(inputs(op, "float32"), 40_003)
    dy = np.random.default_rng(2).standard_normal(x.shape).astype("float32")
    assert len({output(op, x, num_threads=n).tobytes() for n in (1, 2, 3, 4)}) == 1
    assert len({gradient(op, x, dy, num_threads=n).tobytes() for n in (1, 2, 3, 4)}) == 1


def test_public_functions_take_their_parameters():
    x = np.linspace(-3, 3, 13)
    np.testing.assert_allclose(ops.leaky_relu(x, 0.5), np.where(x < 0, 0.5 * x, x))
    np.testing.assert_allclose(ops.clip(x, -1, 2), np.clip(x, -1, 2))
    np.testing.assert_allclose(ops.hard_sigmoid(x, 0.3, 0.4), np.clip(0.3 * x + 0.4, 0, 1))
    np.testing.assert_allclose(ops.elu(x, 2.0), np.where(x < 0, 2 * np.expm1(x), x))
    np.testing.assert_allclose(ops.gelu(x, "tanh"), [reference.gelu_tanh(v) for v in x], rtol=1e-12)
    for name, function in (("exp", np.exp), ("abs", np.abs), ("neg", np.negative), ("tanh", np.tanh)):
        np.testing.assert_allclose(getattr(ops, name)(x), function(x), rtol=1e-14)
    for name, function in (("sqrt", np.sqrt), ("log", np.log), ("reciprocal", np.reciprocal)):
        np.testing.assert_allclose(getattr(ops, name)(np.abs(x) + 1), function(np.abs(x) + 1), rtol=1e-14)


def test_empty_arrays_and_bad_input():
    assert ops.relu(np.empty((0, 3), np.float32)).shape == (0, 3)
    with pytest.raises(TypeError, match="relu: x: expected float32 or float64, got int64"):
        ops.relu(np.arange(3))
    with pytest.raises(ValueError, match="unary_input_grad: op: expected one of Relu"):
        ops.unary_input_grad("Nope", np.ones(2), np.ones(2))
    with pytest.raises(ValueError, match="dy: expected shape"):
        ops.unary_input_grad("Relu", np.ones(2), np.ones(3))
    with pytest.raises(TypeError, match="dy: expected float64"):
        ops.unary_input_grad("Relu", np.ones(2), np.ones(2, np.float32))


@pytest.mark.torch
@pytest.mark.parametrize("op", [o for o in OPS if o != "Affine"])
def test_against_torch(torch, op):
    f = torch.nn.functional
    functions = {
        "Relu": torch.relu,
        "LeakyRelu": lambda x: f.leaky_relu(x, 0.1),
        "Clip": lambda x: f.hardtanh(x, -1.5, 2.5),
        "Sigmoid": torch.sigmoid,
        "Tanh": torch.tanh,
        "HardSigmoid": lambda x: torch.clamp(0.2 * x + 0.5, 0, 1),
        "HardSwish": f.hardswish,
        "Elu": lambda x: f.elu(x, 1.3),
        "Softplus": f.softplus,
        "Erf": torch.erf,
        "Gelu": f.gelu,
        "GeluTanh": lambda x: f.gelu(x, approximate="tanh"),
        "Exp": torch.exp,
        "Log": torch.log,
        "Sqrt": torch.sqrt,
        "Reciprocal": torch.reciprocal,
        "Abs": torch.abs,
        "Neg": torch.neg,
        "ThresholdedRelu": lambda x: f.threshold(x, 0.625, 0.0),
        "Softsign": f.softsign,
        "Mish": f.mish,
        "Silu": f.silu,
    } | {name: getattr(torch, name.lower()) for name in OPS[OPS.index("Sign") :]}
    values = inputs(op, "float64", 301)
    values = values[(np.abs(values) != 2.5) & (values != -1.5) & (np.abs(values) < 18)]  # torch's softplus is linear above 20
    x = torch.tensor(values, requires_grad=True)
    y = functions[op](x)
    dy = np.random.default_rng(3).standard_normal(values.shape)
    y.backward(torch.tensor(dy))
    np.testing.assert_allclose(output(op, values), y.detach().numpy(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(gradient(op, values, dy), x.grad.numpy(), rtol=1e-10, atol=1e-12)


BOUNDS = {"Relu": [(0.0, 0.0)], "Clip": [(0.0, 6.0), (-1.0, 1.0), (-np.inf, 2.0), (1.0, -1.0)]}


@pytest.mark.parametrize("count", [0, 1, 7, 15, 16, 17, 31, 33, 1000, 4099])
@pytest.mark.parametrize("op", SLOPE_IS_0_OR_1)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_by_bits_are_the_gradients(isa, op, dtype, count):
    rng = np.random.default_rng(count)
    x, dy = (3 * rng.standard_normal((2, count))).astype(dtype)
    for i, special in enumerate([*SPECIAL, 6.0, 2.0, 1.0, -1.0]):
        x[i :: 2 * len(SPECIAL)] = special
    dy[::11], dy[1::13], dy[2::17] = np.nan, -0.0, np.inf
    for alpha, beta in BOUNDS[op]:
        attributes = unary_attributes(op, count, alpha, beta)
        (y,) = _call.call("unary_output", attributes, [x], [(count,)])
        (want,) = _call.call("unary_input_grad", attributes, [x, dy], [(count,)])
        slope = x > 0 if op == "Relu" else (x > alpha) & (x < beta)
        for source in (x, y):  # either will do
            for workers in (1, 2, 3):
                bits, dx = np.full(bits_shape(count), 255, np.uint8), dy.copy()
                _core.call("unary_slope_bits", isa, x.dtype.char, *attributes, (source,), (bits,), workers)
                _core.call("unary_bits_grad", isa, x.dtype.char, *attributes, (bits, dx), (dx,), workers)  # in place
                unpacked = np.unpackbits(bits, bitorder="little")
                np.testing.assert_array_equal(unpacked[:count], slope | np.isnan(x))
                assert not unpacked[count:].any()
                np.testing.assert_array_equal(dx.view(np.uint8), want.view(np.uint8))


def test_bits_know_functions_whose_slope_is_0_or_1():
    for kernel in ("unary_slope_bits", "unary_bits_grad"):
        for op in UNARY:
            if op in SLOPE_IS_0_OR_1:
                _core.operands(kernel, "scalar", "f", *unary_attributes(op, 5))
                continue
            with pytest.raises(ValueError, match="expected"):
                _core.operands(kernel, "scalar", "f", *unary_attributes(op, 5))
        with pytest.raises(ValueError, match="shape"):
            _core.operands(kernel, "scalar", "f", *unary_attributes("Relu", -1))
