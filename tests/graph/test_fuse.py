"""The pass that joins convolutions with what follows them."""

from __future__ import annotations

import numpy as np
import pytest

from gradcam.graph.builder import Builder
from gradcam.graph.compilation import compile_plan
from gradcam.graph.passes import fuse, prune

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
        plain, found = (compile_plan(g, F64, without=("fuse",)).run([x], 1, 1) for g in (graph, fuse(graph)))
        for a, b in zip(plain, found, strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-14, atol=1e-14)
        return [node.op for node in fuse(graph).nodes], fuse(graph)


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
