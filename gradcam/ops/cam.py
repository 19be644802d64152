"""Attributes of the reductions of class-activation maps (`csrc/cam`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.ops import _call
from gradcam.ops._call import Attributes

__all__ = ["EIGEN_TERMS", "cam_attributes", "channel_arrays", "eigen_attributes", "smooth_attributes"]

EIGEN_TERMS = ("activations", "product", "abs-product", "relu-product", "relu-gradient", "weighted")


def channel_arrays(function: str, activations: object, *gradients: object, channel_axis: int) -> tuple[tuple[NDArray[Any], ...], int, int]:
    """Check activations, and gradients if they are given: (N, C, *S), or the channels at another axis.

    Returns
    -------
    arrays : tuple of ndarray
        C-contiguous, with the channels at axis 1 or the last one.
    axis, given_axis : int
        Where the channels are now, and where they were given.

    Raises
    ------
    TypeError, ValueError
        As `gradcam.cam`.
    """
    given = [activations, *gradients]
    stored_last = False
    if channel_axis == 1 and isinstance(activations, np.ndarray) and not activations.flags.c_contiguous:
        views = [np.moveaxis(x, 1, -1) for x in given if isinstance(x, np.ndarray) and x.ndim > 2 and not x.flags.c_contiguous]
        if len(views) == len(given) and all(view.flags.c_contiguous for view in views):
            given, channel_axis, stored_last = list(views), -1, True  # channels first only in name: read where they lie
    a = _call.array(function, "activations", given[0], ndim=(3, 5))
    arrays = [a, *(_call.array(function, "gradients", g, like=a) for g in given[1:])]
    if arrays[-1].shape != a.shape:
        raise ValueError(f"{function}: gradients: expected shape {a.shape} like the activations, got {arrays[-1].shape}")
    if not isinstance(channel_axis, (int, np.integer)) or not -a.ndim <= channel_axis < a.ndim or channel_axis % a.ndim == 0:
        raise ValueError(f"{function}: channel_axis: expected an axis of the {a.ndim} other than the batch axis 0, got {channel_axis!r}")
    if 0 in a.shape[1:]:
        raise ValueError(f"{function}: activations: expected sizes of at least 1 on all axes but the batch, got {a.shape}")
    axis = int(channel_axis) % a.ndim
    given_axis = 1 if stored_last else axis
    if axis not in (1, a.ndim - 1):
        arrays, axis = [np.ascontiguousarray(np.moveaxis(v, axis, 1)) for v in arrays], 1
    return tuple(arrays), axis, given_axis


def cam_attributes(
    channels: int,
    positions: int,
    a_strides: tuple[int, int],
    g_strides: tuple[int, int],
    *,
    variant: int = 0,
    omit_nan: bool = False,
    epsilon: float = 0.0,
) -> Attributes:
    """Attributes of the kernels of `csrc/cam/cam.h`; strides are (channel, position), in elements."""
    return Attributes((channels, positions, *a_strides, *g_strides, variant, int(omit_nan)), (epsilon,))


def eigen_attributes(
    channels: int,
    positions: int,
    a_strides: tuple[int, int],
    g_strides: tuple[int, int],
    *,
    term: str,
    center: bool,
    replace_nan: bool = False,
    kernel_pca: bool = False,
    extreme: bool = False,
    factor: int = 1,
    reference: bool = False,
) -> Attributes:
    """Attributes of all kernels of the eigen family; `term` is one of `EIGEN_TERMS`."""
    flags = (int(center), int(replace_nan), int(kernel_pca), int(extreme), factor, int(reference))
    return Attributes((channels, positions, *a_strides, *g_strides, EIGEN_TERMS.index(term), *flags))


def smooth_attributes(samples: int, channels: int, positions: int, channels_last: bool, variant: int, epsilon: float) -> Attributes:
    """Attributes of `cam_smooth_weights`."""
    return Attributes((samples, channels, positions, int(channels_last), variant), (epsilon,))
