"""Weighted sums of elements at positions that are computed at run time, and what interpolates with them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Node, Shape, Value
from gradcam.graph.operators import Mixes, operator
from gradcam.graph.ops.rows import row_numbers
from gradcam.ops.sample import sample_attributes

if TYPE_CHECKING:
    from gradcam.graph.plan import PlanBuilder

__all__ = ["Taps1d", "interpolate", "linear_taps", "sample"]


def _three(node: Node) -> tuple[Value, Value, Value]:
    a, b, c = node.inputs
    assert a is not None
    assert b is not None
    assert c is not None
    return a, b, c


class _Batched:
    """What the three have in common: axis 0 is that of the batch, the same in all operands."""

    @staticmethod
    def picture_axis(node: Node, axes: list[int | None]) -> int | None:
        """An operand that is the same for all pictures must be one block."""
        if any(axis not in (None, 0) for axis in axes):
            raise Mixes
        if all(axis is None for axis in axes):
            return None
        if any(axis is None and v.shape[0] != 1 for v, axis in zip(_three(node), axes, strict=True)):
            raise Mixes
        return 0


@operator("Sample", indices=(1,))
class Sample(_Batched):
    """y[b, o, j] = sum over t of w[b, j, t] x[b, o, index[b, j, t]]; an index that does not exist is no tap."""

    @staticmethod
    def shape(node: Node) -> Shape:
        x, index, _ = _three(node)
        return (*x.shape[:2], index.shape[1])

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        x, index, w = _three(node)
        dx = None if x.data is not None else g.emit("SampleGrad", dy, index, w, size=x.shape[2])
        return [dx, None, None if w.data is not None else g.emit("SampleWeightGrad", x, index, dy)]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        x, index, _ = _three(node)
        p.step("sample_output", sample_attributes(x.shape, index.shape), node.inputs, node.outputs)


@operator("SampleGrad", indices=(1,))
class SampleGrad(_Batched):
    """dx of Sample from dy, index and w."""

    @staticmethod
    def shape(node: Node) -> Shape:
        return (*_three(node)[0].shape[:2], node.attrs["size"])

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        first, index, w = _three(node)
        return [g.emit("Sample", dy, index, w), None, g.emit("SampleWeightGrad", dy, index, first)]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        attributes = sample_attributes(node.outputs[0].shape, _three(node)[1].shape)
        p.step("sample_input_grad", attributes, node.inputs, node.outputs)


@operator("SampleWeightGrad", indices=(1,))
class SampleWeightGrad(_Batched):
    """dw of Sample from x, index and dy."""

    @staticmethod
    def shape(node: Node) -> Shape:
        return _three(node)[1].shape

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        x, index, first = _three(node)
        return [g.emit("SampleGrad", first, index, dy, size=x.shape[2]), None, g.emit("Sample", x, index, dy)]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        x, index, _ = _three(node)
        p.step("sample_weight_grad", sample_attributes(x.shape, index.shape), node.inputs, node.outputs)


# Interpolation over several axes -------------------------------------------------------------------------------------

Taps1d = tuple[Value, Value]
"""Positions (real numbers without fractions) and weights of the taps along one axis, both (batch, count, taps)."""


def linear_taps(g: Builder, x: Value) -> Taps1d:
    """Return the two neighbours of each coordinate (batch, count), and their weights."""
    x = g.reshape(x, (*x.shape, 1))
    low = g.emit("Floor", x, alpha=0.0, beta=0.0)
    part = g.sub(x, low)
    positions = g.add(low, g.constant(np.array([0.0, 1.0])))
    return positions, g.emit("Concat", g.emit("Affine", part, alpha=-1.0, beta=1.0), part, axis=2)


def interpolate(g: Builder, taps: Sequence[Taps1d], sizes: Shape, blocks: Value | None = None) -> tuple[Value, Value]:
    """Return index and weights (batch, count, all taps) of products of taps along several axes, row-major in `sizes`.

    A tap outside of an axis is none. `blocks`, constants (batch, count), say where the array begins that a coordinate belongs to.
    """
    rank, counts = len(sizes), [positions.shape[2] for positions, _ in taps]
    shape = (*taps[0][0].shape[:2], *counts)

    def spread(value: Value, axis: int) -> Value:
        return g.reshape(value, (*shape[:2], *(counts[axis] if a == axis else 1 for a in range(rank))))

    columns = [g.reshape(g.expand(spread(positions, a), shape), (*shape, 1)) for a, (positions, _) in enumerate(taps)]
    stacked = columns[0] if rank == 1 else g.emit("Concat", *columns, axis=rank + 2)
    base = None if blocks is None else g.reshape(blocks, (*shape[:2], *(1 for _ in counts)))
    index = row_numbers(g, g.emit("ToIndex", stacked), sizes, wrap=False, base=base)
    weight = reduce(g.mul, [spread(weights, a) for a, (_, weights) in enumerate(taps)])
    flat = (*shape[:2], int(np.prod(counts)))
    return g.reshape(index, flat), g.reshape(g.expand(weight, shape), flat)


def sample(g: Builder, x: Value, index: Value, weight: Value) -> Value:
    """Return the weighted sums (batch, outer, count) of x (batch, outer, ...)."""
    flat = g.reshape(x, (*x.shape[:2], int(np.prod(x.shape[2:]))))
    return g.emit("Sample", flat, index, weight)
