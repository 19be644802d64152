"""ONNX files as exporters write them: shape arithmetic, constants, half precision, inputs that are weights, opsets."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from graph.test_onnx_forms import NORM, expected, f32, ints
from model.networks import model_bytes, normal
from onnx import TensorProto, helper, numpy_helper

import gradcam

NEWEST = onnx.defs.onnx_opset_version()


# --- shape arithmetic: operators that are computed while the graph is built


def folded(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], x_shape=(1, 4, 6), opset: int = 18) -> list[np.ndarray]:
    """Run a model whose nodes compute `shape` from constants and shapes; x is reshaped to it."""
    nodes = [*nodes, helper.make_node("Reshape", ["x", "shape"], ["y"])]
    content = model_bytes(nodes, {"x": x_shape}, {"y": None}, weights, opset=opset, check=False)
    x = normal(x_shape)
    got, (want,) = gradcam.load(content)(x), expected(content, x)
    np.testing.assert_array_equal(got, want)
    assert got.shape == want.shape
    return got


def node(op, inputs, output, **attrs):
    return helper.make_node(op, inputs, [output], **attrs)


CHAINS = {
    "Shape, Gather, Unsqueeze, Concat": [
        node("Shape", ["x"], "s"),
        node("Gather", ["s", "one"], "n", axis=0),
        node("Unsqueeze", ["n", "axis0"], "first"),
        node("Concat", ["first", "minus"], "shape", axis=0),
    ],
    "Shape with start and end": [node("Shape", ["x"], "s", start=-2, end=3), node("Concat", ["minus", "s"], "shape", axis=0)],
    "Shape, Slice": [
        node("Shape", ["x"], "s"),
        node("Slice", ["s", "axis0", "ends"], "part"),
        node("Concat", ["part", "minus"], "shape", axis=0),
    ],
    "Shape, Cast, Div, Mul, Floor, Cast": [
        node("Shape", ["x"], "s"),
        node("Cast", ["s"], "real", to=TensorProto.FLOAT),
        node("Mul", ["real", "half"], "h"),
        node("Ceil", ["h"], "c"),
        node("Div", ["real", "c"], "d"),
        node("Mul", ["c", "d"], "back"),
        node("Floor", ["back"], "f"),
        node("Cast", ["f"], "shape", to=TensorProto.INT64),
    ],
    "Size, Div, Mod": [
        node("Size", ["x"], "n"),
        node("Div", ["n", "five"], "q"),  # 4
        node("Mod", ["n", "five"], "r"),  # 4
        node("Sub", ["q", "one"], "three"),
        node("Add", ["three", "one"], "four"),
        node("Unsqueeze", ["four", "axis0"], "a"),
        node("Concat", ["a", "minus"], "shape", axis=0),
    ],
    "ConstantOfShape": [
        helper.make_node("ConstantOfShape", ["two"], ["c"], value=numpy_helper.from_array(ints(-1))),
        node("Where", ["mask", "c", "sizes"], "shape"),
    ],
    "Range, Gather of the shape": [
        node("Range", ["zero", "three_scalar", "one"], "r"),
        node("Shape", ["x"], "s"),
        node("Gather", ["s", "r"], "all", axis=0),
        node("ReduceSum", ["all", "axis0"], "sum", keepdims=1),
        node("Concat", ["minus"], "shape", axis=0),
    ],
    "Equal, Where": [
        node("Shape", ["x"], "s"),
        node("Equal", ["s", "expected"], "same"),
        node("Where", ["same", "s", "wrong"], "shape"),
    ],
    "comparisons and logic": [
        node("Shape", ["x"], "s"),
        node("Greater", ["s", "two_scalar"], "gt"),
        node("LessOrEqual", ["s", "two_scalar"], "le"),
        node("Or", ["gt", "le"], "always"),
        node("Not", ["always"], "never"),
        node("And", ["always", "never"], "false"),
        node("Less", ["s", "zero"], "negative"),
        node("GreaterOrEqual", ["s", "zero"], "positive"),
        node("And", ["positive", "always"], "true"),
        node("Or", ["negative", "false"], "false2"),
        node("Where", ["false2", "wrong", "s"], "t"),
        node("Where", ["true", "t", "wrong"], "shape"),
    ],
    "Squeeze, Sqrt, Max": [
        node("Shape", ["x"], "s"),
        node("ReduceMax", ["s"], "m", keepdims=1),
        node("Max", ["m", "axis0"], "m2"),
        node("Concat", ["m2", "minus"], "shape", axis=0),
    ],
    "Expand, Neg, Abs": [
        node("Neg", ["minus"], "p"),
        node("Abs", ["p"], "q"),
        node("Expand", ["q", "two"], "ones"),
        node("Concat", ["ones", "minus"], "shape", axis=0),
    ],
    "Split of a shape": [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Split", ["s", "ones3"], ["a", "b", "c"]),
        node("Mul", ["b", "c"], "bc"),
        node("Concat", ["a", "bc"], "shape", axis=0),
    ],
    "Transpose and Reshape of a constant": [
        node("Transpose", ["table"], "t"),
        node("Gather", ["t", "zero"], "row", axis=0),
        node("Reshape", ["row", "minus"], "shape"),
    ],
    "Identity, Cast between integers, CastLike": [
        node("Shape", ["x"], "s"),
        node("Cast", ["s"], "small", to=TensorProto.INT32),
        node("Identity", ["small"], "same"),
        node("CastLike", ["same", "minus"], "shape"),
    ],
}
SHARED = {
    "one": np.array(1),
    "zero": np.array(0),
    "five": np.array(5),
    "two_scalar": np.array(2),
    "three_scalar": np.array(3),
    "axis0": ints(0),
    "minus": ints(-1),
    "ends": ints(2),
    "two": ints(2),
    "half": f32(0.5),
    "mask": np.array([True, False]),
    "sizes": ints(7, 6),
    "expected": ints(1, 4, 6),
    "wrong": ints(9, 9, 9),
    "ones3": ints(1, 1, 1),
    "table": ints(4, 0, 6, 0).reshape(2, 2),
}


@pytest.mark.parametrize("name", CHAINS)
def test_shape_arithmetic(name):
    used = {i for n in CHAINS[name] for i in n.input}
    assert folded(CHAINS[name], {k: v for k, v in SHARED.items() if k in used}).size == 24


@pytest.mark.parametrize(
    "attrs",
    [
        {"value": numpy_helper.from_array(normal((3, 1)))},
        {"value": numpy_helper.from_array(normal((3, 1)).astype(np.float64))},
        {"value": numpy_helper.from_array(normal((3, 1)).astype(np.float16))},
        {"value_float": 0.5},
        {"value_floats": [1.0, 2.0, 3.0, 4.0]},
    ],
    ids=lambda attrs: next(iter(attrs)),
)
def test_constant_nodes(attrs):
    nodes = [helper.make_node("Constant", [], ["c"], **attrs), helper.make_node("Mul", ["x", "c"], ["y"])]
    content = model_bytes(nodes, {"x": [1, 3, 4]}, {"y": None}, check=False)
    x = normal((1, 3, 4))
    value = attrs.get("value")
    constant = numpy_helper.to_array(value) if value is not None else next(iter(attrs.values()))
    np.testing.assert_allclose(gradcam.load(content)(x), x * np.asarray(constant, np.float32), rtol=1e-6)


@pytest.mark.parametrize("attrs", [{"value_int": 3}, {"value_ints": [3, -1]}], ids=str)
def test_constant_integers(attrs):
    nodes = [helper.make_node("Constant", [], ["v"], **attrs), node("Concat", ["v"], "shape", axis=0)]
    if "value_int" in attrs:
        nodes[1:] = [node("Unsqueeze", ["v", "axis0"], "a"), node("Concat", ["a", "minus"], "shape", axis=0)]
    folded(nodes, {"axis0": ints(0), "minus": ints(-1)})


# --- dropout's mask, pool's indices, training


def test_outputs_that_training_needs():
    nodes = [helper.make_node("Dropout", ["x"], ["y", "mask"])]
    content = model_bytes(nodes, {"x": [1, 3]}, {"y": None}, opset=13, check=False)
    x = normal((1, 3))
    np.testing.assert_array_equal(gradcam.load(content)(x), x)
    nodes = [helper.make_node("MaxPool", ["x"], ["y", "indices"], kernel_shape=[2])]
    with pytest.raises(gradcam.UnsupportedOpError, match="indices"):
        gradcam.load(model_bytes(nodes, {"x": [1, 3, 4]}, {"y": None}, check=False))
    nodes = [helper.make_node("BatchNormalization", ["x", *"abcd"], ["y", "m", "v"], training_mode=1)]
    weights = dict(zip("abcd", NORM, strict=True))
    with pytest.raises(gradcam.UnsupportedOpError, match="training_mode"):
        gradcam.load(model_bytes(nodes, {"x": [1, 4, 3]}, {"y": None}, weights, check=False))


def test_dropout_in_training_mode_is_refused():
    weights = {"ratio": f32(0.5), "training": np.array(True)}
    nodes = [helper.make_node("Dropout", ["x", "ratio", "training"], ["y"])]
    with pytest.raises(gradcam.UnsupportedOpError, match="Dropout"):
        gradcam.load(model_bytes(nodes, {"x": [1, 3]}, {"y": None}, weights, check=False))


@pytest.mark.parametrize(
    ("op", "attrs", "constants", "text"),
    [
        ("Pad", {"mode": "reflect"}, (ints(0, 0, 1, 0, 0, 1),), "'mode' = 'reflect'"),
        ("ArgMax", {"select_last_index": 1}, (), "select_last_index"),
        ("Cast", {"to": TensorProto.INT64}, (), "a cast of 'x' from float32 to int64 at run time"),
        ("Cast", {"to": TensorProto.STRING}, (), "attribute 'to'"),
        ("Floor", {}, (), r"input 0 \('x'\) must be a constant"),
        ("Where", {}, (f32([1]), f32([1])), "must be a constant"),
    ],
)
def test_valid_but_unsupported(op, attrs, constants, text):
    names = {f"c{i}": c for i, c in enumerate(constants)}
    content = model_bytes(
        [helper.make_node(op, ["x", *names], ["y"], name="n", **attrs)], {"x": [1, 3, 4]}, {"y": None}, names, check=False
    )
    with pytest.raises(gradcam.UnsupportedOpError, match=text) as caught:
        gradcam.load(content)
    assert str(caught.value).startswith(f"node 'n' ({op}, opset 17): ")


# --- files as exporters write them


def test_initializers_that_are_also_inputs():
    w, b = normal((4, 3)), normal((4,), 1)
    content = model_bytes(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)],
        {"x": ["N", 3], "w": [4, 3], "b": [4]},
        {"y": ["N", 4]},
        {"w": w, "b": b},
    )
    model = gradcam.load(content)
    assert [t.name for t in model.inputs] == ["x"]
    x = normal((2, 3), 2)
    np.testing.assert_allclose(model(x), x @ w.T + b, rtol=1e-5, atol=1e-6)


def test_half_precision_weights_are_widened():
    w = normal((4, 3, 3, 3)).astype(np.float16)
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"])]
    half = gradcam.load(model_bytes(nodes, {"x": [1, 3, 5, 5]}, {"y": None}, {"w": w}, input_type=TensorProto.FLOAT16, check=False))
    full = gradcam.load(model_bytes(nodes, {"x": [1, 3, 5, 5]}, {"y": None}, {"w": w.astype(np.float32)}, check=False))
    x = normal((1, 3, 5, 5))
    assert half(x).dtype == np.float32
    assert half(x).tobytes() == full(x).tobytes()


def test_bfloat16_weights_are_widened():
    w = normal((4, 3))
    tensor = helper.make_tensor("w", TensorProto.BFLOAT16, (4, 3), w.ravel().tolist())
    model = onnx.load_model_from_string(
        model_bytes([helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)], {"x": [1, 3]}, {"y": None}, check=False)
    )
    model.graph.initializer.append(tensor)
    x = normal((1, 3))
    np.testing.assert_allclose(gradcam.load(model.SerializeToString())(x), x @ w.T, rtol=0.05, atol=0.02)


def test_weights_in_typed_fields_instead_of_raw_data():
    w = normal((4, 3))
    model = onnx.load_model_from_string(
        model_bytes([helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)], {"x": [1, 3]}, {"y": None}, check=False)
    )
    for code, values in ((TensorProto.FLOAT, w), (TensorProto.DOUBLE, w.astype(np.float64)), (TensorProto.FLOAT16, w.astype(np.float16))):
        del model.graph.initializer[:]
        model.graph.initializer.append(helper.make_tensor("w", code, (4, 3), values.ravel().tolist()))
        x = normal((1, 3))
        np.testing.assert_allclose(gradcam.load(model.SerializeToString())(x), x @ values.T.astype(np.float32), rtol=1e-5, atol=1e-6)


def test_nodes_out_of_order_are_sorted():
    nodes = [helper.make_node("Neg", ["b"], ["y"]), helper.make_node("Exp", ["a"], ["b"]), helper.make_node("Abs", ["x"], ["a"])]
    x = normal((1, 3))
    np.testing.assert_allclose(gradcam.load(model_bytes(nodes, {"x": [1, 3]}, {"y": None}, check=False))(x), -np.exp(np.abs(x)), rtol=1e-6)


def test_output_that_is_an_input_or_an_initializer():
    nodes = [helper.make_node("Neg", ["x"], ["y"])]
    x = normal((1, 3))
    model = gradcam.load(model_bytes(nodes, {"x": [1, 3]}, {"y": None, "x": [1, 3]}, check=False))
    np.testing.assert_array_equal(model(x)["x"], x)
    identity = [helper.make_node("Identity", ["x"], ["y"])]
    model = gradcam.load(model_bytes(identity, {"x": [1, 3]}, {"y": None}, check=False))
    np.testing.assert_array_equal(model(np.concatenate([x, x])), np.concatenate([x, x]))


def test_default_domain_may_be_spelt_out():
    nodes = [helper.make_node("Neg", ["x"], ["y"], domain="ai.onnx")]
    content = onnx.load_model_from_string(model_bytes(nodes, {"x": [1, 3]}, {"y": None}, check=False))
    del content.opset_import[:]
    content.opset_import.append(helper.make_opsetid("ai.onnx", 17))
    x = normal((1, 3))
    np.testing.assert_array_equal(gradcam.load(content.SerializeToString())(x), -x)


@pytest.mark.parametrize("opset", range(8, NEWEST + 1))
def test_every_opset_from_8_is_read(opset):
    content = model_bytes([helper.make_node("Relu", ["x"], ["y"])], {"x": [1, 3]}, {"y": None}, opset=opset, check=False)
    x = normal((2, 3))
    np.testing.assert_array_equal(gradcam.load(content)(x), np.maximum(x, 0))


@pytest.mark.parametrize("opset", [1, 6, NEWEST + 1, 10**6])
def test_other_opsets_are_refused(opset):
    content = model_bytes([helper.make_node("Relu", ["x"], ["y"])], {"x": [1, 3]}, {"y": None}, opset=opset, check=False)
    with pytest.raises(gradcam.UnsupportedOpError, match=rf"opset {opset}: gradcam reads opsets 7 to {NEWEST}"):
        gradcam.load(content)
