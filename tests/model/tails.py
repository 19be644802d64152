"""Small networks whose layer 'a' is read by one tail each, for `test_reparametrisation`."""

from __future__ import annotations

from typing import Any

import numpy as np
from model.networks import model_bytes, normal
from onnx import helper, numpy_helper

CHANNELS = 4
SHIFT = np.array([0.7, -1.3, 0.2, 2.0])
POSITIVE = np.array([0.5, 3.0, 1.7, 0.1])
FLIPPED = np.array([0.5, -3.0, 1.7, -0.1])
CHANGES: dict[str, dict[str, Any]] = {
    "shift": {"shift": SHIFT},
    "scale": {"scale": POSITIVE},
    "flip": {"scale": FLIPPED},
    "positive": {"shift": SHIFT, "scale": POSITIVE},
    "both": {"shift": SHIFT, "scale": FLIPPED},
    "numbers": {"shift": 0.25, "scale": -2.0},
}
SIZE = (6, 8)


def node(op: str, *inputs: str, out: str = "y", name: str = "", **attrs: Any) -> Any:
    return helper.make_node(op, list(inputs), [out], name=name or f"/{out}", **attrs)


def network(
    *tail: Any, opset: int = 17, size: tuple[int | str, int | str] = SIZE, outputs: tuple[str, ...] = ("y",), **weights: Any
) -> bytes:
    """x (N, 2, *size) -> convolution -> 'a' (N, 4, *size) -> `tail`, which computes 'y'; weights are float64, seeded from a shape."""
    arrays = {n: normal(w, 7 + i, np.float64) if isinstance(w, tuple) else np.asarray(w) for i, (n, w) in enumerate(weights.items())}
    arrays["stem"] = normal((CHANNELS, 2, 3, 3), 3, np.float64)
    stem = node("Conv", "x", "stem", out="a", name="/stem", pads=[1] * 4)
    nodes = [stem, *tail]
    return model_bytes(nodes, {"x": ["N", 2, *size]}, {name: None for name in outputs}, arrays, opset=opset, check=False)


W = {"w": (5, CHANNELS, 3, 3), "b": (5,)}
FC = {"w": (CHANNELS, 3), "b": (3,)}
FLAT = {"w": (3, CHANNELS * 48), "b": (3,)}
POOL = {"kernel_shape": [2, 2], "strides": [2, 2]}
HEAD = (node("GlobalAveragePool", "p", out="gap"), node("Flatten", "gap", out="f"), node("Gemm", "f", "w", "b"))

