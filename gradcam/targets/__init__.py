"""What scalar is explained.

A target emits the score as nodes; class indices and weights are inputs of the graph, so one plan serves all classes.
"""

from gradcam.targets.base import Target, TargetContext
from gradcam.targets.classes import ClassScore, Contrast, LogProbability, Probability, ReST, Top
from gradcam.targets.given import as_target, per_picture
from gradcam.targets.linear import Negative, Weighted

__all__ = [
    "ClassScore",
    "Contrast",
    "LogProbability",
    "Negative",
    "Probability",
    "ReST",
    "Target",
    "TargetContext",
    "Top",
    "Weighted",
    "as_target",
    "per_picture",
]
