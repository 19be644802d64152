"""Seg-Eigen-CAM."""

from gradcam.graph.ir import Value
from gradcam.methods.base import CamBuilder, CamNodes, Laws, method


@method(
    "segeigencam",
    needs=("activations", "gradients"),
    paper="Chung and Ying, Seg-Eigen-CAM, 2025, equations 11 to 13",
    operands={"sign": "map"},
    use="Segmentation networks, whose gradients have mixed signs.",
    laws=Laws("changes", "=", "=", "="),
)
def seg_eigen_cam(c: CamBuilder, *, sign: str | int | Value = "extreme") -> CamNodes:
    """``L = X v`` with X the products |g| A, centred over the positions; the sign makes the extreme value positive."""
    c.variant("eigen_center", "Seg-Eigen-CAM")
    return CamNodes(raw=c.project("abs-product", center=True, sign=sign, own="extreme"))
