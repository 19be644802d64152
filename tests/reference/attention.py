"""Scaled dot-product attention: plain loops in float64."""

from __future__ import annotations

import math

import numpy as np


def attention(q, k, v, bias=None, scale=1.0):
    """softmax(scale q k' + bias) v for q (*batch, rows, depth), k (*batch, keys, depth), v (*batch, keys, width)."""
    y = np.zeros((*q.shape[:-1], v.shape[-1]))
    for head in np.ndindex(*q.shape[:-2]):
        for i in range(q.shape[-2]):
            scores = []
            for t in range(k.shape[-2]):
                score = scale * sum(float(a) * float(b) for a, b in zip(q[head][i], k[head][t], strict=True))
                scores.append(score + (0.0 if bias is None else float(np.broadcast_to(bias, (*q.shape[:-1], k.shape[-2]))[head][i, t])))
            largest = -math.inf
            for score in scores:
                largest = max(largest, score)
            exponentials = [math.exp(score - largest) if score - largest == score - largest else math.nan for score in scores]
            total = sum(exponentials)
            for c in range(v.shape[-1]):
                y[head][i, c] = sum(e * float(row) for e, row in zip(exponentials, v[head][:, c], strict=True)) / total
    return y
