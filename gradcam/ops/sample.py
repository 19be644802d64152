"""Weighted sums of elements at positions that are computed at run time."""

from __future__ import annotations

from collections.abc import Sequence

from gradcam.ops._call import Attributes

__all__ = ["sample_attributes"]


def sample_attributes(x_shape: Sequence[int], index_shape: Sequence[int]) -> Attributes:
    """Return the attributes of the ``sample`` kernels for x (batch, outer, axis) and an index (batch, count, taps)."""
    batch, outer, axis = x_shape
    return Attributes((batch, outer, axis, *index_shape[1:]))
