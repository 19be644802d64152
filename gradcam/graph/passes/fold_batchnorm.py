"""Fold batch normalisation with constant parameters into the convolution before it."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.cache import Cache
from gradcam.graph.ir import Graph, Node, Value

__all__ = ["FoldCache", "fold_batchnorm"]

FoldCache = Cache[tuple[Value, Value, list[Value]]]
"""Folded weight and bias by the identity of the arrays they came from, so that all graphs of a model share them.

The values they came from are kept too: an identity is good only while its array lives.
"""


def fold_batchnorm(graph: Graph, keep: Collection[Value] = (), cache: FoldCache | None = None) -> Graph:
    """Return the graph with each `BatchNorm(Conv(x))` as one convolution with scaled weights.

    Parameters
    ----------
    keep : collection of Value
        Values that must still be computed (the layers asked for); outputs of the graph are kept anyway.
    cache : FoldCache, optional
        Folded parameters of earlier calls on graphs of the same model.
    """
    cache = FoldCache(1) if cache is None else cache
    producers, consumers = graph.producers(), graph.consumers()
    kept = set(keep) | set(graph.outputs)
    replaced: dict[Node, Node | None] = {}
    for node in graph.nodes:
        if node.op != "BatchNorm":
            continue
        x, *parameters = node.inputs
        conv = producers.get(x) if x is not None else None
        if conv is None or conv.op != "Conv" or x in kept or len(consumers[x]) != 1:  # type: ignore[index]
            continue
        values = [v for v in (*conv.inputs[1:], *parameters) if v is not None]
        if any(v.data is None for v in values):
            continue
        weight, bias, _ = cache.get((*(id(v.data) for v in values), node.attrs["epsilon"]), partial(_folded, conv, node, values))
        replaced[conv] = None
        replaced[node] = Node("Conv", (conv.inputs[0], weight, bias), node.outputs, conv.attrs)
    nodes = [new for new in (replaced.get(n, n) for n in graph.nodes) if new is not None]
    return Graph(list(graph.inputs), list(graph.outputs), nodes)


def _folded(conv: Node, norm: Node, sources: list[Value]) -> tuple[Value, Value, list[Value]]:
    """Scale w by gamma / sqrt(var + epsilon); the bias moves with it. Computed in float64, rounded once."""
    w, b = conv.inputs[1], conv.inputs[2]
    assert w is not None
    assert w.data is not None
    gamma, beta, mean, var = (np.asarray(v.data, np.float64) for v in norm.inputs[1:] if v is not None)
    scale = gamma / np.sqrt(var + norm.attrs["epsilon"])
    bias: NDArray[Any] = np.zeros_like(scale) if b is None else np.asarray(b.data, np.float64)
    weight = w.data.astype(np.float64) * scale.reshape(-1, *(1,) * (w.data.ndim - 1))
    shift = beta + (bias - mean) * scale
    name = norm.outputs[0].name
    return (
        Value(f"{name}.weight", w.shape, w.dtype, weight.astype(w.dtype)),
        Value(f"{name}.bias", shift.shape, w.dtype, shift.astype(w.dtype)),
        sources,
    )
