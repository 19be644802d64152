"""One training step as a plan: loss, gradients of the parameters, next statistics of batch norm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.graph.autodiff import gradients
from gradcam.graph.builder import Builder
from gradcam.graph.compilation import compile_plan
from gradcam.graph.ir import Shape
from gradcam.graph.passes import prune
from gradcam.graph.plan import Plan
from gradcam.graph.source import Source
from gradcam.train.losses import Loss
from gradcam.train.parameters import statistics_of, training_source

__all__ = ["Step", "StepResult", "compile_step"]


@dataclass(frozen=True, slots=True)
class StepResult:
    """Loss, gradients in the order of the parameters as one vector, next statistics in the order of the statistics."""

    loss: float
    gradients: NDArray[Any]
    statistics: list[NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Step:
    """A compiled step: weights, statistics, pictures and targets are its inputs."""

    plan: Plan
    parameters: int
    scores: Shape

    def run(self, arrays: Sequence[NDArray[Any]], workers: int) -> StepResult:
        """Run it on the pictures, the parameters, the statistics and the targets, in this order."""
        loss, *rest = self.plan.run(arrays, 1, workers)
        grads, statistics = rest[: self.parameters], rest[self.parameters :]
        return StepResult(float(loss[0]), np.concatenate([g.reshape(-1) for g in grads]), statistics)


def compile_step(
    source: Source, shapes: Mapping[str, Shape], real: np.dtype[Any], parameters: Sequence[str], loss: Loss, output: str
) -> Step:
    """Compile a step for batches of given shapes.

    Parameters
    ----------
    source : Source
        The network; its batch norms are put into training form.
    shapes : mapping
        Shape of every input with its batch.
    real : dtype
        float32 or float64.
    parameters : sequence of str
        Weights that are differentiated.
    loss : Loss
        Emits the loss from the scores and the targets.
    output : str
        Output of the network that the loss reads.
    """
    statistics = statistics_of(source)
    graph, names = training_source(source).build(shapes, real, fed=[*parameters, *statistics])
    g = Builder(real, graph)
    scores = names[output]
    targets = g.input("targets", scores.shape)
    value = loss(g, scores, targets)
    if value.shape:
        raise ValueError(f"train: loss: expected one number, got shape {value.shape}")
    grads = gradients(g, value, [names[name] for name in parameters])
    g.graph.outputs = [value, *grads, *(names[name] for name in statistics.values())]
    plan = compile_plan(prune(g.graph), real)
    plan.keep_memory()
    return Step(plan, len(parameters), scores.shape)
