"""Which positions of a value are summed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Shape, Value

__all__ = ["Region"]


@dataclass(frozen=True, slots=True)
class Region:
    """Axes of a value that are summed.

    Attributes
    ----------
    axes : frozenset of int
        Those with more than one step.
    span : (int, int) or None
        Of a single axis, the first of the steps that count and their number; otherwise all do.
    """

    axes: frozenset[int]
    span: tuple[int, int] | None = None

    @classmethod
    def of(cls, shape: Shape, axes: Iterable[int], span: tuple[int, int] | None = None) -> Region:
        """Those of the axes that have more than one step."""
        kept = frozenset(i for i in axes if shape[i] != 1)
        return cls(kept, span if kept else None)

    @property
    def is_empty(self) -> bool:
        """Whether no step counts."""
        return self.span is not None and self.span[1] == 0

    def shape(self, shape: Shape) -> Shape:
        """Shape of the sum: the axes stay, with one step."""
        return tuple(1 if i in self.axes else n for i, n in enumerate(shape))

    def count(self, shape: Shape) -> int:
        """Number of elements that are summed."""
        return self.span[1] if self.span is not None else prod(shape[i] for i in self.axes)

    def is_spatial(self, shape: Shape) -> bool:
        """Whether these are all positions of a picture, channels first."""
        positions = Region.of(shape, range(2, len(shape)))
        return len(shape) > 2 and self == positions

    def outside(self, **along: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """Attributes of a slice, with the summed axes, of one step, left as they are."""
        whole = {"starts": 0, "steps": 1, "sizes": 1}
        return {name: tuple(whole[name] if i in self.axes else n for i, n in enumerate(values)) for name, values in along.items()}

    def cut(self, g: Builder, value: Value) -> Value:
        """Emit the steps that count."""
        if self.span is None:
            return value
        (axis,) = self.axes
        return g.part(value, axis, *self.span)

    # The same positions of what a value is made from ------------------------------------------------------------------

    def only(self, axes: Collection[int]) -> Region:
        """Those along some of the axes."""
        kept = self.axes & frozenset(axes)
        return Region(kept, self.span if kept else None)

    def on(self, places: Mapping[int, int]) -> Region:
        """Those of an array whose axes stand elsewhere."""
        return Region(frozenset(places[i] for i in self.axes), self.span)

    def reshaped(self, shape: Shape, before: Shape) -> Region | None:
        """Those of an array of shape `before` with the same elements; None if they are not whole axes of it."""
        if prod(shape) == 0:
            return None
        axes: set[int] = set()
        ours, theirs = ([(i, n) for i, n in enumerate(s) if n != 1] for s in (shape, before))
        while ours:
            group, other = [ours.pop(0)], [theirs.pop(0)]
            while (excess := prod(n for _, n in group) - prod(n for _, n in other)) != 0:
                (other if excess > 0 else group).append((theirs if excess > 0 else ours).pop(0))
            inside = {i for i, _ in group} & self.axes
            if inside and (len(inside) < len(group) or self.span is not None and (len(group), len(other)) != (1, 1)):
                return None
            axes |= {i for i, _ in other} if inside else set()
        return Region(frozenset(axes), self.span)

    def sliced(self, before: Shape, starts: Sequence[int], steps: Sequence[int], sizes: Sequence[int]) -> Region | None:
        """Those of the array that a slice was taken from; None if they have gaps."""
        if all((starts[i], steps[i], sizes[i]) == (0, 1, before[i]) for i in self.axes):
            return self
        if len(self.axes) > 1:
            return None
        (axis,) = self.axes
        first, count = self.span or (0, sizes[axis])
        return Region(self.axes, (starts[axis] + first, count)) if steps[axis] == 1 else None

    def placed(self, before: Shape, starts: Sequence[int], steps: Sequence[int]) -> Region | None:
        """Those of an array that was placed among zeros; None if its steps go backwards."""
        if self.span is None:
            return Region.of(before, self.axes)
        (axis,) = self.axes
        if steps[axis] < 1:
            return None
        ends = (self.span[0] - starts[axis], sum(self.span) - starts[axis])
        first, last = (min(max(-(-end // steps[axis]), 0), before[axis]) for end in ends)
        if first == last:
            return Region(self.axes, (0, 0))
        return Region.of(before, self.axes, None if last - first == before[axis] else (first, last - first))
