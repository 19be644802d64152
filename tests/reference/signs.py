"""Quadrants and channel tables as loops over elements, in float64."""

from __future__ import annotations

import math


def quadrant(u, a):
    """Number of the quadrant of a product."""
    if u < 0:
        return 3 if a >= 0 else 1
    return 0 if a >= 0 else 2


def quadrants(u, a):
    """u: (C, n) factors, a: (C, n) activations -> four sums over the channels for each position, and the whole."""
    channels, positions = len(a), len(a[0])
    parts = [[0.0] * positions for _ in range(4)]
    whole = [0.0] * positions
    for x in range(positions):
        for k in range(channels):
            product = float(u[k][x]) * float(a[k][x])
            whole[x] += product
            for q in range(4):
                if math.isnan(product) or q == quadrant(u[k][x], a[k][x]):
                    parts[q][x] += product
    return parts, whole


def channel(values):
    """Sums of both signs, finite extremes, number of values that are not finite, position of the largest finite |v|."""
    positive = negative = 0.0
    low, high, bad, largest, peak = math.inf, -math.inf, 0, -1.0, 0
    for x, value in enumerate(map(float, values)):
        positive += value if value > 0 or math.isnan(value) else 0.0
        negative += value if value < 0 or math.isnan(value) else 0.0
        if not math.isfinite(value):
            bad += 1
            continue
        low, high = min(low, value), max(high, value)
        if abs(value) > largest:
            largest, peak = abs(value), x
    return positive, negative, low, high, bad, peak
