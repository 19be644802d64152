"""Refine-CAM."""

from gradcam.methods.base import CamBuilder, CamNodes, gradient_method, method


@method(
    "refinecam",
    needs=("activations", "gradients"),
    paper="Refine-CAM, arXiv 2605.14641, 2026, as in pytorch-grad-cam 1.5.7 and torchcam 0.5.0",
    aggregate="product",
    use="Several layers at once: what all of them agree on.",
)
def refine_cam(c: CamBuilder, *, base: str = "gradcam++") -> CamNodes:
    """Product over several layers of the finished maps of another method (`base`), then normalised."""
    nodes: CamNodes = gradient_method("refinecam", base).function(c)
    return nodes
