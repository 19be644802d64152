"""Batch norm with given statistics (inference) and with those of the batch (training), and their gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from numpy.typing import NDArray

from gradcam.ops._call import Attributes, array, call

__all__ = [
    "BatchNormGrads",
    "BatchNormResult",
    "batch_norm",
    "batch_norm_attributes",
    "batch_norm_input_grad",
    "batch_norm_train",
    "batch_norm_train_grads",
]


class BatchNormResult(NamedTuple):
    """What `batch_norm_train` returns: the output, and the statistics of the batch, of shape ``(c,)``."""

    y: NDArray[Any]
    mean: NDArray[Any]
    var: NDArray[Any]


class BatchNormGrads(NamedTuple):
    """What `batch_norm_train_grads` returns: the gradients of x, gamma and beta."""

    x: NDArray[Any]
    gamma: NDArray[Any]
    beta: NDArray[Any]


def batch_norm_attributes(x_shape: Sequence[int], epsilon: float) -> Attributes:
    """Return the attributes of all kernels of `csrc/ops/batch_norm.h` for x of shape ``(n, c, ...)``."""
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


def batch_norm_train(x: object, gamma: object, beta: object, *, epsilon: float = 1e-5, num_threads: int | None = None) -> BatchNormResult:
    """Return ``gamma (x - mean) / sqrt(var + epsilon) + beta`` with mean and variance of each channel over the batch.

    Ioffe and Szegedy 2015, algorithm 1. The variance is the mean of squared deviations (divided by the count, not by the
    count less one); sums are taken in double.

    Parameters
    ----------
    x : array_like
        Shape ``(n, c, ...)``, float32 or float64, n at least 1.
    gamma, beta : array_like
        Shape ``(c,)``, of the dtype of `x`.
    epsilon : float
        Keeps the root away from 0.
    num_threads : int, optional
        See `gradcam.set_num_threads`.

    Returns
    -------
    BatchNormResult
        ``(y, mean, var)``.

    Raises
    ------
    TypeError
        An array is not of a floating type, or the types differ.
    ValueError
        Shapes do not fit, an axis is empty, or `epsilon` is negative or not finite.
    """
    data = _batch("batch_norm_train", "x", x, epsilon)
    channels = _per_channel("batch_norm_train", data, gamma=gamma, beta=beta)
    shapes = [data.shape, *[data.shape[1:2]] * 2]
    attributes = batch_norm_attributes(data.shape, epsilon)
    return BatchNormResult(*call("batch_norm_train_output", attributes, [data, *channels], shapes, num_threads=num_threads))


def batch_norm_train_grads(
    dy: object, x: object, gamma: object, mean: object, var: object, *, epsilon: float = 1e-5, num_threads: int | None = None
) -> BatchNormGrads:
    """Return the gradients of ``sum(dy * batch_norm_train(x, gamma, beta).y)``, through the statistics too.

    Parameters
    ----------
    dy : array_like
        Gradient of the output, shape ``(n, c, ...)``, float32 or float64.
    x, gamma
        As for `batch_norm_train`.
    mean, var : array_like
        Shape ``(c,)``: the statistics that `batch_norm_train` returned.
    epsilon, num_threads
        As for `batch_norm_train`.

    Returns
    -------
    BatchNormGrads
        ``(x, gamma, beta)``: gradients in the shapes of these.

    Raises
    ------
    TypeError, ValueError
        As for `batch_norm_train`.
    """
    seed = _batch("batch_norm_train_grads", "dy", dy, epsilon)
    data = array("batch_norm_train_grads", "x", x, like=seed)
    if data.shape != seed.shape:
        raise ValueError(f"batch_norm_train_grads: x: expected shape {seed.shape} like dy, got {data.shape}")
    channels = _per_channel("batch_norm_train_grads", seed, gamma=gamma, mean=mean, var=var)
    shapes = [seed.shape, *[seed.shape[1:2]] * 2]
    attributes = batch_norm_attributes(seed.shape, epsilon)
    return BatchNormGrads(*call("batch_norm_train_grad", attributes, [seed, data, *channels], shapes, num_threads=num_threads))


def _batch(function: str, argument: str, value: object, epsilon: float) -> NDArray[Any]:
    data = _data(function, argument, value, epsilon)
    if data.shape[0] < 1:
        raise ValueError(f"{function}: {argument}: expected a batch of at least 1, got shape {data.shape}")
    return data
