"""Attributes of the feature explanation method (`csrc/cam/fem.h`)."""

from __future__ import annotations

from gradcam.ops._call import Attributes

__all__ = ["FEM", "fem_attributes"]

FEM = {"binary": 0, "fraction": 1}
"""Codes of the variants."""


def fem_attributes(channels: int, positions: int, strides: tuple[int, int], *, variant: int = 0) -> Attributes:
    """Attributes of both kernels; strides are (channel, position), in elements."""
    return Attributes((channels, positions, *strides, variant))
