"""Of the linear layer before a class score, take the row of the weights that belongs to the class, forward and back."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Graph, Node, Value

__all__ = ["take_row"]


def take_row(graph: Graph, real: np.dtype[Any], *, forward: bool = True) -> Graph:
    """Return the graph with products of which one number counts, or that multiply one number, made from one row of the weights.

    The gradient of a class score at a linear layer y = x W is dx = dy W' where dy holds one number, at the class. That
    is this number times one row of W' (or column): reading the whole matrix is not needed. Looks through reshapes.

    Where nothing else reads y, the score itself is made from that row too, in the same bits: a product adds up each
    number of y in one order, however many there are.

    Parameters
    ----------
    forward : bool
        Whether scores are made so; not where other numbers than those of the weights stand for them.
    """
    producers = graph.producers()
    readers = Counter([v for node in graph.nodes for v in node.inputs if v is not None] + graph.outputs)
    g = Builder(real, Graph(list(graph.inputs), list(graph.outputs), []))
    for node in graph.nodes:
        row = _row(g, node, producers)
        if row is None and forward:
            row = _score(g, node, producers, readers)
        if row is None:
            g.graph.nodes.append(node)
        else:
            _rename(g, row, node.outputs[0])
    return g.graph


def _score(g: Builder, node: Node, producers: dict[Value, Node], readers: Counter[Value]) -> Value | None:
    """Emit one score of a linear layer of one row, if the node picks it and nothing else reads the layer."""
    if node.op != "Gather" or node.input(1).size != 1:
        return None
    scores, bias = node.input(0), None
    count = scores.size
    if scores.shape[node.attrs["axis"]] != count:
        return None
    maker = producers.get(scores)
    while maker is not None and readers[scores] == 1 and maker.op in ("Reshape", "Add"):
        scores = maker.input(0)
        if maker.op == "Add":
            if bias is not None or scores.size != count or maker.input(1).size != count:
                return None
            scores, bias = (scores, maker.input(1)) if scores.data is None else (maker.input(1), scores)
            if bias.data is None:
                return None
        maker = producers.get(scores)
    if maker is None or readers[scores] != 1 or maker.op != "MatMul" or maker.attrs["trans_a"]:
        return None
    x, w = maker.input(0), maker.input(1)
    if w.data is None or len(w.shape) != 2 or x.size != x.shape[-1]:
        return None
    index, trans_b = g.reshape(node.input(1), (1,)), maker.attrs["trans_b"]
    row = g.emit("Gather", w, index, axis=0 if trans_b else 1)
    score = g.emit("MatMul", g.reshape(x, (1, x.size)), row, trans_a=False, trans_b=trans_b)
    if bias is not None:
        score = g.add(g.reshape(score, (1,)), g.emit("Gather", g.reshape(bias, (count,)), index, axis=0))
    return g.reshape(score, node.outputs[0].shape)


def _row(g: Builder, node: Node, producers: dict[Value, Node]) -> Value | None:
    """Emit the row if the node is a product that can be replaced."""
    if node.op != "MatMul" or node.attrs["trans_a"]:
        return None
    dy, w = node.inputs
    assert dy is not None
    if w is None or w.data is None or len(w.shape) != 2 or dy.size != dy.shape[-1]:
        return None
    scatter = producers.get(dy)
    while scatter is not None and scatter.op == "Reshape":
        source = scatter.inputs[0]
        scatter = None if source is None else producers.get(source)
    if scatter is None or scatter.op != "GatherGrad":
        return None
    seed, index = scatter.inputs
    assert seed is not None
    assert index is not None
    if seed.size != 1 or index.size != 1 or scatter.outputs[0].shape[scatter.attrs["axis"]] != dy.shape[-1]:
        return None
    row = g.emit("Gather", w, g.reshape(index, (1,)), axis=1 if node.attrs["trans_b"] else 0)
    return g.reshape(g.mul(g.reshape(row, (row.size,)), g.reshape(seed, (1,))), node.outputs[0].shape)


def _rename(g: Builder, value: Value, output: Value) -> None:
    """Let the last emitted node, which computes `value`, write `output` instead."""
    last = g.graph.nodes[-1]
    assert last.outputs == (value,)
    last.outputs = (output,)
