"""The intermediate representation: values, nodes and graphs, with no behaviour beyond bookkeeping."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Graph", "Node", "Shape", "Value"]

Shape = tuple[int, ...]


@dataclass(eq=False, slots=True)
class Value:
    """One array of a graph; shapes are concrete. `data` holds the elements of a constant."""

    name: str
    shape: Shape
    dtype: np.dtype[Any]
    data: NDArray[Any] | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def is_real(self) -> bool:
        """Whether the elements are floating-point numbers, of more than 8 bits: those are only read and converted."""
        return self.dtype.kind == "f" and self.dtype.itemsize > 1

    def __repr__(self) -> str:
        kind = "const " if self.data is not None else ""
        return f"<{kind}{self.name} {self.dtype}{list(self.shape)}>"


@dataclass(eq=False, slots=True)
class Node:
    """One operation. `op` names a record of `gradcam.graph.ops`; an absent optional input is None."""

    op: str
    inputs: tuple[Value | None, ...]
    outputs: tuple[Value, ...]
    attrs: dict[str, Any] = field(default_factory=dict)

    def input(self, place: int) -> Value:
        """An input that is not optional."""
        value = self.inputs[place]
        assert value is not None
        return value

    def __repr__(self) -> str:
        return f"{', '.join(o.name for o in self.outputs)} = {self.op}({', '.join('-' if i is None else i.name for i in self.inputs)})"


MANY = 9
"""Pictures with which it is tried whether a slice leaves some out."""


@dataclass(eq=False, slots=True)
class Graph:
    """Nodes in topological order from inputs to outputs.

    Attributes
    ----------
    cuts : list of (Value, int)
        Axes that a slice with given bounds took whole, which would take a part of a longer one.
    """

    inputs: list[Value]
    outputs: list[Value]
    nodes: list[Node]
    cuts: list[tuple[Value, int]] = field(default_factory=list)

    def producers(self) -> dict[Value, Node]:
        """Node that computes each value."""
        return {output: node for node in self.nodes for output in node.outputs}

    def consumers(self) -> dict[Value, list[Node]]:
        """Nodes that read each value."""
        readers: dict[Value, list[Node]] = {}
        for node in self.nodes:
            for value in dict.fromkeys(v for v in node.inputs if v is not None):
                readers.setdefault(value, []).append(node)
        return readers

    def downstream(self, sources: Iterable[Value]) -> set[Value]:
        """`sources` and every value computed from them."""
        reached = set(sources)
        for node in self.nodes:
            if any(v in reached for v in node.inputs):
                reached.update(node.outputs)
        return reached

    def upstream(self, targets: Iterable[Value]) -> set[Value]:
        """`targets` and every value that they are computed from."""
        reached = set(targets)
        for node in reversed(self.nodes):
            if any(v in reached for v in node.outputs):
                reached.update(v for v in node.inputs if v is not None)
        return reached
