"""Numbers of rows, computed at run time."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradcam.ops._call import Attributes

__all__ = ["rows_last_attributes", "rows_number_attributes"]


def rows_number_attributes(x_shape: Sequence[int], sizes: Sequence[int], strides: Sequence[int], *, wrap: bool, base: bool) -> Attributes:
    """Return the attributes of ``rows_number`` for positions along the last axis of x, one per size."""
    return Attributes((math.prod(x_shape[:-1]), len(sizes), int(wrap), int(base), *sizes, *strides))


def rows_last_attributes(x_shape: Sequence[int], size: int) -> Attributes:
    """Return the attributes of ``rows_last`` for numbers below `size` along the last axis of x."""
    return Attributes((math.prod(x_shape[:-1]), x_shape[-1], size))
