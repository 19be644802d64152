"""Element-wise Grad-CAM."""

from gradcam.methods.base import CamBuilder, CamNodes, Laws, method


@method(
    "elementwise",
    needs=("activations", "gradients"),
    paper="Gildenblat et al., pytorch-grad-cam, 2021 (GradCAMElementWise)",
    use="Evidence for the score alone, position by position, without counter-evidence that cancels it.",
    laws=Laws("changes", "=", "=", "other map"),
)
def elementwise_grad_cam(c: CamBuilder) -> CamNodes:
    """``L(x) = sum_k R(g_k(x) A_k(x))``."""
    return CamNodes(raw=c.product("relu-product"))
