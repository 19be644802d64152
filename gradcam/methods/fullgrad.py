"""FullGrad."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradcam.compat import Mode
from gradcam.graph.builder import Builder
from gradcam.graph.ir import Value
from gradcam.methods.base import method

__all__ = ["Term", "full_grad"]


@dataclass(frozen=True, slots=True)
class Term:
    """The input, or the bias of a layer, and the gradient where it is added; channels lie on axis 1."""

    value: Value
    gradient: Value


@method(
    "fullgrad",
    needs=("gradients", "input"),
    paper="Srinivas and Fleuret, Full-Gradient Representation for Neural Network Visualization, NeurIPS 2019, equation 8",
    layerless=True,
    use="Evidence from all layers at once; it has no sign.",
)
def full_grad(g: Builder, terms: Sequence[Term], mode: Mode) -> list[Value]:
    """Sum of ``|x dS/dx|`` and ``|b dS/dz|`` for every bias b added at z; each channel is min-max scaled, resized and added."""
    if not mode.full_gradient:
        raise ValueError(f"fullgrad: compat: mode {mode.name!r} has no FullGrad")
    return [_scaled_sum(g, term, mode.epsilon) for term in terms]


def _scaled_sum(g: Builder, term: Term, epsilon: float | None) -> Value:
    """Scale the channels of |value gradient| to [0, 1] and add them. A constant channel gives 0."""
    product = g.emit("Abs", g.mul(term.gradient, term.value), alpha=0.0, beta=0.0)
    space = tuple(range(2, len(product.shape)))
    low, high = (g.reduce(op, product, space, True) for op in ("ReduceMin", "ReduceMax"))
    extent = g.sub(high, low)
    if epsilon is None:
        extent = g.emit("Max", extent, g.constant(np.asarray(float(np.finfo(g.real).tiny))))
    else:
        extent = g.emit("Affine", extent, alpha=1.0, beta=epsilon)
    return g.sum(g.emit("Div", g.sub(product, low), extent), (1,))
