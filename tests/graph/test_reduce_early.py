"""Channel means of gradients taken before the gradient is made: the same numbers, and none of the work."""

from __future__ import annotations

import numpy as np
import pytest

from gradcam import _core
from gradcam.graph.autodiff import gradients
from gradcam.graph.builder import Builder
from gradcam.graph.compilation import compile_plan
from gradcam.graph.passes import prune
from gradcam.ops import _call
from gradcam.ops.blocked import Blocked, tap_attributes
from gradcam.ops.conv import conv_attributes, conv_input_grad
from ops import blocks

DTYPES = ["float32", "float64"]
POOL = {"dilation": (1, 1), "ceil_mode": False}


@pytest.fixture(params=_core.isas)
def isa(request, monkeypatch):
    monkeypatch.setattr(_call, "isa", request.param)
    return request.param


# n, c, space, k, kernel, stride, pad_lo, pad_hi, dilation, groups
CONVOLUTIONS = [
    (1, 1, (1,), 1, (1,), (1,), (0,), (0,), (1,), 1),
    (2, 5, (9,), 7, (3,), (2,), (2,), (1,), (2,), 1),
    (1, 3, (7, 7), 5, (1, 1), (1, 1), (0, 0), (0, 0), (1, 1), 1),
    (1, 19, (14, 13), 21, (3, 3), (1, 1), (1, 1), (1, 1), (1, 1), 1),
    (2, 18, (15, 14), 33, (3, 3), (2, 2), (1, 1), (1, 1), (1, 1), 1),
    (1, 6, (9, 11), 9, (3, 2), (2, 3), (2, 0), (0, 1), (2, 3), 3),
    (1, 24, (8, 8), 24, (3, 3), (1, 1), (1, 1), (1, 1), (1, 1), 24),
    (1, 4, (2, 2), 3, (5, 7), (1, 1), (3, 4), (3, 4), (1, 1), 1),
    (1, 300, (5, 6), 6, (3, 3), (1, 2), (0, 1), (1, 0), (1, 1), 2),
    (1, 2, (4, 5, 6), 3, (2, 3, 3), (1, 2, 1), (1, 0, 1), (0, 1, 1), (1, 1, 2), 1),
    (1, 1, (60, 60), 2, (50, 47), (1, 1), (2, 2), (2, 2), (1, 1), 1),
]


