"""Normalisations over axes of one array, composed of sums, products and roots: gradients come from those."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Shape, Value
from gradcam.graph.onnx_form import Inputs, OnnxNode, onnx_form


def _inverse_root(g: Builder, square: Value, epsilon: float) -> Value:
    """1 / sqrt(square + epsilon)."""
    return g.unary("Reciprocal", g.unary("Sqrt", g.unary("Affine", square, 1.0, epsilon)))


def _centred(g: Builder, x: Value, axes: Sequence[int]) -> tuple[Value, Value, Value]:
    """Return x without its mean, the mean, and the variance as the mean of squared deviations; reduced axes are kept."""
    mean = g.reduce("ReduceMean", x, axes, True)
    deviation = g.sub(x, mean)
    return deviation, mean, g.reduce("ReduceMean", g.mul(deviation, deviation), axes, True)


def _epsilon(node: OnnxNode) -> float:
    return float(node.attrs.get("epsilon", 1e-5))


def _fits(node: OnnxNode, value: Value, shape: Shape) -> Value:
    """Check that a parameter can be broadcast to the array it is multiplied with."""
    rank = len(value.shape)
    if rank > len(shape) or any(n not in (1, m) for n, m in zip(value.shape, shape[len(shape) - rank :], strict=True)):
        raise node.bad(f"parameters of shape {value.shape} do not fit {shape}")
    return value


def _per_channel(node: OnnxNode, inputs: Inputs, index: int, count: int, rank: int, g: Builder) -> Value:
    """Return the parameters of axis 1 in a shape that broadcasts with an array of `rank` axes."""
    value = node.required(inputs, index)
    if value.shape != (count,):
        raise node.bad(f"expected parameters of shape {(count,)}, got {value.shape}")
    return g.reshape(value, (count,) + (1,) * (rank - 2))


def _channels(node: OnnxNode, inputs: Inputs, least: int = 2) -> Value:
    """Return an input (N, C, *S) of at least `least` axes."""
    x = node.required(inputs, 0)
    if len(x.shape) < least or 0 in x.shape[1:]:
        raise node.bad(f"expected an array (N, C, ...) of at least {least} axes, got {x.shape}")
    return x


@onnx_form("LayerNormalization")
def layer_normalization(node: OnnxNode, inputs: Inputs, g: Builder) -> list[Value]:
    """Over the axes from `axis` on (Ba et al. 2016); also hands out the means and the inverse standard deviations."""
    x, bias = node.required(inputs, 0), node.optional(inputs, 2)
    first = node.axis(int(node.attrs.get("axis", -1)), len(x.shape))
    deviation, mean, variance = _centred(g, x, range(first, len(x.shape)))
    inverse = _inverse_root(g, variance, _epsilon(node))
    y = g.mul(g.mul(deviation, inverse), _fits(node, node.required(inputs, 1), x.shape))
    return [y if bias is None else g.add(y, _fits(node, bias, x.shape)), mean, inverse]


@onnx_form("RMSNormalization")
def rms_normalization(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """As layer normalisation, with the root of the mean square and without the mean (Zhang and Sennrich 2019)."""
    x = node.required(inputs, 0)
    first = node.axis(int(node.attrs.get("axis", -1)), len(x.shape))
    square = g.reduce("ReduceMean", g.mul(x, x), range(first, len(x.shape)), True)
    return g.mul(g.mul(x, _inverse_root(g, square, _epsilon(node))), _fits(node, node.required(inputs, 1), x.shape))


@onnx_form("InstanceNormalization")
def instance_normalization(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Each channel of each picture over its positions (Ulyanov et al. 2016)."""
    x = _channels(node, inputs, 3)
    rank = len(x.shape)
    scale, bias = (_per_channel(node, inputs, i, x.shape[1], rank, g) for i in (1, 2))
    deviation, _, variance = _centred(g, x, range(2, rank))
    return g.add(g.mul(g.mul(deviation, _inverse_root(g, variance, _epsilon(node))), scale), bias)


@onnx_form("GroupNormalization")
def group_normalization(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Groups of channels (Wu and He 2018); scale and bias per group up to opset 20, per channel after."""
    x = _channels(node, inputs)
    groups, channels = int(node.attrs.get("num_groups", 0)), x.shape[1]
    if groups < 1 or channels % groups:
        raise node.bad(f"attribute 'num_groups': expected a divisor of {channels}, got {groups}")
    grouped = g.reshape(x, (x.shape[0], groups, prod(x.shape[1:]) // groups))
    deviation, _, variance = _centred(g, grouped, (2,))
    y = g.mul(deviation, _inverse_root(g, variance, _epsilon(node)))
    if node.opset >= 21:
        y = g.reshape(y, x.shape)
    scale, bias = (_per_channel(node, inputs, i, y.shape[1], len(y.shape), g) for i in (1, 2))
    return g.reshape(g.add(g.mul(y, scale), bias), x.shape)


@onnx_form("MeanVarianceNormalization")
def mean_variance_normalization(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Over `axes`, by default the pictures of the batch too; 1e-9 is added to the standard deviation."""
    x = node.required(inputs, 0)
    axes = sorted({node.axis(int(a), len(x.shape)) for a in node.attrs.get("axes", (0, 2, 3))})
    deviation, _, variance = _centred(g, x, axes)
    return g.emit("Div", deviation, g.unary("Affine", g.unary("Sqrt", variance), 1.0, 1e-9))


@onnx_form("LpNormalization")
def lp_normalization(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Divide by the sum of the magnitudes (p = 1) or the root of its square sum (p = 2); 0, with gradient 0, where that is 0."""
    x, p = node.required(inputs, 0), int(node.attrs.get("p", 2))
    axis = node.axis(int(node.attrs.get("axis", -1)), len(x.shape))
    if p not in (1, 2):
        raise node.bad(f"attribute 'p': expected 1 or 2, got {p}")
    total = g.sum(g.unary("Abs", x) if p == 1 else g.mul(x, x), (axis,), keepdims=True)
    norm = g.unary("Clip", total, float(np.finfo(g.real).tiny), np.inf)
    return g.emit("Div", g.mul(x, g.unary("Sign", total)), norm if p == 1 else g.unary("Sqrt", norm))


@onnx_form("LRN")
def local_response_normalization(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Return x / (bias + alpha / size * s)^beta, s the sum of squares over `size` channels around each (Krizhevsky et al. 2012).

    The sum is an average pooling along the channel axis.
    """
    x, size = _channels(node, inputs), int(node.attrs.get("size", 0))
    if size < 1:
        raise node.bad(f"attribute 'size': expected at least 1, got {size}")
    rows = g.reshape(g.mul(x, x), (x.shape[0], 1, x.shape[1], prod(x.shape[2:])))
    window = {"kernel": (size, 1), "stride": (1, 1), "pad_lo": ((size - 1) // 2, 0), "pad_hi": (size // 2, 0), "dilation": (1, 1)}
    mean = g.reshape(g.emit("AveragePool", rows, ceil_mode=False, count_include_pad=True, **window), x.shape)
    base = g.unary("Affine", mean, float(node.attrs.get("alpha", 1e-4)), float(node.attrs.get("bias", 1.0)))
    return g.emit("Div", x, g.emit("Pow", base, g.constant(float(node.attrs.get("beta", 0.75)))))
