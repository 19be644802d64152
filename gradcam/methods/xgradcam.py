"""XGrad-CAM."""

from gradcam.methods.base import CamBuilder, CamNodes, Laws, method


@method(
    "xgradcam",
    needs=("activations", "gradients"),
    paper="Fu et al., Axiom-based Grad-CAM, BMVC 2020, equation 8",
    use="Maps whose total is to equal the sum of gradient times activation; layers without negative values.",
    laws=Laws("changes", "=", "=", "L -> -L"),
)
def xgrad_cam(c: CamBuilder) -> CamNodes:
    """``w_k = sum_x g A / sum_x A``; a channel whose sum cancels has weight 0 (the peers add an epsilon instead)."""
    epsilon = c.mode.xgradcam_epsilon
    weights, degenerate = c.weights("CamXGradWeights", variant=0 if epsilon is None else 1, epsilon=epsilon or 0.0)
    return CamNodes(raw=c.combine(weights), weights=weights, degenerate=degenerate)
