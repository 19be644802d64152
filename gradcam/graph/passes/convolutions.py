"""Which blocked kernel does a convolution, and the border that it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gradcam.graph.ir import Node, Shape
from gradcam.ops.blocked import BLOCK, Window, winograd_border

__all__ = ["Border", "Convolution", "WeightGradient", "blocked_convolution", "blocked_weight_gradient"]

Border = tuple[int, int, int, int]
"""top, left, bottom, right"""

WINOGRAD_PIXELS = 144
"""Winograd's tiles of 4 x 4 beat the direct kernel from here on, with any number of channels: below, reading four times the weights
takes longer (measured)."""
STEM_CHANNELS = 4


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution as a blocked kernel does it.

    Attributes
    ----------
    border : tuple of int
        Border that its source needs.
    op : str
        Operator of `gradcam.graph.ops.blocked`.
    attributes : dict
        Attributes of the node, besides layouts and epilogue.
    """

    border: Border
    op: str
    attributes: dict[str, Any]

    @property
    def plain_source(self) -> bool:
        """Whether the source is read plain."""
        return self.attributes.get("algorithm") == "stem"


@dataclass(frozen=True, slots=True)
class WeightGradient:
    """The weight gradient of a convolution as the blocked kernel does it: the border that x needs, and the windows over it."""

    border: Border
    window: Window


def blocked_weight_gradient(node: Node) -> WeightGradient | None:
    """How a ConvWeightGrad runs blocked; None if it runs plain: in groups, or with too few channels to fill a vector."""
    dy, x, dw = node.input(0), node.input(1), node.outputs[0]
    if len(x.shape) != 4 or node.attrs["groups"] != 1 or x.shape[1] <= STEM_CHANNELS or _pads(node) < 0:
        return None
    window = _window(node, dw.shape)
    return WeightGradient(_Case(x.shape, dy.shape, window, 1, gradient=False).border(), window)


def blocked_convolution(node: Node, *, stem: bool, winograd: bool) -> Convolution | None:
    """How a Conv, FusedConv or ConvInputGrad runs blocked; None if it runs plain.

    Parameters
    ----------
    stem : bool
        The source is plain, so that a kernel which reads plain pictures may be taken.
    winograd : bool
        Winograd's algorithm is allowed.
    """
    x, w = node.input(0), node.input(1)
    if len(x.shape) != 4 or _pads(node) < 0:
        return None
    window = _window(node, w.shape)
    groups, gradient = node.attrs["groups"], node.op == "ConvInputGrad"
    case = _Case(x.shape, node.outputs[0].shape, window, groups, gradient)
    attributes = {"window": window, "gradient": gradient}
    if groups > 1 and groups == x.shape[1] == node.outputs[0].shape[1]:
        if gradient and not case.turns():
            return Convolution((0, 0, 0, 0), "BlockedDepthwiseGrad", {"window": window, "algorithm": "depthwise"})
        return Convolution(case.border(), "BlockedConv", {**attributes, "algorithm": "depthwise"})
    if stem and groups == 1 and x.shape[1] <= STEM_CHANNELS and window.dilation == (1, 1):
        return Convolution((0, 0, 0, 0), "BlockedConv", {**attributes, "algorithm": "stem"})
    if winograd and case.suits_winograd():
        return Convolution(case.tiled_border(), "BlockedConv", {**attributes, "algorithm": "winograd"})
    if groups > 1 and not _makes_blocks(x.shape[1] // groups, node.outputs[0].shape[1] // groups, groups):
        return None
    return Convolution(case.border(), "BlockedConv", {**attributes, "algorithm": "direct", "groups": groups})


@dataclass(frozen=True, slots=True)
class _Case:
    """Shapes of source and result, and the window between them."""

    source: Shape
    result: Shape
    window: Window
    groups: int
    gradient: bool

    def turns(self) -> bool:
        """Whether the gradient is a convolution with turned filters."""
        return self.window.stride == (1, 1) and min(self.window.turned().pad_lo + self.window.turned().pad_hi) >= 0

    def border(self) -> Border:
        """Border that the windows reach."""
        w = self.window
        (top, bottom), (left, right) = (
            _reach(self.source[i + 2], self.result[i + 2], w.kernel[i], w.stride[i], w.pad_lo[i], w.dilation[i], self.gradient)
            for i in range(2)
        )
        return top, left, bottom, right

    def suits_winograd(self) -> bool:
        """Whether tiles of 4 x 4 can compute it, and are worth it."""
        w = self.window
        possible = w.kernel == (3, 3) and w.stride == w.dilation == (1, 1) and self.groups == 1 and (self.turns() or not self.gradient)
        return possible and self.result[2] * self.result[3] >= WINOGRAD_PIXELS

    def tiled_border(self) -> Border:
        """Border that windows reach when the result is computed in whole tiles of 4 x 4."""
        pads = self.window.turned().pad_lo if self.gradient else self.window.pad_lo
        rows, columns = (winograd_border(self.source[i + 2], self.result[i + 2], pads[i]) for i in range(2))
        return rows[0], columns[0], rows[1], columns[1]


def _pads(node: Node) -> int:
    """Least padding of any side."""
    return int(min(node.attrs["pad_lo"] + node.attrs["pad_hi"]))


def _window(node: Node, weight: Shape) -> Window:
    """Windows of a convolution or a gradient of one, whose weights have this shape."""
    a = node.attrs
    return Window((weight[2], weight[3]), a["stride"], a["pad_lo"], a["pad_hi"], a["dilation"])


def _makes_blocks(source: int, result: int, groups: int) -> bool:
    """Whether some number of groups together has whole blocks of channels on both sides."""
    return any(groups % m == 0 and source * m % BLOCK == 0 and result * m % BLOCK == 0 for m in range(1, BLOCK + 1))


def _reach(source: int, result: int, kernel: int, stride: int, pad: int, dilation: int, gradient: bool) -> tuple[int, int]:
    """Pixels read before and after the source along one axis."""
    if not gradient:
        return pad, max(0, (result - 1) * stride + (kernel - 1) * dilation - pad - (source - 1))
    before = after = 0
    for first in range(min(stride, result)):
        last = (result - first - 1) // stride
        for tap in range(kernel):
            place, rest = divmod(first + pad - tap * dilation, stride)
            if rest == 0:
                before, after = max(before, -place), max(after, place + last - (source - 1))
    return before, after
