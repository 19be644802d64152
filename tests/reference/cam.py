"""CAM reductions of one picture in plain float64 loops. A and g have shape (channels, positions)."""

import math

import numpy as np


def relu(value):
    return 0.0 if value < 0 else value


def divide(a, b):
    with np.errstate(all="ignore"):
        return float(np.float64(a) / np.float64(b))


def channel_mean(g):
    return np.array([sum(map(float, row)) / len(row) for row in g])


def plusplus_weights(a, g, variant=0, epsilon=0.0):
    channels, positions = g.shape
    weights, degenerate = np.zeros(channels), np.zeros(channels)
    for k in range(channels):
        s = sum(map(float, a[k]))
        for x in range(positions):
            d = float(g[k, x])
            r = relu(d)
            if variant == 0:
                product = r * s
                if math.isfinite(product) and abs(2 + product) <= 1e-12 * (2 + abs(product)):
                    degenerate[k] = 1
                else:
                    weights[k] += divide(r, 2 + product)
            elif variant == 1:
                weights[k] += r * (0.0 if d == 0 else divide(d**2, 2 * d**2 + s * d**3 + epsilon))
            else:
                weights[k] += r**3
    return weights, degenerate


def xgrad_weights(a, g, variant=0, epsilon=0.0):
    channels, positions = g.shape
    weights, degenerate = np.zeros(channels), np.zeros(channels)
    for k in range(channels):
        total = magnitude = product = 0.0
        for x in range(positions):
            total += float(a[k, x])
            magnitude += abs(float(a[k, x]))
            product += float(g[k, x]) * float(a[k, x])
        if variant == 1:
            weights[k] = divide(product, total + epsilon)
        elif math.isfinite(magnitude) and abs(total) <= 1e-7 * magnitude:
            degenerate[k] = 1
        else:
            weights[k] = divide(product, total)
    return weights, degenerate


def map_terms(u, a, variant):
    """What `product` sums over the channels; u has shape (channels, positions)."""
    channels, positions = a.shape
    terms = np.zeros((channels, positions))
    for k in range(channels):
        for x in range(positions):
            v, w = float(u[k, x]), float(a[k, x])
            terms[k, x] = v * w if variant == 0 else relu(v * w) if variant == 1 else relu(v) * w
    return terms


def product(a, g, variant=0, omit_nan=False):
    terms = map_terms(g, a, variant)
    result = np.zeros(a.shape[1])
    for k in range(a.shape[0]):
        for x in range(a.shape[1]):
            if not (omit_nan and math.isnan(terms[k, x])):
                result[x] += terms[k, x]
    return result


def combine(weights, a, omit_nan=False):
    return product(a, np.repeat(np.asarray(weights)[:, None], a.shape[1], axis=1), 0, omit_nan)
