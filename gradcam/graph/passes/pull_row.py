"""Compute only the token that the score reads."""

from __future__ import annotations

from collections.abc import Collection
from math import prod
from typing import Any

import numpy as np

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Graph, Node, Value
from gradcam.ops.unary import UNARY

__all__ = ["pull_row"]

_BINARY = ("Add", "Sub", "Mul", "Div")


def pull_row(graph: Graph, real: np.dtype[Any], keep: Collection[Value] = ()) -> Graph:
    """Return the graph with each `Gather` of one constant position taken before the products whose rows are independent.

    A head on a class token reads one row of the last block: its linear layers, and the queries of its attention, are
    then computed for this row alone, and so is their gradient. What must still be computed whole, the values of `keep`
    that do not come from the row, is not looked behind.
    """
    g = Builder(real, Graph(list(graph.inputs), list(graph.outputs), []))
    producers = graph.producers()
    for node in graph.nodes:
        size = len(g.graph.nodes)
        row = _gathered(g, node, graph, producers, keep)
        if row is None or not any(n.op == "MatMul" for n in g.graph.nodes[size:]):
            del g.graph.nodes[size:]
            g.graph.nodes.append(node)
        else:
            g.graph.nodes.append(Node("Reshape", (row,), node.outputs, {"shape": node.outputs[0].shape}))
    return g.graph


def _gathered(g: Builder, node: Node, graph: Graph, producers: dict[Value, Node], keep: Collection[Value]) -> Value | None:
    if node.op != "Gather" or node.attrs.get("batch_axes", 0) or node.outputs[0].data is not None:
        return None
    x, index, axis = node.input(0), node.input(1).data, node.attrs["axis"]
    if index is None or index.size != 1 or x.shape[axis] < 2 or not 0 <= int(index.reshape(())) < x.shape[axis]:
        return None
    keep = [value for value in keep if node.outputs[0] not in graph.upstream([value])]
    size = len(g.graph.nodes)
    first = _Row(g, producers, frozenset(keep), int(index.reshape(())))
    first.of(x, axis)
    del g.graph.nodes[size:]
    # What is computed whole all the same, as keys and values are, is not computed for one row too.
    whole = graph.upstream([*keep, *first.leaves])
    return _Row(g, producers, frozenset(whole), first.position).of(x, axis)


class _Row:
    """Emits what computes one position along an axis; the axis stays, with one step."""

    def __init__(self, g: Builder, producers: dict[Value, Node], keep: frozenset[Value], position: int) -> None:
        self.g, self.producers, self.keep, self.position = g, producers, keep, position
        self.found: dict[tuple[Value, int], Value] = {}
        self.leaves: list[Value] = []  # what is read whole

    def of(self, value: Value, axis: int) -> Value:
        if (value, axis) not in self.found:
            node = None if value in self.keep else self.producers.get(value)
            row = None if node is None else self._emitted(node, axis)
            self.found[value, axis] = self._slice(value, axis) if row is None else row
        return self.found[value, axis]

    def _slice(self, value: Value, axis: int) -> Value:
        self.leaves.append(value)
        return self.g.part(value, axis, self.position, 1)

    def _emitted(self, node: Node, axis: int) -> Value | None:
        """The row of a node's result from rows of its inputs, None if it takes more than those."""
        y, attrs = node.outputs[0], node.attrs
        if node.op in UNARY and len(node.inputs) == 1:
            return self.g.emit(node.op, self.of(node.input(0), axis), **attrs)
        if node.op in _BINARY:
            return self.g.emit(node.op, *(self._aligned(node.input(i), axis - len(y.shape)) for i in (0, 1)), **attrs)
        if node.op == "Transpose":
            return self.g.transpose(self.of(node.input(0), attrs["perm"][axis]), attrs["perm"])
        if (node.op == "Softmax" and attrs["axis"] != axis) or (node.op == "LayerNorm" and attrs["axis"] > axis):
            return self.g.emit(node.op, self.of(node.input(0), axis), *node.inputs[1:], **attrs)
        if node.op == "ReduceMean":
            left = [i for i in range(len(node.input(0).shape)) if i not in attrs["axes"]]
            return self.g.emit(node.op, self.of(node.input(0), left[axis]), **attrs)
        if node.op == "MatMul" and axis == len(y.shape) - 2 and not attrs["trans_a"] and len(node.input(0).shape) == len(y.shape):
            self.leaves.append(node.input(1))
            return self.g.emit(node.op, self.of(node.input(0), axis), node.input(1), **attrs)
        if node.op == "Reshape":
            return self._reshaped(node.input(0), y, axis)
        return None

    def _aligned(self, value: Value, right: int) -> Value:
        """Of an operand that is broadcast along the axis, all."""
        axis = right + len(value.shape)
        return value if axis < 0 or value.shape[axis] == 1 else self.of(value, axis)

    def _reshaped(self, x: Value, y: Value, axis: int) -> Value | None:
        """Where the axis is one of the other shape too."""
        before = prod(y.shape[:axis])
        for i, n in enumerate(x.shape):
            if n == y.shape[axis] and prod(x.shape[:i]) == before:
                return self.g.reshape(self.of(x, i), _one(y.shape, axis))
        return None


def _one(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], 1, *shape[axis + 1 :])
