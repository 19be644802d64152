"""One-hot and minus-one-hot: the same network trained to say the same thing in numbers of another sign."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from gradcam.experiments import plots
from gradcam.experiments.cases import present, raw_maps, relative
from gradcam.experiments.experiment import Experiment
from gradcam.experiments.measures import SIGNS_CAPTION, localisation, signs_of
from gradcam.experiments.networks import Design, Last
from gradcam.experiments.results import Claim, Identity, Record, Table
from gradcam.experiments.study import Study

__all__ = ["EXPERIMENT"]

LASTS: tuple[Last, ...] = ("x", "-x")
ENCODINGS = {
    "squared error, 0 / 1": Design(loss="mean_squared_error", targets=(0, 1)),
    "squared error, 0 / -1": Design(loss="mean_squared_error", targets=(0, -1)),
    "squared error, -1 / 1": Design(loss="mean_squared_error", targets=(-1, 1)),
    "sigmoid, 0 / 1": Design(targets=(0, 1)),
    "sigmoid, 1 / 0": Design(targets=(1, 0)),
}
"""What the networks are trained to say of an absent and of a present class."""

REVERSED = ("squared error, 0 / -1", "sigmoid, 1 / 0")
"""A higher score says that the class is absent."""

SCORES = {"y": 1, "-y": -1}


def _design(encoding: str, last: Last) -> Design:
    design = ENCODINGS[encoding]
    return Design(last=last, loss=design.loss, targets=design.targets)


def _measure(study: Study, seed: int) -> Iterator[Record]:
    for encoding in ENCODINGS:
        for last in LASTS:
            design, row = _design(encoding, last), (encoding, last)
            model, cases = study.trained(design, seed), study.seen(design, seed)
            yield Record("networks", row, {"accuracy": study.accuracy(design, seed)})
            if not len(cases):
                continue
            yield Record("signs", row, signs_of(model, cases, "evidence"))
            for score, sign in SCORES.items():
                yield Record("maps", (*row, score), localisation(np.maximum(raw_maps(model, cases, "evidence", sign=sign), 0), cases))


def _claims(tables: Mapping[str, Table]) -> Iterator[Claim]:
    maps = tables["maps"]
    for encoding in ENCODINGS:
        told, counter = ("-y", "y") if encoding in REVERSED else ("y", "-y")
        gain = np.mean([maps.values("hits", encoding, last, told) - maps.values("hits", encoding, last, counter) for last in LASTS], axis=0)
        yield Claim.of(f"{encoding}: the map of {told} finds objects, that of {counter} does not (difference in hits)", gain, above=0.3)
    for plain, turned in (("squared error, 0 / 1", "squared error, 0 / -1"), ("sigmoid, 0 / 1", "sigmoid, 1 / 0")):
        cells = {(e, last): maps.values("hits", e, last, "y") for e in (plain, turned) for last in LASTS}
        labels = np.mean([cells[plain, last] - cells[turned, last] for last in LASTS], axis=0)
        units = np.mean([cells[e, "x"] - cells[e, "-x"] for e in (plain, turned)], axis=0)
        both = (cells[plain, "x"] - cells[turned, "x"]) - (cells[plain, "-x"] - cells[turned, "-x"])
        name = plain.split(",")[0]
        yield Claim.of(f"{name}, 2 x 2: reversing the labels costs the map of y its hits (main effect)", labels, above=0.3)
        yield Claim.of(f"{name}, 2 x 2: reversing the activations costs it nothing (main effect, within 0.1)", units, above=-0.1, below=0.1)
        yield Claim.of(f"{name}, 2 x 2: the two do not add up to more (interaction, within 0.2)", both, above=-0.2, below=0.2)
        restored = np.mean([maps.values("hits", turned, last, "-y") - cells[plain, last] for last in LASTS], axis=0)
        yield Claim.of(
            f"{name}: explaining -y of reversed labels restores the hits (difference, within 0.1)", restored, above=-0.1, below=0.1
        )


def _identities(study: Study) -> Iterator[Identity]:
    seed = study.scale.seeds[0]
    cases = present(study.test)[:50]
    for encoding in REVERSED:
        model = study.trained(ENCODINGS[encoding], seed)
        maps, turned = (raw_maps(model, cases, "evidence", sign=sign) for sign in (1, -1))
        yield Identity(f"{encoding}: the map of -y is the negative of the map of y", relative(maps, -turned), 1e-6)


def _draw_hits(study: Study, tables: Mapping[str, Table]) -> Any:
    figure, axes = plots.grid(1, len(LASTS), width=5.4, height=3.0)
    labels = [encoding.replace(", ", "\n") for encoding in ENCODINGS]
    for ax, last in zip(axes[0], LASTS, strict=True):
        series = [[(encoding, last, score) for encoding in ENCODINGS] for score in SCORES]
        plots.grouped_bars(ax, tables["maps"], "hits", series, labels, [f"max(L,0) of {score}" for score in SCORES])
        ax.set_title(f"the head reads {last}", fontsize=10)
        ax.set_ylabel("maximum in the box", fontsize=9)
    plots.legend(figure, axes[0][0])
    return figure


def _draw_example(study: Study, tables: Mapping[str, Table]) -> Any:
    return plots.designs(study, ENCODINGS, "score y of", height=2.3)


EXPERIMENT = Experiment(
    name="label-encoding",
    question="would it all flip if labels were encoded as minus-one-hot?",
    tables={
        "networks": ("Share of correct labels.", ("labels (absent / present)", "head reads")),
        "signs": (f"{SIGNS_CAPTION} The score is y, as the network says it.", ("labels (absent / present)", "head reads")),
        "maps": (
            "max(L,0) of Grad-CAM for the score y and for its negative: means over the objects that the network sees.",
            ("labels (absent / present)", "head reads", "score"),
        ),
    },
    measure=_measure,
    claims=_claims,
    identities=_identities,
    figures={"maps": _draw_hits, "example": _draw_example},
)
