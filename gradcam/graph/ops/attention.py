"""Attention and RotaryEmbedding: composed of products, sums and a softmax, and attention as one node."""

from __future__ import annotations

from functools import reduce
from math import prod, sqrt
from typing import TYPE_CHECKING

import numpy as np

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Node, Shape, Value
from gradcam.graph.onnx_form import Inputs, OnnxNode, Unsupported, onnx_form
from gradcam.graph.operators import operator
from gradcam.graph.ops.logic import as_real, negation
from gradcam.ops.attention import attention_attributes

if TYPE_CHECKING:
    from gradcam.graph.plan import PlanBuilder

_COMPARISONS = ("Less", "LessOrEqual", "Equal")
_OF_BOOLEANS = ("Mul", "Max", "Min", "Reshape", "Transpose", "Expand", "Slice", "Concat", "Gather")
"""Operators whose results are booleans where all real numbers that they read are."""


@operator("Attention")
class Attention:
    """softmax(scale q k' + bias) v of all heads, q, k, v, bias and the result read and written through strides.

    Made by the pass `fuse_attention`; attributes `batch`, `sizes`, `views` and `scale` as in `gradcam.ops.attention`.
    """

    @staticmethod
    def shape(node: Node) -> Shape:
        return (*node.attrs["batch"], node.attrs["sizes"][0], node.attrs["sizes"][3])

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        a = node.attrs
        rows, keys, width, result = a["sizes"]
        attributes = attention_attributes(a["batch"], a["sizes"], a["views"], a["scale"])
        p.step("attention_output", attributes, node.inputs, node.outputs, products=prod(a["batch"]) * rows * keys * (width + result))


def _is_boolean(g: Builder, value: Value) -> bool:
    """Whether a real number that is computed at run time stands for a boolean, which shows in how it is computed."""
    producers = g.graph.producers()

    def holds(v: Value) -> bool:
        node = producers.get(v)
        if v.data is not None or node is None:
            return v.dtype.kind == "b"
        if node.op in _COMPARISONS:
            return True
        inverted = node.op == "Affine" and (node.attrs["alpha"], node.attrs["beta"]) == (-1.0, 1.0)
        return (inverted or node.op in _OF_BOOLEANS) and all(map(holds, _real_inputs(node)))

    return holds(value)


def _real_inputs(node: Node) -> list[Value]:
    return [v for v in node.inputs if v is not None and (v.is_real or v.dtype.kind == "b")]


