"""Which tensors of a graph are layers that a map can be drawn for, where their channels and positions lie, and what they are called."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradcam.graph.ir import Graph, Node, Shape, Value
from gradcam.graph.module_paths import last_tensors
from gradcam.graph.onnx_form import OnnxNode
from gradcam.graph.tokens import Tokens, grids_before, largest_square, token_grid

__all__ = ["LayerInfo", "channel_axes", "find_layers", "positions", "split_tokens"]

Layout = Literal["channels_first", "channels_last", "tokens", "vector"]

_POOLS = ("MaxPool", "AveragePool")


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
    layout : {"channels_first", "channels_last", "tokens", "vector"}
        Where the channels lie: (N, C, *positions), (N, *positions, C), or (N, T, C) with the positions of a picture in a
        sequence; a vector has no positions.
    aliases : tuple of str
        Other names by which it can be asked for: the node's, and the modules of which it is the last tensor with positions.
    module : str
        Path of the innermost module around it, where the exporter left it; else empty.
    tokens : (int, tuple of int) or None
        Of a sequence that was cut from a picture: number of prefix tokens (class token, registers), and the grid of the others.
    """

    name: str
    op: str
    shape: Shape
    layout: Layout
    aliases: tuple[str, ...] = ()
    module: str = ""
    tokens: Tokens | None = None

    @property
    def channel_axis(self) -> int:
        """Axis of the channels."""
        return len(self.shape) - 1 if self.layout in ("channels_last", "tokens") else 1

    def channels_first(self, array: ArrayLike) -> NDArray[Any]:
        """Return an array of this layer as (N, C, *spatial); tokens on their grid, without the prefix.

        Raises
        ------
        ValueError
            The tokens fit no grid.
        """
        moved = np.moveaxis(np.asarray(array), self.channel_axis, 1)
        tokens = self.tokens
        if tokens is None and self.layout == "tokens":
            tokens = split_tokens(f"channels_first: layer '{self.name}'", moved.shape[2], None)
        return moved if tokens is None else moved[:, :, tokens[0] :].reshape(*moved.shape[:2], *tokens[1])


def split_tokens(what: str, count: int, given: Any) -> Tokens:
    """Prefix and grid of `count` tokens as given, else those of the largest square.

    Parameters
    ----------
    what : str
        Beginning of the messages.
    given : (int, sequence of int) or None
        Number of prefix tokens, and the grid of the others.
    """
    if given is None:
        found = largest_square(count)
        if found is None:
            raise ValueError(f"{what}: T={count} tokens fit no grid of the model and no square: pass tokens=(prefix, (rows, columns))")
        return found
    try:
        prefix, grid = int(given[0]), tuple(int(n) for n in given[1])
    except (IndexError, TypeError, ValueError):
        raise ValueError(f"{what}: tokens: expected (prefix, (rows, columns)), got {given!r}") from None
    if prefix < 0 or not 1 <= len(grid) <= 3 or min(grid) < 1 or prefix + prod(grid) != count:
        raise ValueError(f"{what}: tokens: expected prefix + rows * columns = {count} = T, got {given!r}")
    return prefix, grid


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
    if node.op == "MatMul":  # of weights and what they read; a product of two arrays mixes positions as it likes
        return rank - 1 if any(v is not None and v.data is not None for v in node.inputs) else None
    if axis is None or axis >= len(source.shape):
        return None
    if node.op == "Transpose":
        return int(node.attrs["perm"].index(axis))
    if node.op == "Reshape":
        same = [
            i
            for i, n in enumerate(node.outputs[0].shape)
            if i > 0 and n == source.shape[axis] and prod(node.outputs[0].shape[:i]) == prod(source.shape[:axis])
        ]
        return same[0] if same else None
    if node.op.startswith("Reduce"):
        return None if axis in node.attrs["axes"] else axis - sum(a < axis for a in node.attrs["axes"])
    return axis if len(source.shape) == rank else None


def positions(value: Value, axes: Mapping[Value, int]) -> int:
    """Number of positions; 1 for vectors and for arrays whose channels are unknown."""
    if value not in axes or len(value.shape) < 3 or not value.is_real:
        return 1
    return prod(n for i, n in enumerate(value.shape) if i not in (0, axes[value]))


def find_layers(
    graph: Graph, axes: Mapping[Value, int], names: Mapping[str, Value], nodes: Sequence[OnnxNode], weights: Container[str]
) -> tuple[dict[Value, LayerInfo], dict[str, Value]]:
    """Return the layers of a graph in its order, and every name by which a value can be asked for.

    Parameters
    ----------
    axes : mapping
        Channel axes, see `channel_axes`.
    names : mapping
        Tensor names of the model file and their values.
    nodes : sequence of OnnxNode
        Of the model file.
    weights : container of str
        Names of its initializers.
    """
    lookup = {name: value for name, value in names.items() if value.data is None and value.is_real}
    other: dict[Value, list[str]] = {}
    modules: dict[Value, str] = {}
    for name, value in names.items():
        other.setdefault(value, []).append(name)
    for node in nodes:
        tensor = node.outputs[0] if node.outputs else ""
        if tensor in lookup:
            modules.setdefault(lookup[tensor], node.scopes[-1] if node.scopes else "")
            if node.name and node.name not in lookup:
                lookup[node.name] = lookup[tensor]
                other[lookup[tensor]].append(node.name)
    shown = [n for n in graph.nodes if n.outputs[0] in other and _is_layer(n.outputs[0], graph, axes)]
    placed = {n.outputs[0] for n in shown}
    for path, tensor in last_tensors(nodes, weights, {name for name, value in lookup.items() if value in placed}).items():
        if path not in lookup:
            lookup[path] = lookup[tensor]
            other[lookup[tensor]].append(path)
    sequences = _sequences(graph, axes, [n.outputs[0] for n in shown])
    layers = {}
    for value, op in ((n.outputs[0], n.op) for n in shown):
        layout: Layout = "channels_first" if axes[value] == 1 else "tokens" if value in sequences else "channels_last"
        aliases = tuple(name for name in other[value] if name != value.name)
        layers[value] = LayerInfo(value.name, op, value.shape, layout, aliases, modules.get(value, ""), sequences.get(value))
    return layers, lookup


def _is_layer(value: Value, graph: Graph, axes: Mapping[Value, int]) -> bool:
    """Whether a value has positions of each picture: what stands beside axis 0 may be windows or heads."""
    return positions(value, axes) > 1 and len(value.shape) <= 5 and value.shape[0] == graph.inputs[0].shape[0]


def _sequences(graph: Graph, axes: Mapping[Value, int], values: Iterable[Value]) -> dict[Value, Tokens | None]:
    """Those of `values` that are sequences in a model of pictures, with their grids where one fits."""
    pictures = [v for v in graph.inputs if len(v.shape) > 3]
    sizes = {tuple(n for i, n in enumerate(v.shape) if i not in (0, axes[v])) for v in pictures}
    grids = grids_before(graph, axes)
    found: dict[Value, Tokens | None] = {}
    for value in values:
        if len(value.shape) == 3:
            tokens = token_grid(value.shape[3 - axes[value]], grids[value], sizes)
            if pictures or tokens is not None and tokens[0]:
                found[value] = tokens
    return found
