"""The feature explanation method as loops over elements, in float64: numbers a[k][x] of C channels at n positions."""

from __future__ import annotations

import math

import numpy as np


def statistics(values):
    """Mean and mean + 2 standard deviations; infinity where all are the same finite number."""
    values = [float(v) for v in values]
    mean = math.fsum(values) / len(values) if all(map(math.isfinite, values)) else math.nan
    if all(v == values[0] and math.isfinite(v) for v in values):
        return mean, math.inf
    return mean, mean + 2 * math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))


def binary(a):
    """Weights and map."""
    channels, positions = a.shape
    weights, raw = np.empty(channels), np.zeros(positions)
    for k in range(channels):
        weights[k], threshold = statistics(a[k])
        for x in range(positions):
            raw[x] += weights[k] * (1.0 if a[k, x] >= threshold else 0.0)
    return weights, raw


def fraction(a):
    """Weights and map."""
    channels, positions = a.shape
    weights, raw = np.empty(channels), np.zeros(positions)
    for k in range(channels):
        _, threshold = statistics(a[k])
        weights[k] = sum(1 for value in a[k] if value > threshold) / positions
        for x in range(positions):
            raw[x] += weights[k] * float(a[k, x])
    return weights, raw
