"""LayerCAM."""

from gradcam.methods.base import CamBuilder, CamNodes, method


@method("layercam", needs=("activations", "gradients"), paper="Jiang et al., LayerCAM, IEEE TIP 2021, equations 6 and 7")
def layer_cam(c: CamBuilder) -> CamNodes:
    """``L(x) = sum_k R(g_k(x)) A_k(x)``."""
    return CamNodes(raw=c.product("relu-gradient"))
