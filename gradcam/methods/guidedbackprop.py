"""Guided backpropagation."""

from collections.abc import Callable

from gradcam.graph.ir import Value
from gradcam.graph.operators import GuidedRule
from gradcam.methods.base import method

__all__ = ["Guided", "guided_backprop", "guided_rule"]

Guided = Callable[[GuidedRule], Value]
"""Emits what a rule makes of the gradient at the input."""


def guided_rule(name: str, gated: bool, clip: bool) -> GuidedRule:
    """Check the option that all guided methods share."""
    if not isinstance(clip, bool):
        raise TypeError(f"{name}: clip: expected True or False, got {clip!r}")
    return GuidedRule(gated, clip)


@method(
    "guidedbackprop",
    needs=("gradients", "input"),
    paper="Springenberg et al., Striving for Simplicity: The All Convolutional Net, ICLR Workshops 2015",
    layerless=True,
    at_input=True,
    use="Fine detail that the network reacts to; it hardly depends on the class that is explained.",
)
def guided_backprop(guided: Guided, *, clip: bool = False) -> Value:
    """Gradient at the input with ``R(g) [z > 0]`` in place of ``g [z > 0]`` at every ReLU; signed, in `Explanation.attributions`.

    The map is its sum over the channels of the input. Relu alone counts as a ReLU, with `clip` also Clip with minimum 0 (ReLU6).
    """
    return guided(guided_rule("guidedbackprop", True, clip))