def geometry(case):
    n, c, space, k, kernel, stride, lo, hi, dilation, groups = case
    return (n, c, *space), (k, c // groups, *kernel), {"stride": stride, "pad_lo": lo, "pad_hi": hi, "dilation": dilation, "groups": groups}


def random(shape, dtype, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def run(kernel, ints, reals, inputs, shape, dtype):
    found = []
    for workers in (1, 2, 3, 5):
        y = np.full(shape, np.nan, dtype)
        _core.call(kernel, _call.isa, np.dtype(dtype).char, ints, reals, tuple(inputs), (y,), workers)
        found.append(y)
    assert all(y.tobytes() == found[0].tobytes() for y in found)
    return found[0]


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_of_an_input_gradient(isa, case, dtype):
    x_shape, w_shape, window = geometry(case)
    attributes = conv_attributes(x_shape, w_shape, has_bias=False, **window)
    space = [
        (n + a + b - d * (k - 1) - 1) // s + 1
        for n, k, s, a, b, d in zip(x_shape[2:], w_shape[2:], *list(window.values())[:4], strict=True)
    ]
    dy, w = random((x_shape[0], w_shape[0], *space), dtype, 1), random(w_shape, dtype, 2)
    pads = list(zip(window["pad_lo"], window["pad_hi"], strict=True))
    dx = conv_input_grad(
        dy.astype(float),
        w.astype(float),
        x_shape[2:],
        stride=window["stride"],
        padding=pads,
        dilation=window["dilation"],
        groups=window["groups"],
    )
    taps = int(np.prod(w_shape[2:]))
    t = run("tap_sums", attributes.ints, (), [dy], (*dy.shape[:2], taps), dtype)
    y = run("tap_product", attributes.ints, (7.0,), [t, w], x_shape[:2], dtype)
    bound = 1e-12 if dtype == "float64" else 2e-6
    expected = dx.sum(axis=tuple(range(2, dx.ndim))) / 7
    np.testing.assert_allclose(y, expected, rtol=bound, atol=bound * np.abs(dy).sum() / 7)
    if len(x_shape) == 4:
        tensor = Blocked(*dy.shape, 1, 0, 2, 1)
        again = blocks.run("blocked_tap_sums", tap_attributes(tensor, attributes), [blocks.to_blocked(dy, tensor, spare=9)], t.shape)
        np.testing.assert_allclose(again, t, rtol=bound, atol=bound * np.abs(dy).sum())


def test_what_does_not_fit_is_refused():
    ints = conv_attributes(
        (1, 4, 8, 8), (6, 4, 3, 3), stride=(1, 1), pad_lo=(1, 1), pad_hi=(1, 1), dilation=(1, 1), groups=1, has_bias=False
    )
    for reals in ((), (1.0, 2.0)):
        with pytest.raises(ValueError, match="attributes"):
            _core.operands("tap_product", "scalar", "f", ints.ints, reals)
    assert _core.operands("blocked_tap_sums", "scalar", "f", tap_attributes(Blocked(1, 6, 8, 8), ints).ints, ())
    for tensor in (Blocked(2, 6, 8, 8), Blocked(1, 5, 8, 8), Blocked(1, 6, 7, 8), Blocked(1, 6, 8, 9)):
        with pytest.raises(ValueError, match="shape"):
            _core.operands("blocked_tap_sums", "scalar", "f", tap_attributes(tensor, ints).ints, ())


class Net:
    """A picture of 32 channels as the layer, then what `tail` adds."""

    def __init__(self, real, tail, channels=32, size=(12, 12)):
        self.g, self.rng = Builder(np.dtype(real)), np.random.default_rng(0)
        x = self.g.input("x", (1, channels, *size))
        self.layer = self.conv(x, channels)
        y = tail(self, self.layer)
        self.score = self.g.sum(y, range(len(y.shape)))

    def conv(self, x, k, kernel=3, stride=1, pad=1, groups=1):
        w = self.rng.standard_normal((k, x.shape[1] // groups, kernel, kernel)) / 9
        window = {"stride": (stride,) * 2, "pad_lo": (pad,) * 2, "pad_hi": (pad,) * 2, "dilation": (1, 1), "groups": groups}
        return self.g.emit("Conv", x, self.g.constant(w), None, **window)

    def relu(self, x):
        return self.g.emit("Relu", x, alpha=0.0, beta=0.0)

    def pool(self, op, x, kernel, stride, pad=0, include=False):
        two = {"kernel": (kernel,) * 2, "stride": (stride,) * 2, "pad_lo": (pad,) * 2, "pad_hi": (pad,) * 2}
        return self.g.emit(op, x, **two, **POOL, count_include_pad=include)

    def linear(self, x, k):
        flat = self.g.reshape(x, (1, x.size))
        return self.g.emit("MatMul", flat, self.g.constant(self.rng.standard_normal((k, x.size))), trans_a=False, trans_b=True)


TAILS = {
    "conv": (lambda n, x: n.relu(n.conv(x, 48)), "ConvInputGrad", True),
    "strided": (lambda n, x: n.relu(n.conv(x, 64, stride=2)), "ConvInputGrad", True),
    "depthwise": (lambda n, x: n.relu(n.conv(x, 32, groups=32)), "ConvInputGrad", True),
    "projected": (lambda n, x: n.relu(n.g.add(n.conv(x, 48, stride=2), n.conv(x, 48, 1, 2, 0))), "ConvInputGrad", True),
    "identity": (lambda n, x: n.relu(n.g.add(n.conv(x, 32), x)), "ConvInputGrad", True),
    "max pool": (lambda n, x: n.relu(n.conv(n.pool("MaxPool", x, 3, 2, 1), 48)), "MaxPoolGrad", True),
    "average pool": (lambda n, x: n.relu(n.conv(n.pool("AveragePool", x, 3, 2, 1), 48)), "AveragePoolGrad", True),
    "pooled activation": (lambda n, x: n.conv(n.relu(n.pool("MaxPool", x, 2, 2)), 48), "MaxPoolGrad", True),
    "counted padding": (lambda n, x: n.relu(n.conv(n.pool("AveragePool", x, 3, 2, 1, True), 48)), "AveragePoolGrad", False),
    "mean": (lambda n, x: n.relu(n.g.reduce("ReduceMean", x, (2, 3), True)), "Expand", True),
    "linear": (lambda n, x: n.relu(n.linear(n.pool("MaxPool", n.relu(x), 2, 2), 20)), "MaxPoolGrad", False),
    "head": (lambda n, x: n.relu(n.linear(n.pool("MaxPool", x, 2, 2), 20)), "MaxPoolGrad", True),
    "scaled": (
        lambda n, x: n.relu(n.conv(n.g.scale(n.g.mul(x, n.g.constant(n.rng.standard_normal((1, 32, 1, 1)))), 3.0), 16)),
        "ConvInputGrad",
        True,
    ),
    "activation": (lambda n, x: n.conv(n.relu(x), 48), "ConvInputGrad", False),
}


@pytest.mark.parametrize("name", TAILS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_means_are_the_same_and_the_gradient_is_not_made(isa, name, dtype):
    tail, op, early = TAILS[name]
    net = Net(dtype, tail)
    gradient = gradients(net.g, net.score, [net.layer])[0]
    weights = net.g.emit("CamChannelMean", gradient, channel_axis=1)
    net.g.graph.outputs = [net.score, weights]
    graph, real = prune(net.g.graph), np.dtype(dtype)
    x = random((3, 32, 12, 12), dtype, 3)
    late, soon = compile_plan(graph, real, without=("reduce_early",)), compile_plan(graph, real)
    expected, found = late.run([x], 3, 1), soon.run([x], 3, 1)
    np.testing.assert_array_equal(found[0], expected[0])
    bound = 1e-11 if dtype == "float64" else 2e-5
    assert np.abs(expected[1]).max() > 0
    np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=bound * np.abs(expected[1]).max())
    assert soon.run([x], 3, 2)[1].tobytes() == found[1].tobytes()
    assert ([s.kernel for s in soon.steps] != [s.kernel for s in late.steps]) == early
    if early and dtype == "float64" and op == "ConvInputGrad":
        assert not any(s.kernel == "conv_input_grad" for s in soon.steps)
    if early and dtype == "float64" and op == "MaxPoolGrad":
        assert not any(s.kernel == "pool_max_input_grad" for s in soon.steps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_gradient_that_is_read_elsewhere_stays(dtype):
    net = Net(dtype, TAILS["conv"][0])
    gradient = gradients(net.g, net.score, [net.layer])[0]
    net.g.graph.outputs = [net.g.emit("CamChannelMean", gradient, channel_axis=1), gradient]
    graph, real = prune(net.g.graph), np.dtype(dtype)
    plan = compile_plan(graph, real)
    assert [s.kernel for s in plan.steps] == [s.kernel for s in compile_plan(graph, real, without=("reduce_early",)).steps]


@pytest.mark.parametrize("dtype", DTYPES)
def test_several_layers_at_once(dtype):
    net = Net(dtype, lambda n, x: x)
    first = net.layer
    second = net.relu(net.conv(net.pool("MaxPool", net.relu(net.conv(first, 40)), 2, 2), 48))
    y = net.relu(net.conv(second, 24, stride=2))
    score = net.g.sum(y, range(4))
    net.g.graph.outputs = [net.g.emit("CamChannelMean", v, channel_axis=1) for v in gradients(net.g, score, [first, second])]
    graph, real, x = prune(net.g.graph), np.dtype(dtype), random((1, 32, 12, 12), dtype, 3)
    soon = compile_plan(graph, real)
    for found, expected in zip(soon.run([x], 1, 1), compile_plan(graph, real, without=("reduce_early",)).run([x], 1, 1), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=(1e-11 if dtype == "float64" else 2e-5) * np.abs(expected).max())
    assert sum(s.kernel == "tap_product" for s in soon.steps) == 1  # the gradient of the second layer goes on to the first
