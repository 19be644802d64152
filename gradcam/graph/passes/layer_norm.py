"""Layer norm, which files hold in parts, as one node."""

from __future__ import annotations

from collections.abc import Collection
from math import prod

from gradcam.graph.ir import Graph, Node, Value
from gradcam.graph.passes.gates import with_scalar
from gradcam.graph.passes.joining import Joining

__all__ = ["fuse_layer_norm"]


def fuse_layer_norm(graph: Graph, keep: Collection[Value] = ()) -> Graph:
    """Return the graph with each (x - mean) / sqrt(var + epsilon) over the last axes as one `LayerNorm` node.

    A factor and a bias after it, constants with one number for each of a row, become part of the node. Only values that
    nothing else reads, and that are not in `keep`, disappear.
    """
    return _LayerNorms(graph, keep).replaced()


class _LayerNorms(Joining):
    def visit(self, node: Node) -> None:
        if node.op == "Sqrt":
            self._fuse(node)

    def _before(self, value: Value | None, *ops: str) -> Node | None:
        """The node that computes a value for one reader, if it is of these operators."""
        node = self.producers.get(value) if value is not None else None
        return node if node is not None and node.op in ops and self.only_reader(node.outputs[0]) is not None else None

    def _fuse(self, root: Node) -> None:
        shifted = self._before(root.inputs[0], "Affine", "Add")
        epsilon = None if shifted is None else _epsilon(shifted)
        if shifted is None or epsilon is None:
            return
        squares, variance = self._mean(epsilon[0])
        square = self._before(squares, "Mul", "Pow")
        deviation = None if square is None else _square_root(square)
        if square is None or deviation is None:
            return
        minus = self.producers.get(deviation)
        if minus is None or minus.op != "Sub" or minus.outputs[0].shape != minus.input(0).shape:
            return
        x, (averaged, mean) = minus.input(0), self._mean(minus.input(1))
        if averaged is not x or mean[-1].attrs["axes"] != variance[-1].attrs["axes"]:
            return
        axes, rank = mean[-1].attrs["axes"], len(x.shape)
        quotient = self._quotient(root, deviation)
        if quotient is None or axes != tuple(range(rank - len(axes), rank)):
            return
        if any(reader not in (square, quotient[-1]) for reader in self.readers(deviation)) or deviation in self.kept:
            return
        gone = [root, shifted, square, minus, *mean, *variance, *quotient]
        self._replace(gone, x, rank - len(axes), epsilon[1])

    def _replace(self, gone: list[Node], x: Value, axis: int, epsilon: float) -> None:
        last, row = gone[-1], x.shape[axis:]
        gamma = beta = None
        for op in ("Mul", "Add"):
            after = self.only_reader(last.outputs[0])
            other = None if after is None or after.op != op else _of_row(after, last.outputs[0], row)
            if after is not None and other is not None:
                gone.append(after)
                last = after
                gamma, beta = (other, beta) if op == "Mul" else (gamma, other)
        self.nodes.update(dict.fromkeys(gone))
        self.nodes[last] = Node("LayerNorm", (x, gamma, beta), last.outputs, {"axis": axis, "epsilon": epsilon})

    def _mean(self, value: Value) -> tuple[Value | None, list[Node]]:
        """What a value is the mean of, axes kept, and the nodes that compute it, which nothing else reads."""
        reshape = self._before(value, "Reshape")
        mean = self._before(reshape.input(0), "ReduceMean") if reshape is not None else None
        if reshape is None or mean is None:
            return None, []
        x = mean.input(0)
        kept = tuple(1 if i in mean.attrs["axes"] else n for i, n in enumerate(x.shape))
        return (x, [reshape, mean]) if value.shape == kept else (None, [])

    def _quotient(self, root: Node, deviation: Value) -> list[Node] | None:
        """The nodes that divide the deviation by the root, or multiply it by what is 1 / root."""
        after = self.only_reader(root.outputs[0])
        if after is None:
            return None
        if after.op == "Div":
            return [after] if after.inputs == (deviation, root.outputs[0]) else None
        product = self.only_reader(after.outputs[0]) if after.op == "Reciprocal" else None
        if product is None or product.op != "Mul" or set(product.inputs) != {deviation, after.outputs[0]}:
            return None
        return [after, product]


def _epsilon(node: Node) -> tuple[Value, float] | None:
    """What a node adds which number to, if that is all it does."""
    if node.op == "Affine":
        return (node.input(0), float(node.attrs["beta"])) if node.attrs["alpha"] == 1 else None
    x, number = with_scalar(node)
    return None if x is None else (x, number)


def _square_root(node: Node) -> Value | None:
    """The value whose square a node computes."""
    if node.op == "Mul":
        return node.inputs[0] if node.inputs[0] is node.inputs[1] else None
    x, power = with_scalar(node)
    return x if power == 2 and x is node.inputs[0] else None


def _of_row(node: Node, value: Value, row: tuple[int, ...]) -> Value | None:
    """The constant, one number for each of a row, that a sum or product has beside a value."""
    other = node.inputs[1] if node.inputs[0] is value else node.input(0)
    if other is None or other.data is None or other.size != prod(row) or node.outputs[0].shape != value.shape:
        return None
    return other if other.shape[max(0, len(other.shape) - len(row)) :] == row else None
