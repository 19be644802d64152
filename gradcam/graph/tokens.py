"""Token sequences: where their positions lie in the picture that they were cut from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from math import gcd, isqrt, prod

from gradcam.graph.ir import Graph, Shape, Value

__all__ = ["Tokens", "grids_before", "largest_square", "token_grid"]

MAX_PREFIX = 5
"""Most tokens before those of the picture: a class token, one for distillation, registers."""

MAX_PATCH = 64
"""Largest side of a patch that is guessed from the size of a picture."""

_GRIDS = 8
"""Most grids that are remembered for a tensor, and most single rows."""

_GRID_MAKERS = ("Conv", "MaxPool", "AveragePool")

Tokens = tuple[int, Shape]
"""Number of prefix tokens, and the grid of the others."""


def grids_before(graph: Graph, axes: Mapping[Value, int]) -> dict[Value, tuple[Shape, ...]]:
    """Spatial sizes of the tensors that each value is computed from, the nearest first, single rows last."""
    grids: dict[Value, tuple[Shape, ...]] = {}
    for value in graph.inputs:
        grids[value] = _own_grid(value, axes) if len(value.shape) > 3 else ()
    for node in graph.nodes:
        value = node.outputs[0]
        own = _own_grid(value, axes) if len(value.shape) > 3 or node.op in _GRID_MAKERS else ()
        ranks = zip_longest(*(grids.get(v, ()) for v in node.inputs if v is not None))
        found = dict.fromkeys((*own, *(grid for rank in ranks for grid in rank if grid is not None)))
        rows = [grid for grid in found if _is_row(grid)]
        grids[value] = (*[grid for grid in found if grid not in rows][:_GRIDS], *rows[:_GRIDS])
    return grids


def _is_row(grid: Shape) -> bool:
    """Whether a grid has one row: that may be the sequence itself, beside an axis of heads."""
    return len(grid) > 1 and prod(grid) == max(grid)


def _own_grid(value: Value, axes: Mapping[Value, int]) -> tuple[Shape, ...]:
    if value not in axes or not 3 <= len(value.shape) <= 5:
        return ()
    grid = tuple(n for i, n in enumerate(value.shape) if i not in (0, axes[value]))
    return (grid,) if prod(grid) > 1 else ()


def token_grid(count: int, grids: Sequence[Shape], sizes: Iterable[Shape]) -> Tokens | None:
    """Prefix and grid of `count` tokens; None if nothing fits.

    A single row counts where nothing else fits.

    Parameters
    ----------
    grids : sequence of tuple of int
        Of the tensors before it, the nearest first: that of the patch convolution is among them.
    sizes : iterable of tuple of int
        Spatial sizes of the pictures, which may have been cut into square patches without a convolution.
    """
    sides = range(2, MAX_PATCH + 1)
    patches = [tuple(n // side for n in size) for size in sizes for side in sides if gcd(*size) % side == 0]
    for candidates in ([grid for grid in grids if not _is_row(grid)], patches, [grid for grid in grids if _is_row(grid)]):
        for prefix in range(MAX_PREFIX + 1):
            found = next((grid for grid in candidates if prod(grid) + prefix == count), None)
            if found is not None:
                return prefix, found
    return None


def largest_square(count: int) -> Tokens | None:
    """Prefix and grid of the largest square that leaves at most `MAX_PREFIX` tokens over."""
    side = isqrt(count)
    return (count - side * side, (side, side)) if 0 < count <= side * side + MAX_PREFIX else None
