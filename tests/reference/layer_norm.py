"""Layer normalisation row by row, and the gradient of its input."""

import numpy as np


def layer_norm(x, gamma, beta, epsilon):
    y = np.empty(np.shape(x), np.float64)
    for i, row in enumerate(np.asarray(x, np.float64)):
        mean = sum(row) / len(row)
        var = sum((v - mean) ** 2 for v in row) / len(row)
        y[i] = [(v - mean) / np.sqrt(var + epsilon) for v in row]
    return y * (1 if gamma is None else np.asarray(gamma, np.float64)) + (0 if beta is None else np.asarray(beta, np.float64))


def layer_norm_input_grad(x, gamma, dy, epsilon):
    dx = np.empty(np.shape(x), np.float64)
    weighted = np.asarray(dy, np.float64) * (1 if gamma is None else np.asarray(gamma, np.float64))
    for i, (row, seed) in enumerate(zip(np.asarray(x, np.float64), weighted, strict=True)):
        n, inverse = len(row), 1 / np.sqrt(np.var(row) + epsilon)
        h = (row - np.mean(row)) * inverse
        for j in range(n):
            dx[i, j] = inverse * sum(seed[k] * ((j == k) - 1 / n - h[j] * h[k] / n) for k in range(n))
    return dx
