"""Small ONNX models with seeded weights, and what ONNX's reference evaluator computes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

F32 = TensorProto.FLOAT
Dims = Sequence[int | str]


def model_bytes(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Dims],
    outputs: Mapping[str, Dims | None],
    weights: Mapping[str, np.ndarray] | None = None,
    *,
    opset: int = 17,
    metadata: Mapping[str, str] | None = None,
    input_type: int = F32,
    check: bool = True,
) -> bytes:
    """Serialize a model; weights become initializers under their names."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(name, input_type, dims) for name, dims in inputs.items()],
        [helper.make_tensor_value_info(name, F32, dims) for name, dims in outputs.items()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (weights or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    if metadata:
        helper.set_model_props(model, dict(metadata))
    if check:
        onnx.checker.check_model(model)
    return model.SerializeToString()


def reference(content: bytes, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Outputs by ONNX's own evaluator."""
    return [np.asarray(value) for value in ReferenceEvaluator(onnx.load_model_from_string(content)).run(None, dict(feeds))]


def normal(shape: tuple[int, ...], seed: int = 0, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


class Weights(dict):
    """Initializers with a fresh seed each."""

    def add(self, name: str, *shape: int) -> str:
        """Values keep about the size of the layer's input."""
        self[name] = normal(shape, 100 + len(self)) * np.float32(1.4 / np.sqrt(np.prod(shape[1:]) if len(shape) > 1 else 10))
        return name

    def norm(self, name: str, channels: int) -> list[str]:
        """Parameters of a batch normalisation."""
        names = [self.add(f"{name}.{part}", channels) for part in ("gamma", "beta", "mean", "var")]
        self[names[0]] = self[names[0]] + 1
        self[names[3]] = np.abs(self[names[3]]) + 0.5
        return names


def conv(weights: Weights, x: str, y: str, channels: tuple[int, int], kernel: int = 3, **attrs: Any) -> list[onnx.NodeProto]:
    """A convolution with bias and 'same' padding for odd kernels."""
    names = [weights.add(f"{y}.weight", channels[1], channels[0], kernel, kernel), weights.add(f"{y}.bias", channels[1])]
    pad = kernel // 2
    return [helper.make_node("Conv", [x, *names], [y], name=f"/{y}", **({"pads": [pad] * 4} | attrs))]


def resnet(batch: int | str = "N", size: int | str = 16, classes: int = 5, head: str | None = None, **options: Any) -> bytes:
    """conv-bn-relu-pool, two residual blocks, global pooling and a linear layer; `head` is appended ("Softmax", ...)."""
    w = Weights()
    nodes = conv(w, "x", "stem.conv", (3, 8))
    nodes.append(helper.make_node("BatchNormalization", ["stem.conv", *w.norm("stem", 8)], ["stem.bn"]))
    nodes.append(helper.make_node("Relu", ["stem.bn"], ["stem"], name="/stem/relu"))
    nodes.append(helper.make_node("MaxPool", ["stem"], ["pool"], kernel_shape=[2, 2], strides=[2, 2]))
    previous, channels = "pool", 8
    for block, (width, stride) in (("stage1", (8, 1)), ("stage2", (12, 2))):
        nodes += conv(w, previous, f"{block}.conv1", (channels, width), strides=[stride, stride])
        nodes.append(helper.make_node("BatchNormalization", [f"{block}.conv1", *w.norm(f"{block}.1", width)], [f"{block}.bn1"]))
        nodes.append(helper.make_node("Relu", [f"{block}.bn1"], [f"{block}.relu1"]))
        nodes += conv(w, f"{block}.relu1", f"{block}.conv2", (width, width))
        nodes.append(helper.make_node("BatchNormalization", [f"{block}.conv2", *w.norm(f"{block}.2", width)], [f"{block}.bn2"]))
        shortcut = previous
        if stride > 1:
            nodes += conv(w, previous, f"{block}.shortcut", (channels, width), kernel=1, strides=[stride, stride])
            shortcut = f"{block}.shortcut"
        nodes.append(helper.make_node("Add", [f"{block}.bn2", shortcut], [f"{block}.sum"]))
        nodes.append(helper.make_node("Relu", [f"{block}.sum"], [block], name=f"/{block}/relu"))
        previous, channels = block, width
    nodes.append(helper.make_node("GlobalAveragePool", [previous], ["gap"]))
    nodes.append(helper.make_node("Flatten", ["gap"], ["features"]))
    w.add("fc.weight", classes, channels)
    w.add("fc.bias", classes)
    logits = "logits" if head else "y"
    nodes.append(helper.make_node("Gemm", ["features", "fc.weight", "fc.bias"], [logits], transB=1, name="/fc"))
    if head:
        nodes.append(helper.make_node(head, [logits], ["y"]))
    return model_bytes(nodes, {"x": [batch, 3, size, size]}, {"y": [batch, classes]}, w, **options)


def vgg(batch: int | str = 1, classes: int = 4) -> bytes:
    """Convolutions, pooling, Flatten and two linear layers: gradients vary in space."""
    w = Weights()
    nodes = conv(w, "x", "conv1", (2, 6))
    nodes.append(helper.make_node("Relu", ["conv1"], ["relu1"], name="/features/1"))
    nodes += conv(w, "relu1", "conv2", (6, 8))
    nodes.append(helper.make_node("Relu", ["conv2"], ["relu2"]))
    nodes.append(helper.make_node("MaxPool", ["relu2"], ["pool"], kernel_shape=[2, 2], strides=[2, 2]))
    nodes.append(helper.make_node("Flatten", ["pool"], ["flat"]))
    w.add("fc1.weight", 10, 8 * 4 * 5)
    w.add("fc1.bias", 10)
    w.add("fc2.weight", classes, 10)
    nodes.append(helper.make_node("Gemm", ["flat", "fc1.weight", "fc1.bias"], ["hidden"], transB=1))
    nodes.append(helper.make_node("Tanh", ["hidden"], ["active"]))
    nodes.append(helper.make_node("Gemm", ["active", "fc2.weight"], ["y"], transB=1))
    return model_bytes(nodes, {"x": [batch, 2, 8, 10]}, {"y": [batch, classes]}, w)


def segmenter(batch: int | str = "N") -> bytes:
    """A map of class scores of the input's size."""
    w = Weights()
    nodes = conv(w, "x", "conv1", (2, 6))
    nodes.append(helper.make_node("Relu", ["conv1"], ["relu1"]))
    nodes += conv(w, "relu1", "y", (6, 3), kernel=1)
    return model_bytes(nodes, {"x": [batch, 2, 6, 7]}, {"y": [batch, 3, 6, 7]}, w)


def mixer() -> bytes:
    """Adds the mean over the pictures of the batch."""
    w = Weights()
    nodes = conv(w, "x", "conv1", (2, 4))
    nodes.append(helper.make_node("Relu", ["conv1"], ["relu1"]))
    nodes.append(helper.make_node("ReduceMean", ["relu1"], ["mean"], axes=[0], keepdims=1))
    nodes.append(helper.make_node("Add", ["relu1", "mean"], ["mixed"]))
    nodes += conv(w, "mixed", "conv2", (4, 3))
    nodes.append(helper.make_node("GlobalAveragePool", ["conv2"], ["gap"]))
    nodes.append(helper.make_node("Flatten", ["gap"], ["y"]))
    return model_bytes(nodes, {"x": ["N", 2, 5, 5]}, {"y": ["N", 3]}, w)


def two_inputs() -> bytes:
    """A picture and a vector that scales its channels."""
    w = Weights()
    nodes = conv(w, "image", "conv1", (2, 4))
    nodes.append(helper.make_node("Relu", ["conv1"], ["relu1"]))
    w.add("mix.weight", 4, 3)
    w["axes"] = np.array([2, 3])
    nodes.append(helper.make_node("Gemm", ["vector", "mix.weight"], ["mixed"], transB=1))
    nodes.append(helper.make_node("Unsqueeze", ["mixed", "axes"], ["scale"]))
    nodes.append(helper.make_node("Mul", ["relu1", "scale"], ["scaled"]))
    nodes += conv(w, "scaled", "conv2", (4, 3))
    nodes.append(helper.make_node("GlobalAveragePool", ["conv2"], ["gap"]))
    nodes.append(helper.make_node("Flatten", ["gap"], ["y"]))
    return model_bytes(nodes, {"image": ["N", 2, 6, 5], "vector": ["N", 3]}, {"y": ["N", 3]}, w)


def two_outputs() -> bytes:
    """A trunk with two heads of different width."""
    w = Weights()
    nodes = conv(w, "x", "conv1", (2, 4))
    nodes.append(helper.make_node("Relu", ["conv1"], ["relu1"]))
    nodes.append(helper.make_node("GlobalAveragePool", ["relu1"], ["gap"]))
    nodes.append(helper.make_node("Flatten", ["gap"], ["features"]))
    w.add("a.weight", 3, 4)
    w.add("b.weight", 2, 4)
    nodes.append(helper.make_node("Gemm", ["features", "a.weight"], ["a"], transB=1))
    nodes.append(helper.make_node("Gemm", ["features", "b.weight"], ["b"], transB=1))
    return model_bytes(nodes, {"x": ["N", 2, 6, 5]}, {"a": ["N", 3], "b": ["N", 2]}, w)


def layer_norm(weights: Weights, x: str, y: str, channels: int) -> list[onnx.NodeProto]:
    """Normalisation over the last axis, composed of elementary operators; the last one bears the name of the module."""
    weights["epsilon"] = np.float32(1e-5)
    gamma, beta = weights.add(f"{y}.weight", channels), weights.add(f"{y}.bias", channels)
    weights[gamma] = weights[gamma] + 1
    parts = [f"{y}.{part}" for part in ("mean", "centred", "square", "variance", "safe", "deviation", "unit", "scaled")]
    mean, centred, square, variance, safe, deviation, unit, scaled = parts
    return [
        helper.make_node("ReduceMean", [x], [mean], axes=[-1]),
        helper.make_node("Sub", [x, mean], [centred]),
        helper.make_node("Mul", [centred, centred], [square]),
        helper.make_node("ReduceMean", [square], [variance], axes=[-1]),
        helper.make_node("Add", [variance, "epsilon"], [safe]),
        helper.make_node("Sqrt", [safe], [deviation]),
        helper.make_node("Div", [centred, deviation], [unit]),
        helper.make_node("Mul", [unit, gamma], [scaled]),
        helper.make_node("Add", [scaled, beta], [y], name=f"/{y.replace('.', '/')}/Add"),
    ]


def _linear(weights: Weights, x: str, y: str, channels: tuple[int, int]) -> list[onnx.NodeProto]:
    names = weights.add(f"{y}.weight", *channels), weights.add(f"{y}.bias", channels[1])
    return [helper.make_node("MatMul", [x, names[0]], [f"{y}.product"]), helper.make_node("Add", [f"{y}.product", names[1]], [y])]


def _written_residual(w: Weights, b: str, prefix: int, count: int, size: int) -> list[onnx.NodeProto]:
    """Convolved queries added to what attention mixed, behind the prefix and in place, as PyTorch's dynamo exporter writes it."""
    w["behind"], w["end"], w["axis2"] = np.array([prefix]), np.array([count]), np.array([2])
    w["places of tokens"] = np.arange(prefix, count)[:, None]
    w["apart"], w["together"] = np.array([-1, size, count]), np.array([1, -1, size, count])
    nodes = [
        helper.make_node("Transpose", [f"{b}.q"], [f"{b}.q.turned"], perm=[0, 1, 3, 2]),
        helper.make_node("Reshape", [f"{b}.q.turned", "apart"], [f"{b}.q.apart"]),
        helper.make_node("Conv", [f"{b}.q.apart", w.add(f"{b}.pool.weight", size, size, 1)], [f"{b}.q.pooled"]),
        helper.make_node("Reshape", [f"{b}.q.pooled", "together"], [f"{b}.q.together"]),
        helper.make_node("Transpose", [f"{b}.q.together"], [f"{b}.q.last"], perm=[0, 1, 3, 2]),
    ]
    nodes += layer_norm(w, f"{b}.q.last", f"{b}.queries", size)
    for name in ("mixed", "queries"):
        nodes.append(helper.make_node("Slice", [f"{b}.{name}", "behind", "end", "axis2"], [f"{b}.{name}.behind"]))
    nodes += [
        helper.make_node("Add", [f"{b}.mixed.behind", f"{b}.queries.behind"], [f"{b}.residual"]),
        helper.make_node("Transpose", [f"{b}.mixed"], [f"{b}.mixed.turned"], perm=[2, 1, 0, 3]),
        helper.make_node("Transpose", [f"{b}.residual"], [f"{b}.residual.turned"], perm=[2, 1, 0, 3]),
        helper.make_node("ScatterND", [f"{b}.mixed.turned", "places of tokens", f"{b}.residual.turned"], [f"{b}.written.turned"]),
        helper.make_node("Transpose", [f"{b}.written.turned"], [f"{b}.written"], perm=[2, 1, 0, 3]),
    ]
    return nodes


def vit(
    prefix: int = 1,
    grid: tuple[int, ...] = (2, 3),
    pool: bool = False,
    blocks: int = 2,
    width: int = 8,
    heads: int = 2,
    residual: bool = False,
) -> bytes:
    """Vision transformer for pictures (N, 2, 4 rows, 4 columns) or volumes: patch convolution, class token or mean of all tokens."""
    w, count = Weights(), int(np.prod(grid)) + prefix
    kernel = (4,) * len(grid)
    patches = [w.add("patches.weight", width, 2, *kernel), w.add("patches.bias", width)]
    w["flat"], w["split"], w["joined"] = (np.array(n) for n in ([0, width, -1], [0, count, 3, heads, width // heads], [0, count, width]))
    nodes = [helper.make_node("Conv", ["x", *patches], ["patches"], strides=kernel)]
    nodes.append(helper.make_node("Reshape", ["patches", "flat"], ["patches.flat"]))
    nodes.append(helper.make_node("Transpose", ["patches.flat"], ["patches.tokens"], perm=[0, 2, 1]))
    tokens = "patches.tokens"
    if prefix:
        w["class"] = normal((1, prefix, width), 77)
        nodes.append(helper.make_node("Concat", ["class", tokens], ["all"], axis=1))
        tokens = "all"
    w["places"] = 0.3 * normal((1, count, width), 78)
    nodes.append(helper.make_node("Add", [tokens, "places"], ["embedded"]))
    tokens = "embedded"
    w["scale"] = np.float32(1 / np.sqrt(width // heads))
    for i in range(blocks):
        b = f"blocks.{i}"
        nodes += layer_norm(w, tokens, f"{b}.norm1", width)
        nodes += _linear(w, f"{b}.norm1", f"{b}.qkv", (width, 3 * width))
        nodes.append(helper.make_node("Reshape", [f"{b}.qkv", "split"], [f"{b}.split"]))
        nodes.append(helper.make_node("Transpose", [f"{b}.split"], [f"{b}.parts"], perm=[2, 0, 3, 1, 4]))
        for part, name in enumerate("qkv"):
            w[f"part{part}"] = np.array(part)
            nodes.append(helper.make_node("Gather", [f"{b}.parts", f"part{part}"], [f"{b}.{name}"], axis=0))
        nodes.append(helper.make_node("Transpose", [f"{b}.k"], [f"{b}.kt"], perm=[0, 1, 3, 2]))
        nodes.append(helper.make_node("MatMul", [f"{b}.q", f"{b}.kt"], [f"{b}.products"]))
        nodes.append(helper.make_node("Mul", [f"{b}.products", "scale"], [f"{b}.scaled"]))
        nodes.append(helper.make_node("Softmax", [f"{b}.scaled"], [f"{b}.attention"], axis=-1))
        nodes.append(helper.make_node("MatMul", [f"{b}.attention", f"{b}.v"], [f"{b}.mixed"]))
        if residual:
            nodes += _written_residual(w, b, prefix, count, width // heads)
        nodes.append(helper.make_node("Transpose", [f"{b}.{'written' if residual else 'mixed'}"], [f"{b}.turned"], perm=[0, 2, 1, 3]))
        nodes.append(helper.make_node("Reshape", [f"{b}.turned", "joined"], [f"{b}.heads"]))
        nodes += _linear(w, f"{b}.heads", f"{b}.proj", (width, width))
        nodes.append(helper.make_node("Add", [tokens, f"{b}.proj"], [f"{b}.sum"], name=f"/blocks/blocks.{i}/Add"))
        nodes += layer_norm(w, f"{b}.sum", f"{b}.norm2", width)
        nodes += _linear(w, f"{b}.norm2", f"{b}.hidden", (width, 2 * width))
        nodes.append(helper.make_node("Tanh", [f"{b}.hidden"], [f"{b}.active"]))
        nodes += _linear(w, f"{b}.active", f"{b}.mlp", (2 * width, width))
        nodes.append(helper.make_node("Add", [f"{b}.sum", f"{b}.mlp"], [f"{b}.out"], name=f"/blocks/blocks.{i}/Add_1"))
        tokens = f"{b}.out"
    nodes += layer_norm(w, tokens, "norm", width)
    w["first"] = np.array(0)
    if pool:
        nodes.append(helper.make_node("ReduceMean", ["norm"], ["features"], axes=[1], keepdims=0))
    else:
        nodes.append(helper.make_node("Gather", ["norm", "first"], ["features"], axis=1))
    nodes.append(helper.make_node("MatMul", ["features", w.add("head", width, 3)], ["y"]))
    return model_bytes(nodes, {"x": [1 if residual else "N", 2, *(4 * n for n in grid)]}, {"y": ["N", 3]}, w)


def conv_net(axes: int) -> bytes:
    """Convolution, ReLU, the mean over all positions and a linear layer: for signals (1), pictures (2) or volumes (3)."""
    w = Weights()
    nodes = [
        helper.make_node("Conv", ["x", w.add("w", 6, 2, *(3,) * axes)], ["conv"], pads=[1] * 2 * axes),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("GlobalAveragePool", ["relu"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("MatMul", ["features", w.add("fc", 6, 3)], ["y"]),
    ]
    return model_bytes(nodes, {"x": ["N", 2, *SIZES[axes]]}, {"y": ["N", 3]}, w)


SIZES = {1: (40,), 2: (12, 10), 3: (4, 12, 10)}
"""Sizes of the input of `conv_net`."""
