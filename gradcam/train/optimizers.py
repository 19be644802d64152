"""Optimizers on one vector of all parameters. NumPy's elementwise functions round each number alone: no thread changes a bit."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["SGD", "Adam", "Optimizer", "one_cycle"]

Rate = float | Callable[[int], float]
"""A learning rate, or a function from the number of the step (from 0) to it."""
Vector = NDArray[Any]


class Optimizer(Protocol):
    """What a `Trainer` asks of an optimizer."""

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the vectors that it keeps, zero at first, each as long as the parameters."""

    def update(self, step: int, parameters: Vector, gradients: Vector, state: dict[str, Vector]) -> None:
        """Change parameters and state in place; `step` counts from 0. The gradients may be overwritten."""


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent: ``v = momentum v + g``, ``p = p - rate v``.

    Polyak 1964; `nesterov` looks ahead: ``p = p - rate (g + momentum v)`` (Sutskever et al., ICML 2013).

    Attributes
    ----------
    learning_rate : float or callable
        A number, or a function of the step.
    momentum, weight_decay : float
        Of the velocity; ``weight_decay p`` is added to the gradient.
    """

    learning_rate: Rate
    momentum: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    slots: ClassVar[tuple[str, ...]] = ("velocity",)

    def __post_init__(self) -> None:
        _check("SGD", self, momentum=1.0, weight_decay=math.inf)

    def update(self, step: int, parameters: Vector, gradients: Vector, state: dict[str, Vector]) -> None:
        """See `Optimizer`."""
        if self.weight_decay:
            gradients += self.weight_decay * parameters
        velocity = state["velocity"]
        velocity *= self.momentum
        velocity += gradients
        direction = gradients + self.momentum * velocity if self.nesterov else velocity
        parameters -= _rate(self.learning_rate, step) * direction


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba, ICLR 2015, algorithm 1): steps of the mean of the gradients over the root of their mean square.

    Attributes
    ----------
    learning_rate : float or callable
        A number, or a function of the step.
    beta1, beta2, epsilon : float
        Decay of both means, and what is added to the root.
    weight_decay : float
        ``weight_decay p`` is added to the gradient; if `decoupled`, ``rate weight_decay p`` is taken from the parameters
        instead (AdamW: Loshchilov and Hutter, ICLR 2019).
    """

    learning_rate: Rate = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    decoupled: bool = False
    slots: ClassVar[tuple[str, ...]] = ("mean", "square")

    def __post_init__(self) -> None:
        _check("Adam", self, beta1=1.0, beta2=1.0, epsilon=math.inf, weight_decay=math.inf)

    def update(self, step: int, parameters: Vector, gradients: Vector, state: dict[str, Vector]) -> None:
        """See `Optimizer`."""
        rate = _rate(self.learning_rate, step)
        if self.decoupled:
            parameters *= 1 - rate * self.weight_decay
        elif self.weight_decay:
            gradients += self.weight_decay * parameters
        mean, square = state["mean"], state["square"]
        mean *= self.beta1
        mean += (1 - self.beta1) * gradients
        square *= self.beta2
        square += (1 - self.beta2) * gradients * gradients
        root = np.sqrt(square)
        root /= math.sqrt(1 - self.beta2 ** (step + 1))
        root += self.epsilon
        parameters -= rate / (1 - self.beta1 ** (step + 1)) * mean / root


def one_cycle(peak: float, steps: int, *, warmup: float = 0.3, start: float = 1 / 25, end: float = 1e-4) -> Callable[[int], float]:
    """Return a learning rate that rises once and falls once (Smith and Topin 2019), both along half a cosine.

    Parameters
    ----------
    peak : float
        Highest rate.
    steps : int
        Steps in all.
    warmup : float
        Share of the steps before the peak.
    start, end : float
        First rate as a part of the peak, and last rate as a part of the first.
    """
    if steps < 1 or not 0 <= warmup <= 1:
        raise ValueError(f"one_cycle: steps, warmup: expected at least 1 step and a share of them, got {steps} and {warmup}")
    top = warmup * steps - 1

    def rate(step: int) -> float:
        if step <= top:
            return _between(peak * start, peak, step / top if top else 1.0)
        return _between(peak, peak * start * end, min(1.0, (step - top) / (steps - 1 - top)))

    return rate


def _between(a: float, b: float, part: float) -> float:
    """From a to b along half a cosine."""
    return b + (a - b) / 2 * (1 + math.cos(math.pi * part))


def _rate(rate: Rate, step: int) -> float:
    return rate(step) if callable(rate) else rate


def _check(function: str, options: Any, **below: float) -> None:
    """Rates and decays are not negative, and less than the number given."""
    rate = options.learning_rate
    if not callable(rate) and not 0 <= rate < math.inf:
        raise ValueError(f"{function}: learning_rate: expected a finite number of at least 0, got {rate}")
    for name, limit in below.items():
        if not 0 <= getattr(options, name) < limit:
            raise ValueError(f"{function}: {name}: expected a number from 0 to below {limit:g}, got {getattr(options, name)}")
