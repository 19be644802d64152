"""The pass that makes layer norm one node."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from reference import layer_norm as reference

from gradcam.graph.autodiff import gradients
from gradcam.graph.builder import Builder
from gradcam.graph.compilation import compile_plan
from gradcam.graph.passes import fuse_layer_norm, is_per_picture, prune, pull_row

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
EPSILON = 1e-3


class Net:
    """A layer norm in the making; its parts can be written in the ways of the exporters."""

    def __init__(self, shape=(1, 7, 12), real=F32, axes=(2,)):
        self.g, self.real, self.axes = Builder(real), real, axes
        self.x = self.g.input("x", shape)
        self.rng = np.random.default_rng(0)

    def mean(self, x):
        return self.g.reduce("ReduceMean", x, self.axes, True)

    def deviation(self):
        return self.g.sub(self.x, self.mean(self.x))

    def root(self, deviation, *, power=False, constant=False):
        square = self.g.emit("Pow", deviation, self.g.constant(2.0)) if power else self.g.mul(deviation, deviation)
        variance = self.mean(square)
        shifted = self.g.add(self.g.constant(EPSILON), variance) if constant else self.g.unary("Affine", variance, 1.0, EPSILON)
        return self.g.unary("Sqrt", shifted)

    def quotient(self, deviation, root, *, divided=False):
        if divided:
            return self.g.emit("Div", deviation, root)
        return self.g.mul(deviation, self.g.unary("Reciprocal", root))

    def normed(self, **how):
        """As the reader of LayerNormalization emits it, or in parts as files hold it."""
        divided = how.pop("divided", False)
        deviation = self.deviation()
        return self.quotient(deviation, self.root(deviation, **how), divided=divided)

    def parameter(self, shape):
        return self.g.constant(self.rng.standard_normal(shape))

    def fused(self, *outputs, keep=()):
        """Operators of the fused graph; its results are those of the graph as it was."""
        self.g.graph.outputs = list(outputs)
        graph = prune(self.g.graph)
        x = (np.random.default_rng(1).standard_normal(self.x.shape) * 3 + 1).astype(self.real)
        found = fuse_layer_norm(graph, keep)
        plain, fast = (compile_plan(g, self.real, without=("layer_norm",)).run([x], 1, 2) for g in (graph, found))
        bound = 3e-6 if self.real == F32 else 1e-13
        for a, b in zip(plain, fast, strict=True):
            np.testing.assert_allclose(b, a, rtol=0, atol=bound * max(1, np.abs(a).max(initial=0)))
        self.graph = found
        return [node.op for node in found.nodes]


@pytest.mark.parametrize("real", [F32, F64])
@pytest.mark.parametrize("power", [False, True])
@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("divided", [False, True])
def test_every_way_of_writing_it_becomes_one_node(real, power, constant, divided):
    net = Net(real=real)
    y = net.normed(power=power, constant=constant, divided=divided)
    assert net.fused(net.g.add(net.g.mul(y, net.parameter(12)), net.parameter(12))) == ["LayerNorm"]
    node = net.graph.nodes[0]
    assert node.attrs == {"axis": 2, "epsilon": pytest.approx(EPSILON)}
    assert all(value is not None for value in node.inputs)


@pytest.mark.parametrize("seed", range(25))
def test_random_shapes_axes_and_parameters(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 12, rng.integers(1, 5)))
    first = int(rng.integers(len(shape)))
    net = Net(shape, axes=tuple(range(first, len(shape))))
    row, y = shape[first:], net.normed(divided=bool(rng.integers(2)))
    arrays = []
    for op in ("mul", "add"):
        arrays.append(net.parameter((1,) * int(rng.integers(first + 1)) + row) if rng.integers(4) else None)
        if arrays[-1] is not None:
            parts = (y, arrays[-1])[:: 1 if rng.integers(2) else -1]
            y = getattr(net.g, op)(*parts)
    assert net.fused(y) == ["LayerNorm"]
    x = rng.standard_normal(shape).astype(np.float32) * 5
    (found,) = compile_plan(net.graph, F32).run([x], 1, 1)
    flat = [None if a is None else a.data.reshape(-1) for a in arrays]
    want = reference.layer_norm(x.reshape(prod(shape[:first]), -1), *flat, EPSILON)
    np.testing.assert_allclose(found.reshape(want.shape), want, rtol=3e-6, atol=3e-6)


def test_parameters_of_another_shape_stay_beside_it():
    """Instance and group norm scale channels."""
    net = Net((1, 3, 10), axes=(2,))
    y = net.g.add(net.g.mul(net.normed(), net.parameter((3, 1))), net.parameter((3, 1)))
    assert net.fused(y) == ["LayerNorm", "Mul", "Add"]


def test_parameters_that_widen_the_result_or_are_computed_stay_beside_it():
    net = Net((1, 1, 12))
    assert net.fused(net.g.mul(net.normed(), net.parameter((4, 1, 12)))) == ["LayerNorm", "Mul"]
    net = Net((1, 12), axes=(1,))
    assert net.fused(net.g.add(net.normed(), net.x)) == ["LayerNorm", "Add"]
    net = Net((12, 12), axes=(1,))
    assert net.fused(net.g.mul(net.normed(), net.parameter((12, 1)))) == ["LayerNorm", "Mul"]
    net = Net()
    y = net.normed()
    assert net.fused(net.g.mul(y, y)) == ["LayerNorm", "Mul"]


def test_a_bias_without_a_factor():
    net = Net()
    assert net.fused(net.g.add(net.normed(), net.parameter(12))) == ["LayerNorm"]
    assert [value is None for value in net.graph.nodes[0].inputs] == [False, True, False]


def test_a_factor_after_the_bias_is_not_the_factor():
    net = Net()
    y = net.g.mul(net.g.add(net.normed(), net.parameter(12)), net.parameter(12))
    assert net.fused(y) == ["LayerNorm", "Mul"]


@pytest.mark.parametrize("part", ["mean", "deviation", "root", "quotient"])
@pytest.mark.parametrize("kept", [False, True])
def test_parts_that_are_asked_for_stay(part, kept):
    net = Net()
    found = {"mean": net.mean(net.x)}
    found["deviation"] = net.g.sub(net.x, found["mean"])
    found["root"] = net.root(found["deviation"])
    found["quotient"] = net.quotient(found["deviation"], found["root"])
    y = net.g.mul(found["quotient"], net.parameter(12))
    ops = net.fused(y, keep=[found[part]]) if kept else net.fused(y, found[part])
    assert ops.count("LayerNorm") == (part == "quotient")
    assert part != "quotient" or ops == ["LayerNorm", "Mul"]


def test_parts_that_are_read_elsewhere_stay():
    net = Net()
    deviation = net.deviation()
    assert "LayerNorm" not in net.fused(net.g.add(net.quotient(deviation, net.root(deviation)), deviation))
    net = Net()
    deviation = net.deviation()
    root = net.root(deviation)
    assert "LayerNorm" not in net.fused(net.g.mul(net.quotient(deviation, root, divided=True), root))


def test_other_formulas_are_left_alone():
    def check(make, shape=(1, 12, 12), axes=(2,)):
        net = Net(shape, axes=axes)
        assert "LayerNorm" not in net.fused(make(net))

    def wrong_power(net):
        deviation = net.deviation()
        cube = net.g.emit("Pow", net.g.unary("Abs", deviation), net.g.constant(3.0))
        return net.g.emit("Div", deviation, net.g.unary("Sqrt", net.g.unary("Affine", net.mean(cube), 1.0, EPSILON)))

    def other_axes(net):
        deviation = net.deviation()
        net.axes = (1,)
        return net.quotient(deviation, net.root(deviation))

    def other_mean(net):
        deviation = net.g.sub(net.x, net.mean(net.g.unary("Abs", net.x)))
        return net.quotient(deviation, net.root(deviation))

    def other_deviation(net):
        return net.quotient(net.g.unary("Abs", net.x), net.root(net.deviation()))

    def upside_down(net):
        deviation = net.deviation()
        return net.g.emit("Div", net.root(deviation), net.g.unary("Affine", deviation, 1.0, 50.0))

    def reverse(net):
        deviation = net.g.sub(net.mean(net.x), net.x)
        return net.quotient(deviation, net.root(deviation))

    def scaled_variance(net):
        deviation = net.deviation()
        variance = net.mean(net.g.mul(deviation, deviation))
        return net.quotient(deviation, net.g.unary("Sqrt", net.g.unary("Affine", variance, 2.0, EPSILON)))

    def without_mean(net):
        return net.quotient(net.x, net.root(net.x))

    for make in (wrong_power, other_axes, other_mean, other_deviation, upside_down, reverse, scaled_variance, without_mean):
        check(make)
    check(lambda net: net.normed(), axes=(1,))  # not the last axes
    check(lambda net: net.normed(), (2, 3, 4), (0, 2))


def test_gradients_of_the_fused_node_are_those_of_its_parts():
    results = []
    for joined in (False, True):
        net = Net(real=F64)
        y = net.g.add(net.g.mul(net.normed(), net.parameter(12)), net.parameter(12))
        net.g.graph.outputs = [y]
        g = Builder(F64, fuse_layer_norm(net.g.graph) if joined else net.g.graph)
        seed = g.input("dy", y.shape)
        g.graph.outputs = gradients(g, y, [net.x], seed)
        graph = prune(g.graph)
        if joined:
            assert [node.op for node in graph.nodes] == ["LayerNormGrad"]
        arrays = list(np.random.default_rng(3).standard_normal((2, *y.shape)))
        results.append(compile_plan(graph, F64, without=("layer_norm",)).run(arrays, 1, 1)[0])
    np.testing.assert_allclose(results[1], results[0], rtol=0, atol=1e-13)


@pytest.mark.parametrize("position", [0, 4])
def test_one_row_of_it_is_computed_where_one_is_read(position):
    net = Net()
    y = net.g.emit("MatMul", net.g.mul(net.normed(), net.parameter(12)), net.parameter((12, 5)), trans_a=False, trans_b=False)
    net.g.graph.outputs = [net.g.emit("Gather", y, net.g.constant(np.array(position)), axis=1)]
    fused = fuse_layer_norm(net.g.graph)
    pulled = prune(pull_row(fused, F32))
    assert [(node.op, node.outputs[0].shape) for node in pulled.nodes if node.op == "LayerNorm"] == [("LayerNorm", (1, 1, 12))]
    x = np.random.default_rng(2).standard_normal(net.x.shape).astype(np.float32)
    for a, b in zip(*(compile_plan(g, F32).run([x], 1, 1) for g in (fused, pulled)), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6)


def test_a_pick_among_the_numbers_of_a_row_is_not_pulled_before_it():
    net = Net()
    y = net.g.emit("Transpose", net.normed(), perm=(0, 2, 1))
    y = net.g.emit("MatMul", y, net.parameter((7, 5)), trans_a=False, trans_b=False)
    net.g.graph.outputs = [net.g.emit("Gather", y, net.g.constant(np.array(2)), axis=1)]
    pulled = prune(pull_row(fuse_layer_norm(net.g.graph), F32))
    assert [node.outputs[0].shape for node in pulled.nodes if node.op == "LayerNorm"] == [net.x.shape]


@pytest.mark.parametrize(("axes", "apart"), [((2,), True), ((1, 2), True), ((0, 1, 2), False)])
def test_pictures_meet_where_they_are_normalised_together(axes, apart):
    net = Net(axes=axes)
    assert net.fused(net.normed()) == ["LayerNorm"]
    assert is_per_picture(net.graph) == apart
