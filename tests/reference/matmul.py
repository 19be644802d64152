"""Matrix products as loops, in float64."""

from __future__ import annotations

import numpy as np


def matmul(a, b, trans_a=False, trans_b=False):
    """Two or more axes each; leading axes broadcast."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    m, depth = (a.shape[-1], a.shape[-2]) if trans_a else a.shape[-2:]
    n = b.shape[-2] if trans_b else b.shape[-1]
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = np.broadcast_to(a, (*lead, *a.shape[-2:])), np.broadcast_to(b, (*lead, *b.shape[-2:]))
    y = np.zeros((*lead, m, n))
    for i in range(m):
        for j in range(n):
            for k in range(depth):
                left = a[..., k, i] if trans_a else a[..., i, k]
                right = b[..., j, k] if trans_b else b[..., k, j]
                y[..., i, j] += left * right
    return y
