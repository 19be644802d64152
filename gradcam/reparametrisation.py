"""Another parametrisation of the same function: a layer's channels scaled and shifted, its readers compensated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradcam.errors import LayerError
from gradcam.graph.compensation import RULES, Affine, Floats, Reader, Refused, unchanged
from gradcam.graph.ir import Shape
from gradcam.graph.onnx_form import OnnxNode
from gradcam.graph.source import Source
from gradcam.model import Model

__all__ = ["reparametrise"]


def reparametrise(model: Model, layer: str, shift: ArrayLike | None = None, scale: ArrayLike | None = None) -> Model:
    """Return a model of the same function with other activations at one layer: ``A'[k] = scale[k] A[k] + shift[k]``.

    What reads the layer is compensated in its weights: convolutions, matrix products, batch normalisation, and constants
    that are added or multiplied; pooling, layout, concatenation and, where they allow it, ReLU and sums with other
    activations hand the change on. The new model shows which properties of a map belong to the function, and which only
    to the numbers that happen to stand for it.

    Parameters
    ----------
    model : Model
        The model; it is not changed.
    layer : str
        Name of a tensor or node. The tensor keeps its name; what it was is called ``<name>.original``.
    shift, scale : float, or array_like of shape (C,), optional
        One number, or one for each channel of the layer; a negative scale turns the sign of a channel.

    Returns
    -------
    Model
        With the same inputs, outputs, labels, preprocessing and `max_bytes`. It is pickled as the model it was made from.

    Raises
    ------
    LayerError
        There is no such layer, or it has no channels.
    ValueError
        Neither `shift` nor `scale` is given, or one has the wrong length, is not finite, or scales by 0; or a reader of
        the layer cannot be compensated. The text names every such node and the reason: it is not linear (ReLU lets only a
        positive scale without shift through), it pads with zeros, which a shift does not reach, or the layer is an output.

    Notes
    -----
    New weights are computed in float64 and rounded once, to the type of a run: in float64 the function is the same to
    rounding, in float32 its outputs differ by about as much as those of two orders of summation.

    Examples
    --------
    >>> model = gradcam.load("resnet.onnx")                          # doctest: +SKIP
    >>> other = gradcam.reparametrise(model, "conv2", scale=-1)      # doctest: +SKIP
    >>> other(x) - model(x)                                          # doctest: +SKIP
    """
    if not isinstance(model, Model):
        raise TypeError(f"reparametrise: model: expected a gradcam.Model, got {type(model).__name__}")
    if shift is None and scale is None:
        raise ValueError("reparametrise: shift, scale: expected at least one of them, got neither")
    nominal = model._session.nominal
    value = nominal.layer(layer)
    axis, rank = nominal.channel_axis(value), len(value.shape)
    if not 0 < axis < rank:
        raise LayerError(f"reparametrise: layer: '{layer}' of shape {value.shape} has no axis of channels")
    channels = value.shape[axis]
    factor, offset = (
        None if given is None else _channels(name, given, channels).reshape(-1, *(1,) * (rank - axis - 1))
        for name, given in (("scale", scale), ("shift", shift))
    )
    if factor is not None and not factor.all():
        raise ValueError("reparametrise: scale: expected numbers other than 0, got 0")
    shapes = {v.name: v.shape for v in nominal.graph.inputs}
    source = _Walk(model._source, shapes).run(layer, value.name, factor, offset)
    origin = None if model._origin is None else partial(_again, model._origin, layer, shift, scale)
    return model._derived(source, origin)


def _again(origin: Callable[..., Model], layer: str, shift: Any, scale: Any, *, labels: dict[int, str]) -> Model:
    """Unpickle: make the original model, then the new one."""
    return reparametrise(origin(labels=labels), layer, shift, scale)


def _channels(name: str, given: ArrayLike, channels: int) -> Floats:
    """One number per channel in float64."""
    try:
        array = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"reparametrise: {name}: expected a number, or one for each of the {channels} channels") from None
    if array.shape not in ((), (channels,)):
        raise ValueError(f"reparametrise: {name}: expected a number, or one for each of the {channels} channels, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"reparametrise: {name}: expected finite numbers")
    return np.array(np.broadcast_to(array, (channels,)))


class _Walk:
    """From a tensor forward through everything that reads it; makes the changed source, the old one is not touched."""

    def __init__(self, source: Source, shapes: Mapping[str, Shape]) -> None:
        self.source = source
        # A cache of its own, since the float64 constants of this build are not needed again.
        graph, self.values = replace(source, _constants={}).build(shapes, np.dtype(np.float64))
        self.producers = graph.producers()
        self.symbolic = any(isinstance(n, str) for spec in source.inputs for n in spec.dims[1:])
        self.nodes: list[OnnxNode] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self.changes: dict[str, Affine] = {}
        self.sized: set[str] = set()
        self.problems: list[str] = []
        self.taken = {*self.values, *source.initializers, *(name for node in source.nodes for name in (*node.inputs, *node.outputs))}

    def run(self, layer: str, last: str, scale: Floats | None, shift: Floats | None) -> Source:
        """Return the source in which the tensor or node `layer`, or the tensor `last` of a module of that name, is scaled and shifted."""
        tensor = self._tensor(layer, last)
        if any(spec.name == tensor for spec in self.source.inputs):
            raise ValueError(f"reparametrise: layer: '{tensor}' is an input of the model, which the caller gives")
        if tensor in self.source.outputs:
            self.problems.append(f"'{tensor}' is an output of the model")
        for node in self.source.needed(self.source.outputs):
            if self._reads_sizes(node):
                self.sized.update(node.outputs)
            self._read(node)
            if tensor in node.outputs:
                self._insert(tensor, scale, shift)
        if self.problems:
            count = f"{len(self.problems)} obstacles:\n  " if len(self.problems) > 1 else ""
            raise ValueError("reparametrise: layer: " + count + "\n  ".join(self.problems))
        used = {name for node in self.nodes for name in node.inputs} | set(self.source.outputs)
        initializers = {name: array for name, array in (self.source.initializers | self.constants).items() if name in used}
        return replace(self.source, nodes=self.nodes, initializers=initializers, _constants={})

    def _tensor(self, layer: str, last: str) -> str:
        """Name of the tensor that a tensor, node or module name stands for, as `Forward.layer` understands it."""
        if layer in self.values:
            return layer
        return {n.name: n.outputs[0] for n in self.source.nodes if n.name and n.outputs}.get(layer, last)

    def _reads_sizes(self, node: OnnxNode) -> bool:
        """Whether the constant results of a node depend on the sizes of the model's inputs."""
        return node.op_type in ("Shape", "Size") or not self.sized.isdisjoint(node.inputs)

    def _fresh(self, name: str) -> str:
        """A name that no tensor has."""
        while name in self.taken:
            name += "'"
        self.taken.add(name)
        return name

    def _constant(self, name: str, array: NDArray[Any]) -> str:
        name = self._fresh(name)
        self.constants[name] = array
        return name

    def _insert(self, tensor: str, scale: Floats | None, shift: Floats | None) -> None:
        """Scale and shift what the last node computes; the result takes over the name of the tensor and of the node."""
        producer = self.nodes.pop()
        current = self._fresh(f"{tensor}.original")
        outputs = tuple(current if name == tensor else name for name in producer.outputs)
        named = bool(producer.name) and producer.outputs[0] == tensor
        self.nodes.append(replace(producer, name=f"{producer.name}.original" if named else producer.name, outputs=outputs))
        steps = [step for step in (("Mul", "scale", scale), ("Add", "shift", shift)) if step[2] is not None]
        for i, (op_type, what, array) in enumerate(steps, start=1):
            assert array is not None
            last = i == len(steps)
            result = tensor if last else self._fresh(f"{tensor}.scaled")
            name = producer.name if last and named else ""
            inputs = (current, self._constant(f"{tensor}.{what}", array))
            self.nodes.append(OnnxNode(op_type, name, "", producer.opset, inputs, (result,), {}, producer.scopes))
            current = result
        one, zero = np.ones(()), np.zeros(())
        self._change(tensor, Affine(one if scale is None else scale, zero if shift is None else shift))

    def _change(self, name: str, change: Affine) -> None:
        """Note the change of a tensor for those who read it."""
        if change:
            self.changes[name] = Affine(change.scale, change.shift, len(self.values[name].shape))

    def _read(self, node: OnnxNode) -> None:
        """Take over a node, compensated where it reads changed tensors."""
        changed = [name for name in dict.fromkeys(node.inputs) if name in self.changes]
        results = [name for name in node.outputs if name in self.values]
        if not changed or all(self.values[name].data is not None for name in results):  # what is constant knows only shapes
            self.nodes.append(node)
            return
        reader = self._reader(node, self.values[results[0]])
        try:
            if node.op_type not in RULES:
                raise Refused("and is not linear")
            found = RULES[node.op_type](reader)
        except Refused as reason:
            self.nodes.append(node)
            self.problems.append(f"{node.label} reads {', '.join(repr(name) for name in changed)} {reason}")
            return
        self._take_over(reader)
        changes = [found] if isinstance(found, Affine) else list(found or ())
        for name, change in zip(node.outputs, changes, strict=False):
            self._change(name, change)
            if name in self.source.outputs and name in self.changes:
                self.problems.append(f"{node.label} hands the change on to '{name}', which is an output of the model")

    def _reader(self, node: OnnxNode, output: Any) -> Reader:
        values = [self.values.get(name) if name else None for name in node.inputs]
        changes = [self.changes.get(n) or unchanged(0 if v is None else len(v.shape)) for n, v in zip(node.inputs, values, strict=True)]
        emitted = None if output in values else self.producers.get(output)
        return Reader(node, values, changes, emitted, output, [name in self.sized for name in node.inputs], self.symbolic)

    def _take_over(self, reader: Reader) -> None:
        """Append the node with the constants that its rule made, under names of its own: nodes may share the old ones."""
        node = reader.node
        inputs = [*node.inputs, *[""] * (max(reader.constants, default=0) + 1 - len(node.inputs))]
        for i, array in reader.constants.items():
            old = reader.values[i] if i < len(reader.values) else None
            if old is None or old.data is None or not np.array_equal(old.data, array):
                inputs[i] = self._constant(f"{node.outputs[0]}.operand{i}", array)
        outputs = node.outputs
        if reader.bias is not None:
            outputs = (self._fresh(f"{node.outputs[0]}.unbiased"),)
        self.nodes.append(replace(node, inputs=tuple(inputs), outputs=outputs, attrs=node.attrs | reader.attributes))
        if reader.bias is not None:
            bias = self._constant(f"{node.outputs[0]}.bias", reader.bias)
            self.nodes.append(OnnxNode("Add", "", "", node.opset, (outputs[0], bias), node.outputs, {}))
