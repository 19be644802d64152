"""Shape arithmetic: ONNX operators on shapes and constants, which never become nodes."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Value
from gradcam.graph.onnx_form import Inputs, OnnxNode, Unsupported, onnx_form

# Codes of onnx.TensorProto.DataType that a constant may be cast to.
_TYPES: dict[int, type] = {
    1: np.float32,
    2: np.uint8,
    3: np.int8,
    5: np.int16,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
    10: np.float16,
    11: np.float64,
}


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
    """Constants are converted; a real array stays what it is, since all real numbers of a plan have one type."""
    x = node.required(inputs, 0)
    if node.op_type == "CastLike":
        wanted = node.required(inputs, 1).dtype
    elif int(node.attrs.get("to", 1)) in _TYPES:
        wanted = np.dtype(_TYPES[int(node.attrs.get("to", 1))])
    else:
        raise Unsupported(f"attribute 'to' = {node.attrs.get('to')}")
    if x.data is not None:
        return g.constant(x.data.astype(wanted))
    if x.is_real and wanted.kind == "f":
        return x
    raise Unsupported(f"a cast of '{x.name}' from {x.dtype} to {wanted} at run time")


def _fold(op: str, function: Callable[..., Any]) -> None:
    """Register an operator that is computed when all its inputs are constants."""

    @onnx_form(op)
    def emit(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
        arrays = [node.array(inputs, i) for i in range(len(inputs))]
        return g.constant(np.asarray(function(*arrays)))


def _mod(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.mod(a, b))


_FOLDED: dict[str, Callable[..., Any]] = {
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Not": np.logical_not,
    "Where": np.where,
    "Mod": _mod,
}
for _op, _function in _FOLDED.items():
    _fold(_op, _function)
