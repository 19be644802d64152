"""What a target is, what it sees of the graph, and classes by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gradcam.errors import TargetError, nearest
from gradcam.graph.builder import Builder
from gradcam.graph.ir import Node, Value

__all__ = ["Labels", "Target", "TargetContext", "class_index"]

Labels = Mapping[int, str]


class TargetContext(Protocol):
    """What a target sees of the graph it emits into."""

    g: Builder

    def logits(self, output: str | None) -> Value:
        """Scores of an output: what enters a final Softmax, LogSoftmax or Sigmoid, except in a peer's mode."""

    def output(self, output: str | None) -> Value:
        """The output as it is."""

    def normaliser(self, output: str | None) -> Node | None:
        """The Softmax, LogSoftmax or Sigmoid that the output comes out of; None if there is none, and in a peer's mode."""

    def input(self, shape: tuple[int, ...], dtype: np.dtype[Any] | None = None) -> Value:
        """A new input of the graph, one block per picture."""


@dataclass(frozen=True, slots=True)
class Target:
    """Base of all targets."""

    def structure(self) -> tuple[Any, ...]:
        """What the emitted nodes depend on: targets of equal structure share a plan."""
        raise NotImplementedError

    def resolve(self, labels: Labels, shape: tuple[int, ...]) -> Target:
        """Return the target with class names as indices, checked against the shape of the output (without pictures)."""
        return self

    def of_picture(self, picture: int, pictures: int) -> Target:
        """Return the resolved target of one picture."""
        return self

    def emit(self, context: TargetContext) -> Value:
        """Emit the score, of shape (1,)."""
        raise NotImplementedError

    def emit_index(self, context: TargetContext) -> Value | None:
        """Emit the index of the class where the network chooses it, of shape (1,); None where the caller has."""
        return None

    def emit_at(self, context: TargetContext, index: Value) -> Value:
        """Emit the score at the index that `emit_index` found."""
        raise NotImplementedError

    def settled(self, index: int) -> Target:
        """Return the target once the network has chosen the class."""
        return self

    def operands(self) -> list[NDArray[Any]]:
        """Arrays for the inputs that `emit` asked for, in its order, for one picture."""
        return []

    def output_name(self) -> str | None:
        """Return the name of the output that is explained, None for the first."""
        return getattr(self, "output", None)

    def reads_logits(self) -> bool:
        """Whether the score is what enters a final Softmax, LogSoftmax or Sigmoid, not what comes out of it."""
        return True


def class_index(name: int | str, labels: Labels, count: int) -> int:
    """Index of a class given by index or name.

    A name matches exactly, else case-insensitively, else as the only name that contains it.

    Raises
    ------
    TargetError
        There is no such class; the text lists the nearest three.
    """
    if isinstance(name, int | np.integer) and not isinstance(name, bool | np.bool_):
        if not -count <= name < count:
            raise TargetError(f"target: class {name} does not exist: the output has {count} classes, 0 to {count - 1}")
        return int(name) % count
    if not isinstance(name, str):
        raise TargetError(f"target: expected a class index, a class name or a target, got {type(name).__name__}")
    if not labels:
        raise TargetError(f"target: class '{name}' cannot be looked up: the model has no labels, pass labels= or a class index")
    folded = name.casefold()
    for matches in (
        [i for i, label in labels.items() if label == name],
        [i for i, label in labels.items() if label.casefold() == folded],
        [i for i, label in labels.items() if folded in label.casefold()],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            names = ", ".join(f"{i} '{labels[i]}'" for i in matches[:3])
            raise TargetError(f"target: class '{name}' is ambiguous: {names}{', ...' if len(matches) > 3 else ''}")
    raise TargetError(f"target: no class is called '{name}'; nearest: {', '.join(repr(n) for n in nearest(name, list(labels.values())))}")
