"""The graph of an explanation: forward graph, scores of the targets, gradients back to the layers, maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.compat import Mode
from gradcam.graph.autodiff import gradients
from gradcam.graph.builder import Builder
from gradcam.graph.ir import Graph, Node, Shape, Value
from gradcam.graph.operators import GuidedRule
from gradcam.graph.tokens import Tokens
from gradcam.methods.base import CamNodes, Method, Tail, emit_cam
from gradcam.methods.fullgrad import Term
from gradcam.targets import Target

__all__ = [
    "Branch",
    "Layer",
    "Scores",
    "entering_normaliser",
    "explain_graph",
    "explained_input",
    "full_gradient_graph",
    "gradient_graph",
    "score_graph",
]

_NORMALISERS = ("Softmax", "LogSoftmax", "Sigmoid")
_LINEAR = ("Reshape", "Transpose", "MatMul", "Add", "Sub", "Affine", "Gather", "Slice", "ReduceMean", "ReduceSum")


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that is explained, and how methods see it.

    Attributes
    ----------
    value : Value
        The tensor.
    channels : int
        Axis of its channels.
    tokens : (int, tuple of int) or None
        Of a sequence, which methods see as a picture: number of prefix tokens, and the grid of the others.
    """

    value: Value
    channels: int
    tokens: Tokens | None = None

    @property
    def shape(self) -> Shape:
        """Shape that methods see."""
        if self.tokens is None:
            return self.value.shape
        count = self.value.shape[self.channels]
        return (self.value.shape[0], count, *self.tokens[1]) if self.channels == 1 else (self.value.shape[0], *self.tokens[1], count)

    @property
    def channel_axis(self) -> int:
        """Axis of the channels in `shape`."""
        return 1 if self.channels == 1 else len(self.shape) - 1

    @property
    def grid(self) -> Shape:
        """Sizes of the axes of positions."""
        return tuple(n for i, n in enumerate(self.shape) if i not in (0, self.channel_axis))

    def arranged(self, g: Builder, array: Value) -> Value:
        """Emit what methods see of the tensor or its gradient: prefix tokens cut off, the others on their grid."""
        if self.tokens is None:
            return array
        axis, prefix = 3 - self.channels, self.tokens[0]
        return g.reshape(g.part(array, axis, prefix, array.shape[axis] - prefix), self.shape)

    def arrange(self, array: NDArray[Any]) -> NDArray[Any]:
        """Do the same with an array for any number of pictures."""
        if self.tokens is None:
            return array
        kept = array[:, self.tokens[0] :] if self.channels == 2 else array[:, :, self.tokens[0] :]
        return kept.reshape(len(array), *self.shape[1:])


@dataclass(frozen=True, slots=True)
class Branch:
    """What one target adds: outputs of the graph. `index` is the class where the network chooses it."""

    score: Value
    index: Value | None
    cams: tuple[CamNodes, ...] = ()
    arrays: tuple[Value, ...] = ()
    at_input: Value | None = None

    def named(self) -> dict[tuple[str, int], Value]:
        """All values by what they are and the number of the layer (or of the array)."""
        named = {("score", 0): self.score, ("index", 0): self.index, ("at_input", 0): self.at_input}
        for i, cam in enumerate(self.cams):
            named |= {(name, i): getattr(cam, name) for name in ("raw", "weights", "degenerate", "eigen", "at_input")}
        named |= {("array", i): array for i, array in enumerate(self.arrays)}
        return {key: value for key, value in named.items() if value is not None}


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

    def normaliser(self, output: str | None) -> Node | None:
        return None if self._literal else _normaliser(self.g.graph, self.output(output))

    def input(self, shape: tuple[int, ...], dtype: np.dtype[Any] | None = None) -> Value:
        self._count += 1
        return self.g.input(f"target.{self._count}", shape, dtype)


