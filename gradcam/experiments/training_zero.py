"""Networks trained with another zero at their last layer: what training does about it, and what Grad-CAM shows of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

import numpy as np

from gradcam.experiments import plots
from gradcam.experiments.cases import centred, maps_and_weights, present, raw_maps, relative
from gradcam.experiments.experiment import Experiment
from gradcam.experiments.measures import SIGNS_CAPTION, localisation, signs_of
from gradcam.experiments.networks import Design, Last
from gradcam.experiments.results import Claim, Identity, Record, Table
from gradcam.experiments.study import Study
from gradcam.model import Model

__all__ = ["EXPERIMENT"]

LASTS: tuple[Last, ...] = get_args(Last)
VIEWS = ("max(L,0)", "max(L-mean,0)", "max(-L,0)", "max(L,0) of x")
"""What is shown of a map; the last one is taken where the activations are not yet transformed."""


def _tap(last: Last) -> str:
    """Layer of the activations x before they are transformed."""
    return "evidence" if last == "x" else "act4"


def _measure(study: Study, seed: int) -> Iterator[Record]:
    for last in LASTS:
        design = Design(last=last)
        model, cases = study.trained(design, seed), study.seen(design, seed)
        yield Record("networks", (last,), {"accuracy": study.accuracy(design, seed)} | _offset(model, study))
        if not len(cases):
            continue
        yield Record("signs", (last,), signs_of(model, cases, "evidence"))
        maps, own = raw_maps(model, cases, "evidence"), raw_maps(model, cases, _tap(last))
        for view, shown in zip(VIEWS, (maps, centred(maps), -maps, own), strict=True):
            yield Record("maps", (last, view), localisation(np.maximum(shown, 0), cases))


def _offset(model: Model, study: Study) -> dict[str, float]:
    """Mean size of a learned offset, in deviations of the activations of its channel."""
    tensors = {layer.name for layer in model.layers}
    if not {"act4", "evidence"} <= tensors:
        return {}
    arrays = model.run(study.test.inputs[:200], outputs=["act4", "evidence"])
    assert isinstance(arrays, dict)
    before, after = (arrays[name].astype(np.float64) for name in ("act4", "evidence"))
    offset, deviation = (after - before).mean(axis=(0, 2, 3)), before.std(axis=(0, 2, 3))
    alive = deviation > 0
    return {"offset": float(np.abs(offset[alive] / deviation[alive]).mean())}


def _claims(tables: Mapping[str, Table]) -> Iterator[Claim]:
    accuracy, hits = tables["networks"], tables["maps"]
    plain = hits.values("hits", "x", "max(L,0)")
    for last in LASTS[1:]:
        loss = accuracy.values("accuracy", last) - accuracy.values("accuracy", "x")
        yield Claim.of(
            f"{last}: the network learns as well as with x (difference in accuracy, within 2 points)", loss, above=-0.02, below=0.02
        )
    for last in ("-x", "x+b"):
        change = hits.values("hits", last, "max(L,0)") - plain
        yield Claim.of(
            f"{last}: Grad-CAM with its ReLU finds objects as often as with x (difference in hits, within 0.1)",
            change,
            above=-0.1,
            below=0.1,
        )
    fall = hits.values("hits", "1-x", "max(L,0)") - plain
    yield Claim.of(
        "1-x, expected because zero has moved: Grad-CAM with its ReLU finds objects less often than with x (difference in hits)",
        fall,
        below=0,
    )
    back = hits.values("hits", "1-x", "max(L-mean,0)") - hits.values("hits", "x", "max(L-mean,0)")
    yield Claim.of(
        "1-x: counted from each channel's mean, objects are found as often as with x (difference in hits, within 0.1)",
        back,
        above=-0.1,
        below=0.1,
    )
    blank = hits.values("blank", "1-x", "max(L,0)") - hits.values("blank", "x", "max(L,0)")
    yield Claim.of(
        "1-x, expected because zero has moved: more maps are blank after the ReLU than with x (difference in share)", blank, above=0
    )


def _identities(study: Study) -> Iterator[Identity]:
    seed = study.scale.seeds[0]
    cases = present(study.test)[:50]
    lasts: dict[Last, str] = {"-x": "-x: the map is that of x", "1-x": "1-x: the map is that of x plus the sum of the weights"}
    for last, text in lasts.items():
        model = study.trained(Design(last=last), seed)
        maps, weights = maps_and_weights(model, cases, "evidence")
        expected = raw_maps(model, cases, "act4") + (weights.sum(axis=1)[:, None, None] if last == "1-x" else 0)
        yield Identity(text, relative(maps, expected), 1e-5)


def _draw_hits(study: Study, tables: Mapping[str, Table]) -> Any:
    figure, axes = plots.grid(1, 3, width=3.6, height=3.0)
    for ax, measure, title in zip(
        axes[0], ("hits", "energy", "blank"), ("maximum in the box", "energy in the box", "blank maps"), strict=True
    ):
        plots.grouped_bars(ax, tables["maps"], measure, [[(last, view) for last in LASTS] for view in VIEWS], LASTS, VIEWS)
        ax.set_title(title, fontsize=10)
    figure.supxlabel("what the head reads", fontsize=10)
    plots.legend(figure, axes[0][0])
    return figure


def _draw_example(study: Study, tables: Mapping[str, Table]) -> Any:
    return plots.designs(study, {last: Design(last=last) for last in LASTS}, "evidence for", height=2.2)


EXPERIMENT = Experiment(
    name="training-zero",
    question="can training move zero? What do networks learn whose last activations are negated, turned around, or shifted?",
    tables={
        "networks": (
            "Share of correct labels; mean size of the difference between what the head reads and x, in deviations of its channel.",
            ("head reads",),
        ),
        "signs": (SIGNS_CAPTION, ("head reads",)),
        "maps": (
            "Grad-CAM at what the head reads: means over the objects that the network sees. The last view is Grad-CAM at the activations x "
            "before they are changed.",
            ("head reads", "view"),
        ),
    },
    measure=_measure,
    claims=_claims,
    identities=_identities,
    figures={"maps": _draw_hits, "example": _draw_example},
)
