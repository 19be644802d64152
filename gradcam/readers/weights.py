"""State dicts of known architectures, from dicts, ``.npz`` and ``.safetensors`` files. The content is never trusted."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.errors import MemoryBudgetError, ModelFormatError, nearest, require
from gradcam.graph.source import Source
from gradcam.readers.file import read_file

__all__ = ["read_network", "read_weights"]

Arrays = Mapping[str, Any]

MAX_COUNT = 100_000
"""Most tensors of a file."""

_SAFETENSORS = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
}


def read_network(architecture: str, weights: Arrays | str | os.PathLike[str], max_bytes: int | None) -> tuple[Source, int]:
    """Return a known architecture with given weights, and the size of its pictures.

    Raises
    ------
    ValueError
        There is no such architecture.
    ModelFormatError
        Lists every tensor that is missing, extra or misshapen.
    """
    from gradcam.readers.architectures import ARCHITECTURES, Modules, StateDict  # all families: only where one is built

    if architecture not in ARCHITECTURES:
        close = ", ".join(nearest(str(architecture), ARCHITECTURES))
        raise ValueError(f"from_weights: architecture: {architecture!r} is not known; nearest: {close}")
    known = ARCHITECTURES[architecture]
    state = StateDict(read_weights(weights, max_bytes), known.old_names)
    modules = Modules(state)
    modules.net.output("output", known.build(modules))
    path = None if isinstance(weights, Mapping) else os.fspath(weights)
    problems = state.problems()
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise ModelFormatError(
            f"from_weights: weights: expected the tensors of {architecture}, got {len(problems)} problems:\n{listed}", path=path
        )
    source = modules.net.source()
    source.path = path
    return source, source.inputs[0].dims[2] if isinstance(source.inputs[0].dims[2], int) else known.size


def read_weights(weights: Arrays | str | os.PathLike[str], max_bytes: int | None) -> Arrays:
    """Return tensors by name from a mapping as it is, or from a file."""
    if isinstance(weights, Mapping):
        if not all(isinstance(name, str) for name in weights):
            raise TypeError("from_weights: weights: expected a mapping with str keys")
        return weights
    if not isinstance(weights, str | os.PathLike):
        raise TypeError(f"from_weights: weights: expected a mapping, or the path of a file, got {type(weights).__name__}")
    path = Path(weights)
    readers = {".npz": _read_npz, ".safetensors": _read_safetensors}
    if path.suffix.lower() not in readers:
        raise ModelFormatError(
            "from_weights: weights: expected a .npz or .safetensors file (a file of torch.save is a program that would be run: "
            "write it again with safetensors.torch.save_file(module.state_dict(), path))",
            path=path,
        )
    return readers[path.suffix.lower()](path, read_file("from_weights", path, max_bytes), max_bytes)


def _allow(path: Path, needed: int, max_bytes: int | None) -> None:
    if max_bytes is not None and needed > max_bytes:
        raise MemoryBudgetError(f"from_weights: {path}: the tensors need {needed} bytes, max_bytes allows {max_bytes}")


# npz -----------------------------------------------------------------------------------------------------------------


def _read_npz(path: Path, content: bytes, max_bytes: int | None) -> dict[str, NDArray[Any]]:
    """Sizes are taken from the directory, checked, and compared with each member's header before anything is unpacked."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            names = {member.filename for member in members}
            if len(names) != len(members) or len(members) > MAX_COUNT:
                raise ModelFormatError(f"expected up to {MAX_COUNT} members with different names, got {len(members)}", path=path)
            _allow(path, sum(member.file_size for member in members), max_bytes)
            return {member.filename.removesuffix(".npy"): _read_member(path, archive, member) for member in members}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise ModelFormatError(f"this is no .npz file: {error}", path=path) from error


def _read_member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    def bad(text: str) -> ModelFormatError:
        return ModelFormatError(f"member '{member.filename}': {text}", path=path, where=member.filename)

    if member.file_size > 2**26 and member.file_size > 1000 * member.compress_size:
        raise bad(f"{member.compress_size} bytes claim to hold {member.file_size}")
    form = np.lib.format
    with archive.open(member) as file:
        try:
            version = form.read_magic(file)
            if version not in ((1, 0), (2, 0)):
                raise bad(f"version {version} of the format holds no plain numbers")
            header = form.read_array_header_1_0 if version == (1, 0) else form.read_array_header_2_0
            shape, fortran, dtype = header(file)
        except ModelFormatError:
            raise
        except ValueError as error:
            raise bad(f"this is no array: {error}") from error
        need = prod(shape) * dtype.itemsize
        if dtype.kind not in "fiub" or min(shape, default=0) < 0:
            raise bad(f"expected plain numbers, got {dtype} of shape {shape}")
        if member.file_size - file.tell() != need:
            raise bad(f"shape {shape} of {dtype} needs {need} bytes, but {member.file_size - file.tell()} are there")
        array = np.frombuffer(file.read(need), dtype)
    return array.reshape(shape, order="F" if fortran else "C")


# safetensors ---------------------------------------------------------------------------------------------------------


def _read_safetensors(path: Path, content: bytes, max_bytes: int | None) -> dict[str, NDArray[Any]]:
    """The package checks the spans; bfloat16 is widened."""
    safetensors = require("safetensors", "weights")
    _allow(path, 2 * len(content), max_bytes)
    try:
        tensors = safetensors.deserialize(content)
    except safetensors.SafetensorError as error:
        raise ModelFormatError(f"this is no .safetensors file: {error}", path=path) from error
    if len(tensors) > MAX_COUNT:
        raise ModelFormatError(f"more than {MAX_COUNT} tensors", path=path)
    arrays = {}
    for name, tensor in tensors:
        if tensor["dtype"] not in _SAFETENSORS:
            raise ModelFormatError(f"tensor '{name}' holds {tensor['dtype']}, which is not read", path=path, where=name)
        array = np.frombuffer(tensor["data"], _SAFETENSORS[tensor["dtype"]]).reshape(tensor["shape"])
        if tensor["dtype"] == "BF16":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        arrays[name] = array
    return arrays
