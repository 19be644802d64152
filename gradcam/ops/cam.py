"""Attributes of the reductions of class-activation maps (`csrc/cam`)."""

from __future__ import annotations

from gradcam.ops._call import Attributes

__all__ = ["EIGEN_TERMS", "cam_attributes", "eigen_attributes", "smooth_attributes"]

EIGEN_TERMS = ("activations", "product", "abs-product", "relu-product", "relu-gradient", "weighted")


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
