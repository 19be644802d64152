"""Let the way back read what was chosen on the way forward, bits and bytes, in place of the tensors that it was chosen from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from gradcam.graph.ir import Graph, Node, Value
from gradcam.ops.blocked import MOST_TAPS, index_shape
from gradcam.ops.unary import BYTE, SLOPE_IS_0_OR_1, bits_shape

__all__ = ["keep_choices"]

LEAST_ELEMENTS = 1 << 12
"""Smaller tensors are not worth a step of their own."""


def keep_choices(graph: Graph) -> Graph:
    """Return the graph with gradients of ReLUs, Clips and blocked max pools that read a bit or a byte per element.

    A tensor is what these gradients read otherwise, kept from the way forward: 32 times as much for a ReLU. It stays where
    something else needs it for more than half of the time until the last gradient has read it.
    """
    place = {node: i for i, node in enumerate(graph.nodes)}
    producers, consumers, kept = graph.producers(), graph.consumers(), set(graph.outputs)
    rewriting = _Rewriting()
    for value, readers in consumers.items():
        if value not in producers or value in kept or value.size < LEAST_ELEMENTS:
            continue
        replaced = [node for node in readers if _reads_choice(node, value, readers)]
        if not replaced:
            continue
        first, last = place[producers[value]], max(place[node] for node in replaced)
        others = max((place[node] for node in readers if node not in replaced), default=first)
        if others - first <= (last - first) // 2:
            for node in replaced:
                rewriting.replace(node, value, producers[value], readers)
    return Graph(list(graph.inputs), list(graph.outputs), [new for node in graph.nodes for new in rewriting.of(node)])


def _reads_choice(node: Node, value: Value, readers: list[Node]) -> bool:
    """Whether a node is a gradient that needs no more of a value than what was chosen."""
    if node.inputs[0] is not value or value in node.inputs[1:]:
        return False
    if node.op == "UnaryGrad":
        return node.attrs["function"] in SLOPE_IS_0_OR_1
    return node.op == "BlockedMaxPoolGrad" and np.prod(node.attrs["window"].kernel) <= MOST_TAPS and _pool(node, readers) is not None


def _pool(gradient: Node, readers: list[Node]) -> Node | None:
    """The max pool that a gradient belongs to."""

    def windows(node: Node) -> tuple[object, ...]:
        return (node.attrs["sources"][0], node.attrs["window"], node.attrs["ceil_mode"])

    return next((node for node in readers if node.op == "BlockedMaxPool" and windows(node) == windows(gradient)), None)


@dataclass
class _Rewriting:
    """Nodes in the place of others, nodes after others, and the values in bytes that there are."""

    instead: dict[Node, Node] = field(default_factory=dict)
    after: dict[Node, list[Node]] = field(default_factory=dict)
    bits: dict[tuple[Value, str, float, float], Value] = field(default_factory=dict)
    index: dict[Node, Value] = field(default_factory=dict)

    def of(self, node: Node) -> list[Node]:
        """What a node has become."""
        return [self.instead.get(node, node), *self.after.get(node, ())]

    def replace(self, gradient: Node, value: Value, producer: Node, readers: list[Node]) -> None:
        """Let a gradient read the choice, and a node on the way forward make it."""
        if gradient.op == "UnaryGrad":
            op, choice = "BitsGrad", self._bits(gradient, value, producer)
        else:
            pool = _pool(gradient, readers)
            assert pool is not None
            op, choice = "BlockedMaxPoolIndexGrad", self._index(pool)
        self.instead[gradient] = Node(op, (choice, gradient.input(1)), gradient.outputs, gradient.attrs)

    def _bits(self, gradient: Node, value: Value, producer: Node) -> Value:
        a = gradient.attrs
        key = (value, a["function"], a["alpha"], a["beta"])
        if key not in self.bits:
            made = self.bits[key] = Value(f"{value.name}.bits", bits_shape(value.size), BYTE)
            # Right after the value: it is still in a cache.
            self.after.setdefault(producer, []).append(Node("SlopeBits", (value,), (made,), dict(a)))
        return self.bits[key]

    def _index(self, pool: Node) -> Value:
        if pool not in self.index:
            y = pool.outputs[0]
            made = self.index[pool] = Value(f"{y.name}.index", index_shape(pool.attrs["result"]), BYTE)
            self.instead[pool] = Node("BlockedMaxPoolIndex", pool.inputs, (y, made), pool.attrs)
        return self.index[pool]
