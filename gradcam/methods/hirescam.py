"""HiResCAM."""

from gradcam.methods.base import CamBuilder, CamNodes, method


@method("hirescam", needs=("activations", "gradients"), paper="Draelos and Carin, Use HiResCAM instead of Grad-CAM, 2020")
def hires_cam(c: CamBuilder) -> CamNodes:
    """``L(x) = sum_k g_k(x) A_k(x)``."""
    return CamNodes(raw=c.product("product"))
