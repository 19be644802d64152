"""A model as it was read: nodes without shapes, which become a graph once the input shapes are given."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gradcam.graph.ops  # noqa: F401  (fills the registries)
from gradcam.errors import ModelFormatError, UnsupportedOpError
from gradcam.graph.bodies import INLINED, Inliner, Names
from gradcam.graph.builder import Builder
from gradcam.graph.ir import Graph, Node, Shape, Value
from gradcam.graph.onnx_form import ONNX_FORMS, Emitter, Inputs, OnnxNode, TensorSequence, Unsupported
from gradcam.graph.operators import OPERATORS
from gradcam.graph.ops.logic import as_real
from gradcam.graph.ops.sequences import READERS

__all__ = ["Dim", "InputSpec", "Source", "dims_text"]

Dim = int | str
"""Size of an axis: a number, or the name of a symbolic size."""

MAX_ELEMENTS = 2**40


@dataclass(frozen=True, slots=True)
class InputSpec:
    """An input of a model file."""

    name: str
    dims: tuple[Dim, ...]


@dataclass(slots=True)
class Source:
    """Nodes in topological order, initializers, inputs and outputs of a model file."""

    nodes: list[OnnxNode]
    initializers: dict[str, NDArray[Any]]
    inputs: list[InputSpec]
    outputs: list[str]
    metadata: dict[str, str] = field(default_factory=dict)
    path: str | None = None
    max_bytes: int | None = None
    _constants: dict[tuple[str, np.dtype[Any]], Value] = field(default_factory=dict)

    def needed(self, outputs: Iterable[str]) -> list[OnnxNode]:
        """Nodes that `outputs` are computed from."""
        wanted = set(outputs)
        kept = []
        for node in reversed(self.nodes):
            if wanted.intersection(node.outputs):
                wanted.update(node.reads)
                kept.append(node)
        return kept[::-1]

    def build(self, shapes: Mapping[str, Shape], real: np.dtype[Any], *, fed: Iterable[str] = ()) -> tuple[Graph, dict[str, Value]]:
        """Return the graph for given input shapes, and the value of every tensor name.

        Parameters
        ----------
        shapes : mapping
            Shape of every input.
        real : dtype
            float32, or float64 for a computation in double precision.
        fed : iterable of str
            Weights that become inputs of the graph, after those of the file.

        Raises
        ------
        UnsupportedOpError
            Lists every node that cannot be run.
        ModelFormatError
            A node is malformed, or does not fit the shapes.
        """
        g = Builder(real, max_bytes=self.max_bytes)
        names: dict[str, Value] = {spec.name: g.input(spec.name, shapes[spec.name]) for spec in self.inputs}
        names.update((name, g.input(name, self.initializers[name].shape)) for name in fed)
        inliner = Inliner(lambda node, scope: self._emit(node, scope, g, inliner), g)
        problems: list[str] = []
        missing: set[str] = set()
        for node in self.needed(self.outputs):
            if missing.intersection(node.reads):
                missing.update(node.outputs)
                continue
            try:
                self._emit(node, names, g, inliner)
            except Unsupported as problem:
                problems.append(f"{node.label}: {problem}{_way_out(node, names)}")
                missing.update(node.outputs)
        if problems:
            raise UnsupportedOpError(problems)
        g.graph.outputs = [self._value(name, names, g) for name in self.outputs]
        sequences = [v.name for v in g.graph.outputs if isinstance(v, TensorSequence)]
        if sequences:
            raise UnsupportedOpError([f"output '{name}' is a sequence of tensors" for name in sequences])
        return g.graph, names

    def _value(self, name: str, names: Names, g: Builder) -> Value:
        if name not in names and name in self.initializers:
            # Converted once per type: weights keep their identity from build to build.
            names[name] = self._constants.setdefault((name, g.real), g.constant(self.initializers[name], name))
        if name not in names:
            raise ModelFormatError(f"tensor '{name}' is read but never computed", path=self.path, where=name)
        return names[name]

    def _emit(self, node: OnnxNode, names: Names, g: Builder, inliner: Inliner) -> None:
        """Emit one node and name its outputs."""
        known = node.domain in ("", "ai.onnx")
        has_body = known and node.op_type in INLINED
        form = ONNX_FORMS.get(node.op_type if known else f"{node.domain}::{node.op_type}")
        if has_body:
            for name in node.reads[len(node.inputs) :]:
                self._value(name, names, g)  # constants around a body are named for it
        elif form is None:
            reason = f": {_WHY_NOT[node.op_type]}" if known and node.op_type in _WHY_NOT else ""
            raise Unsupported(f"gradcam cannot run this operator (domain {node.domain or 'ai.onnx'}){reason}")
        inputs = [self._value(name, names, g) if name else None for name in node.inputs]
        sequence = next((v for v in inputs if isinstance(v, TensorSequence)), None)
        if sequence is not None and node.op_type not in READERS and not has_body:
            raise Unsupported(f"a sequence of tensors ('{sequence.name}')")
        before = len(g.graph.nodes)
        try:
            result = _carried(form, node, inputs, g) if form is not None else inliner.run(node, inputs, names)
        except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, ModelFormatError):
                raise
            raise ModelFormatError(f"{node.label}: {error}", path=self.path, where=node.name) from error
        _check_integers(g.graph.nodes[before:])
        values = result if isinstance(result, list) else [result]
        fresh = {v for n in g.graph.nodes[before:] for v in n.outputs}
        for name, value in zip(node.outputs, values, strict=False):
            if math.prod(value.shape) > MAX_ELEMENTS:
                raise ModelFormatError(f"{node.label}: an array of shape {value.shape} is too large", path=self.path, where=node.name)
            if name:
                names[name] = value
                if value in fresh and value.name not in names:
                    value.name = name


_ALL, _FIRST = slice(None), slice(1)
_CARRIED: dict[str, slice] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Mod", "Max", "Min", "Sum", "Mean", "Clip", "Concat"), _ALL),
    **dict.fromkeys(("Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Slice", "Split", "Tile", "Transpose"), _FIRST),
    **dict.fromkeys(("Abs", "Neg", "Sign", "CumSum", "Trilu", "Compress", "ReverseSequence", "DepthToSpace", "MaxPool", "TopK"), _FIRST),
    **dict.fromkeys(("ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceSumSquare"), _FIRST),
    **dict.fromkeys(("Pad", "ScatterElements", "ScatterND"), slice(0, None, 2)),
    "Where": slice(1, None),
}
"""Operators that compute with integers at run time, and which of their inputs those are."""


def _carried(form: Emitter, node: OnnxNode, inputs: Inputs, g: Builder) -> Value | list[Value]:
    """Emit a node; computed integers travel through it as real numbers, which is exact up to 2^24 in float32."""
    own = range(len(inputs))[_CARRIED.get(node.op_type, slice(0))]
    if not any(_is_computed_integer(inputs[i]) for i in own):
        return form(node, inputs, g)
    result = form(node, [as_real(g, v) if i in own and v is not None else v for i, v in enumerate(inputs)], g)
    back = [g.emit("ToIndex", v) if v.is_real else v for v in (result if isinstance(result, list) else [result])]
    return back if isinstance(result, list) else back[0]


def _is_computed_integer(value: Value | None) -> bool:
    return value is not None and value.data is None and value.dtype.kind == "i"


def _check_integers(nodes: Iterable[Node]) -> None:
    """Refuse nodes whose kernel wants real numbers and is given integers or booleans."""
    for node in nodes:
        allowed = OPERATORS[node.op].indices
        found = next((v for i, v in enumerate(node.inputs) if v is not None and not v.is_real and i not in allowed), None)
        if found is not None:
            raise Unsupported(f"{found.dtype} numbers ('{found.name}') at run time: gradcam computes with real numbers")


def _way_out(node: OnnxNode, names: Mapping[str, Value]) -> str:
    """How to leave a node out that cannot be run: end the model at the tensor before it."""
    before = next((name for name in node.inputs if name in names and names[name].data is None), None)
    return "" if before is None else f"; load with outputs=['{before}'] to leave it out"


_WHY_NOT = {
    **dict.fromkeys(
        ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
        "it draws random numbers, so that an explanation could not be repeated",
    ),
    "NonMaxSuppression": "how much it finds is known when the model runs, and shapes are known before",
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "DynamicQuantizeLinear"), "export the model with QuantizeLinear and DequantizeLinear"),
}
"""Why operators are refused, where that is more than that nobody wrote them."""


def dims_text(dims: Iterable[Dim]) -> str:
    """Return a shape as text, symbolic sizes by name."""
    return f"({', '.join(map(str, dims))})"
