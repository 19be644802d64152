"""Plain loops: numbers that judge one map."""

from __future__ import annotations

import math

import numpy as np
from reference import localisation


def pointing(m, inside, tolerance):
    """1 for a hit, 0 for a miss."""
    finite = [(index, float(v)) for index, v in np.ndenumerate(m) if math.isfinite(v)]
    if not inside.any():
        return math.nan
    if not finite or min(v for _, v in finite) == max(v for _, v in finite):
        return 0.0
    best = finite[0]
    for index, value in finite:
        if value > best[1]:
            best = (index, value)
    near = (
        sum((a - b) ** 2 for a, b in zip(place, best[0], strict=True)) <= tolerance**2 for place in zip(*np.nonzero(inside), strict=True)
    )
    return float(any(near))


def positive(m):
    """Positive part by position, non-finite values left out."""
    return {index: max(float(v), 0.0) for index, v in np.ndenumerate(m) if math.isfinite(v)}


def energy(m, inside):
    """Share of the positive part inside."""
    parts = positive(m)
    total = math.fsum(parts.values())
    if not inside.any():
        return math.nan
    return math.fsum(v for index, v in parts.items() if inside[index]) / total if total else 0.0


def iou(m, inside, threshold):
    """Of masks."""
    above = localisation.mask(m, threshold)
    both = either = 0
    for index in np.ndindex(m.shape):
        both += bool(above[index] and inside[index])
        either += bool(above[index] or inside[index])
    return both / either if inside.any() else math.nan


def swapped(m, own, other):
    """Whose mean is larger."""
    means = []
    for inside in (own, other):
        values = [float(v) for index, v in np.ndenumerate(m) if inside[index] and math.isfinite(v)]
        if not values:
            return math.nan
        means.append(math.fsum(values) / len(values))
    return 0.5 if means[0] == means[1] else float(means[1] > means[0])


def overlap(a, b):
    """Common share of the positive parts."""
    p, q = positive(a), positive(b)
    sums = math.fsum(p.values()), math.fsum(q.values())
    if not all(sums):
        return math.nan
    return math.fsum(min(p.get(i, 0.0) / sums[0], q.get(i, 0.0) / sums[1]) for i in np.ndindex(a.shape))


def ranks(values):
    """Ranks from 1, equal values with the mean of theirs."""
    return [sum(w < v for w in values) + (sum(w == v for w in values) + 1) / 2 for v in values]


def rank_correlation(a, b):
    """Pearson's correlation of the ranks."""
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return math.nan
    x, y = ranks(a.reshape(-1).tolist()), ranks(b.reshape(-1).tolist())
    mean = (len(x) + 1) / 2
    top = math.fsum((u - mean) * (v - mean) for u, v in zip(x, y, strict=True))
    bottom = math.sqrt(math.fsum((u - mean) ** 2 for u in x) * math.fsum((v - mean) ** 2 for v in y))
    return top / bottom if bottom else math.nan
