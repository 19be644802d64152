"""Malformed ONNX nodes: attributes and shapes that do not fit are errors that name the node."""

from __future__ import annotations

import numpy as np
import pytest
from model.networks import model_bytes
from onnx import helper

import gradcam


def conv_model(weight: np.ndarray | None = None, **attrs) -> bytes:
    """x (1, 2, 4, 5) -> Conv -> y."""
    weight = np.ones((3, 2, 3, 3), np.float32) if weight is None else weight
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="c", **attrs)
    return model_bytes([node], {"x": [1, 2, 4, 5]}, {"y": None}, {"w": weight}, check=False)


ATTRIBUTES = [
    {"strides": [1]},
    {"strides": [1, 1, 1]},
    {"strides": [0, 1]},
    {"strides": [1, -1]},
    {"dilations": [1]},
    {"dilations": [1, 1, 1]},
    {"dilations": [0, 1]},
    {"dilations": [-1, 1]},
    {"dilations": [2**40, 1]},
    {"pads": [1, 1]},
    {"pads": [0, 0, 0]},
    {"pads": [0] * 5},
    {"pads": [-1, 0, 0, 0]},
    {"pads": [0, 0, -2, 0]},
    {"kernel_shape": [3]},
    {"kernel_shape": [3, 3, 3]},
    {"kernel_shape": [0, 3]},
    {"kernel_shape": [-3, 3]},
    {"kernel_shape": [2**40, 3]},
    {"auto_pad": "SAME"},
    {"auto_pad": b"\xff"},
    {"strides": 1.5},
    {"strides": "ab"},
    {"strides": 2},
    {"pads": [2**62, 0, 2**62, 0]},
]


@pytest.mark.parametrize("attrs", ATTRIBUTES, ids=str)
@pytest.mark.parametrize("op", ["Conv", "MaxPool", "AveragePool"])
def test_bad_windows(op, attrs):
    attrs = ({} if op == "Conv" else {"kernel_shape": [3, 3]}) | attrs
    if op == "Conv":
        content = conv_model(**attrs)
    else:
        content = model_bytes([helper.make_node(op, ["x"], ["y"], name="c", **attrs)], {"x": [1, 2, 4, 5]}, {"y": None}, check=False)
    with pytest.raises((gradcam.ModelFormatError, gradcam.MemoryBudgetError)) as caught:
        gradcam.load(content)(np.ones((1, 2, 4, 5), np.float32))
    if isinstance(caught.value, gradcam.ModelFormatError):
        assert f"node 'c' ({op}, opset 17)" in str(caught.value)


@pytest.mark.parametrize("group", [0, -1, 3, 4, 2**40])
def test_bad_groups(group):
    with pytest.raises(gradcam.ModelFormatError, match=r"node 'c' \(Conv, opset 17\): attribute 'group'"):
        gradcam.load(conv_model(group=group))


@pytest.mark.parametrize(
    "shape", [(3, 2, 3), (3, 2, 3, 3, 3), (3, 3, 3, 3), (3, 1, 3, 3), (3, 2, 9, 9), (54,), (0, 2, 3, 3), (3, 2, 0, 3), (3, 0, 3, 3)]
)
def test_weights_that_do_not_fit(shape):
    with pytest.raises(gradcam.ModelFormatError, match=r"node 'c' \(Conv"):
        gradcam.load(conv_model(np.ones(shape, np.float32)))


def ints(*values):
    return np.array(values, np.int64)


