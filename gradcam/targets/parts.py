"""Parts of an output of any rank: a region, one element, a sequence of words, one value, and the direction of an embedding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradcam.errors import TargetError
from gradcam.graph.builder import Builder
from gradcam.graph.ir import Value
from gradcam.targets.base import Labels, Target, TargetContext, class_index

__all__ = ["Binary", "Index", "Region", "Similarity", "Tokens"]


def _real_array(what: str, array: ArrayLike) -> NDArray[Any]:
    """A finite array of real numbers in float64."""
    found = np.asarray(array)
    if found.dtype.kind not in "fiub":
        raise TargetError(f"target: {what}: expected real numbers, got {found.dtype}")
    found = found.astype(np.float64)
    if not np.isfinite(found).all():
        raise TargetError(f"target: {what}: expected finite numbers, got NaN or infinity")
    return found


def _total(g: Builder, array: Value) -> Value:
    """Sum over all elements, of shape (1,)."""
    return g.reshape(g.sum(g.reshape(array, (1, array.size)), (1,)), (1,))


@dataclass(frozen=True, slots=True, eq=False)
class Region(Target):
    """Score of a class in a part of a segmentation map: S = sum over positions x of mask[x] y_c[x].

    Parameters
    ----------
    c : int or str
        Index or name of the class, along axis 1 of the output.
    mask : array_like
        Weight of each position (bool, or real numbers), in the shape of the output without batch and class axis.
    output : str, optional
        Output of the model; the first by default.

    Notes
    -----
    Where the output comes out of a Softmax, LogSoftmax or Sigmoid, the logits that enter it are summed.
    """

    c: int | str
    mask: ArrayLike
    output: str | None = field(default=None, kw_only=True)

    def structure(self) -> tuple[Any, ...]:
        """See `Target`."""
        return ("Region", self.output)

    def resolve(self, labels: Labels, shape: tuple[int, ...]) -> Region:
        """See `Target`."""
        mask = _real_array("Region: mask", self.mask)
        if len(shape) < 2 or mask.shape != shape[1:]:
            raise TargetError(f"target: Region: mask: expected the shape {shape[1:]} of the output's positions, got {mask.shape}")
        return replace(self, c=class_index(self.c, labels, shape[0]), mask=mask)

    def emit(self, context: TargetContext) -> Value:
        """See `Target`."""
        g, scores = context.g, context.logits(self.output)
        flat = g.reshape(scores, (1, scores.shape[1], prod(scores.shape[2:])))
        picked = g.emit("Gather", flat, context.input((1,), np.dtype(np.int64)), axis=1)
        return _total(g, g.mul(picked, context.input((1, 1, flat.shape[2]))))

    def operands(self) -> list[NDArray[Any]]:
        """See `Target`."""
        return [np.asarray([self.c], np.int64), np.asarray(self.mask).reshape(1, 1, -1)]


@dataclass(frozen=True, slots=True)
class Index(Target):
    """One element of an output of any rank, taken literally: a cell of a detector, a word at a step, a regressed value.

    Parameters
    ----------
    index : int or tuple of int
        One index for each axis of the output but that of the batch; negative ones count from the end.
    output : str, optional
        Output of the model; the first by default.
    """

    index: int | tuple[int, ...]
    output: str | None = field(default=None, kw_only=True)

    def structure(self) -> tuple[Any, ...]:
        """See `Target`."""
        return ("Index", self.output)

    def resolve(self, labels: Labels, shape: tuple[int, ...]) -> Index:
        """See `Target`."""
        given = self.index if isinstance(self.index, Sequence) and not isinstance(self.index, str) else (self.index,)
        whole = all(isinstance(i, int | np.integer) and not isinstance(i, bool) for i in given)
        if not whole or len(given) != len(shape) or not all(-n <= i < n for i, n in zip(given, shape, strict=True)):
            wanted = f"{len(shape)} ind{'ex' if len(shape) == 1 else 'ices'} into the shape {shape}"
            raise TargetError(f"target: Index: expected {wanted} of the output without its batch axis, got {self.index!r}")
        return replace(self, index=tuple(int(i) % n for i, n in zip(given, shape, strict=True)))

    def emit(self, context: TargetContext) -> Value:
        """See `Target`."""
        g, value = context.g, context.output(self.output)
        while len(value.shape) > 1:
            picked = g.emit("Gather", value, context.input((1,), np.dtype(np.int64)), axis=1)
            value = g.reshape(picked, (1, *value.shape[2:]))
        return value

    def operands(self) -> list[NDArray[Any]]:
        """See `Target`."""
        return [np.asarray([i], np.int64) for i in np.atleast_1d(self.index)]

    def reads_logits(self) -> bool:
        """See `Target`."""
        return False


@dataclass(frozen=True, slots=True, eq=False)
class Similarity(Target):
    """Cosine of an output, taken literally as one long vector, with an embedding: S = sum y e / (|y| |e|).

    Parameters
    ----------
    embedding : array_like
        The vector e, in the shape of the output without its batch axis, or flat.
    output : str, optional
        Output of the model; the first by default.

    Notes
    -----
    The gradient is (e / |e| - S y / |y|) / |y|: changes of the length of y do not count. An output of zeros has no direction;
    its score is NaN.
    """

    embedding: ArrayLike
    output: str | None = field(default=None, kw_only=True)

    def structure(self) -> tuple[Any, ...]:
        """See `Target`."""
        return ("Similarity", self.output)

    def resolve(self, labels: Labels, shape: tuple[int, ...]) -> Similarity:
        """See `Target`."""
        found = _real_array("Similarity: embedding", self.embedding)
        if found.shape not in (shape, (prod(shape),)):
            raise TargetError(f"target: Similarity: embedding: expected the shape {shape} of the output, got {found.shape}")
        largest = np.abs(found).max(initial=0)
        if largest == 0:
            raise TargetError("target: Similarity: embedding: expected a vector other than 0")
        direction = found.ravel() / largest
        return replace(self, embedding=direction / np.linalg.norm(direction))

    def emit(self, context: TargetContext) -> Value:
        """See `Target`."""
        g, value = context.g, context.output(self.output)
        flat = g.reshape(value, (1, value.size))
        length = g.emit("Sqrt", _total(g, g.mul(flat, flat)), alpha=0.0, beta=0.0)
        return g.emit("Div", _total(g, g.mul(flat, context.input(flat.shape))), length)

    def operands(self) -> list[NDArray[Any]]:
        """See `Target`."""
        return [np.asarray(self.embedding).reshape(1, -1)]

    def reads_logits(self) -> bool:
        """See `Target`."""
        return False


@dataclass(frozen=True, slots=True)
class Tokens(Target):
    """Logarithm of the probability of given words: S = sum over steps t of log softmax(y[t])[ids[t]].

    Parameters
    ----------
    ids : sequence of int or str
        One word for each step, by index or name.
    output : str, optional
        Output of the model, (N, steps, words); the first by default.
    words : int
        Number of words, which the model fills in.

    Notes
    -----
    Where the output comes out of a Softmax or LogSoftmax, softmax is applied to what enters it.
    """

    ids: Sequence[int | str]
    output: str | None = field(default=None, kw_only=True)
    words: int = field(default=0, kw_only=True, repr=False, compare=False)

    def structure(self) -> tuple[Any, ...]:
        """See `Target`."""
        return ("Tokens", self.output)

    def resolve(self, labels: Labels, shape: tuple[int, ...]) -> Tokens:
        """See `Target`."""
        if len(shape) != 2:
            raise TargetError(f"target: Tokens: expected an output of shape (N, steps, words), got {('N', *shape)}")
        if isinstance(self.ids, str) or not isinstance(self.ids, Sequence | np.ndarray) or len(self.ids) != shape[0]:
            raise TargetError(f"target: Tokens: ids: expected one word for each of {shape[0]} steps, got {self.ids!r}")
        return replace(self, ids=tuple(class_index(word, labels, shape[1]) for word in self.ids), words=shape[1])

    def emit(self, context: TargetContext) -> Value:
        """See `Target`."""
        g, scores = context.g, context.logits(self.output)
        flat = g.reshape(g.emit("LogSoftmax", scores, axis=2), (1, scores.size))
        return _total(g, g.emit("Gather", flat, context.input((scores.shape[1],), np.dtype(np.int64)), axis=1))

    def operands(self) -> list[NDArray[Any]]:
        """See `Target`."""
        return [np.asarray([step * self.words + int(word) for step, word in enumerate(self.ids)], np.int64)]


@dataclass(frozen=True, slots=True)
class Binary(Target):
    """The only score of an output, or its negative: S = y or -y, summed over the positions of a map.

    Parameters
    ----------
    sign : {1, -1}
        1 for what speaks for "yes", -1 for "no".
    output : str, optional
        Output of the model; the first by default.

    Notes
    -----
    Where the output comes out of a Sigmoid, y is the logit that enters it.
    """

    sign: int = 1
    output: str | None = field(default=None, kw_only=True)

    def structure(self) -> tuple[Any, ...]:
        """See `Target`."""
        return ("Binary", self.sign, self.output)

    def resolve(self, labels: Labels, shape: tuple[int, ...]) -> Binary:
        """See `Target`."""
        if isinstance(self.sign, bool) or self.sign not in (1, -1):
            raise TargetError(f"target: Binary: sign: expected 1 or -1, got {self.sign!r}")
        if shape and shape[0] != 1:
            raise TargetError(f"target: Binary: expected an output of one class, got {shape[0]} in {('N', *shape)}")
        return self

    def emit(self, context: TargetContext) -> Value:
        """See `Target`."""
        return context.g.scale(_total(context.g, context.logits(self.output)), float(self.sign))
