"""CAM."""

from gradcam.graph.ir import Value
from gradcam.methods.base import CamBuilder, CamNodes, Laws, method


@method(
    "cam",
    needs=("activations",),
    paper="Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016, equation 2",
    operands={"weights": "channels"},
    model_gradients=True,
    use="Networks that end in global pooling and one linear layer, of which it is the exact decomposition.",
    laws=Laws("const", "=", "=", "L -> -L"),
)
def class_activation_map(c: CamBuilder, *, weights: Value | None = None) -> CamNodes:
    """``L(x) = sum_k W_k A_k(x)`` with W the class's row of the linear layer that reads the globally pooled activations."""
    if weights is None:
        if c.tail is None:
            raise ValueError("cam: weights: expected the class's weights, of shape (C,) or (N, C): arrays do not tell them")
        c.tail.check_pooled_head()
        # Behind a mean over n positions and linear layers the gradient is W / n at each of them.
        weights = c.g.scale(c.channel_mean(c.gradients), c.positions)
    return CamNodes(raw=c.combine(weights), weights=weights)
