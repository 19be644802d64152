"""Transposed convolution: every input element adds the kernel, scaled, to the output."""

from __future__ import annotations

import itertools

import numpy as np


def conv_transpose(x, w, bias, stride, dilation, crop_lo, size, groups):
    """x (N, C, *I), w (C, M / groups, *kernel) -> y (N, M, *size); position p of y is p + crop_lo of the whole output."""
    n, c = x.shape[:2]
    per_group, kernel = w.shape[1], w.shape[2:]
    y = np.zeros((n, per_group * groups, *size))
    for image, channel, m in itertools.product(range(n), range(c), range(per_group)):
        out = channel // (c // groups) * per_group + m
        for at in np.ndindex(x.shape[2:]):
            for tap in np.ndindex(kernel):
                place = tuple(s * i + d * k - lo for s, i, d, k, lo in zip(stride, at, dilation, tap, crop_lo, strict=True))
                if all(0 <= p < q for p, q in zip(place, size, strict=True)):
                    y[(image, out, *place)] += x[(image, channel, *at)] * w[(channel, m, *tap)]
    return y if bias is None else y + bias.reshape(-1, *(1,) * len(size))
