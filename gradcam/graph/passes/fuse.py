"""Let a convolution or a linear layer do what follows it while its sums are in registers: bias, residual, activation."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradcam.graph.ir import Graph, Node, Value
from gradcam.ops.blocked import BLOCK

__all__ = ["ACTIVATIONS", "fuse"]

ACTIVATIONS = frozenset(
    ("Relu", "LeakyRelu", "Clip", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Elu", "Softplus", "Gelu", "GeluTanh", "Silu", "Mish")
)
"""Elementwise functions that a convolution may end with; finite at 0, which spare channels hold."""

LINEAR_ROWS = 8
"""Fewer rows than this do not repay a second copy of the weights: reading them is what takes time."""


def fuse(graph: Graph, *, least_rows: int = LINEAR_ROWS) -> Graph:
    """Return the graph with each convolution, and each linear layer of many rows, joined with the addition and the activation after it.

    Only values that nothing else reads disappear: where a gradient needs the input of an activation, it stays.

    Parameters
    ----------
    least_rows : int
        Rows from which on a forward product with constant weights is a linear layer, with weights of its own.
    """
    backward = _backward_products(graph)
    consumers, kept = graph.consumers(), set(graph.outputs)
    taken: set[Node] = set()
    fused: dict[Node, Node] = {}  # by the last node of each chain: where everything that it reads has been computed

    def only_reader(value: Value) -> Node | None:
        readers = consumers.get(value, [])
        return readers[0] if len(readers) == 1 and value not in kept and readers[0] not in taken else None

    for node in graph.nodes:
        if node.op != "Conv" and not _is_layer(node, LINEAR_ROWS if node in backward else least_rows):
            continue
        chain, x, weight, bias, residual, function = [node], *node.inputs[:2], None, None, None
        after = only_reader(node.outputs[0])
        if node.op == "Conv":
            bias = node.inputs[2]
        elif after is not None and (bias := _bias(after, node.outputs[0])) is not None:
            chain.append(after)
            after = only_reader(after.outputs[0])
        if after is not None and (other := _residual(after, chain[-1].outputs[0])) is not None:
            chain.append(after)
            residual = other
            after = only_reader(after.outputs[0])
        if after is not None and after.op in ACTIVATIONS:
            chain.append(after)
            function = after
        if len(chain) > 1 or node.op != "Conv":
            taken.update(chain)
            attrs: dict[str, Any] = {"function": None, "alpha": 0.0, "beta": 0.0}
            if function is not None:
                attrs = {"function": function.op, "alpha": function.attrs.get("alpha", 0.0), "beta": function.attrs.get("beta", 0.0)}
            op = "FusedConv"
            if node.op == "MatMul":
                op, attrs["backward"] = "Linear", node in backward
            fused[chain[-1]] = Node(op, (x, weight, bias, residual), chain[-1].outputs, {**node.attrs, **attrs})
    nodes = [fused.get(n, n) for n in graph.nodes if n in fused or n not in taken]
    return Graph(list(graph.inputs), list(graph.outputs), nodes)


def _backward_products(graph: Graph) -> set[Node]:
    """Products with the transpose of what an earlier product has multiplied by: gradients of it."""
    found, transposed = set(), dict[Value, bool]()
    for node in graph.nodes:
        if node.op == "MatMul" and node.input(1).data is not None:
            trans_b = node.attrs["trans_b"]
            if transposed.setdefault(node.input(1), trans_b) != trans_b:
                found.add(node)
    return found


def _is_layer(node: Node, least_rows: int) -> bool:
    """Whether a node is a product of float32 rows with a constant matrix of whole blocks."""
    if node.op != "MatMul" or node.attrs["trans_a"] or node.outputs[0].dtype != np.float32:
        return False
    x, w = node.inputs
    assert x is not None
    if w is None or w.data is None or len(w.shape) != 2 or len(x.shape) < 2 or x.data is not None:
        return False
    k, m = w.shape[::-1] if node.attrs["trans_b"] else w.shape
    return k % BLOCK == 0 and m % BLOCK == 0 and x.size >= least_rows * k


def _bias(add: Node, value: Value) -> Value | None:
    """The constant, one number per column, that a node adds to a value."""
    other, m = _other(add, value), value.shape[-1]
    fits = other is not None and other.data is not None and other.size == m and other.shape[-1:] == (m,)
    return other if fits and add.outputs[0].shape == value.shape else None


def _residual(add: Node, value: Value) -> Value | None:
    """The computed array of the same shape that a node adds to a value."""
    other = _other(add, value)
    return other if other is not None and other.shape == value.shape and other.data is None else None


def _other(add: Node, value: Value) -> Value | None:
    """The other operand of a sum; None if the node is no sum, or one of the value with itself."""
    if add.op != "Add":
        return None
    other = add.inputs[1] if add.inputs[0] is value else add.inputs[0]
    return None if other is value else other
