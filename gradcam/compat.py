"""What the compatibility modes do differently, as data.

A mode reproduces the numbers of one library: pytorch-grad-cam 1.5.7, torchcam 0.5.0 or captum 0.9.0, all measured.
`paper` follows the publications and is exact: no epsilons, and zero is kept where it has a meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

__all__ = ["MODES", "Mode", "mode"]

Step = Literal["relu", "normalize", "resize"]
Grid = Literal["linear", "linear-corners", "nearest", "cubic-spline"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """One compatibility mode. A field that is None says that the mode does not offer the thing.

    Attributes
    ----------
    name : str
        Value of the argument `compat`.
    relu : bool
        Whether negative evidence is removed unless the caller says otherwise.
    relu_exempt : tuple of str
        Methods whose map is left signed although `relu` is True.
    order : tuple of step
        From the raw map of one layer to its finished map.
    layer_order, fused_order : tuple of step
        The same for several layers: steps of each layer's map, then, after `aggregate`, steps of the common map.
    aggregate : {"mean", "max"} or None
        How the maps of several layers are combined; None: one layer per call.
    tanh_before_fusion : tuple of str
        Methods whose maps m become tanh(2 m) before they are combined.
    normalize, signed_normalize : str
        Normalisation with ReLU and without.
    epsilon : float or None
        m - min is divided by max(m - min) + epsilon, in the type of the map; None: the exact rules of `normalize`.
    grids : tuple of grid
        Grid of a resize for one, two and three spatial axes; None where the mode refuses them.
    output : {"input", "layer"}
        Size of a finished map.
    gradcam_pp : {"cancelled", "epsilon", "cubed"} or None
        Weights of Grad-CAM++: the cancelled form of equation 19; + `gradcam_pp_epsilon` in its denominator; sum R(g)^3.
    smooth_gradcam_pp : {"mean", "last"} or None
        Smooth Grad-CAM++: gradients averaged over the noisy passes, or gradient and activation of the last pass.
    smooth_gradcam_pp_epsilon, gradcam_pp_epsilon : float
        Added to the denominators.
    xgradcam_epsilon : float or None
        Added to sum A; None: channels whose sum cancels to 1e-7 have weight 0.
    fem_mask : {"binary", "fraction"} or None
        Variant of FEM.
    eigen_center : bool or None
        Whether Eigen-CAM subtracts column means.
    eigen_sign : {"energy", "lapack"} or None
        What decides the sign of a singular vector.
    ablation_denominator : {"abs", "signed"} or None
        Ablation weights are divided by the absolute score or by the score.
    ablation_value : {"zero", "below-minimum"} or None
        What replaces an ablated channel.
    scorecam_order : tuple of step, or None
        From a channel to its mask.
    scorecam_grid : grid or None
        Grid of the masks.
    scorecam_epsilon : float
        Added to max - min of a mask.
    full_gradient : bool
        Whether there is a FullGrad.
    augmented : {"raw", "finished"}
        What is averaged over the passes of augmentation smoothing: maps after ReLU and resize, or finished maps.
    finer_score : {"mean", "softmax"} or None
        Finer-CAM subtracts the mean of the reference logits times 0.6, or weights them by their probability.
    iscam_factors : {"linear", "cumulative"} or None
        IS-CAM scales masked inputs by i/10, or by the running sum of i/10.
    literal_targets : bool
        Targets act on the raw output, also where that is a probability.
    default_target : {"argmax"} or None
        Target when none is given; None: the caller must give one.
    nan : {"propagate", "spread", "drop"}
        A NaN stays in its place, makes the whole finished map NaN, or is left out of the sum over channels.
    """

    name: str
    relu: bool
    relu_exempt: tuple[str, ...] = ()
    order: tuple[Step, ...]
    layer_order: tuple[Step, ...] = ()
    fused_order: tuple[Step, ...] = ()
    aggregate: Literal["mean", "max"] | None
    tanh_before_fusion: tuple[str, ...] = ()
    normalize: Literal["minmax", "none"]
    signed_normalize: Literal["minmax", "absmax", "none"]
    epsilon: float | None = None
    grids: tuple[Grid | None, Grid | None, Grid | None]
    output: Literal["input", "layer"]
    gradcam_pp: Literal["cancelled", "epsilon", "cubed"] | None
    gradcam_pp_epsilon: float = 0.0
    smooth_gradcam_pp: Literal["mean", "last"] | None
    smooth_gradcam_pp_epsilon: float = 0.0
    xgradcam_epsilon: float | None = None
    fem_mask: Literal["binary", "fraction"] | None
    eigen_center: bool | None
    eigen_sign: Literal["energy", "lapack"] | None
    ablation_denominator: Literal["abs", "signed"] | None
    ablation_value: Literal["zero", "below-minimum"] | None
    scorecam_order: tuple[Step, ...] | None
    scorecam_grid: Grid | None
    scorecam_epsilon: float = 0.0
    full_gradient: bool
    augmented: Literal["raw", "finished"]
    finer_score: Literal["mean", "softmax"] | None
    iscam_factors: Literal["linear", "cumulative"] | None
    literal_targets: bool
    default_target: Literal["argmax"] | None
    nan: Literal["propagate", "spread", "drop"]

    def variant(self, method: str, field: str, title: str) -> Any:
        """What the mode says of a method; ValueError if it does not have the method, known to people by its title."""
        found = getattr(self, field)
        if found is None:
            raise ValueError(f"{method}: compat: mode {self.name!r} has no {title}")
        return found

    def removes_negative(self, method: str, relu: bool | None = None) -> bool:
        """Whether the map of a method goes through ReLU: as the caller says, else as the mode does."""
        return self.relu and method not in self.relu_exempt if relu is None else relu


_PAPER = Mode(
    name="paper",
    relu=True,
    # Resizing before normalising makes the maximum of the finished map exactly 1.
    order=("relu", "resize", "normalize"),
    # Each layer is scaled before the mean, or one layer's units would dominate.
    layer_order=("relu", "resize", "normalize"),
    fused_order=("normalize",),
    aggregate="mean",
    normalize="minmax",
    signed_normalize="absmax",
    grids=("linear", "linear", "linear"),
    output="input",
    gradcam_pp="cancelled",
    smooth_gradcam_pp="mean",
    fem_mask="binary",
    eigen_center=False,
    eigen_sign="energy",
    ablation_denominator="abs",
    ablation_value="zero",
    scorecam_order=("resize", "normalize"),
    scorecam_grid="linear",
    full_gradient=True,
    augmented="raw",
    finer_score="mean",
    iscam_factors="linear",
    literal_targets=False,
    default_target="argmax",
    nan="propagate",
)

_PYTORCH_GRAD_CAM = Mode(
    name="pytorch-grad-cam",
    relu=True,
    order=("relu", "normalize", "resize", "relu", "normalize"),
    layer_order=("relu", "normalize", "resize", "relu"),
    fused_order=("normalize",),
    aggregate="mean",
    normalize="minmax",
    signed_normalize="minmax",
    epsilon=1e-7,
    grids=(None, "linear", "cubic-spline"),
    output="input",
    gradcam_pp="epsilon",
    gradcam_pp_epsilon=1e-6,
    smooth_gradcam_pp=None,
    xgradcam_epsilon=1e-7,
    fem_mask="fraction",
    eigen_center=True,
    eigen_sign="lapack",
    ablation_denominator="signed",
    ablation_value="below-minimum",
    scorecam_order=("resize", "normalize"),
    scorecam_grid="linear-corners",
    scorecam_epsilon=1e-8,
    full_gradient=True,
    augmented="finished",
    finer_score="softmax",
    iscam_factors=None,
    literal_targets=True,
    default_target="argmax",
    nan="spread",
)

_TORCHCAM = Mode(
    name="torchcam",
    relu=True,
    relu_exempt=("cam",),
    # Finished maps stay at layer size; a size is asked for only when they are fused or measured.
    order=("relu", "normalize", "resize"),
    layer_order=("relu", "normalize", "resize"),
    aggregate="max",
    tanh_before_fusion=("layercam",),
    normalize="minmax",
    signed_normalize="minmax",
    epsilon=1e-8,
    grids=("linear", "linear", "linear"),
    output="layer",
    gradcam_pp="cubed",
    smooth_gradcam_pp="last",
    smooth_gradcam_pp_epsilon=1e-8,
    xgradcam_epsilon=1e-8,
    fem_mask=None,
    eigen_center=None,
    eigen_sign=None,
    ablation_denominator=None,
    ablation_value=None,
    scorecam_order=("normalize", "resize"),
    scorecam_grid="linear",
    scorecam_epsilon=1e-8,
    full_gradient=False,
    augmented="finished",
    finer_score="mean",
    iscam_factors="cumulative",
    literal_targets=True,
    default_target=None,
    nan="drop",
)

_CAPTUM = Mode(
    name="captum",
    relu=False,
    order=("relu", "resize", "normalize"),
    aggregate=None,
    normalize="none",
    signed_normalize="none",
    grids=("nearest", "nearest", "nearest"),
    output="layer",
    gradcam_pp=None,
    smooth_gradcam_pp=None,
    fem_mask=None,
    eigen_center=None,
    eigen_sign=None,
    ablation_denominator=None,
    ablation_value=None,
    scorecam_order=None,
    scorecam_grid=None,
    full_gradient=False,
    augmented="finished",
    finer_score=None,
    iscam_factors=None,
    literal_targets=True,
    default_target=None,
    nan="propagate",
)

MODES: Mapping[str, Mode] = MappingProxyType({record.name: record for record in (_PAPER, _PYTORCH_GRAD_CAM, _TORCHCAM, _CAPTUM)})


def mode(name: str) -> Mode:
    """Look up a compatibility mode.

    Raises
    ------
    ValueError
        There is no mode of that name; the message lists those there are.
    """
    try:
        return MODES[name]
    except (KeyError, TypeError):
        raise ValueError(f"compat: expected one of {', '.join(map(repr, MODES))}, got {name!r}") from None
