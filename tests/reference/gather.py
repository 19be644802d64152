"""Gather as loops over rows, in the dtype of the data: one addition after the other is the specification."""

from __future__ import annotations

import numpy as np


def gather(x, indices, axis):
    moved = np.moveaxis(x, axis, 0)
    y = np.full((*indices.shape, *moved.shape[1:]), np.nan, x.dtype)
    for position in np.ndindex(*indices.shape):
        if -len(moved) <= indices[position] < len(moved):
            y[position] = moved[indices[position]]
    return np.moveaxis(y, range(indices.ndim), range(axis, axis + indices.ndim))


def gather_input_grad(dy, indices, size, axis):
    moved = np.moveaxis(dy, range(axis, axis + indices.ndim), range(indices.ndim))
    dx = np.zeros((size, *moved.shape[indices.ndim :]), dy.dtype)
    for position in np.ndindex(*indices.shape):
        if -size <= indices[position] < size:
            dx[indices[position]] += moved[position]
    return np.moveaxis(dx, 0, axis)
