"""KPCA-CAM."""

from gradcam.methods.base import CamBuilder, CamNodes, Laws, method
from gradcam.methods.projection import kernel_pca


@method(
    "kpcacam",
    needs=("activations",),
    paper="Karmani et al., KPCA-CAM, 2024",
    use="As Eigen-CAM, where the main structure is not linear; needs the square of the positions in memory.",
    laws=Laws("=", "changes", "=", "="),
)
def kpca_cam(c: CamBuilder) -> CamNodes:
    """``L = u sqrt(lambda)`` of the first eigenpair of the centred kernel ``tanh(<X_x, X_x'> / C + 1)`` between positions."""
    c.variant("eigen_center", "KPCA-CAM")
    found = kernel_pca(c.g, c.channel_axis, c.activations, replace_nan=c.mode.nan == "spread")
    c.eigen = found.info
    return CamNodes(raw=found.map)
