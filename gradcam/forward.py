"""A model at given input shapes: its forward graph and what is known of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.cache import Cache
from gradcam.errors import LayerError, ModelFormatError, nearest
from gradcam.graph.default_layer import default_layer
from gradcam.graph.explain_graph import Layer, entering_normaliser
from gradcam.graph.ir import MANY, Graph, Shape, Value
from gradcam.graph.layers import LayerInfo, channel_axes, find_layers, split_tokens
from gradcam.graph.module_paths import child_paths, pattern_of
from gradcam.graph.passes import cuts_pictures, fold_batchnorm, fuse_gates, fuse_layer_norm, is_per_picture, picture_axes
from gradcam.graph.passes.fold_batchnorm import FoldCache
from gradcam.graph.passes.pull_row import pull_row
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
    without: Collection[str]
    channel_axes: dict[Value, int]
    picture_axes: dict[Value, int | None] | None
    _default_layers: dict[str | None, Value | None] = field(default_factory=dict)
    _normalised: dict[str | None, bool] = field(default_factory=dict)
    _matches: Cache[tuple[Value, ...]] = field(default_factory=partial(Cache, 64))

    @property
    def per_picture(self) -> bool:
        """Whether the pictures of a batch do not meet."""
        return self.picture_axes is not None

    def folded(self, outputs: Sequence[Value], keep: Sequence[Value] = ()) -> Graph:
        """Graph with other outputs; where `keep` allows it, batch norms are folded, gates and layer norms one node, unread rows left out.

        Before differentiation, so that what is not computed has no gradient, and that of a gate or layer norm is one node too.
        """
        graph = Graph(list(self.graph.inputs), list(outputs), list(self.graph.nodes))
        if "fold_batchnorm" not in self.without:
            graph = fold_batchnorm(graph, keep, self.folds)
        if "gates" not in self.without:
            graph = fuse_gates(graph, keep)
        if "layer_norm" not in self.without:
            graph = fuse_layer_norm(graph, keep)
        return graph if "pull_row" in self.without else pull_row(graph, self.real, [*keep, *outputs])

    def layer(self, name: str) -> Value:
        """Value of one layer given by tensor or node name, module path, or a pattern; LayerError lists the nearest three."""
        found = self.matching(name)
        if len(found) > 1:
            names = ", ".join(f"'{value.name}'" for value in found[:3])
            raise LayerError(f"layer: expected one layer, '{name}' matches {len(found)}: {names}{', ...' if len(found) > 3 else ''}")
        return found[0]

    def matching(self, name: str) -> tuple[Value, ...]:
        """Value of a name; for a pattern those of all layers of which a name matches, in their order.

        In patterns ``*`` and ``?`` stand for anything without ``.`` and ``/``, ``**`` for anything.
        """
        if not isinstance(name, str):
            raise LayerError(f"layer: expected the name of a tensor, node or module, got {type(name).__name__}")
        return (self.lookup[name],) if name in self.lookup else self._matches.get(name, partial(self._match, name))

    def _match(self, name: str) -> tuple[Value, ...]:
        """Look for a name that is none of a tensor, node or module."""
        wanted = child_paths(name, self.lookup)
        if wanted in self.lookup:
            return (self.lookup[wanted],)
        pattern = pattern_of(wanted)
        if pattern is not None:
            found = tuple(v for v, info in self.layers.items() if any(pattern.fullmatch(n) for n in (info.name, *info.aliases)))
            if not found:
                raise LayerError(f"layer: no layer matches '{name}'; `model.layers` lists their names")
            return found
        close = ", ".join(repr(n) for n in nearest(wanted, list(self.lookup)))
        raise LayerError(f"layer: no tensor, node or module is called '{name}'; nearest: {close}")

    def as_layer(self, what: str, value: Value, axis: int, tokens: Any = None) -> Layer:
        """Layer with channels along `axis`; its tokens are laid on `tokens`, else the grid that fits, else the largest square.

        Raises
        ------
        ValueError
            The tokens do not fit; the text begins with `what`.
        """
        info = self.layers.get(value)
        if len(value.shape) != 3:
            if tokens is not None:
                raise ValueError(f"{what}: tokens: expected a layer of shape (N, T, C), got {value.shape}")
            return Layer(value, axis)
        if tokens is None and (info is None or info.layout != "tokens" or info.tokens is not None):
            same = info is not None and axis == info.channel_axis
            return Layer(value, axis, info.tokens if info is not None and same else None)
        return Layer(value, axis, split_tokens(what, value.shape[3 - axis], tokens))

    def default_layer(self, output: str | None = None) -> Value | None:
        """Last layer with positions before `output`, see `gradcam.graph.default_layer`."""
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
        axis = self.picture_axis(value)
        if not axis or pictures < 2:
            return array
        return np.concatenate(list(array.reshape(pictures, *value.shape)), axis)

    def picture_axis(self, value: Value) -> int | None:
        """Axis of the pictures, where they do not meet (None: the value is the same for all); else 0."""
        return 0 if self.picture_axes is None else self.picture_axes.get(value, 0)

    def channel_axis(self, layer: Value) -> int:
        """Axis of the channels of a layer; 1 where the operators do not tell."""
        return self.channel_axes.get(layer, 1)


def build_forward(
    source: Source, shapes: Mapping[str, Shape], real: np.dtype[Any], folds: FoldCache, without: Collection[str] = ()
) -> Forward:
    """Build the graph at given input shapes; built for one picture, it may turn out to serve any number.

    Parameters
    ----------
    shapes : mapping
        Shape of every input with its batch.
    without : collection of str
        Passes to leave out, of `gradcam.graph.compilation.PASSES`.
    """
    graph, names = source.build(shapes, real)
    axes = channel_axes(graph)
    layers, lookup = find_layers(graph, axes, names, source.nodes, source.initializers)
    outputs = dict(zip(source.outputs, graph.outputs, strict=True))
    pictures = picture_axes(graph) if all(shape[0] == 1 for shape in shapes.values()) and is_per_picture(graph) else None
    if pictures is not None and cuts_pictures(graph, pictures) and _leaves_pictures_out(source, shapes, real, names, pictures):
        pictures = None
    return Forward(graph, real, outputs, layers, lookup, folds, without, axes, pictures)


def _leaves_pictures_out(
    source: Source, shapes: Mapping[str, Shape], real: np.dtype[Any], names: Mapping[str, Value], axes: Mapping[Value, int | None]
) -> bool:
    """Whether a graph for several pictures has tensors with fewer of them than it was given.

    A file that was exported for one picture, or that cannot be built for several, has no other meaning than picture by picture.
    """
    count = next((spec.dims[0] for spec in source.inputs if isinstance(spec.dims[0], int)), MANY)
    try:
        _, several = source.build({name: (count, *shape[1:]) for name, shape in shapes.items()}, real)
    except ModelFormatError:
        return False
    for name, value in names.items():
        axis = axes.get(value)
        if axis is not None and name in several:
            if several[name].shape != (*value.shape[:axis], count * value.shape[axis], *value.shape[axis + 1 :]):
                return True
    return False
