"""Put float32 pictures into blocked layout from the first convolution on, and back where something needs them plain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradcam.graph.ir import Graph, Node, Shape, Value
from gradcam.graph.passes.convolutions import Border, Convolution, WeightGradient, blocked_convolution, blocked_weight_gradient
from gradcam.graph.passes.fuse import ACTIVATIONS
from gradcam.ops.blocked import BLOCK, Blocked, Window

__all__ = ["assign_layouts", "by_size"]

_KEEP_ZERO = frozenset(
    ("Relu", "LeakyRelu", "Tanh", "HardSwish", "Elu", "Gelu", "GeluTanh", "Erf", "Silu", "Mish", "Abs", "Neg", "Softsign")
)
"""Elementwise functions that leave the zeros of a border zero."""
_UNARY = _KEEP_ZERO | ACTIVATIONS | {"Affine"}
"""Elementwise functions that are finite at 0, which spare channels hold, with their derivative."""
_BINARY = ("Add", "Sub", "Mul")
_PLAIN_RESULT = ("ReduceMean", "TapSums", "ConvWeightGrad")
"""Read blocked tensors, and give plain ones."""
_NO_FUNCTION = {"function": None, "alpha": 0.0, "beta": 0.0}
NONE: Border = (0, 0, 0, 0)


def assign_layouts(graph: Graph, real: np.dtype[Any], *, winograd: bool = True) -> Graph:
    """Return the graph with its convolutions, and what lies between them, on blocked tensors.

    Three walks: which nodes run blocked (a convolution that a blocked kernel can do, and whatever else can follow it
    without leaving the layout), how wide the border of each tensor has to be, and the nodes themselves.
    """
    if real != np.float32:
        return graph
    return _Layouts(graph, real, winograd).emit()


@dataclass(slots=True)
class _Elementwise:
    """An elementwise node in blocked layout: its full operands, and whether a border of zeros stays zero."""

    full: tuple[Value, ...]
    keeps_zero: bool


class _Layouts:
    def __init__(self, graph: Graph, real: np.dtype[Any], winograd: bool) -> None:
        self.graph, self.real, self.winograd = graph, real, winograd
        self.made: set[Value] = set()  # computed in blocked layout
        self.how: dict[Node, Any] = {}
        self.parent: dict[Value, Value] = {}  # elementwise neighbours have one border
        self.border: dict[Value, Border] = {}
        self.plain_only: set[Value] = set()  # roots of groups that cannot have a border
        for node in graph.nodes:
            found = _RULES[node.op](self, node) if node.op in _RULES else None
            if found is not None:
                self.how[node] = found
                if node.op not in _PLAIN_RESULT:
                    self.made.update(node.outputs)
        for node, how in self.how.items():
            self._demand(node, how)
        self.tensors: dict[Value, tuple[Value, Blocked]] = {}
        self.plain: set[Value] = set()
        self.nodes: list[Node] = []

    # Which nodes run blocked ----------------------------------------------------------------------------------------

    def convolution(self, node: Node) -> Convolution | None:
        """How a convolution runs blocked, None if it does not."""
        x = node.inputs[0]
        stem = node.op != "ConvInputGrad" and x not in self.made
        return blocked_convolution(node, stem=stem, winograd=self.winograd)

    def elementwise(self, node: Node) -> _Elementwise | None:
        """An elementwise node of which at least one full operand is blocked."""
        shape = node.outputs[0].shape
        if len(shape) != 4 or not _is_elementwise(node):
            return None
        full = tuple(v for v in node.inputs if v is not None and v.shape == shape)
        rest = [v for v in node.inputs if v is not None and v.shape != shape]
        if not any(v in self.made for v in full) or any(v.data is not None for v in full):
            return None
        if any(not _is_per_channel(v, shape) for v in rest):
            return None
        return _Elementwise(full, _keeps_zero(node, bool(rest)))

    def pool(self, node: Node) -> Node | None:
        """Pooling of a blocked tensor, or its gradient."""
        made = any(v in self.made for v in node.inputs)
        return node if made and len(node.outputs[0].shape) == 4 else None

    def scale(self, node: Node) -> Any:
        """A product: with one number per channel, or of two tensors."""
        x, factor = by_size(node)
        shape = node.outputs[0].shape
        if x in self.made and len(shape) == 4 and x.shape == shape and factor.shape == (*shape[:2], 1, 1) and factor.size < x.size:
            return node
        return self.elementwise(node)

    def concat(self, node: Node) -> Node | None:
        """Channels put together, all but the last in whole blocks."""
        values = [v for v in node.inputs if v is not None]
        whole = all(v.shape[1] % BLOCK == 0 for v in values[:-1]) if len(node.outputs[0].shape) == 4 else False
        if not whole or node.attrs["axis"] != 1 or sum(v in self.made for v in values) * 2 < len(values):
            return None
        return None if any(v.data is not None for v in values) else node

    def mean(self, node: Node) -> Node | None:
        """Mean of a blocked tensor over all its pixels."""
        x = node.input(0)
        return node if x in self.made and len(x.shape) == 4 and tuple(node.attrs["axes"]) == (2, 3) else None

    def taps(self, node: Node) -> Node | None:
        """Sums over the pixels of a blocked tensor."""
        x = node.input(0)
        return node if x in self.made and len(x.shape) == 4 else None

    def weights(self, node: Node) -> WeightGradient | None:
        """The weight gradient of a convolution: x and dy are blocked for the convolution and its input gradient."""
        return blocked_weight_gradient(node)

    # How wide the borders are -----------------------------------------------------------------------------------------

    def root(self, value: Value) -> Value:
        """The value that stands for all of the same border."""
        while value in self.parent:
            value = self.parent[value]
        return value

    def _demand(self, node: Node, how: Any) -> None:
        if isinstance(how, Convolution) and not how.plain_source:
            root = self.root(node.input(0))
            self.border[root] = _widest(self.border.get(root, NONE), how.border)
        elif isinstance(how, WeightGradient):
            root = self.root(node.input(1))
            self.border[root] = _widest(self.border.get(root, NONE), how.border)
        elif isinstance(how, _Elementwise):
            for value in (*how.full, *node.outputs):
                self._join(self.root(value), self.root(node.outputs[0]), how.keeps_zero)

    def _join(self, a: Value, b: Value, keeps_zero: bool) -> None:
        if a is not b:
            self.parent[a] = b
            self.border[b] = _widest(self.border.get(a, NONE), self.border.get(b, NONE))
            if a in self.plain_only:
                self.plain_only.add(b)
        if not keeps_zero:
            self.plain_only.add(b)

    def tensor(self, value: Value) -> Blocked:
        """Layout of a value: its shape and the border of its group."""
        root = self.root(value)
        n, c, h, w = value.shape
        return Blocked(n, c, h, w, *(NONE if root in self.plain_only else self.border.get(root, NONE)))

    # The nodes --------------------------------------------------------------------------------------------------------

    def emit(self) -> Graph:
        """Nodes in order, with changes of layout where they are first needed."""
        for node in self.graph.nodes:
            if node in self.how:
                self._emit_blocked(node, self.how[node])
            else:
                for value in node.inputs:
                    self._to_plain(value)
                self.nodes.append(node)
        for value in self.graph.outputs:
            self._to_plain(value)
        return Graph(list(self.graph.inputs), list(self.graph.outputs), self.nodes)

    def _add(self, op: str, inputs: tuple[Value | None, ...], name: str, result: Blocked, **attrs: Any) -> Value:
        value = Value(name, result.shape, self.real)
        self.nodes.append(Node(op, inputs, (value,), {**attrs, "result": result}))
        return value

    def _to_plain(self, value: Value | None) -> None:
        if value in self.tensors and value in self.made and value not in self.plain:
            blocked, tensor = self.tensors[value]
            self.nodes.append(Node("FromBlocked", (blocked,), (value,), {"source": tensor}))
            self.plain.add(value)

    def blocked(self, value: Value, border: Border = NONE) -> tuple[Value, Blocked]:
        """The value in blocked layout, with at least this border."""
        if value not in self.tensors:
            tensor = self.tensor(value)
            self.tensors[value] = self._add("ToBlocked", (value,), f"{value.name}.blocked", tensor), tensor
        found, tensor = self.tensors[value]
        has = (tensor.top, tensor.left, tensor.bottom, tensor.right)
        if all(a >= b for a, b in zip(has, border, strict=True)):
            return found, tensor
        wider = Blocked(tensor.n, tensor.c, tensor.h, tensor.w, *_widest(has, border))
        return self._add("BlockedConcat", (found,), f"{value.name}.bordered", wider, sources=(tensor,)), wider

    def _emit_blocked(self, node: Node, how: Any) -> None:
        if isinstance(how, Convolution):
            self._emit_convolution(node, how)
        elif isinstance(how, WeightGradient):
            self._emit_weight_gradient(node, how)
        elif isinstance(how, _Elementwise):
            self._emit_elementwise(node, how)
        else:
            self._emit_other(node)

    def _emit_convolution(self, node: Node, how: Convolution) -> None:
        _, w, b, residual = (*node.inputs, None, None)[:4]
        x = node.input(0)
        y = node.outputs[0]
        tensor = self.tensor(y)
        source = (x, Blocked(*x.shape)) if how.plain_source else self.blocked(x, how.border)
        attrs = {**how.attributes, "source": source[1]}
        inputs: tuple[Value | None, ...] = (source[0], w)
        if how.op == "BlockedConv":
            other = (None, None) if residual is None else self.blocked(residual)
            inputs = (*inputs, b, other[0])
            attrs |= {"residual": other[1], **{name: node.attrs.get(name, value) for name, value in _NO_FUNCTION.items()}}
        self.tensors[y] = self._add(how.op, inputs, y.name, tensor, **attrs), tensor

    def _emit_weight_gradient(self, node: Node, how: WeightGradient) -> None:
        (dy, dy_tensor), (x, x_tensor) = self.blocked(node.input(0)), self.blocked(node.input(1), how.border)
        attrs = {"sources": (dy_tensor, x_tensor), "window": how.window, "weight_shape": node.outputs[0].shape}
        self.nodes.append(Node("BlockedConvWeightGrad", (dy, x), node.outputs, attrs))

    def _emit_elementwise(self, node: Node, how: _Elementwise) -> None:
        tensor = self.tensor(node.outputs[0])
        inputs = tuple(None if v is None else self._operand(v, v in how.full, tensor) for v in node.inputs)
        value = Value(node.outputs[0].name, tensor.shape, self.real)
        self.nodes.append(Node(node.op, inputs, (value,), node.attrs))
        self.tensors[node.outputs[0]] = value, tensor

    def _operand(self, value: Value, full: bool, tensor: Blocked) -> Value:
        if not full:
            return self._per_channel(value, tensor)
        found, own = self.blocked(value)
        return found if own == tensor else self._add("BlockedConcat", (found,), f"{value.name}.copy", tensor, sources=(own,))

    def _per_channel(self, value: Value, tensor: Blocked) -> Value:
        """One number per channel, (N or 1, C, 1, 1), as (N or 1, blocks, 1, 1, 16)."""
        n = value.shape[0]
        shape = (n, tensor.shape[1], 1, 1, BLOCK)
        if value.data is not None:
            lanes = np.zeros((n, tensor.shape[1] * BLOCK), self.real)
            lanes[:, : tensor.c] = value.data.reshape(n, tensor.c)
            return Value(f"{value.name}.blocked", shape, self.real, lanes.reshape(shape))
        self._to_plain(value)
        result = Value(f"{value.name}.blocked", shape, self.real)
        self.nodes.append(Node("Reshape", (value,), (result,), {"shape": shape}))
        return result

    def _emit_other(self, node: Node) -> None:
        y = node.outputs[0]
        if node.op == "ReduceMean":
            found, tensor = self.blocked(node.input(0))
            self.nodes.append(Node("BlockedMean", (found,), (y,), {"source": tensor}))
            return
        if node.op == "TapSums":
            found, tensor = self.blocked(node.input(0))
            self.nodes.append(Node("BlockedTapSums", (found,), (y,), {**node.attrs, "source": tensor}))
            return
        result = self.tensor(y)
        if node.op == "Mul":
            x, factor = by_size(node)
            self._to_plain(factor)
            found, tensor = self.blocked(x)
            value = self._add("BlockedScale", (found, factor), y.name, result, source=tensor)
        else:
            sources = [self.blocked(v) for v in node.inputs if v is not None]
            op, attrs = ("BlockedConcat", {}) if node.op == "Concat" else (f"Blocked{node.op}", _pool_attributes(node))
            value = self._add(op, tuple(s[0] for s in sources), y.name, result, sources=tuple(s[1] for s in sources), **attrs)
        self.tensors[y] = value, result


_RULES: dict[str, Callable[[_Layouts, Node], Any]] = {
    **dict.fromkeys(("Conv", "FusedConv", "ConvInputGrad"), _Layouts.convolution),
    **dict.fromkeys((*_UNARY, *_BINARY, "UnaryGrad"), _Layouts.elementwise),
    **dict.fromkeys(("MaxPool", "MaxPoolGrad", "AveragePool", "AveragePoolGrad"), _Layouts.pool),
    "ConvWeightGrad": _Layouts.weights,
    "Concat": _Layouts.concat,
    "Mul": _Layouts.scale,
    "ReduceMean": _Layouts.mean,
    "TapSums": _Layouts.taps,
}


def _pool_attributes(node: Node) -> dict[str, Any]:
    a = node.attrs
    window = Window(a["kernel"], a["stride"], a["pad_lo"], a["pad_hi"], a["dilation"])
    return {"window": window, "ceil_mode": a["ceil_mode"], "count_include_pad": a["count_include_pad"]}


def by_size(node: Node) -> tuple[Value, Value]:
    """The larger operand of a product, and the other."""
    a, b = node.input(0), node.input(1)
    return (b, a) if b.size > a.size else (a, b)


def _widest(a: Border, b: Border) -> Border:
    return max(a[0], b[0]), max(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _is_elementwise(node: Node) -> bool:
    return node.op != "UnaryGrad" or node.attrs["function"] in _UNARY


def _is_per_channel(value: Value, shape: Shape) -> bool:
    """Whether a smaller operand is one number per channel that lies in whole blocks (or is known)."""
    fits = len(value.shape) == 4 and value.shape[0] in (1, shape[0]) and value.shape[1:] == (shape[1], 1, 1)
    return fits and (value.data is not None or shape[1] % BLOCK == 0)


def _keeps_zero(node: Node, per_channel: bool) -> bool:
    if node.op == "Clip":
        return bool(node.attrs["alpha"] <= 0 <= node.attrs["beta"])
    if node.op == "Affine":
        return bool(node.attrs["beta"] == 0)
    return node.op in _KEEP_ZERO or node.op in ("UnaryGrad", "Mul") or (node.op in _BINARY and not per_channel)
