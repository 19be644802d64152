"""Eigen-Grad-CAM."""

from gradcam.graph.ir import Value
from gradcam.methods.base import CamBuilder, CamNodes, Laws, method


@method(
    "eigengradcam",
    needs=("activations", "gradients"),
    paper="Gildenblat et al., pytorch-grad-cam, 2021 (EigenGradCAM)",
    operands={"sign": "map"},
    use="As Eigen-CAM, with classes told apart.",
    laws=Laws("changes", "=", "=", "="),
)
def eigen_grad_cam(c: CamBuilder, *, sign: str | int | Value = "energy") -> CamNodes:
    """``L = X v`` with X the products g A, centred over the positions, and v its first right singular vector."""
    c.variant("eigen_center", "Eigen-Grad-CAM")
    return CamNodes(raw=c.project("product", center=True, sign=sign))