def _heads(node: OnnxNode, x: Value, attribute: str, g: Builder) -> Value:
    """Return (N, heads, positions, size) from that or from (N, positions, heads * size)."""
    if len(x.shape) == 4:
        return x
    heads = int(node.attrs.get(attribute, 0))
    if len(x.shape) != 3 or heads < 1 or x.shape[2] % heads:
        raise node.bad(f"expected an array of 4 axes, or of 3 axes and attribute '{attribute}' a divisor, got {x.shape} and {heads}")
    return g.transpose(g.reshape(x, (*x.shape[:2], heads, x.shape[2] // heads)), (0, 2, 1, 3))


def _repeated(node: OnnxNode, x: Value, heads: int, g: Builder) -> Value:
    """Repeat each head of keys or values for a group of queries."""
    n, own, positions, size = x.shape
    if heads % own:
        raise node.bad(f"{heads} heads of queries do not share {own} of keys and values evenly")
    spread = g.expand(g.reshape(x, (n, own, 1, positions, size)), (n, own, heads // own, positions, size))
    return x if heads == own else g.reshape(spread, (n, heads, positions, size))


def _closed(g: Builder, allowed: Value) -> Value:
    """0 where it is 1, minus infinity where it is 0."""
    return g.emit("Keep", g.constant(-np.inf), negation(g, allowed))


def _mask(node: OnnxNode, mask: Value, keys: int, g: Builder) -> Value:
    """Return what a mask adds to the scores; keys that it does not reach are masked."""
    more = keys - mask.shape[-1] if mask.shape else 0
    if not mask.shape or len(mask.shape) > 4 or more < 0:
        raise node.bad(f"expected a mask of 1 to 4 axes for {keys} keys, got shape {mask.shape}")
    boolean = mask.dtype.kind == "b" if mask.data is not None else _is_boolean(g, mask)
    mask = as_real(g, mask)
    if more:
        zeros = (0,) * (len(mask.shape) - 1)
        mask = g.emit("Pad", mask, lo=(*zeros, 0), hi=(*zeros, more), value=0.0 if boolean else -np.inf)
    return _closed(g, mask) if boolean else mask


def _bias(node: OnnxNode, inputs: Inputs, queries: int, keys: int, g: Builder) -> Value | None:
    """What is added to the scores: the mask, and minus infinity where order, window or length do not allow a key."""
    mask, past, lengths = (node.optional(inputs, i) for i in (3, 4, 6))
    parts = [] if mask is None else [_mask(node, mask, keys, g)]
    ahead = np.arange(keys, dtype=float) - np.arange(queries, dtype=float)[:, None]  # key behind query, before the offset
    offset = g.constant(0.0 if past is None else float(past.shape[2]))
    if lengths is not None:
        lengths = g.reshape(as_real(g, lengths), (lengths.size, 1, 1, 1))
        offset = g.sub(lengths, g.constant(float(queries))) if past is None else offset
        parts.append(_closed(g, g.emit("Less", g.constant(np.arange(keys, dtype=float)), lengths)))
    left, right = (int(node.attrs.get(f"{side}_window_size", -1)) for side in ("left", "right"))
    if node.attrs.get("is_causal", 0):
        parts.append(_closed(g, g.emit("LessOrEqual", g.constant(ahead), offset)))
    if right >= 0:
        parts.append(_closed(g, g.emit("LessOrEqual", g.constant(ahead - right), offset)))
    if left >= 0:
        parts.append(_closed(g, g.emit("LessOrEqual", offset, g.constant(ahead + left))))
    return reduce(g.add, parts) if parts else None


def _weights(g: Builder, scores: Value, bias: Value | None) -> Value:
    """Softmax over the keys; a query that may read no key reads nothing, and its gradient is 0."""
    if bias is None:
        return g.emit("Softmax", scores, axis=3)
    is_open = g.emit("Less", g.constant(-np.inf), g.reduce("ReduceMax", bias, (len(bias.shape) - 1,), True))
    if is_open.data is not None and is_open.data.all():
        return g.emit("Softmax", scores, axis=3)
    return g.emit("Keep", g.emit("Softmax", g.emit("Keep", scores, is_open), axis=3), is_open)


@onnx_form("Attention")
def attention(node: OnnxNode, inputs: Inputs, g: Builder) -> list[Value]:
    """softmax(scale q k' + bias) v for each head; heads of queries may share those of keys and values."""
    q, k, v = (_heads(node, node.required(inputs, i), f"{'q' if i == 0 else 'kv'}_num_heads", g) for i in range(3))
    for past in (node.optional(inputs, i) for i in (4, 5)):
        if past is not None and (len(past.shape) != 4 or past.shape[:2] != k.shape[:2]):
            raise node.bad(f"expected past keys and values (N, heads, positions, size), got {past.shape}")
    if (past_k := node.optional(inputs, 4)) is not None:
        k, v = g.emit("Concat", past_k, k, axis=2), g.emit("Concat", node.required(inputs, 5), v, axis=2)
    if (k.shape[0], k.shape[3], v.shape[:3]) != (q.shape[0], q.shape[3], k.shape[:3]) or 0 in (*q.shape, *k.shape):
        raise node.bad(f"queries {q.shape}, keys {k.shape} and values {v.shape} do not fit together")
    heads, mode = q.shape[1], int(node.attrs.get("qk_matmul_output_mode", 0))
    scale, cap = float(node.attrs.get("scale", 0)) or 1 / sqrt(q.shape[3]), float(node.attrs.get("softcap", 0))
    if mode not in range(4):
        raise Unsupported(f"attribute 'qk_matmul_output_mode' = {mode}")
    scores = g.emit("MatMul", g.scale(q, scale), _repeated(node, k, heads, g), trans_a=False, trans_b=True)
    if cap > 0:
        scores = g.scale(g.emit("Tanh", g.scale(scores, 1 / cap), alpha=0.0, beta=0.0), cap)
    bias = _bias(node, inputs, q.shape[2], k.shape[2], g)
    biased = scores if bias is None else g.add(scores, bias)
    weights = _weights(g, biased, bias)
    y = g.emit("MatMul", weights, _repeated(node, v, heads, g), trans_a=False, trans_b=False)
    if len(node.required(inputs, 0).shape) == 3:
        y = g.reshape(g.transpose(y, (0, 2, 1, 3)), (y.shape[0], y.shape[2], heads * y.shape[3]))
    return [y, k, v, (scores, scores, biased, weights)[mode]]


@onnx_form("RotaryEmbedding")
def rotary_embedding(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Pairs of the first numbers of each head turned by the angle of their position (Su et al. 2021)."""
    x, caches, ids = node.required(inputs, 0), [node.required(inputs, i) for i in (1, 2)], node.optional(inputs, 3)
    rows = _heads(node, x, "num_heads", g)
    n, heads, positions, size = rows.shape
    turned = int(node.attrs.get("rotary_embedding_dim", 0)) or size
    half, interleaved = turned // 2, bool(node.attrs.get("interleaved", 0))
    if ids is not None:
        if any(len(cache.shape) != 2 for cache in caches):
            raise node.bad("expected caches (positions, pairs) beside position ids")
        caches = [g.emit("Gather", cache, ids, axis=0) for cache in caches]
    if turned % 2 or turned > size or any(cache.shape != (n, positions, half) for cache in caches):
        raise node.bad(f"expected cosines and sines of shape {(n, positions, half)}, got {[cache.shape for cache in caches]}")
    cosine, sine = (g.reshape(cache, (n, 1, positions, half)) for cache in caches)

    def part(start: int, step: int, count: int) -> Value:
        return g.emit("Slice", rows, starts=(0, 0, 0, start), steps=(1, 1, 1, step), sizes=(n, heads, positions, count))

    first, second = (part(0, 2, half), part(1, 2, half)) if interleaved else (part(0, 1, half), part(half, 1, half))
    real = g.sub(g.mul(first, cosine), g.mul(second, sine))
    imaginary = g.add(g.mul(first, sine), g.mul(second, cosine))
    if interleaved:
        pairs = [g.reshape(p, (n, heads, positions, half, 1)) for p in (real, imaginary)]
        y = g.reshape(g.emit("Concat", *pairs, axis=4), (n, heads, positions, turned))
    else:
        y = g.emit("Concat", real, imaginary, axis=3)
    if turned < size:
        y = g.emit("Concat", y, part(turned, 1, size - turned), axis=3)
    return y if len(x.shape) == 4 else g.reshape(g.transpose(y, (0, 2, 1, 3)), x.shape)
