"""Blocked layout: the same results as the plain operators, and as much of the graph as can follow."""

from __future__ import annotations

import numpy as np
import pytest

from gradcam import _core
from gradcam.graph.autodiff import gradients
from gradcam.graph.builder import Builder
from gradcam.graph.compilation import compile_plan
from gradcam.graph.passes import assign_layouts, fuse, prune
from gradcam.ops import _call

F32 = np.dtype(np.float32)
POOL = {"dilation": (1, 1), "ceil_mode": False, "count_include_pad": False}


@pytest.fixture(params=_core.isas)
def isa(request, monkeypatch):
    monkeypatch.setattr(_call, "isa", request.param)
    return request.param


class Net:
    """Convolutions with random weights of useful size, and what lies between them."""

    def __init__(self, channels, size, seed=0):
        self.g, self.rng = Builder(F32), np.random.default_rng(seed)
        self.x = self.g.input("x", (1, channels, *size))

    def conv(self, x, k, kernel=3, stride=1, pad=None, dilation=1, groups=1, bias=True):
        c = x.shape[1] // groups
        pad = dilation * (kernel // 2) if pad is None else pad
        w = self.rng.standard_normal((k, c, kernel, kernel)) / np.sqrt(c * kernel * kernel)
        b = self.g.constant(self.rng.standard_normal(k)) if bias else None
        window = {"stride": (stride,) * 2, "pad_lo": (pad,) * 2, "pad_hi": (pad,) * 2, "dilation": (dilation,) * 2, "groups": groups}
        return self.g.emit("Conv", x, self.g.constant(w), b, **window)

    def act(self, x, op="Relu", alpha=0.0, beta=0.0):
        return self.g.emit(op, x, alpha=alpha, beta=beta)

    def pool(self, op, x, kernel=2, stride=2, pad=0):
        return self.g.emit(op, x, kernel=(kernel,) * 2, stride=(stride,) * 2, pad_lo=(pad,) * 2, pad_hi=(pad,) * 2, **POOL)

    def mean(self, x):
        return self.g.reduce("ReduceMean", x, (2, 3), True)


def residual(net):
    y = net.act(net.conv(net.x, 40))
    z = net.conv(net.act(net.conv(y, 24, 1)), 40)
    y = net.act(net.g.add(z, y))
    return net.act(net.conv(net.pool("MaxPool", y, 3, 2, 1), 32, stride=2))


def excited(net):
    y = net.act(net.conv(net.act(net.conv(net.x, 48), "Silu"), 48, 5, groups=48, stride=2), "HardSwish")
    s = net.act(net.conv(net.act(net.conv(net.mean(y), 8, 1)), 48, 1), "Sigmoid")
    return net.act(net.conv(net.g.mul(y, s), 20, 1), "Clip", 0.0, 6.0)


def inception(net):
    y = net.act(net.conv(net.x, 32))
    parts = [net.act(net.conv(y, 16, 1)), net.act(net.conv(y, 48, 5)), net.conv(net.pool("AveragePool", y, 3, 1, 1), 20, 1)]
    return net.act(net.conv(net.g.emit("Concat", *parts, axis=1), 33))


def grouped(net):
    y = net.act(net.conv(net.x, 64))
    y = net.act(net.conv(y, 64, groups=16))
    return net.act(net.conv(y, 32, dilation=2, stride=3, groups=2), "LeakyRelu", 0.1)


def affine(net):
    y = net.act(net.conv(net.x, 32), "Affine", 2.0, 0.5)  # not zero where its input is: no border may be inherited
    scaled = net.g.mul(y, net.g.constant(net.rng.standard_normal((1, 32, 1, 1))))
    shifted = net.g.add(scaled, net.g.constant(net.rng.standard_normal((1, 32, 1, 1))))
    return net.conv(net.act(shifted), 16)


def odd(net):
    y = net.act(net.conv(net.x, 17))
    return net.conv(net.act(net.conv(y, 17, 3, groups=17)), 5)


NETS = [residual, excited, inception, grouped, affine, odd]


def both(graph, arrays):
    """Results in plain layout and in blocked layout; and what runs blocked."""
    plain = compile_plan(graph, F32, without=("blocked", "fuse", "gates")).run(arrays, 1, 1)
    blocked = compile_plan(graph, F32)
    found = [blocked.run(arrays, 1, workers) for workers in (1, 3)]
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)
    return plain, found[0], [step.kernel for step in blocked.steps]


@pytest.mark.parametrize("build", NETS, ids=lambda b: b.__name__)
@pytest.mark.parametrize("channels", [3, 20])
@pytest.mark.parametrize("size", [(32, 32), (29, 35)])
def test_results_equal_the_plain_ones(isa, build, channels, size):
    net = Net(channels, size)
    net.g.graph.outputs = [build(net)]
    x = net.rng.standard_normal((1, channels, *size)).astype(F32)
    (want,), (found,), kernels = both(prune(net.g.graph), [x])
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-5 * np.abs(want).max())
    assert sum(k.startswith("blocked_") and k.endswith("_output") for k in kernels) >= 2
    assert "conv_output" not in kernels


