"""Losses as nodes: each takes the builder, the scores and the targets of a batch, and returns one number."""

from __future__ import annotations

from collections.abc import Callable

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Value

__all__ = ["LOSSES", "Loss", "mean_squared_error", "sigmoid_cross_entropy", "softmax_cross_entropy"]

Loss = Callable[[Builder, Value, Value], Value]
"""Emits a loss: (builder, scores, targets of the shape of the scores) -> a value of shape ()."""


def softmax_cross_entropy(g: Builder, scores: Value, targets: Value) -> Value:
    """Return the mean over pictures (and positions) of ``-sum_c t_c log softmax(s)_c``; classes lie along axis 1."""
    product = g.mul(targets, g.emit("LogSoftmax", scores, axis=1))
    return g.scale(_total(g, product), -scores.shape[1] / scores.size)


def sigmoid_cross_entropy(g: Builder, scores: Value, targets: Value) -> Value:
    """Return the mean over all scores of ``-t log p - (1 - t) log(1 - p) = softplus(s) - t s`` with p = sigmoid(s)."""
    each = g.sub(g.unary("Softplus", scores), g.mul(targets, scores))
    return g.scale(_total(g, each), 1 / scores.size)


def mean_squared_error(g: Builder, scores: Value, targets: Value) -> Value:
    """Return the mean over all scores of ``(s - t)^2``."""
    difference = g.sub(scores, targets)
    return g.scale(_total(g, g.mul(difference, difference)), 1 / scores.size)


LOSSES: dict[str, Loss] = {
    "softmax_cross_entropy": softmax_cross_entropy,
    "sigmoid_cross_entropy": sigmoid_cross_entropy,
    "mean_squared_error": mean_squared_error,
}
"""Losses by name."""


def _total(g: Builder, x: Value) -> Value:
    return g.sum(x, tuple(range(len(x.shape))))
