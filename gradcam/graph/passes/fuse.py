"""Let a convolution do what follows it while its sums are in registers: bias, residual, activation."""

from __future__ import annotations

from typing import Any

from gradcam.graph.ir import Graph, Node, Value

__all__ = ["ACTIVATIONS", "fuse"]

ACTIVATIONS = frozenset(
    ("Relu", "LeakyRelu", "Clip", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Elu", "Softplus", "Gelu", "GeluTanh", "Silu", "Mish")
)
"""Elementwise functions that a convolution may end with; finite at 0, which spare channels hold."""

_GATES = {("Sigmoid", 0.0, 0.0): "Silu", ("HardSigmoid", 1 / 6, 0.5): "HardSwish"}
"""x g(x) as one function, by g and its parameters."""


def fuse(graph: Graph) -> Graph:
    """Return the graph with gates as one function and each convolution joined with the addition and the activation after it.

    Only values that nothing else reads disappear: where a gradient needs the input of an activation, it stays.
    """
    return _fuse_convolutions(_fuse_gates(graph))


def _fuse_gates(graph: Graph) -> Graph:
    """Replace x * sigmoid(x) by Silu(x), and likewise the hard one."""
    producers, consumers, kept = graph.producers(), graph.consumers(), set(graph.outputs)
    replaced: dict[Node, Node | None] = {}
    for node in graph.nodes:
        if node.op != "Mul":
            continue
        for x, gate in (node.inputs, node.inputs[::-1]):
            source = producers.get(gate) if gate is not None else None
            if source is None or source.inputs[0] is not x or gate in kept or consumers[gate] != [node]:  # type: ignore[index]
                continue
            name = next((n for (op, a, b), n in _GATES.items() if op == source.op and _close(source, a, b)), None)
            if name is not None and source not in replaced:
                replaced[source] = None
                replaced[node] = Node(name, (x,), node.outputs, {"alpha": 0.0, "beta": 0.0})
                break
    return Graph(list(graph.inputs), list(graph.outputs), [new for n in graph.nodes if (new := replaced.get(n, n)) is not None])


def _close(node: Node, alpha: float, beta: float) -> bool:
    return bool(abs(node.attrs.get("alpha", 0.0) - alpha) < 1e-6 and abs(node.attrs.get("beta", 0.0) - beta) < 1e-6)


def _fuse_convolutions(graph: Graph) -> Graph:
    consumers, kept = graph.consumers(), set(graph.outputs)
    taken: set[Node] = set()
    fused: dict[Node, Node] = {}  # by the last node of each chain: where everything that it reads has been computed

    def only_reader(value: Value) -> Node | None:
        readers = consumers.get(value, [])
        return readers[0] if len(readers) == 1 and value not in kept and readers[0] not in taken else None

    for node in graph.nodes:
        if node.op != "Conv":
            continue
        chain, residual, function = [node], None, None
        after = only_reader(node.outputs[0])
        if after is not None and after.op == "Add" and (other := _same_shape_operand(after, node.outputs[0])) is not None:
            chain.append(after)
            residual = other
            after = only_reader(after.outputs[0])
        if after is not None and after.op in ACTIVATIONS:
            chain.append(after)
            function = after
        if len(chain) > 1:
            taken.update(chain)
            attrs: dict[str, Any] = {"function": None, "alpha": 0.0, "beta": 0.0}
            if function is not None:
                attrs = {"function": function.op, "alpha": function.attrs.get("alpha", 0.0), "beta": function.attrs.get("beta", 0.0)}
            fused[chain[-1]] = Node("FusedConv", (*node.inputs, residual), chain[-1].outputs, {**node.attrs, **attrs})
    nodes = [fused.get(n, n) for n in graph.nodes if n in fused or n not in taken]
    return Graph(list(graph.inputs), list(graph.outputs), nodes)


def _same_shape_operand(add: Node, value: Value) -> Value | None:
    a, b = add.inputs
    other = b if a is value else a
    return other if other is not None and other is not value and other.shape == value.shape and other.data is None else None
