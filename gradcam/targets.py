"""What scalar is explained.

A target emits the score as nodes; class indices and weights are inputs of the graph, so one plan serves all classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradcam.errors import TargetError, nearest
from gradcam.graph.builder import Builder
from gradcam.graph.ir import Value

__all__ = ["ClassScore", "Contrast", "Negative", "Target", "TargetContext", "Weighted"]

Labels = Mapping[int, str]


class TargetContext(Protocol):
    """What a target sees of the graph it emits into."""

    g: Builder

    def logits(self, output: str | None) -> Value:
        """Scores of an output: what enters a final Softmax, LogSoftmax or Sigmoid, except in a peer's mode."""

    def output(self, output: str | None) -> Value:
        """The output as it is."""

    def input(self, shape: tuple[int, ...], dtype: np.dtype[Any] | None = None) -> Value:
        """A new input of the graph, one block per picture."""


@dataclass(frozen=True, slots=True)
class Target:
    """Base of all targets."""

    @property
    def explains_logit(self) -> bool:
        """Whether the score stands before a final Softmax, LogSoftmax or Sigmoid of the output (except in a peer's mode)."""
        return True

    def structure(self) -> tuple[Any, ...]:
        """What the emitted nodes depend on: targets of equal structure share a plan."""
        raise NotImplementedError

    def resolve(self, labels: Labels, shape: tuple[int, ...]) -> Target:
        """Return the target with class names as indices, checked against the shape of the output (without pictures)."""
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


def _class_score(context: TargetContext, scores: Value, index: Value) -> Value:
    """scores[index] along the class axis 1, summed over all positions; shape (1,)."""
    g = context.g
    flat = g.reshape(scores, (1, scores.shape[1] if len(scores.shape) > 1 else 1, prod(scores.shape[2:])))
    picked = g.emit("Gather", flat, index, axis=1)
    return g.reshape(g.sum(picked, (2,)) if flat.shape[2] > 1 else picked, (1,))


def _class_count(shape: tuple[int, ...]) -> int:
    return shape[0] if shape else 1


@dataclass(frozen=True, slots=True)
class ClassScore(Target):
    """Score of a class: its logit, summed over the positions of a segmentation map.

    Parameters
    ----------
    c : int or str
        Index or name of the class.
    output : str, optional
        Output of the model; the first by default.

    Notes
    -----
    Where the output comes out of a Softmax, LogSoftmax or Sigmoid, the logit that enters it is explained.
    """

    c: int | str
    output: str | None = field(default=None, kw_only=True)

    def structure(self) -> tuple[Any, ...]:
        """See `Target`."""
        return ("ClassScore", self.output)

    def resolve(self, labels: Labels, shape: tuple[int, ...]) -> ClassScore:
        """See `Target`."""
        return replace(self, c=class_index(self.c, labels, _class_count(shape)))

    def emit(self, context: TargetContext) -> Value:
        """See `Target`."""
        return _class_score(context, context.logits(self.output), context.input((1,), np.dtype(np.int64)))

    def operands(self) -> list[NDArray[Any]]:
        """See `Target`."""
        return [np.asarray([self.c], np.int64)]


@dataclass(frozen=True, slots=True)
class Contrast(Target):
    """Difference of two class scores, y_c - y_d: what speaks for c rather than for d.

    Parameters
    ----------
    c, d : int or str
        Indices or names of the classes.
    output : str, optional
        Output of the model; the first by default.
    """

    c: int | str
    d: int | str
    output: str | None = field(default=None, kw_only=True)

    def structure(self) -> tuple[Any, ...]:
        """See `Target`."""
        return ("Contrast", self.output)

    def resolve(self, labels: Labels, shape: tuple[int, ...]) -> Contrast:
        """See `Target`."""
        count = _class_count(shape)
        return replace(self, c=class_index(self.c, labels, count), d=class_index(self.d, labels, count))

    def emit(self, context: TargetContext) -> Value:
        """See `Target`."""
        scores = context.logits(self.output)
        one, other = (_class_score(context, scores, context.input((1,), np.dtype(np.int64))) for _ in range(2))
        return context.g.sub(one, other)

    def operands(self) -> list[NDArray[Any]]:
        """See `Target`."""
        return [np.asarray([self.c], np.int64), np.asarray([self.d], np.int64)]


