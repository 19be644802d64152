"""Tensors in ONNX files that declare one thing and carry another."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model.networks import model_bytes
from onnx import TensorProto, helper, numpy_helper

import gradcam


def conv_model(weight: np.ndarray | TensorProto) -> bytes:
    """x (1, 2, 4, 5) -> Conv -> y, with the weight as it is given."""
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="c")
    model = onnx.load_model_from_string(model_bytes([node], {"x": [1, 2, 4, 5]}, {"y": None}, check=False))
    model.graph.initializer.append(numpy_helper.from_array(weight, "w") if isinstance(weight, np.ndarray) else weight)
    return model.SerializeToString()


def tensor(dims, code=TensorProto.FLOAT, **fields) -> TensorProto:
    made = TensorProto(name="w", data_type=code, dims=dims)
    for name, value in fields.items():
        if isinstance(value, bytes):
            setattr(made, name, value)
        else:
            getattr(made, name).extend(value)
    return made


@pytest.mark.parametrize(
    "weight",
    [
        tensor([3, 2, 3, 3], raw_data=bytes(4 * 53)),
        tensor([3, 2, 3, 3], raw_data=bytes(4 * 55)),
        tensor([3, 2, 3, 3], raw_data=b""),
        tensor([3, 2, 3, 3], raw_data=bytes(4 * 54 - 1)),
        tensor([3, 2, 3, 3], float_data=[1.0] * 53),
        tensor([3, 2, 3, 3], float_data=[1.0] * 55),
        tensor([3, 2, 3, 3]),
        tensor([3, 2, 3, 3], TensorProto.DOUBLE, double_data=[1.0]),
        tensor([3, 2, 3, 3], TensorProto.DOUBLE, raw_data=bytes(4 * 54)),
        tensor([3, 2, 3, 3], TensorProto.FLOAT16, int32_data=[1] * 53),
        tensor([3, 2, 3, 3], TensorProto.INT64, int64_data=[1] * 53),
        tensor([3, 2, 3, 3], double_data=[1.0] * 54),  # as many numbers, in another type's field
        tensor([3, 2, 3, 3], float_data=[1.0] * 54, int32_data=[1]),
    ],
    ids=lambda weight: f"{weight.data_type}-{'-'.join(d.name for d, _ in weight.ListFields()[2:-1])}",
)
def test_tensor_that_does_not_carry_what_it_declares(weight):
    with pytest.raises(gradcam.ModelFormatError, match="initializer 'w'"):
        gradcam.load(conv_model(weight))


@pytest.mark.parametrize("dims", [[-1, 2, 3, 3], [3, 2, 3, -3], [-3, -2, 3, 3], [-(2**63), 1, 1, 1]])
def test_negative_sizes(dims):
    with pytest.raises(gradcam.ModelFormatError, match="initializer 'w': negative size"):
        gradcam.load(conv_model(tensor(dims, raw_data=bytes(4 * 54))))


@pytest.mark.parametrize("dims", [[2**31, 2**31, 2**31, 2**31], [2**62, 4, 1, 1], [2**40, 1, 1, 1], [2**33, 1, 1, 1]])
@pytest.mark.parametrize("code", [TensorProto.FLOAT, TensorProto.INT8, TensorProto.FLOAT16])
def test_huge_sizes(dims, code):
    for max_bytes in (2**32, 2**20):
        with pytest.raises(gradcam.MemoryBudgetError, match="initializer 'w' of [0-9]+ bytes goes beyond max_bytes"):
            gradcam.load(conv_model(tensor(dims, code, raw_data=bytes(4 * 54))), max_bytes=max_bytes)
    with pytest.raises(gradcam.ModelFormatError, match="initializer 'w': declares"):
        gradcam.load(conv_model(tensor(dims, code, raw_data=bytes(4 * 54))), max_bytes=None)


@pytest.mark.parametrize("code", [0, 99, 1000, -1])
def test_unknown_type_codes(code):
    with pytest.raises(gradcam.ModelFormatError, match=f"initializer 'w': unknown type code {code}"):
        gradcam.load(conv_model(tensor([1], code, raw_data=bytes(4))))


@pytest.mark.parametrize("code", [TensorProto.STRING, TensorProto.COMPLEX64, TensorProto.COMPLEX128])
def test_types_that_are_not_read(code):
    with pytest.raises((gradcam.UnsupportedOpError, gradcam.ModelFormatError), match="initializer 'w'"):
        gradcam.load(conv_model(tensor([2], code, raw_data=bytes(16))))


CODES = st.sampled_from([c for c in TensorProto.DataType.values()] + [77])
FIELDS = st.sampled_from(["raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"])


@given(st.lists(st.integers(-1, 5), max_size=5), CODES, FIELDS, st.integers(0, 130))
def test_any_shape_type_and_field(dims, code, field, count):
    value = bytes(count) if field == "raw_data" else [1] * count
    try:
        model = gradcam.load(conv_model(tensor(dims, code, **{field: value})))
    except (gradcam.ModelFormatError, gradcam.UnsupportedOpError, gradcam.MemoryBudgetError):
        return
    assert np.isfinite(model(np.zeros((1, 2, 4, 5), np.float32))).all()


def test_attribute_tensors_are_checked_too():
    value = tensor([5], raw_data=bytes(8))
    nodes = [helper.make_node("Constant", [], ["c"], value=value, name="k"), helper.make_node("Add", ["x", "c"], ["y"])]
    with pytest.raises(gradcam.ModelFormatError, match="attribute 'value' of node 'k'"):
        gradcam.load(model_bytes(nodes, {"x": [1, 5]}, {"y": None}, check=False))


def test_nan_in_a_weight():
    weight = np.ones((3, 2, 3, 3), np.float32)
    weight[1, 1, 2, 2] = np.nan
    with pytest.raises(gradcam.ModelFormatError, match="initializer 'w' holds NaN"):
        gradcam.load(conv_model(weight))
    weight[1, 1, 2, 2] = np.inf
    with np.errstate(all="ignore"):
        assert np.isinf(gradcam.load(conv_model(weight))(np.ones((1, 2, 4, 5), np.float32))).any()


def test_nan_in_a_constant():
    nodes = [helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array([np.nan], np.float32)))]
    nodes.append(helper.make_node("Mul", ["x", "c"], ["y"]))
    with pytest.raises(gradcam.ModelFormatError, match="NaN"):
        gradcam.load(model_bytes(nodes, {"x": [1, 5]}, {"y": None}, check=False))
