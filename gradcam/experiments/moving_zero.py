"""The same function with another zero, scale or sign of its activations: which maps notice, and what it does to localisation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.experiments import plots
from gradcam.experiments.cases import Cases, Maps, centred, enlarged, maps_and_weights, present, raw_maps
from gradcam.experiments.experiment import Experiment
from gradcam.experiments.measures import localisation
from gradcam.experiments.networks import Design
from gradcam.experiments.parametrisation import (
    CHANGES,
    EQUAL,
    Change,
    Changed,
    Mapped,
    blanking_shift,
    channel_spread,
    mapped,
)
from gradcam.experiments.results import Claim, Identity, Record, Table
from gradcam.experiments.study import Study
from gradcam.metrics import pointing_game
from gradcam.model import Model
from gradcam.reparametrisation import reparametrise

__all__ = ["EXPERIMENT", "directions"]

LAYERS = ("act3", "evidence")
"""Layers whose channels can be shifted, scaled and turned around: an unpadded convolution and the mean over the positions read them."""

STEPS = (-4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0)
"""Sizes of a shift: root of the mean over the channels, each in its standard deviations."""

FROM_ZERO = ("gradcam", "gradcam++", "hirescam", "layercam", "xgradcam")
FROM_MEAN = "gradcam from the mean"
MAPS = (*FROM_ZERO, FROM_MEAN)

_PRECISE = 12  # cases of the comparisons in float64
_LOCATED = 200  # scenes of the curves
_RANDOM = 2  # directions, for each seed
_BLANKED = 5  # cases whose map is made blank


def directions(alpha: Maps, spread: NDArray[np.float64], seed: int) -> dict[str, list[NDArray[np.float64]]]:
    """Return shifts of size 1 by the kind of their direction, (C,) each: drawn at random, and the one that lowers the mean map most.

    The mean over the pictures of the constant ``sum alpha[k] shift[k]`` is as low as a shift of that size can make it.
    """
    drawn = list(np.random.default_rng(seed).standard_normal((_RANDOM, len(spread))))
    found = {"random": drawn, "lowering": [-(alpha.astype(np.float64) * spread).mean(axis=0)]}
    return {kind: [spread * d / np.sqrt((d**2).mean()) for d in each] for kind, each in found.items()}


# Measuring ------------------------------------------------------------------------------------------------------------


def _measure(study: Study, seed: int) -> Iterator[Record]:
    model, cases = study.trained(Design(), seed), study.seen(Design(), seed)
    area = {"area of a box": float(present(study.test).masks.mean())}
    yield Record("networks", (Design().name,), {"accuracy": study.accuracy(Design(), seed)} | area)
    cases = cases[cases.picture < _LOCATED]
    if not len(cases):
        return  # a network that sees nothing has nothing to explain
    for layer in LAYERS:
        yield from _differences(_changed(study, seed, layer))
        yield from _locations(model, cases, layer, seed)


def _changed(study: Study, seed: int, layer: str) -> Changed:
    cases = study.seen(Design(), seed)[:_PRECISE]
    return Changed.draw(study.trained(Design(), seed), cases.inputs.astype(np.float64), cases.targets(), layer, seed)


def _law(kind: Mapped, layer: str, change: Change) -> str:
    return str(getattr(kind.laws_at(layer == "evidence"), change))


def _differences(changed: Changed) -> Iterator[Record]:
    layer, scores = changed.layer, changed.score_changes(np.float32)
    for change in CHANGES:
        yield Record("scores", (layer, change), {"change": 1e6 * scores[change]})
    for kind in mapped():
        found = changed.compare(kind)
        values: dict[str, float] = {}
        for change in CHANGES:
            values[change], values[f"{change}, rest"] = map(_median, found[change])
        yield Record("maps", (layer, kind.name, ", ".join(_law(kind, layer, change) for change in CHANGES)), values)


def _median(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else np.nan


def _locations(model: Model, cases: Cases, layer: str, seed: int) -> Iterator[Record]:
    maps, alpha = maps_and_weights(model, cases, layer)
    spread = channel_spread(np.asarray(model.run(cases.inputs, [layer])))
    yield Record("blanking", (layer,), {"size": _median(blanking_shift(maps, alpha, spread)[1])})
    for kind, shifts in directions(alpha, spread, seed).items():
        for t in STEPS:
            others = [reparametrise(model, layer, shift=t * shift) for shift in shifts] if t else [model]
            each = [_located(other, cases, layer) for other in others]
            for name in MAPS:
                means = {measure: float(np.mean([found[name][measure] for found in each])) for measure in each[0][name]}
                yield Record("shifted", (layer, kind, name, f"{t:g}"), means)


def _located(model: Model, cases: Cases, layer: str) -> dict[str, dict[str, float]]:
    """Where each kind of map finds the objects."""
    maps = {name: raw_maps(model, cases, layer, name) for name in FROM_ZERO}
    maps[FROM_MEAN] = centred(maps["gradcam"])
    return {name: localisation(maps[name], cases) for name in MAPS}


# Judging --------------------------------------------------------------------------------------------------------------


def _claims(tables: Mapping[str, Table]) -> Iterator[Claim]:
    table = tables["shifted"]
    for change in CHANGES:
        rows = [row for row in tables["maps"].rows if row[2].split(", ")[CHANGES.index(change)] == "changes"]
        least = np.min([tables["maps"].values(f"{change}, rest", *row) for row in rows], axis=0)
        text = f"{change}: maps of which the theory says so change by more than a constant (least of their medians)"
        yield Claim.of(text, least, above=1e-3)
    for layer in LAYERS:
        for kind in ("random", "lowering"):
            spans = {name: _span(table, layer, kind, name) for name in MAPS}
            for name in FROM_ZERO:
                text = f"{layer}, {kind} shifts: energy of {name} depends on where zero is (largest minus smallest)"
                yield Claim.of(text, spans[name], above=0.02)
            yield Claim.of(f"{layer}, {kind} shifts: that of {FROM_MEAN} does not", spans[FROM_MEAN], below=0.002)
        lowered, drawn = (table.values("blank", layer, kind, "gradcam", f"{STEPS[-1]:g}") for kind in ("lowering", "random"))
        text = f"{layer}: one shift of the network makes many Grad-CAM maps blank, random ones of that size do not (shares, difference)"
        yield Claim.of(text, lowered - drawn, above=0.2)


def _span(table: Table, layer: str, kind: str, name: str) -> NDArray[np.float64]:
    return np.asarray(np.ptp([table.values("energy", layer, kind, name, f"{t:g}") for t in STEPS], axis=0))


def _identities(study: Study) -> Iterator[Identity]:
    layers = [_changed(study, study.scale.seeds[0], layer) for layer in LAYERS]
    yield Identity("scores do not change", max(max(c.score_changes().values()) for c in layers), EQUAL)
    worst: dict[tuple[Change, str], float] = {}
    for c in layers:
        for kind in mapped():
            for change, found in c.compare(kind).items():
                key = change, _law(kind, c.layer, change)
                worst[key] = max(worst.get(key, 0.0), float(np.nanmax(found.whole if key[1] == "=" else found.rest, initial=0)))
    for change in CHANGES:
        for law, text in (("=", "do not change"), ("const", "change by one constant")):
            if (change, law) in worst:
                yield Identity(f"{change}: maps of which the theory says so {text}", worst[change, law], EQUAL)
    yield Identity("shift: gradients do not change", max(map(_gradient_change, layers)), EQUAL)
    yield Identity("shift: the constant of Grad-CAM is the sum of alpha[k] shift[k]", max(map(_constant_error, layers)), EQUAL)
    yield Identity("a shift along alpha brings the peak of a Grad-CAM map to zero", max(map(_blanking_error, layers)), EQUAL)


def _gradient_change(c: Changed) -> float:
    before, after = (m.activations_and_gradients(c.x, target=c.target, layer=c.layer)[1] for m in (c.model, c.others["shift"]))
    return float(np.abs(after - before).max() / np.abs(before).max())


def _constant_error(c: Changed) -> float:
    before, after = (m.explain(c.x, target=c.target, layer=c.layer, relu=False) for m in (c.model, c.others["shift"]))
    predicted = (np.asarray(before.weights) * c.changes["shift"]["shift"]).sum(axis=1)[:, None, None]
    return float(np.abs(np.asarray(after.raw) - before.raw - predicted).max() / np.abs(np.asarray(before.raw)).max())


def _blanking_error(c: Changed) -> float:
    found = c.model.explain(c.x, target=c.target, layer=c.layer, relu=False)
    shifts, _ = blanking_shift(np.asarray(found.raw), np.asarray(found.weights), channel_spread(np.asarray(c.model.run(c.x, [c.layer]))))
    worst = 0.0
    for i, shift in enumerate(shifts[:_BLANKED]):
        if shift.any():
            other = reparametrise(c.model, c.layer, shift=shift)
            raw = np.asarray(other.explain(c.x[i : i + 1], target=c.target[i], layer=c.layer, relu=False).raw)
            worst = max(worst, float(np.abs(raw.max()) / np.abs(raw).max()))
    return worst


# Drawing --------------------------------------------------------------------------------------------------------------


def _draw_curves(study: Study, tables: Mapping[str, Table]) -> Any:
    table, area = tables["shifted"], tables["networks"].interval("area of a box", Design().name).mean
    places = [(layer, kind) for layer in LAYERS for kind in ("random", "lowering")]
    figure, axes = plots.grid(len(places), len(table.measures), width=3.6, height=2.4)
    for row, (layer, kind) in zip(axes, places, strict=True):
        for ax, measure in zip(row, table.measures, strict=True):
            for number, name in enumerate(MAPS):
                plots.lines(ax, table, measure, [(layer, kind, name, f"{t:g}") for t in STEPS], STEPS, label=name, number=number)
            ax.set_ylim(-0.03, 1.03)
            if measure != "blank":
                ax.axhline(area, color="black", linewidth=0.6, linestyle=":")
        row[0].set_ylabel(f"{layer}\n{kind} shifts", fontsize=9)
    for ax, measure in zip(axes[0], table.measures, strict=True):
        ax.set_title(measure, fontsize=10)
    figure.supxlabel("size of the shift, in standard deviations of the channels (dotted: area of the box)", fontsize=10)
    plots.legend(figure, axes[0][0])
    return figure


def _draw_example(study: Study, tables: Mapping[str, Table]) -> Any:
    layer, seed = "evidence", study.scale.seeds[0]
    model, cases = study.trained(Design(), seed), study.seen(Design(), seed)[:50]
    before, alpha = maps_and_weights(model, cases, layer)
    shifts, size = blanking_shift(before, alpha, channel_spread(np.asarray(model.run(cases.inputs, [layer]))))
    chosen = int(np.argmax(pointing_game(enlarged(np.maximum(before, 0), cases), cases.boxes, tolerance=0)))
    case, peak = cases[chosen : chosen + 1], float(np.abs(before[chosen]).max())
    other = reparametrise(model, layer, shift=1.1 * shifts[chosen])  # a little more than what brings the peak to zero
    figure, axes = plots.grid(2, 4, width=2.5, height=2.7)
    for row, one, name in zip(axes, (model, other), ("as trained", f"zero moved by {1.1 * size[chosen]:.1f} sd"), strict=True):
        signed, image = raw_maps(one, case, layer), case.scenes.images[0]
        score = float(np.asarray(one(case.inputs))[0, case.classes[0]])
        plots.show_picture(row[0], image, f"{name}\nscore of class {case.classes[0]}: {score:.4f}", case.boxes[0])
        shown = {"L": signed, "max(L,0)": np.maximum(signed, 0), "max(L,0), from the mean": np.maximum(centred(signed), 0)}
        for ax, (title, maps) in zip(row[1:], shown.items(), strict=True):
            plots.show_map(ax, enlarged(maps, case)[0], image, title, peak)
    return figure


EXPERIMENT = Experiment(
    name="moving-zero",
    question="the same function with another zero, scale or sign of its activations: which maps notice?",
    tables={
        "networks": ("The network: share of correct labels, and the mean area of a box.", ("network",)),
        "scores": (
            "Largest change of a score in float32, in millionths of the largest score: the function is the same.",
            ("layer", "change"),
        ),
        "maps": (
            "Largest change of a raw map relative to its peak, and what is left of it without one constant per map (rest), in float64; the "
            "median over pictures. Theory: of a shift, a positive scale, a sign flip of every third channel.",
            ("layer", "map", "theory"),
        ),
        "shifted": (
            "max(L,0) after a shift of size t, in standard deviations of the channels, in random directions and in the one that lowers "
            "the mean map most: hits of the pointing game, share of the map in the box, IoU with it, blank maps. A blank map has no hit "
            "and the share 0. At the layer 'evidence' gradcam, hirescam and xgradcam are the same map.",
            ("layer", "direction", "map", "t"),
        ),
        "blanking": (
            "Smallest shift that makes the Grad-CAM map of a picture blank, in standard deviations of the channels; median over pictures.",
            ("layer",),
        ),
    },
    measure=_measure,
    claims=_claims,
    identities=_identities,
    figures={"curves": _draw_curves, "example": _draw_example},
)
