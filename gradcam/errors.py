"""Exceptions and warnings of the package, and the two helpers that word their messages."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Sequence
from types import ModuleType

__all__ = [
    "BlankMapWarning",
    "BuildWarning",
    "GradcamError",
    "LayerError",
    "MemoryBudgetError",
    "MissingExtraError",
    "ModelFormatError",
    "NonFiniteWarning",
    "TargetError",
    "UnsupportedOpError",
    "nearest",
    "require",
]

# Extra data of an exception is always an optional keyword, never a required argument: an exception is unpickled as
# `cls(*args)` followed by its `__dict__`, so this is what lets every class here cross a process boundary unchanged.


class GradcamError(Exception):
    """Base of every error that is specific to this package."""


class ModelFormatError(GradcamError, ValueError):
    """The content of a model or weight file is malformed.

    Attributes
    ----------
    path : str or None
        The file, None for a model given as bytes.
    where : str or None
        Place in the file: archive member, node, or byte offset.
    """

    def __init__(self, message: str, *, path: str | os.PathLike[str] | None = None, where: str | None = None) -> None:
        super().__init__(message)
        self.path = None if path is None else os.fspath(path)
        self.where = where

    def __str__(self) -> str:
        """Return ``path: message``, or the message of a model given as bytes."""
        return ": ".join(part for part in (self.path, super().__str__()) if part)


class UnsupportedOpError(GradcamError, NotImplementedError):
    """A valid model uses operators, attributes, types or opsets that cannot be run.

    Parameters
    ----------
    problems : sequence of str, or str
        One text per offending node; all are shown at once.

    Attributes
    ----------
    problems : tuple of str
    """

    def __init__(self, problems: Sequence[str] | str) -> None:
        super().__init__(problems)
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)

    def __str__(self) -> str:
        """Return the only problem, or a list of all of them."""
        if len(self.problems) == 1:
            return self.problems[0]
        return "\n".join([f"{len(self.problems)} problems:", *(f"  {problem}" for problem in self.problems)])


class TargetError(GradcamError, ValueError):
    """The class or output to be explained does not exist, or cannot be used as a target."""


class LayerError(GradcamError, ValueError):
    """The layer does not exist, or a map cannot be made of it."""


class MemoryBudgetError(GradcamError, MemoryError):
    """A call needs more memory than its limit allows; nothing was allocated.

    Attributes
    ----------
    needed, allowed : int or None
        Bytes.
    argument : str
        Name of the argument that raises the limit.
    """

    def __init__(self, message: str, *, needed: int | None = None, allowed: int | None = None, argument: str = "max_bytes") -> None:
        super().__init__(message)
        self.needed = needed
        self.allowed = allowed
        self.argument = argument

    def __str__(self) -> str:
        """Return the message, followed by both numbers and the way to raise the limit."""
        if self.needed is None or self.allowed is None:
            return super().__str__()
        return f"{super().__str__()}: needs {self.needed:,} bytes, allowed are {self.allowed:,}; raise {self.argument} (None: no limit)"


class MissingExtraError(GradcamError, ImportError):
    """An optional dependency is not installed.

    Attributes
    ----------
    extra : str or None
        The extra of the distribution that brings it.
    """

    def __init__(self, message: str, *, extra: str | None = None, name: str | None = None) -> None:
        super().__init__(message, name=name)
        self.extra = extra


class BlankMapWarning(UserWarning):
    """A finished map shows nothing, because the raw map is zero, constant or nowhere positive."""


class NonFiniteWarning(UserWarning):
    """A map contains NaN or infinity."""


class BuildWarning(UserWarning):
    """The compiled core was built without something it should have, such as OpenMP."""


def nearest(name: str, names: Iterable[str], count: int = 3) -> list[str]:
    """Names that somebody who typed `name` probably meant, best first.

    Names that contain `name` come before names that merely look like it. Upper and lower case decide only between names
    that are otherwise equally near.

    Parameters
    ----------
    name : str
        What was asked for.
    names : iterable of str
        What there is.
    count : int
        Length of the answer, unless there are fewer names.
    """
    wanted = name.casefold()
    # SequenceMatcher prepares its second text once, so the fixed one goes there.
    import difflib  # only where a name was wrong

    folded = difflib.SequenceMatcher(b=wanted, autojunk=False)
    exact = difflib.SequenceMatcher(b=name, autojunk=False)

    def nearness(candidate: str) -> tuple[bool, float, float]:
        lower = candidate.casefold()
        folded.set_seq1(lower)
        exact.set_seq1(candidate)
        return bool(wanted) and wanted in lower, folded.ratio(), exact.ratio()

    return sorted(dict.fromkeys(names), key=nearness, reverse=True)[:count]


def require(module: str, extra: str) -> ModuleType:
    """Import an optional dependency at its first use.

    Parameters
    ----------
    module : str
        Dotted name, for example ``"PIL.Image"``.
    extra : str
        The extra that installs it, for example ``"image"``.

    Raises
    ------
    MissingExtraError
        The package is not installed. One that is installed and broken raises its own ImportError.
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise MissingExtraError(
            f'{package} is needed for this and is not installed: pip install "gradcam-native[{extra}]"', extra=extra, name=package
        ) from error
