"""Writing files whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from gradcam.errors import GradcamError

__all__ = ["refuse_inputs", "write_bytes"]


def refuse_inputs(command: str, outputs: Iterable[Path], inputs: Iterable[str | os.PathLike[str]]) -> None:
    """Raise GradcamError if a file that a command is about to write is one that it reads."""
    read = {Path(path).resolve() for path in inputs}
    for path in outputs:
        if path.resolve() in read:
            raise GradcamError(f"{command}: -o: {path} is an input and would be overwritten")


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write to a temporary file in the same folder, then rename it: a reader never sees half a file."""
    import tempfile  # only where something is written

    target = Path(path)
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
