"""Guided Grad-CAM."""

from gradcam.methods.base import CamBuilder, CamNodes, method
from gradcam.methods.guidedbackprop import guided_rule


@method(
    "guidedgradcam",
    needs=("activations", "gradients", "input"),
    paper="Selvaraju et al., Grad-CAM, ICCV 2017, section 3.2",
    at_input=True,
    use="The detail of guided backpropagation where Grad-CAM finds the class.",
)
def guided_grad_cam(c: CamBuilder, *, clip: bool = False) -> CamNodes:
    """Guided backpropagation times Grad-CAM after ReLU, resized to the input and not normalised; of one layer.

    The product is in `Explanation.attributions`, the map is its sum over the channels of the input.
    """
    if c.tail is None:
        raise ValueError("guidedgradcam: expected a whole model, see gradcam.load and Model.explain")
    weights = c.channel_mean(c.gradients)
    at_input = c.tail.guided_gradient(guided_rule("guidedgradcam", True, clip))
    return CamNodes(raw=c.combine(weights), weights=weights, at_input=at_input)
