"""What an experiment found: tables of means over training seeds, claims, identities; as JSON and as text."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradcam.files import write_bytes
from gradcam.metrics import Interval, mean_interval

__all__ = ["Claim", "Identity", "Record", "Result", "Table", "markdown_table", "tabulate", "written"]

Scalars = Mapping[str, float]


@dataclass(frozen=True)
class Record:
    """Numbers that one seed gave for one row of a table; NaN where the seed gave none."""

    table: str
    keys: tuple[str, ...]
    values: Scalars


@dataclass(frozen=True)
class Table:
    """Rows of measures, one number for each seed.

    Attributes
    ----------
    name, caption : str
        What it is called, and what its numbers are.
    keys : tuple of str
        What distinguishes the rows: ``("layer", "map")``.
    measures : tuple of str
        Names of the numbers in a row.
    rows : mapping of tuple of str to mapping of str to tuple of float
        For each row and measure one number per seed, NaN where a seed has none.
    """

    name: str
    caption: str
    keys: tuple[str, ...]
    measures: tuple[str, ...]
    rows: Mapping[tuple[str, ...], Mapping[str, tuple[float, ...]]]

    def values(self, measure: str, *row: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the numbers of all seeds, (seeds,); NaN of seeds, or rows, that gave none."""
        if measure not in self.measures or len(row) != len(self.keys):
            raise KeyError(f"{self.name}: measure, row: expected one of {self.measures} and {self.keys}, got {measure!r} and {row}")
        nothing = (np.nan,) * max((len(values[measure]) for values in self.rows.values()), default=0)
        return np.asarray(self.rows[row][measure] if row in self.rows else nothing, np.float64)

    def interval(self, measure: str, *row: str) -> Interval:
        """Return mean, 95 % interval and number of the seeds that gave a number; all NaN and 0 if none did."""
        values = self.values(measure, *row)
        known = values[np.isfinite(values)]
        return mean_interval(known) if len(known) else Interval(np.nan, np.nan, np.nan, 0)

    def markdown(self, digits: int = 3) -> str:
        """Return the table as Markdown: mean and 95 % interval of each number."""
        cells = ([*row, *(written(self.interval(measure, *row), digits) for measure in self.measures)] for row in self.rows)
        return markdown_table((*self.keys, *self.measures), cells)


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown; bars in its heads and cells are escaped."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)


def written(interval: Interval, digits: int = 3) -> str:
    """Mean and half width of its interval, as in 0.912 ± 0.013."""
    if interval.n == 0:
        return "-"
    half = interval.high - interval.mean
    mean = f"{interval.mean:.{digits}f}" if abs(interval.mean) < 1e4 else f"{interval.mean:.2e}"
    return mean if np.isnan(half) else f"{mean} ± {half:.{digits}f}"


