"""What may be shown of a signed map: the part above zero, all of it, its size, the part below zero; and what lies on either side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.datasets.scenes import REGIONS
from gradcam.experiments import plots
from gradcam.experiments.cases import VARIANTS, Cases, Maps, absent, enlarged, raw_maps, region_numbers, relative
from gradcam.experiments.experiment import Experiment
from gradcam.experiments.measures import localisation
from gradcam.experiments.networks import LAYERS, Activation, Design
from gradcam.experiments.results import Claim, Identity, Record, Table
from gradcam.experiments.study import Study
from gradcam.metrics import energy_in_region, region_masses

__all__ = ["EXPERIMENT", "balance_numbers"]

LAST = LAYERS[-1]
PLACES: tuple[tuple[Activation, str], ...] = (*(("relu", layer) for layer in LAYERS), ("silu", LAST))
"""Activation functions and layers."""

JUDGED = ("hits", "energy", "iou")


def balance_numbers(maps: Maps) -> dict[str, float]:
    """Return how much of all mass lies above zero, and the share of maps that are nowhere above and nowhere below it."""
    above, below = (np.maximum(sign * maps, 0).sum(dtype=np.float64) for sign in (1, -1))
    return {
        "positive share": float(above / (above + below)) if above + below > 0 else np.nan,
        "nowhere positive": float((maps.max(axis=(1, 2)) <= 0).mean()),
        "nowhere negative": float((maps.min(axis=(1, 2)) >= 0).mean()),
    }


def _measure(study: Study, seed: int) -> Iterator[Record]:
    for activation, layer in PLACES:
        design = Design(activation)
        model, seen, missing = study.trained(design, seed), study.seen(design, seed), absent(study.test)
        several = seen.several
        if layer == LAST:
            numbers = {"accuracy": study.accuracy(design, seed)}
            for name, cases in (("all", seen), ("several", seen[several])):
                numbers |= {f"objects, {name}": float(len(cases)), f"box area, {name}": float(cases.masks.mean()) if len(cases) else np.nan}
            yield Record("networks", (activation,), numbers)
        shown: list[tuple[str, Cases, Maps]] = [("absent", missing, raw_maps(model, missing, layer))]
        if several.any():
            raw = raw_maps(model, seen, layer)
            for pictures, cases, maps in (("several", seen[several], raw[several]), ("all", seen, raw)):
                for name, variant in VARIANTS.items():
                    yield Record("variants", (activation, layer, pictures, name), localisation(variant(maps), cases))
            shown.insert(0, ("present", seen[several], raw[several]))
        for state, cases, maps in shown:
            yield Record("balance", (activation, layer, state), balance_numbers(maps))
            for region, row in zip(REGIONS, region_numbers(enlarged(maps, cases), cases.regions), strict=True):
                if row["area"] > 0:  # an absent class has no object
                    yield Record("regions", (activation, layer, state, region), row)


def _claims(tables: Mapping[str, Table]) -> Iterator[Claim]:
    variants, regions, balance, networks = (tables[name] for name in ("variants", "regions", "balance", "networks"))

    def gain(measure: str, better: str, worse: str, layer: str = LAST) -> NDArray[np.float64]:
        rows = (("relu", layer, "several", shown) for shown in (better, worse))
        first, second = (variants.values(measure, *row) for row in rows)
        return first - second

    for measure in JUDGED:
        yield Claim.of(
            f"last layer, several objects: {measure} of max(L,0) is above that of |L|", gain(measure, "max(L,0)", "|L|"), above=0
        )
    yield Claim.of(
        "last layer, several objects: the ReLU changes at most one hit in a hundred (hits of max(L,0) - those of L)",
        gain("hits", "max(L,0)", "L"),
        above=-0.01,
        below=0.01,
    )
    yield Claim.of(
        "last layer, several objects: max(-L,0) avoids the object (its energy in the box - the box area)",
        variants.values("energy", "relu", LAST, "several", "max(-L,0)") - networks.values("box area, several", "relu"),
        below=0,
    )
    yield Claim.of(
        "first layer, several objects: energy of max(L,0) is above that of |L|", gain("energy", "max(L,0)", "|L|", LAYERS[0]), above=0
    )
    for number, layer in (("first", LAYERS[0]), ("last", LAST)):
        own, others = (regions.values("positive density", "relu", layer, "present", region) for region in ("own", "other"))
        yield Claim.of(f"{number} layer: positive mass is denser on the own object than on others (difference)", own - others, above=0)
    blank = [balance.values("nowhere positive", "relu", layer, "present") for layer in LAYERS]
    for number, share in zip(("first", "second", "third"), blank[:-1], strict=True):
        yield Claim.of(
            f"{number} layer: the ReLU blanks more maps of seen objects than at the last layer (difference)", share - blank[-1], above=0
        )
    for activation in ("relu", "silu"):

        def density(sign: str, state: str, region: str, activation: str = activation) -> NDArray[np.float64]:
            return regions.values(f"{sign} density", activation, LAST, state, region)

        others = density("negative", "present", "other")
        for text, values, bounds in (
            ("positive mass prefers the own object (density)", density("positive", "present", "own"), {"above": 1}),
            ("negative mass prefers objects of other classes (density)", others, {"above": 1}),
            (
                "negative mass is denser on objects of other classes than on distractors (difference)",
                others - density("negative", "present", "distractor"),
                {"above": 0},
            ),
            (
                "negative mass prefers objects more when X is present than when it is absent (difference)",
                others - density("negative", "absent", "other"),
                {"above": 0},
            ),
            (
                "even so most negative mass lies on the ground (share)",
                regions.values("negative share", activation, LAST, "present", "ground"),
                {"above": 0.5},
            ),
            (
                "X absent: less than half of the mass is positive",
                balance.values("positive share", activation, LAST, "absent"),
                {"below": 0.5},
            ),
            ("X absent: at most one map in ten is blank", balance.values("nowhere positive", activation, LAST, "absent"), {"below": 0.1}),
            (
                "X absent: what is positive prefers the objects that are there (density)",
                density("positive", "absent", "other"),
                {"above": 1},
            ),
        ):
            yield Claim.of(f"{activation}, last layer: {text}", values, **bounds)


def _identities(study: Study) -> Iterator[Identity]:
    model, cases = study.trained(Design(), study.scale.seeds[0]), absent(study.test)[:50]
    parts = sums = linear = masses = energy = 0.0
    for layer in LAYERS:
        raw = raw_maps(model, cases, layer)
        above, below = (VARIANTS[name](raw) for name in ("max(L,0)", "max(-L,0)"))
        parts = max(parts, float(np.abs(above - below - raw).max()))
        sums = max(sums, float(np.abs(above + below - VARIANTS["|L|"](raw)).max()))
        large = enlarged(raw, cases)
        linear = max(linear, relative(enlarged(above, cases) - enlarged(below, cases), large))
        split = region_masses(large, cases.regions)
        masses = max(
            masses,
            relative(split.positive.sum(axis=1), split.total_positive),
            relative(split.negative.sum(axis=1), split.total_negative),
        )
        objects = cases.other_masks
        energy = max(energy, float(np.abs(energy_in_region(large, objects) - energy_in_region(np.maximum(large, 0), objects)).max()))
    same = relative(raw_maps(model, cases, LAST, "hirescam"), raw_maps(model, cases, LAST))
    yield Identity("max(L,0) - max(-L,0) is L", parts, 0.0)
    yield Identity("max(L,0) + max(-L,0) is |L|", sums, 0.0)
    yield Identity("enlarging is linear: the two parts of L, enlarged, still differ by L enlarged", linear, 1e-6)
    yield Identity("own object, other objects, distractors and ground share the whole mass", masses, 1e-12)
    yield Identity("energy does not see what is below zero: that of an enlarged L is that of its positive part", energy, 0.0)
    yield Identity("at the last layer, which is only averaged, Grad-CAM is HiResCAM: its sign is that of the contribution", same, 1e-5)


def _draw_variants(study: Study, tables: Mapping[str, Table]) -> Any:
    figure, axes = plots.grid(1, len(PLACES), width=3.0, height=3.0)
    for ax, (activation, layer) in zip(axes[0], PLACES, strict=True):
        rows = [(activation, layer, "several", name) for name in VARIANTS]
        plots.bars(ax, tables["variants"], JUDGED, rows, list(VARIANTS))
        area = tables["networks"].interval("box area, several", activation).mean
        ax.axhline(area, color="black", linestyle=":", linewidth=1, label="no preference")
        ax.set_ylim(0, 1)
        ax.set_title(f"{activation}, {layer}", fontsize=10)
    plots.legend(figure, axes[0][0])
    return figure


def _draw_regions(study: Study, tables: Mapping[str, Table]) -> Any:
    places = (("relu", LAYERS[0]), ("relu", LAST), ("silu", LAST))
    figure, axes = plots.grid(2, len(places), width=3.2, height=2.5)
    for column, (activation, layer) in enumerate(places):
        for row, (state, regions) in enumerate((("present", REGIONS), ("absent", REGIONS[1:]))):
            ax = axes[row][column]
            rows = [(activation, layer, state, region) for region in regions]
            plots.bars(ax, tables["regions"], ("negative density", "positive density"), rows, regions)
            ax.axhline(1, color="black", linestyle=":", linewidth=1, label="no preference")
            ax.set_title(f"{activation}, {layer}, class {state}", fontsize=10)
    plots.legend(figure, axes[0][0])
    return figure


def _draw_example(study: Study, tables: Mapping[str, Table]) -> Any:
    seed = study.scale.seeds[0]
    cases = study.example(Design(), seed)
    raw = raw_maps(study.trained(Design(), seed), cases, LAST)
    figure, axes = plots.grid(len(cases), len(VARIANTS), width=2.1, height=2.2)
    for i, row in enumerate(axes):
        for ax, (name, variant) in zip(row, VARIANTS.items(), strict=True):
            shown = enlarged(variant(raw), cases)[i]
            plots.show_map(ax, shown, cases.scenes.images[i], "" if i else name, float(np.abs(raw[i]).max()))
            plots.outline(ax, cases.boxes[i])
        row[0].set_ylabel(f"{cases.classes[i]}, {'present' if cases.masks[i].any() else 'absent'}", fontsize=9)
    return figure


EXPERIMENT = Experiment(
    name="relu-or-not",
    question="what should be shown of a signed map, and what do its positive and its negative values lie on?",
    tables={
        "networks": (
            "The networks: share of correct labels; how many objects they see, in all pictures and in those with several; and the mean "
            "area of a box, which is the energy of a map without preference.",
            ("activation",),
        ),
        "variants": (
            "What is shown of the map L of an object that is seen, judged by its box: hits of the pointing game (tolerance 0), energy in "
            "the box, IoU with the box around what exceeds 15 % of the maximum, share of maps without a positive value. Energy and IoU "
            "count only what is positive, and the pointing game the maximum: L differs from max(L,0) by interpolation and blank maps.",
            ("activation", "layer", "pictures", "shown"),
        ),
        "balance": (
            "How much of the mass of L is positive, and the share of maps that are nowhere positive (blank after the ReLU) or nowhere "
            "negative: of objects that are seen in pictures with several, and of a class that is absent.",
            ("activation", "layer", "class"),
        ),
        "regions": (
            "Where the positive and the negative mass of L lies, by whose ink is there: the part in each region, and its density, which is "
            "1 for a map without preference.",
            ("activation", "layer", "class", "region"),
        ),
    },
    measure=_measure,
    claims=_claims,
    identities=_identities,
    figures={"variants": _draw_variants, "regions": _draw_regions, "example": _draw_example},
)
