"""Scores of classes: logits, probabilities and their logarithms."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.graph.ir import Value
from gradcam.targets.base import Labels, Target, TargetContext, class_index

__all__ = ["ClassScore", "LogProbability", "Probability", "ReST", "Top"]


def _class_score(context: TargetContext, scores: Value, index: Value) -> Value:
    """scores[index] along the class axis 1, summed over all positions; shape (1,)."""
    g = context.g
    flat = g.reshape(scores, (1, scores.shape[1] if len(scores.shape) > 1 else 1, prod(scores.shape[2:])))
    picked = g.emit("Gather", flat, index, axis=1)
    return g.reshape(g.sum(picked, (2,)) if flat.shape[2] > 1 else picked, (1,))


def _class_count(shape: tuple[int, ...]) -> int:
    return shape[0] if shape else 1


@dataclass(frozen=True, slots=True)
class _OfClass(Target):
    """Base of the targets that look classes up in an array of scores."""

    c: int | str
    output: str | None = field(default=None, kw_only=True)

    def structure(self) -> tuple[Any, ...]:
        """See `Target`."""
        return (type(self).__name__, self.output)

    def resolve(self, labels: Labels, shape: tuple[int, ...]) -> Target:
        """See `Target`."""
        index = class_index(self.c, labels, _class_count(shape))
        return self if type(self.c) is int and self.c == index else replace(self, c=index)

    def scores(self, context: TargetContext) -> Value:
        """Emit the scores of all classes."""
        return context.logits(self.output)

    def emit(self, context: TargetContext) -> Value:
        """See `Target`."""
        return _class_score(context, self.scores(context), context.input((1,), np.dtype(np.int64)))

    def operands(self) -> list[NDArray[Any]]:
        """See `Target`."""
        return [np.asarray([self.c], np.int64)]


@dataclass(frozen=True, slots=True)
class ClassScore(_OfClass):
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


def _unary(context: TargetContext, op: str, x: Value) -> Value:
    return context.g.emit(op, x, alpha=0.0, beta=0.0)


def _probabilities(context: TargetContext, output: str | None) -> Value:
    """Probabilities of an output, which may be them already."""
    value, node = context.output(output), context.normaliser(output)
    if node is not None:
        return _unary(context, "Exp", value) if node.op == "LogSoftmax" else value
    logits = context.logits(output)
    if _class_count(logits.shape[1:]) == 1:
        return _unary(context, "Sigmoid", logits)
    return context.g.emit("Softmax", logits, axis=1)


def _log_probabilities(context: TargetContext, output: str | None) -> Value:
    """The logarithm of `_probabilities`, computed from the logits: it stays finite where the probability is 0."""
    g, value, node = context.g, context.output(output), context.normaliser(output)
    logits = context.logits(output)
    if node is not None and node.op == "LogSoftmax":
        return value
    if node is not None and node.op == "Softmax":  # along the axis of the model's own
        return g.reshape(g.emit("LogSoftmax", node.inputs[0], axis=node.attrs["axis"]), value.shape)
    if node is not None or _class_count(logits.shape[1:]) == 1:
        return g.scale(_unary(context, "Softplus", g.scale(logits, -1)), -1)
    return g.emit("LogSoftmax", logits, axis=1)


@dataclass(frozen=True, slots=True)
class Probability(_OfClass):
    """Probability of a class, p_c = softmax_c(y), summed over the positions of a segmentation map.

    Parameters
    ----------
    c : int or str
        Index or name of the class.
    output : str, optional
        Output of the model; the first by default.

    Notes
    -----
    An output that comes out of a Softmax or Sigmoid is taken as it is, one that comes out of a LogSoftmax through exp. Otherwise
    softmax is applied along the class axis 1, or the sigmoid where there is one class only. In a peer's mode the output
    counts as logits whatever it is, as in pytorch-grad-cam's ``ClassifierOutputSoftmaxTarget``.

    The gradient is p_c (dy_c - sum_j p_j dy_j): near 0 where the softmax is saturated. Raw Grad-CAM maps of all
    probabilities sum to zero; those of two classes are negatives of each other.
    """

    def scores(self, context: TargetContext) -> Value:
        """See `_OfClass`."""
        return _probabilities(context, self.output)

    def reads_logits(self) -> bool:
        """See `Target`."""
        return False


@dataclass(frozen=True, slots=True)
class LogProbability(_OfClass):
    """Logarithm of the probability of a class, log p_c, summed over the positions of a segmentation map.

    Parameters
    ----------
    c : int or str
        Index or name of the class.
    output : str, optional
        Output of the model; the first by default.

    Notes
    -----
    The probability is that of `Probability`; its logarithm comes from the logits, without the detour.
    """

    def scores(self, context: TargetContext) -> Value:
        """See `_OfClass`."""
        return _log_probabilities(context, self.output)

    def reads_logits(self) -> bool:
        """See `Target`."""
        return False


@dataclass(frozen=True, slots=True)
class ReST(_OfClass):
    """Residual softmax target, y_c + log p_c: the logit, held against the others.

    Parameters
    ----------
    c : int or str
        Index or name of the class.
    output : str, optional
        Output of the model; the first by default.

    Notes
    -----
    y are the logits, which enter a final Softmax, LogSoftmax or Sigmoid; p is that of `Probability`.

    References
    ----------
    H. Cai, CAMs as Shapley Value-based Explainers, The Visual Computer, 2025.
    """

    def scores(self, context: TargetContext) -> Value:
        """See `_OfClass`."""
        return context.g.add(context.logits(self.output), _log_probabilities(context, self.output))


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
