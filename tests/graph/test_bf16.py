"""The pass that lets convolutions and linear layers read bfloat16."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from gradcam.graph.autodiff import gradients
from gradcam.graph.builder import Builder
from gradcam.graph.compilation import compile_plan
from gradcam.graph.passes import assign_layouts, fuse, prune, use_bfloat16
from gradcam.ops import _call
from gradcam.ops.bf16 import BFLOAT16

F32 = np.dtype(np.float32)


@pytest.fixture(autouse=True)
def _level(monkeypatch):
    """A level whose bfloat16 kernels run on any CPU."""
    monkeypatch.setattr(_call, "isa", "scalar")


class Net:
    """A graph in the making; weights are random."""

    def __init__(self, *shape):
        self.g, self.rng = Builder(F32), np.random.default_rng(0)
        self.x = self.g.input("x", shape)

    def array(self, *shape):
        return self.rng.standard_normal(shape).astype(np.float32) / np.float32(np.sqrt(np.prod(shape[1:]) or 1))

    def conv(self, x, k, kernel=1, groups=1):
        w = self.g.constant(self.array(k, x.shape[1] // groups, kernel, kernel))
        pad = (kernel // 2,) * 2
        return self.g.emit("Conv", x, w, None, stride=(1, 1), pad_lo=pad, pad_hi=pad, dilation=(1, 1), groups=groups)

    def relu(self, x):
        return self.g.emit("Relu", x, alpha=0.0, beta=0.0)

    def linear(self, x, m):
        return self.g.emit("MatMul", x, self.g.constant(self.array(x.shape[-1], m)), trans_a=False, trans_b=False)

    def nodes(self, *outputs, least_rows=1):
        self.g.graph.outputs = list(outputs)
        graph = assign_layouts(fuse(prune(self.g.graph), least_rows=least_rows), F32)
        return use_bfloat16(graph).nodes

    def run(self, x, *outputs, precision="bfloat16"):
        self.g.graph.outputs = list(outputs)
        return compile_plan(prune(self.g.graph), F32, precision=precision).run([x], 1, 2)


def types(nodes):
    return [(n.op, n.outputs[0].dtype == BFLOAT16) for n in nodes if n.op not in ("ToBlocked", "FromBlocked")]


def rounded(x):
    return np.asarray(x, np.float32).astype(ml_dtypes.bfloat16).astype(np.float32)


def test_only_what_bfloat16_readers_alone_read_is_stored_so():
    net = Net(1, 32, 5, 6)
    a = net.relu(net.conv(net.x, 48))
    b = net.conv(a, 32)
    assert types(net.nodes(net.conv(b, 16))) == [("Bf16Round", True), ("Bf16Conv", True), ("Bf16Conv", True), ("Bf16Conv", False)]
    kept = types(net.nodes(net.conv(b, 16), a))  # a is asked for: its reader reads a rounded copy
    assert kept == [("Bf16Round", True), ("Bf16Conv", False), ("Bf16Round", True), ("Bf16Conv", True), ("Bf16Conv", False)]


def test_a_value_is_rounded_once_for_all_readers():
    net = Net(1, 32, 5, 6)
    nodes = net.nodes(net.conv(net.x, 16), net.conv(net.x, 48))
    assert [op for op, _ in types(nodes)].count("Bf16Round") == 1


def test_a_residual_is_read_as_it_is_stored():
    net = Net(1, 32, 5, 6)
    a = net.conv(net.x, 32)
    y = net.relu(net.g.add(net.conv(a, 32), a))
    assert types(net.nodes(y)) == [("Bf16Round", True), ("Bf16Conv", True), ("Bf16Conv", False)]
    mixed = [n for n in net.nodes(net.relu(net.g.add(net.conv(net.conv(a, 32), 32), net.x))) if n.op == "Bf16Conv"]
    assert mixed[-1].inputs[3].dtype == F32


def test_other_kernels_stay():
    net = Net(1, 32, 16, 16)
    nodes = net.nodes(net.conv(net.conv(net.conv(net.x, 32, 3), 32, 3, groups=32), 16))
    assert types(nodes) == [("BlockedConv", False), ("BlockedConv", False), ("Bf16Round", True), ("Bf16Conv", False)]
    assert [n.attrs["algorithm"] for n in nodes if n.op == "BlockedConv"] == ["winograd", "depthwise"]


def test_a_single_row_is_a_layer_where_whole_blocks_fit():
    net = Net(1, 64)
    y = net.linear(net.relu(net.linear(net.x, 32)), 10)
    assert types(net.nodes(y)) == [("Bf16Round", True), ("Bf16Linear", False), ("MatMul", False)]
    assert "Bf16Linear" not in [n.op for n in net.nodes(y, least_rows=8)]


def test_a_layer_that_is_asked_for_is_not_rounded():
    net = Net(12, 64)
    a = net.linear(net.x, 32)
    y = net.linear(a, 16)
    assert types(net.nodes(y)) == [("Bf16Round", True), ("Bf16Linear", True), ("Bf16Linear", False)]
    assert types(net.nodes(y, a)) == [("Bf16Round", True), ("Bf16Linear", False), ("Bf16Round", True), ("Bf16Linear", False)]


@pytest.mark.parametrize("rows", [1, 12])
def test_gradients_stay(rows):
    net = Net(rows, 64)
    y = net.relu(net.linear(net.relu(net.linear(net.x, 32)), 16))
    (dx,) = gradients(net.g, y, [net.x], seed=net.g.constant(np.ones((rows, 16), np.float32)))
    ops = [op for op, _ in types(net.nodes(y, dx))]
    assert ops.count("Bf16Linear") == 2
    assert ops.count("Linear" if rows > 1 else "MatMul") == 2
    x = net.rng.standard_normal((rows, 64)).astype(np.float32)
    for a, b in zip(net.run(x, y, dx), net.run(x, y, dx, precision="float32"), strict=True):
        assert b.any()
        assert abs(a - b).max() < 0.02 * abs(b).max()


def test_gradients_of_convolutions_stay():
    net = Net(1, 32, 5, 6)
    y = net.conv(net.conv(net.x, 48, 3), 16)
    (dx,) = gradients(net.g, y, [net.x], seed=net.g.constant(np.ones(y.shape, np.float32)))
    ops = [op for op, _ in types(net.nodes(y, dx))]
    assert ops.count("Bf16Conv") == 2
    assert ops.count("BlockedConv") == 2


def test_values_are_those_of_rounding_where_it_is_said():
    net = Net(1, 32, 5, 6)
    a = net.conv(net.x, 48)
    y = net.relu(net.g.add(net.conv(net.relu(a), 32), net.x))
    x = net.rng.standard_normal((1, 32, 5, 6)).astype(np.float32)
    weights = [n.input(1).data[:, :, 0, 0] for n in net.g.graph.nodes if n.op == "Conv"]
    flat = x.reshape(32, 30)
    hidden = np.maximum(rounded(weights[0]).astype(np.float64) @ rounded(flat), 0)
    want = np.maximum(rounded(weights[1]).astype(np.float64) @ rounded(hidden) + flat, 0).reshape(y.shape)
    (found,) = net.run(x, y)
    # Float32 sums may round a hidden value to the other neighbour: each such step moves a result by 2^-8 of one product.
    assert abs(found - want).max() < 1e-3
    assert np.median(abs(found - want)) < 1e-6
    assert abs(net.run(x, y, precision="float32")[0] - want).max() > 3e-3


def test_double_graphs_are_left_alone():
    g = Builder(np.dtype(np.float64))
    x = g.input("x", (1, 64))
    g.graph.outputs = [g.emit("MatMul", x, g.constant(np.ones((64, 32))), trans_a=False, trans_b=False)]
    assert [s.kernel for s in compile_plan(g.graph, g.real, precision="bfloat16").steps] == ["matmul_live_output"]
