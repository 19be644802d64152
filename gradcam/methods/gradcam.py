"""Grad-CAM."""

from gradcam.methods.base import CamBuilder, CamNodes, Laws, method


@method(
    "gradcam",
    needs=("activations", "gradients"),
    paper="Selvaraju et al., Grad-CAM, ICCV 2017, equations 1 and 2",
    use="The default: one weight per channel. The zero of its map is the zero of the layer's numbers.",
    laws=Laws("const", "=", "=", "L -> -L"),
)
def grad_cam(c: CamBuilder) -> CamNodes:
    """``L(x) = sum_k alpha_k A_k(x)`` with ``alpha_k = mean_x dS/dA_k(x)``; the ReLU belongs to post-processing."""
    weights = c.channel_mean(c.gradients)
    return CamNodes(raw=c.combine(weights), weights=weights)
