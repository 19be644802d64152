"""Compute once what is computed twice (common-subexpression elimination)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from gradcam.graph.ir import Graph, Node, Value

__all__ = ["share"]

SMALL_BYTES = 1 << 12
"""Constants up to this size are compared by content, larger ones by where they lie."""


def share(graph: Graph) -> Graph:
    """Return the graph with one node for all that apply the same operator with the same attributes to the same values.

    A result of the graph that is another value becomes a reshape of it, which costs no computation.
    """
    outputs, same, first = set(graph.outputs), dict[Value, Value](), dict[Hashable, Node]()
    nodes = []
    for node in graph.nodes:
        inputs = tuple(None if v is None else same.get(v, v) for v in node.inputs)
        key = _key(node, inputs)
        known = None if key is None else first.setdefault(key, node)
        if known is None or known is node:
            nodes.append(node if inputs == node.inputs else Node(node.op, inputs, node.outputs, node.attrs))
            continue
        for value, other in zip(node.outputs, known.outputs, strict=True):
            same[value] = other
            if value in outputs:
                nodes.append(Node("Reshape", (other,), (value,), {"shape": value.shape}))
    return Graph(list(graph.inputs), list(graph.outputs), nodes)


def _key(node: Node, inputs: tuple[Value | None, ...]) -> Hashable | None:
    """What two nodes have in common exactly if their results are equal; None if that is not known."""
    try:
        attrs = tuple((name, _frozen(node.attrs[name])) for name in sorted(node.attrs))
        hash(attrs)
    except TypeError:
        return None
    types = tuple((v.shape, v.dtype.str) for v in node.outputs)
    return node.op, attrs, types, tuple(_identity(v) for v in inputs)


def _identity(value: Value | None) -> Hashable:
    if value is None or value.data is None:
        return value
    data = value.data
    content = data.tobytes() if data.nbytes <= SMALL_BYTES else (data.__array_interface__["data"][0], data.strides)
    return value.shape, value.dtype.str, content


def _frozen(attribute: Any) -> Hashable:
    """An attribute such that equal means the same bits: 0.0 is not -0.0, and NaN is itself."""
    if isinstance(attribute, (float, np.floating)):
        return float(attribute).hex()
    if isinstance(attribute, (tuple, list)):
        return tuple(map(_frozen, attribute))
    if isinstance(attribute, np.ndarray):
        return attribute.shape, attribute.dtype.str, attribute.tobytes()
    found: Hashable = attribute
    return found
