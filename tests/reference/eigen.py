"""Projection on the first singular vector, and kernel PCA: full decompositions in float64, one picture (C, *S)."""

from __future__ import annotations

import numpy as np

RULES = ("energy", "extreme", "tie", "match")


def relu(v):
    return np.where(v < 0, 0, v)


def matrix(term, a, g=None, w=None):
    """B, shape (C, positions)."""
    a = a.reshape(len(a), -1).astype(np.float64)
    g = None if g is None else g.reshape(len(g), -1).astype(np.float64)
    return {
        "activations": lambda: a,
        "product": lambda: g * a,
        "abs-product": lambda: np.abs(g) * a,
        "relu-product": lambda: relu(g * a),
        "relu-gradient": lambda: relu(g) * a,
        "weighted": lambda: w.astype(np.float64)[:, None] * a,
    }[term]()


def sign_of(p, q):
    total = np.sum(p * q)
    if abs(total) <= 1e-9 * np.linalg.norm(p) * np.linalg.norm(q):
        return 0
    return 1 if total > 0 else -1


def signed(p, b, v, rule="energy", reference=None):
    """The map with its sign, and the rule that decided it."""
    if reference is not None and sign_of(p, reference):
        return sign_of(p, reference) * p, "match"
    if rule == "energy" and sign_of(p, np.abs(b).sum(0)):
        return sign_of(p, np.abs(b).sum(0)) * p, "energy"
    up, down = abs(p.max()), abs(p.min())
    if abs(up - down) > 1e-9 * max(up, down):
        return (p if up > down else -p), "extreme"
    first = np.flatnonzero(np.abs(v) >= np.abs(v).max() * (1 - 1e-9))[0]
    return (-p if v[first] < 0 else p), "tie"


def project(term, a, g=None, w=None, *, center=False, rule="energy", reference=None):
    """Map of shape S, the rule that decided its sign, and whether it is not unique."""
    b = matrix(term, a, g, w)
    x = b.T - b.T.mean(0) if center else b.T
    values, v = np.linalg.svd(x, full_matrices=False)[1:]
    p, decided = signed(x @ v[0], b, v[0], rule, None if reference is None else reference.reshape(-1).astype(np.float64))
    not_unique = len(values) > 1 and values[0] > 0 and values[0] - values[1] <= 1e-9 * values[0]
    return p.reshape(a.shape[1:]), decided, not_unique


def kernel_pca(a):
    """Map of shape S."""
    x = a.reshape(len(a), -1).astype(np.float64).T
    x = x - x.mean(0)
    k = np.tanh(x @ x.T / len(a) + 1)
    k = k - k.mean(0) - k.mean(1)[:, None] + k.mean()
    values, vectors = np.linalg.eigh((k + k.T) / 2)
    p = vectors[:, -1] * np.sqrt(max(values[-1], 0))
    return (p if p[np.argmax(np.abs(p))] >= 0 else -p).reshape(a.shape[1:])
