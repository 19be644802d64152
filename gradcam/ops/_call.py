"""One kernel of the C core on plain arrays: checks, allocation, call."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradcam import _core
from gradcam.environment import resolve_threads
from gradcam.errors import BuildWarning

__all__ = ["Attributes", "array", "call", "isa"]

isa: str = _core.isa
"""The ISA level that kernels run at (tests change it)."""

_NATIVE = (np.dtype(np.float32), np.dtype(np.float64))

SERIAL_ELEMENTS = 1 << 14
"""Calls that touch fewer elements than this stay on one thread: opening a region costs more than it saves."""

# A forked child does not have the threads of its parent's OpenMP runtime: they are given back before the fork.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_core.before_fork)
if not _core.openmp:
    warnings.warn("gradcam was built without OpenMP: it uses one thread", BuildWarning, stacklevel=2)


class Attributes(NamedTuple):
    """What a kernel is told besides its arrays; the order is stated in the kernel family's C header."""

    ints: tuple[int, ...]
    reals: tuple[float, ...] = ()


def call(
    kernel: str,
    attributes: Attributes,
    inputs: Sequence[NDArray[Any] | None],
    outputs: Sequence[tuple[int, ...] | NDArray[Any]],
    *,
    num_threads: int | None = None,
    result: np.dtype[Any] | type | None = None,
) -> tuple[NDArray[Any], ...]:
    """Run one kernel and return its output arrays.

    Parameters
    ----------
    kernel : str
        Name in the kernel table.
    attributes : Attributes
        Geometry, as the kernel's header states it.
    inputs : sequence of ndarray or None
        C-contiguous arrays of one floating type (indices: int64); None for an absent operand.
    outputs : sequence of tuple of int or ndarray
        Shapes of new results, or arrays to write them into.
    num_threads : int, optional
        See `gradcam.set_num_threads`.
    result : dtype, optional
        Type of new results where it is not that of the inputs: int64 of indices, uint16 of bfloat16.
    """
    dtype = next(x.dtype for x in inputs if x is not None and x.dtype.kind == "f")
    kind = dtype if result is None else result
    results = tuple(y if isinstance(y, np.ndarray) else np.empty(y, kind) for y in outputs)
    touched = sum(x.size for x in inputs if x is not None) + sum(y.size for y in results)
    workers = resolve_threads(num_threads)
    if touched < SERIAL_ELEMENTS:
        workers = 1
    _core.call(kernel, isa, dtype.char, attributes.ints, attributes.reals, tuple(inputs), results, workers)
    return results


def array(
    function: str,
    argument: str,
    value: object,
    *,
    ndim: tuple[int, int] | None = None,
    like: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Return `value` as a C-contiguous float32 or float64 array.

    Parameters
    ----------
    function, argument : str
        Named in the error message.
    value : array_like
        Floating-point numbers; float16 (and bfloat16 of ml_dtypes) is widened to float32, byte-swapped arrays are converted.
    ndim : (int, int), optional
        Smallest and largest number of axes allowed.
    like : ndarray, optional
        The result must have the dtype of this array.

    Raises
    ------
    TypeError
        For integers, booleans, complex numbers, objects, tensors that require gradients, or a dtype other than that of `like`.
    ValueError
        For a wrong number of axes.
    """
    result = _as_numpy(function, argument, value)
    if result.dtype not in _NATIVE:
        result = _as_native(function, argument, result)
    if like is not None and result.dtype != like.dtype:
        raise TypeError(f"{function}: {argument}: expected {like.dtype} like the first array, got {result.dtype}")
    if ndim is not None and not ndim[0] <= result.ndim <= ndim[1]:
        wanted = str(ndim[0]) if ndim[0] == ndim[1] else f"{ndim[0]} to {ndim[1]}"
        raise ValueError(f"{function}: {argument}: expected {wanted} axes, got {result.ndim} (shape {result.shape})")
    flags = result.flags
    return result if flags.c_contiguous and flags.aligned else np.require(result, None, ["C_CONTIGUOUS", "ALIGNED"])


def _as_native(function: str, argument: str, array: NDArray[Any]) -> NDArray[Any]:
    """Convert half types and byte-swapped numbers."""
    if array.dtype.kind == "V" and array.dtype.name == "bfloat16" or array.dtype.char == "e":  # float16 in any byte order
        return array.astype(np.float32)
    if array.dtype.kind != "f" or array.dtype.itemsize not in (4, 8):
        raise TypeError(f"{function}: {argument}: expected float32 or float64, got {array.dtype}")
    return array.astype(array.dtype.newbyteorder("="))


def _as_numpy(function: str, argument: str, value: object) -> NDArray[Any]:
    """Follow the order of acceptance: ndarray, `__array__` and buffers, DLPack on the CPU."""
    if isinstance(value, np.ndarray):
        return value
    if getattr(value, "requires_grad", False):
        raise TypeError(f"{function}: {argument}: expected an array, got a tensor that requires gradients: call .detach() first")
    if str(getattr(value, "dtype", "")) == "torch.bfloat16":
        raise TypeError(f"{function}: {argument}: expected float32 or float64, got a bfloat16 tensor: call .float() first")
    device = str(getattr(value, "device", "cpu"))
    if not device.startswith("cpu") and "cpu" not in device.lower():
        raise TypeError(f"{function}: {argument}: expected an array on the CPU, got one on {device}: copy it to the CPU first")
    if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
        return np.from_dlpack(value)
    return np.asarray(value)
