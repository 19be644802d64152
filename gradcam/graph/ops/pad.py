"""Padding: constant by a copy, by repetition of the array's own elements as taps along each axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Node, Shape, Value
from gradcam.graph.onnx_form import Inputs, OnnxNode, onnx_form
from gradcam.graph.operators import Mixes, operator
from gradcam.graph.ops.resample import check_positions, pick
from gradcam.ops import layout as kernels

if TYPE_CHECKING:
    from gradcam.graph.plan import PlanBuilder


@operator("Pad")
class Pad:
    """Constant `value` around x; negative paddings crop."""

    @staticmethod
    def shape(node: Node) -> Shape:
        return tuple(n + lo + hi for n, lo, hi in zip(node.input(0).shape, node.attrs["lo"], node.attrs["hi"], strict=True))

    @staticmethod
    def picture_axis(node: Node, axes: list[int | None]) -> int | None:
        if axes[0] is not None and (node.attrs["lo"][axes[0]], node.attrs["hi"][axes[0]]) != (0, 0):
            raise Mixes
        return axes[0]

    @staticmethod
    def evaluate(node: Node, arrays: list[NDArray[Any] | None]) -> NDArray[Any]:
        assert arrays[0] is not None
        lo, hi = node.attrs["lo"], node.attrs["hi"]
        kept = arrays[0][tuple(slice(max(-a, 0), n + min(b, 0)) for a, b, n in zip(lo, hi, arrays[0].shape, strict=True))]
        around = [(max(a, 0), max(b, 0)) for a, b in zip(lo, hi, strict=True)]
        return np.pad(kept, around, constant_values=node.attrs["value"])

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        return [g.emit("PadGrad", dy, input_shape=node.input(0).shape, **node.attrs)]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        a = node.attrs
        p.step("pad_output", kernels.pad_constant_attributes(node.input(0).shape, a["lo"], a["hi"], a["value"]), node.inputs, node.outputs)


@operator("PadGrad")
class PadGrad:
    """dy without the padding; zero where x was cropped."""

    @staticmethod
    def shape(node: Node) -> Shape:
        return tuple(node.attrs["input_shape"])

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        return [g.emit("Pad", dy, lo=node.attrs["lo"], hi=node.attrs["hi"], value=0.0)]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        a = node.attrs
        p.step("pad_output", kernels.pad_grad_attributes(a["input_shape"], a["lo"], a["hi"]), node.inputs, node.outputs)


# ONNX form -----------------------------------------------------------------------------------------------------------


@onnx_form("Pad")
def pad(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """All modes; paddings are an attribute up to opset 10, a constant input after. Negative ones crop before the others pad."""
    x = node.required(inputs, 0)
    mode = node.attrs.get("mode", "constant")
    if mode not in ("constant", "reflect", "edge", "wrap"):
        raise node.bad(f"attribute 'mode': unknown value '{mode}'")
    pads = node.ints(inputs, 1, "pads") or node.attrs.get("paddings")
    rank = len(x.shape)
    given = node.optional(inputs, 3)
    axes = tuple(range(rank)) if given is None else tuple(node.axis(int(a), rank) for a in np.atleast_1d(node.array(inputs, 3)))
    if pads is None or len(pads) != 2 * len(axes):
        raise node.bad(f"expected {2 * len(axes)} paddings, got {pads}")
    lo, hi = [0] * rank, [0] * rank
    for i, axis in enumerate(axes):
        lo[axis], hi[axis] = int(pads[i]), int(pads[i + len(axes)])
    if any(n + a + b < 0 for n, a, b in zip(x.shape, lo, hi, strict=True)):
        raise node.bad(f"paddings {tuple(pads)} crop more than {x.shape} has")
    if not any(lo) and not any(hi):
        return x
    if mode == "constant":
        value = float(node.array(inputs, 2).reshape(())) if node.optional(inputs, 2) is not None else float(node.attrs.get("value", 0.0))
        return g.emit("Pad", x, lo=tuple(lo), hi=tuple(hi), value=value)
    for axis in range(rank - 1, -1, -1):
        if lo[axis] or hi[axis]:
            x = pick(g, x, axis, _repeated(node, x.shape[axis], lo[axis], hi[axis], mode))
    return x


def _repeated(node: OnnxNode, size: int, lo: int, hi: int, mode: str) -> NDArray[np.int64]:
    """Position that each output of an axis takes its value from."""
    check_positions(node, size + max(lo, 0) + max(hi, 0))
    kept = np.arange(size)[max(-lo, 0) : size + min(hi, 0)]
    if not kept.size and (lo > 0 or hi > 0):
        raise node.bad(f"attribute 'mode': '{mode}' has nothing to repeat along an axis of {size} elements")
    return np.pad(kept, (max(lo, 0), max(hi, 0)), cast(Literal["reflect"], mode))
