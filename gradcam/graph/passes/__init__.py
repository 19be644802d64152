"""Passes: each rewrites a graph into an equal one that is cheaper to run."""

from gradcam.graph.passes.attention import fuse_attention
from gradcam.graph.passes.bf16 import use_bfloat16
from gradcam.graph.passes.fold_batchnorm import fold_batchnorm
from gradcam.graph.passes.fuse import fuse
from gradcam.graph.passes.gates import fuse_gates
from gradcam.graph.passes.keep_choices import keep_choices
from gradcam.graph.passes.layer_norm import fuse_layer_norm
from gradcam.graph.passes.layout import assign_layouts
from gradcam.graph.passes.per_picture import cuts_pictures, is_per_picture, picture_axes
from gradcam.graph.passes.prune import prune
from gradcam.graph.passes.pull_row import pull_row
from gradcam.graph.passes.reduce_early import reduce_early
from gradcam.graph.passes.share import share
from gradcam.graph.passes.take_row import take_row

__all__ = [
    "assign_layouts",
    "cuts_pictures",
    "fold_batchnorm",
    "fuse",
    "fuse_attention",
    "fuse_gates",
    "fuse_layer_norm",
    "is_per_picture",
    "keep_choices",
    "picture_axes",
    "prune",
    "pull_row",
    "reduce_early",
    "share",
    "take_row",
    "use_bfloat16",
]
