"""What every experiment consists of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gradcam.experiments.results import Claim, Identity, Record, Table
from gradcam.experiments.study import Study

__all__ = ["Experiment"]

Tables = Mapping[str, Table]


@dataclass(frozen=True)
class Experiment:
    """A question, how to measure the answer, and how to draw it.

    Attributes
    ----------
    name, question : str
        What it is called, and what it asks.
    tables : mapping of str to (str, tuple of str)
        Caption and keys of each table by its name.
    measure : callable
        From a study and a seed to the records of all tables.
    claims : callable
        From the tables to what is claimed.
    identities : callable
        From a study to what holds by algebra, checked on the networks of the first seed.
    figures : mapping of str to callable
        Figures by name, each drawn from a study and the tables, as a matplotlib figure.
    """

    name: str
    question: str
    tables: Mapping[str, tuple[str, tuple[str, ...]]]
    measure: Callable[[Study, int], Iterable[Record]]
    claims: Callable[[Tables], Iterable[Claim]]
    identities: Callable[[Study], Iterable[Identity]]
    figures: Mapping[str, Callable[[Study, Tables], Any]]
