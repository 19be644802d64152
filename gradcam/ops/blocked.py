"""Blocked tensors: how kernels of `csrc/blocked` are told about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gradcam.ops import pool
from gradcam.ops._call import Attributes
from gradcam.ops.unary import UNARY

__all__ = [
    "BLOCK",
    "MOST_TAPS",
    "Blocked",
    "Window",
    "conv_attributes",
    "copy_attributes",
    "depthwise_attributes",
    "depthwise_grad_attributes",
    "epilogue",
    "function_code",
    "index_shape",
    "max_pool_grad_attributes",
    "pool_attributes",
    "scale_attributes",
    "stem_attributes",
    "tap_attributes",
    "weight_attributes",
    "winograd_attributes",
    "winograd_border",
    "winograd_pack_attributes",
]

BLOCK = 16
"""Channels that lie together."""

MOST_TAPS = 255
"""Of a window whose maximum is remembered in a byte."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """A tensor (N, C, H, W) in blocks of 16 channels, with a border of zeros (`csrc/blocked/blocked.h`)."""

    n: int
    c: int
    h: int
    w: int
    top: int = 0
    left: int = 0
    bottom: int = 0
    right: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array that holds it."""
        return (self.n, -(-self.c // BLOCK), self.top + self.h + self.bottom, self.left + self.w + self.right, BLOCK)

    @property
    def size(self) -> int:
        """Number of its elements, without spare lanes and border."""
        return self.n * self.c * self.h * self.w

    @property
    def plain_shape(self) -> tuple[int, ...]:
        """Shape of the plain tensor."""
        return (self.n, self.c, self.h, self.w)

    @property
    def ints(self) -> tuple[int, ...]:
        """Attributes of a kernel that reads or writes it."""
        return (self.n, self.c, self.h, self.w, self.top, self.left, self.bottom, self.right)

    @property
    def attributes(self) -> Attributes:
        """The same, as all that a kernel is told."""
        return Attributes(self.ints)


def function_code(name: str | None) -> int:
    """Code of an elementwise function in an epilogue."""
    return -1 if name is None else UNARY[name]


def epilogue(code: int = -1, *, bias: bool = False, residual: Blocked | None = None) -> tuple[int, ...]:
    """Integer attributes of an epilogue: code of the elementwise function (-1: none), operands."""
    return (code, int(bias), int(residual is not None), *(residual.ints if residual is not None else ()))


def copy_attributes(x: Blocked, y: Blocked, to: int = 0) -> Attributes:
    """Attributes of `blocked_copy`: all of x becomes the channels of y from `to` on (`csrc/blocked/reorder.h`)."""
    return Attributes((*x.ints, *y.ints, to))


@dataclass(frozen=True, slots=True)
class Window:
    """Windows that slide over height and width (`csrc/blocked/window.h`); padding as (above, left) and (below, right)."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pad_lo: tuple[int, int] = (0, 0)
    pad_hi: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    @property
    def ints(self) -> tuple[int, ...]:
        """Attributes of a kernel that has windows."""
        return (*self.kernel, *self.stride, *self.pad_lo, *self.pad_hi, *self.dilation)

    def turned(self) -> Window:
        """Windows of the input gradient at stride 1."""
        reach = [d * (k - 1) for k, d in zip(self.kernel, self.dilation, strict=True)]
        lo, hi = ((reach[0] - pad[0], reach[1] - pad[1]) for pad in (self.pad_lo, self.pad_hi))
        return Window(self.kernel, self.stride, lo, hi, self.dilation)


def conv_attributes(
    source: Blocked,
    result: Blocked,
    window: Window,
    finish: Sequence[int] | None = None,
    parameters: tuple[float, float] = (0.0, 0.0),
    *,
    groups: int = 1,
    gradient: bool = False,
) -> Attributes:
    """Attributes of `blocked_conv_pack` and `blocked_conv_output` (`csrc/blocked/conv.h`); otherwise as `depthwise_attributes`."""
    window_ints = (groups, int(gradient), *window.ints)
    return Attributes((*source.ints, *result.ints, *window_ints, *(epilogue() if finish is None else finish)), parameters)


def depthwise_attributes(
    x: Blocked, y: Blocked, window: Window, finish: Sequence[int] | None = None, parameters: tuple[float, float] = (0.0, 0.0)
) -> Attributes:
    """Attributes of `blocked_depthwise_output`; `finish` is what `epilogue` gives, `parameters` are those of its function."""
    return Attributes((*x.ints, *y.ints, *window.ints, *(epilogue() if finish is None else finish)), parameters)


def depthwise_grad_attributes(dx: Blocked, dy: Blocked, window: Window) -> Attributes:
    """Attributes of `blocked_depthwise_input_grad`."""
    return Attributes((*dx.ints, *dy.ints, *window.ints))


def stem_attributes(
    size: tuple[int, int, int],
    y: Blocked,
    window: Window,
    finish: Sequence[int] | None = None,
    parameters: tuple[float, float] = (0.0, 0.0),
) -> Attributes:
    """Attributes of `blocked_stem_output` for a plain input of size (C, H, W); otherwise as `depthwise_attributes`."""
    return Attributes((*size, *y.ints, *window.ints, *(epilogue() if finish is None else finish)), parameters)


def pool_attributes(x: Blocked, y: Blocked, window: Window, *, ceil_mode: bool = False, count_include_pad: bool = False) -> Attributes:
    """Attributes of the kernels of `csrc/blocked/pool.h` except `blocked_max_pool_input_grad` (gradients: x is dx, y is dy)."""
    return Attributes((*x.ints, *y.ints, *_plain_pool(x, window, ceil_mode, count_include_pad)))


def index_shape(y: Blocked) -> tuple[int, ...]:
    """Shape of the bytes that say where the maxima of a pool lie: one per element of y, without its border."""
    return Blocked(y.n, y.c, y.h, y.w).shape


def max_pool_grad_attributes(x: Blocked, dy: Blocked, dx: Blocked, window: Window, *, ceil_mode: bool = False) -> Attributes:
    """Attributes of `blocked_max_pool_input_grad`."""
    return Attributes((*x.ints, *dy.ints, *dx.ints, *_plain_pool(x, window, ceil_mode, False)))


def _plain_pool(x: Blocked, window: Window, ceil_mode: bool, count_include_pad: bool) -> tuple[int, ...]:
    return pool.pool_attributes(
        (x.n, x.c, x.h, x.w),
        window.kernel,
        stride=window.stride,
        pad_lo=window.pad_lo,
        pad_hi=window.pad_hi,
        dilation=window.dilation,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
    ).ints


def tap_attributes(dy: Blocked, convolution: Attributes) -> Attributes:
    """Attributes of `blocked_tap_sums`; `convolution` is what `gradcam.ops.conv.conv_attributes` gives."""
    return Attributes((*dy.ints, *convolution.ints))


def weight_attributes(x: Blocked, dy: Blocked, window: Window) -> Attributes:
    """Attributes of `blocked_weight_grad` (`csrc/blocked/weight.h`)."""
    return Attributes((*x.ints, *dy.ints, *window.ints))


def scale_attributes(x: Blocked, y: Blocked) -> Attributes:
    """Attributes of `blocked_channel_scale`."""
    return Attributes((*x.ints, *y.ints))


def winograd_pack_attributes(k: int, c: int, *, gradient: bool = False) -> Attributes:
    """Attributes of ``blocked_winograd_pack`` for weights (K, C, 3, 3); `gradient`: packed for the input gradient."""
    return Attributes((k, c, int(gradient)))


def winograd_border(inputs: int, outputs: int, pad: int) -> tuple[int, int]:
    """Least border, before and after, of an input axis whose `outputs` sums begin `pad` positions before it."""
    return pad, max(-(-outputs // 4) * 4 + 2 - pad - inputs, 0)


def winograd_attributes(
    x: Blocked, y: Blocked, pad: tuple[int, int], finish: Sequence[int] | None = None, parameters: tuple[float, float] = (0.0, 0.0)
) -> Attributes:
    """Attributes of ``blocked_winograd_output``: x padded by `pad` (top, left) -> y; otherwise as `depthwise_attributes`."""
    return Attributes((*x.ints, *y.ints, *pad, *(epilogue() if finish is None else finish)), parameters)