# Tails that read 'a' and let every change through.
LINEAR: dict[str, bytes] = {
    "conv": network(node("Conv", "a", "w", "b", strides=[2, 1], dilations=[1, 2]), **W),
    "conv without bias": network(node("Conv", "a", "w"), w=W["w"]),
    "conv 1x1": network(node("Conv", "a", "w"), w=(3, CHANNELS, 1, 1)),
    "groups": network(node("Conv", "a", "w", "b", group=2), w=(6, 2, 3, 3), b=(6,)),
    "depthwise": network(node("Conv", "a", "w", group=4), w=(8, 1, 2, 3)),
    "conv valid": network(node("Conv", "a", "w", auto_pad="VALID"), w=W["w"]),
    "constant node": network(
        node("Constant", out="w", value=numpy_helper.from_array(normal((3, CHANNELS, 2, 2), 5, np.float64))), node("Conv", "a", "w")
    ),
    "weight behind an identity": network(node("Identity", "v", out="w"), node("Conv", "a", "w"), v=(3, CHANNELS, 2, 2)),
    "batch norm": network(
        node("BatchNormalization", "a", "g", "b", "m", "v", epsilon=0.1), g=(4,), b=(4,), m=(4,), v=np.array([0.2, 1.0, 3.0, 0.5])
    ),
    "head": network(node("Identity", "a", out="p"), *HEAD, **FC),
    "flatten": network(node("Flatten", "a", out="f"), node("Gemm", "f", "w", "b", transB=1, alpha=0.3, beta=2.0), **FLAT),
    "gemm without bias": network(node("Flatten", "a", out="f"), node("Gemm", "f", "w", transB=1, alpha=0.3), w=FLAT["w"]),
    "gemm with beta 0": network(node("Flatten", "a", out="f"), node("Gemm", "f", "w", "b", transB=1, beta=0.0), **FLAT),
    "reshape": network(node("Reshape", "a", "s", out="f"), node("MatMul", "f", "w"), s=np.array([0, -1]), w=(CHANNELS * 48, 3)),
    "matmul and add": network(
        node("Flatten", "a", out="f"), node("MatMul", "f", "w", out="m"), node("Add", "b", "m", out="r"), node("Relu", "r"),
        w=(CHANNELS * 48, 3), b=(3,),
    ),
    "matmul with a vector": network(node("Flatten", "a", out="f"), node("MatMul", "f", "w"), w=(CHANNELS * 48,)),
    "stacked matmul": network(
        node("Transpose", "a", out="t", perm=[0, 2, 3, 1]), node("MatMul", "t", "w"), w=(6, CHANNELS, 3)
    ),
    "average pool": network(
        node("AveragePool", "a", out="p", kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2], ceil_mode=1), node("Conv", "p", "w"), w=W["w"]
    ),
    "mean over positions": network(
        node("ReduceMean", "a", out="p", axes=[2, 3], keepdims=0), node("Dropout", "p", out="f"), node("Gemm", "f", "w", "b"), **FC
    ),
    "tokens": network(
        node("Reshape", "a", "s", out="r"), node("Transpose", "r", out="t", perm=[0, 2, 1]), node("MatMul", "t", "w", out="m"),
        node("Add", "m", "b", out="n"), node("Relu", "n"), s=np.array([0, 4, 48]), **FC,
    ),
    "channels last": network(
        node("Transpose", "a", out="t", perm=[0, 2, 3, 1]), node("Mul", "t", "k", out="u"), node("Add", "u", "b", out="v"),
        node("Relu", "v"), k=(4,), b=(4,),
    ),
    "shuffle": network(
        node("Reshape", "a", "s", out="r"), node("Transpose", "r", out="t", perm=[0, 2, 1, 3, 4]), node("Reshape", "t", "u", out="v"),
        node("Conv", "v", "w", group=2), s=np.array([0, 2, 2, 6, 8]), u=np.array([0, 4, 6, 8]), w=(4, 2, 2, 2),
    ),
    "slice, squeeze": network(
        node("Slice", "a", "from", "to", "axes", out="p"), node("Squeeze", "p", "axes", out="q"), node("Unsqueeze", "q", "axes", out="r"),
        node("Conv", "r", "w"), w=(3, CHANNELS, 1, 2), axes=np.array([2]), **{"from": np.array([3]), "to": np.array([4])},
    ),
    "slice of channels": network(
        node("Slice", "a", "from", "to", "axes", out="p"), node("Conv", "p", "w"),
        w=(3, 2, 2, 2), axes=np.array([1]), **{"from": np.array([1]), "to": np.array([3])},
    ),
    "split": network(
        helper.make_node("Split", ["a"], ["p", "q"], axis=1), node("Conv", "p", "w", out="r"), node("Conv", "q", "w", out="s"),
        node("Mul", "r", "s"), w=(3, 2, 2, 2), opset=13,
    ),
    "gather": network(node("Gather", "a", "i", out="p", axis=1), node("Conv", "p", "w"), i=np.array([3, 0, 0]), w=(2, 3, 2, 2)),
    "concat": network(
        node("Conv", "x", "v", out="o"), node("Concat", "o", "a", "a", out="c", axis=1), node("Conv", "c", "w", "b"),
        v=(3, 2, 1, 1), w=(5, 11, 3, 3), b=(5,),
    ),
    "mul": network(node("Mul", "k", "a", out="m"), node("Add", "m", "s", out="n"), node("Relu", "n"), k=(4, 1, 1), s=(1, 4, 1, 1)),
    "scalar": network(node("Mul", "a", "k", out="m"), node("Conv", "m", "w"), k=np.array(0.3), w=W["w"]),
    "div": network(node("Div", "a", "k", out="m"), node("Sub", "m", "s", out="n"), node("Relu", "n"), k=(4, 1, 1), s=(4, 1, 1)),
    "position constants": network(
        node("Mul", "a", "k", out="m"), node("Sub", "s", "m", out="n"), node("Conv", "n", "w"),
        k=(6, 8), s=(4, 6, 8), w=W["w"],
    ),
    "neg": network(node("Neg", "a", out="m"), node("Conv", "m", "w"), w=W["w"]),
    "sum of three": network(node("Sum", "a", "k", "a", "s", out="m"), node("Conv", "m", "w"), k=(4, 1, 1), s=(6, 8), w=W["w"]),
    "difference": network(node("Neg", "a", out="m"), node("Sub", "a", "m", out="n"), node("Conv", "n", "w"), w=W["w"]),
    "pad of channels": network(
        node("Pad", "a", "p", out="m"), node("Conv", "m", "w"), p=np.array([0, 1, 0, 0, 0, 2, -1, 0]), w=(3, 7, 2, 2),
    ),
    "gate": network(
        node("GlobalAveragePool", "a", out="p"), node("Conv", "p", "v", out="q"), node("Sigmoid", "q", out="r"),
        node("Conv", "a", "w", out="s"), node("Mul", "r", "s"), v=(5, CHANNELS, 1, 1), w=W["w"],
    ),
    "shared weight": network(
        node("Conv", "a", "w", "b", out="p"), node("Conv", "x", "v", out="o"), node("Conv", "o", "w", "b", out="q"), node("Add", "p", "q"),
        v=(4, 2, 1, 1), **W,
    ),
}  # fmt: skip