def _normaliser(graph: Graph, value: Value) -> Node | None:
    """The Softmax, LogSoftmax or Sigmoid that `value` comes out of (looked up through reshapes)."""
    producers = graph.producers()
    node = producers.get(value)
    while node is not None and node.op == "Reshape" and node.inputs[0] is not None:
        node = producers.get(node.inputs[0])
    return node if node is not None and node.op in _NORMALISERS and node.inputs[0] is not None else None


def entering_normaliser(graph: Graph, value: Value) -> Value:
    """What enters the Softmax, LogSoftmax or Sigmoid that `value` comes out of, else `value`."""
    node = _normaliser(graph, value)
    return value if node is None or node.inputs[0] is None else node.inputs[0]


@dataclass(frozen=True, slots=True)
class Scores:
    """A forward graph that is extended by the scores of targets."""

    g: Builder
    pairs: list[tuple[Value, Value | None]]
    inputs: tuple[Value, ...]

    @classmethod
    def emit(cls, forward: Graph, outputs: Mapping[str, Value], targets: Sequence[Target], literal: bool, real: np.dtype[Any]) -> Scores:
        """Emit the scores. The inputs of the graph after those of `forward` are the operands of the targets, in their order."""
        g = Builder(real, forward)
        context = _Context(g, outputs, literal)
        pairs = []
        for target in targets:
            index = target.emit_index(context)
            pairs.append((target.emit(context) if index is None else target.emit_at(context, index), index))
        return cls(g, pairs, tuple(forward.inputs))

    def finish(self, branches: Sequence[Branch]) -> Graph:
        """Make the results the outputs of the graph."""
        self.g.graph.outputs = [v for branch in branches for v in branch.named().values()]
        return self.g.graph


def explain_graph(
    scores: Scores,
    layers: Sequence[Layer],
    method: Method,
    mode: Mode,
    options: Mapping[str, Any],
    operands: Sequence[Mapping[str, NDArray[Any]]],
    keep: bool = False,
) -> tuple[Graph, list[Branch]]:
    """Return the graph that computes score and maps for each target, and where each result stands.

    Parameters
    ----------
    operands : sequence of mapping
        For each layer the arrays among the options, one block per picture; the last inputs of the graph, in this order.
    keep : bool
        Activations of the (only) layer and the gradient for each target are results too, as in `gradient_graph`.
    """
    g = scores.g
    given = [{name: g.input(f"option.{name}", (1, *array.shape[1:])) for name, array in one.items()} for one in operands]
    differentiated = keep or "gradients" in method.needs or method.model_gradients
    activations = [layer.arranged(g, layer.value) for layer in layers]
    branches = []
    for score, index in scores.pairs:
        found = gradients(g, score, [layer.value for layer in layers]) if differentiated else [None] * len(layers)
        cams = []
        for layer, seen, gradient, arrays in zip(layers, activations, found, given, strict=True):
            by = None if gradient is None else layer.arranged(g, gradient)
            tail = _tail(scores, score, layer, gradient)
            cams.append(emit_cam(method, mode, g, seen, by, layer.channel_axis, options, arrays, tail))
        kept = tuple(v for v in (layers[0].value, found[0]) if v is not None) if keep else ()
        at_input = None if layers else method.function(partial(_guided_gradient, scores, score, ()), **options)
        branches.append(Branch(score, index, tuple(cams), kept, at_input))
    return scores.finish(branches), branches


def explained_input(inputs: Sequence[Value], layers: Sequence[Layer]) -> int | None:
    """Number of the input whose positions are explained: the first with as many axes as the layer; without a layer the first."""
    rank = len(layers[0].shape) if layers else None
    for number, value in enumerate(inputs):
        if rank is None or len(value.shape) == rank:
            return number
    return None


def _guided_gradient(scores: Scores, score: Value, layers: Sequence[Layer], rule: GuidedRule) -> Value:
    number = explained_input(scores.inputs, layers)
    if number is None:
        raise ValueError(f"layer: '{layers[0].value.name}' of shape {layers[0].shape} has no input of as many axes to be explained at")
    return gradients(scores.g, score, [scores.inputs[number]], guided=rule)[0]


