"""Grad-CAM++."""

from gradcam.methods.base import CamBuilder, CamNodes, Laws, method

_VARIANTS = {"cancelled": 0, "epsilon": 1, "cubed": 2}


@method(
    "gradcam++",
    needs=("activations", "gradients"),
    paper="Chattopadhay et al., Grad-CAM++, WACV 2018, equation 19",
    use="Several instances of a class in one picture; only gradients that raise the score count.",
    laws=Laws("changes", "=", "changes", "other map"),
)
def grad_cam_plus_plus(c: CamBuilder) -> CamNodes:
    """``w_k = sum_x a R(g)`` with ``a = g^2 / (2 g^2 + g^3 sum_x A)``, computed as ``sum_x r / (2 + r s)``, which cannot underflow."""
    variant = _VARIANTS[c.variant("gradcam_pp", "Grad-CAM++")]
    weights, degenerate = c.weights("CamPlusPlusWeights", variant=variant, epsilon=c.mode.gradcam_pp_epsilon)
    return CamNodes(raw=c.combine(weights), weights=weights, degenerate=degenerate)
