"""Writes a `Source` by hand: names, weights and nodes. The operators stand in `gradcam.graph.network_builder`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradcam.errors import nearest
from gradcam.graph.onnx_form import OnnxNode
from gradcam.graph.source import Dim, InputSpec, Source
from gradcam.ops import _call

__all__ = ["SourceBuilder"]

OPSET = 20
"""Opset in which the nodes are written."""


class SourceBuilder:
    """Collects nodes as a reader would find them in a file, so that whatever works for files works for them."""

    def __init__(self) -> None:
        self._nodes: list[OnnxNode] = []
        self._weights: dict[str, NDArray[Any]] = {}
        self._inputs: list[InputSpec] = []
        self._outputs: list[str] = []
        self._ranks: dict[str, int] = {}
        self._counts: Counter[str] = Counter()

    def input(self, name: str, shape: Sequence[int | None]) -> str:
        """Add an input of the model.

        Parameters
        ----------
        name : str
            Its name.
        shape : sequence of int or None
            Size of each axis, the batch first; None for sizes that may vary.

        Returns
        -------
        str
            The name, to be passed to the operators.
        """
        if not shape or not all(n is None or (isinstance(n, int | np.integer) and n > 0) for n in shape):
            raise ValueError(f"GraphBuilder.input: shape: expected positive sizes or None, got {tuple(shape)}")
        dims: list[Dim] = [f"axis{i}" if n is None else int(n) for i, n in enumerate(shape)]
        label = self._new_name("input", name)
        self._inputs.append(InputSpec(label, tuple(dims)))
        self._ranks[label] = len(dims)
        return label

    def output(self, name: str, value: str) -> None:
        """Make a tensor an output of the model, under a name of its own or the one that it has."""
        self._known("output", "value", value)
        if name != value:
            self._emit("output", "Identity", name, [value])
        self._outputs.append(name)

    def constant(self, value: ArrayLike, *, name: str | None = None) -> str:
        """Return an array of real numbers as a tensor."""
        array = self._real("constant", "value", value)
        label = self._new_name("constant", name)
        self._weights[label], self._ranks[label] = array, array.ndim
        return label

    def source(self) -> Source:
        """Return what was collected. Arrays are copied: what the caller does with them later changes no model."""
        if not self._outputs:
            raise ValueError("GraphBuilder.model: expected a model with outputs, got none: call output(name, value)")
        weights = {name: np.array(array, order="C") for name, array in self._weights.items()}
        return Source(list(self._nodes), weights, list(self._inputs), list(self._outputs))

    # What operators are written with --------------------------------------------------------------------------------

    def _emit(
        self,
        method: str,
        op: str,
        name: str | None,
        tensors: Sequence[str],
        weights: Mapping[str, ArrayLike | None] | None = None,
        *,
        sizes: Mapping[str, Sequence[int]] | None = None,
        domain: str = "",
        rank: int | None = None,
        **attrs: Any,
    ) -> str:
        """Append a node that reads tensors, then weights, then integers, and name its output."""
        for tensor in tensors:
            self._known(method, "x", tensor)
        label = self._new_name(method, name)
        read = list(tensors)
        for part, value in (weights or {}).items():
            read.append("" if value is None else self._weight(method, f"{label}.{part}", self._real(method, part, value)))
        for part, numbers in (sizes or {}).items():
            read.append(self._weight(method, f"{label}.{part}", np.array(numbers, np.int64)))
        while not read[-1]:
            read.pop()
        self._nodes.append(OnnxNode(op, label, domain, OPSET, tuple(read), (label,), attrs))
        self._ranks[label] = self._ranks[tensors[0]] if rank is None else rank
        return label

    def _weight(self, method: str, name: str, array: NDArray[Any]) -> str:
        own = self._new_name(method, name)
        self._weights[own] = array
        return own

    def _real(self, method: str, argument: str, value: ArrayLike) -> NDArray[Any]:
        """Check that an array holds real numbers; float16 is widened."""
        if isinstance(value, bool | int | float):
            value = np.float64(value)
        array = _call.array(f"GraphBuilder.{method}", argument, value)
        if np.isnan(array).any():
            raise ValueError(f"GraphBuilder.{method}: {argument}: expected numbers, got NaN among them")
        return array

    def _tensor(self, method: str, label: str | ArrayLike) -> str:
        """Name of an operand that may also be an array."""
        return label if isinstance(label, str) else self.constant(label, name=self._new_name(f"{method}.constant", None))

    def _known(self, method: str, argument: str, tensor: str) -> int:
        """Rank of a tensor, which must exist."""
        if not isinstance(tensor, str):
            raise TypeError(f"GraphBuilder.{method}: {argument}: expected the name of a tensor, got {type(tensor).__name__}")
        if tensor not in self._ranks:
            close = ", ".join(repr(n) for n in nearest(tensor, self._ranks))
            raise ValueError(f"GraphBuilder.{method}: {argument}: no tensor is called '{tensor}'; nearest: {close or 'there is none yet'}")
        return self._ranks[tensor]

    def _axis(self, method: str, x: str, dim: int) -> int:
        """Non-negative number of an axis."""
        rank = self._known(method, "x", x)
        if not isinstance(dim, int | np.integer) or not -rank <= dim < rank:
            raise ValueError(f"GraphBuilder.{method}: dim: expected an axis of {rank}, got {dim!r}")
        return int(dim) % rank

    def _new_name(self, method: str, name: str | None) -> str:
        """Check a name that the caller gave, or make one."""
        if name is not None:
            if not isinstance(name, str) or not name:
                raise ValueError(f"GraphBuilder.{method}: name: expected a name, got {name!r}")
            if name in self._ranks or name in self._weights:
                raise ValueError(f"GraphBuilder.{method}: name: '{name}' is taken")
            return name
        while True:
            self._counts[method] += 1
            made = f"{method}_{self._counts[method]}"
            if made not in self._ranks and made not in self._weights:
                return made
