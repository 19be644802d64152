"""Eigen-CAM."""

from gradcam.graph.ir import Value
from gradcam.methods.base import CamBuilder, CamNodes, Laws, method


@method(
    "eigencam",
    needs=("activations",),
    paper="Muhammad and Yeasin, Eigen-CAM, IJCNN 2020, equation 1",
    operands={"sign": "map"},
    use="What the layer responds to most, whatever the class; no gradient needed.",
    laws=Laws("changes", "changes", "=", "="),
)
def eigen_cam(c: CamBuilder, *, center: bool | None = None, sign: str | int | Value = "energy") -> CamNodes:
    """``L = X v`` with X the activations (positions x channels) and v its first right singular vector."""
    own = c.variant("eigen_center", "Eigen-CAM")
    return CamNodes(raw=c.project("activations", center=own if center is None else bool(center), sign=sign))
