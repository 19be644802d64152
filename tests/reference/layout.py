"""The strided region copy, element by element, and NumPy's own words for the operators made of it."""

from __future__ import annotations

import numpy as np


def copy_region(shape, x, x_offset, x_strides, y, y_offset, y_strides):
    """Write the region of flat `x` into flat `y`."""
    for index in np.ndindex(*shape):
        source = x_offset + sum(i * stride for i, stride in zip(index, x_strides, strict=True))
        target = y_offset + sum(i * stride for i, stride in zip(index, y_strides, strict=True))
        assert 0 <= source < len(x) and 0 <= target < len(y)
        y[target] = x[source]


def pad(x, pads, value):
    """Cell by cell; negative pads crop."""
    y = np.full([low + size + high for size, (low, high) in zip(x.shape, pads, strict=True)], value, x.dtype)
    for index in np.ndindex(*y.shape):
        source = tuple(i - low for i, (low, _) in zip(index, pads, strict=True))
        if all(0 <= i < size for i, size in zip(source, x.shape, strict=True)):
            y[index] = x[source]
    return y
