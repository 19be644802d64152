"""Activations that files hold in parts, as one function."""

from __future__ import annotations

from collections.abc import Collection
from math import sqrt

from gradcam.graph.ir import Graph, Node, Value
from gradcam.graph.passes.joining import Joining

__all__ = ["fuse_gates", "with_scalar"]

_GATES = {("Sigmoid", 0.0, 0.0): "Silu", ("HardSigmoid", 1 / 6, 0.5): "HardSwish"}
"""x g(x) as one function, by g and its parameters."""


def fuse_gates(graph: Graph, keep: Collection[Value] = ()) -> Graph:
    """Return the graph with x sigmoid(x), the hard one, and x (1 + erf(x / sqrt(2))) / 2 as one function each.

    Only values that nothing else reads, and that are not in `keep`, disappear.
    """
    return _Gates(graph, keep).replaced()


class _Gates(Joining):
    def visit(self, node: Node) -> None:
        if node.op == "Mul":
            self._gate(node)
        elif node.op == "Erf":
            self._gelu(node)

    def _replace(self, last: Node, x: Value, op: str, gone: list[Node]) -> None:
        self.nodes.update(dict.fromkeys(gone))
        self.nodes[last] = Node(op, (x,), last.outputs, {"alpha": 0.0, "beta": 0.0})

    def _gate(self, node: Node) -> None:
        for x, gate in (node.inputs, node.inputs[::-1]):
            source = self.producers.get(gate) if gate is not None else None
            if (
                x is None
                or source is None
                or source in self.nodes
                or source.inputs[0] is not x
                or self.only_reader(source.outputs[0]) is not node
            ):
                continue
            name = next((n for (op, a, b), n in _GATES.items() if op == source.op and _close(source, a, b)), None)
            if name is not None:
                self._replace(node, x, name, [source])
                return

    def _gelu(self, erf: Node) -> None:
        """Both orders of the three factors x, 1/2 and 1 + erf that exporters write."""
        scaled = self.producers.get(erf.inputs[0])  # type: ignore[arg-type]
        if scaled is None or scaled.op not in ("Div", "Mul") or self.only_reader(scaled.outputs[0]) is not erf:
            return
        x, factor = with_scalar(scaled)
        if x is None or abs(factor - (sqrt(2) if scaled.op == "Div" else sqrt(0.5))) > 1e-5:
            return
        plus = self.only_reader(erf.outputs[0])
        if plus is None or plus.op != "Add" or with_scalar(plus)[1] != 1:
            return
        product = self.only_reader(plus.outputs[0])
        if product is None or product.op != "Mul":
            return
        other = product.inputs[1] if product.inputs[0] is plus.outputs[0] else product.inputs[0]
        if other is x:
            half = self.only_reader(product.outputs[0])
            if half is not None and half.op == "Mul" and with_scalar(half)[1] == 0.5:
                self._replace(half, x, "Gelu", [scaled, erf, plus, product])
            return
        half = self.producers.get(other)  # type: ignore[arg-type]
        if half is not None and half.op == "Mul" and with_scalar(half) == (x, 0.5) and self.only_reader(half.outputs[0]) is product:
            self._replace(product, x, "Gelu", [scaled, erf, plus, half])


def _close(node: Node, alpha: float, beta: float) -> bool:
    return bool(abs(node.attrs.get("alpha", 0.0) - alpha) < 1e-6 and abs(node.attrs.get("beta", 0.0) - beta) < 1e-6)


def with_scalar(node: Node) -> tuple[Value | None, float]:
    """The other operand and the number, of an operation with one constant number; (None, 0) if it is none."""
    a, b = node.inputs
    if node.op != "Div" and a is not None and a.data is not None:
        a, b = b, a
    if a is None or b is None or b.data is None or b.data.size != 1 or a.shape != node.outputs[0].shape:
        return None, 0.0
    return a, float(b.data.reshape(()))
