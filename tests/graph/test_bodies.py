"""Graphs inside nodes: which branch and how many steps are written out, what they see, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from graph.cases import normal
from graph.onnx_cases import f32, ints, node
from model.networks import model_bytes, reference
from onnx import TensorProto, helper, numpy_helper

import gradcam
from gradcam.graph import bodies
from gradcam.readers.onnx import read_onnx


def body(nodes, inputs, outputs, weights=None):
    infos = [[helper.make_tensor_value_info(name, kind, None) for name, kind in pairs] for pairs in (inputs, outputs)]
    return helper.make_graph(nodes, "body", *infos, [numpy_helper.from_array(a, name) for name, a in (weights or {}).items()])


F32, I64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def conditional(condition: list, shape=(1, 4)) -> bytes:
    """2 x + w where the condition `c` holds, else the negative of h = tanh(x)."""
    yes = body([node("Mul", ["x", "two"], "d"), node("Add", ["d", "w"], "e")], [], [("e", F32)], {"two": f32(2)})
    no = body([node("Neg", ["h"], "m")], [], [("m", F32)])
    nodes = [node("Tanh", ["x"], "h"), *condition, helper.make_node("If", ["c"], ["y"], then_branch=yes, else_branch=no, name="choice")]
    weights = {"w": f32([1, 2, 3, 4]), "four": np.array(4), "axis": ints(1)}
    return model_bytes(nodes, {"x": shape}, {"y": None}, weights, opset=18, check=False)


BY_SHAPE = [node("Shape", ["x"], "s", start=1), node("Squeeze", ["s"], "n"), node("Equal", ["n", "four"], "c")]


@pytest.mark.parametrize("shape", [(1, 4), (1, 3)])
def test_the_branch_is_chosen_by_what_is_known(shape):
    x = normal(shape).astype(np.float32)
    if shape[1] == 3:
        expected = -np.tanh(x)
    else:
        expected = 2 * x + f32([1, 2, 3, 4])
    np.testing.assert_allclose(gradcam.load(conditional(BY_SHAPE, (1, "n")))(x), expected, rtol=1e-6)


def test_only_the_branch_taken_is_written_out():
    graph, _ = read_onnx(conditional(BY_SHAPE)).build({"x": (1, 4)}, np.dtype(np.float32))
    assert [n.op for n in graph.nodes] == ["Tanh", "Mul", "Add"]


def test_a_condition_that_is_computed_is_refused():
    condition = [
        node("ReduceMax", ["x"], "m", keepdims=0),
        node("Greater", ["m", "half"], "c"),
        node("Constant", [], "half", value_float=0.5),
    ]
    with pytest.raises(gradcam.UnsupportedOpError, match=r"node 'choice' \(If, opset 18\): a condition \('c'\) that is not known"):
        gradcam.load(conditional(condition))


def test_what_cannot_be_run_in_a_branch_is_named_with_its_node():
    inner = body([node("TfIdfVectorizer", ["x"], "d")], [], [("d", F32)])
    nodes = [helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner, name="choice")]
    with pytest.raises(
        gradcam.UnsupportedOpError, match=r"node 'choice' .*in its body: node 'd' \(TfIdfVectorizer, opset 18\): gradcam cannot run"
    ):
        gradcam.load(model_bytes(nodes, {"x": [1, 3]}, {"y": None}, {"c": np.array(True)}, opset=18, check=False))


def loop(steps: int | None, limit: int | None = None) -> bytes:
    """h = tanh(h) + i + x, from h = x; y is the last h, z all of them. `limit` ends it by the condition i < limit - 1."""
    nodes = [
        node("Tanh", ["h_in"], "t"),
        node("Cast", ["i"], "r", to=F32),
        node("Add", ["t", "r"], "u"),
        node("Add", ["u", "x"], "h_out"),
        node("Identity", ["h_out"], "each"),
        node("Identity", ["go_in"], "go_out") if limit is None else node("Less", ["i", "last"], "go_out"),
    ]
    inner = body(nodes, [("i", I64), ("go_in", BOOL), ("h_in", F32)], [("go_out", BOOL), ("h_out", F32), ("each", F32)])
    weights = (
        {"go": np.array(True)}
        | ({} if steps is None else {"n": np.array(steps)})
        | ({} if limit is None else {"last": np.array(limit - 1)})
    )
    top = [helper.make_node("Loop", ["" if steps is None else "n", "go", "x"], ["y", "z"], body=inner, name="loop")]
    return model_bytes(top, {"x": [1, 3]}, {"y": None, "z": None}, weights, opset=18, check=False)


@pytest.mark.parametrize(("steps", "limit"), [(1, None), (4, None), (9, 3), (2, 5), (None, 4)])
def test_a_loop_is_written_out(steps, limit):
    x = normal((1, 3)).astype(np.float32)
    content = loop(steps, limit)
    found, h, every = gradcam.load(content)(x), x, []
    for i in range(min(n for n in (steps, limit) if n is not None)):
        h = np.tanh(h) + i + x
        every.append(h)
    np.testing.assert_allclose(found["y"], h, rtol=1e-6)
    np.testing.assert_allclose(found["z"], np.stack(every), rtol=1e-6)
    if steps is not None:
        np.testing.assert_allclose(found["y"], reference(content, {"x": x})[0], rtol=1e-6)


def test_long_loops_and_large_bodies_are_refused(monkeypatch):
    with pytest.raises(gradcam.UnsupportedOpError, match=f"a loop of more than {bodies.MAX_STEPS} steps"):
        gradcam.load(loop(None))
    with pytest.raises(gradcam.UnsupportedOpError, match="a loop of more than"):
        gradcam.load(loop(2**62))


def test_loops_in_loops_end():
    content = nested(6)
    with pytest.raises(gradcam.UnsupportedOpError, match=f"more than {bodies.MAX_NODES} nodes"):
        gradcam.load(content)


def nested(depth: int) -> bytes:
    """Loops of 100 steps inside each other."""
    inner, name = [node("Neg", ["n"], "m0")], "m0"
    for level in range(depth):
        ports = [(f"i{level}", I64), (f"g{level}", BOOL), (f"h{level}", I64)]
        graph = body([*inner, node("Identity", [f"g{level}"], f"o{level}")], ports, [(f"o{level}", BOOL), (name, I64)])
        name = f"m{level + 1}"
        inner = [helper.make_node("Loop", ["n", "", "n"], [name], body=graph)]
    nodes = [*inner, node("Cast", [name], "r", to=F32), node("Add", ["x", "r"], "y")]
    return model_bytes(nodes, {"x": [1, 3]}, {"y": None}, {"n": np.array(100)}, opset=18, check=False)


@pytest.mark.parametrize("outputs", [["o"], ["o", "h", "e", "extra"], ["o", "nowhere", "e"]])
def test_malformed_bodies(outputs):
    nodes = [node("Identity", ["g"], "o"), node("Neg", ["h"], "e")]
    inner = body(nodes, [("i", I64), ("g", BOOL), ("h", F32)], [(name, F32) for name in outputs])
    top = [helper.make_node("Loop", ["n", "", "x"], ["y", "z"], body=inner)]
    with pytest.raises((gradcam.ModelFormatError, gradcam.UnsupportedOpError)):
        gradcam.load(model_bytes(top, {"x": [1, 3]}, {"y": None}, {"n": np.array(2)}, opset=18, check=False))
    with pytest.raises(gradcam.ModelFormatError, match="attribute 'body' is no graph"):
        gradcam.load(
            model_bytes([helper.make_node("Loop", ["n", "", "x"], ["y"])], {"x": [1, 3]}, {"y": None}, {"n": np.array(2)}, check=False)
        )
