"""Convolution on arrays, and its gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradcam import _core
from gradcam.ops import _call
from gradcam.ops._call import Attributes
from gradcam.ops._windows import Padding, per_axis, per_side
from gradcam.ops.reduce import sum as sum_over

__all__ = ["conv", "conv_attributes", "conv_bias_grad", "conv_input_grad", "conv_output_shape", "conv_weight_grad"]

Shape = tuple[int, ...]
Floats = NDArray[np.floating[Any]]


def conv_output_shape(
    x_shape: Shape, w_shape: Shape, *, stride: Sequence[int], pad_lo: Sequence[int], pad_hi: Sequence[int], dilation: Sequence[int]
) -> Shape:
    """Shape of y: (N, C, *S), (K, C/groups, *kernel) -> (N, K, *O)."""
    axes = zip(x_shape[2:], w_shape[2:], stride, pad_lo, pad_hi, dilation, strict=True)
    return (x_shape[0], w_shape[0], *((n + lo + hi - d * (k - 1) - 1) // s + 1 for n, k, s, lo, hi, d in axes))


def conv_attributes(
    x_shape: Shape,
    w_shape: Shape,
    *,
    stride: Sequence[int],
    pad_lo: Sequence[int],
    pad_hi: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    has_bias: bool,
    gradient: bool = False,
) -> Attributes:
    """Attributes of all kernels of `csrc/ops/conv.h`."""
    space = (*x_shape[2:], *w_shape[2:], *stride, *pad_lo, *pad_hi, *dilation)
    return Attributes((len(x_shape) - 2, x_shape[0], x_shape[1], w_shape[0], groups, *space, int(has_bias), int(gradient)))


def _geometry(function: str, x_shape: Shape, w_shape: Shape, stride: Any, padding: Any, dilation: Any, groups: int) -> dict[str, Any]:
    rank = len(x_shape) - 2
    if len(w_shape) != rank + 2:
        raise ValueError(f"{function}: weight: expected {rank + 2} axes like the input, got {len(w_shape)} (shape {w_shape})")
    if isinstance(groups, bool) or not isinstance(groups, int | np.integer) or groups < 1 or x_shape[1] % groups or w_shape[0] % groups:
        raise ValueError(f"{function}: groups: expected a divisor of {x_shape[1]} input and {w_shape[0]} output channels, got {groups}")
    if w_shape[1] != x_shape[1] // groups:
        raise ValueError(f"{function}: weight: expected {x_shape[1] // groups} input channels (axis 1), got {w_shape[1]}")
    lo, hi = per_side(function, padding, rank)
    geometry = {
        "stride": per_axis(function, "stride", stride, rank, 1),
        "pad_lo": lo,
        "pad_hi": hi,
        "dilation": per_axis(function, "dilation", dilation, rank, 1),
    }
    shape = conv_output_shape(x_shape, w_shape, **geometry)
    if min(shape[2:]) < 1 or min(w_shape) < 1 or min(x_shape[1:]) < 1:
        raise ValueError(f"{function}: weight: expected a kernel that fits into the padded input {x_shape}, got {w_shape}")
    return geometry


def conv(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    num_threads: int | None = None,
) -> Floats:
    """Convolution (cross-correlation) over one to three spatial axes.

    Parameters
    ----------
    x : array_like of float32 or float64, shape (N, C, *S)
        Input.
    weight : array_like, shape (K, C / groups, *kernel)
        Filters.
    bias : array_like, shape (K,), optional
        Added to every position.
    stride, dilation : int or one per axis
        Steps between outputs, and between the taps of the kernel.
    padding : int, one per axis, or one (low, high) pair per axis
        Zeros around the input.
    groups : int
        Input and output channels are cut into so many groups that do not see each other.
    num_threads : int, optional
        See `gradcam.set_num_threads`.

    Returns
    -------
    ndarray, shape (N, K, *O)

    Raises
    ------
    ValueError, TypeError
        Shapes, types or parameters that do not fit; the message names the argument.
    """
    x = _call.array("conv", "x", x, ndim=(3, 5))
    w = _call.array("conv", "weight", weight, like=x)
    geometry = _geometry("conv", x.shape, w.shape, stride, padding, dilation, groups)
    b = None if bias is None else _call.array("conv", "bias", bias, like=x)
    if b is not None and b.shape != (w.shape[0],):
        raise ValueError(f"conv: bias: expected shape {(w.shape[0],)}, got {b.shape}")
    attributes = conv_attributes(x.shape, w.shape, **geometry, groups=groups, has_bias=b is not None)
    shape = conv_output_shape(x.shape, w.shape, **geometry)
    return _call.call("conv_output", attributes, [x, _packed(attributes, w, num_threads), b], [shape], num_threads=num_threads)[0]


def conv_input_grad(
    dy: ArrayLike,
    weight: ArrayLike,
    input_size: Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    num_threads: int | None = None,
) -> Floats:
    """Gradient of `conv` with respect to its input.

    Parameters
    ----------
    dy : array_like of float32 or float64, shape (N, K, *O)
        Gradient of the output.
    weight : array_like, shape (K, C / groups, *kernel)
        Filters.
    input_size : sequence of int
        Spatial shape S of the input.
    stride, padding, dilation, groups, num_threads
        As in `conv`.

    Returns
    -------
    ndarray, shape (N, C, *S)
    """
    dy = _call.array("conv_input_grad", "dy", dy, ndim=(3, 5))
    w = _call.array("conv_input_grad", "weight", weight, like=dy)
    if len(input_size) != dy.ndim - 2 or w.ndim != dy.ndim or dy.shape[1] != w.shape[0]:
        raise ValueError(f"conv_input_grad: dy: expected {w.shape[0]} channels and as many axes as the weight {w.shape}, got {dy.shape}")
    x_shape = (dy.shape[0], w.shape[1] * groups, *(int(n) for n in input_size))
    geometry = _geometry("conv_input_grad", x_shape, w.shape, stride, padding, dilation, groups)
    shape = conv_output_shape(x_shape, w.shape, **geometry)
    if shape != dy.shape:
        raise ValueError(f"conv_input_grad: dy: expected shape {shape} for an input of {x_shape}, got {dy.shape}")
    attributes = conv_attributes(x_shape, w.shape, **geometry, groups=groups, has_bias=False, gradient=True)
    return _call.call("conv_input_grad", attributes, [dy, _packed(attributes, w, num_threads)], [x_shape], num_threads=num_threads)[0]


def conv_weight_grad(
    dy: ArrayLike,
    x: ArrayLike,
    kernel_size: Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    num_threads: int | None = None,
) -> Floats:
    """Gradient of `conv` with respect to its weight, summed over the pictures.

    Parameters
    ----------
    dy : array_like of float32 or float64, shape (N, K, *O)
        Gradient of the output.
    x : array_like, shape (N, C, *S)
        Input.
    kernel_size : sequence of int
        Spatial shape of the filters.
    stride, padding, dilation, groups, num_threads
        As in `conv`.

    Returns
    -------
    ndarray, shape (K, C / groups, *kernel_size)

    Raises
    ------
    ValueError, TypeError
        Shapes, types or parameters that do not fit; the message names the argument.
    """
    dy = _call.array("conv_weight_grad", "dy", dy, ndim=(3, 5))
    x = _call.array("conv_weight_grad", "x", x, ndim=(dy.ndim, dy.ndim), like=dy)
    kernel = tuple(int(n) for n in kernel_size)
    if len(kernel) != dy.ndim - 2 or min(kernel) < 1:
        raise ValueError(f"conv_weight_grad: kernel_size: expected {dy.ndim - 2} sizes of at least 1, got {tuple(kernel_size)}")
    w_shape = (dy.shape[1], x.shape[1] // max(1, groups), *kernel)
    geometry = _geometry("conv_weight_grad", x.shape, w_shape, stride, padding, dilation, groups)
    shape = conv_output_shape(x.shape, w_shape, **geometry)
    if shape != dy.shape:
        raise ValueError(f"conv_weight_grad: dy: expected shape {shape} for an input of {x.shape}, got {dy.shape}")
    attributes = conv_attributes(x.shape, w_shape, **geometry, groups=groups, has_bias=False)
    return _call.call("conv_weight_grad", attributes, [dy, x], [w_shape], num_threads=num_threads)[0]


def conv_bias_grad(dy: ArrayLike) -> Floats:
    """Gradient of `conv` with respect to its bias: the sum of `dy` over pictures and positions, in double.

    Parameters
    ----------
    dy : array_like of float32 or float64, shape (N, K, *O)
        Gradient of the output.

    Returns
    -------
    ndarray, shape (K,)

    Raises
    ------
    ValueError, TypeError
        `dy` is not an array of real numbers with 3 to 5 axes.
    """
    dy = _call.array("conv_bias_grad", "dy", dy, ndim=(3, 5))
    return sum_over(dy, (0, *range(2, dy.ndim)))


def _packed(attributes: Attributes, w: Floats, num_threads: int | None) -> Floats:
    count = _core.operands("conv_pack", _call.isa, w.dtype.char, attributes.ints, attributes.reals)[1][0]
    return _call.call("conv_pack", attributes, [w], [(count,)], num_threads=num_threads)[0]
