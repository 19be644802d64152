"""Shape arithmetic: ONNX operators on shapes and constants, which never become nodes."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.errors import require
from gradcam.graph.builder import Builder
from gradcam.graph.ir import Value
from gradcam.graph.onnx_form import Inputs, OnnxNode, Unsupported, onnx_form
from gradcam.graph.ops.logic import as_real, negation

# Codes of onnx.TensorProto.DataType that a constant may be cast to.
_TYPES: dict[int, type] = {
    1: np.float32,
    2: np.uint8,
    3: np.int8,
    4: np.uint16,
    5: np.int16,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
    10: np.float16,
    11: np.float64,
    12: np.uint32,
    13: np.uint64,
    16: np.float32,  # bfloat16 is widened, as in files
}
_NARROW = {
    **{17: "float8_e4m3fn", 18: "float8_e4m3fnuz", 19: "float8_e5m2", 20: "float8_e5m2fnuz", 24: "float8_e8m0fnu"},
    **{21: "uint4", 22: "int4", 23: "float4_e2m1fn", 25: "uint2", 26: "int2"},
}
"""Types of 2, 4 and 8 bits that NumPy has from ml_dtypes."""
_UNREAD = {8: "text", 14: "complex numbers", 15: "complex numbers"}


@onnx_form("Constant")
def constant(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """All numeric forms."""
    if "value" in node.attrs:
        return g.constant(node.attrs["value"])
    for name, dtype in (("value_float", np.float32), ("value_floats", np.float32), ("value_int", np.int64), ("value_ints", np.int64)):
        if name in node.attrs:
            return g.constant(np.asarray(node.attrs[name], dtype))
    raise Unsupported("a constant that is neither a dense tensor nor a number")


@onnx_form("Shape")
def shape(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Shapes are known when the graph is built."""
    dims = node.required(inputs, 0).shape
    return g.constant(np.asarray(dims[slice(node.attrs.get("start", 0), node.attrs.get("end"))], np.int64))


@onnx_form("Size")
def size(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Number of elements."""
    return g.constant(np.asarray(node.required(inputs, 0).size, np.int64))


@onnx_form("ConstantOfShape")
def constant_of_shape(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """One value everywhere; zero by default."""
    value = np.asarray(node.attrs.get("value", np.zeros(1, np.float32)))
    shape = tuple(int(n) for n in node.array(inputs, 0))
    g.reserve(prod(shape))
    return g.constant(np.full(shape, value.reshape(-1)[0]))


@onnx_form("Range")
def arange(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """From start below limit in steps."""
    start, limit, delta = (node.array(inputs, i).reshape(()) for i in range(3))
    g.reserve(max(0, int((limit - start) / delta)) + 1)
    return g.constant(np.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype))


@onnx_form("Cast", "CastLike")
def cast(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Constants are converted. At run time all real numbers have one type, all integers are indices, a boolean is 1 or 0."""
    x = node.required(inputs, 0)
    code = int(node.attrs.get("to", 1))
    if node.op_type == "CastLike":
        wanted = node.required(inputs, 1).dtype
    elif code in _NARROW:
        wanted = np.dtype(getattr(require("ml_dtypes", "onnx"), _NARROW[code]))
    elif code in _TYPES:
        wanted = np.dtype(_TYPES[code])
    else:
        raise Unsupported(f"a cast to {_UNREAD.get(code, 'an unknown type')}")
    narrow = wanted.name in _NARROW.values()
    if x.data is not None:
        return g.constant(_narrowed(node, x.data, wanted) if narrow else x.data.astype(wanted))
    if narrow:
        raise Unsupported(f"a cast to {wanted.name} at run time")
    if wanted.kind == "f":
        return as_real(g, x)
    if wanted.kind == "b":  # a computed boolean is 1 or 0
        return negation(g, g.emit("Equal", as_real(g, x), g.constant(0.0)))
    return g.emit("ToIndex", x) if x.is_real else x


def _narrowed(node: OnnxNode, x: NDArray[Any], wanted: np.dtype[Any]) -> NDArray[Any]:
    """Convert a constant to a type of 2, 4 or 8 bits; `saturate` and `round_mode` are those of ONNX."""
    helper, saturate = require("onnx.numpy_helper", "onnx"), bool(node.attrs.get("saturate", 1))
    if wanted.name == "float8_e8m0fnu":
        x = helper.to_float8e8m0(x, saturate, node.attrs.get("round_mode", "up"))
    elif wanted.name.startswith("float8") and saturate:
        x = helper.saturate_cast(x, wanted)
    return np.asarray(x.astype(wanted))
