"""The four products of a channel's weight and its activation: how much of a map each makes up, and which lie on the object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

import numpy as np

from gradcam.experiments import plots
from gradcam.experiments.cases import AnyCases, enlarged, present, quadrant_maps, raw_maps
from gradcam.experiments.experiment import Experiment
from gradcam.experiments.networks import LAYERS, PRE_LAYERS, Activation, Design
from gradcam.experiments.results import Claim, Identity, Record, Table
from gradcam.experiments.study import Study
from gradcam.metrics import region_masses
from gradcam.model import Model

__all__ = ["EXPERIMENT", "quadrant_numbers"]

QUADRANTS = ("Q1", "Q2", "Q3", "Q4")
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)


def quadrant_numbers(model: Model, cases: AnyCases, layer: str) -> dict[str, float]:
    """Return the mean share of each quadrant in all mass, and how much of its mass lies in the box of the explained object.

    A share in the box is the ratio of sums over all cases, so that pictures count by their mass, and NaN for a quadrant without any.
    """
    quadrants = quadrant_maps(model, cases, layer)
    sizes = np.abs(quadrants).sum(axis=(2, 3), dtype=np.float64)
    shares = sizes / np.maximum(sizes.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    numbers = {name: float(share) for name, share in zip(QUADRANTS, shares.mean(axis=0), strict=True)}
    for q, name in enumerate(QUADRANTS):
        masses = region_masses(np.abs(enlarged(quadrants[:, q], cases)), cases.masks[:, None])
        total = masses.total_positive.sum()
        numbers[f"{name} in box"] = float(masses.positive.sum() / total) if total > 0 else np.nan
    return numbers


def _measure(study: Study, seed: int) -> Iterator[Record]:
    for activation in ACTIVATIONS:
        design = Design(activation)
        model, cases = study.trained(design, seed), study.seen(design, seed)
        yield Record(
            "networks", (activation,), {"accuracy": study.accuracy(design, seed), "area of a box": float(present(study.test).masks.mean())}
        )
        if not len(cases):
            continue  # a network that sees nothing has nothing to explain
        for place, layers in (("before", PRE_LAYERS), ("after", LAYERS)):
            for number, layer in enumerate(layers, start=1):
                yield Record("quadrants", (activation, str(number), place), quadrant_numbers(model, cases, layer))


def _claims(tables: Mapping[str, Table]) -> Iterator[Claim]:
    table, area = tables["quadrants"], tables["networks"]
    for activation in ACTIVATIONS:
        excess = table.values("Q1 in box", activation, "4", "after") - area.values("area of a box", activation)
        yield Claim.of(
            f"{activation}: Q1 of the last layer prefers the box of the explained object (share minus its area)", excess, above=0
        )
    for activation in ("silu", "tanh"):
        below = table.values("Q2", activation, "4", "after") + table.values("Q3", activation, "4", "after")
        yield Claim.of(f"{activation}: activations below zero carry a part of the last layer's mass", below, above=0.01)
    gaps = {
        name: table.values("Q1 in box", name, "4", "after") - table.values("Q2 in box", name, "4", "after") for name in ("silu", "tanh")
    }
    yield Claim.of("silu: Q1 of the last layer lies in the box more than Q2 (difference)", gaps["silu"], above=0)
    text = "tanh, which is as much below zero as above: Q2 of the last layer lies in the box as much as Q1 (difference, within 0.02)"
    yield Claim.of(text, gaps["tanh"], above=-0.02, below=0.02)


def _identities(study: Study) -> Iterator[Identity]:
    seed = study.scale.seeds[0]
    cases = study.seen(Design(), seed)[:50]
    model = study.trained(Design(), seed)
    worst, below = 0.0, 0.0
    for layer in (*PRE_LAYERS, *LAYERS):
        quadrants = quadrant_maps(model, cases, layer).astype(np.float64)
        peak = np.abs(quadrants).sum(axis=1).max()
        worst = max(worst, float(np.abs(quadrants.sum(axis=1) - raw_maps(model, cases, layer)).max() / peak))
        below = max(below, float(np.abs(quadrants[:, 1:3]).max()) if layer in LAYERS else 0.0)
    yield Identity("Q1 + Q2 + Q3 + Q4 is the map", worst, 1e-6)
    yield Identity("after a ReLU, Q2 and Q3 are zero", below, 0.0)


def _draw_shares(study: Study, tables: Mapping[str, Table]) -> Any:
    figure, axes = plots.grid(2, len(ACTIVATIONS), width=3.0, height=2.6)
    for column, activation in enumerate(ACTIVATIONS):
        for row, place in enumerate(("before", "after")):
            rows = [(activation, str(number), place) for number in range(1, len(LAYERS) + 1)]
            plots.stacked(axes[row][column], tables["quadrants"], QUADRANTS, rows, [key[1] for key in rows])
            axes[row][column].set_title(f"{activation}, {place} it", fontsize=10)
    axes[0][0].set_ylabel("share of the mass")
    axes[1][0].set_ylabel("share of the mass")
    figure.supxlabel("layer", fontsize=10)
    plots.legend(figure, axes[0][0])
    return figure


EXPERIMENT = Experiment(
    name="truth-table",
    question="a channel speaks for or against a class, and is above or below zero: which of the four cases make up a map?",
    tables={
        "networks": ("The networks: share of correct labels, and the mean area of a box.", ("activation",)),
        "quadrants": (
            "Share of each quadrant in the mass of the map, and the part of its mass that lies in the box of the explained object, at taps "
            "before and after the activation function.",
            ("activation", "layer", "tap"),
        ),
    },
    measure=_measure,
    claims=_claims,
    identities=_identities,
    figures={"shares": _draw_shares},
)
