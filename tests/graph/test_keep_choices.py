"""The pass that keeps bits and bytes for the way back: the same bits of every result, from less memory."""

from __future__ import annotations

import numpy as np
import pytest
from graph.test_layout import Net as Float32Net

from gradcam import _core
from gradcam.graph.autodiff import gradients
from gradcam.graph.builder import Builder
from gradcam.graph.compilation import compile_plan, simplify
from gradcam.graph.operators import GuidedRule
from gradcam.graph.passes import keep_choices
from gradcam.graph.passes.keep_choices import LEAST_ELEMENTS
from gradcam.ops import _call

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
SIZE = (32, 28)


@pytest.fixture(params=_core.isas)
def isa(request, monkeypatch):
    monkeypatch.setattr(_call, "isa", request.param)
    return request.param


class Net(Float32Net):
    """The same in either type."""

    def __init__(self, channels=20, size=SIZE, real=F32):
        self.g, self.rng = Builder(real), np.random.default_rng(0)
        self.x = self.g.input("x", (1, channels, *size))


def deep(net, act=("Relu", 0.0, 0.0), kernel=3):
    """Twice two convolutions with activations and a max pool, and a last convolution."""
    y = net.x
    for k in (24, 32):
        y = net.act(net.conv(net.act(net.conv(y, k), *act), k), *act)
        y = net.pool("MaxPool", y, kernel, 2, kernel // 2)
    return net.conv(y, 32)


def score(net, y):
    """A random weighting of y."""
    return net.g.sum(net.g.mul(y, net.g.constant(net.rng.standard_normal(y.shape))), tuple(range(len(y.shape))))


def differentiated(build, real=F32, guided=None):
    """A graph of the result of `build` and of its gradient at the input."""
    net = Net(real=real)
    y = build(net)
    net.g.graph.outputs = [gradients(net.g, score(net, y), [net.x], guided=guided)[0], y]
    return net


def compared(net):
    """Kernels with and without the pass, and bytes: the results have the same bits for any number of workers."""
    x = net.rng.standard_normal(net.x.shape).astype(net.g.real)
    x[0, :3, :5, :5] = 0  # ties
    plans = [compile_plan(net.g.graph, net.g.real, without=without) for without in ((), ("choices",))]
    want = plans[1].run([x], 1, 1)
    for workers in (1, 2, 3):
        for a, b in zip(want, plans[0].run([x], 1, workers), strict=True):
            assert np.abs(a).max() > 0
            np.testing.assert_array_equal(a.view(np.uint8), b.view(np.uint8))
    return *([step.kernel for step in plan.steps] for plan in plans), *(plan.arena_bytes for plan in plans)


@pytest.mark.parametrize("act", [("Relu", 0.0, 0.0), ("Clip", 0.0, 0.5), ("Clip", -0.25, np.inf)], ids=str)
@pytest.mark.parametrize("kernel", [2, 3])
def test_results_have_the_same_bits(isa, act, kernel):
    kept, plain, *_ = compared(differentiated(lambda net: deep(net, act, kernel)))
    assert kept.count("unary_slope_bits") == kept.count("unary_bits_grad") == plain.count("unary_input_grad") == 4
    assert kept.count("blocked_max_pool_index") == kept.count("blocked_max_pool_index_grad") == 2
    assert "unary_input_grad" not in kept
    assert "blocked_max_pool_input_grad" not in kept


def test_memory_hardly_grows_with_depth():
    def layers(count):
        def build(net):
            y = net.x
            for _ in range(count):
                y = net.act(net.conv(y, 32))
            return y

        return build

    (*_, few, few_plain), (*_, many, many_plain) = (compared(differentiated(layers(count))) for count in (4, 12))
    tensor = 32 * 34 * 30 * 4  # with its border
    assert many - few <= 8 * (tensor // 32 + 64)
    assert many_plain - few_plain >= 8 * tensor


def test_plain_layout_keeps_bits_and_reads_the_inputs_of_its_pools(isa):
    kept, plain, *_ = compared(differentiated(deep, F64))
    assert plain.count("unary_input_grad") == 4
    assert kept.count("unary_slope_bits") == kept.count("unary_bits_grad") == kept.count("unary_input_grad") == 2
    assert kept.count("pool_max_input_grad") == 2


@pytest.mark.parametrize("gated", [True, False])
def test_guided_rules_read_bits(gated):
    kept, *_ = compared(differentiated(deep, guided=GuidedRule(gated=gated)))
    assert ("unary_bits_grad" in kept) == gated


def test_one_set_of_bits_serves_several_gradients():
    net = Net()
    y = deep(net)
    scores = [score(net, y), score(net, y)]
    net.g.graph.outputs = [y, *(gradients(net.g, s, [net.x])[0] for s in scores)]
    kept, plain, *_ = compared(net)
    assert (kept.count("unary_slope_bits"), kept.count("unary_bits_grad")) == (4, plain.count("unary_input_grad")) == (4, 8)
    assert (kept.count("blocked_max_pool_index"), kept.count("blocked_max_pool_index_grad")) == (2, 4)


def operators(more=None, wide=32, size=SIZE):
    """Operators of the rewritten graph, in plain layout, of two ReLUs and their gradients.

    `more` gives another result from the net, the first ReLU and the gradient.
    """
    net = Net(size=size)
    y = net.act(net.conv(net.x, wide))
    z = net.conv(net.act(net.conv(y, wide)), wide)
    gradient = gradients(net.g, score(net, z), [net.x])[0]
    net.g.graph.outputs = [gradient, *([] if more is None else [more(net, y, gradient)])]
    graph = simplify(net.g.graph, F64, ("choices", "blocked", "fuse"))
    before = [node.op for node in graph.nodes]
    rewritten = keep_choices(graph)
    assert [node.op for node in graph.nodes] == before  # the one that was given is as it was
    return [node.op for node in rewritten.nodes]


def test_bits_are_taken_right_after_the_tensor():
    ops = operators()
    assert [ops[i + 1] for i, op in enumerate(ops) if op == "Relu"] == ["SlopeBits", "SlopeBits"]
    assert (ops.count("BitsGrad"), ops.count("UnaryGrad")) == (2, 0)


@pytest.mark.parametrize(
    ("more", "bits"),
    [
        (lambda net, y, gradient: y, 1),  # a result
        (lambda net, y, gradient: net.g.mul(y, net.conv(gradient, y.shape[1])), 1),  # read at the very end
        (lambda net, y, gradient: net.act(gradient, "Abs"), 2),
    ],
)
def test_what_is_needed_late_is_kept_anyway(more, bits):
    ops = operators(more)
    assert (ops.count("BitsGrad"), ops.count("UnaryGrad")) == (bits, 2 - bits)


@pytest.mark.parametrize(("size", "bits"), [((16, 15), 0), ((16, 16), 2)])
def test_small_tensors_are_not_worth_it(size, bits):
    assert (16 * size[0] * size[1] >= LEAST_ELEMENTS) == (bits > 0)
    ops = operators(wide=16, size=size)
    assert (ops.count("BitsGrad"), ops.count("UnaryGrad")) == (bits, 2 - bits)


def test_other_functions_and_windows_of_too_many_taps_read_their_inputs():
    kept, *_ = compared(differentiated(lambda net: net.pool("MaxPool", net.act(net.conv(net.x, 32), "Tanh"), 16, 4)))
    assert "blocked_max_pool_input_grad" in kept
    assert "unary_input_grad" in kept
    kept, *_ = compared(differentiated(lambda net: net.pool("MaxPool", net.act(net.conv(net.x, 32), "Tanh"), 15, 4)))
    assert "blocked_max_pool_index_grad" in kept
    assert "blocked_max_pool_output" not in kept
