"""What the tests of kernels on (channel, position) arrays share."""

from __future__ import annotations

import numpy as np
from graph.cases import run

from gradcam.graph.builder import Builder

SHAPES = [(1, 3, 7), (1, 5, 4, 6), (1, 1, 1, 5), (1, 4, 1), (1, 1, 1), (1, 4, 2, 3, 4), (1, 70, 3, 3), (1, 2, 23, 29), (1, 19, 17)]
"""(N, C, *S): one channel, one position, numbers of both that fill no vector, one to three spatial axes."""


def flat(array):
    """(1, C, *S) -> (C, positions)."""
    return array.reshape(array.shape[1], -1)


def built(arrays, axis, emit, workers=1):
    """Run the nodes that emit(g, values, channel_axis) adds, on arrays (1, C, *S) that are given with the channels at `axis`."""
    arrays = [np.ascontiguousarray(np.moveaxis(a, 1, axis)) for a in arrays]
    g = Builder(arrays[0].dtype)
    values = [g.input(f"x{i}", a.shape) for i, a in enumerate(arrays)]
    return run(g, list(emit(g, values, axis % arrays[0].ndim)), arrays, workers)
