"""Pooling as loops over windows and taps, in float64."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np


def output_size(size, kernel, stride, pad, dilation, ceil_mode):
    rounded = math.ceil if ceil_mode else math.floor
    out = rounded((size + pad[0] + pad[1] - dilation * (kernel - 1) - 1) / stride) + 1
    if ceil_mode and (out - 1) * stride >= size + pad[0]:
        out -= 1
    return out


class Pool:
    """One number per spatial axis each; padding as (low, high) pairs."""

    def __init__(self, kernel, stride, padding, dilation, ceil_mode=False, count_include_pad=False):
        self.kernel, self.stride, self.padding, self.dilation = kernel, stride, padding, dilation
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def output_shape(self, shape):
        axes = zip(shape[2:], self.kernel, self.stride, self.padding, self.dilation, strict=True)
        return (*shape[:2], *(output_size(*axis, self.ceil_mode) for axis in axes))

    def windows(self, shape) -> Iterator[tuple[tuple[int, ...], list[tuple[int, ...]], int]]:
        """Index of each output, the cells of the input in its window in scan order, and the divisor of the average."""
        for index in np.ndindex(*self.output_shape(shape)):
            cells, count = [], 0
            for taps in itertools.product(*map(range, self.kernel)):
                axes = zip(index[2:], self.stride, self.padding, taps, self.dilation, strict=True)
                cell = tuple(o * stride - pad[0] + tap * dilation for o, stride, pad, tap, dilation in axes)
                inside = all(0 <= i < size for i, size in zip(cell, shape[2:], strict=True))
                padded = all(i < size + pad[1] for i, size, pad in zip(cell, shape[2:], self.padding, strict=True))
                count += padded if self.count_include_pad else inside
                if inside:
                    cells.append((*index[:2], *cell))
            yield index, cells, count


def first_maximum(x, cells):
    best = cells[0]
    for cell in cells:
        if np.isnan(x[best]):
            break
        if np.isnan(x[cell]) or x[cell] > x[best]:
            best = cell
    return best


def max_pool(x, pool):
    y = np.full(pool.output_shape(x.shape), -np.inf)
    for index, cells, _ in pool.windows(x.shape):
        if cells:
            y[index] = x[first_maximum(x, cells)]
    return y


def max_pool_input_grad(x, dy, pool):
    dx = np.zeros(x.shape)
    for index, cells, _ in pool.windows(x.shape):
        if cells:
            dx[first_maximum(x, cells)] += dy[index]
    return dx


def max_pool_pick(x, values, pool):
    y = np.zeros(pool.output_shape(x.shape))
    for index, cells, _ in pool.windows(x.shape):
        if cells:
            y[index] = values[first_maximum(x, cells)]
    return y


def average_pool(x, pool):
    y = np.zeros(pool.output_shape(x.shape))
    for index, cells, count in pool.windows(x.shape):
        if count:
            y[index] = sum(float(x[cell]) for cell in cells) / count
    return y


def average_pool_input_grad(shape, dy, pool):
    dx = np.zeros(shape)
    for index, cells, count in pool.windows(shape):
        for cell in cells:
            dx[cell] += dy[index] / count
    return dx
