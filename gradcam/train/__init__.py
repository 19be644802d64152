"""Training in the engine: losses, optimizers, initial weights, and the `Trainer` that brings them together.

A network is described with `gradcam.GraphBuilder` (or read from a file); its weights become inputs of the graph, the gradient
graph computes their gradients, and one plan, compiled once, does a step: loss, gradients, statistics of batch norm.
"""

from gradcam.train.initialisation import SCHEMES, initialise
from gradcam.train.losses import LOSSES, Loss, mean_squared_error, sigmoid_cross_entropy, softmax_cross_entropy
from gradcam.train.optimizers import SGD, Adam, Optimizer, one_cycle
from gradcam.train.parameters import parameter_names, with_weights
from gradcam.train.trainer import Trainer

__all__ = [
    "LOSSES",
    "SCHEMES",
    "SGD",
    "Adam",
    "Loss",
    "Optimizer",
    "Trainer",
    "initialise",
    "mean_squared_error",
    "one_cycle",
    "parameter_names",
    "sigmoid_cross_entropy",
    "softmax_cross_entropy",
    "with_weights",
]
