"""Channel weights of Smooth Grad-CAM++ as loops over elements, in float64."""

from __future__ import annotations

import numpy as np


def smooth_weights(a, samples, compat):
    """Weights (N, C) and degenerate channels of activations (N, C, *S) and gradient samples (samples, N, C, *S)."""
    count, (pictures, channels) = len(samples), a.shape[:2]
    weights, degenerate = np.zeros((pictures, channels)), np.zeros((pictures, channels))
    for n, k in np.ndindex(pictures, channels):
        plane = a[n, k].astype(np.float64).ravel()
        draws = samples[:, n, k].astype(np.float64).reshape(count, -1)
        total = 0.0
        for x in range(plane.size):
            total += plane[x] * sum(v**3 for v in draws[:, x]) / count
        for x in range(plane.size):
            second = sum(v**2 for v in draws[:, x]) / count
            shown = draws[-1, x] if compat == "torchcam" else sum(draws[:, x]) / count
            divisor = 2 * second + total + (1e-8 if compat == "torchcam" else 0)
            if divisor == 0:
                degenerate[n, k] = max(degenerate[n, k], second > 0)
            else:
                weights[n, k] += second / divisor * max(shown, 0.0)
    return weights, degenerate
