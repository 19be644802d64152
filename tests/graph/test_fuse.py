"""The pass that joins convolutions with what follows them."""

from __future__ import annotations

import numpy as np
import pytest

from gradcam.graph.builder import Builder
from gradcam.graph.compilation import compile_plan
from gradcam.graph.autodiff import gradients
from gradcam.graph.passes import fuse, fuse_gates, prune

F64 = np.dtype(np.float64)
SHAPE = (1, 4, 6, 5)
WINDOW = {"stride": (1, 1), "pad_lo": (1, 1), "pad_hi": (1, 1), "dilation": (1, 1), "groups": 1}


class Net:
    """A graph in the making; `conv` has random weights."""

    def __init__(self):
        self.g, self.rng = Builder(F64), np.random.default_rng(0)
        self.x = self.g.input("x", SHAPE)

    def conv(self, x):
        w = self.g.constant(self.rng.standard_normal((4, 4, 3, 3)))
        return self.g.emit("Conv", x, w, self.g.constant(self.rng.standard_normal(4)), **WINDOW)

    def act(self, op, x, alpha=0.0, beta=0.0):
        return self.g.emit(op, x, alpha=alpha, beta=beta)

    def fused(self, *outputs):
        """The fused graph; its results are those of the graph as it was, to the last bit but for gates."""
        self.g.graph.outputs = list(outputs)
        graph = prune(self.g.graph)
        x = self.rng.standard_normal(SHAPE)
        fused = fuse(fuse_gates(graph))
        plain, found = (compile_plan(g, F64, without=("fuse", "gates")).run([x], 1, 1) for g in (graph, fused))
        for a, b in zip(plain, found, strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-14, atol=1e-14)
        return [node.op for node in fused.nodes], fused


def test_residual_and_activation_join_the_convolution():
    net = Net()
    y = net.act("Relu", net.g.add(net.conv(net.x), net.x))
    ops, graph = net.fused(y)
    assert ops == ["FusedConv"]
    assert graph.nodes[0].attrs["function"] == "Relu"
    assert graph.nodes[0].inputs[3] is net.x


def test_of_two_convolutions_that_are_added_one_takes_the_other_as_its_residual():
    net = Net()
    ops, graph = net.fused(net.act("Relu", net.g.add(net.conv(net.x), net.conv(net.x))))
    assert sorted(ops) == ["Conv", "FusedConv"]
    assert graph.nodes[1].inputs[3] is graph.nodes[0].outputs[0]  # which is computed before


@pytest.mark.parametrize("op", ["Relu", "Clip", "Sigmoid", "HardSwish", "Gelu"])
def test_activation_alone(op):
    net = Net()
    ops, graph = net.fused(net.act(op, net.conv(net.x), -0.5, 0.25))
    assert ops == ["FusedConv"]
    assert (graph.nodes[0].attrs["function"], graph.nodes[0].attrs["alpha"], graph.nodes[0].attrs["beta"]) == (op, -0.5, 0.25)


def test_a_value_that_is_read_elsewhere_stays():
    net = Net()
    y = net.conv(net.x)
    ops, _ = net.fused(net.g.mul(net.act("Relu", y), net.act("Tanh", y)))
    assert sorted(ops) == ["Conv", "Mul", "Relu", "Tanh"]


def test_an_output_of_the_graph_stays():
    net = Net()
    y = net.conv(net.x)
    assert net.fused(y, net.act("Relu", y))[0] == ["Conv", "Relu"]


def test_a_sum_with_itself_or_with_a_constant_or_broadcast_is_no_residual():
    net = Net()
    y = net.conv(net.x)
    assert "FusedConv" not in net.fused(net.g.add(y, y))[0]
    net = Net()
    assert "FusedConv" not in net.fused(net.g.add(net.conv(net.x), net.g.constant(np.ones(SHAPE))))[0]
    net = Net()
    small = net.g.input("s", (1, 4, 1, 1))
    net.g.graph.outputs = [net.g.add(net.conv(net.x), small)]
    assert [n.op for n in fuse(net.g.graph).nodes] == ["Conv", "Add"]


@pytest.mark.parametrize("swapped", [False, True])
def test_gates_become_one_function(swapped):
    for op, alpha, beta, name in (("Sigmoid", 0.0, 0.0, "Silu"), ("HardSigmoid", 1 / 6, 0.5, "HardSwish")):
        net = Net()
        y = net.conv(net.x)
        gate = net.act(op, y, alpha, beta)
        ops, graph = net.fused(net.g.mul(gate, y) if swapped else net.g.mul(y, gate))
        assert ops == ["FusedConv"]
        assert graph.nodes[0].attrs["function"] == name


def test_other_products_are_no_gates():
    net = Net()
    y = net.conv(net.x)
    assert net.fused(net.g.mul(y, net.act("HardSigmoid", y, 0.2, 0.5)))[0] == ["Conv", "HardSigmoid", "Mul"]
    net = Net()
    y, z = net.conv(net.x), net.conv(net.x)
    assert "Silu" not in net.fused(net.g.mul(z, net.act("Sigmoid", y)))[0]
    net = Net()
    y = net.conv(net.x)
    gate = net.act("Sigmoid", y)
    assert "Silu" not in net.fused(net.g.mul(y, gate), gate)[0]


F32 = np.dtype(np.float32)


