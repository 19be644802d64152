"""Softmax and log-softmax along one axis, and their gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from gradcam.ops._call import Attributes, array, call

__all__ = ["log_softmax", "softmax", "softmax_attributes", "softmax_input_grad"]


def softmax_attributes(shape: Sequence[int], axis: int, log: bool = False) -> Attributes:
    """Return the attributes of ``softmax_output`` and ``softmax_input_grad``: a shape is worked as (outer, axis, inner)."""
    axis %= len(shape)
    return Attributes((math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]), int(log)))


def _checked(function: str, argument: str, value: object, axis: int, like: NDArray[Any] | None = None) -> NDArray[Any]:
    x = array(function, argument, value, like=like)
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"{function}: axis: expected an axis of an array with {x.ndim} axes, got {axis}")
    empty = [position for position, size in enumerate(x.shape) if size == 0 and (position > 0 or axis % x.ndim == 0)]
    if empty:
        raise ValueError(f"{function}: {argument}: expected sizes of at least 1 (0 for the batch only), got shape {x.shape}")
    return x


def softmax(x: object, axis: int = -1) -> NDArray[Any]:
    """Return ``exp(x - m) / sum(exp(x - m))`` along an axis, m being the maximum; sums are in double.

    Parameters
    ----------
    x : array_like
        float32 or float64, at least 1 axis. -inf gives 0; NaN or inf makes its whole axis NaN.
    axis : int
        Axis along which the results sum to 1.

    Returns
    -------
    ndarray
        Of the shape and dtype of `x`.

    Raises
    ------
    TypeError
        `x` is not of a floating type.
    ValueError
        No such axis, or an empty array (an empty batch apart).
    """
    values = _checked("softmax", "x", x, axis)
    return call("softmax_output", softmax_attributes(values.shape, axis), [values], [values.shape])[0]


def log_softmax(x: object, axis: int = -1) -> NDArray[Any]:
    """Return ``x - m - log(sum(exp(x - m)))``, the logarithm of `softmax`; parameters and errors as there."""
    values = _checked("log_softmax", "x", x, axis)
    return call("softmax_output", softmax_attributes(values.shape, axis, log=True), [values], [values.shape])[0]


def softmax_input_grad(y: object, dy: object, axis: int = -1, log: bool = False) -> NDArray[Any]:
    """Return the gradient of ``sum(dy * softmax(x))`` with respect to x: ``y (dy - sum(y dy))``.

    Parameters
    ----------
    y : array_like
        The output of `softmax` (of `log_softmax` with `log`), float32 or float64.
    dy : array_like
        Gradient of the output, of the shape and dtype of `y`.
    axis : int
        As for the output.
    log : bool
        The gradient of `log_softmax` instead: ``dy - exp(y) sum(dy)``.

    Returns
    -------
    ndarray
        Of the shape and dtype of `y`.

    Raises
    ------
    TypeError
        `y` or `dy` is not of a floating type, or their types differ.
    ValueError
        No such axis, shapes differ, or an empty array (an empty batch apart).
    """
    output = _checked("softmax_input_grad", "y", y, axis)
    seed = _checked("softmax_input_grad", "dy", dy, axis, like=output)
    if seed.shape != output.shape:
        raise ValueError(f"softmax_input_grad: dy: expected shape {output.shape} like y, got {seed.shape}")
    return call("softmax_input_grad", softmax_attributes(output.shape, axis, log), [output, seed], [output.shape])[0]
