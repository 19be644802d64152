"""Plain loops in float64: what normalising, resizing and post-processing are."""

from __future__ import annotations

import math

import numpy as np


def normalize(m, mode):
    """One map."""
    finite = [float(v) for v in m.flat if math.isfinite(v)]
    result = np.empty(m.shape)
    if mode == "none":
        return m.astype(np.float64)
    for index, value in np.ndenumerate(m):
        if not math.isfinite(value):
            result[index] = math.nan
            continue
        low, high = min(finite), max(finite)
        if mode == "minmax":
            top, bottom = float(value) - low, high - low
        elif mode == "max":
            top, bottom = float(value), max(high, 0.0)
        elif mode == "absmax":
            top, bottom = float(value), max(abs(low), abs(high))
        elif mode == "sum":
            top, bottom = float(value), math.fsum(finite)
        else:
            low, high = percentile(finite, mode[1]), percentile(finite, mode[2])
            top, bottom = float(value) - low, high - low
        quotient = top / bottom if bottom != 0 else 0.0
        result[index] = min(max(quotient, 0.0), 1.0) if isinstance(mode, tuple) else quotient
    return result


def percentile(values, q):
    ordered = sorted(values)
    position = q / 100 * (len(ordered) - 1)
    low = min(int(position), len(ordered) - 2) if len(ordered) > 1 else 0
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (position - low) * (ordered[high] - ordered[low])


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


def relu(m):
    return np.array([0.0 if v < 0 else float(v) for v in m.flat]).reshape(m.shape)


def scale(m, epsilon):
    """Minimum to 0, then divided by maximum + epsilon; a NaN anywhere makes all NaN."""
    values = [float(v) for v in m.flat]
    if any(math.isnan(v) for v in values):
        return np.full(m.shape, math.nan)
    low = min(values)
    high = max(v - low for v in values)
    return np.array([(v - low) / (high + epsilon) for v in values]).reshape(m.shape)


def postprocess(raw, size, compat):
    """One image, defaults of the mode; size None: layer size."""

    def resized(m, mode):
        return m if size is None else resize(m, size, mode)

    raw = np.asarray(raw, np.float64)
    if compat == "paper":
        return normalize(resized(relu(raw), "linear"), "minmax")
    if compat == "pytorch-grad-cam":
        grid = "linear" if raw.ndim == 2 else "cubic-spline"
        return scale(relu(resized(scale(relu(raw), 1e-7), grid)), 1e-7)
    if compat == "torchcam":
        return resized(scale(relu(raw), 1e-8), "linear")
    return resized(raw, "nearest")
