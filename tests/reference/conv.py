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


def conv_weight_grad(dy, x, w_shape, geometry):
    """Taps outside the input read zeros."""
    dy, x = np.asarray(dy, np.float64), np.asarray(x, np.float64)
    padded = np.pad(x, ((0, 0), (0, 0), *geometry.padding))
    dw = np.zeros(w_shape)
    for output in np.ndindex(*dy.shape[2:]):
        for tap in np.ndindex(*w_shape[2:]):
            place = tuple(o * s + r * d for o, r, s, d in zip(output, tap, geometry.stride, geometry.dilation, strict=True))
            for k, seen in geometry.channels(x.shape, w_shape):
                for c in seen:
                    dw[(k, c - seen.start, *tap)] += (dy[(slice(None), k, *output)] * padded[(slice(None), c, *place)]).sum()
    return dw


# --- geometries that the tests walk


def case(x, w, stride=1, padding=None, dilation=1, groups=1):
    """One geometry: shapes of x and w, stride, (low, high) padding pairs, dilation, groups."""
    rank = len(x) - 2
    stride, dilation = ((v,) * rank if isinstance(v, int) else v for v in (stride, dilation))
    return x, w, stride, padding or ((0, 0),) * rank, dilation, groups


# Awkward on purpose: size-1 axes, primes, asymmetric padding larger than the kernel, strides that jump over the input.
CASES = [
    case((2, 3, 11), (4, 3, 3), 2, ((1, 2),)),
    case((1, 4, 1), (6, 2, 1), 3, groups=2),
    case((2, 1, 5), (3, 1, 7), 1, ((4, 3),), 1),
    case((1, 3, 8, 8), (5, 3, 3, 3), 1, ((1, 1), (1, 1))),
    case((2, 4, 7, 10), (6, 2, 3, 2), (2, 3), ((1, 0), (0, 1)), (1, 2), 2),
    case((1, 5, 6, 7), (5, 1, 3, 3), 1, ((1, 1), (1, 1)), groups=5),
    case((1, 3, 6, 5), (6, 1, 2, 3), 2, ((0, 1), (2, 0)), groups=3),
    case((2, 13, 3, 3), (7, 13, 1, 1)),
    case((2, 13, 5, 4), (7, 13, 1, 1), 2),
    case((1, 2, 3, 3), (3, 2, 1, 1), 1, ((1, 0), (0, 2))),
    case((1, 2, 10, 12), (3, 2, 3, 3), (2, 1), ((2, 3), (5, 4)), (2, 3)),
    case((1, 1, 1, 1), (1, 1, 1, 1)),
    case((1, 2, 5, 5), (2, 2, 5, 5)),
    case((1, 2, 9, 9), (2, 2, 2, 2), (5, 4)),
    case((1, 2, 5, 6, 7), (4, 2, 2, 3, 2), (2, 1, 2), ((0, 1), (1, 1), (0, 0)), (1, 2, 1)),
    case((2, 4, 3, 1, 5), (4, 1, 3, 1, 2), 1, ((1, 1), (0, 0), (2, 2)), groups=4),
    case((0, 3, 4, 4), (2, 3, 3, 3), 1, ((1, 1), (1, 1))),
]


def random_geometries(count, seed=0):
    """Random shapes of one to three axes."""
    generator = np.random.default_rng(seed)
    found = []
    while len(found) < count:
        rank = int(generator.integers(1, 4))
        groups = int(generator.choice([1, 1, 2, 3]))
        channels, filters = (groups * int(generator.integers(1, 5)) for _ in range(2))
        largest = (24, 9, 5)[rank - 1]
        size, kernel, stride, dilation, lo, hi = (
            tuple(int(n) for n in generator.integers(low, high, rank))
            for low, high in ((1, largest), (1, 4), (1, 4), (1, 3), (0, 4), (0, 4))
        )
        x, w = (int(generator.integers(1, 3)), channels, *size), (filters, channels // groups, *kernel)
        padding = tuple(zip(lo, hi, strict=True))
        if all(n + a + b > d * (k - 1) for n, a, b, d, k in zip(size, lo, hi, dilation, kernel, strict=True)):
            found.append(case(x, w, stride, padding, dilation, groups))
    return found


WIDE = [
    case((1, 3, 40, 41), (5, 3, 3, 3), 1, ((1, 1), (1, 1))),  # split by positions
    case((1, 16, 4, 4), (70, 16, 3, 3), 1, ((1, 1), (1, 1))),  # by rows
    case((9, 4, 5, 5), (4, 1, 3, 3), 1, ((1, 1), (1, 1)), groups=4),  # by pictures and groups
    case((2, 40, 9, 11), (33, 40, 3, 3), 2, ((1, 1), (1, 1))),
]
