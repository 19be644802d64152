"""Convolution and its gradients as loops over outputs and taps, in float64."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np


class Conv:
    """One number per spatial axis each; padding as (low, high) pairs."""

    def __init__(self, stride, padding, dilation, groups):
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups

    def output_shape(self, x_shape, w_shape):
        axes = zip(x_shape[2:], w_shape[2:], self.stride, self.padding, self.dilation, strict=True)
        return (x_shape[0], w_shape[0], *((n + lo + hi - d * (k - 1) - 1) // s + 1 for n, k, s, (lo, hi), d in axes))

    def pairs(self, x_shape, w_shape) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]:
        """Position of an output, of the tap, and of the input that the tap reads; taps outside the input are left out."""
        space = self.output_shape(x_shape, w_shape)[2:]
        for output in np.ndindex(*space):
            for tap in itertools.product(*map(range, w_shape[2:])):
                axes = zip(output, tap, self.stride, self.padding, self.dilation, strict=True)
                place = tuple(o * s + r * d - lo for o, r, s, (lo, _), d in axes)
                if all(0 <= i < n for i, n in zip(place, x_shape[2:], strict=True)):
                    yield output, tap, place

    def channels(self, x_shape, w_shape) -> Iterator[tuple[int, range]]:
        """Output channel, and the input channels that it sees."""
        each, filters = x_shape[1] // self.groups, w_shape[0] // self.groups
        for k in range(w_shape[0]):
            first = k // filters * each
            yield k, range(first, first + each)


def conv(x, w, bias, geometry):
    x, w = np.asarray(x, np.float64), np.asarray(w, np.float64)
    y = np.zeros(geometry.output_shape(x.shape, w.shape))
    for output, tap, place in geometry.pairs(x.shape, w.shape):
        for k, seen in geometry.channels(x.shape, w.shape):
            for c in seen:
                y[(slice(None), k, *output)] += w[(k, c - seen.start, *tap)] * x[(slice(None), c, *place)]
    if bias is not None:
        y += np.asarray(bias, np.float64).reshape(-1, *(1,) * (y.ndim - 2))
    return y


def conv_input_grad(dy, w, x_shape, geometry):
    dy, w = np.asarray(dy, np.float64), np.asarray(w, np.float64)
    dx = np.zeros(x_shape)
    for output, tap, place in geometry.pairs(x_shape, w.shape):
        for k, seen in geometry.channels(x_shape, w.shape):
            for c in seen:
                dx[(slice(None), c, *place)] += w[(k, c - seen.start, *tap)] * dy[(slice(None), k, *output)]
    return dx
