"""Where only the channel means of a gradient are wanted, compute them from what the gradient would be computed from."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Graph, Node, Value
from gradcam.graph.passes.prune import prune

__all__ = ["reduce_early"]

_Emit = Callable[[float], Value]
"""Emits the sum over all positions, divided by a number: (N, C)."""


def reduce_early(graph: Graph, real: np.dtype[Any]) -> Graph:
    """Return the graph with the channel means of gradients taken before the last operators of the way back.

    A mean over positions passes through sums, through the gradients of pools (each window gives all it has), and through
    factors that have no positions; of what was spread over positions it is what was spread. The input gradient of a
    convolution summed over all positions is a contraction of its weights with sums of dy, that of a linear layer on
    flattened pictures a product with weights that are summed when the plan is made. Gradients that something else reads
    are left as they are.
    """
    if not any(node.op == "CamChannelMean" for node in graph.nodes):
        return graph
    return prune(_Early(graph, real).emit())


class _Early:
    def __init__(self, graph: Graph, real: np.dtype[Any]) -> None:
        self.graph, self.producers, self.consumers = graph, graph.producers(), graph.consumers()
        self.g = Builder(real, Graph(list(graph.inputs), list(graph.outputs), []))

    def emit(self) -> Graph:
        """Nodes in order, means that can be had earlier in place of those that were there."""
        for node in self.graph.nodes:
            found = self.find(node.input(0), node) if node.op == "CamChannelMean" and node.attrs["channel_axis"] == 1 else None
            if found is None:
                self.g.graph.nodes.append(node)
                continue
            mean = found(prod(node.input(0).shape[2:]))
            last = self.g.graph.nodes[-1]
            assert last.outputs == (mean,)
            last.outputs = node.outputs
        return self.g.graph

    def find(self, value: Value, reader: Node) -> _Emit | None:
        """How the sum of a value that `reader` alone reads is had early; None if it is not."""
        node = self.producers.get(value)
        if node is None or len(value.shape) < 3 or node.op not in _RULES:
            return None
        if node.op != "Expand" and (self.consumers[value] != [reader] or value in self.graph.outputs):
            return None
        return _RULES[node.op](self, node)

    def total(self, value: Value) -> _Emit:
        """The sum of a value as it stands."""
        positions = prod(value.shape[2:])

        def emit(divisor: float) -> Value:
            mean = self.g.emit("ReduceMean", value, axes=tuple(range(2, len(value.shape))))
            return self.g.scale(mean, positions / divisor)

        return emit

    def passed(self, value: Value, reader: Node) -> _Emit:
        """The sum of a value, early if it can be had so."""
        return self.find(value, reader) or self.total(value)

    # Rules: how the sum of a node's output is had -------------------------------------------------------------------

    def add(self, node: Node) -> _Emit | None:
        """The sum of both terms, if either is had early."""
        terms = node.input(0), node.input(1)
        if any(term.shape != node.outputs[0].shape or term.data is not None for term in terms):
            return None
        early = [self.find(term, node) for term in terms]
        if early == [None, None]:
            return None
        first, second = (found or self.total(term) for found, term in zip(early, terms, strict=True))
        return lambda divisor: self.g.add(first(divisor), second(divisor))

    def affine(self, node: Node) -> _Emit | None:
        """A multiple, as the gradient of one is."""
        if node.op == "UnaryGrad" and node.attrs["function"] != "Affine" or node.op == "Affine" and node.attrs["beta"] != 0:
            return None
        found = self.find(node.input(len(node.inputs) - 1), node)
        return None if found is None else lambda divisor: self.g.scale(found(divisor), node.attrs["alpha"])

    def mul(self, node: Node) -> _Emit | None:
        """Times one number per channel."""
        x, factor = node.input(0), node.input(1)
        x, factor = (factor, x) if factor.size > x.size else (x, factor)
        shape = node.outputs[0].shape
        found = self.find(x, node) if x.shape == shape and factor.shape == (*shape[:2], *(1,) * len(shape[2:])) else None
        return None if found is None else lambda divisor: self.g.mul(found(divisor), self.g.reshape(factor, shape[:2]))

    def max_pool(self, node: Node) -> _Emit | None:
        """Each window gives its gradient to one input."""
        return self.passed(node.input(1), node) if _windows_have_cells(node, node.input(1)) else None

    def average_pool(self, node: Node) -> _Emit | None:
        """Each window shares its gradient out, unless a part falls on padding."""
        padded = any((*node.attrs["pad_lo"], *node.attrs["pad_hi"])) or node.attrs["ceil_mode"]
        if node.attrs["count_include_pad"] and padded or not _windows_have_cells(node, node.input(0)):
            return None
        return self.passed(node.input(0), node)

    def expand(self, node: Node) -> _Emit | None:
        """The same number at all positions."""
        x, shape = node.input(0), node.outputs[0].shape
        if x.data is not None or x.shape != (*shape[:2], *(1,) * len(shape[2:])):
            return None
        return lambda divisor: self.g.scale(self.g.reshape(x, shape[:2]), prod(shape[2:]) / divisor)

    def convolution(self, node: Node) -> _Emit:
        """Weights contracted with sums over the outputs that each tap serves."""
        dy, w = node.input(0), node.input(1)
        attrs = {**node.attrs, "weight_shape": w.shape}

        def emit(divisor: float) -> Value:
            return self.g.emit("TapProduct", self.g.emit("TapSums", dy, **attrs), w, divisor=float(divisor), **attrs)

        return emit

    def linear(self, node: Node) -> _Emit | None:
        """Flattened rows that come out of a product with constant weights: a product with their sums."""
        x, (n, c, *space) = node.input(0), node.outputs[0].shape
        product = self.producers.get(x)
        if product is None or product.op != "MatMul" or self.consumers[x] != [node] or x in self.graph.outputs:
            return None
        w, a = product.input(1), product.attrs
        if x.shape != (n, c * prod(space)) or w.data is None or len(w.shape) != 2 or a["trans_a"] or a["trans_b"]:
            return None

        def emit(divisor: float) -> Value:
            total = self.g.emit("MatMul", product.input(0), self.g.emit("WeightSums", w, channels=c), trans_a=False, trans_b=False)
            return self.g.scale(total, 1 / divisor)

        return emit


_RULES: dict[str, Callable[[_Early, Node], _Emit | None]] = {
    "Add": _Early.add,
    "Affine": _Early.affine,
    "UnaryGrad": _Early.affine,
    "Mul": _Early.mul,
    "MaxPoolGrad": _Early.max_pool,
    "AveragePoolGrad": _Early.average_pool,
    "Expand": _Early.expand,
    "ConvInputGrad": _Early.convolution,
    "Reshape": _Early.linear,
}


def _windows_have_cells(node: Node, dy: Value) -> bool:
    """Whether every window of a pool holds a cell of the input."""
    a, inputs = node.attrs, node.outputs[0].shape[2:]
    axes = zip(inputs, dy.shape[2:], a["kernel"], a["stride"], a["pad_lo"], a["dilation"], strict=True)
    return all(any(0 <= o * s - lo + t * d < n for t in range(k)) for n, out, k, s, lo, d in axes for o in range(out))
