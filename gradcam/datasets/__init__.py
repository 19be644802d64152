"""Pictures whose every object is known: seeded, made in seconds, the same bits on any machine, without a network connection."""

from gradcam.datasets.digits import Handwriting, digit_scenes, load_handwriting
from gradcam.datasets.scenes import DISTRACTOR, REGIONS, Scenes
from gradcam.datasets.shapes import SHAPES, TEXTURES, shape_scenes

__all__ = [
    "DISTRACTOR",
    "REGIONS",
    "SHAPES",
    "TEXTURES",
    "Handwriting",
    "Scenes",
    "digit_scenes",
    "load_handwriting",
    "shape_scenes",
]
