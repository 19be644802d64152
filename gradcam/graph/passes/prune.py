"""Remove every node that no output needs."""

from __future__ import annotations

from gradcam.graph.ir import Graph

__all__ = ["prune"]


def prune(graph: Graph) -> Graph:
    """Return the graph with only the nodes that its outputs are computed from; inputs stay."""
    needed = graph.upstream(graph.outputs)
    return Graph(list(graph.inputs), list(graph.outputs), [n for n in graph.nodes if any(o in needed for o in n.outputs)])