@dataclass(frozen=True, slots=True)
class Negative(Target):
    """The negative of another target: what speaks against it.

    Parameters
    ----------
    target : Target, int or str
        Target that is negated.
    """

    target: Target | int | str

    def _inner(self) -> Target:
        return self.target if isinstance(self.target, Target) else ClassScore(self.target)

    def structure(self) -> tuple[Any, ...]:
        """See `Target`."""
        return ("Negative", self._inner().structure())

    def resolve(self, labels: Labels, shape: tuple[int, ...]) -> Negative:
        """See `Target`."""
        return Negative(self._inner().resolve(labels, shape))

    def emit(self, context: TargetContext) -> Value:
        """See `Target`."""
        return context.g.scale(self._inner().emit(context), -1)

    def operands(self) -> list[NDArray[Any]]:
        """See `Target`."""
        return self._inner().operands()

    def output_name(self) -> str | None:
        """See `Target`."""
        return self._inner().output_name()


@dataclass(frozen=True, slots=True, eq=False)
class Weighted(Target):
    """Weighted sum of an output, taken literally: S = sum t y.

    Parameters
    ----------
    array : array_like
        Weights in the shape of the output, with the batch axis (one block per picture, or one for all).
    output : str, optional
        Output of the model; the first by default.
    """

    array: ArrayLike
    output: str | None = field(default=None, kw_only=True)

    @property
    def explains_logit(self) -> bool:
        """See `Target`."""
        return False

    def structure(self) -> tuple[Any, ...]:
        """See `Target`."""
        return ("Weighted", self.output)

    def resolve(self, labels: Labels, shape: tuple[int, ...]) -> Weighted:
        """See `Target`."""
        weights = np.asarray(self.array)
        if weights.dtype.kind not in "fiu" or weights.ndim < 1 or weights.shape[1:] != shape:
            wanted = f"(pictures, {', '.join(map(str, shape))})"
            raise TargetError(f"target: Weighted: expected real weights of shape {wanted}, got {weights.dtype} {weights.shape}")
        return replace(self, array=weights.astype(np.float64) if weights.dtype.kind != "f" else weights)

    def of_picture(self, picture: int, pictures: int) -> Weighted:
        """Return the weights of one picture."""
        weights = np.asarray(self.array)
        if len(weights) not in (1, pictures):
            raise TargetError(f"target: Weighted: expected 1 or {pictures} blocks of weights, got {len(weights)}")
        return replace(self, array=weights[picture % len(weights)][None])

    def emit(self, context: TargetContext) -> Value:
        """See `Target`."""
        output, g = context.output(self.output), context.g
        product = g.mul(output, context.input(output.shape))
        return g.reshape(g.sum(product, range(len(product.shape))), (1,))

    def operands(self) -> list[NDArray[Any]]:
        """See `Target`."""
        return [np.asarray(self.array)]


@dataclass(frozen=True, slots=True)
class Top(Target):
    """The default: the class with the largest score, at the centre where the output is a map; a single value as it is.

    The model replaces it by the `ClassScore` of the class found.
    """

    output: str | None = field(default=None, kw_only=True)

    def structure(self) -> tuple[Any, ...]:
        """See `Target`."""
        return ("Top", self.output)

    def emit_index(self, context: TargetContext) -> Value:
        """See `Target`."""
        g, scores = context.g, context.output(self.output)
        if len(scores.shape) > 2:
            starts = (0, 0, *(n // 2 for n in scores.shape[2:]))
            sizes = (1, scores.shape[1], *(1 for _ in scores.shape[2:]))
            scores = g.emit("Slice", scores, starts=starts, steps=(1,) * len(sizes), sizes=sizes)
        return g.reshape(g.emit("ArgMax", g.reshape(scores, (1, scores.size)), axis=1), (1,))

    def emit_at(self, context: TargetContext, index: Value) -> Value:
        """See `Target`."""
        return _class_score(context, context.logits(self.output), index)

    def settled(self, index: int) -> ClassScore:
        """See `Target`."""
        return ClassScore(index, output=self.output)


def as_target(target: Any) -> Target:
    """Return a target from what a user may give: a target, a class index, a class name, or None."""
    if isinstance(target, Target):
        return target
    return Top() if target is None else ClassScore(target)


def per_picture(target: Any, pictures: int) -> list[Target]:
    """One target for each picture, from one for all or a list with one each."""
    if isinstance(target, Sequence) and not isinstance(target, str):
        if len(target) != pictures:
            raise TargetError(f"target: expected one target for each of {pictures} pictures, got {len(target)}")
        return [as_target(t) for t in target]
    if isinstance(target, np.ndarray) and target.ndim == 1 and target.dtype.kind in "iu":
        return per_picture([int(t) for t in target], pictures)
    return [as_target(target)] * pictures
