"""Where only the channel means of a gradient are wanted, compute them from what the gradient would be computed from."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Graph, Node, Value
from gradcam.graph.passes.layout import by_size
from gradcam.graph.passes.prune import prune
from gradcam.graph.passes.region import Region
from gradcam.ops.binary import padded_shape

__all__ = ["reduce_early"]

_Emit = Callable[[float], Value]
"""Emits the sum over a region, divided by a number; the summed axes stay, with one step."""


def reduce_early(graph: Graph, real: np.dtype[Any]) -> Graph:
    """Return the graph with the channel means of gradients taken before the last operators of the way back.

    A mean over positions passes through sums, through what moves elements, through the gradients of pools (each window
    gives all it has), and through factors that have no positions; of what was spread over positions it is what was
    spread. Of a matrix product it is the product with summed rows (or columns). The input gradient of a convolution
    summed over all positions is a contraction of its weights with sums of dy, that of a linear layer on flattened
    pictures a product with weights that are summed when the plan is made. Gradients that something else reads are left
    as they are.
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
            mean = self.mean(node) if node.op == "CamChannelMean" else None
            if mean is None:
                self.g.graph.nodes.append(node)
            else:
                self.g.graph.nodes.append(Node("Reshape", (mean,), node.outputs, {"shape": node.outputs[0].shape}))
        return self.g.graph

    def mean(self, node: Node) -> Value | None:
        """The mean of each channel, early if it can be had so."""
        x, channels = node.input(0), node.attrs["channel_axis"]
        positions = [i for i in range(1, len(x.shape)) if i != channels]
        found = self.find(x, Region.of(x.shape, positions), node)
        mean = None if found is None else found(prod(x.shape[i] for i in positions))
        return None if mean is None or mean.data is not None else mean

    def find(self, value: Value, region: Region, reader: Node) -> _Emit | None:
        """How the sum of a value that `reader` alone reads is had early; None if it is not."""
        node = self.producers.get(value)
        if node is None or not region.axes or node.op not in _RULES:
            return None
        if node.op != "Expand" and (self.consumers[value] != [reader] or value in self.graph.outputs):
            return None
        return _RULES[node.op](self, node, region)

    def total(self, value: Value, region: Region) -> _Emit:
        """The sum of a value as it stands."""

        def emit(divisor: float) -> Value:
            part = region.cut(self.g, value)
            axes = tuple(range(2, len(part.shape))) if region.is_spatial(part.shape) else tuple(sorted(region.axes))
            mean = self.g.reduce("ReduceMean", part, axes, keepdims=True)
            return self.g.scale(mean, prod(part.shape[i] for i in axes) / divisor)

        return emit

    def passed(self, value: Value, region: Region, reader: Node) -> _Emit:
        """The sum of a value, early if it can be had so."""
        return self.find(value, region, reader) or self.total(value, region)

    # Rules: how the sum of a node's output is had -------------------------------------------------------------------

    def add(self, node: Node, region: Region) -> _Emit | None:
        """The sum of both terms, if either is had early."""
        terms = node.input(0), node.input(1)
        if any(term.shape != node.outputs[0].shape for term in terms):
            return None
        early = [self.find(term, region, node) for term in terms]
        if early == [None, None]:
            return None
        first, second = (found or self.total(term, region) for found, term in zip(early, terms, strict=True))

        def emit(divisor: float) -> Value:
            a, b = first(divisor), second(divisor)
            return b if _is_zero(a) else a if _is_zero(b) else self.g.add(a, b)

        return emit

    def affine(self, node: Node, region: Region) -> _Emit | None:
        """A multiple, as the gradient of one is."""
        if node.op == "UnaryGrad" and node.attrs["function"] != "Affine" or node.op == "Affine" and node.attrs["beta"] != 0:
            return None
        found = self.find(node.input(len(node.inputs) - 1), region, node)
        return None if found is None else lambda divisor: self.g.scale(found(divisor), node.attrs["alpha"])

    def mul(self, node: Node, region: Region) -> _Emit | None:
        """Times a factor without positions."""
        x, factor = by_size(node)
        aligned = padded_shape(factor.shape, len(node.outputs[0].shape))
        if x.shape != node.outputs[0].shape or any(aligned[i] != 1 for i in region.axes):
            return None
        found = self.find(x, region, node)
        return None if found is None else lambda divisor: self.g.mul(found(divisor), self.g.reshape(factor, aligned))

    def expand(self, node: Node, region: Region) -> _Emit | None:
        """The same number at all positions."""
        x, shape = node.input(0), region.shape(node.outputs[0].shape)
        aligned = padded_shape(x.shape, len(shape))
        if x.data is not None or any(aligned[i] != 1 for i in region.axes):
            return None
        count = region.count(node.outputs[0].shape)
        return lambda divisor: self.g.scale(self.g.expand(self.g.reshape(x, aligned), shape), count / divisor)

    def reshape(self, node: Node, region: Region) -> _Emit | None:
        """The same elements, if they are whole axes of the other shape too."""
        x, y = node.input(0), node.outputs[0]
        before = region.reshaped(y.shape, x.shape)
        if before is None:
            return self.flattened(node, region)
        found = self.find(x, before, node)
        return None if found is None else lambda divisor: self.g.reshape(found(divisor), region.shape(y.shape))

    def flattened(self, node: Node, region: Region) -> _Emit | None:
        """Flattened pictures that come out of a product with constant weights: a product with their sums."""
        x, shape = node.input(0), node.outputs[0].shape
        product = self.producers.get(x)
        if product is None or product.op != "MatMul" or self.consumers[x] != [node] or x in self.graph.outputs:
            return None
        w, a = product.input(1), product.attrs
        if not region.is_spatial(shape) or x.shape != (shape[0], prod(shape[1:])):
            return None
        if w.data is None or len(w.shape) != 2 or a["trans_a"] or a["trans_b"]:
            return None

        def emit(divisor: float) -> Value:
            sums = self.g.emit("WeightSums", w, channels=shape[1])
            total = self.g.emit("MatMul", product.input(0), sums, trans_a=False, trans_b=False)
            return self.g.reshape(self.g.scale(total, 1 / divisor), region.shape(shape))

        return emit

    def transpose(self, node: Node, region: Region) -> _Emit | None:
        """The same axes in another order."""
        perm = node.attrs["perm"]
        found = self.find(node.input(0), region.on({y: x for y, x in enumerate(perm)}), node)
        return None if found is None else lambda divisor: self.g.transpose(found(divisor), perm)

    def slice_(self, node: Node, region: Region) -> _Emit | None:
        """Some of the positions, and of the sums of all that is cut off along other axes."""
        x, a = node.input(0), node.attrs
        before = region.sliced(x.shape, a["starts"], a["steps"], a["sizes"])
        found = None if before is None else self.find(x, before, node)
        if found is None:
            return None
        sizes = region.shape(node.outputs[0].shape)
        if sizes == region.shape(x.shape) and all(step > 0 for step in a["steps"]):
            return found
        attrs = region.outside(starts=a["starts"], steps=a["steps"], sizes=sizes)
        return lambda divisor: self.g.emit("Slice", found(divisor), **attrs)

    def placed(self, node: Node, region: Region) -> _Emit | None:
        """What was placed among zeros: those of its positions that lie in the region."""
        x, shape = node.input(0), region.shape(node.outputs[0].shape)
        attrs = {name: node.attrs[name] for name in ("starts", "steps", "sizes")}
        before = region.placed(x.shape, attrs["starts"], attrs["steps"])
        if before is None:
            return None
        if before.is_empty:
            return lambda divisor: self.g.constant(np.zeros(shape))
        found = self.find(x, before, node) if before.axes else self.total(x, before)
        if found is None:
            return None
        attrs = region.outside(**attrs)
        return lambda divisor: self.g.emit("SliceGrad", found(divisor), input_shape=shape, **attrs)

    def gathered(self, node: Node, region: Region) -> _Emit | None:
        """Parts along another axis, added into zeros."""
        dy, index, axis = node.input(0), node.input(1), node.attrs["axis"]
        if node.attrs.get("batch_axes", 0) or axis in region.axes:
            return None
        more = len(index.shape) - 1
        found = self.find(dy, region.on({i: i if i < axis else i + more for i in region.axes}), node)
        attrs = {**node.attrs, "input_shape": region.shape(node.outputs[0].shape)}
        return None if found is None else lambda divisor: self.g.emit("GatherGrad", found(divisor), index, **attrs)

    def product(self, node: Node, region: Region) -> _Emit | None:
        """A product with summed rows of one factor and columns of the other; of axes that both have, the sum comes after."""
        rank = len(node.outputs[0].shape)
        rows, columns = rank - 2, rank - 1
        flip_a, flip_b = node.attrs["trans_a"], node.attrs["trans_b"]
        places = {rows: columns if flip_a else rows}, {columns: rows if flip_b else columns}
        shapes = [padded_shape(v.shape, rank) for v in (node.input(0), node.input(1))]
        for own, other in ((0, 1), (1, 0)):
            places[own].update({i: i for i in range(rows) if shapes[other][i] == 1})
        late = region.only(region.axes - places[0].keys() - places[1].keys())
        if late.axes == region.axes:
            return None
        factors = []
        for i, place in enumerate(places):
            factor = node.input(i)
            part = region.only(place.keys()).on({y: x - rank + len(factor.shape) for y, x in place.items()})
            factors.append(self.passed(factor, part, node) if part.axes else self.total(factor, part))

        def emit(divisor: float) -> Value:
            product = self.g.emit("MatMul", factors[0](1.0), factors[1](1.0), **node.attrs)
            return self.total(product, late)(divisor)

        return emit

    def max_pool(self, node: Node, region: Region) -> _Emit | None:
        """Each window gives its gradient to one input."""
        return self.pooled(node, node.input(1), region)

    def average_pool(self, node: Node, region: Region) -> _Emit | None:
        """Each window shares its gradient out, unless a part falls on padding."""
        padded = any((*node.attrs["pad_lo"], *node.attrs["pad_hi"])) or node.attrs["ceil_mode"]
        return None if node.attrs["count_include_pad"] and padded else self.pooled(node, node.input(0), region)

    def pooled(self, node: Node, dy: Value, region: Region) -> _Emit | None:
        """The sum of what the windows give."""
        if not region.is_spatial(node.outputs[0].shape) or not _windows_have_cells(node, dy):
            return None
        return self.passed(dy, Region.of(dy.shape, range(2, len(dy.shape))), node)

    def convolution(self, node: Node, region: Region) -> _Emit | None:
        """Weights contracted with sums over the outputs that each tap serves."""
        dy, w, shape = node.input(0), node.input(1), node.outputs[0].shape
        if not region.is_spatial(shape):
            return None
        attrs = {**node.attrs, "weight_shape": w.shape}

        def emit(divisor: float) -> Value:
            sums = self.g.emit("TapProduct", self.g.emit("TapSums", dy, **attrs), w, divisor=float(divisor), **attrs)
            return self.g.reshape(sums, region.shape(shape))

        return emit


_RULES: dict[str, Callable[[_Early, Node, Region], _Emit | None]] = {
    "Add": _Early.add,
    "Affine": _Early.affine,
    "UnaryGrad": _Early.affine,
    "Mul": _Early.mul,
    "Expand": _Early.expand,
    "Reshape": _Early.reshape,
    "Transpose": _Early.transpose,
    "Slice": _Early.slice_,
    "SliceGrad": _Early.placed,
    "GatherGrad": _Early.gathered,
    "MatMul": _Early.product,
    "MaxPoolGrad": _Early.max_pool,
    "AveragePoolGrad": _Early.average_pool,
    "ConvInputGrad": _Early.convolution,
}


def _is_zero(value: Value) -> bool:
    return value.data is not None and not value.data.any()


def _windows_have_cells(node: Node, dy: Value) -> bool:
    """Whether every window of a pool holds a cell of the input."""
    a, inputs = node.attrs, node.outputs[0].shape[2:]
    axes = zip(inputs, dy.shape[2:], a["kernel"], a["stride"], a["pad_lo"], a["dilation"], strict=True)
    return all(any(0 <= o * s - lo + t * d < n for t in range(k)) for n, out, k, s, lo, d in axes for o in range(out))
