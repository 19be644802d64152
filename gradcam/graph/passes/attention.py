"""Scaled dot-product attention that files hold in parts, as one node that reads heads where they lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gradcam.graph.ir import Graph, Node, Shape, Value
from gradcam.graph.passes.gates import with_scalar
from gradcam.graph.passes.prune import prune
from gradcam.ops.attention import RANK, View

__all__ = ["fuse_attention"]


def fuse_attention(graph: Graph) -> Graph:
    """Return the graph with each softmax(scale q k' + bias) v of float32 as one `Attention` node.

    Only where nothing else reads scores and weights: those that are asked for, or that a gradient needs, stay as they
    are. Reshapes, transpositions, slices and factors of q, k and v, and a transposition of the result, become strides.
    """
    attentions = _Attentions(graph)
    replaced = attentions.replaced()
    return prune(replaced) if attentions.nodes else graph


@dataclass(slots=True)
class _Scores:
    """What enters a softmax: scale times the product of a node, plus biases that were added in some shape."""

    product: Node
    scale: float
    biases: list[tuple[Value, Shape]]
    between: list[Node]


class _Attentions:
    def __init__(self, graph: Graph) -> None:
        self.graph, self.producers, self.consumers, self.kept = graph, graph.producers(), graph.consumers(), set(graph.outputs)
        self.nodes: dict[Node, Node | None] = {}

    def replaced(self) -> Graph:
        for node in self.graph.nodes:
            if node.op == "Softmax" and node.outputs[0].dtype == np.float32 and node.attrs["axis"] == len(node.outputs[0].shape) - 1:
                self._fuse(node)
        nodes = [new for n in self.graph.nodes if (new := self.nodes.get(n, n)) is not None]
        return Graph(list(self.graph.inputs), list(self.graph.outputs), nodes)

    def only_reader(self, value: Value) -> Node | None:
        """The one node that reads a value which nobody else asks for."""
        readers = self.consumers.get(value, [])
        return readers[0] if len(readers) == 1 and value not in self.kept else None

    def _fuse(self, softmax: Node) -> None:
        weights = softmax.outputs[0]
        last = self.only_reader(weights)
        scores = self._scores(softmax)
        if last is None or scores is None or last.op != "MatMul" or last.inputs[0] is not weights or last.inputs[1] is weights:
            return
        score_shape = scores.product.outputs[0].shape
        if last.attrs["trans_a"] or last.attrs["trans_b"] or weights.shape != score_shape or 0 in score_shape:
            return
        a, b, values = scores.product.input(0), scores.product.input(1), last.input(1)
        batch = last.outputs[0].shape[:-2]
        if scores.product.attrs["trans_a"] or batch != score_shape[:-2]:
            return
        swapped = not scores.product.attrs["trans_b"]
        q, k, v = self._operand(a, batch, factors=True), self._operand(b, batch, swapped, factors=True), self._operand(values, batch)
        bias = self._bias(scores, score_shape)
        if q is None or k is None or v is None or bias is False:
            return
        y, after = self._result(last)
        found = (q[1], k[1], v[1], None if bias is None else bias[1], y)
        axes = _merged(batch, [view for view in found if view is not None])
        if len(axes) > RANK:
            return
        views = [None if view is None else view.taken([i for group in axes for i in group[-1:]]) for view in found]
        attrs = {
            "batch": tuple(prod(batch[i] for i in group) for group in axes),
            "sizes": (score_shape[-2], score_shape[-1], a.shape[-1], values.shape[-1]),
            "views": tuple(views),
            "scale": scores.scale * q[2] * k[2],
        }
        end = last if after is None else after
        self.nodes.update(dict.fromkeys((softmax, scores.product, last, *scores.between)))
        self.nodes[end] = Node("Attention", (q[0], k[0], v[0], None if bias is None else bias[0]), end.outputs, attrs)

    def _scores(self, softmax: Node) -> _Scores | None:
        """Walk back from a softmax to the product that it normalises."""
        found = _Scores(softmax, 1.0, [], [])
        value = softmax.input(0)
        while self.only_reader(value) is not None and (node := self.producers.get(value)) is not None:
            if node.op == "MatMul":
                found.product = node
                return found
            found.between.append(node)
            factor = _factor(node)
            if factor is not None:
                value, scale = factor
                found.scale *= scale
            elif node.op == "Reshape" and node.input(0).shape[-2:] == value.shape[-2:]:
                value = node.input(0)
            elif node.op == "Add" and found.scale == 1 and (pair := self._terms(node)) is not None:
                found.biases.append((pair[1], value.shape))
                value = pair[0]
            else:
                return None
        return None

    def _terms(self, add: Node) -> tuple[Value, Value] | None:
        """Scores and bias of a sum: scores have its shape, and come out of a product if the bias is computed too."""
        pairs = [(x, y) for x, y in (add.inputs, add.inputs[::-1]) if x is not None and y is not None and x is not y]
        for x, y in pairs:
            if y.data is not None and x.data is None and x.shape == add.outputs[0].shape:
                return x, y
        for x, y in pairs:
            if x.shape == add.outputs[0].shape and (node := self.producers.get(x)) is not None and node.op == "MatMul":
                return x, y
        return None

    def _operand(self, value: Value, batch: Shape, swapped: bool = False, factors: bool = False) -> tuple[Value, View, float] | None:
        """The array furthest back that rows of numbers can be read from, how, and what they are to be multiplied by."""
        found = None
        for base, moves, scale in self._sources(value, factors):
            view = _moved(base, moves)
            if view is None:
                break
            view = np.swapaxes(view, -1, -2) if swapped else view
            if view.strides[-1] == 1 or view.shape[-1] == 1:
                found = base, View.of(base.size, np.broadcast_to(view, (*batch, *view.shape[-2:])), _start(view)), scale
        return found

    def _sources(self, value: Value, factors: bool) -> Iterator[tuple[Value, list[Node], float]]:
        moves: list[Node] = []
        scale = 1.0
        while True:
            yield value, moves, scale
            node = self.producers.get(value)
            if node is None:
                return
            factor = _factor(node) if factors else None
            if factor is not None:
                value, scale = factor[0], scale * factor[1]
            elif node.op in ("Reshape", "Transpose", "Slice") or _picks(node):
                value, moves = node.input(0), [node, *moves]
            else:
                return

    def _bias(self, scores: _Scores, shape: Shape) -> tuple[Value, View] | Literal[False] | None:
        """All that is added to the scores, as one array; None if nothing is, False if that cannot be had."""
        if not scores.biases:
            return None
        (value, added), *others = scores.biases
        if others or added != shape:
            if any(v.data is None for v, _ in scores.biases):
                return False
            total = np.zeros(shape)
            for v, own in scores.biases:
                assert v.data is not None
                total += np.broadcast_to(v.data, own).reshape(shape)
            value = Value(f"{value.name}.sum", shape, value.dtype, total.astype(value.dtype))
        elif value.data is None and value in scores.product.outputs:
            return False
        view = np.broadcast_to(np.empty(value.shape, np.int8), shape)
        return (value, View.of(value.size, view, 0)) if view.strides[-1] == 1 or shape[-1] == 1 else False

    def _result(self, product: Node) -> tuple[View, Node | None]:
        """Where the result goes: into the array that a transposition after the product makes, if rows stay together."""
        y = product.outputs[0]
        after = self.only_reader(y)
        if after is None or after.op != "Transpose" or after.attrs["perm"][-1] != len(y.shape) - 1:
            return View.of(y.size, np.empty(y.shape, np.int8), 0), None
        array = np.empty(after.outputs[0].shape, np.int8)
        return View.of(y.size, array.transpose(np.argsort(after.attrs["perm"])), 0), after


def _factor(node: Node) -> tuple[Value, float] | None:
    """What a node multiplies by which number, if that is all it does."""
    if node.op == "Affine" and node.attrs["beta"] == 0:
        return node.input(0), float(node.attrs["alpha"])
    if node.op not in ("Mul", "Div"):
        return None
    x, number = with_scalar(node)
    if x is None or number == 0:
        return None
    return x, number if node.op == "Mul" else 1 / number


def _picks(node: Node) -> bool:
    """Whether a node takes one constant position along an axis."""
    if node.op != "Gather" or node.attrs.get("batch_axes", 0):
        return False
    index = node.input(1).data
    return index is not None and index.shape == () and 0 <= int(index) < node.input(0).shape[node.attrs["axis"]]


def _moved(base: Value, moves: Sequence[Node]) -> NDArray[np.int8] | None:
    """An array of single bytes, whose strides count elements, moved as the nodes move `base`; None if that needs a copy."""
    array = whole = np.empty(base.shape, np.int8)
    for node in moves:
        if node.op == "Reshape":
            array = array.reshape(node.attrs["shape"])
        elif node.op == "Transpose":
            array = array.transpose(node.attrs["perm"])
        elif node.op == "Gather":
            array = array[(slice(None),) * node.attrs["axis"] + (int(node.input(1).data),)]  # type: ignore[arg-type]
        else:
            bounds = zip(node.attrs["starts"], node.attrs["steps"], node.attrs["sizes"], strict=True)
            if any(step < 1 for step in node.attrs["steps"]):
                return None
            array = array[tuple(slice(start, start + step * size, step) for start, step, size in bounds)]
        if not np.may_share_memory(array, whole):
            return None
    return array


def _start(array: NDArray[np.int8]) -> int:
    """Bytes between the memory that a view is of and its first element."""
    whole = array
    while isinstance(whole.base, np.ndarray):
        whole = whole.base
    return int(array.__array_interface__["data"][0] - whole.__array_interface__["data"][0])


def _merged(batch: Shape, views: Sequence[View]) -> list[list[int]]:
    """Batch axes of more than one step, in groups that every view passes through as through one axis."""
    groups: list[list[int]] = []
    for i in (i for i, n in enumerate(batch) if n > 1):
        if groups and all(view.batch[groups[-1][-1]] == view.batch[i] * batch[i] for view in views):
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups
