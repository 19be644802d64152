"""Reductions of class-activation maps: weights of channels, and maps. One picture at a time, read where it lies.

The functions are for the package and its tests; `gradcam.cam` and its relatives are the public ones. They take pictures
of shape ``(channels, positions)``; any view will do, a transposed channels-last array among them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.ops._call import Attributes, call

__all__ = ["cam_attributes", "channel_mean", "combine", "plusplus_weights", "product", "xgrad_weights"]

Floats = NDArray[np.floating[Any]]


def cam_attributes(
    channels: int,
    positions: int,
    a_strides: tuple[int, int] | None = None,
    g_strides: tuple[int, int] | None = None,
    *,
    variant: int = 0,
    omit_nan: bool = False,
    epsilon: float = 0.0,
) -> Attributes:
    """Return the attributes of all kernels of the family.

    Strides of activations and gradients are (channel, position), in elements; channel-first without them.
    """
    first = (positions, 1)
    return Attributes((channels, positions, *(a_strides or first), *(g_strides or first), variant, int(omit_nan)), (float(epsilon),))


def channel_mean(g: Floats, *, num_threads: int | None = None) -> Floats:
    """Return ``w[k] = mean_x g``, the weights of Grad-CAM."""
    data, strides = _picture(g)
    attributes = cam_attributes(*g.shape, strides, strides)
    return call("cam_channel_mean", attributes, [data], [g.shape[:1]], num_threads=num_threads)[0]


def plusplus_weights(
    a: Floats, g: Floats, *, variant: int = 0, epsilon: float = 0.0, num_threads: int | None = None
) -> tuple[Floats, Floats]:
    """Return the weights of Grad-CAM++ and 1 for each channel with a dropped term.

    Variants: 0 the paper's formula, cancelled; 1 pytorch-grad-cam; 2 torchcam.
    """
    return _weights("cam_plusplus_weights", a, g, variant, epsilon, num_threads)


def xgrad_weights(a: Floats, g: Floats, *, variant: int = 0, epsilon: float = 0.0, num_threads: int | None = None) -> tuple[Floats, Floats]:
    """Return the weights of XGrad-CAM and 1 for each channel whose activations cancel (variant 0; variant 1 adds `epsilon` instead)."""
    return _weights("cam_xgrad_weights", a, g, variant, epsilon, num_threads)


def combine(weights: Floats, a: Floats, *, omit_nan: bool = False, num_threads: int | None = None) -> Floats:
    """Return ``L[x] = sum_k w[k] A[k, x]``."""
    data, strides = _picture(a)
    attributes = cam_attributes(*a.shape, strides, strides, omit_nan=omit_nan)
    return call("cam_combine", attributes, [weights, data], [a.shape[1:]], num_threads=num_threads)[0]


def product(a: Floats, g: Floats, *, variant: int = 0, omit_nan: bool = False, num_threads: int | None = None) -> Floats:
    """Return the sum over k of ``g A`` (variant 0, HiResCAM), ``R(g A)`` (1, element-wise) or ``R(g) A`` (2, LayerCAM)."""
    a_data, a_strides = _picture(a)
    g_data, g_strides = _picture(g)
    attributes = cam_attributes(*a.shape, a_strides, g_strides, variant=variant, omit_nan=omit_nan)
    return call("cam_product", attributes, [a_data, g_data], [a.shape[1:]], num_threads=num_threads)[0]


def _weights(kernel: str, a: Floats, g: Floats, variant: int, epsilon: float, num_threads: int | None) -> tuple[Floats, Floats]:
    a_data, a_strides = _picture(a)
    g_data, g_strides = _picture(g)
    attributes = cam_attributes(*a.shape, a_strides, g_strides, variant=variant, epsilon=epsilon)
    weights, degenerate = call(kernel, attributes, [a_data, g_data], [a.shape[:1]] * 2, num_threads=num_threads)
    return weights, degenerate


def _picture(array: Floats) -> tuple[Floats, tuple[int, int]]:
    """Return the memory that a (channels, positions) view spans, as a contiguous array, and the strides of the view in elements."""
    strides = [step if size > 1 else array.itemsize for size, step in zip(array.shape, array.strides, strict=True)]
    if any(step <= 0 or step % array.itemsize for step in strides):
        array = np.ascontiguousarray(array)
        strides = [array.shape[1] * array.itemsize, array.itemsize]
    c, x = (step // array.itemsize for step in strides)
    span = 1 + (array.shape[0] - 1) * c + (array.shape[1] - 1) * x
    return np.lib.stride_tricks.as_strided(array, (span,), (array.itemsize,), writeable=False), (c, x)
