"""Each ONNX operator in small models, at the opsets in which its form differs, and what ONNX defines for it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from model.networks import model_bytes, normal, reference
from onnx import TensorProto, helper

import gradcam

NEWEST = onnx.defs.onnx_opset_version()


@dataclass(frozen=True)
class Case:
    """One node on input x (and constants), at each of some opsets."""

    op: str
    x: tuple[int, ...] = (1, 3, 4)
    constants: tuple[Any, ...] = ()
    attrs: dict[str, Any] = field(default_factory=dict)
    opsets: tuple[int, ...] = (8, 13, NEWEST)
    outputs: int = 1
    positive: bool = False
    bound: float = 1e-5

    def __str__(self) -> str:
        return "-".join([self.op, "x".join(map(str, self.x)), *(f"{k}={v}" for k, v in self.attrs.items()), *map(_text, self.constants)])


def _text(constant: Any) -> str:
    return "none" if constant is None else str(np.asarray(constant).shape if np.size(constant) > 6 else np.asarray(constant).tolist())


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def f32(values: Any) -> np.ndarray:
    return np.asarray(values, np.float32)


SINCE13, SINCE11, UNTIL9 = (13, NEWEST), (11, NEWEST), (8, 9)
W1, W2, W3 = (normal(s, i, np.float32) for i, s in enumerate(((5, 3, 3), (4, 2, 3, 2), (2, 3, 2, 2, 2))))
PICTURE = (1, 4, 7, 8)
TIES = 1.5 * normal((1, 3, 4), 9) * (normal((1, 3, 4)) > 0)  # equal to x in places
NORM = [normal((4,), 1), normal((4,), 2), normal((4,), 3), np.abs(normal((4,), 4)) + 0.3]

CASES = [
    *(Case(op) for op in ("Relu", "Sigmoid", "Tanh", "Softplus", "Exp", "Abs", "Neg", "Identity")),
    Case("Erf", opsets=(9, 13, NEWEST)),
    *(Case(op, positive=True) for op in ("Log", "Sqrt", "Reciprocal")),
    Case("LeakyRelu"),
    Case("LeakyRelu", attrs={"alpha": 0.3}),
    Case("Elu"),
    Case("Elu", attrs={"alpha": 2.0}),
    Case("HardSigmoid"),
    Case("HardSigmoid", attrs={"alpha": 0.5, "beta": 0.3}),
    Case("HardSwish", opsets=(14, NEWEST)),
    Case("Gelu", opsets=(20, NEWEST)),
    Case("Gelu", attrs={"approximate": "tanh"}, opsets=(20, NEWEST)),
    Case("PRelu", constants=(normal((3, 1)),), opsets=(9, 16, NEWEST)),
    Case("PRelu", constants=(f32([0.2]),), opsets=(9, 16, NEWEST)),
    Case("Clip", attrs={"min": -0.5, "max": 0.7}, opsets=(8, 10)),
    Case("Clip", attrs={"min": 0.1}, opsets=(8, 10)),
    Case("Clip", attrs={}, opsets=(8, NEWEST)),
    Case("Clip", constants=(f32(-0.5), f32(0.7)), opsets=(11, 12, NEWEST)),
    Case("Clip", constants=(None, f32(0.7)), opsets=(11, 12, NEWEST)),
    Case("Clip", constants=(f32(-0.2),), opsets=(11, 12, NEWEST)),
    # two operands
    *(Case(op, constants=(np.abs(normal((3, 1), 5)) + 0.4,), positive=op == "Pow") for op in ("Add", "Sub", "Mul", "Div", "Pow")),
    Case("Pow", constants=(f32(2.0),)),
    Case("Pow", constants=(ints(3),), opsets=(12, NEWEST)),
    Case("Add", constants=(normal((2, 1, 3, 4)),), x=(1, 3, 4), opsets=(8, NEWEST)),
    *(Case(op, constants=(normal((3, 4), 5), normal((1, 1, 4), 6)), opsets=(8, 13, NEWEST)) for op in ("Max", "Min", "Sum")),
    *(Case(op) for op in ("Max", "Min", "Sum")),
    # convolution and pooling
    Case("Conv", (1, 3, 9), (W1, normal((5,))), {"pads": [1, 0], "strides": [2]}),
    Case("Conv", PICTURE, (W2,), {"group": 2, "dilations": [2, 1], "kernel_shape": [3, 2]}),
    Case("Conv", (1, 3, 4, 5, 3), (W3, normal((2,))), {"pads": [0, 1, 0, 1, 0, 1]}),
    *(
        Case("Conv", (1, 3, n), (W1,), {"auto_pad": auto, "strides": [stride]})
        for auto in ("SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET")
        for n, stride in ((9, 1), (9, 2), (10, 2), (10, 3), (4, 3))
    ),
    Case("Conv", PICTURE, (normal((4, 1, 3, 3)),), {"group": 4, "auto_pad": "SAME_UPPER", "strides": [2, 1]}),
    *(Case(op, PICTURE, (), {"kernel_shape": [3, 2], "strides": [2, 2]}) for op in ("MaxPool", "AveragePool")),
    *(Case(op, PICTURE, (), {"kernel_shape": [3, 2]}) for op in ("MaxPool", "AveragePool")),
    *(
        Case(op, PICTURE, (), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 0, 0, 1], "ceil_mode": c}, opsets=(10, NEWEST))
        for op in ("MaxPool", "AveragePool")
        for c in (0, 1)
    ),
    *(Case(op, PICTURE, (), {"kernel_shape": [2, 2], "strides": [3, 3], "ceil_mode": 1}, opsets=(10, NEWEST)) for op in ("MaxPool",)),
    *(
        Case(op, PICTURE, (), {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": auto})
        for op in ("MaxPool", "AveragePool")
        for auto in ("SAME_UPPER", "SAME_LOWER", "VALID")
    ),
    Case("MaxPool", PICTURE, (), {"kernel_shape": [2, 2], "dilations": [2, 3]}, opsets=(10, NEWEST)),
    Case("AveragePool", PICTURE, (), {"kernel_shape": [2, 2], "dilations": [2, 3]}, opsets=(19, NEWEST)),
    Case("AveragePool", PICTURE, (), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}, opsets=(8, NEWEST)),
    Case("MaxPool", (1, 2, 9), (), {"kernel_shape": [3], "strides": [2]}),
    Case("AveragePool", (1, 2, 3, 4, 5), (), {"kernel_shape": [2, 2, 2]}),
    *(Case(op, PICTURE) for op in ("GlobalAveragePool", "GlobalMaxPool")),
    *(Case(op, (1, 2, 9)) for op in ("GlobalAveragePool", "GlobalMaxPool")),
    # normalisation, softmax
    Case("BatchNormalization", PICTURE, tuple(NORM), {"epsilon": 1e-3}, opsets=(9, 14, 15, NEWEST)),
    Case("BatchNormalization", PICTURE, tuple(NORM), {}, opsets=(8, 9, 15)),
    *(
        Case(op, x, (), attrs, opsets=opsets)
        for op in ("Softmax", "LogSoftmax")
        for x, attrs, opsets in (
            ((1, 3, 4), {}, (8, 11, 13, NEWEST)),
            ((1, 3, 4), {"axis": 1}, (8, 11, 13, NEWEST)),
            ((1, 3, 4), {"axis": 2}, (8, 11, 13, NEWEST)),
            ((1, 3, 4), {"axis": -1}, (11, 13, NEWEST)),
            ((1, 3, 4), {"axis": -2}, (11, 13, NEWEST)),
        )
    ),
    Case("Dropout", (1, 3, 4), (), {"ratio": 0.5}, opsets=(8, 10)),
    Case("Dropout", (1, 3, 4), (f32(0.3),), {}, opsets=(12, 13, NEWEST)),
    # matrices
    Case("MatMul", (1, 3, 4), (normal((4, 5)),), opsets=(9, 13, NEWEST)),
    Case("MatMul", (1, 4), (normal((4,)),), opsets=(9, NEWEST)),
    Case("MatMul", (1, 3, 4), (normal((1, 4, 2)),), opsets=(9, NEWEST)),
    Case("Gemm", (1, 4), (normal((4, 5)), normal((5,))), {}, opsets=(9, 11, NEWEST)),
    Case("Gemm", (1, 4), (normal((5, 4)), normal((1, 5))), {"transB": 1, "alpha": 0.5, "beta": 2.0}, opsets=(9, 11, NEWEST)),
    Case("Gemm", (1, 4), (normal((4, 5)),), {"alpha": 1.5}, opsets=(11, NEWEST)),
    Case("Gemm", (1, 4), (normal((4, 5)), normal((5,))), {"beta": 0.0}, opsets=(11, NEWEST)),
    Case("Gemm", (4, 1), (normal((4, 5)), f32(0.5)), {"transA": 1}, opsets=(11, NEWEST)),
    # reductions
    *(
        Case(op, (1, 3, 4), (), attrs, opsets=(8, 11))
        for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin")
        for attrs in ({"axes": [1, 2]}, {"axes": [2], "keepdims": 0}, {})
    ),
    *(Case(op, (1, 3, 4), (), {"axes": [-1, -2], "keepdims": 0}, opsets=(11,)) for op in ("ReduceSum", "ReduceMean", "ReduceMax")),
    *(Case("ReduceSum", (1, 3, 4), (axes,), {"keepdims": k}, opsets=SINCE13) for axes in (ints(1), ints(-1, 1)) for k in (0, 1)),
    *(Case(op, (1, 3, 4), (ints(-1),), {"keepdims": 0}, opsets=(18, NEWEST)) for op in ("ReduceMean", "ReduceMax", "ReduceMin")),
    Case("ReduceSum", (1, 3, 4), (ints(),), {"noop_with_empty_axes": 1}, opsets=SINCE13),
    Case("ReduceSum", (1, 3, 4), (None,), {"noop_with_empty_axes": 1}, opsets=SINCE13),
    Case("ReduceMean", (1, 3, 4), (), {}, opsets=(18, NEWEST)),
    Case("ArgMax", (1, 3, 4), (), {"axis": 1}, opsets=(8, 13, NEWEST)),
    Case("ArgMax", (1, 3, 4), (), {"axis": -1, "keepdims": 0}, opsets=(11, 13, NEWEST)),
    # moves
    Case("Reshape", (1, 3, 4), (ints(2, 6),)),
    Case("Reshape", (1, 3, 4), (ints(0, -1),)),
    Case("Reshape", (1, 3, 4), (ints(-1),)),
    Case("Reshape", (1, 3, 4), (ints(1, 0, 2, -1),)),
    Case("Reshape", (1, 3, 4), (ints(1, 12),), {"allowzero": 1}, opsets=(14, NEWEST)),
    *(Case("Flatten", (1, 3, 4), (), attrs) for attrs in ({}, {"axis": 0}, {"axis": 2}, {"axis": 3})),
    Case("Flatten", (1, 3, 4), (), {"axis": -1}, opsets=SINCE11),
    Case("Transpose", (1, 3, 4), (), {"perm": [0, 2, 1]}),
    Case("Transpose", (1, 3, 4), (), {}),
    Case("Squeeze", (1, 3, 1, 4), (), {"axes": [2]}, opsets=(8, 11)),
    Case("Squeeze", (1, 3, 1, 4), (), {"axes": [-2]}, opsets=(11,)),
    Case("Squeeze", (1, 3, 1, 4), (), {}, opsets=(8, 13, NEWEST)),
    Case("Squeeze", (1, 3, 1, 4), (ints(2),), opsets=SINCE13),
    Case("Squeeze", (1, 3, 1, 4), (ints(-2, 0),), opsets=SINCE13),
    Case("Unsqueeze", (1, 3, 4), (), {"axes": [1, 4]}, opsets=(8, 11)),
    Case("Unsqueeze", (1, 3, 4), (ints(0, -1),), opsets=SINCE13),
    Case("Unsqueeze", (1, 3, 4), (ints(-2),), opsets=SINCE13),
    Case("Slice", (1, 5, 6), (), {"starts": [1, 0], "ends": [4, -1], "axes": [1, 2]}, opsets=UNTIL9),
    Case("Slice", (1, 5, 6), (), {"starts": [0, 1, -3], "ends": [1, 9999, 2147483647]}, opsets=UNTIL9),
    Case("Slice", (1, 5, 6), (ints(1, 0), ints(4, -1), ints(1, 2)), opsets=(10, 13, NEWEST)),
    Case("Slice", (1, 5, 6), (ints(0, 4), ints(1, -6), ints(0, 1), ints(1, -2)), opsets=(10, 13, NEWEST)),
    Case("Slice", (1, 5, 6), (ints(-1), ints(-(2**63)), ints(-1), ints(-1)), opsets=(10, 13, NEWEST)),
    Case("Slice", (1, 5, 6), (ints(-1), ints(-(2**31)), ints(-1), ints(-1)), opsets=(10, NEWEST)),
    Case("Slice", (1, 5, 6), (ints(1), ints(2**63 - 1), ints(2), ints(3)), opsets=(10, NEWEST)),
    Case("Slice", (1, 5, 6), (ints(0, 0), ints(1, 5), None, ints(1, 2)), opsets=(10, NEWEST)),
    Case("Split", (1, 6, 2), (), {"axis": 1, "split": [1, 2, 3]}, opsets=(8, 11), outputs=3),
    Case("Split", (1, 6, 2), (), {"axis": 1}, opsets=(8, 11, 13), outputs=3),
    Case("Split", (1, 6, 2), (), {"axis": -2}, opsets=(11, 13), outputs=2),
    Case("Split", (1, 6, 2), (ints(1, 5),), {"axis": 1}, opsets=SINCE13, outputs=2),
    Case("Split", (1, 7, 2), (), {"axis": 1, "num_outputs": 3}, opsets=(18, NEWEST), outputs=3),
    Case("Concat", (1, 3, 4), (normal((1, 2, 4)),), {"axis": 1}),
    Case("Concat", (1, 3, 4), (normal((1, 3, 1)), normal((1, 3, 2))), {"axis": -1}, opsets=SINCE11),
    Case("Pad", (1, 3, 4), (), {"pads": [0, 1, 2, 0, 0, 3], "value": 1.5}, opsets=(8, 10)),
    Case("Pad", (1, 3, 4), (), {"pads": [0, 1, 2, 0, 0, 3], "mode": "constant"}, opsets=(8, 10)),
    Case("Pad", (1, 3, 4), (ints(0, 1, 2, 0, 0, 3), f32(1.5)), opsets=(11, 13, NEWEST)),
    Case("Pad", (1, 3, 4), (ints(0, 1, 2, 0, 0, 3),), opsets=(11, 13, NEWEST)),
    Case("Pad", (1, 3, 4), (ints(1, 2), f32(0.5), ints(-1)), opsets=(18, NEWEST)),
    Case("Pad", (1, 3, 4), (ints(0, -1, -1, 0, 1, -1), f32(0.5)), opsets=(11, NEWEST)),
    Case("Expand", (1, 3, 1), (ints(1, 3, 4),), opsets=(8, 13, NEWEST)),
    Case("Expand", (1, 3, 1), (ints(2, 1, 1, 4),), opsets=(8, 13, NEWEST)),
    Case("Gather", (1, 3, 4), (ints(2, 0),), {"axis": 1}, opsets=(8, 13, NEWEST)),
    Case("Gather", (1, 3, 4), (ints(-1, 0, 1).reshape(3, 1),), {"axis": -1}, opsets=(11, 13, NEWEST)),
    Case("Gather", (1, 3, 4), (np.array(1, np.int32),), {"axis": 1}, opsets=(8, 13, NEWEST)),
    # comparison, logic, selection
    *(Case(op, constants=(TIES,), opsets=(9, 13, NEWEST)) for op in ("Less", "Greater")),
    *(Case(op, constants=(TIES,), opsets=(12, 16, NEWEST)) for op in ("LessOrEqual", "GreaterOrEqual")),
    Case("Equal", constants=(TIES,), opsets=(11, 13, NEWEST)),
    Case("IsNaN", opsets=(9, 13, NEWEST)),
    *(Case("IsInf", attrs=attrs, opsets=(10, 20, NEWEST)) for attrs in ({}, {"detect_negative": 0}, {"detect_positive": 0})),
    Case("IsInf", attrs={"detect_negative": 0, "detect_positive": 0}, opsets=(10,)),
    Case("QuantizeLinear", constants=(f32(0.02), np.array(3, np.int8)), opsets=(10, 13, 19, NEWEST)),
    Case("QuantizeLinear", constants=(f32([0.02, 0.1, 0.3]), np.array([3, 0, 128], np.uint8)), attrs={"axis": 1}, opsets=(13, NEWEST)),
    Case("DequantizeLinear", constants=(f32([0.02, 0.1, 0.3, 1.0]),), attrs={"axis": -1}, opsets=(19, NEWEST)),
    Case("Clip", constants=(f32(0.7), f32(-0.5)), opsets=(12, NEWEST)),
    # positions
    Case("GatherElements", constants=(ints(2, 0, -1, 1, 0, 0).reshape(1, 2, 3),), attrs={"axis": 1}, opsets=(11, 13, NEWEST)),
    Case("GatherElements", constants=(ints(3, -4, 1).reshape(1, 3, 1),), attrs={"axis": -1}, opsets=(11, 13, NEWEST)),
    Case("GatherND", constants=(ints(0, 1, 0, -1).reshape(2, 2),), opsets=(11, 13, NEWEST)),
    Case("GatherND", constants=(ints(0, 2, 3, 0, 0, -1).reshape(1, 2, 3),), opsets=(11, 13, NEWEST)),
    Case("GatherND", (2, 3, 4), (ints(1, -1).reshape(2, 1),), {"batch_dims": 1}, opsets=(12, 13, NEWEST)),
    Case("GatherND", (2, 3, 4), (ints(*[1, 0, 2] * 2).reshape(2, 3, 1),), {"batch_dims": 2}, opsets=(12, NEWEST)),
    *(
        Case(op, constants=(ints(2, 0, 1, -1).reshape(1, 2, 2), normal((1, 2, 2), 3)), attrs={"axis": axis}, opsets=opsets)
        for op, opsets in (("Scatter", (9, 10)), ("ScatterElements", (11, 13, NEWEST)))
        for axis in (1, 2)
    ),
    *(
        Case(
            "ScatterElements",
            constants=(ints(2, 2, 0, 2).reshape(1, 4, 1)[:, :3], normal((1, 3, 1), 3)),
            attrs={"axis": 1, "reduction": r},
            opsets=o,
        )
        for r, o in (("add", (16, 18, NEWEST)), ("mul", (16, NEWEST)), ("max", (18, NEWEST)), ("min", (18, NEWEST)))
    ),
    *(
        Case("ScatterND", constants=(ints(0, 1, 0, 1, 0, 2).reshape(3, 2), normal((3, 4), 3)), attrs={"reduction": r}, opsets=o)
        for r, o in (("add", (16, 18, NEWEST)), ("mul", (16, NEWEST)), ("max", (18, NEWEST)), ("min", (18, NEWEST)))
    ),
    Case("ScatterND", constants=(ints(0, -1, 0, 0).reshape(2, 2), normal((2, 4), 3)), opsets=(11, 13, NEWEST)),
    Case("Compress", constants=(np.array([True, False, True]),), attrs={"axis": 1}, opsets=(9, 11, NEWEST)),
    Case("Compress", constants=(np.array([True, False, True, False, True]),), opsets=(9, 11, NEWEST)),
    Case("ReverseSequence", (1, 4, 3), (ints(3),), {"batch_axis": 0, "time_axis": 1}, opsets=(10, NEWEST)),
    Case("ReverseSequence", (4, 2, 3), (ints(3, 2),), {"batch_axis": 1, "time_axis": 0}, opsets=(10, NEWEST)),
    *(
        Case(op, attrs=attrs, opsets=(12, 13, NEWEST))
        for op in ("ArgMax", "ArgMin")
        for attrs in ({"axis": 1}, {"axis": -1, "keepdims": 0}, {"axis": 2, "select_last_index": 1})
    ),
    Case("TopK", (1, 3, 4), (), {"k": 2}, opsets=(8, 9), outputs=2),
    Case("TopK", (1, 3, 4), (ints(2),), {"axis": 1}, opsets=(10, 11, NEWEST), outputs=2),
    Case("TopK", (1, 3, 4), (ints(4),), {"axis": -1, "largest": 0}, opsets=(11, NEWEST), outputs=2),
    Case("EyeLike", (3, 4), (), {"k": -1}, opsets=(9, NEWEST)),
    Case("Cast", (1, 3, 4), (), {"to": TensorProto.INT64}, opsets=(9, 13, NEWEST)),
    Case("Cast", (1, 3, 4), (), {"to": TensorProto.BOOL}, opsets=(9, 13, NEWEST)),
    Case("Cast", (1, 3, 4), (), {"to": TensorProto.FLOAT}, opsets=(9, 13, NEWEST)),
    Case("CastLike", (1, 3, 4), (f32([1, 2]),), opsets=(15, NEWEST)),
]
RUN = [(case, opset) for case in CASES for opset in case.opsets]


def build(case: Case, opset: int) -> tuple[bytes, np.ndarray]:
    names, weights = ["x"], {}
    for i, constant in enumerate(case.constants):
        names.append("" if constant is None else f"c{i}")
        if constant is not None:
            weights[names[-1]] = constant
    outputs = [f"y{i}" for i in range(case.outputs)]
    node = helper.make_node(case.op, names, outputs, name="node", **case.attrs)
    content = model_bytes([node], {"x": case.x}, dict.fromkeys(outputs), weights, opset=opset, check=False)
    x = normal(case.x, 9)
    return content, np.abs(x) + 0.3 if case.positive else 1.5 * x


def expected(content: bytes, x: np.ndarray) -> list[np.ndarray]:
    with np.errstate(all="ignore"):
        return reference(content, {"x": x})


def by_definition(case: Case, opset: int, x: np.ndarray) -> np.ndarray | None:
    """What ONNX defines, where its evaluator does something else (seen with onnx 1.23.2)."""
    if case.op in ("Softmax", "LogSoftmax") and opset < 13:  # over all axes from `axis` on, flattened
        axis = case.attrs.get("axis", 1) % x.ndim
        flat = x.reshape(*x.shape[:axis], -1)
        exponentials = np.exp(flat - flat.max(axis, keepdims=True))
        y = exponentials / exponentials.sum(axis, keepdims=True)
        return (y if case.op == "Softmax" else np.log(y)).reshape(x.shape)
    if case.op == "BatchNormalization" and opset < 14:  # not by the statistics of the batch
        gamma, beta, mean, var = (c.reshape(-1, 1, 1) for c in case.constants)
        return (x - mean) * gamma / np.sqrt(var + case.attrs.get("epsilon", 1e-5)) + beta
    if case.op in ("GatherElements", "Scatter"):  # the evaluator wants indices as large as the array, or lacks the operator
        index, axis = case.constants[0], case.attrs["axis"] % x.ndim
        places = list(np.indices(index.shape))
        places[axis] = index
        if case.op == "GatherElements":
            return x[tuple(places)]
        y = x.copy()
        y[tuple(places)] = case.constants[1]
        return y
    if case.op == "GlobalMaxPool":
        return x.max(tuple(range(2, x.ndim)), keepdims=True)
    if case.op == "MaxPool" and case.attrs.get("auto_pad") == "SAME_LOWER":  # of an input of 7 x 8: one odd cell, at the low end
        explicit = replace(case, attrs={"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 0]})
        return expected(build(explicit, opset)[0], x)[0]
    if case.op == "Pad" and case.constants and np.min(case.constants[0]) < 0:  # negative paddings crop
        lo, hi = case.constants[0][: x.ndim], case.constants[0][x.ndim :]
        cropped = x[tuple(slice(-min(a, 0), n + min(b, 0)) for a, b, n in zip(lo, hi, x.shape, strict=True))]
        pads = [(max(a, 0), max(b, 0)) for a, b in zip(lo, hi, strict=True)]
        return np.pad(cropped, pads, constant_values=case.constants[1])
    return None


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
