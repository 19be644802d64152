"""Which graphs treat the pictures of a batch apart, operator by operator.

A positive claim is also executed: the graph for one picture, run picture by picture, gives what the same operators give on
the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from graph.cases import F64, conv, normal, positive, window

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Value
from gradcam.graph.operators import OPERATORS
from gradcam.graph.ops.resample import pick
from gradcam.graph.ops.rows import row_numbers
from gradcam.graph.passes import is_per_picture, prune
from gradcam.graph.compilation import compile_plan

Emit = Callable[[Builder, Value, int], Value]
"""Emits operators that read x (n, 4, 6) and the number n of pictures."""


def constant(g: Builder, *shape: int, seed: int = 1) -> Value:
    return g.constant(normal(shape, seed))


def unary(g: Builder, op: str, x: Value, **attrs) -> Value:
    return g.emit(op, x, **({"alpha": 0.0, "beta": 0.0} | attrs))


def norm(g: Builder, x: Value) -> Value:
    parameters = [constant(g, 4, seed=i) for i in range(3)]
    return g.emit("BatchNorm", x, *parameters, g.constant(positive((4,))), epsilon=1e-3)


CONV = conv((1,), (1,), (1,), (1,), 1)
WINDOW = window((2,), (2,), (0,), (0,), (1,))
ONES = (1, 1, 1)


def places(g: Builder, n: int, taps: int) -> tuple[Value, Value]:
    """Constant positions and weights."""
    index = np.random.default_rng(n).integers(0, 6, (n, 4, taps))
    return g.constant(index), g.constant(np.ones(index.shape))


def places_of(g: Builder, x: Value, n: int) -> tuple[Value, Value]:
    """Positions and weights that the pictures compute."""
    index = g.emit("TopKIndices", x, k=6, largest=True)
    return g.reshape(index, (n, 6, 4)), g.reshape(unary(g, "Tanh", x), (n, 6, 4))


APART: dict[str, Emit] = {
    "Relu": lambda g, x, n: unary(g, "Relu", x),
    "Add of itself": lambda g, x, n: g.add(x, x),
    "Add of a constant row": lambda g, x, n: g.add(x, constant(g, 4, 1)),
    "Add of a constant with its own batch axis of 1": lambda g, x, n: g.add(x, constant(g, 1, 4, 6)),
    "Mul of a constant with more axes": lambda g, x, n: g.mul(x, constant(g, 6)),
    "PRelu": lambda g, x, n: g.emit("PRelu", x, constant(g, 4, 1)),
    "Conv": lambda g, x, n: g.emit("Conv", x, constant(g, 5, 4, 3), None, **CONV),
    "ConvInputGrad": lambda g, x, n: g.emit("ConvInputGrad", x, constant(g, 4, 3, 3), input_shape=(n, 3, 6), **CONV),
    "BatchNorm": lambda g, x, n: norm(g, x),
    "LayerNorm of positions": lambda g, x, n: g.emit("LayerNorm", x, constant(g, 6), constant(g, 6, seed=2), axis=2, epsilon=1e-3),
    "LayerNorm of all but the pictures": lambda g, x, n: g.emit("LayerNorm", x, None, None, axis=1, epsilon=1e-3),
    "LayerNormGrad of positions": lambda g, x, n: g.emit("LayerNormGrad", x, constant(g, 6), unary(g, "Tanh", x), axis=2, epsilon=1e-3),
    "MaxPool": lambda g, x, n: g.emit("MaxPool", x, **WINDOW),
    "AveragePool": lambda g, x, n: g.emit("AveragePool", x, **WINDOW),
    "ReduceMean over positions": lambda g, x, n: g.reduce("ReduceMean", x, (2,), False),
    "ReduceMax, axes kept": lambda g, x, n: g.reduce("ReduceMax", x, (1, 2), True),
    "Softmax over channels": lambda g, x, n: g.emit("Softmax", x, axis=1),
    "LogSoftmax over positions": lambda g, x, n: g.emit("LogSoftmax", x, axis=2),
    "Transpose behind the pictures": lambda g, x, n: g.transpose(x, (0, 2, 1)),
    "Transpose there and back": lambda g, x, n: g.transpose(unary(g, "Tanh", g.transpose(x, (1, 0, 2))), (1, 0, 2)),
    "Transpose, Softmax, back": lambda g, x, n: g.transpose(g.emit("Softmax", g.transpose(x, (2, 1, 0)), axis=1), (2, 1, 0)),
    "Flatten": lambda g, x, n: g.reshape(x, (n, 24)),
    "Reshape into groups": lambda g, x, n: g.reshape(x, (n, 2, 2, 6)),
    "channels into the batch axis": lambda g, x, n: g.reshape(unary(g, "Relu", g.reshape(x, (n * 4, 6))), (n, 24)),
    "channel shuffle": lambda g, x, n: g.reshape(g.transpose(g.reshape(x, (n, 2, 2, 6)), (0, 2, 1, 3)), (n, 4, 6)),
    "Slice of channels": lambda g, x, n: g.emit("Slice", x, starts=(0, 1, 5), steps=(1, 2, -1), sizes=(n, 2, 6)),
    "SliceGrad of channels": lambda g, x, n: g.emit("SliceGrad", x, starts=(0, 1, 0), steps=ONES, sizes=(n, 4, 6), input_shape=(n, 7, 6)),
    "Pad of positions": lambda g, x, n: g.emit("Pad", x, lo=(0, 0, 1), hi=(0, 0, 2), value=0.5),
    "Concat of channels": lambda g, x, n: g.emit("Concat", x, unary(g, "Neg", x), axis=1),
    "Gather of channels": lambda g, x, n: g.emit("Gather", x, g.constant(np.array([[3, 1]])), axis=1),
    "Resample of positions": lambda g, x, n: pick(g, x, 2, np.array([5, 0, -1, 3])),
    "Gather before the pictures": lambda g, x, n: g.transpose(
        g.emit("Gather", g.transpose(x, (1, 0, 2)), g.constant(np.array([2, 0, 2])), axis=0), (1, 0, 2)
    ),
    "Gather for each picture": lambda g, x, n: g.emit("Gather", x, g.emit("TopKIndices", x, k=2, largest=True), axis=2, batch_axes=2),
    "Gather in each picture, the same places": lambda g, x, n: g.emit(
        "Gather", x, g.constant(np.tile(np.array([[[3, 0], [1, 1], [2, 5], [0, 4]]]), (n, 1, 1))), axis=2, batch_axes=2
    ),
    "Gather from a table": lambda g, x, n: g.transpose(
        g.emit("Gather", constant(g, 2, 6, 3), g.emit("ArgMax", x, axis=2), axis=1), (1, 0, 2, 3)
    ),
    "GatherGrad for each picture": lambda g, x, n: g.emit(
        "GatherGrad", x, g.emit("TopKIndices", x, k=6, largest=True), axis=2, batch_axes=2, input_shape=(n, 4, 6)
    ),
    "GatherGrad of channels": lambda g, x, n: g.emit(
        "GatherGrad", g.reshape(x, (n, 2, 2, 6)), g.constant(np.array([[3, 1], [0, 3]])), axis=1, input_shape=(n, 5, 6)
    ),
    "Less than a row": lambda g, x, n: g.emit("Less", x, constant(g, 6)),
    "Keep where positive": lambda g, x, n: g.emit("Keep", x, g.emit("Less", g.constant(0.0), x)),
    "ToIndex and back": lambda g, x, n: g.emit("ToReal", g.emit("ToIndex", x)),
    "ArgMax of channels": lambda g, x, n: g.emit("ArgMax", x, axis=1),
    "ArgMax of positions, axis kept": lambda g, x, n: g.reshape(g.emit("ArgMax", x, axis=2), (n, 4, 1)),
    "TopKIndices of positions": lambda g, x, n: g.emit("TopKIndices", x, k=2, largest=True),
    "Sample for each picture": lambda g, x, n: g.emit("Sample", x, *places_of(g, x, n)),
    "SampleGrad for each picture": lambda g, x, n: g.emit("SampleGrad", x, *places_of(g, x, n), size=9),
    "Sample at the same places": lambda g, x, n: g.emit("Sample", x, g.constant(np.full((n, 2, 3), 1)), g.constant(np.ones((n, 2, 3)))),
    "RowNumbers of positions": lambda g, x, n: row_numbers(g, g.emit("ToIndex", x), (2, 3, 1, 1, 1, 2), wrap=True),
    "RowNumbers beside the pictures": lambda g, x, n: row_numbers(
        g, g.emit("TopKIndices", x, k=1, largest=True), (6,), wrap=False, base=g.constant(np.arange(4)[None])
    ),
    "LastRows of positions": lambda g, x, n: g.emit("LastRows", g.emit("TopKIndices", x, k=3, largest=True), size=6),
    "Expand of positions": lambda g, x, n: g.expand(g.reshape(x, (n, 4, 6, 1)), (n, 4, 6, 3)),
    "MatMul with weights": lambda g, x, n: g.emit("MatMul", x, constant(g, 6, 5), trans_a=False, trans_b=False),
    "MatMul, weights on the left": lambda g, x, n: g.emit("MatMul", constant(g, 5, 4), x, trans_a=False, trans_b=False),
    "MatMul of two with pictures": lambda g, x, n: g.emit("MatMul", x, unary(g, "Tanh", x), trans_a=False, trans_b=True),
    "MatMul of rows": lambda g, x, n: g.emit("MatMul", g.reshape(x, (n, 24)), constant(g, 24, 5), trans_a=False, trans_b=False),
}
TOGETHER: dict[str, Emit] = {
    "ReduceSum over pictures": lambda g, x, n: g.reduce("ReduceSum", x, (0,), True),
    "batch statistics": lambda g, x, n: g.sub(x, g.reduce("ReduceMean", x, (0, 2), True)),
    "batch norm in training form": lambda g, x, n: g.emit("BatchNormTrain", x, constant(g, 4), constant(g, 4), epsilon=1e-3),
    "weight gradient of a convolution": lambda g, x, n: g.emit("ConvWeightGrad", x, x, weight_shape=(4, 4, 3), **CONV),
    "LayerNorm with pictures in a row": lambda g, x, n: g.emit("LayerNorm", x, None, None, axis=0, epsilon=1e-3),
    "LayerNormGrad with pictures in a row": lambda g, x, n: g.emit("LayerNormGrad", x, None, unary(g, "Tanh", x), axis=0, epsilon=1e-3),
    "Softmax over pictures": lambda g, x, n: g.emit("Softmax", x, axis=0),
    "Gram matrix of the pictures": lambda g, x, n: g.emit(
        "MatMul", g.reshape(x, (n, 24)), g.reshape(x, (n, 24)), trans_a=False, trans_b=True
    ),
    "MatMul that sums over pictures": lambda g, x, n: g.emit(
        "MatMul", g.reshape(x, (n, 24)), g.reshape(x, (n, 24)), trans_a=True, trans_b=False
    ),
    "MatMul with another matrix per picture": lambda g, x, n: g.emit("MatMul", x, constant(g, 2, 6, 5), trans_a=False, trans_b=False),
    "Concat of pictures": lambda g, x, n: g.emit("Concat", x, x, axis=0),
    "Concat beside the pictures of a constant": lambda g, x, n: g.emit("Concat", x, constant(g, 2, 4, 6), axis=0),
    "Add of a constant for each picture": lambda g, x, n: g.add(x, constant(g, 2, 4, 6)),
    "Add of the transposed": lambda g, x, n: g.add(g.reshape(x, (n, 24)), g.transpose(g.reshape(x, (n, 24)), (1, 0))),
    "Pad of pictures": lambda g, x, n: g.emit("Pad", x, lo=(1, 0, 0), hi=(0, 0, 0), value=0.0),
    "Slice of pictures": lambda g, x, n: g.emit("Slice", x, starts=(0, 0, 0), steps=ONES, sizes=(0, 4, 6)),
    "Slice backwards over pictures": lambda g, x, n: g.emit("Slice", x, starts=(n - 1, 0, 0), steps=(-1, 1, 1), sizes=(n, 4, 6)),
    "Gather of pictures": lambda g, x, n: g.emit("Gather", x, g.constant(np.array([0])), axis=0),
    "Resample of pictures": lambda g, x, n: pick(g, x, 0, np.array([0, 0])),
    "Resample of pictures that changes nothing for one": lambda g, x, n: pick(g, x, 0, np.array([0]), always=True),
    "Gather of what each picture chooses": lambda g, x, n: g.emit("Gather", x, g.emit("ArgMax", x, axis=2), axis=2),
    "Gather of other places for each picture": lambda g, x, n: g.emit(
        "Gather", x, g.constant(np.array([[[3]] * 4] * 2)), axis=2, batch_axes=2
    ),
    "Gather whose places lie across the pictures": lambda g, x, n: g.emit(
        "Gather", g.transpose(x, (1, 0, 2)), g.emit("TopKIndices", g.reshape(x, (n, 24)), k=1, largest=True), axis=2, batch_axes=1
    ),
    "GatherGrad of pictures": lambda g, x, n: g.emit("GatherGrad", x, g.constant(np.array([0])), axis=0, input_shape=(1, 4, 6)),
    "GatherGrad at places of each picture": lambda g, x, n: g.emit(
        "GatherGrad", constant(g, 1, 4, 6), g.emit("TopKIndices", x, k=6, largest=True), axis=2, batch_axes=2, input_shape=(1, 4, 6)
    ),
    "Keep by the mask of a batch": lambda g, x, n: g.emit("Keep", x, constant(g, 2, 4, 6)),
    "ArgMax over pictures": lambda g, x, n: g.emit("ArgMax", x, axis=0),
    "TopKIndices over pictures": lambda g, x, n: g.emit("TopKIndices", g.transpose(x, (1, 2, 0)), k=1, largest=True),
    "Sample across pictures": lambda g, x, n: g.transpose(g.emit("Sample", g.transpose(x, (1, 0, 2)), *places(g, 4, 2)), (1, 0, 2)),
    "Sample at places of other pictures": lambda g, x, n: g.emit("Sample", x, *places(g, 2, 3)),
    "RowNumbers over pictures": lambda g, x, n: row_numbers(g, g.emit("ToIndex", g.transpose(x, (1, 2, 0))), (5,) * n, wrap=False),
    "LastRows over pictures": lambda g, x, n: g.emit("LastRows", g.emit("ToIndex", g.transpose(x, (1, 2, 0))), size=3),
    "Transpose that leaves the pictures elsewhere": lambda g, x, n: g.transpose(x, (1, 0, 2)),
    "pictures inside another axis": lambda g, x, n: g.reshape(g.transpose(x, (1, 0, 2)), (4 * n, 6)),
    "Conv across pictures": lambda g, x, n: g.transpose(
        g.emit("Conv", g.transpose(x, (1, 0, 2)), constant(g, 3, n, 3), None, **CONV), (1, 0, 2)
    ),
    "MaxPool over pictures": lambda g, x, n: g.transpose(
        g.emit("MaxPool", g.transpose(x, (1, 2, 0)), **window((1,), (1,), (0,), (0,), (1,))), (2, 0, 1)
    ),
}


def graph_for(emit: Emit, pictures: int) -> Builder:
    g = Builder(F64)
    g.graph.outputs = [emit(g, g.input("x", (pictures, 4, 6)), pictures)]
    return g


@pytest.mark.parametrize("name", APART)
def test_pictures_that_do_not_meet(name):
    single = graph_for(APART[name], 1)
    assert is_per_picture(single.graph)
    a = normal((3, 4, 6))
    (one_by_one,) = compile_plan(prune(single.graph), F64).run([a], 3, 2)
    whole = graph_for(APART[name], 3)
    (together,) = compile_plan(prune(whole.graph), F64).run([a], 1, 1)
    assert one_by_one.shape == together.shape
    np.testing.assert_allclose(one_by_one, together, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", TOGETHER)
def test_pictures_that_meet(name):
    assert not is_per_picture(graph_for(TOGETHER[name], 1).graph)


def test_one_mixing_output_spoils_the_graph():
    g = graph_for(APART["Relu"], 1)
    g.graph.outputs.append(TOGETHER["ReduceSum over pictures"](g, g.graph.inputs[0], 1))
    assert not is_per_picture(g.graph)


def test_output_without_pictures_is_refused():
    g = Builder(F64)
    g.input("x", (1, 4, 6))
    g.graph.outputs = [constant(g, 1, 3)]
    assert not is_per_picture(g.graph)


def test_all_inputs_have_pictures():
    g = Builder(F64)
    x, z = g.input("x", (1, 4)), g.input("z", (1, 4))
    g.graph.outputs = [g.mul(x, z)]
    assert is_per_picture(g.graph)
    g.graph.outputs = [g.mul(x, g.transpose(z, (1, 0)))]
    assert not is_per_picture(g.graph)


def test_every_operator_of_a_forward_graph_is_tested():
    seen = set()
    for emit in (*APART.values(), *TOGETHER.values()):
        seen |= {node.op for node in graph_for(emit, 1).graph.nodes}
    by_rule: dict[object, set[str]] = {}
    for name, record in OPERATORS.items():
        by_rule.setdefault(record.picture_axis, set()).add(name)
    untested = [names for names in by_rule.values() if not names & seen]
    assert untested == []
