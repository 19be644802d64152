"""Place buffers that live at different times in the same memory."""

from __future__ import annotations

import heapq
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["ALIGNMENT", "Block", "place"]

ALIGNMENT = 64

MANY = 4096
"""From so many blocks on (recurrences of many steps) each is placed when its life begins: nearly linear work, not quadratic."""


@dataclass(slots=True)
class Block:
    """Memory needed from step `first` to step `last`, both included."""

    size: int
    first: int
    last: int
    offset: int = -1


def place(blocks: Sequence[Block]) -> int:
    """Give every block an offset such that no two that live at the same time overlap; return the bytes needed.

    Each goes into the tightest gap between those already placed that live at the same time (best fit): the largest
    first, or, of `MANY` blocks and more, in the order of time.
    """
    return _in_time(blocks) if len(blocks) >= MANY else _largest_first(blocks)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _largest_first(blocks: Sequence[Block]) -> int:
    placed: list[Block] = []
    total = 0
    for block in sorted(blocks, key=lambda b: (-b.size, b.first)):
        size = _aligned(block.size)
        alive = sorted((b for b in placed if b.first <= block.last and block.first <= b.last), key=lambda b: b.offset)
        best, best_gap, end = -1, -1, 0
        for other in alive:
            gap = other.offset - end
            if gap >= size and (best < 0 or gap < best_gap):
                best, best_gap = end, gap
            end = max(end, other.offset + _aligned(other.size))
        block.offset = best if best >= 0 else end
        placed.append(block)
        total = max(total, block.offset + size)
    return total


def _in_time(blocks: Sequence[Block]) -> int:
    gaps: list[tuple[int, int]] = []  # (begin, end) in order, no two adjacent, none at the top
    alive: list[tuple[int, int, int]] = []  # (last step, begin, end)
    top = total = 0
    for block in sorted(blocks, key=lambda b: (b.first, -b.size)):
        while alive and alive[0][0] < block.first:
            _, begin, end = heapq.heappop(alive)
            top = _release(gaps, begin, end, top)
        size = _aligned(block.size)
        fitting = min(((end - begin, begin) for begin, end in gaps if end - begin >= size), default=None)
        if fitting is None:
            block.offset, top = top, top + size
        else:
            block.offset = fitting[1]
            i = bisect(gaps, (block.offset,))
            gaps[i : i + 1] = [(block.offset + size, gaps[i][1])] if fitting[0] > size else []
        heapq.heappush(alive, (block.last, block.offset, block.offset + size))
        total = max(total, top)
    return total


def _release(gaps: list[tuple[int, int]], begin: int, end: int, top: int) -> int:
    """Give memory back, joined with the gaps beside it; return the end of what is in use."""
    if begin == end:
        return top
    i = bisect(gaps, (begin,))
    if i < len(gaps) and gaps[i][0] == end:
        end = gaps.pop(i)[1]
    if i and gaps[i - 1][1] == begin:
        begin = gaps.pop(i - 1)[0]
        i -= 1
    if end == top:
        return begin
    gaps.insert(i, (begin, end))
    return top
