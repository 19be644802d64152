"""Which blocked kernel does a convolution, and the border that it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gradcam.graph.ir import Node, Shape
from gradcam.ops.blocked import BLOCK

__all__ = ["Border", "Window", "window_of"]

Border = tuple[int, int, int, int]
"""top, left, bottom, right"""

WINOGRAD_SIZE = 14
"""Smallest height and width for which Winograd's tiles of 4 x 4 beat the direct kernel (measured)."""
WINOGRAD_CHANNELS = 32
STEM_CHANNELS = 4


@dataclass(frozen=True, slots=True)
class Window:
    """A convolution as a blocked kernel does it.

    Attributes
    ----------
    algorithm : str
        See `gradcam.graph.ops.blocked.BlockedConv`.
    border : tuple of int
        Border that its source needs.
    attributes : dict
        Attributes of the node, besides layouts and epilogue.
    """

    algorithm: str
    border: Border
    attributes: dict[str, Any]


def window_of(node: Node, *, stem: bool, winograd: bool) -> Window | None:
    """How a Conv, FusedConv or ConvInputGrad runs blocked; None if it runs plain.

    Parameters
    ----------
    stem : bool
        The source is plain, so that a kernel which reads plain pictures may be taken.
    winograd : bool
        Winograd's algorithm is allowed.
    """
    x, w = node.inputs[:2]
    assert x is not None
    assert w is not None
    gradient = node.op == "ConvInputGrad"
    a = node.attrs
    if len(x.shape) != 4 or w.data is None or min(a["pad_lo"]) < 0:
        return None
    source, result = x.shape, node.outputs[0].shape
    kernel, stride, pad, dilation, groups = w.shape[2:], a["stride"], a["pad_lo"], a["dilation"], a["groups"]
    algorithm = _algorithm(source, result, w.shape, stride, dilation, groups, gradient, stem, winograd)
    if algorithm is None:
        return None
    axes = [_reach(source[i + 2], result[i + 2], kernel[i], stride[i], pad[i], dilation[i], gradient) for i in range(2)]
    if algorithm == "winograd":
        axes = [_whole_tiles(source[i + 2], result[i + 2], 2 - pad[i] if gradient else pad[i]) for i in range(2)]
    (top, bottom), (left, right) = axes
    attributes = {"kernel": kernel, "stride": stride, "pad": pad, "dilation": dilation, "groups": groups, "gradient": gradient}
    return Window(algorithm, (top, left, bottom, right), {"algorithm": algorithm, **attributes})


def _algorithm(
    source: Shape,
    result: Shape,
    w_shape: Shape,
    stride: Shape,
    dilation: Shape,
    groups: int,
    gradient: bool,
    stem: bool,
    winograd: bool,
) -> str | None:
    if groups > 1:
        return "direct" if _makes_blocks(source[1] // groups, result[1] // groups, groups) else None
    return "direct"


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


def _whole_tiles(source: int, result: int, pad: int) -> tuple[int, int]:
    """The same where the result is computed in whole tiles of four."""
    return pad, max(0, -(-result // 4) * 4 + 1 - pad - (source - 1))
