"""Layer norm: how its kernels are told the rows."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from gradcam.ops._call import Attributes

__all__ = ["layer_norm_attributes"]


def layer_norm_attributes(shape: Sequence[int], axis: int, epsilon: float, *, gamma: bool, beta: bool) -> Attributes:
    """Attributes of the kernels of `csrc/ops/layer_norm.h` for an array that is normalised over its axes from `axis` on.

    Parameters
    ----------
    gamma, beta : bool
        Whether there is such an operand; the gradient has no `beta`.
    """
    return Attributes((prod(shape[:axis]), prod(shape[axis:]), int(gamma), int(beta)), (float(epsilon),))
