"""Attention: how its kernel is told where rows lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from gradcam.ops._call import Attributes

__all__ = ["RANK", "View", "attention_attributes"]

RANK = 4
"""Most batch axes of the kernel."""


@dataclass(frozen=True, slots=True)
class View:
    """Rows of numbers in an array of `size` elements: the first at `offset`, the others by strides."""

    size: int
    offset: int
    row: int
    batch: tuple[int, ...]

    @classmethod
    def of(cls, size: int, array: NDArray[Any], offset: int) -> View:
        """View of an array (*batch, rows, numbers) of the strides of another one, which are counted in its elements."""
        strides = tuple(stride // array.itemsize if n > 1 else 0 for n, stride in zip(array.shape, array.strides, strict=True))
        return cls(size, offset, strides[-2], strides[:-2])

    def taken(self, axes: Sequence[int]) -> View:
        """The same with some of the batch axes."""
        return View(self.size, self.offset, self.row, tuple(self.batch[i] for i in axes))


def attention_attributes(batch: Sequence[int], sizes: tuple[int, int, int, int], views: Sequence[View | None], scale: float) -> Attributes:
    """Attributes of ``attention_output`` (`csrc/blocked/attention.h`).

    Parameters
    ----------
    batch : sequence of int
        At most `RANK` axes.
    sizes : tuple of int
        Rows, keys, numbers of a key, numbers of a value.
    views : sequence of View or None
        Of q, k, v, bias (None: there is none) and y.
    """
    ints = [n for view in views if view is not None for n in (view.size, view.offset, view.row, *view.batch)]
    return Attributes((len(batch), *sizes, int(views[3] is not None), *batch, *ints), (scale,))
