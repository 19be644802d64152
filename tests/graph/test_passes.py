"""Passes give equal graphs that are cheaper to run."""

from __future__ import annotations

import numpy as np
import pytest
from graph.cases import F64, conv, normal, positive, run

from gradcam.graph.passes.fold_batchnorm import FoldCache
from gradcam.graph.autodiff import gradients
from gradcam.graph.builder import Builder
from gradcam.graph.ir import Graph
from gradcam.graph.passes import fold_batchnorm, prune, take_row
from gradcam.graph.compilation import compile_plan


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def execute(graph: Graph, arrays, real=F64):
    return compile_plan(prune(graph), real).run([np.ascontiguousarray(a, real) for a in arrays], 1, 1)


# --- batch normalisation


def conv_norm(bias: bool, real=F64, parameters=None, groups: int = 1):
    """x -> Conv -> BatchNorm -> Relu, and all the values."""
    g = Builder(real)
    x = g.input("x", (1, 4, 5, 5))
    weight, shift = g.constant(normal((6, 4 // groups, 3, 3), 1)), g.constant(normal((6,), 2)) if bias else None
    inner = g.emit("Conv", x, weight, shift, **conv((1, 1), (1, 1), (0, 1), (1, 1), groups))
    numbers = parameters or [normal((6,), 3), normal((6,), 4), normal((6,), 5), positive((6,), 6)]
    norm = g.emit("BatchNorm", inner, *(g.constant(p) if isinstance(p, np.ndarray) else p for p in numbers), epsilon=1e-3)
    g.graph.outputs = [g.emit("Relu", norm, alpha=0.0, beta=0.0)]
    return g, inner, norm


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("real", "bound"), [("float64", 1e-12), ("float32", 2e-6)])
def test_folded_batchnorm_has_equal_values(bias, groups, real, bound):
    g, _, _ = conv_norm(bias, np.dtype(real), groups=groups)
    folded = fold_batchnorm(g.graph)
    assert ops(folded) == ["Conv", "Relu"]
    a = normal((1, 4, 5, 5)).astype(real)
    (expected,), (got,) = execute(g.graph, [a], np.dtype(real)), execute(folded, [a], np.dtype(real))
    assert expected.any()
    np.testing.assert_allclose(got, expected, rtol=0, atol=bound * np.abs(expected).max() * 5)


def test_folding_leaves_the_graph_it_was_given_alone():
    g, _, _ = conv_norm(True)
    fold_batchnorm(g.graph)
    assert ops(g.graph) == ["Conv", "BatchNorm", "Relu"]


def test_folding_keeps_what_is_asked_for():
    g, inner, norm = conv_norm(True)
    kept = fold_batchnorm(g.graph, keep=[inner])
    assert ops(kept) == ["Conv", "BatchNorm", "Relu"]
    assert ops(fold_batchnorm(g.graph, keep=[norm])) == ["Conv", "Relu"]  # the result of the fold is the norm's value
    g.graph.outputs.append(inner)
    assert ops(fold_batchnorm(g.graph)) == ["Conv", "BatchNorm", "Relu"]


def test_convolution_that_something_else_reads_is_not_folded():
    g, inner, _ = conv_norm(True)
    g.graph.outputs.append(g.emit("Tanh", inner, alpha=0.0, beta=0.0))
    assert ops(fold_batchnorm(g.graph)).count("BatchNorm") == 1


def test_batchnorm_with_computed_parameters_is_not_folded():
    g = Builder(F64)
    gamma = g.input("gamma", (6,))
    x = g.input("x", (1, 4, 5, 5))
    inner = g.emit("Conv", x, g.constant(normal((6, 4, 1, 1))), None, **conv((1, 1), (0, 0), (0, 0), (1, 1), 1))
    rest = [g.constant(normal((6,), i)) for i in (1, 2)]
    g.graph.outputs = [g.emit("BatchNorm", inner, gamma, *rest, g.constant(positive((6,))), epsilon=1e-5)]
    assert "BatchNorm" in ops(fold_batchnorm(g.graph))


def test_batchnorm_without_a_convolution_stays():
    g = Builder(F64)
    x = g.input("x", (1, 3, 4))
    parameters = [g.constant(normal((3,), i)) for i in range(3)]
    g.graph.outputs = [g.emit("BatchNorm", x, *parameters, g.constant(positive((3,))), epsilon=1e-5)]
    assert ops(fold_batchnorm(g.graph)) == ["BatchNorm"]


def test_two_graphs_of_a_model_share_folded_weights():
    g, _, _ = conv_norm(True)
    cache = FoldCache(64)
    first, second = fold_batchnorm(g.graph, cache=cache), fold_batchnorm(g.graph, cache=cache)
    assert first.nodes[0].inputs[1] is second.nodes[0].inputs[1]


def test_cache_of_folded_weights_outlives_the_graphs_it_was_filled_from():
    """Arrays of a dropped graph may leave their addresses to those of the next one, which has other weights."""
    cache = FoldCache(64)
    for seed in range(50):
        parameters = [normal((6,), seed), normal((6,), seed + 1), normal((6,), seed + 2), positive((6,), seed)]
        g, _, _ = conv_norm(True, parameters=parameters)
        a = normal((1, 4, 5, 5))
        (expected,), (got,) = execute(g.graph, [a]), execute(fold_batchnorm(g.graph, cache=cache), [a])
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11, err_msg=f"graph {seed}")
        del g, parameters


def test_gradient_through_a_folded_norm_is_equal():
    g, _, _ = conv_norm(True)
    a = normal((1, 4, 5, 5))
    found = []
    for graph in (g.graph, fold_batchnorm(g.graph)):
        b = Builder(F64, graph)
        (score,) = [b.sum(graph.outputs[0], range(4))]
        found.append(run(b, gradients(b, score, [b.graph.inputs[0]]), [a])[0])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-10, atol=1e-12)


