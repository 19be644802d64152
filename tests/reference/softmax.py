"""Softmax along one axis, row by row."""

import numpy as np


def softmax(x, axis, log=False):
    x = np.moveaxis(np.asarray(x, np.float64), axis, -1)
    y = np.empty_like(x)
    for i in np.ndindex(x.shape[:-1]):
        shifted = x[i] - x[i].max()
        total = np.exp(shifted).sum()
        y[i] = shifted - np.log(total) if log else np.exp(shifted) / total
    return np.moveaxis(y, -1, axis)
