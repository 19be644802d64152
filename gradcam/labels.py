"""Names of classes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from gradcam.errors import ModelFormatError

__all__ = ["Labels", "class_names"]

Labels = Sequence[str] | Mapping[int, str] | str | os.PathLike[str]
"""A list, a mapping, or a text file with one name a line."""


def class_names(labels: Labels | None, metadata: Mapping[str, str]) -> dict[int, str]:
    """Return class names by index; without `labels` those of a model's metadata (``gradcam.labels``), else none.

    Raises
    ------
    TypeError
        A name is no str.
    ModelFormatError
        The metadata are malformed.
    """
    stored = metadata.get("gradcam.labels")
    if labels is None and stored is not None:
        labels = _stored_names(stored)
    if labels is None:
        return {}
    if isinstance(labels, str | os.PathLike):
        labels = [line.strip() for line in Path(labels).read_text(encoding="utf-8").splitlines()]
    pairs = labels.items() if isinstance(labels, Mapping) else enumerate(labels)
    found = {int(i): name for i, name in pairs}
    if not all(isinstance(name, str) for name in found.values()):
        raise TypeError("load: labels: expected class names as str")
    return found


def _stored_names(text: str) -> list[str]:
    try:
        names = json.loads(text)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ModelFormatError("metadata 'gradcam.labels': expected a JSON list of class names")
    return names
