"""Initial weights by named schemes, seeded by tensor: the draw of one does not depend on which others there are."""

from __future__ import annotations

import math
from collections.abc import Callable
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from gradcam.model import Model
from gradcam.train.parameters import parameter_names, statistics_of, with_weights

__all__ = ["SCHEMES", "initialise"]

Shape = tuple[int, ...]
Draw = Callable[[np.random.Generator, Shape], NDArray[np.float64]]


def _fans(shape: Shape) -> tuple[int, int]:
    """Numbers that one output sums, and outputs that one input reaches: weights are (outputs, inputs, *kernel)."""
    taps = math.prod(shape[2:])
    return shape[1] * taps, shape[0] * taps


def he_normal(rng: np.random.Generator, shape: Shape) -> NDArray[np.float64]:
    """Draw from a normal distribution of variance 2 / inputs (He et al., ICCV 2015, equation 10)."""
    return rng.standard_normal(shape) * math.sqrt(2 / _fans(shape)[0])


def he_uniform(rng: np.random.Generator, shape: Shape) -> NDArray[np.float64]:
    """Draw from a uniform distribution of variance 2 / inputs."""
    return rng.uniform(-1, 1, shape) * math.sqrt(6 / _fans(shape)[0])


def glorot_uniform(rng: np.random.Generator, shape: Shape) -> NDArray[np.float64]:
    """Draw from a uniform distribution of variance 2 / (inputs + outputs) (Glorot and Bengio, AISTATS 2010, equation 16)."""
    return rng.uniform(-1, 1, shape) * math.sqrt(6 / sum(_fans(shape)))


SCHEMES: dict[str, Draw] = {"he_normal": he_normal, "he_uniform": he_uniform, "glorot_uniform": glorot_uniform}
"""How weights of two or more axes are drawn, by name."""


def initialise(model: Model, scheme: str = "he_normal", *, seed: int = 0) -> Model:
    """Return the model with fresh weights.

    Weights of two or more axes are drawn, biases are 0, weights of norms 1, running statistics mean 0 and variance 1.

    Parameters
    ----------
    model : Model
        Its weights count for their shapes alone. Only what `parameter_names` lists is changed.
    scheme : {"he_normal", "he_uniform", "glorot_uniform"}
        The distribution.
    seed : int
        The same seed gives the same weights, tensor by tensor.

    Returns
    -------
    Model
    """
    if scheme not in SCHEMES:
        raise ValueError(f"initialise: scheme: expected one of {', '.join(SCHEMES)}, got {scheme!r}")
    arrays, fresh = model._source.initializers, {}
    for name in (*parameter_names(model), *statistics_of(model._source)):
        shape, dtype = arrays[name].shape, arrays[name].dtype
        if name.endswith(".weight") and len(shape) > 1:
            drawn = SCHEMES[scheme](np.random.default_rng((seed, crc32(name.encode()))), shape)
        else:
            drawn = np.full(shape, float(name.endswith((".weight", "var"))))
        fresh[name] = drawn.astype(dtype)
    return with_weights(model, fresh)
