"""Linear targets: weights on an output, and the negative of another target."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradcam.errors import TargetError
from gradcam.graph.ir import Value
from gradcam.targets.base import Labels, Target, TargetContext
from gradcam.targets.classes import ClassScore

__all__ = ["Negative", "Weighted"]


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
        return self.target if isinstance(self.target, Target) else ClassScore(self.target)

    def structure(self) -> tuple[Any, ...]:
        """See `Target`."""
        return ("Negative", self._inner().structure())

    def resolve(self, labels: Labels, shape: tuple[int, ...]) -> Negative:
        """See `Target`."""
        return Negative(self._inner().resolve(labels, shape))

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