def _tail(scores: Scores, score: Value, layer: Layer, gradient: Value | None) -> Tail:
    g = scores.g

    def hessian_product() -> Value:
        assert gradient is not None
        # The seed counts as a constant: the result is the Hessian times the activations.
        return layer.arranged(g, gradients(g, gradient, [layer.value], seed=layer.value)[0])

    return Tail(hessian_product, partial(_check_pooled_head, g.graph, score, layer), partial(_guided_gradient, scores, score, (layer,)))


def _check_pooled_head(graph: Graph, score: Value, layer: Layer) -> None:
    """Refuse a layer that is not pooled over all its positions and read by linear operators alone."""
    reached = graph.downstream([layer.value])
    path = graph.upstream([score])
    nodes = [n for n in graph.nodes if n.outputs[0].is_real and n.outputs[0] in path and any(v in reached for v in n.inputs)]
    space = tuple(i for i in range(1, len(layer.value.shape)) if i != layer.channels)
    for node in nodes:
        if layer.value in node.inputs and not (node.op == "ReduceMean" and tuple(node.attrs["axes"]) == space):
            raise ValueError(f"cam: layer: '{layer.value.name}' is read by {node.op}, expected the mean over all positions")
        if node.op not in _LINEAR or node.op == "MatMul" and not _one_constant(node):
            raise ValueError(f"cam: layer: expected linear layers after the pooling of '{layer.value.name}', got {node.op}")


def _one_constant(node: Node) -> bool:
    return any(v is not None and v.data is not None for v in node.inputs[:2])


def score_graph(scores: Scores) -> tuple[Graph, list[Branch]]:
    """Return the graph that computes the scores alone."""
    branches = [Branch(score, index) for score, index in scores.pairs]
    return scores.finish(branches), branches


def gradient_graph(scores: Scores, layer: Value) -> tuple[Graph, list[Branch]]:
    """Return the graph that computes the activations of a layer and the gradient for each target."""
    branches = [Branch(score, index, arrays=(layer, gradients(scores.g, score, [layer])[0])) for score, index in scores.pairs]
    return scores.finish(branches), branches


def full_gradient_graph(scores: Scores, method: Method, mode: Mode, options: Mapping[str, Any]) -> tuple[Graph, list[Branch]]:
    """Return the graph of a method on all layers: one map for the first input and one for every bias that has positions."""
    g = scores.g
    forward = list(g.graph.nodes)
    branches = []
    for score, index in scores.pairs:
        path = g.graph.upstream([score])
        places = [(g.graph.inputs[0], g.graph.inputs[0])]
        for node in forward:
            bias = _bias(g, node)
            if bias is not None and node.outputs[0] in path and prod(node.outputs[0].shape[2:]) > 1:
                places.append((bias, node.outputs[0]))
        found = gradients(g, score, [place for _, place in places])
        terms = [Term(value, gradient) for (value, _), gradient in zip(places, found, strict=True)]
        branches.append(Branch(score, index, arrays=tuple(method.function(g, terms, mode, **options))))
    return scores.finish(branches), branches


def _bias(g: Builder, node: Node) -> Value | None:
    """Bias that a convolution or batch normalisation adds, as (1, C, 1, ...)."""
    values = [None if v is None else v.data for v in node.inputs]
    if node.op == "Conv" and len(values) > 2 and values[2] is not None:
        bias = values[2]
    elif node.op == "BatchNorm" and all(v is not None for v in values[1:]):
        gamma, beta, mean, var = (np.asarray(v, np.float64) for v in values[1:])
        bias = beta - mean * gamma / np.sqrt(var + node.attrs["epsilon"])
    else:
        return None
    return g.constant(np.asarray(bias).reshape(1, -1, *(1,) * (len(node.outputs[0].shape) - 2)))
