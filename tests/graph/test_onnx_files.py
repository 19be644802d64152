"""ONNX files as exporters write them: shape arithmetic, constants, half precision, inputs that are weights, opsets."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from graph.onnx_cases import NEWEST, NORM, f32, folded, ints, node
from model.networks import model_bytes, normal
from onnx import TensorProto, helper, numpy_helper

import gradcam


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
        ("Cast", {"to": TensorProto.STRING}, (), "a cast to text"),
        ("Cast", {"to": TensorProto.FLOAT8E5M2}, (), "a cast to float8_e5m2 at run time"),
        ("Cast", {"to": TensorProto.FLOAT4E2M1}, (), "a cast to float4_e2m1fn at run time"),
        ("Add", {}, (ints(1),), r"int64 numbers \('c0'\) at run time"),
        ("NonZero", {}, (), "must be a constant"),
        ("Bernoulli", {}, (), "draws random numbers"),
        ("Unique", {}, (), "must be a constant"),
        ("QuantizeLinear", {}, (f32(0.5), np.array(0, np.int32)), "no integer of 8 or 16 bits"),
        ("ScatterND", {"reduction": "mean"}, (ints(0).reshape(1, 1), normal((1, 3, 4))), "'reduction' = 'mean'"),
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
