"""The negated score explained: what the map says speaks against a class, and whether the score agrees when it is removed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.experiments import plots
from gradcam.experiments.cases import Cases, Maps, absent, enlarged, raw_maps, region_numbers, relative
from gradcam.experiments.experiment import Experiment
from gradcam.experiments.networks import LAYERS, Activation, Design
from gradcam.experiments.removal import erased, pointed, removal_numbers
from gradcam.experiments.results import Claim, Identity, Record, Table
from gradcam.experiments.study import Study
from gradcam.metrics import pointing_game, rank_correlation

__all__ = ["EXPERIMENT", "box_regions", "negation_numbers"]

LAST = LAYERS[-1]
PLACES: tuple[tuple[Activation, str], ...] = (*(("relu", layer) for layer in LAYERS), ("silu", LAST))
NEGATED = ("gradcam", "hirescam", "xgradcam")
"""Methods whose map of the negated score is the negated map."""

METHODS = (*NEGATED, "gradcam++", "layercam")
BOX_REGIONS = ("own box", "other boxes", "distractor", "rest")
_FEW = 100  # cases of what holds, or fails, in each of them


def negation_numbers(maps: Maps, negated: Maps) -> dict[str, float]:
    """Compare maps of the negated score with the negated maps (M, h, w): largest deviation as a share of the peak, and rank correlation."""
    peaks = np.abs(maps).max(axis=(1, 2))
    some = peaks > 0
    if not some.any():
        return {"deviation": np.nan, "rank correlation": np.nan}
    deviations = np.abs(negated + maps).max(axis=(1, 2))[some] / peaks[some]
    alike = rank_correlation(-maps, negated)
    return {"deviation": float(deviations.mean()), "rank correlation": float(alike[np.isfinite(alike)].mean())}


def box_regions(cases: Cases) -> NDArray[np.bool_]:
    """Split the pictures into the box of the own object, those of other objects, ink of distractors outside them, and the rest."""
    own, others, distractors = cases.masks, cases.other_masks, cases.regions[:, 2]
    distractors = distractors & ~own & ~others
    return np.stack([own, others, distractors, ~(own | others | distractors)], axis=1)


def _measure(study: Study, seed: int) -> Iterator[Record]:
    for activation, layer in PLACES:
        design = Design(activation)
        model, seen, missing = study.trained(design, seed), study.seen(design, seed), absent(study.test)
        seen = seen[seen.several]
        if layer == LAST:
            yield Record("networks", (activation,), {"accuracy": study.accuracy(design, seed), "objects": float(len(seen))})
        for method in METHODS if activation == "relu" else ():
            few = missing[:_FEW]
            numbers = negation_numbers(raw_maps(model, few, layer, method), raw_maps(model, few, layer, method, sign=-1))
            yield Record("negation", (layer, method), numbers)
        for state, cases in (("present", seen), ("absent", missing)):
            if not len(cases):
                continue  # a network that sees nothing has nothing to explain
            maps = np.maximum(raw_maps(model, cases, layer, sign=-1), 0)
            large = enlarged(maps, cases)
            others = cases.other_masks
            hits, blank = pointing_game(large, others, tolerance=0).mean(), (maps.max(axis=(1, 2)) <= 0).mean()
            yield Record("hits", (activation, layer, state), {"hits": float(hits), "area": float(others.mean()), "blank": float(blank)})
            for region, row in zip(BOX_REGIONS, region_numbers(large, box_regions(cases)), strict=True):
                if row["area"] > 0:
                    values = {"area": row["area"], "share": row["positive share"], "density": row["positive density"]}
                    yield Record("regions", (activation, layer, state, region), values)
            if layer == LAST:
                for removed, numbers in removal_numbers(study, model, cases, large).items():
                    yield Record("removal", (activation, state, removed), numbers)


def _claims(tables: Mapping[str, Table]) -> Iterator[Claim]:
    hits, regions, removal, negation = (tables[name] for name in ("hits", "regions", "removal", "negation"))
    for activation in ("relu", "silu"):
        for state in ("present", "absent"):

            def change(removed: str, row: tuple[str, str] = (activation, state)) -> NDArray[np.float64]:
                return removal.values("change", *row, removed)

            row = (activation, LAST, state)
            for text, values, bounds in (
                (
                    "the maximum hits another object more often than chance (hits - their area)",
                    hits.values("hits", *row) - hits.values("area", *row),
                    {"above": 0},
                ),
                ("most maxima lie on other objects (hits)", hits.values("hits", *row), {"above": 0.5}),
                ("the mass prefers boxes of other objects (density)", regions.values("density", *row, "other boxes"), {"above": 1}),
                (
                    "it is denser there than on distractors (difference)",
                    regions.values("density", *row, "other boxes") - regions.values("density", *row, "distractor"),
                    {"above": 0},
                ),
                ("removing the object that it points at raises the score", change("pointed at"), {"above": 0}),
                (
                    "by more than removing a random place of that size (difference)",
                    change("pointed at") - change("random place"),
                    {"above": 0},
                ),
                (
                    "of several other objects, removing the one on which the map is densest raises the score more (difference)",
                    change("of several: densest") - change("of several: least dense"),
                    {"above": 0},
                ),
            ):
                yield Claim.of(f"{activation}, class {state}: {text}", values, **bounds)
        yield Claim.of(
            f"{activation}: removing the own object lowers the score",
            removal.values("change", activation, "present", "own object"),
            below=0,
        )
    for method in METHODS[len(NEGATED) :]:
        yield Claim.of(
            f"{method}, last layer: the map of the negated score is not the negated map (deviation by more than a tenth of the peak)",
            negation.values("deviation", LAST, method),
            above=0.1,
        )


def _identities(study: Study) -> Iterator[Identity]:
    model, cases = study.trained(Design(), study.scale.seeds[0]), absent(study.test)[:_FEW]
    maps = {(m, layer, sign): raw_maps(model, cases, layer, m, sign=sign) for m in METHODS for layer in LAYERS for sign in (1, -1)}
    for method in NEGATED:
        worst = max(relative(maps[method, layer, -1], -maps[method, layer, 1]) for layer in LAYERS)
        yield Identity(f"{method}: the map of the negated score is the negated map", worst, 1e-6)
    worst = max(relative(maps["layercam", layer, 1] - maps["layercam", layer, -1], maps["hirescam", layer, 1]) for layer in LAYERS)
    yield Identity("LayerCAM of the score minus LayerCAM of the negated score is HiResCAM", worst, 1e-5)


def _draw_regions(study: Study, tables: Mapping[str, Table]) -> Any:
    figure, axes = plots.grid(1, 2, width=4.6, height=3.0)
    for ax, (state, regions) in zip(axes[0], (("present", BOX_REGIONS), ("absent", BOX_REGIONS[1:])), strict=True):
        rows = [("relu", LAST, state, region) for region in regions]
        plots.bars(ax, tables["regions"], ("density",), rows, regions)
        ax.axhline(1, color="black", linestyle=":", linewidth=1)
        ax.set_title(f"counterfactual map, class {state}", fontsize=10)
    axes[0][0].set_ylabel("density (1: no preference)")
    return figure


def _draw_removal(study: Study, tables: Mapping[str, Table]) -> Any:
    names = ("pointed at", "random place", "of several: densest", "of several: least dense")
    labels = [name.replace(": ", ":\n").replace(" place", "\nplace") for name in names]
    figure, axes = plots.grid(1, 2, width=4.6, height=3.0)
    for ax, state in zip(axes[0], ("present", "absent"), strict=True):
        plots.bars(ax, tables["removal"], ("change",), [("relu", state, name) for name in names], labels)
        ax.set_title(f"class {state}: what was removed", fontsize=10)
    axes[0][0].set_ylabel("change of the score")
    return figure


def _draw_example(study: Study, tables: Mapping[str, Table]) -> Any:
    seed = study.scale.seeds[0]
    model, cases = study.trained(Design(), seed), study.example(Design(), seed)
    every = np.arange(len(cases))
    raw = {sign: np.maximum(raw_maps(model, cases, LAST, sign=sign), 0) for sign in (1, -1)}
    maps = {sign: enlarged(raw[sign], cases) for sign in raw}
    boxes = cases.scenes.boxes[every, pointed(maps[-1], cases)]
    without = replace(cases.scenes, images=erased(cases.scenes.images, boxes))
    before, after = (study.scores(model, scenes.inputs)[every, cases.classes] for scenes in (cases.scenes, without))
    figure, axes = plots.grid(len(cases), 3, width=2.3, height=2.4)
    for i, row in enumerate(axes):
        peak = float(max(raw[1][i].max(), raw[-1][i].max()))
        plots.show_map(row[0], maps[1][i], cases.scenes.images[i], f"for {cases.classes[i]} (score {before[i]:.1f})", peak)
        plots.show_map(row[1], -maps[-1][i], cases.scenes.images[i], f"against {cases.classes[i]}", peak)
        row[2].imshow(without.images[i], cmap="gray", vmin=0, vmax=255)
        row[2].set(title=f"without it (score {after[i]:.1f})", xticks=[], yticks=[])
        row[2].title.set_fontsize(9)
        plots.outline(row[0], cases.boxes[i])
        plots.outline(row[1], boxes[i])
        row[0].set_ylabel("present" if cases.masks[i].any() else "absent", fontsize=9)
    return figure


EXPERIMENT = Experiment(
    name="counterfactual",
    question="the map of the negated score: does it show what speaks against a class?",
    tables={
        "networks": (
            "The networks: share of correct labels, and how many objects they see in pictures with several: the cases of present classes.",
            ("activation",),
        ),
        "negation": (
            "How far the map of the negated score is from the negated map, relative to its peak, and their rank correlation.",
            ("layer", "method"),
        ),
        "hits": (
            "How often the maximum of the counterfactual map max(L(-S), 0) lies in the box of another object, the area of these boxes, "
            "which chance would give, and the share of blank maps.",
            ("activation", "layer", "class"),
        ),
        "regions": (
            "Where the mass of the counterfactual map lies: the part in each region, and its density, which is 1 without preference.",
            ("activation", "layer", "class", "region"),
        ),
        "removal": (
            "How the score changes when a box is filled with the median of its surroundings, and the share of cases in which it rises. "
            "Where the maximum of the last layer's map lies on another object: that object, a box of its size at random where no object "
            "is, and the own object. Where there are several other objects: the one on which the map is densest, and the one on which it "
            "is least dense.",
            ("activation", "class", "removed"),
        ),
    },
    measure=_measure,
    claims=_claims,
    identities=_identities,
    figures={"regions": _draw_regions, "removal": _draw_removal, "example": _draw_example},
)
