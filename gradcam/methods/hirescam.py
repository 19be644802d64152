"""HiResCAM."""

from gradcam.methods.base import CamBuilder, CamNodes, Laws, method


@method(
    "hirescam",
    needs=("activations", "gradients"),
    paper="Draelos and Carin, Use HiResCAM instead of Grad-CAM, 2020",
    use="Layers whose gradient varies in space: shows exactly what a linear tail adds up.",
    laws=Laws("changes", "=", "=", "L -> -L"),
)
def hires_cam(c: CamBuilder) -> CamNodes:
    """``L(x) = sum_k g_k(x) A_k(x)``."""
    return CamNodes(raw=c.product("product"))
