"""LayerCAM."""

from gradcam.methods.base import CamBuilder, CamNodes, Laws, method


@method(
    "layercam",
    needs=("activations", "gradients"),
    paper="Jiang et al., LayerCAM, IEEE TIP 2021, equations 6 and 7",
    use="Early layers and fine detail; pictures whose Grad-CAM map is blank.",
    laws=Laws("changes", "=", "changes", "other map"),
)
def layer_cam(c: CamBuilder) -> CamNodes:
    """``L(x) = sum_k R(g_k(x)) A_k(x)``."""
    return CamNodes(raw=c.product("relu-gradient"))
