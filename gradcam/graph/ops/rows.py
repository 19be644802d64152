"""Numbers of rows that are computed at run time: exact in 64 bits, whatever the type of the real numbers."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Node, Shape, Value
from gradcam.graph.operators import Mixes, elementwise_picture_axis, operator
from gradcam.ops.rows import rows_last_attributes, rows_number_attributes

if TYPE_CHECKING:
    from gradcam.graph.plan import PlanBuilder

__all__ = ["NOWHERE", "row_numbers"]

NOWHERE = int(np.iinfo(np.int64).min)
"""The number of a row that does not exist."""


@operator("RowNumbers", dtype=np.int64, indices=(0, 1))
class RowNumbers:
    """base + sum over k of the position x[..., k] times `strides[k]`, the positions those of axes of `sizes`.

    With `wrap` negative positions count from the end; a position that does not exist gives a row that does not exist.
    """

    @staticmethod
    def shape(node: Node) -> Shape:
        x = node.inputs[0]
        assert x is not None
        return x.shape[:-1]

    @staticmethod
    def picture_axis(node: Node, axes: list[int | None]) -> int | None:
        x, base = node.inputs
        assert x is not None
        if axes[0] == len(x.shape) - 1:
            raise Mixes
        result = Node("", (node.outputs[0], base), node.outputs)
        return elementwise_picture_axis(result, axes)

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        x, base = node.inputs
        assert x is not None
        attributes = rows_number_attributes(
            x.shape, node.attrs["sizes"], node.attrs["strides"], wrap=node.attrs["wrap"], base=base is not None
        )
        p.step("rows_number", attributes, node.inputs, node.outputs)


@operator("LastRows", dtype=np.int64, indices=(0,))
class LastRows:
    """y[..., a] = the last j with x[..., j] = a, -1 if there is none; a from 0 to `size`."""

    @staticmethod
    def shape(node: Node) -> Shape:
        x = node.inputs[0]
        assert x is not None
        return (*x.shape[:-1], node.attrs["size"])

    @staticmethod
    def picture_axis(node: Node, axes: list[int | None]) -> int | None:
        x = node.inputs[0]
        assert x is not None
        if axes[0] == len(x.shape) - 1:
            raise Mixes
        return axes[0]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        x = node.inputs[0]
        assert x is not None
        p.step("rows_last", rows_last_attributes(x.shape, node.attrs["size"]), node.inputs, node.outputs)


def row_numbers(g: Builder, x: Value, sizes: Sequence[int], *, wrap: bool, strides: Sequence[int] = (), base: Value | None = None) -> Value:
    """Emit RowNumbers of x (..., k); by default the rows are row-major in `sizes`.

    `base`, of the shape of the result or broadcast to it, counts rows of a whole table of `sizes` where no strides are given.
    """
    if base is not None:
        base = g.expand(base, x.shape[:-1])
    default = tuple(prod(sizes[k + 1 :]) for k in range(len(sizes)))
    return g.emit("RowNumbers", x, base, sizes=tuple(sizes), strides=tuple(strides) or default, wrap=wrap)