# --- one row of the last layer


def classifier(trans_b: bool, index_count: int = 1, batch: int = 1):
    """Gradient of chosen class scores of y = x W + b at x."""
    g = Builder(F64)
    x, index = g.input("x", (batch, 5)), g.input("index", (index_count,), np.dtype(np.int64))
    weight = normal((7, 5) if trans_b else (5, 7), 1)
    y = g.add(g.emit("MatMul", x, g.constant(weight), trans_a=False, trans_b=trans_b), g.constant(normal((7,), 2)))
    picked = g.emit("Gather", g.reshape(y, (batch, 7, 1)), index, axis=1)
    g.graph.outputs = gradients(g, g.sum(picked, range(3)), [x])
    return g, weight if trans_b else weight.T


@pytest.mark.parametrize("trans_b", [False, True])
@pytest.mark.parametrize("index", [0, 3, 6])
def test_gradient_of_one_class_takes_one_row(trans_b, index):
    g, rows = classifier(trans_b)
    graph = prune(take_row(prune(g.graph), F64))
    assert "MatMul" not in ops(graph)
    assert ops(graph).count("Gather") == 1
    (plain,), (row,) = (execute_indexed(one, normal((1, 5)), [index]) for one in (g.graph, graph))
    np.testing.assert_array_equal(row, rows[index][None])
    np.testing.assert_array_equal(plain, row)


def execute_indexed(graph, x, index):
    return compile_plan(prune(graph), F64).run([x, np.array(index, np.int64)], 1, 1)


def test_several_classes_or_pictures_keep_the_product():
    g, rows = classifier(True, index_count=2)
    graph = prune(take_row(prune(g.graph), F64))
    assert "MatMul" in ops(graph)
    np.testing.assert_allclose(execute_indexed(graph, normal((1, 5)), [1, 4])[0], (rows[1] + rows[4])[None], rtol=1e-12)
    g, _ = classifier(True, batch=2)
    assert "MatMul" in ops(prune(take_row(prune(g.graph), F64)))


def test_dense_gradient_keeps_the_product():
    g = Builder(F64)
    x = g.input("x", (1, 5))
    y = g.emit("MatMul", x, g.constant(normal((5, 7))), trans_a=False, trans_b=False)
    g.graph.outputs = gradients(g, g.sum(g.mul(y, y), (0, 1)), [x])
    assert ops(take_row(prune(g.graph), F64)) == ops(prune(g.graph))


