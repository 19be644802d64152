"""CAM methods, one per file, and the registry."""

from gradcam.methods import gradcam, gradcam_plus_plus, hirescam, layercam, xgradcam
from gradcam.methods.base import METHODS, find_method, list_methods

__all__ = ["METHODS", "find_method", "gradcam", "gradcam_plus_plus", "hirescam", "layercam", "list_methods", "xgradcam"]
