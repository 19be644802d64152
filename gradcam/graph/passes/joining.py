"""What passes share that write several nodes as one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection

from gradcam.graph.ir import Graph, Node, Value

__all__ = ["Joining"]


class Joining(ABC):
    """A graph whose nodes are visited in their order; a visit may put something in the place of nodes.

    Attributes
    ----------
    nodes : dict of Node to Node or None
        What has become of nodes; None: nothing.
    """

    def __init__(self, graph: Graph, keep: Collection[Value] = ()) -> None:
        self.graph, self.producers, self.consumers = graph, graph.producers(), graph.consumers()
        self.kept = {*graph.outputs, *keep}
        self.nodes: dict[Node, Node | None] = {}

    @abstractmethod
    def visit(self, node: Node) -> None:
        """Join what belongs to a node, if it does."""

    def replaced(self) -> Graph:
        """Visit all nodes and return what has become of the graph."""
        for node in self.graph.nodes:
            self.visit(node)
        nodes = [new for n in self.graph.nodes if (new := self.nodes.get(n, n)) is not None]
        return Graph(list(self.graph.inputs), list(self.graph.outputs), nodes)

    def readers(self, value: Value) -> list[Node]:
        """Nodes that read a value; none if somebody asks for it."""
        return [] if value in self.kept else self.consumers.get(value, [])

    def only_reader(self, value: Value) -> Node | None:
        """The one node that reads a value which nobody else asks for, if it is not joined already."""
        readers = self.readers(value)
        return readers[0] if len(readers) == 1 and readers[0] not in self.nodes else None
