"""The pass that computes once what is computed twice."""

from __future__ import annotations

import numpy as np
import pytest
from graph.cases import F64, conv, normal

from gradcam.graph.builder import Builder
from gradcam.graph.compilation import compile_plan
from gradcam.graph.passes import share
from gradcam.graph.passes.share import SMALL_BYTES

WINDOW = conv((1, 1), (1, 1), (1, 1), (1, 1), 1)


def graph_of(write):
    """Graph with one input whose outputs `write` returns."""
    g = Builder(F64)
    x = g.input("x", (1, 2, 4, 4))
    g.graph.outputs = write(g, x)
    return g.graph


def shared(graph):
    """Operators that are left, after a comparison of the results, which must agree to the last bit."""
    x = normal((1, 2, 4, 4))
    found = share(graph)
    assert found.outputs == graph.outputs
    before, after = (compile_plan(one, F64, without=("share", "fuse")).run([x], 1, 1) for one in (graph, found))
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a.view(np.int64), b.view(np.int64))
    return [node.op for node in found.nodes]


def act(g, x, op="Relu", alpha=0.0):
    return g.emit(op, x, alpha=alpha, beta=0.0)


def test_chains_of_equal_nodes_are_computed_once():
    weight = normal((2, 2, 3, 3))

    def write(g, x):
        both = [act(g, g.emit("Conv", x, g.constant(weight), None, **WINDOW)) for _ in range(2)]
        return [g.mul(act(g, both[0], "Sigmoid"), act(g, both[1], "Tanh"))]

    graph = graph_of(write)
    before = list(graph.nodes)
    assert shared(graph) == ["Conv", "Relu", "Sigmoid", "Tanh", "Mul"]
    assert graph.nodes == before  # the graph given is left alone


@pytest.mark.parametrize(
    "other",
    [
        lambda g, x: act(g, x, "LeakyRelu", 0.25),  # another attribute
        lambda g, x: act(g, x, "Elu", 0.5),  # another operator
        lambda g, x: act(g, act(g, x, "Neg"), "LeakyRelu", 0.5),  # another input
    ],
)
def test_nodes_that_differ_stay(other):
    graph = graph_of(lambda g, x: [g.add(act(g, x, "LeakyRelu", 0.5), other(g, x))])
    assert shared(graph) == [node.op for node in graph.nodes]


def test_operands_in_another_order_are_another_computation():
    ops = shared(graph_of(lambda g, x: [g.emit("Concat", g.sub(x, act(g, x)), g.sub(act(g, x), x), axis=1)]))
    assert ops == ["Relu", "Sub", "Sub", "Concat"]


@pytest.mark.parametrize(("a", "b", "count"), [(1.5, 1.5, 1), (0.0, -0.0, 2), (np.nan, np.nan, 1), (1.5, np.nan, 2)])
def test_small_constants_are_compared_to_the_last_bit(a, b, count):
    ops = shared(graph_of(lambda g, x: [g.add(g.mul(x, g.constant(a)), act(g, g.mul(x, g.constant(b))))]))
    assert ops.count("Mul") == count


def test_zero_and_minus_zero_are_different_attributes():
    ops = shared(graph_of(lambda g, x: [g.add(act(g, x, "Affine", 0.0), act(g, x, "Affine", -0.0))]))
    assert ops == ["Affine", "Affine", "Add"]


@pytest.mark.parametrize(("copied", "ops"), [(False, ["Slice", "Mul", "Relu", "Add"]), (True, ["Slice", "Mul", "Mul", "Relu", "Add"])])
def test_large_constants_are_the_same_if_they_are_the_same_memory(copied, ops):
    large = normal((1, 2, 4, SMALL_BYTES // 8))

    def product(g, x, constant):
        column = g.emit("Slice", x, starts=(0, 0, 0, 0), steps=(1,) * 4, sizes=(1, 2, 4, 1))
        return g.mul(column, g.constant(constant))

    graph = graph_of(lambda g, x: [g.add(product(g, x, large), act(g, product(g, x, large.copy() if copied else large)))])
    assert shared(graph) == ops


def test_results_of_the_graph_keep_their_values():
    ops = shared(graph_of(lambda g, x: [act(g, x), act(g, x), act(g, act(g, x), "Sigmoid")]))
    assert ops == ["Relu", "Reshape", "Sigmoid"]


def test_nodes_with_two_results():
    def write(g, x):
        found = [g.emit_all("CamXGradWeights", x, x, variant=0, epsilon=0.0, channel_axis=1) for _ in range(2)]
        return [g.add(found[0][0], found[1][0]), g.add(found[0][1], act(g, found[1][1]))]

    assert shared(graph_of(write)).count("CamXGradWeights") == 1