BAD_NODES = [
    ("Reshape", (), {}),
    ("Reshape", (ints(-1, -1),), {}),
    ("Reshape", (ints(7),), {}),
    ("Reshape", (ints(0, 0, 0, 0),), {}),
    ("Reshape", (ints(-2, 3),), {}),
    ("Reshape", (np.array([2.5], np.float32),), {}),
    ("Transpose", (), {"perm": [0, 1]}),
    ("Transpose", (), {"perm": [0, 1, 1]}),
    ("Transpose", (), {"perm": [0, 1, 3]}),
    ("Concat", (np.ones((1, 3, 4), np.float32),), {"axis": 7}),
    ("Concat", (np.ones((1, 2, 4), np.float32),), {"axis": 2}),
    ("Concat", (np.ones((3, 4), np.float32),), {"axis": 1}),
    ("Squeeze", (ints(1),), {}),
    ("Squeeze", (ints(9),), {}),
    ("Unsqueeze", (ints(9),), {}),
    ("Unsqueeze", (ints(1, 1),), {}),
    ("Flatten", (), {"axis": 9}),
    ("Flatten", (), {"axis": -9}),
    ("Slice", (ints(0), ints(1, 2)), {}),
    ("Slice", (ints(0), ints(1), ints(5)), {}),
    ("Slice", (ints(0), ints(1), ints(1), ints(0)), {}),
    ("Slice", (ints(0),), {}),
    ("Split", (ints(1, 1),), {"axis": 1}),
    ("Split", (ints(-1, 4),), {"axis": 1}),
    ("Split", (), {"axis": 1, "num_outputs": 0}),
    ("Gather", (ints(9),), {"axis": 1}),
    ("Gather", (ints(-4),), {"axis": 1}),
    ("Gather", (ints(0),), {"axis": 3}),
    ("GatherElements", (ints(3).reshape(1, 1, 1),), {"axis": 1}),
    ("GatherElements", (ints(0),), {"axis": 1}),
    ("GatherElements", (np.zeros((1, 1, 5), np.int64),), {"axis": 1}),
    ("GatherND", (ints(0, 3),), {}),
    ("GatherND", (np.zeros((1, 4), np.int64),), {}),
    ("GatherND", (ints(0),), {"batch_dims": 1}),
    ("ScatterND", (ints(0, 3).reshape(1, 2), np.ones((1, 4), np.float32)), {}),
    ("ScatterND", (ints(0, 2).reshape(1, 2), np.ones((1, 3), np.float32)), {}),
    ("ScatterElements", (np.zeros((1, 1, 1), np.int64), np.ones((1, 1, 2), np.float32)), {"axis": 1}),
    ("ScatterElements", (np.full((1, 1, 1), -4), np.ones((1, 1, 1), np.float32)), {"axis": 1}),
    ("Compress", (np.array([0, 0, 0, 1]),), {"axis": 1}),
    ("ReverseSequence", (ints(9),), {"batch_axis": 0, "time_axis": 1}),
    ("ReverseSequence", (ints(1),), {"batch_axis": 0, "time_axis": 2}),
    ("TopK", (ints(5),), {"axis": 2}),
    ("TopK", (ints(0),), {"axis": 2}),
    ("TopK", (ints(1),), {"axis": 3}),
    ("ArgMin", (), {"axis": 3}),
    ("EyeLike", (), {}),
    ("Less", (np.ones(5, np.float32),), {}),
    ("Where", (np.ones(5, np.float32), np.ones(5, np.float32)), {}),
    ("QuantizeLinear", (np.ones(5, np.float32),), {"axis": 1}),
    ("DequantizeLinear", (np.ones(5, np.float32),), {"axis": 9}),
    ("Pad", (ints(0, 0, 0),), {}),
    ("Pad", (ints(0, -5, 0, 0, 0, 0),), {}),
    ("Expand", (ints(2, 5),), {}),
    ("Expand", (ints(-3, 1, 1, 1),), {}),
    ("MatMul", (np.ones((3, 4), np.float32),), {}),
    ("MatMul", (np.float32(1),), {}),
    ("Gemm", (np.ones((4, 4), np.float32),), {}),
    ("Add", (np.ones((5,), np.float32),), {}),
    ("Add", (), {}),
    ("Softmax", (), {"axis": 3}),
    ("ReduceSum", (ints(3),), {}),
    ("ReduceMax", (), {"axes": [-4]}),
    ("ArgMax", (), {"axis": 5}),
    ("BatchNormalization", tuple(np.ones(4, np.float32) for _ in range(4)), {}),
    ("BatchNormalization", tuple(np.ones(3, np.float32) for _ in range(3)), {}),
    ("Relu", (None,), {}),
    ("GlobalAveragePool", (None,), {}),
    ("PRelu", (), {}),
    ("Clip", (np.ones(3, np.float32),), {}),
]


@pytest.mark.parametrize(("op", "constants", "attrs"), BAD_NODES, ids=[f"{i}-{node[0]}" for i, node in enumerate(BAD_NODES)])
def test_malformed_nodes_are_named(op, constants, attrs):
    names = {f"c{i}": c for i, c in enumerate(constants) if c is not None}
    inputs = [] if constants and constants[0] is None else ["x", *names]
    outputs = ["y", "z"] if op == "Split" else ["y"]
    nodes = [helper.make_node(op, inputs, outputs, name="n", **attrs), helper.make_node("Identity", ["x"], ["more"])]
    content = model_bytes(nodes, {"x": [1, 3, 4]}, dict.fromkeys([*outputs, "more"]), names, check=False)
    with pytest.raises(gradcam.ModelFormatError, match=rf"node 'n' \({op}, opset 17\): "):
        gradcam.load(content)
