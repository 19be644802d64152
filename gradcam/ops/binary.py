"""Elementwise functions of two arrays with NumPy's broadcasting, named as ONNX names them, and their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from gradcam.ops import reduce
from gradcam.ops._call import Attributes, array, call

__all__ = [
    "BINARY",
    "add",
    "binary_attributes",
    "binary_input_grads",
    "broadcast_shape",
    "div",
    "maximum",
    "minimum",
    "mul",
    "padded_shape",
    "pow",
    "prelu",
    "sub",
]

BINARY: dict[str, int] = {
    "Add": 0,
    "Sub": 1,
    "Mul": 2,
    "Div": 3,
    "Pow": 4,
    "PRelu": 5,
    "Max": 6,
    "Min": 7,
    "Less": 8,
    "LessOrEqual": 9,
    "Equal": 10,
    "Keep": 11,
    "Quantize": 12,
}
"""Operator codes of the binary kernels. Comparisons give 1 or 0; Keep is a where b is not 0, else 0; Quantize is the integer
nearest to a / b."""

MAX_RANK = 8


def broadcast_shape(a_shape: Sequence[int], b_shape: Sequence[int], function: str = "broadcast_shape") -> tuple[int, ...]:
    """Return the shape of ``a + b``: axes are aligned at the last one, and an axis of size 1 or none is repeated.

    Raises
    ------
    ValueError
        The shapes do not fit, or have more than 8 axes; the message begins with `function`.
    """
    rank = max(len(a_shape), len(b_shape))
    if rank > MAX_RANK:
        raise ValueError(f"{function}: a, b: expected up to {MAX_RANK} axes, got {rank}")
    shape = []
    for a, b in zip(padded_shape(a_shape, rank), padded_shape(b_shape, rank), strict=True):
        if a != b and a != 1 and b != 1:
            raise ValueError(f"{function}: b: expected a shape that broadcasts with {tuple(a_shape)}, got {tuple(b_shape)}")
        shape.append(b if a == 1 else a)
    return tuple(shape)


def padded_shape(shape: Sequence[int], rank: int) -> tuple[int, ...]:
    """Return a shape with axes of size 1 in front, as broadcasting reads it."""
    return (*(1,) * (rank - len(shape)), *shape)


def _strides(shape: Sequence[int], rank: int) -> tuple[int, ...]:
    """Element strides of a contiguous array, 0 along axes that broadcasting repeats."""
    strides, step = [0] * rank, 1
    for axis, size in reversed(list(enumerate(padded_shape(shape, rank)))):
        if size != 1:
            strides[axis] = step
        step *= max(size, 1)  # an empty axis keeps its stride: that is how the kernels know it from a repeated one
    return tuple(strides)


def binary_attributes(op: str, a_shape: Sequence[int], b_shape: Sequence[int]) -> Attributes:
    """Return the attributes of ``binary_output``, ``binary_a_grad`` and ``binary_b_grad``; `op` is a key of `BINARY`."""
    shape = broadcast_shape(a_shape, b_shape, "binary_attributes")
    rank = len(shape)
    return Attributes((BINARY[op], rank, *shape, *_strides(a_shape, rank), *_strides(b_shape, rank)))


def _output(function: str, op: str, a: object, b: object) -> NDArray[Any]:
    left = array(function, "a", a)
    right = array(function, "b", b, like=left)
    shape = broadcast_shape(left.shape, right.shape, function)
    return call("binary_output", binary_attributes(op, left.shape, right.shape), [left, right], [shape])[0]


def add(a: object, b: object) -> NDArray[Any]:
    """Return ``a + b``.

    Parameters
    ----------
    a, b : array_like
        float32 or float64, both of one type, up to 8 axes, shapes that broadcast.

    Returns
    -------
    ndarray
        Of the broadcast shape.

    Raises
    ------
    TypeError
        An operand is not of a floating type, or the types differ.
    ValueError
        The shapes do not broadcast.
    """
    return _output("add", "Add", a, b)


def sub(a: object, b: object) -> NDArray[Any]:
    """Return ``a - b``; types, shapes and errors as for `add`."""
    return _output("sub", "Sub", a, b)


def mul(a: object, b: object) -> NDArray[Any]:
    """Return ``a b``; types, shapes and errors as for `add`."""
    return _output("mul", "Mul", a, b)


def div(a: object, b: object) -> NDArray[Any]:
    """Return ``a / b``; types, shapes and errors as for `add`."""
    return _output("div", "Div", a, b)


def pow(a: object, b: object) -> NDArray[Any]:
    """Return a to the power of b; types, shapes and errors as for `add`."""
    return _output("pow", "Pow", a, b)


def prelu(a: object, b: object) -> NDArray[Any]:
    """Return ``b a`` where ``a < 0``, else a, with slopes b (He et al. 2015); types, shapes and errors as for `add`.

    The slopes broadcast as in ONNX: one per channel has the shape ``(c, 1, 1)`` for an image.
    """
    return _output("prelu", "PRelu", a, b)


def maximum(a: object, b: object) -> NDArray[Any]:
    """Return the larger of a and b, NaN where either is; types, shapes and errors as for `add`."""
    return _output("maximum", "Max", a, b)


def minimum(a: object, b: object) -> NDArray[Any]:
    """Return the smaller of a and b, NaN where either is; types, shapes and errors as for `add`."""
    return _output("minimum", "Min", a, b)


def binary_input_grads(op: str, a: object, b: object, dy: object) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the gradients of ``sum(dy * f(a, b))`` with respect to `a` and to `b`.

    Where f has no derivative, the rules are: PRelu takes the slope for negative values at 0; Max and Min share the gradient evenly
    between equal values, and hand it to both where one is NaN; for Pow, ``b = 0`` gives a no gradient, nor does ``a = 0`` give one
    to ``b >= 0``. Comparisons have none; Keep gives b none; Quantize has that of the quotient (straight-through).

    Parameters
    ----------
    op : str
        A key of `BINARY`, for example ``"Mul"``.
    a, b : array_like
        What f was applied to, see `add`.
    dy : array_like
        Gradient of the output, of the broadcast shape.

    Returns
    -------
    da, db : ndarray
        Of the shapes of `a` and `b`: summed, in double, over the axes along which the operand was repeated.

    Raises
    ------
    TypeError, ValueError
        As for `add`; unknown `op`; `dy` has another shape than the output.
    """
    if op not in BINARY:
        raise ValueError(f"binary_input_grads: op: expected one of {', '.join(BINARY)}, got {op!r}")
    left = array("binary_input_grads", "a", a)
    right = array("binary_input_grads", "b", b, like=left)
    seed = array("binary_input_grads", "dy", dy, like=left)
    shape = broadcast_shape(left.shape, right.shape, "binary_input_grads")
    if seed.shape != shape:
        raise ValueError(f"binary_input_grads: dy: expected the broadcast shape {shape}, got {seed.shape}")
    attributes = binary_attributes(op, left.shape, right.shape)
    (da,) = call("binary_a_grad", attributes, [left, right, seed], [shape])
    (db,) = call("binary_b_grad", attributes, [left, right, seed], [shape])
    return _summed_to(da, left.shape), _summed_to(db, right.shape)


def _summed_to(gradient: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    padded = padded_shape(shape, gradient.ndim)
    repeated = tuple(axis for axis, size in enumerate(padded) if size != gradient.shape[axis])
    return (reduce.sum(gradient, repeated, keepdims=True) if repeated else gradient).reshape(shape)
