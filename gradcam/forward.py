"""A model at given input shapes: its forward graph, layers and plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.errors import LayerError, nearest
from gradcam.graph.ir import Graph, Shape, Value
from gradcam.graph.layers import LayerInfo, channel_axes, default_layer, find_layers
from gradcam.graph.passes import fold_batchnorm, is_per_picture, picture_axes
from gradcam.graph.passes.fold_batchnorm import FoldCache
from gradcam.graph.source import Source

__all__ = ["Forward", "build_forward"]


@dataclass(slots=True)
class Forward:
    """Forward graph of a model for one picture, or for a whole batch where the graph mixes pictures."""

    graph: Graph
    real: np.dtype[Any]
    outputs: dict[str, Value]
    layers: dict[Value, LayerInfo]
    lookup: dict[str, Value]
    per_picture: bool
    folds: FoldCache
    _axes: dict[Value, int] = field(default_factory=dict)

    def folded(self, outputs: Sequence[Value], keep: Sequence[Value] = ()) -> Graph:
        """Graph with other outputs, batch normalisation folded where `keep` allows it."""
        graph = Graph(list(self.graph.inputs), list(outputs), list(self.graph.nodes))
        return fold_batchnorm(graph, keep, self.folds)

    def layer(self, name: str) -> Value:
        """Value of a layer given by tensor or node name; LayerError lists the nearest three."""
        if not isinstance(name, str):
            raise LayerError(f"layer: expected the name of a tensor or node, got {type(name).__name__}")
        if name not in self.lookup:
            raise LayerError(
                f"layer: no tensor or node is called '{name}'; nearest: {', '.join(repr(n) for n in nearest(name, list(self.lookup)))}"
            )
        return self.lookup[name]

    def default_layer(self, output: str | None = None) -> Value | None:
        """Last layer with positions before `output`, see `gradcam.graph.layers.default_layer`."""
        value = next(iter(self.outputs.values())) if output is None else self.outputs[output]
        return default_layer(self.graph, self.layers, value)

    def arrange(self, value: Value, array: NDArray[Any], pictures: int) -> NDArray[Any]:
        """Put the pictures of a result, which stand one block after the other, along the axis where the model has them."""
        axes = picture_axes(self.graph) if self.per_picture else None
        axis = 0 if axes is None else axes.get(value, 0)
        if not axis or pictures < 2:
            return array
        return np.concatenate(list(array.reshape(pictures, *value.shape)), axis)

    def channel_axis(self, layer: Value) -> int:
        """Axis of the channels of a layer; 1 where the operators do not tell."""
        if not self._axes:
            self._axes.update(channel_axes(self.graph))
        return self._axes.get(layer, 1)


def build_forward(source: Source, shapes: Mapping[str, Shape], real: np.dtype[Any], folds: FoldCache) -> Forward:
    """Build the graph at given input shapes; built for one picture, it may turn out to serve any number.

    Parameters
    ----------
    shapes : mapping
        Shape of every input with its batch.
    """
    graph, names = source.build(shapes, real)
    node_names = {n.name: n.outputs[0] for n in source.nodes if n.name and n.outputs}
    layers, lookup = find_layers(graph, names, node_names)
    outputs = dict(zip(source.outputs, graph.outputs, strict=True))
    per_picture = all(shape[0] == 1 for shape in shapes.values()) and is_per_picture(graph)
    return Forward(graph, real, outputs, layers, lookup, per_picture, folds)
