"""The deconvnet."""

from gradcam.graph.ir import Value
from gradcam.methods.base import method
from gradcam.methods.guidedbackprop import Guided, guided_rule


@method(
    "deconvnet",
    needs=("gradients", "input"),
    paper="Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014",
    layerless=True,
    at_input=True,
    use="For comparison with guided backpropagation; where no maximum was taken it does not depend on the picture.",
)
def deconvnet(guided: Guided, *, clip: bool = False) -> Value:
    """As guided backpropagation, with ``R(g)`` at every ReLU, whether it was open or not."""
    return guided(guided_rule("deconvnet", False, clip))
