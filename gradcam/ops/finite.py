"""Attributes of the kernels that leave out channels with NaN or infinity (`csrc/cam/finite.h`)."""

from __future__ import annotations

from gradcam.ops._call import Attributes

__all__ = ["drop_attributes", "finite_attributes"]


def finite_attributes(channels: int, positions: int, a_strides: tuple[int, int], g_strides: tuple[int, int] | None = None) -> Attributes:
    """Attributes of ``cam_finite``; strides are (channel, position), in elements, None for an absent g."""
    return Attributes((channels, positions, *a_strides, *(g_strides or (0, 0)), int(g_strides is not None)))


def drop_attributes(outer: int, channels: int, inner: int) -> Attributes:
    """Attributes of ``cam_drop`` for an array (outer, channels, inner)."""
    return Attributes((outer, channels, inner))
