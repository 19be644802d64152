"""Real numbers as indices and back."""

from __future__ import annotations

from gradcam.ops._call import Attributes

__all__ = ["convert_attributes"]


def convert_attributes(count: int) -> Attributes:
    """Return the attributes of ``convert_to_real`` and ``convert_to_index``."""
    return Attributes((count,))
