"""Normalisations as they are defined, in float64, one group of numbers at a time."""

from math import prod

import numpy as np


def _over(x, axes, function):
    """Apply function(numbers) -> numbers to every slice of x along `axes`."""
    x = np.asarray(x, np.float64)
    moved = np.moveaxis(x, axes, range(len(axes)))
    y = np.empty_like(moved)
    for i in np.ndindex(moved.shape[len(axes) :]):
        where = (*(slice(None),) * len(axes), *i)
        y[where] = function(moved[where])
    return np.moveaxis(y, range(len(axes)), axes)


def _variance(v):
    return ((v - v.mean()) ** 2).mean()


def standardise(x, axes, epsilon):
    return _over(x, axes, lambda v: (v - v.mean()) / np.sqrt(_variance(v) + epsilon))


def layer_norm(x, scale, bias=None, axis=-1, epsilon=1e-5, stash_type=1):
    axes = list(range(axis % x.ndim, x.ndim))
    mean = _over(x, axes, lambda v: v.mean())
    inverse = _over(x, axes, lambda v: 1 / np.sqrt(_variance(v) + epsilon))
    first = tuple(slice(0, 1) if i in axes else slice(None) for i in range(x.ndim))
    y = standardise(x, axes, epsilon) * scale
    return [y if bias is None else y + bias, mean[first], inverse[first]]


def rms_norm(x, scale, axis=-1, epsilon=1e-5, stash_type=1):
    return [_over(x, list(range(axis % x.ndim, x.ndim)), lambda v: v / np.sqrt((v * v).mean() + epsilon)) * scale]


def instance_norm(x, scale, bias, epsilon=1e-5):
    shape = (-1,) + (1,) * (x.ndim - 2)
    return [standardise(x, list(range(2, x.ndim)), epsilon) * scale.reshape(shape) + bias.reshape(shape)]


def group_norm(x, scale, bias, num_groups, opset, epsilon=1e-5, stash_type=1):
    channels, shape = x.shape[1], (-1,) + (1,) * (x.ndim - 2)
    grouped = x.reshape(x.shape[0], num_groups, prod(x.shape[1:]) // num_groups)
    if opset < 21:  # one number per group
        scale, bias = (np.repeat(p, channels // num_groups) for p in (scale, bias))
    return [standardise(grouped, [2], epsilon).reshape(x.shape) * scale.reshape(shape) + bias.reshape(shape)]


def mean_variance(x, axes=(0, 2, 3)):
    return [_over(x, sorted(a % x.ndim for a in axes), lambda v: (v - v.mean()) / (np.sqrt(_variance(v)) + 1e-9))]


def lp_norm(x, axis=-1, p=2):
    def divide(v):
        norm = (np.abs(v) ** p).sum() ** (1 / p)
        return v / norm if norm else np.zeros_like(v)

    return [_over(x, [axis % x.ndim], divide)]


def lrn(x, size, alpha=1e-4, beta=0.75, bias=1.0):
    y = np.empty(x.shape)
    for c in range(x.shape[1]):
        low, high = max(0, c - (size - 1) // 2), min(x.shape[1], c + size // 2 + 1)
        squares = sum(np.float64(x[:, k]) ** 2 for k in range(low, high))
        y[:, c] = x[:, c] / (bias + alpha / size * squares) ** beta
    return [y]
