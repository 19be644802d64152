"""Runs experiments by name."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path


from gradcam.environment import cpu_info, installed_version
from gradcam.errors import nearest
from gradcam.experiments import (
    class_discrimination,
    counterfactual,
    label_encoding,
    moving_zero,
    plots,
    relu_or_not,
    training_zero,
    truth_table,
)
from gradcam.experiments.experiment import Experiment
from gradcam.experiments.results import Result, tabulate
from gradcam.experiments.study import FULL, Scale, Study
from gradcam.files import write_bytes

__all__ = ["EXPERIMENTS", "Experiment", "draw", "pictures", "run", "run_on"]

EXPERIMENTS: dict[str, Experiment] = {
    module.EXPERIMENT.name: module.EXPERIMENT
    for module in (truth_table, relu_or_not, moving_zero, training_zero, label_encoding, class_discrimination, counterfactual)
}
"""All experiments by name, in the order of the story."""


def run(
    name: str,
    scale: Scale = FULL,
    *,
    models: str | os.PathLike[str] | None = None,
    num_threads: int | None = None,
    tell: Callable[[str], object] | None = None,
) -> Result:
    """Run one experiment.

    Parameters
    ----------
    name : str
        One of `EXPERIMENTS`.
    scale, models, num_threads, tell
        See `Study`. The numbers do not depend on the threads.

    Returns
    -------
    Result

    Raises
    ------
    ValueError
        There is no such experiment.
    MissingExtraError
        The ``experiments`` extra is not installed.
    """
    return run_on(Study(scale, models=models, num_threads=num_threads, tell=tell), name)


def run_on(study: Study, name: str) -> Result:
    """Run one experiment on the networks of a study, which other experiments may share."""
    experiment = _find(name)
    records = []
    for seed in study.scale.seeds:
        records.append(list(experiment.measure(study, seed)))
        study.tell(f"{name}: seed {seed} measured")
    tables = {table: tabulate(table, caption, keys, records) for table, (caption, keys) in experiment.tables.items()}
    claims, identities = tuple(experiment.claims(tables)), tuple(experiment.identities(study))
    return Result(name, experiment.question, asdict(study.scale), _versions(), tables, claims, identities)


def _find(name: str) -> Experiment:
    if name not in EXPERIMENTS:
        near = ", ".join(nearest(name, EXPERIMENTS))
        raise ValueError(f"experiment: name: expected one of {', '.join(EXPERIMENTS)}, got {name!r}; the nearest are {near}")
    return EXPERIMENTS[name]


def pictures(result: Result, study: Study) -> dict[str, bytes]:
    """Return the figures of a result by name, as PNG files; examples in them come from the networks of the study."""
    return {name: plots.png(figure(study, result.tables)) for name, figure in _find(result.name).figures.items()}


def draw(result: Result, study: Study, folder: str | os.PathLike[str]) -> list[Path]:
    """Write the figures of a result to ``NAME-FIGURE.png`` in a folder, and return the paths."""
    paths = []
    for name, content in pictures(result, study).items():
        paths.append(Path(folder) / f"{result.name}-{name}.png")
        write_bytes(paths[-1], content)
    return paths


def _versions() -> dict[str, str]:
    """What may change the scenes, or a number in its last digits."""
    packages = {name: installed_version(name) for name in ("gradcam-native", "numpy", "scikit-learn")}
    return packages | {"python": platform.python_version(), "isa": str(cpu_info()["isa"])}
