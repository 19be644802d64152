"""Plain loops: a small network forward, and backward with other rules at its ReLUs, in float64."""

from __future__ import annotations

import numpy as np
from reference.conv import Conv, conv, conv_input_grad


def through_relu(g, z, high, rule):
    """What passes a ReLU (with an upper bound `high`) that read z; `rule` is one of gradient, guidedbackprop, deconvnet."""
    result = np.zeros(g.shape)
    for index in np.ndindex(g.shape):
        is_open = 0 < z[index] < high
        if rule == "gradient":
            result[index] = g[index] if is_open else 0
        else:
            result[index] = max(g[index], 0) if is_open or rule == "deconvnet" else 0
    return result


def network_gradient(x, w1, b1, w2, b2, high, fc, target, rules):
    """Gradient of one output at x: convolution, ReLU, convolution with stride 2, ReLU up to `high`, linear layer without bias.

    `rules` are those of the two ReLUs. x is one picture (1, C, H, W).
    """
    first, second = Conv((1, 1), ((1, 1), (1, 1)), (1, 1), 1), Conv((2, 2), ((0, 0), (0, 0)), (1, 1), 1)
    z1 = conv(x, w1, b1, first)
    a1 = np.maximum(z1, 0)
    z2 = conv(a1, w2, b2, second)
    g2 = through_relu(fc[target].reshape(z2.shape), z2, high, rules[1])
    g1 = through_relu(conv_input_grad(g2, w2, a1.shape, second), z1, np.inf, rules[0])
    return conv_input_grad(g1, w1, x.shape, first)
