"""Turn "matrix product with a one-row gradient" into "take that row of the weights"."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Graph, Node, Value

__all__ = ["take_row"]


def take_row(graph: Graph, real: np.dtype[Any]) -> Graph:
    """Return the graph with each product of a scattered single element and a constant matrix as a scaled row.

    The gradient of a class score at a linear layer y = x W is dx = dy W' where dy holds one number, at the class. That
    is this number times one row of W' (or column): reading the whole matrix is not needed. Looks through reshapes.
    """
    producers = graph.producers()
    g = Builder(real, Graph(list(graph.inputs), list(graph.outputs), []))
    for node in graph.nodes:
        row = _row(g, node, producers)
        if row is None:
            g.graph.nodes.append(node)
        else:
            _rename(g, row, node.outputs[0])
    return g.graph


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
