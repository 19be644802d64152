"""FEM, the feature explanation method."""

from gradcam.methods.base import CamBuilder, CamNodes, Laws, method

_MASKS = ("binary", "fraction")


@method(
    "fem",
    needs=("activations",),
    paper="Fuad et al., Features Understanding in 3D CNNs, IPTA 2020",
    use="What stands out from the rest of the picture, whatever the class; no gradient needed.",
    laws=Laws("changes", "changes", "changes", "="),
)
def fem(c: CamBuilder, *, mask: str | None = None) -> CamNodes:
    """``L(x) = sum_k mu_k [A_k(x) >= mu_k + 2 sd_k]``; `mask="fraction"`: ``sum_k w_k A_k`` with w the share of positions above."""
    own = c.variant("fem_mask", "FEM")
    chosen = own if mask is None else mask
    if chosen not in _MASKS:
        raise ValueError(f"fem: mask: expected one of {', '.join(map(repr, _MASKS))}, got {mask!r}")
    weights, thresholds = c.g.emit_all("CamFemWeights", c.activations, mask=chosen, channel_axis=c.channel_axis)
    if chosen == "fraction":
        return CamNodes(raw=c.combine(weights), weights=weights)
    raw = c.g.emit("CamFemMap", weights, thresholds, c.activations, channel_axis=c.channel_axis)
    return CamNodes(raw=raw, weights=weights)