POOLED = node("MaxPool", "a", out="p", kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2])

# (tail, the changes that pass it)
PARTLY: dict[str, tuple[bytes, set[str]]] = {
    "relu": (network(node("Relu", "a", out="p"), *HEAD, **FC), {"scale"}),
    "leaky relu": (network(node("LeakyRelu", "a", out="p"), *HEAD, **FC), {"scale"}),
    "prelu": (network(node("PRelu", "a", "k", out="p"), *HEAD, k=(4, 1, 1), **FC), {"scale"}),
    "abs": (network(node("Abs", "a", out="p"), *HEAD, **FC), {"scale"}),
    "max pool": (network(POOLED, *HEAD, **FC), {"scale", "shift", "positive"}),
    "global max pool": (network(node("GlobalMaxPool", "a", out="p"), *HEAD, **FC), {"scale", "shift", "positive"}),
    "maximum": (network(node("ReduceMax", "a", out="p", axes=[3]), *HEAD, **FC), {"scale", "shift", "positive"}),
    "minimum": (network(node("ReduceMin", "a", out="p", axes=[3]), *HEAD, **FC), {"scale", "shift", "positive"}),
    "sum": (network(node("ReduceSum", "a", "k", out="p"), *HEAD, k=np.array([3]), **FC), {"scale", "flip"}),
    "padded conv": (network(node("Conv", "a", "w", pads=[0, 1, 0, 0]), w=W["w"]), {"scale", "flip"}),
    "padded 1x1 conv": (network(node("Conv", "a", "w", pads=[1] * 4), w=(2, CHANNELS, 1, 1)), {"scale", "flip"}),
    "same conv": (network(node("Conv", "a", "w", auto_pad="SAME_UPPER"), w=W["w"]), {"scale", "flip"}),
    "counted padding": (
        network(node("AveragePool", "a", out="p", kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1), *HEAD, **FC),
        {"scale", "flip"},
    ),
    "pad": (network(node("Pad", "a", "k", out="p"), *HEAD, k=np.array([0, 0, 0, 1, 0, 0, 0, 0]), **FC), {"scale", "flip"}),
    "pad with ones": (
        network(
            node("Pad", "a", "k", "one", out="p"),
            node("Conv", "p", "w"),
            k=np.array([0, 1, 0, 0, 0, 1, 0, 0]),
            one=np.array(1.0),
            w=(2, 6, 1, 1),
        ),
        set(),
    ),
    "add": (network(node("Conv", "x", "v", out="o"), node("Add", "o", "a", out="p"), *HEAD, v=(4, 2, 1, 1), **FC), {"shift"}),
    "mul": (network(node("Conv", "x", "v", out="o"), node("Mul", "o", "a", out="p"), *HEAD, v=(4, 2, 1, 1), **FC), {"scale", "flip"}),
    "square": (network(node("Mul", "a", "a", out="p"), *HEAD, **FC), {"scale", "flip"}),
    "ratio": (network(node("Div", "a", "a", out="o"), node("Add", "o", "a", out="p"), *HEAD, **FC), set()),
    "inverse": (network(node("Div", "k", "a", out="p"), *HEAD, k=(4, 1, 1), **FC), {"scale", "flip"}),
    "sigmoid": (network(node("Sigmoid", "a", out="p"), *HEAD, **FC), set()),
    "clip": (network(node("Clip", "a", "lo", "hi", out="p"), *HEAD, lo=np.array(0.0), hi=np.array(6.0), **FC), set()),
    "softmax": (network(node("Softmax", "a", out="p", axis=1), *HEAD, **FC), set()),
    "mean over channels": (network(node("ReduceMean", "a", out="y", axes=[1])), set()),
    "positions": (network(node("Mul", "a", "k", out="m"), node("Conv", "m", "w"), k=(6, 8), w=W["w"]), {"scale", "flip"}),
    "positions that are pooled": (network(node("Mul", "a", "k", out="p"), *HEAD, k=(6, 8), **FC), {"scale", "flip"}),
    "output": (network(node("Conv", "a", "w"), w=W["w"], outputs=("y", "a")), set()),
    "output behind a pool": (network(node("AveragePool", "a", **POOL)), set()),
}
