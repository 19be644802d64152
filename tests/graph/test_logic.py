"""Comparisons, selection, integers and positions that are computed at run time: values, gradients, pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from graph.cases import normal
from graph.onnx_cases import f32, ints, node
from model.networks import model_bytes, reference
from onnx import TensorProto, helper

import gradcam
from gradcam.graph.autodiff import gradients
from gradcam.graph.builder import Builder
from gradcam.graph.passes import is_per_picture, prune
from gradcam.graph.compilation import compile_plan
from gradcam.readers.onnx import read_onnx

F64 = np.dtype(np.float64)


def model(nodes: Sequence, shape: Sequence[int], weights: dict | None = None, outputs=("y",), opset: int = 18) -> bytes:
    return model_bytes(nodes, {"x": shape}, dict.fromkeys(outputs), weights, opset=opset, check=False)


def gradient(content: bytes, x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """Gradient of sum(dy y) at the input, in float64."""
    graph, _ = read_onnx(content).build({"x": x.shape}, F64)
    g = Builder(F64, graph)
    g.graph.outputs = gradients(g, graph.outputs[0], [graph.inputs[0]], g.constant(dy))
    return compile_plan(prune(g.graph), F64).run([np.ascontiguousarray(x, F64)], 1, 1)[0].reshape(x.shape)


def forward(content: bytes, x: np.ndarray) -> np.ndarray:
    graph, _ = read_onnx(content).build({"x": x.shape}, F64)
    (y,) = compile_plan(prune(graph), F64).run([np.ascontiguousarray(x, F64)], 1, 1)
    return y.reshape(graph.outputs[0].shape)


BRANCHES = [  # log(x) where x > 0, else 2 x: NaN and infinity on the branch that is not taken
    node("Greater", ["x", "zero"], "c"),
    node("Log", ["x"], "a"),
    node("Mul", ["x", "two"], "b"),
    node("Where", ["c", "a", "b"], "y"),
]


def test_the_branch_that_is_not_taken_is_not_read():
    x = np.array([[1.0, -2.0, 0.0, 4.0, -0.0]])
    content = model(BRANCHES, x.shape, {"zero": f32(0), "two": f32(2)})
    np.testing.assert_allclose(forward(content, x), [[0, -4, 0, np.log(4), 0]], rtol=1e-14)


def test_what_is_selected_keeps_nan_out_of_value_and_gradient():
    nodes = [node("IsNaN", ["x"], "bad"), node("Where", ["bad", "fill", "x"], "y")]
    content = model(nodes, (1, 4), {"fill": f32([7, 8, 9, 10])})
    x, dy = np.array([[np.nan, 1.0, np.inf, np.nan]]), np.array([[np.nan, 2.0, 3.0, np.inf]])
    assert forward(content, x).tolist() == [[7, 1, np.inf, 10]]
    assert gradient(content, x, dy).tolist() == [[0, 2, 3, 0]]


def test_the_gradient_goes_to_the_branch_that_was_taken():
    x, dy = np.array([[1.5, -2.0, 3.0]]), np.array([[1.0, 10.0, 100.0]])
    nodes = [
        node("Greater", ["x", "zero"], "c"),
        node("Mul", ["x", "x"], "a"),
        node("Neg", ["x"], "b"),
        node("Where", ["c", "a", "b"], "y"),
    ]
    content = model(nodes, x.shape, {"zero": f32(0)})
    np.testing.assert_allclose(gradient(content, x, dy), [[3, -10, 600]])


def test_logic_of_computed_booleans():
    nodes = [
        node("Less", ["x", "half"], "a"),
        node("GreaterOrEqual", ["x", "minus_half"], "b"),
        node("And", ["a", "b"], "both"),
        node("Or", ["a", "mask"], "either"),
        node("Xor", ["both", "either"], "differ"),
        node("Not", ["differ"], "same"),
        *(node("Cast", [name], f"{name}_i", to=TensorProto.INT64) for name in ("both", "either", "differ", "same")),
    ]
    names = ["both_i", "either_i", "differ_i", "same_i"]
    x = np.array([[-2, -0.5, 0, 0.5, np.nan, 2]], np.float32)
    weights = {"half": f32(0.5), "minus_half": f32(-0.5), "mask": np.array([1, 0, 1, 0, 1, 0], bool)}
    content = model(nodes, x.shape, weights, names)
    found = gradcam.load(content)(x)
    for name, want in zip(names, reference(content, {"x": x}), strict=True):
        np.testing.assert_array_equal(found[name], want)


def test_no_gradient_passes_a_comparison_or_an_integer():
    nodes = [
        node("ArgMax", ["x"], "i", axis=1, keepdims=1),
        node("Cast", ["i"], "r", to=TensorProto.FLOAT),
        node("Less", ["x", "r"], "c"),
        node("Cast", ["c"], "w", to=TensorProto.FLOAT),
        node("Mul", ["x", "w"], "y"),
    ]
    x, dy = np.array([[0.5, -1.0, 1.9, 1.5]]), np.array([[1.0, 2.0, 3.0, 4.0]])
    content = model(nodes, x.shape)
    assert forward(content, x).tolist() == [[0.5, -1, 1.9, 1.5]]
    assert gradient(content, x, dy).tolist() == [[1, 2, 3, 4]]


def test_computed_bounds_of_clip():
    nodes = [node("ReduceMean", ["x"], "m", keepdims=0), node("Clip", ["x", "", "m"], "y")]
    x = np.array([[1.0, 2.0, 6.0]])
    content = model(nodes, x.shape, opset=13)
    assert forward(content, x).tolist() == [[1, 2, 3]]
    np.testing.assert_allclose(gradient(content, x, np.array([[1.0, 10.0, 100.0]])), [[1 + 100 / 3, 10 + 100 / 3, 100 / 3]])


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_top_k_hands_its_gradient_to_the_values_it_took(axis):
    x = normal((1, 4, 5), 3)
    content = model([helper.make_node("TopK", ["x", "k"], ["y", "i"], axis=axis)], x.shape, {"k": ints(2)})
    want = np.flip(np.sort(x, axis), axis).take([0, 1], axis)
    np.testing.assert_array_equal(forward(content, x), want)
    dy = normal(want.shape, 4)
    expected = np.zeros(x.shape)
    np.put_along_axis(expected, np.flip(np.argsort(x, axis), axis).take([0, 1], axis), dy, axis)
    np.testing.assert_array_equal(gradient(content, x, dy), expected)


@pytest.mark.parametrize("axis", [1, 2])
def test_computed_positions(axis):
    nodes = [
        helper.make_node("TopK", ["x", "k"], ["v", "i"], axis=axis),
        node("Mul", ["x", "x"], "square"),
        node("GatherElements", ["square", "i"], "y", axis=axis),
    ]
    x = normal(
        (1, 4, 5),
        3,
    ).astype(np.float32)
    content = model(nodes, x.shape, {"k": ints(4 if axis == 1 else 5)})
    np.testing.assert_allclose(gradcam.load(content)(x), reference(content, {"x": x})[0], rtol=1e-6)
    dy = normal((1, 4, 5), 5)
    order = np.flip(np.argsort(x, axis), axis)
    expected = np.zeros(x.shape)
    np.put_along_axis(expected, order, dy, axis)
    np.testing.assert_allclose(gradient(content, x, dy), 2 * expected * x, rtol=1e-6)


def test_integers_are_moved_at_run_time():
    nodes = [
        helper.make_node("TopK", ["x", "k"], ["v", "i"], axis=1),
        node("Transpose", ["i"], "t", perm=[1, 0]),
        node("Concat", ["t", "t"], "twice", axis=0),
        node("Slice", ["twice", "one", "three"], "part"),
        node("Squeeze", ["part"], "flat"),
        node("Gather", ["x", "flat"], "y", axis=1),
    ]
    x = np.array([[3.0, 1.0, 7.0, 5.0]], np.float32)  # positions 2, 3, 0
    content = model(nodes, x.shape, {"k": ints(3), "one": ints(1), "three": ints(4)})
    np.testing.assert_array_equal(gradcam.load(content)(x), [[5, 3, 7]])


def test_integers_that_are_no_positions_are_refused():
    nodes = [node("ArgMax", ["x"], "i", axis=1), node("BitwiseAnd", ["i", "one"], "y")]
    with pytest.raises(gradcam.UnsupportedOpError, match=r"input 0 \('i'\) must be a constant"):
        gradcam.load(model(nodes, (1, 4), {"one": ints(1)}))
    nodes = [node("ArgMax", ["x"], "i", axis=1), node("Exp", ["i"], "y")]
    with pytest.raises(gradcam.UnsupportedOpError, match=r"int64 numbers \('i'\) at run time"):
        gradcam.load(model(nodes, (1, 4)))


def test_indices_are_no_real_numbers():
    with pytest.raises(gradcam.UnsupportedOpError, match="that are no integers"):
        gradcam.load(model([node("Gather", ["x", "x"], "y", axis=1)], (1, 4)))


def test_of_equal_rows_the_last_is_written():
    weights = {"i": ints(0, 1, 0, 1, 0, 3).reshape(3, 2), "u": f32([10, 20, 30])}
    content = model([node("ScatterND", ["x", "i", "u"], "y")], (1, 4), weights)
    x = np.array([[1.0, np.nan, 3.0, 4.0]])
    assert forward(content, x).tolist() == [[1, 20, 3, 30]]
    assert gradient(content, x, np.array([[1.0, np.nan, 3.0, 4.0]])).tolist() == [[1, 0, 3, 0]]


def test_gradient_of_what_is_scattered():
    nodes = [node("Mul", ["x", "x"], "u"), node("ScatterElements", ["zeros", "i", "u"], "y", axis=1)]
    content = model(nodes, (1, 3), {"i": ints(4, 0, 4).reshape(1, 3), "zeros": np.zeros((1, 5), np.float32)})
    x = np.array([[1.0, 2.0, 3.0]])
    assert forward(content, x).tolist() == [[4, 0, 0, 0, 9]]
    assert gradient(content, x, np.arange(1.0, 6.0).reshape(1, 5)).tolist() == [[0, 4, 30]]


def test_quantization_is_passed_straight_through_inside_the_range():
    nodes = [node("QuantizeLinear", ["x", "s", "z"], "q"), node("DequantizeLinear", ["q", "s", "z"], "y")]
    x = np.array([[0.26, -0.74, 40.0, -70.0, 0.25]], np.float32)
    content = model(nodes, x.shape, {"s": f32(0.5), "z": np.array(10, np.int8)}, opset=21)
    np.testing.assert_array_equal(gradcam.load(content)(x), [[0.5, -0.5, 40, -69, 0]])
    np.testing.assert_array_equal(gradcam.load(content)(x), reference(content, {"x": x})[0])
    dy = np.array([[1.0, 2.0, 3.0, 4.0, 5.0]])
    np.testing.assert_allclose(gradient(content, x.astype(F64), dy), [[1, 2, 3, 0, 5]])


def test_quantized_weights_are_constants():
    nodes = [node("DequantizeLinear", ["w", "s", "z"], "r", axis=0), node("MatMul", ["x", "r"], "y")]
    weights = {"w": np.array([[1, -2], [3, 4]], np.int8), "s": f32([0.5, 0.25]), "z": np.array([1, 0], np.int8)}
    graph, _ = read_onnx(model(nodes, (1, 2), weights)).build({"x": (1, 2)}, F64)
    assert [n.op for n in graph.nodes] == ["MatMul"]
    np.testing.assert_array_equal(graph.nodes[0].inputs[1].data, [[0, -1.5], [0.75, 1]])


PER_PICTURE = {
    "GatherElements": ([node("GatherElements", ["x", "c"], "y", axis=1)], {"c": ints(*range(3), 0).reshape(1, 1, 4)}),
    "GatherND": ([node("GatherND", ["x", "c"], "r"), node("Unsqueeze", ["r", "zero"], "y")], {"c": ints(0, 1, 0, 2).reshape(2, 2)}),
    "ScatterElements": (
        [node("ScatterElements", ["x", "c", "u"], "y", axis=2)],
        {"c": ints(1, 1, 0).reshape(1, 3, 1), "u": normal((1, 3, 1)).astype(np.float32)},
    ),
    "Compress": ([node("Compress", ["x", "c"], "y", axis=2)], {"c": np.array([1, 0, 1, 1], bool)}),
    "TopK": ([helper.make_node("TopK", ["x", "c"], ["y", "i"], axis=1)], {"c": ints(2)}),
    "Where": ([node("Greater", ["x", "c"], "m"), node("Where", ["m", "x", "c"], "y")], {"c": f32([0.1, 0.2, -0.3, 0.4])}),
    "ArgMin": ([node("ArgMin", ["x"], "i", axis=2, select_last_index=1), node("Cast", ["i"], "y", to=TensorProto.FLOAT)], {}),
}


@pytest.mark.parametrize("name", PER_PICTURE)
def test_pictures_are_apart(name):
    nodes, weights = PER_PICTURE[name]
    content = model(nodes, ("n", 3, 4), weights | {"zero": ints(0)})
    graph, _ = read_onnx(content).build({"x": (1, 3, 4)}, F64)
    assert is_per_picture(prune(graph))
    x = normal((3, 3, 4), 8).astype(np.float32)
    net = gradcam.load(content)
    np.testing.assert_array_equal(net(x), np.concatenate([net(x[i : i + 1]) for i in range(3)]))


@pytest.mark.parametrize("op", ["TopK", "GatherElements"])
def test_choices_among_pictures_keep_them_together(op):
    nodes = [helper.make_node("TopK", ["x", "c"], ["y", "i"], axis=0)]
    if op == "GatherElements":
        nodes = [node("GatherElements", ["x", "c0"], "y", axis=0)]
    weights = {"c": ints(1), "c0": np.zeros((2, 3), np.int64)}
    graph, _ = read_onnx(model(nodes, (1, 3), weights)).build({"x": (1, 3)}, F64)
    assert not is_per_picture(prune(graph))
