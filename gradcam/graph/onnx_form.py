"""ONNX operators as emitters of nodes: the registry, and what an emitter sees of its ONNX node.

An emitter is registered with ``@onnx_form("Conv")`` beside the record it emits (`gradcam.graph.ops`) and called with
the node, its input values and the builder. It never sees protobuf objects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.errors import ModelFormatError
from gradcam.graph.builder import Builder
from gradcam.graph.ir import Value

__all__ = ["ONNX_FORMS", "Body", "Emitter", "Inputs", "OnnxNode", "TensorSequence", "Unsupported", "onnx_form"]

Inputs = Sequence[Value | None]
Emitter = Callable[["OnnxNode", Inputs, Builder], Value | list[Value]]

ONNX_FORMS: dict[str, Emitter] = {}


class Unsupported(Exception):
    """A valid node asks for something that gradcam does not do; the text says what."""


def onnx_form(*op_types: str) -> Callable[[Emitter], Emitter]:
    """Register an emitter for ONNX operators of the default domain, or of another one as "domain::Operator"."""

    def register(emitter: Emitter) -> Emitter:
        for op_type in op_types:
            if op_type in ONNX_FORMS:
                raise RuntimeError(f"two forms of {op_type}")
            ONNX_FORMS[op_type] = emitter
        return emitter

    return register


@dataclass(eq=False, slots=True)
class TensorSequence(Value):
    """What an ONNX name stands for that is a sequence of tensors: known while the graph is built, and no array of it."""

    items: tuple[Value, ...] = ()


@dataclass(slots=True)
class Body:
    """A graph that is an attribute of a node; `captured` are the tensors around the node that it reads."""

    nodes: list[OnnxNode]
    initializers: dict[str, NDArray[Any]]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    captured: tuple[str, ...]


@dataclass(slots=True)
class OnnxNode:
    """An ONNX node without protobuf: attributes are ints, floats, str, tuples and arrays; `scopes` are paths of modules around it."""

    op_type: str
    name: str
    domain: str
    opset: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: dict[str, Any]
    scopes: tuple[str, ...] = ()

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of all tensors that it needs: its inputs, and what the graphs among its attributes read from outside."""
        bodies = [value for value in self.attrs.values() if isinstance(value, Body)]
        return (*self.inputs, *(name for body in bodies for name in body.captured)) if bodies else self.inputs

    @property
    def label(self) -> str:
        """How messages name the node."""
        name = self.name or (self.outputs[0] if self.outputs else "?")
        return f"node '{name}' ({self.op_type}, opset {self.opset})"

    def bad(self, text: str) -> ModelFormatError:
        """Return the error for a malformed node."""
        return ModelFormatError(f"{self.label}: {text}", where=self.name)

    def required(self, inputs: Inputs, index: int) -> Value:
        """Return an input that must be there."""
        value = inputs[index] if index < len(inputs) else None
        if value is None:
            raise self.bad(f"input {index} is missing")
        return value

    def optional(self, inputs: Inputs, index: int) -> Value | None:
        """Return an input that may be absent."""
        return inputs[index] if index < len(inputs) else None

    def array(self, inputs: Inputs, index: int) -> NDArray[Any]:
        """Return the data of an input that must be constant."""
        value = self.required(inputs, index)
        if value.data is None:
            raise Unsupported(f"input {index} ('{value.name}') must be a constant")
        return value.data

    def ints(self, inputs: Inputs, index: int, attribute: str) -> tuple[int, ...] | None:
        """Return integers that newer opsets pass as a constant input and older ones as an attribute; None if neither."""
        if self.optional(inputs, index) is not None:
            return tuple(int(v) for v in np.atleast_1d(self.array(inputs, index)))
        values = self.attrs.get(attribute)
        return None if values is None else tuple(int(v) for v in np.atleast_1d(values))

    def axis(self, value: int, rank: int) -> int:
        """Return a non-negative axis."""
        if not -rank <= value < rank:
            raise self.bad(f"axis {value} does not exist in an array of {rank} axes")
        return value % rank if rank else 0
