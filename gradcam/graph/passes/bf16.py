"""Let convolutions and linear layers read bfloat16, after they have been fused and laid out."""

from __future__ import annotations

from gradcam.graph.ir import Graph, Node, Value
from gradcam.ops.bf16 import BFLOAT16

__all__ = ["use_bfloat16"]

_OPERATORS = {"BlockedConv": "Bf16Conv", "Linear": "Bf16Linear"}
_READ = (0, 3)
"""Inputs that may be bfloat16: x and the residual."""


def use_bfloat16(graph: Graph) -> Graph:
    """Return the graph with forward convolutions and linear layers on bfloat16.

    Those are the convolutions of the direct blocked kernel and the linear layers that `fuse` has made. A result that only such
    nodes read is rounded by the node that computes it; whatever else they read is rounded by a step of its own.
    """
    chosen = {node for node in graph.nodes if _suits(node)}
    rounded = _stored_rounded(graph, chosen)
    new = {value: Value(value.name, value.shape, BFLOAT16) for value in rounded}
    nodes: list[Node] = []
    for node in graph.nodes:
        if node not in chosen:
            nodes.append(node)
            continue
        x = node.input(0)
        if x not in new:
            new[x] = Value(f"{x.name}.bf16", x.shape, BFLOAT16)
            nodes.append(Node("Bf16Round", (x,), (new[x],)))
        residual = node.inputs[3]
        inputs = (new[x], *node.inputs[1:3], new[residual] if residual in rounded else residual)
        y = node.outputs[0]
        nodes.append(Node(_OPERATORS[node.op], inputs, (new[y] if y in rounded else y,), node.attrs))
    return Graph(list(graph.inputs), list(graph.outputs), nodes)


def _suits(node: Node) -> bool:
    if node.op == "BlockedConv":
        return node.attrs["algorithm"] == "direct" and not node.attrs["gradient"]
    return node.op == "Linear" and not node.attrs["backward"]


def _stored_rounded(graph: Graph, chosen: set[Node]) -> set[Value]:
    """Results of chosen nodes that only chosen nodes read, and not as weights or bias."""
    consumers, kept = graph.consumers(), set(graph.outputs)

    def accepts(reader: Node, value: Value) -> bool:
        return reader in chosen and all(v is not value or i in _READ for i, v in enumerate(reader.inputs))

    results = (node.outputs[0] for node in graph.nodes if node in chosen)
    return {y for y in results if y not in kept and y in consumers and all(accepts(reader, y) for reader in consumers[y])}
