"""Smooth Grad-CAM++."""

from gradcam.graph.ir import Value
from gradcam.methods.base import CamBuilder, CamNodes, Laws, method

_VARIANTS = {"mean": 0, "last": 1}


@method(
    "smoothgradcam++",
    needs=("activations", "forward", "input"),
    paper="Omeiza et al., Smooth Grad-CAM++, 2019, equation 7",
    operands={"gradient_samples": "samples", "last_activations": "activations"},
    options=("gradient_samples", "noise", "samples", "std", "rng"),
    use="As Grad-CAM++, where its map is noisy; costs one run per sample.",
    laws=Laws("changes", "=", "changes", "other map"),
)
def smooth_grad_cam_plus_plus(c: CamBuilder, *, gradient_samples: Value | None = None, last_activations: Value | None = None) -> CamNodes:
    """Grad-CAM++ with the powers of g averaged over gradients of noisy inputs (`noise`, or `samples` draws of `std` from `rng`)."""
    variant = c.variant("smooth_gradcam_pp", "Smooth Grad-CAM++")
    if gradient_samples is None:
        raise ValueError("smoothgradcam++: gradient_samples: expected gradients of noisy inputs, of shape (samples, N, C, ...)")
    epsilon = c.mode.smooth_gradcam_pp_epsilon
    weights, degenerate = c.weights("CamSmoothWeights", c.activations, gradient_samples, variant=_VARIANTS[variant], epsilon=epsilon)
    return CamNodes(raw=c.combine(weights, last_activations), weights=weights, degenerate=degenerate)
