"""The networks of the experiments: one architecture, whose signs and zeros a design decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from gradcam.graph_builder import GraphBuilder
from gradcam.model import Model
from gradcam.train import initialise

__all__ = ["LAYERS", "PRE_LAYERS", "SIZE", "Activation", "Design", "Last"]

SIZE = 48
"""Height and width of a picture."""

LAYERS = ("act1", "act2", "act3", "evidence")
"""Layers after an activation function, from the first to the last; the last one is what the head reads."""

PRE_LAYERS = ("norm1", "norm2", "norm3", "norm4")
"""The same places before the activation function."""

Activation = Literal["relu", "leaky_relu", "silu", "tanh"]
Last = Literal["x", "-x", "1-x", "x+b"]
Loss = Literal["sigmoid_cross_entropy", "mean_squared_error"]

_STAGES = ((16, 5, 2, 2), (32, 3, 2, 1), (48, 3, 1, 1), (64, 3, 1, 0))  # channels, kernel, stride, padding
_HIDDEN, _CLASSES = 32, 10


@dataclass(frozen=True)
class Design:
    """What distinguishes one network of the experiments from another; the default is the common case.

    Attributes
    ----------
    activation : {"relu", "leaky_relu", "silu", "tanh"}
        The function after every convolution.
    last : {"x", "-x", "1-x", "x+b"}
        What the head reads instead of the last activations x: their negatives, one minus them, or with an offset b per channel that is
        learned.
    targets : tuple of float
        What the network is trained to say of an absent and of a present class.
    loss : {"sigmoid_cross_entropy", "mean_squared_error"}
        For the former, targets have to be 0 and 1 in some order: (1, 0) asks for the probability that the class is absent.
    """

    activation: Activation = "relu"
    last: Last = "x"
    targets: tuple[float, float] = (0, 1)
    loss: Loss = "sigmoid_cross_entropy"

    def __post_init__(self) -> None:
        for name, choices in (("activation", Activation), ("last", Last), ("loss", Loss)):
            if getattr(self, name) not in get_args(choices):
                raise ValueError(f"Design: {name}: expected one of {', '.join(get_args(choices))}, got {getattr(self, name)!r}")
        if len(self.targets) != 2 or self.targets[0] == self.targets[1]:
            raise ValueError(f"Design: targets: expected two different numbers, got {self.targets}")
        if self.loss == "sigmoid_cross_entropy" and sorted(self.targets) != [0, 1]:
            raise ValueError(f"Design: targets: expected 0 and 1 for the cross-entropy, got {self.targets}")

    @property
    def name(self) -> str:
        """Name of it in files and tables, different for all designs."""
        loss = "mse" if self.loss == "mean_squared_error" else "bce"
        return f"{self.activation}_{self.last}_{loss}_{self.targets[0]:g}_{self.targets[1]:g}"

    @property
    def sign(self) -> int:
        """1 if a higher score says that the class is present, -1 if that it is absent."""
        return 1 if self.targets[1] > self.targets[0] else -1

    @property
    def threshold(self) -> float:
        """Score between an absent and a present class."""
        return 0.0 if self.loss == "sigmoid_cross_entropy" else sum(self.targets) / 2

    def wanted(self, labels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return what the network should say of pictures with these labels."""
        absent, present = self.targets
        return np.where(labels != 0, np.float32(present), np.float32(absent))

    def model(self, seed: int) -> Model:
        """Return the untrained network: (N, 1, 48, 48) -> (N, 10).

        Four convolutions with batch norm, mean over the positions, two linear layers with a ReLU between them. The head does not care
        about the sign or the zero of what it reads, in contrast to a maximum. Its hidden layer makes the weights of the channels differ
        from picture to picture; before the last convolution the gradient differs between positions too, so that all methods differ.
        That convolution has no padding: a shift before it can be compensated exactly.
        """
        net = GraphBuilder()
        x, channels = net.input("image", (None, 1, SIZE, SIZE)), 1
        for i, (outputs, kernel, stride, padding) in enumerate(_STAGES, start=1):
            x = net.conv(x, _zeros(outputs, channels, kernel, kernel), stride=stride, padding=padding, name=f"conv{i}")
            x = net.batch_norm(x, *np.ones((4, outputs), np.float32), name=f"norm{i}")
            last = i == len(_STAGES)
            x = getattr(net, self.activation)(x, name="evidence" if last and self.last == "x" else f"act{i}")
            channels = outputs
        x = _LAST[self.last](net, x, channels)
        x = net.flatten(net.global_average_pool(x))
        x = net.relu(net.linear(x, _zeros(_HIDDEN, channels), _zeros(_HIDDEN), name="hidden"))
        net.output("scores", net.linear(x, _zeros(_CLASSES, _HIDDEN), _zeros(_CLASSES), name="logits"))
        return initialise(net.model(), "he_normal", seed=seed)


def _zeros(*shape: int) -> NDArray[np.float32]:
    return np.zeros(shape, np.float32)


def _offset(net: GraphBuilder, x: str, channels: int) -> str:
    return net.add(x, net.constant(_zeros(channels, 1, 1), name="offset.bias"), name="evidence")


_LAST: dict[str, Callable[[GraphBuilder, str, int], str]] = {
    "x": lambda net, x, channels: x,
    "-x": lambda net, x, channels: net.mul(x, np.float32(-1), name="evidence"),
    "1-x": lambda net, x, channels: net.sub(np.float32(1), x, name="evidence"),
    "x+b": _offset,
}
