"""Numbers of 2, 4 and 8 bits in files: read and converted as the `onnx` package does it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from graph.cases import F64
from model.networks import model_bytes, normal, reference
from onnx import TensorProto, helper, numpy_helper

import gradcam
from gradcam.readers.onnx import read_onnx

INTEGERS = ("INT4", "UINT4", "INT2", "UINT2")
FLOATS = ("FLOAT4E2M1", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "FLOAT8E8M0")
VALUES = np.array([[1, 0.5, -2, 1], [3, -1, 0, 1], [1, 2, 2, -2]], np.float32)  # an odd number of elements would end within a byte


def narrow(name, array):
    return np.abs(array).astype(helper.tensor_dtype_to_np_dtype(getattr(TensorProto, name)))


def model(nodes, tensors, dims=(1, 5), opset=23):
    parsed = onnx.load_model_from_string(model_bytes(nodes, {"x": dims}, {"y": None}, opset=opset, check=False))
    parsed.graph.initializer.extend(tensors)
    return parsed.SerializeToString()


@pytest.mark.parametrize("name", (*INTEGERS, *FLOATS))
@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("shape", [(3, 4), (5,), (1,)])
def test_constants_are_read(name, raw, shape):
    numbers = narrow(name, np.resize(VALUES, shape))
    tensor = numpy_helper.from_array(numbers, "w")
    if not raw:
        tensor = helper.make_tensor("w", getattr(TensorProto, name), shape, numbers.astype(np.float32).reshape(-1))
    nodes = [helper.make_node("Cast", ["w"], ["c"], to=TensorProto.FLOAT), helper.make_node("Identity", ["c"], ["y"])]
    graph, _ = read_onnx(model(nodes, [tensor])).build({"x": (1, 5)}, F64)
    np.testing.assert_array_equal(graph.outputs[0].data, numbers.astype(np.float64))


@pytest.mark.parametrize("name", ["INT4", "UINT4"])
def test_weights_of_four_bits(name):
    """Blocks of weights with scales and zero points, as language models are exported."""
    rng = np.random.default_rng(1)
    weights = narrow(name, rng.integers(0, 8, (4, 6)))
    tensors = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(normal((4, 2), 2), "s")]
    tensors.append(numpy_helper.from_array(narrow(name, rng.integers(0, 5, (4, 2))), "z"))
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["d"], axis=1, block_size=3),
        helper.make_node("MatMul", ["x", "d"], ["y"]),
    ]
    content, x = model(nodes, tensors, (1, 4)), normal((1, 4), 3)
    np.testing.assert_allclose(gradcam.load(content)(x), reference(content, {"x": x})[0], rtol=1e-5, atol=1e-6)


def test_external_weights_of_four_bits(tmp_path):
    weights = narrow("INT4", np.arange(5) % 7)
    tensor = numpy_helper.from_array(weights, "w")
    (tmp_path / "data").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    onnx.external_data_helper.set_external_data(_with_room(tensor), "data", 0, 3)
    tensor.ClearField("raw_data")
    nodes = [helper.make_node("Cast", ["w"], ["c"], to=TensorProto.FLOAT), helper.make_node("Mul", ["x", "c"], ["y"])]
    (tmp_path / "m.onnx").write_bytes(model(nodes, [tensor]))
    np.testing.assert_array_equal(gradcam.load(tmp_path / "m.onnx")(np.ones((1, 5), np.float32)), [weights.astype(np.float32)])


def _with_room(tensor):
    """The package only moves tensors that have raw data."""
    tensor.raw_data = b"\0" * 3
    return tensor


@pytest.mark.parametrize("name", ["INT4", "UINT4"])
def test_rounding_to_the_range_of_four_bits(name):
    zero = numpy_helper.from_array(np.array(2).astype(helper.tensor_dtype_to_np_dtype(getattr(TensorProto, name))), "z")
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])]
    content = model(nodes, [numpy_helper.from_array(np.float32(0.5), "s"), zero])
    x = np.array([[-9, -1.2, 0.3, 2.4, 99]], np.float32)
    low, high = (-8, 7) if name == "INT4" else (0, 15)
    np.testing.assert_array_equal(gradcam.load(content)(x), np.clip(np.rint(x / 0.5) + 2, low, high))


def test_they_are_no_weights_of_other_operators():
    content = model([helper.make_node("Mul", ["x", "w"], ["y"])], [numpy_helper.from_array(narrow("FLOAT8E5M2", VALUES[:1, :1]), "w")])
    with pytest.raises(gradcam.UnsupportedOpError, match=r"float8_e5m2 numbers \('w'\) at run time"):
        gradcam.load(content)


@pytest.mark.parametrize(("name", "size"), [("INT4", 2), ("UINT2", 1), ("FLOAT8E5M2", 5)])
def test_their_bytes_are_counted(name, size):
    for wrong in (size - 1, size + 2):
        tensor = TensorProto(name="w", data_type=getattr(TensorProto, name), dims=[size * (1 if "8" in name else 2)], raw_data=bytes(wrong))
        nodes = [helper.make_node("Cast", ["w"], ["c"], to=TensorProto.FLOAT), helper.make_node("Add", ["x", "c"], ["y"])]
        with pytest.raises(gradcam.ModelFormatError, match="initializer 'w'"):
            gradcam.load(model(nodes, [tensor]))
