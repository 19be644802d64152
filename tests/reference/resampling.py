"""Plain loops in float64: what resizing is."""

from __future__ import annotations

import math

import numpy as np


def weighted_sum(samples, taps):
    """Sum of weight * sample; samples of weight 0 are not read."""
    return math.fsum(weight * samples[i] for i, weight in taps if weight != 0)


def resize_line(samples, n_out, mode):
    n_in = len(samples)
    result = []
    for d in range(n_out):
        if mode == "nearest":
            result.append(samples[min(math.floor(d * n_in / n_out), n_in - 1)])
            continue
        if mode == "linear":
            s = max((d + 0.5) * n_in / n_out - 0.5, 0.0)
        else:
            s = d * (n_in - 1) / (n_out - 1) if n_out > 1 else 0.0
        i = math.floor(s)
        f = s - i
        if mode == "cubic-spline":
            taps = [(mirror(j, n_in), b_spline(s - j)) for j in range(i - 1, i + 3)]
            result.append(weighted_sum(prefilter(samples), taps))
        else:
            result.append(weighted_sum(samples, [(i, 1 - f), (min(i + 1, n_in - 1), f)]))
    return result


def mirror(i, n):
    if n == 1:
        return 0
    i = abs(i) % (2 * n - 2)
    return min(i, 2 * n - 2 - i)


def b_spline(x):
    x = abs(x)
    if x < 1:
        return (4 - 6 * x**2 + 3 * x**3) / 6
    return max(2 - x, 0) ** 3 / 6


def prefilter(samples):
    """Coefficients c with (c[i-1] + 4 c[i] + c[i+1]) / 6 = samples[i], mirrored ends."""
    n = len(samples)
    matrix = np.zeros((n, n))
    for i in range(n):
        for j, weight in ((i - 1, 1), (i, 4), (i + 1, 1)):
            matrix[i, mirror(j, n)] += weight / 6
    return np.linalg.solve(matrix, np.asarray(samples, np.float64)).tolist()


def resize(m, size, mode):
    """One map."""
    m = np.asarray(m, np.float64)
    for axis, n_out in enumerate(size):
        if m.shape[axis] == n_out:
            continue
        shape = (*m.shape[:axis], n_out, *m.shape[axis + 1 :])
        out = np.empty(shape)
        for index in np.ndindex(*shape[:axis], *shape[axis + 1 :]):
            line = (*index[:axis], slice(None), *index[axis:])
            out[line] = resize_line(m[line].tolist(), n_out, mode)
        m = out
    return m
