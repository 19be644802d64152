"""Emits nodes: used by readers, gradient rules, targets and methods."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.errors import MemoryBudgetError
from gradcam.graph.ir import Graph, Node, Shape, Value
from gradcam.graph.operators import OPERATORS

__all__ = ["Builder"]

_EMPTY = {"ReduceSum": 0.0, "ReduceMax": -np.inf, "ReduceMin": np.inf}
"""Reductions of no numbers."""


class Builder:
    """Appends nodes to a graph.

    Every emitted node gets concrete shapes at once, and a node whose inputs are all constants is evaluated instead of
    emitted where its operator can (`Operator.evaluate`): shape arithmetic never reaches the graph.

    Parameters
    ----------
    real : dtype
        Type of all real numbers, float32 or float64.
    graph : Graph, optional
        Graph to extend; it is copied (nodes and values are shared).
    max_bytes : int, optional
        Most bytes that computed constants may take.
    """

    def __init__(self, real: np.dtype[Any], graph: Graph | None = None, max_bytes: int | None = None) -> None:
        self.real, self.max_bytes = np.dtype(real), max_bytes
        base = graph or Graph([], [], [])
        self.graph = Graph(list(base.inputs), list(base.outputs), list(base.nodes))
        self._count = len(self.graph.nodes)

    def input(self, name: str, shape: Shape, dtype: np.dtype[Any] | None = None) -> Value:
        """Add an input of the graph."""
        value = Value(name, tuple(shape), np.dtype(dtype or self.real))
        self.graph.inputs.append(value)
        return value

    def constant(self, data: NDArray[Any] | float | Sequence[int], name: str = "") -> Value:
        """Wrap an array; real numbers are converted to the builder's type."""
        array = np.asarray(data)
        if array.dtype.kind == "f" and array.dtype.itemsize > 1:
            array = np.ascontiguousarray(array, self.real).reshape(array.shape)
        self._count += 1
        return Value(name or f"constant_{self._count}", array.shape, array.dtype, array)

    def emit(self, op: str, *inputs: Value | None, **attrs: Any) -> Value:
        """Append a node and return its (first) output."""
        return self.emit_all(op, *inputs, **attrs)[0]

    def emit_all(self, op: str, *inputs: Value | None, **attrs: Any) -> tuple[Value, ...]:
        """Append a node and return all its outputs."""
        record = OPERATORS[op]
        node = Node(op, inputs, (), attrs)
        shapes = record.shape(node)
        outputs = shapes if isinstance(shapes, list) else [shapes]
        if record.evaluate is not None and all(v is None or v.data is not None for v in inputs):
            self.reserve(sum(map(prod, outputs)))
            return (self.constant(record.evaluate(node, [None if v is None else v.data for v in inputs])),)
        self._count += 1
        dtype = self.real if record.dtype is np.floating else np.dtype(record.dtype or next(v.dtype for v in inputs if v is not None))
        node.outputs = tuple(Value(f"{op.lower()}_{self._count}" + (f".{i}" if i else ""), shape, dtype) for i, shape in enumerate(outputs))
        self.graph.nodes.append(node)
        return node.outputs

    def reserve(self, elements: int) -> None:
        """Count the memory of a computed constant; MemoryBudgetError if it is not allowed."""
        if self.max_bytes is not None:
            self.max_bytes -= 8 * elements
            if self.max_bytes < 0:
                raise MemoryBudgetError(f"load: computed constants need {8 * elements} bytes, more than max_bytes leaves")

    # Elementwise -------------------------------------------------------------------------------------------------

    def add(self, a: Value, b: Value) -> Value:
        """Return a + b, broadcast."""
        return self.emit("Add", a, b)

    def sub(self, a: Value, b: Value) -> Value:
        """Return a - b, broadcast."""
        return self.emit("Sub", a, b)

    def mul(self, a: Value, b: Value) -> Value:
        """Return a * b, broadcast."""
        return self.emit("Mul", a, b)

    def scale(self, x: Value, factor: float) -> Value:
        """Return factor * x."""
        return x if factor == 1 else self.emit("Affine", x, alpha=float(factor), beta=0.0)

    def unary(self, op: str, x: Value, alpha: float = 0.0, beta: float = 0.0) -> Value:
        """Return f(x) of the elementwise function `op`."""
        return self.emit(op, x, alpha=float(alpha), beta=float(beta))

    def unary_grad(self, op: str, x: Value, dy: Value, alpha: float = 0.0, beta: float = 0.0) -> Value:
        """Return f'(x) dy of the elementwise function `op`."""
        return self.emit("UnaryGrad", x, dy, function=op, alpha=alpha, beta=beta)

    # Shape -------------------------------------------------------------------------------------------------------

    def reshape(self, x: Value, shape: Shape) -> Value:
        """Return x with another shape of the same size."""
        return x if x.shape == tuple(shape) else self.emit("Reshape", x, shape=tuple(shape))

    def transpose(self, x: Value, perm: Sequence[int]) -> Value:
        """Return x with permuted axes."""
        return x if tuple(perm) == tuple(range(len(x.shape))) else self.emit("Transpose", x, perm=tuple(perm))

    def part(self, x: Value, axis: int, start: int, size: int) -> Value:
        """Return `size` elements of x from `start` along an axis."""
        if size == x.shape[axis]:
            return x
        starts, sizes = [0] * len(x.shape), list(x.shape)
        starts[axis], sizes[axis] = start, size
        return self.emit("Slice", x, starts=tuple(starts), steps=(1,) * len(starts), sizes=tuple(sizes))

    def expand(self, x: Value, shape: Shape) -> Value:
        """Return x broadcast to `shape`."""
        return x if x.shape == tuple(shape) else self.emit("Expand", x, shape=tuple(shape))

    def sum(self, x: Value, axes: Sequence[int], keepdims: bool = False) -> Value:
        """Return the sum over `axes`."""
        return self.reduce("ReduceSum", x, axes, keepdims)

    def reduce(self, op: str, x: Value, axes: Sequence[int], keepdims: bool) -> Value:
        """Reduce over `axes` (non-negative), with `op` one of ReduceSum, ReduceMean, ReduceMax, ReduceMin."""
        if not axes:
            return x
        kept = [n for i, n in enumerate(x.shape) if i not in axes]
        if x.is_real and x.size == 0 and op in _EMPTY:
            result = self.constant(np.full(kept, _EMPTY[op], self.real))
        else:
            result = self.emit(op, x, axes=tuple(sorted(axes)))
        return self.reshape(result, tuple(1 if i in axes else n for i, n in enumerate(x.shape))) if keepdims else result

    def sum_to(self, x: Value, shape: Shape) -> Value:
        """Sum out the axes along which an array of `shape` was broadcast to the shape of x."""
        lead = len(x.shape) - len(shape)
        axes = [i for i, n in enumerate(x.shape) if i < lead or (shape[i - lead] == 1 and n != 1)]
        return self.reshape(self.sum(x, axes), shape)

    def zeros_like(self, x: Value) -> Value:
        """Return zeros in the shape of x."""
        return self.constant(np.zeros(x.shape, self.real))
