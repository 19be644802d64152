"""The graph of an explanation: forward graph, scores of the targets, gradients back to the layer, maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradcam.compat import Mode
from gradcam.graph.autodiff import gradients
from gradcam.graph.builder import Builder
from gradcam.graph.ir import Graph, Value
from gradcam.graph.passes import prune, take_row
from gradcam.methods.base import CamBuilder, CamNodes, Method
from gradcam.targets import Target, Top

__all__ = ["Tail", "explain_graph", "gradient_graph"]

_NORMALISERS = ("Softmax", "LogSoftmax", "Sigmoid")


@dataclass(frozen=True, slots=True)
class Tail:
    """What one target adds: outputs of the graph."""

    score: Value
    cam: CamNodes | None
    gradient: Value | None
    index: Value | None


class _Context:
    """The graph as targets see it (`gradcam.targets.TargetContext`)."""

    def __init__(self, g: Builder, outputs: Mapping[str, Value], literal: bool) -> None:
        self.g, self._outputs, self._literal = g, outputs, literal
        self._count = 0

    def output(self, output: str | None) -> Value:
        return next(iter(self._outputs.values())) if output is None else self._outputs[output]

    def logits(self, output: str | None) -> Value:
        value = self.output(output)
        return value if self._literal else self.g.reshape(entering_normaliser(self.g.graph, value), value.shape)

    def input(self, shape: tuple[int, ...], dtype: np.dtype[Any] | None = None) -> Value:
        self._count += 1
        return self.g.input(f"target.{self._count}", shape, dtype)


def entering_normaliser(graph: Graph, value: Value) -> Value:
    """What enters the Softmax, LogSoftmax or Sigmoid that `value` comes out of (looked up through reshapes), else `value`."""
    producers = graph.producers()
    node = producers.get(value)
    while node is not None and node.op == "Reshape" and node.inputs[0] is not None:
        node = producers.get(node.inputs[0])
    if node is not None and node.op in _NORMALISERS and node.inputs[0] is not None:
        return node.inputs[0]
    return value


def _emit_score(context: _Context, target: Target) -> tuple[Value, Value | None]:
    if isinstance(target, Top):
        index = target.emit_index(context)
        return target.emit_at(context, index), index
    return target.emit(context), None


def explain_graph(
    forward: Graph,
    outputs: Mapping[str, Value],
    layer: Value,
    channel_axis: int,
    targets: Sequence[Target],
    method: Method,
    mode: Mode,
    options: Mapping[str, Any],
    real: np.dtype[Any],
) -> tuple[Graph, list[Tail]]:
    """Return the graph that computes score and map for each target, and where each result stands.

    The inputs after those of `forward` are the operands of the targets, in their order.
    """
    g = Builder(real, forward)
    context = _Context(g, outputs, mode.literal_targets)
    scores = [_emit_score(context, target) for target in targets]
    tails = []
    for score, index in scores:
        gradient = gradients(g, score, [layer])[0]
        cam = method.function(CamBuilder(g, layer, gradient, channel_axis, mode), **options)
        tails.append(Tail(score, cam, None, index))
    return _finish(g, tails), tails


def gradient_graph(
    forward: Graph, outputs: Mapping[str, Value], layer: Value, targets: Sequence[Target], literal: bool, real: np.dtype[Any]
) -> tuple[Graph, list[Tail]]:
    """Return the graph that computes the activations of a layer (its first output) and the gradient for each target."""
    g = Builder(real, forward)
    context = _Context(g, outputs, literal)
    tails = []
    for target in targets:
        score, index = _emit_score(context, target)
        tails.append(Tail(score, None, gradients(g, score, [layer])[0], index))
    return _finish(g, tails, layer), tails


def _finish(g: Builder, tails: Sequence[Tail], *first: Value) -> Graph:
    """Make the results the outputs of the graph (after `first`), and simplify it."""
    outputs = list(first)
    for tail in tails:
        outputs.append(tail.score)
        if tail.cam is not None:
            outputs += [v for v in (tail.cam.raw, tail.cam.weights, tail.cam.degenerate) if v is not None]
        outputs += [v for v in (tail.gradient, tail.index) if v is not None]
    g.graph.outputs = outputs
    return prune(take_row(prune(g.graph), g.real))
