"""Positions of the best numbers by repeated scans."""

from __future__ import annotations

import math

import numpy as np


def better(a, b, largest):
    """Whether a ranks before b; neither where they are equal."""
    if math.isnan(a) or math.isnan(b):
        return not math.isnan(a) and math.isnan(b)
    return a > b if largest else a < b


def topk(x, k, largest):
    y = np.empty((*x.shape[:-1], k), np.int64)
    for row in np.ndindex(*x.shape[:-1]):
        left = list(range(x.shape[-1]))
        for j in range(k):
            best = left[0]
            for i in left[1:]:
                if better(float(x[(*row, i)]), float(x[(*row, best)]), largest):
                    best = i
            left.remove(best)
            y[(*row, j)] = best
    return y
