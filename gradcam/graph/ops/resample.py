"""Sparse linear maps along one axis with constant taps: what resizing, padding by repetition and the like are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Node, Shape, Value
from gradcam.graph.onnx_form import OnnxNode, Unsupported
from gradcam.graph.operators import Mixes, operator
from gradcam.ops.resample import Taps, resample_attributes

if TYPE_CHECKING:
    from gradcam.graph.plan import PlanBuilder

__all__ = ["check_positions", "emit_taps", "pick"]

MAX_POSITIONS = 2**24
"""Most outputs along one axis, and most taps: more is a mistake in a file, and its table would take minutes."""


def _taps(node: Node) -> Taps:
    x, starts, indices, weights = node.inputs
    assert x is not None
    assert starts is not None
    assert starts.data is not None
    assert indices is not None
    assert indices.data is not None
    assert weights is not None
    assert weights.data is not None
    return Taps(x.shape[node.attrs["axis"]], starts.data, indices.data, weights.data)


@operator("Resample", indices=(1, 2))
class Resample:
    """y[j] = sum of weights[t] x[indices[t]] along `axis`, t from starts[j] up to starts[j + 1]; the taps are constants."""

    @staticmethod
    def shape(node: Node) -> Shape:
        x, starts = node.inputs[:2]
        assert x is not None
        assert starts is not None
        axis = node.attrs["axis"]
        return (*x.shape[:axis], starts.size - 1, *x.shape[axis + 1 :])

    @staticmethod
    def picture_axis(node: Node, axes: list[int | None]) -> int | None:
        if axes[0] == node.attrs["axis"]:
            raise Mixes
        return axes[0]

    @staticmethod
    def evaluate(node: Node, arrays: list[NDArray[Any] | None]) -> NDArray[Any]:
        assert arrays[0] is not None
        return _taps(node).apply(arrays[0], node.attrs["axis"])

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        return [emit_taps(g, dy, node.attrs["axis"], _taps(node).transposed()), None, None, None]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        x, starts, indices, _ = node.inputs
        assert x is not None
        assert starts is not None
        assert indices is not None
        attributes = resample_attributes(x.shape, starts.size - 1, indices.size, node.attrs["axis"])
        p.step("resample_output", attributes, node.inputs, node.outputs)


def emit_taps(g: Builder, x: Value, axis: int, taps: Taps, *, always: bool = False) -> Value:
    """Return the map of x along `axis`; x itself where nothing changes.

    `always` keeps the node of a map that changes nothing: along the axis of the pictures it says that pictures meet, which
    shows in the taps for several pictures only.
    """
    if taps.is_identity and not always:
        return x
    if x.data is None and not x.is_real:
        raise Unsupported(f"positions of '{x.name}' of type {x.dtype} at run time")
    g.reserve(taps.starts.size + 2 * taps.indices.size)
    return g.emit("Resample", x, g.constant(taps.starts), g.constant(taps.indices), g.constant(taps.weights), axis=axis)


def pick(g: Builder, x: Value, axis: int, index: NDArray[np.integer[Any]], *, always: bool = False) -> Value:
    """Return y[j] = x[index[j]] along `axis`, and 0 where the index is negative; `always` as in `emit_taps`."""
    return emit_taps(g, x, axis, Taps.pick(x.shape[axis], index), always=always)


def check_positions(node: OnnxNode, count: int, taps: int = 1) -> None:
    """Raise the error for an axis that no table of taps can be made for."""
    if count * max(taps, 1) > MAX_POSITIONS:
        raise node.bad(f"expected at most {MAX_POSITIONS} positions along an axis, got {count}" + (f" of {taps} taps" if taps > 1 else ""))