def mlp(net_rows, k=32, m=48, *, trans_b=False, steps="bias gelu residual"):
    """Rows of numbers through a linear layer, float32."""
    g, rng = Builder(F32), np.random.default_rng(1)
    x, r = g.input("x", (1, net_rows, k)), g.input("r", (1, net_rows, m))
    w = rng.standard_normal((m, k) if trans_b else (k, m)) / np.sqrt(k)
    y = g.emit("MatMul", x, g.constant(w), trans_a=False, trans_b=trans_b)
    if "bias" in steps:
        y = g.add(g.constant(rng.standard_normal(m)), y)
    if "residual" in steps and "gelu" not in steps:
        y = g.add(y, r)
    if "gelu" in steps:
        y = gelu(g, y)
    g.graph.outputs = [y]
    return g.graph, [rng.standard_normal(v.shape).astype(F32) for v in (x, r)]


def gelu(g, y, *, half_first=False):
    erf = g.emit("Erf", g.emit("Div", y, g.constant(np.sqrt(2.0))), alpha=0.0, beta=0.0)
    plus = g.add(erf, g.constant(1.0))
    if half_first:
        return g.mul(g.mul(y, g.constant(0.5)), plus)
    return g.mul(g.mul(y, plus), g.constant(0.5))


def outcome(graph, arrays):
    graph = prune(graph)
    plain = compile_plan(graph, F32, without=("fuse", "gates")).run(arrays, 1, 1)
    plan = compile_plan(graph, F32)
    for workers in (1, 3):
        for a, b in zip(plain, plan.run(arrays, 1, workers), strict=True):
            np.testing.assert_allclose(b, a, rtol=0, atol=3e-6 * np.abs(a).max())
    return [node.op for node in fuse(fuse_gates(graph)).nodes], [step.kernel for step in plan.steps]


@pytest.mark.parametrize("steps", ["", "bias", "bias gelu", "residual", "bias residual"])
@pytest.mark.parametrize("trans_b", [False, True])
def test_linear_layers_of_rows_take_bias_residual_and_activation(steps, trans_b):
    ops, kernels = outcome(*mlp(20, steps=steps, trans_b=trans_b))
    assert ops == ["Linear"]
    assert kernels == ["linear_output"]


def test_few_rows_odd_widths_and_float64_stay_products():
    assert outcome(*mlp(7, steps=""))[0] == ["MatMul"]
    assert outcome(*mlp(20, k=33, steps=""))[0] == ["MatMul"]
    assert outcome(*mlp(20, m=40, steps=""))[0] == ["MatMul"]
    g = Builder(F64)
    x = g.input("x", (1, 20, 32))
    g.graph.outputs = [g.emit("MatMul", x, g.constant(np.ones((32, 32))), trans_a=False, trans_b=False)]
    assert [node.op for node in fuse(g.graph).nodes] == ["MatMul"]


@pytest.mark.parametrize("half_first", [False, True])
def test_gelu_in_parts_becomes_one_function(half_first):
    g = Builder(F64)
    x = g.input("x", SHAPE)
    g.graph.outputs = [gelu(g, x, half_first=half_first)]
    fused = fuse_gates(g.graph)
    assert [node.op for node in fused.nodes] == ["Gelu"]
    array = np.random.default_rng(0).standard_normal(SHAPE)
    (a,), (b,) = (compile_plan(graph, F64, without=("gates",)).run([array], 1, 1) for graph in (g.graph, fused))
    np.testing.assert_allclose(b, a, rtol=1e-13, atol=1e-15)


def test_other_uses_of_erf_stay():
    for wrong in ("scale", "shift", "read"):
        g = Builder(F64)
        x = g.input("x", SHAPE)
        erf = g.emit("Erf", g.emit("Div", x, g.constant(1.5 if wrong == "scale" else np.sqrt(2.0))), alpha=0.0, beta=0.0)
        plus = g.add(erf, g.constant(2.0 if wrong == "shift" else 1.0))
        g.graph.outputs = [g.mul(g.mul(x, plus), g.constant(0.5)), *([erf] if wrong == "read" else [])]
        assert "Erf" in [node.op for node in fuse_gates(g.graph).nodes]


@pytest.mark.parametrize("name", ["Silu", "HardSwish"])
def test_gates_joined_before_differentiation_have_one_gradient_node(name):
    def build():
        g = Builder(F64)
        x = g.input("x", SHAPE)
        gate = g.emit("Sigmoid", x, alpha=0.0, beta=0.0) if name == "Silu" else g.emit("HardSigmoid", x, alpha=1 / 6, beta=0.5)
        g.graph.outputs = [g.mul(x, gate)]
        return g, x, gate

    array, dy = np.random.default_rng(0).standard_normal((2, *SHAPE)) * 3
    results = []
    for joined in (False, True):
        g, x, _ = build()
        g = Builder(F64, fuse_gates(g.graph) if joined else g.graph)
        seed = g.input("dy", SHAPE)
        g.graph.outputs = [gradients(g, g.graph.outputs[0], [x], seed=seed)[0]]
        graph = prune(g.graph)
        if joined:
            assert [(node.op, node.attrs["function"]) for node in graph.nodes] == [("UnaryGrad", name)]
        results.append(compile_plan(graph, F64, without=("fuse", "gates")).run([array, dy], 1, 1)[0])
    np.testing.assert_allclose(results[1], results[0], rtol=1e-12, atol=1e-14)
    g, _, gate = build()
    assert len(fuse_gates(g.graph, [gate]).nodes) == 2  # somebody asks for the gate itself
