"""The reductions of csrc/cam/cam.h as loops in float64, in the order that it states: the bits are the specification."""

from __future__ import annotations

import numpy as np

LANES = 8


def relu(v):
    return np.float64(0) if v < 0 else v


def over_positions(terms):
    """LANES partial sums, then added pairwise."""
    partial = [np.float64(0)] * LANES
    for x, term in enumerate(terms):
        partial[x % LANES] += term
    half = LANES // 2
    while half:
        partial = [partial[j] + partial[j + half] for j in range(half)]
        half //= 2
    return partial[0]


def channel_mean(g):
    return [over_positions(row) / len(row) for row in g]


def _fraction(s, v):
    """Numerator and denominator of a term of Grad-CAM++, and whether it is dropped."""
    r = relu(v)
    below, size = 2 + r * s, 2 + abs(r * s)
    dropped = abs(below) <= 1e-12 * size < np.inf
    return (np.float64(0), np.float64(1), 1.0) if dropped else (r, below, 0.0)


def _shares(s, g_row, in_pairs):
    fractions = [_fraction(s, v) for v in g_row]
    whole = len(g_row) // (2 * LANES) * (2 * LANES) if in_pairs else 0
    terms = [np.float64(0)] * whole
    for x in range(whole):
        if x // LANES % 2 == 0:
            (u, b, _), (v, c, _) = fractions[x], fractions[x + LANES]
            terms[x] = (u * c + v * b) / (b * c)
    terms += [u / b for u, b, _ in fractions[whole:]]
    return over_positions(terms), max(d for *_, d in fractions)


def _damped(s, v, epsilon):
    square = v * v
    return relu(v) * (square / (2 * square + s * (square * v) + epsilon)) if v != 0 else relu(v) * np.float64(0)


def plusplus_weights(a, g, variant, epsilon, in_pairs):
    weights, degenerate = [], []
    for a_row, g_row in zip(a, g, strict=True):
        s = over_positions(a_row)
        if variant == 0:
            weight, dropped = _shares(s, g_row, in_pairs)
        else:
            weight, dropped = over_positions([relu(v) * relu(v) * relu(v) if variant == 2 else _damped(s, v, epsilon) for v in g_row]), 0.0
        weights.append(weight)
        degenerate.append(dropped)
    return weights, degenerate


def xgrad_weights(a, g, variant, epsilon):
    weights, degenerate = [], []
    for a_row, g_row in zip(a, g, strict=True):
        total, size = over_positions(a_row), over_positions(abs(a_row))
        cancelled = variant == 0 and abs(total) <= 1e-7 * size < np.inf
        products = over_positions(g_row * a_row)
        weights.append(np.float64(0) if cancelled else products / (total if variant == 0 else total + epsilon))
        degenerate.append(float(cancelled))
    return weights, degenerate


def _over_channels(terms, omit_nan):
    total = np.float64(0)
    for term in terms:
        if not (omit_nan and np.isnan(term)):
            total += term
    return total


def combine(w, a, omit_nan):
    return [_over_channels(w * column, omit_nan) for column in a.T]


def product(a, g, variant, omit_nan):
    terms = {0: lambda u, v: u * v, 1: lambda u, v: relu(u * v), 2: lambda u, v: relu(u) * v}[variant]
    return [_over_channels([terms(u, v) for u, v in zip(us, vs, strict=True)], omit_nan) for us, vs in zip(g.T, a.T, strict=True)]
