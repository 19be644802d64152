"""Prove that the pictures of a batch do not meet."""

from __future__ import annotations

from collections.abc import Mapping

from gradcam.graph.ir import Graph, Value
from gradcam.graph.operators import OPERATORS, Mixes

__all__ = ["cuts_pictures", "is_per_picture", "picture_axes"]


def picture_axes(graph: Graph) -> dict[Value, int | None] | None:
    """Where the picture axis of every value lies (None: the value is the same for all pictures), or None if pictures meet."""
    axes: dict[Value, int | None] = dict.fromkeys(graph.inputs, 0)
    for node in graph.nodes:
        own = [None if v is None else axes.get(v) for v in node.inputs]
        try:
            axis = OPERATORS[node.op].picture_axis(node, own)
        except Mixes:
            return None
        axes.update(dict.fromkeys(node.outputs, axis))
    return axes


def is_per_picture(graph: Graph) -> bool:
    """Whether a graph built for one picture (axis 0 of every input) computes each picture of a batch by itself.

    Follows the picture axis through every operator; the outputs must carry it as axis 0. If so, any number of pictures
    can be run through the graph one by one, whatever batch size the file was exported for.
    """
    axes = picture_axes(graph)
    return axes is not None and all(axes.get(v) == 0 and v.shape[0] == 1 for v in graph.outputs)


def cuts_pictures(graph: Graph, axes: Mapping[Value, int | None]) -> bool:
    """Whether a slice takes the only picture of a graph for one, and might leave out some of several."""
    return any(axes.get(value) == axis for value, axis in graph.cuts)
