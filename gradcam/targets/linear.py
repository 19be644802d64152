"""Linear targets: weights on an output, the negative of another target, and the difference of two."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradcam.errors import TargetError
from gradcam.graph.ir import Value
from gradcam.targets.base import Labels, Target, TargetContext
from gradcam.targets.classes import ClassScore

__all__ = ["Contrast", "Negative", "Weighted"]


def _part(target: Target | int | str, output: str | None) -> Target:
    """A target that another one is made of; TargetError unless the caller chose the class."""
    part = target if isinstance(target, Target) else ClassScore(target, output=output)
    if part.settled(0) is not part:
        raise TargetError("target: expected a class index, a class name or a target of its own class, got Top")
    return part


@dataclass(frozen=True, slots=True)
class Negative(Target):
    """The negative of another target: what speaks against it.

    Parameters
    ----------
    target : Target, int or str
        Target that is negated.
    """

    target: Target | int | str

    def _inner(self) -> Target:
        return _part(self.target, None)

    def structure(self) -> tuple[Any, ...]:
        """See `Target`."""
        return ("Negative", self._inner().structure())

    def resolve(self, labels: Labels, shape: tuple[int, ...]) -> Negative:
        """See `Target`."""
        return Negative(self._inner().resolve(labels, shape))

    def of_picture(self, picture: int, pictures: int) -> Negative:
        """See `Target`."""
        return Negative(self._inner().of_picture(picture, pictures))

    def emit(self, context: TargetContext) -> Value:
        """See `Target`."""
        return context.g.scale(self._inner().emit(context), -1)

    def operands(self) -> list[NDArray[Any]]:
        """See `Target`."""
        return self._inner().operands()

    def output_name(self) -> str | None:
        """See `Target`."""
        return self._inner().output_name()

    def reads_logits(self) -> bool:
        """See `Target`."""
        return self._inner().reads_logits()


@dataclass(frozen=True, slots=True)
class Contrast(Target):
    """Difference of two scores, y_c - y_d: what speaks for c rather than for d.

    Parameters
    ----------
    c, d : int, str or Target
        Indices or names of classes, or any two targets of one output.
    output : str, optional
        Output of the model for classes; that of the targets, or the first, by default.
    """

    c: int | str | Target
    d: int | str | Target
    output: str | None = field(default=None, kw_only=True)

    def _parts(self) -> tuple[Target, Target]:
        """Return both as targets, of one output."""
        names = [part.output_name() for part in (self.c, self.d) if isinstance(part, Target)]
        if self.output is not None:
            names.append(self.output)
        if len(set(names)) > 1:
            raise TargetError(f"target: Contrast: expected two targets of one output, got {' and '.join(map(repr, dict.fromkeys(names)))}")
        output = names[0] if names else None
        return _part(self.c, output), _part(self.d, output)

    def structure(self) -> tuple[Any, ...]:
        """See `Target`."""
        return ("Contrast", *(part.structure() for part in self._parts()))

    def resolve(self, labels: Labels, shape: tuple[int, ...]) -> Contrast:
        """See `Target`."""
        one, other = (part.resolve(labels, shape) for part in self._parts())
        plain = not isinstance(self.c, Target), not isinstance(self.d, Target)
        c, d = (p.c if is_class and isinstance(p, ClassScore) else p for p, is_class in zip((one, other), plain, strict=True))
        return Contrast(c, d, output=self.output)

    def of_picture(self, picture: int, pictures: int) -> Contrast:
        """See `Target`."""
        c, d = (part.of_picture(picture, pictures) if isinstance(part, Target) else part for part in (self.c, self.d))
        return Contrast(c, d, output=self.output)

    def emit(self, context: TargetContext) -> Value:
        """See `Target`."""
        one, other = (part.emit(context) for part in self._parts())
        return context.g.sub(one, other)

    def operands(self) -> list[NDArray[Any]]:
        """See `Target`."""
        return [array for part in self._parts() for array in part.operands()]

    def output_name(self) -> str | None:
        """See `Target`."""
        return self._parts()[0].output_name()

    def reads_logits(self) -> bool:
        """See `Target`."""
        return any(part.reads_logits() for part in self._parts())


@dataclass(frozen=True, slots=True, eq=False)
class Weighted(Target):
    """Weighted sum of an output, taken literally: S = sum t y.

    Parameters
    ----------
    array : array_like
        Weights in the shape of the output, with the batch axis (one block per picture, or one for all).
    output : str, optional
        Output of the model; the first by default.
    """

    array: ArrayLike
    output: str | None = field(default=None, kw_only=True)

    def structure(self) -> tuple[Any, ...]:
        """See `Target`."""
        return ("Weighted", self.output)

    def resolve(self, labels: Labels, shape: tuple[int, ...]) -> Weighted:
        """See `Target`."""
        weights = np.asarray(self.array)
        if weights.dtype.kind not in "fiu" or weights.ndim < 1 or weights.shape[1:] != shape:
            wanted = f"(pictures, {', '.join(map(str, shape))})"
            raise TargetError(f"target: Weighted: expected real weights of shape {wanted}, got {weights.dtype} {weights.shape}")
        return replace(self, array=weights.astype(np.float64) if weights.dtype.kind != "f" else weights)

    def of_picture(self, picture: int, pictures: int) -> Weighted:
        """Return the weights of one picture."""
        weights = np.asarray(self.array)
        if len(weights) not in (1, pictures):
            raise TargetError(f"target: Weighted: expected 1 or {pictures} blocks of weights, got {len(weights)}")
        return replace(self, array=weights[picture % len(weights)][None])

    def emit(self, context: TargetContext) -> Value:
        """See `Target`."""
        output, g = context.output(self.output), context.g
        product = g.mul(output, context.input(output.shape))
        return g.reshape(g.sum(product, range(len(product.shape))), (1,))

    def operands(self) -> list[NDArray[Any]]:
        """See `Target`."""
        return [np.asarray(self.array)]

    def reads_logits(self) -> bool:
        """See `Target`."""
        return False
