"""What scalar is explained.

A target emits the score as nodes; class indices and weights are inputs of the graph, so one plan serves all classes.
"""

from gradcam.targets.base import Target, TargetContext
from gradcam.targets.classes import ClassScore, LogProbability, Probability, ReST, Top
from gradcam.targets.given import as_target, per_picture
from gradcam.targets.linear import Contrast, Negative, Weighted
from gradcam.targets.parts import Binary, Index, Region, Similarity, Tokens

__all__ = [
    "Binary",
    "ClassScore",
    "Contrast",
    "Index",
    "LogProbability",
    "Negative",
    "Probability",
    "ReST",
    "Region",
    "Similarity",
    "Target",
    "TargetContext",
    "Tokens",
    "Top",
    "Weighted",
    "as_target",
    "per_picture",
]
