"""Prove that the pictures of a batch do not meet."""

from __future__ import annotations

from gradcam.graph.ir import Graph, Value
from gradcam.graph.operators import OPERATORS, Mixes

__all__ = ["is_per_picture"]


def is_per_picture(graph: Graph) -> bool:
    """Whether a graph built for one picture (axis 0 of every input) computes each picture of a batch by itself.

    Follows the picture axis through every operator; the outputs must carry it as axis 0. If so, any number of pictures
    can be run through the graph one by one, whatever batch size the file was exported for.
    """
    axes: dict[Value, int | None] = dict.fromkeys(graph.inputs, 0)
    for node in graph.nodes:
        own = [None if v is None else axes.get(v) for v in node.inputs]
        try:
            axis = OPERATORS[node.op].picture_axis(node, own)
        except Mixes:
            return False
        axes.update(dict.fromkeys(node.outputs, axis))
    return all(axes.get(v) == 0 for v in graph.outputs)
