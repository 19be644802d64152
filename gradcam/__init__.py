"""Grad-CAM and its relatives for any convolutional network, without a training framework."""

from gradcam import targets
from gradcam.array_methods import cam, grad_cam, grad_cam_plus_plus, hires_cam, layer_cam, xgrad_cam
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
from gradcam.methods import list_methods
from gradcam.model import Model, TensorInfo, load
from gradcam.one_liner import explain
from gradcam.postprocessing import normalize, postprocess, resize
from gradcam.preprocess import Preprocess
from gradcam.render.overlay import overlay

__version__ = "0.1.0"

__all__ = [
    "BlankMapWarning",
    "BuildWarning",
    "Explanation",
    "GradcamError",
    "LayerError",
    "LayerInfo",
    "MemoryBudgetError",
    "MissingExtraError",
    "Model",
    "ModelFormatError",
    "NonFiniteWarning",
    "Preprocess",
    "TargetError",
    "TensorInfo",
    "UnsupportedOpError",
    "__version__",
    "cam",
    "cpu_info",
    "explain",
    "grad_cam",
    "grad_cam_plus_plus",
    "hires_cam",
    "layer_cam",
    "list_methods",
    "load",
    "normalize",
    "overlay",
    "postprocess",
    "resize",
    "set_num_threads",
    "show_versions",
    "targets",
    "threads",
    "xgrad_cam",
]
