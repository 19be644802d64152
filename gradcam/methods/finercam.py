"""Finer-CAM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.compat import Mode
from gradcam.errors import TargetError
from gradcam.graph.builder import Builder
from gradcam.graph.ir import Value
from gradcam.methods.base import CamBuilder, CamNodes, gradient_method, method
from gradcam.targets import ClassScore, Target, TargetContext, Top

_ALPHA = {"mean": 0.6, "softmax": 1.0}


@dataclass(frozen=True, slots=True)
class FinerScore(Target):
    """Score of a class less that of the classes whose scores are closest to it.

    Parameters
    ----------
    inner : ClassScore or Top
        The class.
    alpha : float
        How much of the others is subtracted.
    comparisons : tuple of int
        Their ranks by distance to the score of the class, which itself has rank 0.
    weighting : {"mean", "softmax"}
        Their mean, or each by its probability, which is differentiated too.
    """

    inner: ClassScore | Top
    alpha: float
    comparisons: tuple[int, ...]
    weighting: str

    def structure(self) -> tuple[Any, ...]:
        """See `Target`."""
        return ("FinerScore", self.inner.structure(), self.alpha, self.comparisons, self.weighting)

    def emit_index(self, context: TargetContext) -> Value | None:
        """See `Target`."""
        return self.inner.emit_index(context)

    def emit_at(self, context: TargetContext, index: Value) -> Value:
        """See `Target`."""
        g, scores = context.g, context.logits(self.output_name())
        if len(scores.shape) != 2 or scores.shape[1] <= max(self.comparisons):
            raise TargetError(
                f"finercam: comparisons: expected ranks below the number of classes of a vector of scores, got {scores.shape}"
            )
        own = g.emit("Gather", scores, index, axis=1)
        distance = g.emit("Abs", g.sub(scores, own), alpha=0.0, beta=0.0)
        # The class itself comes first even where another score equals its own.
        first = g.emit("GatherGrad", g.constant(np.ones((1, 1))), index, input_shape=scores.shape, axis=1)
        ranked = g.emit("TopKIndices", g.sub(distance, first), k=max(self.comparisons) + 1, largest=False)
        chosen = g.constant(np.asarray(self.comparisons, np.int64))
        others = self._chosen(g, scores, ranked, chosen)
        if self.weighting == "mean":
            score = g.sub(own, g.scale(g.reduce("ReduceMean", others, (1,), True), self.alpha))
        else:
            shares = self._chosen(g, g.emit("Softmax", scores, axis=1), ranked, chosen)
            total = g.emit("Affine", g.sum(shares, (1,), True), alpha=1.0, beta=1e-9)
            score = g.emit("Div", g.sum(g.mul(shares, g.sub(own, g.scale(others, self.alpha))), (1,), True), total)
        return g.reshape(score, (1,))

    def _chosen(self, g: Builder, values: Value, ranked: Value, chosen: Value) -> Value:
        """Values (1, classes) of the classes of the chosen ranks, (1, ranks)."""
        near = g.emit("Gather", values, g.reshape(ranked, (ranked.size,)), axis=1)
        return g.emit("Gather", near, chosen, axis=1)

    def emit(self, context: TargetContext) -> Value:
        """See `Target`."""
        return self.emit_at(context, context.input((1,), np.dtype(np.int64)))

    def operands(self) -> list[NDArray[Any]]:
        """See `Target`."""
        return self.inner.operands()

    def output_name(self) -> str | None:
        """See `Target`."""
        return self.inner.output_name()


def _finer(target: Target, mode: Mode, options: Mapping[str, Any]) -> Target:
    weighting = mode.variant("finercam", "finer_score", "Finer-CAM")
    if not isinstance(target, ClassScore | Top):
        raise TargetError(f"finercam: target: expected a class, got {type(target).__name__}")
    ranks = options.get("comparisons", (1, 2, 3))
    if not isinstance(ranks, Sequence) or not ranks or not all(isinstance(r, int | np.integer) and r > 0 for r in ranks):
        raise ValueError(f"finercam: comparisons: expected ranks from 1 on, got {ranks!r}")
    alpha = float(options.get("alpha", _ALPHA[weighting]))
    return FinerScore(target, alpha, tuple(int(r) for r in ranks), weighting)


@method(
    "finercam",
    needs=("activations", "gradients"),
    paper="Zhang et al., Finer-CAM, CVPR 2025, equation 4",
    retarget=_finer,
    options=("base", "alpha", "comparisons"),
    use="Classes that look alike: what speaks for this one rather than for its closest rivals.",
)
def finer_cam(c: CamBuilder, *, base: str = "gradcam") -> CamNodes:
    """Another method (`base`) for the score ``y_c - alpha mean_j y_j`` over the classes j closest to c (`comparisons`: their ranks)."""
    nodes: CamNodes = gradient_method("finercam", base).function(c)
    return nodes
