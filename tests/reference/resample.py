"""Sparse linear maps along one axis, tap by tap, in float64."""

from __future__ import annotations

import numpy as np


def resample(x, rows, indices, weights, count, axis):
    lines = np.moveaxis(np.asarray(x, np.float64), axis, 0)
    y = np.zeros((count, *lines.shape[1:]))
    for row, index, weight in zip(rows, indices, weights, strict=True):
        y[row] += weight * lines[index]
    return np.moveaxis(y, 0, axis)
