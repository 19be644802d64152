"""A model at given input shapes: its forward graph and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.errors import LayerError, nearest
from gradcam.graph.explain_graph import entering_normaliser
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
    folds: FoldCache
    channel_axes: dict[Value, int]
    picture_axes: dict[Value, int | None] | None
    _default_layers: dict[str | None, Value | None] = field(default_factory=dict)
    _normalised: dict[str | None, bool] = field(default_factory=dict)

    @property
    def per_picture(self) -> bool:
        """Whether the pictures of a batch do not meet."""
        return self.picture_axes is not None

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
        if output not in self._default_layers:
            self._default_layers[output] = default_layer(self.graph, self.layers, self.channel_axes, self.output(output))
        return self._default_layers[output]

    def output(self, name: str | None) -> Value:
        """Output of a name; the first for None."""
        return next(iter(self.outputs.values())) if name is None else self.outputs[name]

    def is_normalised(self, output: str | None) -> bool:
        """Whether an output comes out of a Softmax, LogSoftmax or Sigmoid."""
        if output not in self._normalised:
            value = self.output(output)
            self._normalised[output] = entering_normaliser(self.graph, value) is not value
        return self._normalised[output]

    def arrange(self, value: Value, array: NDArray[Any], pictures: int) -> NDArray[Any]:
        """Put the pictures of a result, which stand one block after the other, along the axis where the model has them."""
        axis = 0 if self.picture_axes is None else self.picture_axes.get(value, 0)
        if not axis or pictures < 2:
            return array
        return np.concatenate(list(array.reshape(pictures, *value.shape)), axis)

    def channel_axis(self, layer: Value) -> int:
        """Axis of the channels of a layer; 1 where the operators do not tell."""
        return self.channel_axes.get(layer, 1)


def build_forward(source: Source, shapes: Mapping[str, Shape], real: np.dtype[Any], folds: FoldCache) -> Forward:
    """Build the graph at given input shapes; built for one picture, it may turn out to serve any number.

    Parameters
    ----------
    shapes : mapping
        Shape of every input with its batch.
    """
    graph, names = source.build(shapes, real)
    node_names = {n.name: n.outputs[0] for n in source.nodes if n.name and n.outputs}
    axes = channel_axes(graph)
    layers, lookup = find_layers(graph, axes, names, node_names)
    outputs = dict(zip(source.outputs, graph.outputs, strict=True))
    separable = all(shape[0] == 1 for shape in shapes.values()) and is_per_picture(graph)
    return Forward(graph, real, outputs, layers, lookup, folds, axes, picture_axes(graph) if separable else None)
