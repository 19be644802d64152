"""Taps at computed positions, numbers of rows and positions of maxima as plain loops."""

from __future__ import annotations

import numpy as np


def _taps(index, axis):
    for b, j, t in np.ndindex(*index.shape):
        if 0 <= index[b, j, t] < axis:
            yield b, j, t, int(index[b, j, t])


def sample(x, index, w):
    y = np.zeros((*x.shape[:2], index.shape[1]), x.dtype)
    for b, j, t, a in _taps(index, x.shape[2]):
        y[b, :, j] += w[b, j, t] * x[b, :, a]
    return y


def sample_input_grad(dy, index, w, axis):
    dx = np.zeros((*dy.shape[:2], axis), dy.dtype)
    for b, j, t, a in _taps(index, axis):
        dx[b, :, a] += w[b, j, t] * dy[b, :, j]
    return dx


def sample_weight_grad(x, index, dy):
    dw = np.zeros(index.shape, x.dtype)
    for b, j, t, a in _taps(index, x.shape[2]):
        for o in range(x.shape[1]):
            dw[b, j, t] += dy[b, o, j] * x[b, o, a]
    return dw


def row_numbers(x, base, sizes, strides, wrap):
    rows = []
    for positions, start in zip(x, base, strict=True):
        row = int(start)
        for position, size, stride in zip(positions.tolist(), sizes, strides, strict=True):
            known = -size * wrap <= position < size
            row = row + position % size * stride if known and row is not None else None
        rows.append(np.iinfo(np.int64).min if row is None else row)
    return np.array(rows, np.int64)


def last_rows(x, size):
    y = np.full((len(x), size), -1)
    for b, j in np.ndindex(*x.shape):
        if -size <= x[b, j] < size:
            y[b, x[b, j]] = j
    return y


def max_positions(x, kernel, stride, pad_lo, dilation, out, column_major=False):
    """Position in the flattened x of the first maximum of each window; NaN is the largest number."""
    order = "F" if column_major else "C"
    y = np.full((*x.shape[:2], *out), -1, np.int64)
    plane = int(np.prod(x.shape[2:]))
    for at in np.ndindex(*y.shape):
        best = None
        for tap in np.ndindex(*kernel):
            cell = tuple(o * s - p + t * d for o, s, p, t, d in zip(at[2:], stride, pad_lo, tap, dilation, strict=True))
            if all(0 <= c < n for c, n in zip(cell, x.shape[2:], strict=True)):
                value = x[(*at[:2], *cell)]
                if best is None or value > best or (np.isnan(value) and not np.isnan(best)):
                    best = value
                    y[at] = (at[0] * x.shape[1] + at[1]) * plane + np.ravel_multi_index(cell, x.shape[2:], order=order)
    return y
