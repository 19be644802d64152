"""Small networks and data to train on."""

from __future__ import annotations

import numpy as np

import gradcam
from gradcam.train import initialise


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def small(seed: int = 0, *, norm: bool = True, groups: int = 1) -> gradcam.Model:
    """Two convolutions with batch norm, pooling and two linear layers: (N, 2, 8, 7) -> (N, 3)."""
    net = gradcam.GraphBuilder()
    x = net.input("x", (None, 2, 8, 7))
    for i, (inputs, outputs, stride) in enumerate([(2, 4, 1), (4, 6, 2)], start=1):
        x = net.conv(x, zeros(outputs, inputs // groups, 3, 3), zeros(outputs), stride=stride, padding=1, groups=groups, name=f"conv{i}")
        if norm:
            ones = zeros(outputs) + 1
            x = net.batch_norm(x, zeros(outputs), ones, ones, zeros(outputs), name=f"norm{i}")
        x = net.silu(x, name=f"act{i}")
    x = net.flatten(net.max_pool(x, 2))
    x = net.relu(net.linear(x, zeros(5, 24), zeros(5), name="hidden"))
    net.output("scores", net.linear(x, zeros(3, 5), zeros(3), name="head"))
    return initialise(net.model(), seed=seed)


def wide(seed: int = 0) -> gradcam.Model:
    """Convolutions that the compiler puts into blocked layout in float32, one of them by Winograd's algorithm: (N, 3, 13, 14) -> (N, 3)."""
    net = gradcam.GraphBuilder()
    x = net.input("x", (None, 3, 13, 14))
    for i, (inputs, outputs, kernel, stride) in enumerate([(3, 34, 3, 1), (34, 40, 3, 1), (40, 17, 1, 2), (17, 20, 3, 1)], start=1):
        x = net.conv(x, zeros(outputs, inputs, kernel, kernel), zeros(outputs), stride=stride, padding=kernel // 2, name=f"conv{i}")
        ones = zeros(outputs) + 1
        x = net.silu(net.batch_norm(x, zeros(outputs), ones, ones, zeros(outputs), name=f"norm{i}"))
    net.output("scores", net.linear(net.flatten(net.max_pool(x, 7)), zeros(3, 20), zeros(3), name="head"))
    return initialise(net.model(), seed=seed)


def tokens(seed: int = 0) -> gradcam.Model:
    """Linear layers on tokens and layer norm: (N, 4, 6) -> (N, 3)."""
    net = gradcam.GraphBuilder()
    x = net.input("x", (None, 4, 6))
    x = net.gelu(net.linear(x, zeros(8, 6), zeros(8), name="in"))
    x = net.layer_norm(x, zeros(8) + 1, zeros(8), name="norm")
    x = net.add(net.select(x, 1, 0), net.constant(zeros(8), name="offset.bias"))
    net.output("scores", net.linear(x, zeros(3, 8), zeros(3), name="head"))
    return initialise(net.model(), seed=seed)


def data(model: gradcam.Model, count: int, seed: int = 0, classes: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Pictures, and classes or targets for each score."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, *model.inputs[0].shape[1:])).astype(np.float32)
    return x, rng.integers(0, 3, count) if classes else (rng.random((count, 3)) < 0.4).astype(np.float32)
