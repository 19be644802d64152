"""Plain loops in float64: what normalising and post-processing are."""

from __future__ import annotations

import math

import numpy as np

from reference.resampling import resize


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
