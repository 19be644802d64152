"""Place buffers that live at different times in the same memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["ALIGNMENT", "Block", "place"]

ALIGNMENT = 64


@dataclass(slots=True)
class Block:
    """Memory needed from step `first` to step `last`, both included."""

    size: int
    first: int
    last: int
    offset: int = -1


def place(blocks: Sequence[Block]) -> int:
    """Give every block an offset such that no two that live at the same time overlap; return the bytes needed.

    Largest first, each into the tightest gap between those already placed that live at the same time (best fit).
    """
    placed: list[Block] = []
    total = 0
    for block in sorted(blocks, key=lambda b: (-b.size, b.first)):
        size = -(-block.size // ALIGNMENT) * ALIGNMENT
        alive = sorted((b for b in placed if b.first <= block.last and block.first <= b.last), key=lambda b: b.offset)
        best, best_gap, end = -1, -1, 0
        for other in alive:
            gap = other.offset - end
            if gap >= size and (best < 0 or gap < best_gap):
                best, best_gap = end, gap
            end = max(end, other.offset + -(-other.size // ALIGNMENT) * ALIGNMENT)
        block.offset = best if best >= 0 else end
        placed.append(block)
        total = max(total, block.offset + size)
    return total