@pytest.mark.parametrize("build", NETS, ids=lambda b: b.__name__)
@pytest.mark.parametrize("size", [(32, 32), (29, 35)])
def test_gradients_equal_the_plain_ones(isa, build, size):
    net = Net(20, size)
    y = build(net)
    weights = net.g.constant(net.rng.standard_normal(y.shape))
    score = net.g.sum(net.g.mul(y, weights), tuple(range(4)))
    gradient = gradients(net.g, score, [net.x])[0]
    net.g.graph.outputs = [gradient, y]
    x = net.rng.standard_normal(net.x.shape).astype(F32)
    want, found, kernels = both(prune(net.g.graph), [x])
    for a, b in zip(want, found, strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=2e-5 * np.abs(a).max())
    assert "conv_output" not in kernels
    assert "conv_input_grad" not in kernels


@pytest.mark.parametrize("size", [(32, 32), (29, 35)])
def test_weight_gradients_equal_the_plain_ones(isa, size):
    net = Net(20, size)
    g, y, weights = net.g, net.x, []
    for k, kernel, stride in ((40, 3, 1), (33, 3, 1), (17, 5, 2), (24, 1, 1)):
        weights.append(g.input(f"w{k}", (k, y.shape[1], kernel, kernel)))
        pads = {"pad_lo": (kernel // 2, 0), "pad_hi": (kernel // 2,) * 2}
        y = net.act(g.emit("Conv", y, weights[-1], None, stride=(stride, 1), dilation=(1, 1), groups=1, **pads))
    score = g.sum(g.mul(y, g.constant(net.rng.standard_normal(y.shape))), tuple(range(4)))
    g.graph.outputs = [*gradients(g, score, weights), y]
    arrays = [net.rng.standard_normal(v.shape).astype(F32) for v in g.graph.inputs]
    want, found, kernels = both(prune(g.graph), arrays)
    for a, b in zip(want, found, strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=2e-5 * np.abs(a).max())
    assert kernels.count("blocked_weight_grad") == 4
    assert not {"conv_output", "conv_input_grad", "conv_weight_grad"} & set(kernels)


def test_float64_stays_plain():
    net = Net(20, (32, 32))
    net.g.graph.outputs = [residual(net)]
    graph = prune(net.g.graph)
    assert assign_layouts(graph, np.dtype(np.float64)) is graph


def test_layouts_change_at_the_edges_only():
    net = Net(3, (32, 32))
    net.g.graph.outputs = [residual(net)]
    ops = [node.op for node in assign_layouts(fuse(prune(net.g.graph)), F32, winograd=False).nodes]
    assert ops == ["BlockedConv", "BlockedConv", "BlockedConv", "BlockedMaxPool", "BlockedConv", "FromBlocked"]


def test_an_inner_value_that_is_asked_for_comes_out_plain_beside_the_blocked_one():
    net = Net(3, (20, 20))
    y = net.act(net.conv(net.x, 32))
    net.g.graph.outputs = [y, net.conv(y, 16)]
    x = net.rng.standard_normal(net.x.shape).astype(F32)
    want, found, kernels = both(net.g.graph, [x])
    for a, b in zip(want, found, strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-5 * np.abs(a).max())
    assert kernels.count("blocked_to_plain") == 2


@pytest.mark.parametrize("padding", [{"pad": 3}, {"pad": 5, "kernel": 3}])
def test_padding_wider_than_the_kernel(isa, padding):
    net = Net(16, (18, 17))
    net.g.graph.outputs = [net.conv(net.act(net.conv(net.x, 32)), 32, **padding)]
    x = net.rng.standard_normal(net.x.shape).astype(F32)
    (want,), (found,), _ = both(net.g.graph, [x])
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-5 * np.abs(want).max())


@pytest.mark.parametrize(("size", "groups"), [((16, 16), 1), ((9, 8), 1), ((16, 16), 20)])
def test_weights_that_are_computed_are_packed_in_every_run(isa, size, groups):
    net = Net(20, size)
    w = net.g.input("w", (20, 20 // groups, 3, 3))
    y = net.g.emit("Conv", net.x, w, None, stride=(1, 1), pad_lo=(1, 1), pad_hi=(1, 1), dilation=(1, 1), groups=groups)
    net.g.graph.outputs = [y]
    plain, blocked = (compile_plan(net.g.graph, F32, without=names) for names in (("blocked",), ()))
    assert [step.kernel.rsplit("_", 1)[1] for step in blocked.steps] == ["plain", "pack", "output", "plain"]
    for _ in range(2):
        arrays = [net.rng.standard_normal(v.shape).astype(F32) for v in (net.x, w)]
        (want,), (found,) = plain.run(arrays, 1, 1), blocked.run(arrays, 1, 2)
        np.testing.assert_allclose(found, want, rtol=0, atol=1e-5 * np.abs(want).max())
