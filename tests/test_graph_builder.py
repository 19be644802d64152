"""GraphBuilder: each operator against its formula or PyTorch, names, bad input, pickling."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

import gradcam
from gradcam import GraphBuilder, ModelFormatError, Preprocess


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def run(x: np.ndarray, operator, *args, **options) -> np.ndarray:
    """Result of one operator in float64."""
    net = GraphBuilder()
    net.output("y", getattr(net, operator)(net.input("x", (None, *x.shape[1:])), *args, **options))
    return net.model()(x)


X4, X3, X2 = normal(2, 4, 7, 6), normal(2, 4, 9), normal(3, 5)
SIGMOID = 1 / (1 + np.exp(-X4))
ERF = np.vectorize(math.erf)

ELEMENTWISE = {
    "relu": ((), {}, np.maximum(X4, 0)),
    "leaky_relu": ((0.2,), {}, np.where(X4 > 0, X4, 0.2 * X4)),
    "elu": ((1.5,), {}, np.where(X4 > 0, X4, 1.5 * np.expm1(X4))),
    "sigmoid": ((), {}, SIGMOID),
    "tanh": ((), {}, np.tanh(X4)),
    "softplus": ((), {}, np.log1p(np.exp(X4))),
    "hardsigmoid": ((), {}, np.clip(X4 / 6 + 0.5, 0, 1)),
    "hardswish": ((), {}, X4 * np.clip(X4 / 6 + 0.5, 0, 1)),
    "silu": ((), {}, X4 * SIGMOID),
    "gelu": ((), {}, X4 * (1 + ERF(X4 / np.sqrt(2))) / 2),
    "gelu-tanh": (("tanh",), {}, X4 * (1 + np.tanh(np.sqrt(2 / np.pi) * (X4 + 0.044715 * X4**3))) / 2),
    "clip": ((-0.5, 0.25), {}, np.clip(X4, -0.5, 0.25)),
    "clip-max": ((), {"max": 0.25}, np.minimum(X4, 0.25)),
    "softmax": ((1,), {}, np.exp(X4) / np.exp(X4).sum(1, keepdims=True)),
    "log_softmax": ((-1,), {}, X4 - np.log(np.exp(X4).sum(-1, keepdims=True))),
    "add": ((X4[:1],), {}, X4 + X4[:1]),
    "sub": ((2.5,), {}, X4 - 2.5),
    "mul": ((normal(4, 1, 1),), {}, X4 * normal(4, 1, 1)),
    "div": ((np.float32(4),), {}, X4 / 4),
    "matmul": ((normal(6, 3),), {}, X4 @ normal(6, 3)),
    "global_average_pool": ((), {}, X4.mean((2, 3), keepdims=True)),
    "flatten": ((), {}, X4.reshape(2, -1)),
    "flatten-2": ((2,), {}, X4.reshape(2, 4, -1)),
    "reshape": (((0, 2, 2, -1),), {}, X4.reshape(2, 2, 2, -1)),
    "transpose": (((0, 2, -1, 1),), {}, X4.transpose(0, 2, 3, 1)),
    "slice": ((2, 1, -1), {}, X4[:, :, 1:-1]),
    "select": ((2, 3), {}, X4[:, :, 3]),
    "select-last": ((1, -1), {}, X4[:, -1]),
    "identity": ((), {}, X4),
}


@pytest.mark.parametrize("case", ELEMENTWISE)
def test_operators_follow_their_formulas(case):
    args, options, want = ELEMENTWISE[case]
    np.testing.assert_allclose(run(X4, case.split("-")[0], *args, **options), want, rtol=1e-12, atol=1e-13)


def test_concat_joins_tensors_and_arrays():
    net = GraphBuilder()
    x = net.input("x", (None, 4, 9))
    net.output("y", net.concat([normal(1, 2, 9), x, net.relu(x)]))
    y = net.model()(X3)
    np.testing.assert_array_equal(y, np.concatenate([np.repeat(normal(1, 2, 9), 2, 0), X3, np.maximum(X3, 0)], 1))


def test_flatten_of_all_but_the_batch_is_the_operator_of_that_name():
    net = GraphBuilder()
    x = net.input("x", (None, 4, 3, 3))
    net.output("y", net.concat([net.flatten(x), net.flatten(net.flatten(x, 2))], 1))
    assert [node.op_type for node in net.source().nodes] == ["Flatten", "Reshape", "Flatten", "Concat", "Identity"]


def test_linear_works_on_vectors_and_on_the_last_axis():
    weight, bias = normal(3, 5), normal(3)
    np.testing.assert_allclose(run(X2, "linear", weight, bias), X2 @ weight.T + bias, rtol=1e-13)
    np.testing.assert_allclose(run(X2, "linear", weight), X2 @ weight.T, rtol=1e-13)
    tokens = normal(2, 4, 5)
    np.testing.assert_allclose(run(tokens, "linear", weight, bias), tokens @ weight.T + bias, rtol=1e-13)
    np.testing.assert_allclose(run(tokens, "linear", weight), tokens @ weight.T, rtol=1e-13)


def test_batch_norm():
    mean, weight, bias = normal(3, 4)
    var = normal(4, seed=1) ** 2 + 0.1
    shape = (4, 1, 1)
    want = (X4 - mean.reshape(shape)) / np.sqrt(var.reshape(shape) + 1e-3)
    np.testing.assert_allclose(run(X4, "batch_norm", mean, var, eps=1e-3), want, rtol=1e-10, atol=1e-12)
    want = want * weight.reshape(shape) + bias.reshape(shape)
    np.testing.assert_allclose(run(X4, "batch_norm", mean, var, weight, bias, eps=1e-3), want, rtol=1e-10, atol=1e-12)


def test_layer_norm():
    weight, bias = normal(2, 7, 6)
    centred = X4 - X4.mean((2, 3), keepdims=True)
    want = centred / np.sqrt(X4.var((2, 3), keepdims=True) + 1e-6) * weight + bias
    np.testing.assert_allclose(run(X4, "layer_norm", weight, bias, eps=1e-6), want, rtol=1e-10, atol=1e-12)


def windows(size: int, count: int) -> list[slice]:
    return [slice(math.floor(i * size / count), math.ceil((i + 1) * size / count)) for i in range(count)]


@pytest.mark.parametrize("size", [(7, 7), (14, 7), (8, 8), (10, 14), (3, 20), (1, 1)])
def test_adaptive_average_pool(size):
    x = normal(2, 3, *size)
    want = np.array([[x[:, :, rows, columns].mean((2, 3)) for columns in windows(size[1], 7)] for rows in windows(size[0], 7)])
    np.testing.assert_allclose(run(x, "adaptive_average_pool", 7), want.transpose(2, 3, 0, 1), rtol=1e-12)


@pytest.mark.parametrize("size", [(4, 4), (6, 9)])
def test_adaptive_average_pool_gradient(size):
    net = GraphBuilder()
    pooled = net.adaptive_average_pool(net.input("x", (None, 2, None, None)), (3, 2))
    net.output("y", net.linear(net.flatten(net.mul(pooled, pooled)), normal(1, 12)))
    model, x = net.model(), normal(1, 2, *size)
    _, gradient = model.activations_and_gradients(x, layer="x", target=0)
    numeric = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[i] = 1e-5
        numeric[i] = (model(x + step) - model(x - step))[0, 0] / 2e-5
    np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-9)


@pytest.mark.torch
@pytest.mark.parametrize(
    "options",
    [{}, {"padding": 1}, {"stride": (2, 1), "padding": (0, 2), "dilation": (2, 1)}, {"groups": 2, "padding": 2, "stride": 3}],
)
def test_conv_has_the_arguments_of_torch(torch, options):
    weight, bias = normal(6, 4 // options.get("groups", 1), 3, 2), normal(6)
    want = torch.nn.functional.conv2d(torch.tensor(X4), torch.tensor(weight), torch.tensor(bias), **options)
    np.testing.assert_allclose(run(X4, "conv", weight, bias, **options), want.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.torch
@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 2}, {"padding": 1, "stride": (3, 2)}, {"stride": 2, "ceil_mode": True}, {"stride": 2, "padding": 1, "ceil_mode": True}],
)
def test_pools_have_the_arguments_of_torch(torch, options):
    x = torch.tensor(X4)
    for kernel in (2, (3, 2)):
        want = torch.nn.functional.max_pool2d(x, kernel, **options)
        np.testing.assert_array_equal(run(X4, "max_pool", kernel, **options), want.numpy())
        for counted in (True, False):
            want = torch.nn.functional.avg_pool2d(x, kernel, count_include_pad=counted, **options)
            got = run(X4, "average_pool", kernel, count_include_pad=counted, **options)
            np.testing.assert_allclose(got, want.numpy(), rtol=1e-12)
    want = torch.nn.functional.max_pool1d(torch.tensor(X3), 2, dilation=3)
    np.testing.assert_array_equal(run(X3, "max_pool", 2, dilation=3), want.numpy())


def small(dtype=np.float32) -> GraphBuilder:
    """The example of the documentation with a second output."""
    net = GraphBuilder()
    x = net.input("x", (None, 3, None, None))
    features = net.relu(net.conv(x, normal(4, 3, 3, 3).astype(dtype), normal(4).astype(dtype), padding=1, name="stem"), name="features")
    scores = net.linear(net.flatten(net.global_average_pool(features)), normal(2, 4).astype(dtype), name="head")
    net.output("scores", scores)
    net.output("features", features)
    return net


def test_model_takes_any_batch_and_size_and_explains():
    model = small().model(labels=["cat", "dog"])
    assert [o.name for o in model.outputs] == ["scores", "features"]
    assert model.inputs[0].shape == ("axis0", 3, "axis2", "axis3")
    assert model.default_layer.name == "features"
    x = normal(5, 3, 8, 11).astype(np.float32)
    both = model(x)
    assert both["scores"].shape == (5, 2)
    assert both["features"].shape == (5, 4, 8, 11)
    why = model.explain(x, target="dog", relu=False)
    a = both["features"].astype(np.float64)
    want = np.einsum("c,nchw->nhw", normal(2, 4)[1], a) / (8 * 11)
    np.testing.assert_allclose(why.raw, want, rtol=1e-4, atol=1e-6)
    assert model.run(x, outputs=["stem", "head"])["head"].shape == (5, 2)


def test_names_are_the_callers_or_made_up():
    net = GraphBuilder()
    assert net.input("x", (1, 3)) == "x"
    assert net.relu("x", name="relu_1") == "relu_1"
    assert net.relu("x") == "relu_2"
    assert net.linear("x", normal(2, 3)) == "linear_1"
    assert net.constant(2.0) == "constant_1"


def test_identity_gives_another_name():
    net = GraphBuilder()
    y = net.identity(net.relu(net.input("x", (None, 2, 3, 3)), name="inner"), name="outer")
    net.output("y", net.conv(y, normal(1, 2, 1, 1)))
    layer = next(layer for layer in net.model().layers if layer.name == "inner")
    assert layer.aliases == ("outer",)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_arrays_are_copied_and_half_precision_is_widened(dtype):
    weight = normal(2, 3).astype(dtype)
    net = GraphBuilder()
    net.output("y", net.linear(net.input("x", (None, 3)), weight))
    model = net.model()
    before = model(np.ones((1, 3), np.float32))
    np.testing.assert_allclose(before, weight.astype(np.float32).sum(1)[None], rtol=1e-6)
    weight[:] = 0
    np.testing.assert_array_equal(model(np.ones((1, 3), np.float64)).astype(np.float32), before)


def test_model_of_a_builder_stays_as_it_is():
    net = small()
    model = net.model()
    net.output("more", net.relu("scores"))
    assert [o.name for o in model.outputs] == ["scores", "features"]
    assert [o.name for o in net.model().outputs] == ["scores", "features", "more"]


def test_model_is_pickled_with_its_weights():
    preprocess = Preprocess.preset("unit", size=(20, 30))
    model = small().model(labels=["cat", "dog"], preprocess=preprocess, max_bytes=10**8)
    x = normal(1, 3, 8, 8)
    before = model(x)["scores"]
    copy = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(model))))
    np.testing.assert_array_equal(copy(x)["scores"], before)
    assert (copy.labels, copy.preprocess) == (model.labels, preprocess)
    assert len(pickle.dumps(model)) == len(pickle.dumps(copy))


BAD = {
    "unknown": (lambda n: n.relu("xx"), ValueError, "GraphBuilder.relu: x: no tensor is called 'xx'; nearest: 'x'"),
    "array for tensor": (lambda n: n.relu(normal(2)), TypeError, "GraphBuilder.relu: x: expected the name of a tensor, got ndarray"),
    "taken": (lambda n: n.relu("x", name="x"), ValueError, "GraphBuilder.relu: name: 'x' is taken"),
    "empty name": (lambda n: n.relu("x", name=""), ValueError, "GraphBuilder.relu: name: expected a name, got ''"),
    "integers": (
        lambda n: n.conv("x", np.ones((1, 3, 1, 1), int)),
        TypeError,
        "GraphBuilder.conv: weight: expected float32 or float64, got int64",
    ),
    "nan": (lambda n: n.linear("x", np.full((1, 3), np.nan)), ValueError, "GraphBuilder.linear: weight: expected numbers, got NaN"),
    "rank": (
        lambda n: n.conv(n.flatten("x"), normal(1, 3, 1, 1)),
        ValueError,
        r"GraphBuilder.conv: x: expected a tensor with 3 to 5 axes, got 2",
    ),
    "sizes": (
        lambda n: n.max_pool("x", (2, 2, 2)),
        ValueError,
        r"kernel_size: expected one integer or 2, each at least 1, got \(2, 2, 2\)",
    ),
    "negative": (lambda n: n.max_pool("x", 2, padding=-1), ValueError, "padding: expected one integer or 2, each at least 0, got -1"),
    "stride": (lambda n: n.average_pool("x", 2, stride=0), ValueError, "stride: expected one integer or 2, each at least 1, got 0"),
    "dim": (lambda n: n.softmax("x", 4), ValueError, "GraphBuilder.softmax: dim: expected an axis of 4, got 4"),
    "dims": (lambda n: n.transpose("x", (0, 1, 2)), ValueError, r"transpose: dims: expected each of 4 axes once, got \(0, 1, 2\)"),
    "gelu": (lambda n: n.gelu("x", "fast"), ValueError, "gelu: approximate: expected 'none' or 'tanh', got 'fast'"),
    "concat": (lambda n: n.concat("x"), ValueError, "concat: tensors: expected a sequence of tensors, got 'x'"),
    "linear": (lambda n: n.linear("x", normal(3)), ValueError, r"linear: weight: expected 2 axes, got 1"),
    "input": (lambda n: n.input("z", (None, 0)), ValueError, r"input: shape: expected positive sizes or None, got \(None, 0\)"),
    "no output": (lambda n: n.model(), ValueError, "GraphBuilder.model: expected a model with outputs, got none"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told_at_once(case):
    call, error, text = BAD[case]
    net = GraphBuilder()
    net.input("x", (None, 3, 8, 8))
    with pytest.raises(error, match=text):
        call(net)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda n: n.conv("x", normal(1, 4, 1, 1), name="stem"), "node 'stem' .Conv.*1 groups of 4 channels do not make the input's 3"),
        (lambda n: n.conv("x", normal(2, 3, 1, 1), normal(3), name="stem"), r"node 'stem' .*expected a bias of shape \(2,\), got \(3,\)"),
        (lambda n: n.matmul("x", normal(7, 2), name="product"), "node 'product'.*cannot be multiplied"),
    ],
)
def test_what_does_not_fit_the_shapes_names_the_node(call, text):
    net = GraphBuilder()
    net.input("x", (None, 3, 8, 8))
    net.output("y", call(net))
    with pytest.raises(ModelFormatError, match=text):
        net.model()


def test_public_name():
    assert gradcam.GraphBuilder is GraphBuilder