def test_row_of_a_product_that_is_an_output():
    g, rows = classifier(False)
    gradient = g.graph.outputs[0]
    graph = take_row(prune(g.graph), F64)
    assert graph.outputs == [gradient]
    np.testing.assert_array_equal(execute_indexed(graph, normal((1, 5)), [2])[0], rows[2][None])


def scored(bias: str, trans_b: bool = False, real=F64, rows: int = 1):
    """One class score of y = x W, of b + y or of y + b."""
    g = Builder(np.dtype(real))
    x, index = g.input("x", (rows, 37)), g.input("index", (1,), np.dtype(np.int64))
    y = g.emit("MatMul", x, g.constant(normal((11, 37) if trans_b else (37, 11), 1)), trans_a=False, trans_b=trans_b)
    b = g.constant(normal((1, 11), 2))
    y = {"none": y, "left": g.add(b, y), "right": g.add(y, b)}[bias]
    g.graph.outputs = [g.reshape(g.emit("Gather", g.reshape(y, (rows, 11, 1)), index, axis=1), (rows,))]
    return g, y


@pytest.mark.parametrize("bias", ["none", "left", "right"])
@pytest.mark.parametrize("trans_b", [False, True])
@pytest.mark.parametrize("real", ["float32", "float64"])
@pytest.mark.parametrize("index", [0, 4, 10])
def test_score_of_one_class_takes_one_row(bias, trans_b, real, index):
    g, _ = scored(bias, trans_b, real)
    graph = take_row(prune(g.graph), np.dtype(real))
    (product,) = (node for node in graph.nodes if node.op == "MatMul" and node.outputs[0] in graph.upstream(graph.outputs))
    assert product.outputs[0].shape == (1, 1)
    arrays = [normal((1, 37)).astype(real), np.array([index], np.int64)]
    (want,), (got,) = (compile_plan(one, np.dtype(real), without=("take_row",)).run(arrays, 1, 1) for one in (g.graph, graph))
    assert want.any()
    assert got.tobytes() == want.tobytes()


@pytest.mark.parametrize("bias", ["none", "right"])
@pytest.mark.parametrize("reader", ["output", "function", "second score", "rows", "bfloat16"])
def test_a_product_that_something_else_reads_is_kept(reader, bias):
    g, y = scored(bias, rows=2 if reader == "rows" else 1)
    if reader == "output":
        g.graph.outputs.append(y)
    if reader == "function":
        g.graph.outputs.append(g.unary("Exp", y))
    if reader == "second score":
        g.graph.outputs.append(g.emit("Gather", y, g.graph.inputs[1], axis=1))
    if reader == "rows":  # also where they are picked from together
        flat = g.reshape(g.emit("MatMul", g.graph.inputs[0], g.constant(normal((37, 11), 1)), trans_a=False, trans_b=False), (22,))
        g.graph.outputs.append(g.emit("Gather", flat, g.graph.inputs[1], axis=0))
    graph = prune(g.graph)
    assert ops(take_row(graph, F64, forward=reader != "bfloat16")) == ops(graph)


# --- pruning


def test_prune_keeps_what_outputs_need_and_all_inputs():
    g = Builder(F64)
    x, z = g.input("x", (3,)), g.input("z", (3,))
    first, unused = g.mul(x, x), g.mul(z, z)
    second = g.add(first, x)
    g.add(unused, first)
    g.graph.outputs = [second]
    pruned = prune(g.graph)
    assert [node.outputs[0] for node in pruned.nodes] == [first, second]
    assert pruned.inputs == [x, z]
    assert pruned.outputs == [second]
    assert len(g.graph.nodes) == 4


def test_prune_keeps_a_node_for_any_of_its_outputs():
    g = Builder(F64)
    a, b = g.input("a", (1, 2, 3)), g.input("b", (1, 2, 3))
    _, degenerate = g.emit_all("CamXGradWeights", a, b, variant=0, epsilon=0.0, channel_axis=1)
    g.graph.outputs = [degenerate]
    assert ops(prune(g.graph)) == ["CamXGradWeights"]


def test_prune_of_a_graph_whose_output_is_an_input():
    g = Builder(F64)
    x = g.input("x", (3,))
    g.mul(x, x)
    g.graph.outputs = [x]
    assert prune(g.graph).nodes == []
