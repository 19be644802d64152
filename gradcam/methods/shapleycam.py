"""Shapley-CAM."""

from gradcam.graph.ir import Value
from gradcam.methods.base import CamBuilder, CamNodes, Laws, method


@method(
    "shapleycam",
    needs=("activations", "gradients"),
    paper="Cai, CAMs as Shapley Value-based Explainers, 2025, equation 12",
    operands={"hessian_product": "activations"},
    use="Scores that bend, such as probabilities, where first-order weights mislead.",
    laws=Laws("const", "=", "=", "L -> -L"),
)
def shapley_cam(c: CamBuilder, *, hessian_product: Value | None = None) -> CamNodes:
    """``w_k = mean_x (g - H A / 2)`` with H the Hessian of the score; for a piecewise linear score it is Grad-CAM."""
    if hessian_product is None:
        if c.tail is None:
            raise ValueError("shapleycam: hessian_product: expected the Hessian of the score times the activations, in their shape")
        hessian_product = c.tail.hessian_product()
    weights = c.channel_mean(c.g.sub(c.gradients, c.g.scale(hessian_product, 0.5)))
    return CamNodes(raw=c.combine(weights), weights=weights)
