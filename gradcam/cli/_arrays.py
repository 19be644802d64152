"""Arrays in files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.graph.source import dims_text
from gradcam.model import TensorInfo

__all__ = ["is_array_file", "read_inputs", "read_npy"]

Arrays = dict[str, NDArray[Any]]


def is_array_file(path: str) -> bool:
    """Whether a name is that of a .npy or .npz file."""
    return Path(path).suffix.lower() in (".npy", ".npz")


def read_npy(command: str, path: str) -> NDArray[Any]:
    """Read one array; code in the file is never run."""
    with open(path, "rb") as file:
        start = file.read(6)
    if start[:2] == b"PK":
        raise ValueError(f"{command}: {path}: expected a .npy file, got a .npz file, which may hold many arrays: save one with numpy.save")
    if start != b"\x93NUMPY":
        raise ValueError(f"{command}: {path}: expected a .npy file as numpy.save writes it, got something else")
    found: NDArray[Any] = _load(command, path)
    return found


def _load(command: str, path: str) -> Any:
    try:
        with open(path, "rb") as file:
            loaded = np.load(file, allow_pickle=False)
            return dict(loaded) if isinstance(loaded, Mapping) else np.asarray(loaded)
    except OSError:
        raise
    except Exception as error:  # NumPy raises many kinds on damaged headers
        raise ValueError(f"{command}: {path}: this array cannot be read: {error}") from error


def read_inputs(command: str, path: str, inputs: tuple[TensorInfo, ...]) -> Arrays:
    """Read the inputs of a model as float32 with a batch axis: of one input from .npy, of any by name from .npz.

    Raises
    ------
    ValueError
        The file holds other arrays than the model takes.
    """
    names = ", ".join(t.name for t in inputs)
    if Path(path).suffix.lower() == ".npy":
        if len(inputs) > 1:
            raise ValueError(f"{command}: {path}: expected a .npz file with the inputs {names}, got a .npy file")
        given = {inputs[0].name: read_npy(command, path)}
    else:
        found = _load(command, path)
        given = found if isinstance(found, dict) else {}
        if set(given) != {t.name for t in inputs}:
            raise ValueError(f"{command}: {path}: expected the inputs {names}, got {', '.join(given) or 'no arrays with names'}")
    arrays = {t.name: _batch(f"{command}: {path}", t, given[t.name]) for t in inputs}
    if len({len(a) for a in arrays.values()}) > 1:
        raise ValueError(
            f"{command}: {path}: expected as many pictures in each input, got {', '.join(str(len(a)) for a in arrays.values())}"
        )
    return arrays


def _batch(where: str, info: TensorInfo, array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{where}: expected real numbers for input '{info.name}', got {array.dtype}")
    batch = array[None] if array.ndim == len(info.shape) - 1 else array
    fits = batch.ndim == len(info.shape) and 0 not in batch.shape
    if not fits or any(isinstance(d, int) and d != n for d, n in zip(info.shape[1:], batch.shape[1:], strict=True)):
        raise ValueError(f"{where}: expected an array of shape {dims_text(info.shape)} for input '{info.name}', got {array.shape}")
    return batch.astype(np.float32)
