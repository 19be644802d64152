"""Sequences of tensors: what goes in, what comes out, and that nothing of them is left in the graph."""

from __future__ import annotations

import numpy as np
import pytest
from graph.cases import normal
from graph.onnx_cases import ints, node
from model.networks import model_bytes, reference
from onnx import TensorProto, helper

import gradcam
from gradcam.graph.ops.sequences import MAX_ITEMS
from gradcam.readers.onnx import read_onnx

SHAPE = (1, 5, 4)
X = normal(SHAPE).astype(np.float32)


def run(nodes, weights=None, judged=True):
    """Output y of a model of x, compared with ONNX's own evaluator where that is right."""
    content = model_bytes(nodes, {"x": list(SHAPE)}, {"y": None}, weights or {}, opset=18, check=False)
    found = gradcam.load(content)(X)
    if judged:
        np.testing.assert_allclose(found, reference(content, {"x": X})[0], rtol=1e-6)
    return found


def error(nodes, weights=None):
    content = model_bytes(nodes, {"x": list(SHAPE)}, {"y": None}, weights or {}, opset=18, check=False)
    with pytest.raises((gradcam.ModelFormatError, gradcam.UnsupportedOpError)) as caught:
        gradcam.load(content)
    return str(caught.value)


THREE = [node("Neg", ["x"], "n"), node("Abs", ["x"], "a"), node("SequenceConstruct", ["x", "n", "a"], "s")]


@pytest.mark.parametrize(("position", "wanted"), [(0, X), (1, -X), (2, np.abs(X)), (-1, np.abs(X)), (-3, X)])
def test_one_of_the_tensors(position, wanted):
    y = run([*THREE, node("SequenceAt", ["s", "p"], "t"), node("Identity", ["t"], "y")], {"p": np.array(position)})
    np.testing.assert_array_equal(y, wanted)


@pytest.mark.parametrize("position", [None, 0, 1, 3, -1, -3])
def test_insert_and_join(position):
    inputs = ["s", "double"] + ([] if position is None else ["p"])
    nodes = [*THREE, node("Add", ["x", "x"], "double"), node("SequenceInsert", inputs, "t")]
    nodes.append(node("ConcatFromSequence", ["t"], "y", axis=1))
    y = run(nodes, {} if position is None else {"p": np.array(position)}, judged=position != 3)  # the evaluator inserts it at 0
    parts = [X, -X, np.abs(X)]
    parts.insert(3 if position is None else position, 2 * X)
    np.testing.assert_array_equal(y, np.concatenate(parts, 1))


@pytest.mark.parametrize("position", [None, 0, 2, -2])
def test_erase_and_stack(position):
    inputs = ["s"] + ([] if position is None else ["p"])
    nodes = [*THREE, node("SequenceErase", inputs, "t"), node("ConcatFromSequence", ["t"], "y", axis=-1, new_axis=1)]
    y = run(nodes, {} if position is None else {"p": np.array(position)})
    parts = [X, -X, np.abs(X)]
    parts.pop(-1 if position is None else position)
    np.testing.assert_array_equal(y, np.stack(parts, -1))


SPLITS = [
    (None, {"axis": 1}, [1] * 5),
    (np.array(2), {"axis": 1}, [2, 2, 1]),
    (np.array(4), {"axis": -1}, [4]),
    (np.array([1, 3, 1]), {"axis": 1}, [1, 3, 1]),
]


@pytest.mark.parametrize(("split", "attrs", "sizes"), SPLITS)
def test_split(split, attrs, sizes):
    inputs = ["x"] + ([] if split is None else ["sizes"])
    nodes = [node("SplitToSequence", inputs, "s", **attrs), node("SequenceLength", ["s"], "n"), node("SequenceAt", ["s", "last"], "t")]
    nodes += [node("Cast", ["n"], "r", to=TensorProto.FLOAT), node("Mul", ["t", "r"], "y")]
    y = run(nodes, {"last": np.array(-1)} | ({} if split is None else {"sizes": split}))
    part = np.split(X, np.cumsum(sizes)[:-1], attrs["axis"])[-1]
    np.testing.assert_allclose(y, part * len(sizes), rtol=1e-6)


def test_split_without_the_axis():
    nodes = [node("SplitToSequence", ["x"], "s", axis=1, keepdims=0), node("SequenceAt", ["s", "p"], "t"), node("Neg", ["t"], "y")]
    y = run(nodes, {"p": np.array(3)})
    np.testing.assert_array_equal(y, -X[:, 3])


def carried(steps: int) -> list:
    """The slices x[:, i] of a loop that carries a sequence, as PyTorch writes `tensor_split`; the last one is added at the end."""
    infos = [("i", TensorProto.INT64), ("go", TensorProto.BOOL)]
    inputs = [helper.make_tensor_value_info(name, kind, []) for name, kind in infos]
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    inputs.append(helper.make_value_info("s_in", kind))
    outputs = [helper.make_tensor_value_info("go_out", TensorProto.BOOL, []), helper.make_value_info("s_out", kind)]
    inner = [
        node("Gather", ["x", "i"], "row", axis=1),
        node("SequenceInsert", ["s_in", "row"], "s_out"),
        node("Identity", ["go"], "go_out"),
    ]
    body = helper.make_graph(inner, "body", inputs, outputs)
    return [
        node("SequenceEmpty", [], "none"),
        helper.make_node("Loop", ["steps", "yes", "none"], ["rows"], body=body, name="loop"),
        node("ReduceSum", ["x", "axis"], "sum", keepdims=0),
        node("SequenceInsert", ["rows", "sum"], "all"),
        node("ConcatFromSequence", ["all"], "y", axis=1, new_axis=1),
    ], {"steps": np.array(steps), "yes": np.array(True), "axis": ints(1)}


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_a_loop_that_carries_a_sequence(steps):
    y = run(*carried(steps))
    np.testing.assert_allclose(y, np.concatenate([X[:, :steps], X.sum(1, keepdims=True)], 1), rtol=1e-6)