@dataclass(frozen=True)
class Claim:
    """A sentence about a number, and whether the interval over the seeds bears it out.

    Attributes
    ----------
    text : str
        The sentence.
    interval : Interval
        Mean, 95 % interval and number of seeds of what it is about.
    above, below : float, optional
        The sentence holds if the whole interval lies above, or below, this (with one seed: the number itself).
    """

    text: str
    interval: Interval
    above: float | None = None
    below: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the numbers bear it out."""
        mean, low, high, n = self.interval
        low, high = (mean, mean) if n == 1 else (low, high)
        return bool((self.above is None or low > self.above) and (self.below is None or high < self.below) and n > 0)

    @classmethod
    def of(cls, text: str, values: Iterable[float], *, above: float | None = None, below: float | None = None) -> Claim:
        """Claim something about one number per seed; for a comparison within seeds give the differences."""
        known = [float(value) for value in values if np.isfinite(value)]
        return cls(text, mean_interval(known) if known else Interval(np.nan, np.nan, np.nan, 0), above, below)


@dataclass(frozen=True)
class Identity:
    """A sentence that is true by algebra, and how far the computed numbers are from it.

    `error` is the largest deviation over all cases, relative to the largest value; it has to stay below `bound`, which is rounding.
    """

    text: str
    error: float
    bound: float

    @property
    def holds(self) -> bool:
        """Whether the deviation is rounding."""
        return self.error <= self.bound


@dataclass(frozen=True)
class Result:
    """What one experiment found.

    Attributes
    ----------
    name, question : str
        Which experiment, and what it asks.
    scale : mapping
        Seeds and sizes, see `gradcam.experiments.Scale`.
    versions : mapping of str to str
        Of the libraries, and the instruction set.
    tables : mapping of str to Table
    claims : tuple of Claim
    identities : tuple of Identity
    """

    name: str
    question: str
    scale: Mapping[str, Any]
    versions: Mapping[str, str]
    tables: Mapping[str, Table]
    claims: tuple[Claim, ...]
    identities: tuple[Identity, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Training seeds, in the order of the numbers in the tables."""
        return tuple(self.scale["seeds"])

    def __str__(self) -> str:
        parts = [f"{self.name}: {self.question}", f"{len(self.seeds)} training seeds; mean ± half width of the 95 % interval"]
        for table in self.tables.values():
            parts += ["", table.caption, "", table.markdown()]
        return "\n".join([*parts, "", self.verdicts()])

    def verdicts(self) -> str:
        """Return the claims and identities with what was found, a line each."""
        word = {True: "holds", False: "DOES NOT HOLD"}
        lines = [f"{word[c.holds]}: {c.text}: {written(c.interval)} (n = {c.interval.n})" for c in self.claims]
        lines += [f"{word[i.holds]}: {i.text}: largest deviation {i.error:.0e}" for i in self.identities]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it; NaN becomes null."""
        record = asdict(self)
        record["tables"] = [
            asdict(table) | {"rows": [{"keys": list(keys), "values": _numbers(values)} for keys, values in table.rows.items()]}
            for table in self.tables.values()
        ]
        record["claims"] = [
            {"text": c.text, **_numbers(c.interval._asdict()), "above": c.above, "below": c.below, "holds": c.holds} for c in self.claims
        ]
        record["identities"] = [asdict(identity) | {"holds": identity.holds} for identity in self.identities]
        return record

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON; the same seeds on the same machine write the same bytes."""
        write_bytes(path, (json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n").encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Result:
        """Read what `save` wrote."""
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        tables = {}
        for table in record["tables"]:
            rows = {tuple(row["keys"]): {name: tuple(map(_number, v)) for name, v in row["values"].items()} for row in table["rows"]}
            tables[table["name"]] = Table(table["name"], table["caption"], tuple(table["keys"]), tuple(table["measures"]), rows)
        claims = tuple(
            Claim(c["text"], Interval(_number(c["mean"]), _number(c["low"]), _number(c["high"]), c["n"]), c["above"], c["below"])
            for c in record["claims"]
        )
        identities = tuple(Identity(i["text"], _number(i["error"]), i["bound"]) for i in record["identities"])
        return cls(record["name"], record["question"], record["scale"], record["versions"], tables, claims, identities)


def tabulate(name: str, caption: str, keys: Sequence[str], records: Sequence[Sequence[Record]]) -> Table:
    """Collect the rows of one table from the records of each seed, in the order in which they first come."""
    mine = [[record for record in seed if record.table == name] for seed in records]
    rows = dict.fromkeys(record.keys for seed in mine for record in seed)
    measures = tuple(dict.fromkeys(measure for seed in mine for record in seed for measure in record.values))
    found = [{record.keys: record.values for record in seed} for seed in mine]
    if any(len(row) != len(keys) for row in rows):
        raise ValueError(
            f"tabulate: {name}: expected rows with the keys {', '.join(keys)}, got {next(r for r in rows if len(r) != len(keys))}"
        )
    values = {row: {m: tuple(float(seed.get(row, {}).get(m, np.nan)) for seed in found) for m in measures} for row in rows}
    return Table(name, caption, tuple(keys), measures, values)


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no NaN."""
    return {name: [_plain(v) for v in value] if isinstance(value, tuple) else _plain(value) for name, value in values.items()}


def _plain(value: float) -> float | int | None:
    if isinstance(value, int):
        return value
    return float(value) if np.isfinite(value) else None


def _number(value: float | None) -> float:
    return np.nan if value is None else value
