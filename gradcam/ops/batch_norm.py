"""Batch norm with given statistics (inference), and its gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from gradcam.ops._call import Attributes, array, call

__all__ = ["batch_norm", "batch_norm_attributes", "batch_norm_input_grad"]


def batch_norm_attributes(x_shape: Sequence[int], epsilon: float) -> Attributes:
    """Return the attributes of ``batch_norm_output`` and ``batch_norm_input_grad`` for x of shape ``(n, c, ...)``."""
    return Attributes((*x_shape[:2], math.prod(x_shape[2:])), (float(epsilon),))


def _data(function: str, argument: str, value: object, epsilon: float) -> NDArray[Any]:
    x = array(function, argument, value, ndim=(2, 8))
    if 0 in x.shape[1:]:
        raise ValueError(f"{function}: {argument}: expected sizes of at least 1 (0 for the batch only), got shape {x.shape}")
    if not 0 <= epsilon < math.inf:
        raise ValueError(f"{function}: epsilon: expected a finite number of at least 0, got {epsilon}")
    return x


def _per_channel(function: str, x: NDArray[Any], **arguments: object) -> list[NDArray[Any]]:
    values = [array(function, name, value, like=x) for name, value in arguments.items()]
    for name, value in zip(arguments, values, strict=True):
        if value.shape != (x.shape[1],):
            raise ValueError(f"{function}: {name}: expected shape {(x.shape[1],)}, one number per channel, got {value.shape}")
    return values


def batch_norm(
    x: object,
    gamma: object,
    beta: object,
    mean: object,
    var: object,
    *,
    epsilon: float = 1e-5,
) -> NDArray[Any]:
    """Return ``gamma (x - mean) / sqrt(var + epsilon) + beta`` per channel (Ioffe and Szegedy 2015).

    Worked as ``x scale + shift``; scale and shift are computed in double and rounded once.

    Parameters
    ----------
    x : array_like
        Shape ``(n, c, ...)``, float32 or float64.
    gamma, beta, mean, var : array_like
        Shape ``(c,)``, of the dtype of `x`.
    epsilon : float
        Keeps the root away from 0.

    Returns
    -------
    ndarray
        Of the shape and dtype of `x`.

    Raises
    ------
    TypeError
        An array is not of a floating type, or the types differ.
    ValueError
        Shapes do not fit, an axis other than the batch is empty, or `epsilon` is negative or not finite.
    """
    data = _data("batch_norm", "x", x, epsilon)
    channels = _per_channel("batch_norm", data, gamma=gamma, beta=beta, mean=mean, var=var)
    return call("batch_norm_output", batch_norm_attributes(data.shape, epsilon), [data, *channels], [data.shape])[0]


def batch_norm_input_grad(dy: object, gamma: object, var: object, *, epsilon: float = 1e-5) -> NDArray[Any]:
    """Return the gradient of ``sum(dy * batch_norm(x))`` with respect to x: ``dy gamma / sqrt(var + epsilon)``.

    Parameters
    ----------
    dy : array_like
        Gradient of the output, shape ``(n, c, ...)``, float32 or float64.
    gamma, var, epsilon
        As for `batch_norm`.

    Returns
    -------
    ndarray
        Of the shape and dtype of `dy`.

    Raises
    ------
    TypeError, ValueError
        As for `batch_norm`.
    """
    seed = _data("batch_norm_input_grad", "dy", dy, epsilon)
    channels = _per_channel("batch_norm_input_grad", seed, gamma=gamma, var=var)
    return call("batch_norm_input_grad", batch_norm_attributes(seed.shape, epsilon), [seed, *channels], [seed.shape])[0]