def test_nothing_of_a_sequence_is_left_and_gradients_pass():
    nodes, weights = carried(2)
    content = model_bytes(nodes, {"x": list(SHAPE)}, {"y": None}, weights, opset=18, check=False)
    graph, _ = read_onnx(content).build({"x": SHAPE}, np.dtype(np.float32))
    assert {n.op for n in graph.nodes} <= {"Slice", "Gather", "Reshape", "ReduceSum", "Concat"}
    model = gradcam.load(content)
    seed = normal((1, 3, 4), 3).astype(np.float32)
    _, slope = model.activations_and_gradients(X, layer="x", target=gradcam.targets.Weighted(seed, output="y"))
    want = np.repeat(seed[:, 2:], 5, 1)
    want[:, :2] += seed[:, :2]
    np.testing.assert_allclose(slope, want, rtol=1e-6)


def test_a_branch_that_returns_a_sequence():
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    parts = [
        helper.make_graph([node("SequenceConstruct", names, "c")], "b", [], [helper.make_value_info("c", kind)])
        for names in (["x", "n"], ["n"])
    ]
    nodes = [node("Neg", ["x"], "n"), helper.make_node("If", ["yes"], ["s"], then_branch=parts[0], else_branch=parts[1])]
    nodes.append(node("ConcatFromSequence", ["s"], "y", axis=0))
    content = model_bytes(nodes, {"x": list(SHAPE)}, {"y": None}, {"yes": np.array(True)}, opset=18, check=False)
    np.testing.assert_array_equal(gradcam.load(content).run(X, ["n"]), -X)


BAD = [
    ([*THREE, node("SequenceAt", ["s", "p"], "y")], {"p": np.array(3)}, "input 1: expected a position from -3 to 2, got 3"),
    ([*THREE, node("SequenceAt", ["s", "p"], "y")], {"p": ints(0, 1)}, "input 1: expected a position from -3 to 2"),
    ([*THREE, node("SequenceInsert", ["s", "x", "p"], "t"), node("SequenceLength", ["t"], "y")], {"p": np.array(4)}, "from -3 to 2, got 4"),
    ([node("SequenceEmpty", [], "s"), node("SequenceErase", ["s"], "t"), node("SequenceLength", ["t"], "y")], {}, "that is not empty"),
    ([node("SequenceEmpty", [], "s"), node("ConcatFromSequence", ["s"], "y", axis=0)], {}, "that is not empty"),
    ([node("SequenceLength", ["x"], "y")], {}, "input 0: expected a sequence, got a tensor of shape (1, 5, 4)"),
    ([*THREE, node("Relu", ["s"], "y")], {}, "a sequence of tensors ('s')"),
    ([*THREE, node("Gather", ["x", "s"], "y")], {}, "a sequence of tensors ('s')"),
    ([*THREE, node("Identity", ["s"], "y")], {}, "output 's' is a sequence of tensors"),
    ([node("SplitToSequence", ["x", "p"], "s"), node("SequenceLength", ["s"], "y")], {"p": ints(2, 2)}, "do not make up axis 0"),
    ([node("SplitToSequence", ["x", "p"], "s"), node("SequenceLength", ["s"], "y")], {"p": np.array(0)}, "sizes of at least 1, got [0]"),
    ([*THREE, node("ConcatFromSequence", ["s"], "y", axis=4)], {}, "axis 4 does not exist"),
]


@pytest.mark.parametrize(("nodes", "weights", "text"), BAD, ids=[case[2][:40] for case in BAD])
def test_what_is_wrong_is_said(nodes, weights, text):
    assert text in error(nodes, weights)


def test_a_loop_cannot_collect_sequences():
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    inputs = [helper.make_tensor_value_info("i", TensorProto.INT64, []), helper.make_tensor_value_info("go", TensorProto.BOOL, [])]
    outputs = [helper.make_tensor_value_info("go_out", TensorProto.BOOL, []), helper.make_value_info("each", kind)]
    body = helper.make_graph([node("SequenceConstruct", ["x"], "each"), node("Identity", ["go"], "go_out")], "b", inputs, outputs)
    loop = helper.make_node("Loop", ["n", "yes"], ["y"], body=body)
    assert "a loop that collects sequences of tensors" in error([loop], {"n": np.array(2), "yes": np.array(True)})


def test_long_sequences_are_refused_before_they_are_made():
    long = np.zeros((2**30, 0), np.float32)
    nodes = [node("SplitToSequence", ["long"], "s", axis=0), node("SequenceLength", ["s"], "n"), node("Add", ["x", "n"], "y")]
    assert f"a sequence of more than {MAX_ITEMS} tensors" in error(nodes, {"long": long})
    chain = [node("SequenceEmpty", [], "s0"), *(node("SequenceInsert", [f"s{i}", "x"], f"s{i + 1}") for i in range(MAX_ITEMS + 1))]
    assert f"a sequence of more than {MAX_ITEMS} tensors" in error([*chain, node("SequenceLength", [f"s{MAX_ITEMS + 1}"], "y")])
