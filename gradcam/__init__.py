"""Grad-CAM and its relatives for any convolutional network, without a training framework."""

from importlib import import_module
from types import ModuleType

from gradcam import targets
from gradcam.array_methods import (
    cam,
    class_activation_map,
    eigen_cam,
    eigen_grad_cam,
    elementwise_grad_cam,
    fem,
    grad_cam,
    grad_cam_plus_plus,
    hires_cam,
    kpca_cam,
    layer_cam,
    random_cam,
    seg_eigen_cam,
    shapley_cam,
    smooth_grad_cam_plus_plus,
    xgrad_cam,
)
from gradcam.environment import cpu_info, set_num_threads, show_versions, threads
from gradcam.errors import (
    BlankMapWarning,
    BuildWarning,
    GradcamError,
    LayerError,
    MemoryBudgetError,
    MissingExtraError,
    ModelFormatError,
    NonFiniteWarning,
    TargetError,
    UnsupportedOpError,
)
from gradcam.explanation import Explanation
from gradcam.graph.layers import LayerInfo
from gradcam.graph_builder import GraphBuilder
from gradcam.localisation import boxes, mask
from gradcam.methods import list_methods
from gradcam.loading import load
from gradcam.model import Model, TensorInfo
from gradcam.one_liner import explain
from gradcam.postprocessing import normalize, postprocess
from gradcam.preprocess import Preprocess
from gradcam.render.overlay import overlay
from gradcam.reparametrisation import reparametrise
from gradcam.resampling import resize
from gradcam.sign_report import SignReport, signs
from gradcam.weights import from_torch, from_weights

__version__ = "0.1.0"

__all__ = [
    "BlankMapWarning",
    "BuildWarning",
    "Explanation",
    "GradcamError",
    "GraphBuilder",
    "LayerError",
    "LayerInfo",
    "MemoryBudgetError",
    "MissingExtraError",
    "Model",
    "ModelFormatError",
    "NonFiniteWarning",
    "Preprocess",
    "SignReport",
    "TargetError",
    "TensorInfo",
    "UnsupportedOpError",
    "__version__",
    "boxes",
    "cam",
    "class_activation_map",
    "cpu_info",
    "eigen_cam",
    "eigen_grad_cam",
    "elementwise_grad_cam",
    "explain",
    "fem",
    "from_torch",
    "from_weights",
    "grad_cam",
    "grad_cam_plus_plus",
    "hires_cam",
    "kpca_cam",
    "layer_cam",
    "list_methods",
    "load",
    "mask",
    "normalize",
    "overlay",
    "postprocess",
    "random_cam",
    "reparametrise",
    "resize",
    "seg_eigen_cam",
    "set_num_threads",
    "shapley_cam",
    "show_versions",
    "signs",
    "smooth_grad_cam_plus_plus",
    "targets",
    "threads",
    "xgrad_cam",
]


def __getattr__(name: str) -> ModuleType:
    """Import `datasets`, `experiments`, `metrics` and `train` when they are first asked for."""
    if name in ("datasets", "experiments", "metrics", "train"):
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
