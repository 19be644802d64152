"""Which tensors of a graph are layers that a map can be drawn for, where their channels lie, and which is the default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradcam.graph.ir import Graph, Node, Shape, Value
from gradcam.graph.operators import OPERATORS

__all__ = ["LayerInfo", "channel_axes", "default_layer", "find_layers"]

Layout = Literal["channels_first", "channels_last", "vector"]

_POOLS = ("MaxPool", "AveragePool")
_MOVES = ("Reshape", "Transpose", *_POOLS)


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """A tensor of a model that can be explained.

    Attributes
    ----------
    name : str
        Name of the tensor in the model file.
    op : str
        Operator that computes it.
    shape : tuple of int
        Shape for one picture.
    layout : {"channels_first", "channels_last", "vector"}
        Where the channels lie; a vector has no positions.
    aliases : tuple of str
        Other names by which it can be asked for, the node's among them.
    """

    name: str
    op: str
    shape: Shape
    layout: Layout
    aliases: tuple[str, ...] = ()

    @property
    def channel_axis(self) -> int:
        """Axis of the channels."""
        return len(self.shape) - 1 if self.layout == "channels_last" else 1

    def channels_first(self, array: ArrayLike) -> NDArray[Any]:
        """Return an array of this layer as (N, C, *spatial)."""
        return np.moveaxis(np.asarray(array), self.channel_axis, 1)


def channel_axes(graph: Graph) -> dict[Value, int]:
    """Channel axis of every value where it can be told from the operators: 1, or the last axis after a transposition."""
    axes: dict[Value, int] = {}
    consumers = graph.consumers()
    for value in graph.inputs:
        axes[value] = len(value.shape) - 1 if _is_channels_last(value, consumers) else 1
    for node in graph.nodes:
        axis = _channel_axis(node, axes)
        if axis is not None:
            axes[node.outputs[0]] = axis
    return axes


def _is_channels_last(value: Value, consumers: Mapping[Value, list[Node]]) -> bool:
    """Whether what is read from an input is transposed to channels first before it is convolved, pooled or flattened."""
    rank = len(value.shape)
    to_first = (0, rank - 1, *range(1, rank - 1))
    waiting, seen = [value], {value}
    while waiting and rank > 2:
        for node in consumers.get(waiting.pop(), ()):
            if node.op == "Transpose" and node.attrs["perm"] == to_first:
                return True
            output = node.outputs[0]
            if node.op not in ("Conv", "MatMul", "Transpose", *_POOLS) and len(output.shape) == rank and output not in seen:
                seen.add(output)
                waiting.append(output)
    return False


def _channel_axis(node: Node, axes: Mapping[Value, int]) -> int | None:
    """Channel axis of a node's output."""
    source = next((v for v in node.inputs if v is not None and v in axes and len(v.shape) == len(node.outputs[0].shape)), node.inputs[0])
    if source is None:
        return None
    axis, rank = axes.get(source), len(node.outputs[0].shape)
    if node.op in ("Conv", "BatchNorm", *_POOLS):
        return 1
    if node.op == "MatMul":
        return rank - 1
    if axis is None:
        return None
    if node.op == "Transpose":
        return int(node.attrs["perm"].index(axis))
    if node.op == "Reshape":
        same = [
            i
            for i, n in enumerate(node.outputs[0].shape)
            if n == source.shape[axis] and prod(node.outputs[0].shape[:i]) == prod(source.shape[:axis])
        ]
        return same[0] if same else None
    if node.op.startswith("Reduce"):
        return None if axis in node.attrs["axes"] else axis - sum(a < axis for a in node.attrs["axes"])
    return axis if len(source.shape) == rank else None


def _positions(value: Value, axes: Mapping[Value, int]) -> int:
    """Number of positions; 1 for vectors and for arrays whose channels are unknown."""
    if value not in axes or len(value.shape) < 3 or not value.is_real:
        return 1
    return prod(n for i, n in enumerate(value.shape) if i not in (0, axes[value]))


def find_layers(
    graph: Graph, axes: Mapping[Value, int], names: Mapping[str, Value], node_names: Mapping[str, str]
) -> tuple[dict[Value, LayerInfo], dict[str, Value]]:
    """Return the layers of a graph in its order, and every name by which a value can be asked for.

    Parameters
    ----------
    axes : mapping
        Channel axes, see `channel_axes`.
    names : mapping
        Tensor names of the model file and their values.
    node_names : mapping
        Node names and the name of their first output.
    """
    by_value: dict[Value, list[str]] = {}
    for name, value in names.items():
        by_value.setdefault(value, []).append(name)
    lookup = {name: value for name, value in names.items() if value.data is None and value.is_real}
    for name, tensor in node_names.items():
        if name not in lookup and tensor in lookup:
            lookup[name] = lookup[tensor]
            by_value[lookup[tensor]].append(name)
    layers = {}
    for node in graph.nodes:
        value = node.outputs[0]
        if _positions(value, axes) > 1 and len(value.shape) <= 5 and value in by_value:
            layout: Layout = "channels_first" if axes[value] == 1 else "channels_last"
            layers[value] = LayerInfo(value.name, node.op, value.shape, layout, tuple(n for n in by_value[value] if n != value.name))
    return layers, lookup


def default_layer(graph: Graph, layers: Mapping[Value, LayerInfo], axes: Mapping[Value, int], output: Value) -> Value | None:
    """Last layer before the positions are mixed for good on the way to `output`, with learned operators after it.

    (a) It comes before the last operator whose input has positions and whose output has none (global pooling, flatten);
    (b) it is still followed by a learned operator; (c) it is no result of pooling, reshape or transpose.
    """
    path = graph.upstream([output])
    nodes = [n for n in graph.nodes if any(o in path for o in n.outputs)]
    last = next(
        (
            n
            for n in reversed(nodes)
            if _positions(n.outputs[0], axes) == 1 and any(v is not None and _positions(v, axes) > 1 for v in n.inputs)
        ),
        None,
    )
    before = graph.upstream([v for v in last.inputs if v is not None]) if last is not None else path - {output}
    learned = [n for n in nodes if OPERATORS[n.op].learned and any(v is not None and v.data is not None for v in n.inputs[1:])]
    followed = graph.upstream([v for n in learned for v in n.inputs[:1] if v is not None])
    for node in reversed(nodes):
        value = node.outputs[0]
        if value in before and value in layers and value in followed and node.op not in _MOVES:
            return value
    return None
