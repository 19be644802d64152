"""RandomCAM."""

from typing import Any

import numpy as np

from gradcam.graph.ir import Value
from gradcam.methods.base import CamBuilder, CamNodes, Laws, method


def _draw(options: dict[str, Any], pictures: int, channels: int) -> dict[str, Any]:
    rest = dict(options)
    generator = np.random.default_rng(rest.pop("rng", None))
    return rest | {"weights": generator.uniform(-1, 1, (pictures, channels))}


@method(
    "randomcam",
    needs=("activations",),
    paper="a baseline, no explanation (pytorch-grad-cam, RandomCAM)",
    operands={"weights": "channels"},
    prepare=_draw,
    options=("rng",),
    use="A baseline that every explanation must beat.",
    laws=Laws("const", "changes", "changes", "="),
)
def random_cam(c: CamBuilder, *, weights: Value) -> CamNodes:
    """``L(x) = sum_k w_k A_k(x)`` with weights drawn uniformly from [-1, 1] by `rng`."""
    return CamNodes(raw=c.combine(weights), weights=weights)
