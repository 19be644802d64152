"""Reading a whole file within limits."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from gradcam.errors import MemoryBudgetError, ModelFormatError

__all__ = ["read_file"]


def read_file(function: str, path: Path, max_bytes: int | None) -> bytes:
    """Read a file into owned memory (a mapped file that shrinks cannot be survived)."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise ModelFormatError("this is no regular file", path=path)
    size = status.st_size
    if max_bytes is not None and size > max_bytes:
        raise MemoryBudgetError(f"{function}: {path}: the file has {size} bytes, max_bytes allows {max_bytes}")
    return path.read_bytes()
