"""Two classes in one picture: whether the map of one tells its object from the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.experiments import plots
from gradcam.experiments.cases import VARIANTS, Cases, Maps, enlarged, most_crowded, present, raw_maps, relative
from gradcam.experiments.experiment import Experiment
from gradcam.experiments.networks import Design
from gradcam.experiments.results import Claim, Identity, Record, Table
from gradcam.experiments.study import Study
from gradcam.metrics import overlap, pointing_game, rank_correlation, swapped
from gradcam.model import Model
from gradcam.targets import Contrast

__all__ = ["EXPERIMENT", "pairs"]

TAPS = ("act3", "evidence")
INPUT = ""
"""In place of a layer: the method attributes the score to the pixels."""

MapOf = Callable[[Model, Cases, str], Maps]


def _view(variant: str, method: str = "gradcam", **options: Any) -> MapOf:
    """Return what makes maps of a method and shows them in one of the `VARIANTS`."""
    return lambda model, cases, layer: VARIANTS[variant](raw_maps(model, cases, layer or None, method, **options))


MAPS: dict[str, tuple[tuple[str, ...], MapOf]] = {
    "Grad-CAM, max(L,0)": (TAPS, _view("max(L,0)")),
    "Grad-CAM, L": (TAPS, _view("L")),
    "Grad-CAM, |L|": (TAPS, _view("|L|")),
    "LayerCAM": (TAPS, _view("L", "layercam")),
    "random weights, max(L,0)": (TAPS, _view("max(L,0)", "randomcam", rng=0)),
    "guided backpropagation, |g|": ((INPUT,), _view("|L|", "guidedbackprop")),
    "guided Grad-CAM, |g|": (("evidence",), _view("|L|", "guidedgradcam")),
}
"""For each map the layers it is taken at, and how it is made."""


def pairs(cases: Cases) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of all ordered pairs of cases that share a picture: the one that is explained, and the other."""
    same = cases.picture[:, None] == cases.picture
    np.fill_diagonal(same, False)
    first, second = np.nonzero(same)
    return first, second


def _measure(study: Study, seed: int) -> Iterator[Record]:
    design = Design()
    model, cases = study.trained(design, seed), study.seen(design, seed)
    first, second = pairs(cases)
    if not len(first):
        return
    own, other = cases[first].boxes, cases[second].boxes
    for name, (layers, map_of) in MAPS.items():
        for layer in layers:
            large = enlarged(map_of(model, cases, layer), cases)
            one, two = large[first], large[second]
            numbers = {
                "overlap": overlap(one, two),
                "correlation": rank_correlation(one, two),
                "swapped": swapped(one, own, other),
                "hits": pointing_game(one, own, tolerance=0),
                "hits the other": pointing_game(one, other, tolerance=0),
            }
            yield Record("maps", (name, layer or "input"), {key: _mean(values) for key, values in numbers.items()})


def _mean(values: NDArray[np.float64]) -> float:
    """Mean of the defined numbers: two maps without a positive value, or a constant one, have no overlap and no correlation."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else np.nan


def _claims(tables: Mapping[str, Table]) -> Iterator[Claim]:
    table = tables["maps"]

    def values(measure: str, name: str, layer: str = "evidence") -> NDArray[np.float64]:
        return table.values(measure, name, layer)

    grad_cam, signed = "Grad-CAM, max(L,0)", "Grad-CAM, L"
    yield Claim.of("Grad-CAM tells two classes apart: swap rate", values("swapped", grad_cam), below=0.1)
    gain = values("swapped", signed) - values("swapped", grad_cam)
    yield Claim.of("without the ReLU it tells them apart no worse (difference in swap rate)", gain, below=0.02)
    yield Claim.of(
        "|L| tells them apart worse than L (difference in swap rate)",
        values("swapped", "Grad-CAM, |L|") - values("swapped", signed),
        above=0,
    )
    guided = table.values("swapped", "guided backpropagation, |g|", "input")
    yield Claim.of(
        "expected of guided backpropagation: it does not tell them apart as Grad-CAM does (difference in swap rate)",
        guided - values("swapped", grad_cam),
        above=0.1,
    )
    alike = table.values("correlation", "guided backpropagation, |g|", "input")
    yield Claim.of("expected of guided backpropagation: the maps of two classes are nearly the same (rank correlation)", alike, above=0.7)
    yield Claim.of(
        "Grad-CAM: the signed maps of two classes in one picture oppose each other (rank correlation)",
        values("correlation", signed),
        below=0,
    )
    yield Claim.of(
        "random weights: swap rate of chance (minus 0.5, within 0.1)",
        values("swapped", "random weights, max(L,0)") - 0.5,
        above=-0.1,
        below=0.1,
    )


def _identities(study: Study) -> Iterator[Identity]:
    model = study.trained(Design(), study.scale.seeds[0])
    cases = present(study.test)
    first, second = (numbers[:50] for numbers in pairs(cases))
    one, two = (raw_maps(model, cases[numbers], "evidence") for numbers in (first, second))
    contrasts = [Contrast(int(c), int(d)) for c, d in zip(cases.classes[first], cases.classes[second], strict=True)]
    both = model.explain(cases[first].inputs, target=contrasts, layer="evidence", relu=False).raw
    yield Identity(
        "the map of a contrast of two scores is the difference of their maps",
        relative(np.asarray(both), one - two),
        1e-5,
    )


def _draw_rates(study: Study, tables: Mapping[str, Table]) -> Any:
    figure, axes = plots.grid(1, 3, width=4.2, height=3.6)
    rows = [(name, (layers[-1] or "input")) for name, (layers, _) in MAPS.items()]
    titles = {"swapped": "swap rate (0.5: chance)", "overlap": "overlap of the two maps", "correlation": "rank correlation of the two maps"}
    for ax, (measure, title) in zip(axes[0], titles.items(), strict=True):
        plots.flat_bars(ax, tables["maps"], measure, rows, [name for name, _ in rows])
        ax.set_title(title, fontsize=10)
    for ax in axes[0][1:]:
        ax.set_yticklabels([])
    return figure


def _draw_example(study: Study, tables: Mapping[str, Table]) -> Any:
    model, example = study.trained(Design(), study.scale.seeds[0]), most_crowded(present(study.test))
    names = [name for name in MAPS if name != "Grad-CAM, |L|"]
    figure, axes = plots.grid(2, len(names) + 1, width=1.8, height=2.1)
    for row, c in enumerate(example.classes[:2]):
        case = example[row : row + 1]
        plots.show_picture(axes[row][0], case.scenes.images[0], f"evidence for {c}", case.boxes[0])
        for ax, name in zip(axes[row][1:], names, strict=True):
            layers, map_of = MAPS[name]
            plots.show_map(ax, enlarged(map_of(model, case, layers[-1]), case)[0], case.scenes.images[0], name.replace(", ", ",\n"))
    return figure


EXPERIMENT = Experiment(
    name="class-discrimination",
    question="two classes in one picture: does the map of one tell its object from the other, with and without the ReLU?",
    tables={
        "maps": (
            "Two objects in one picture, the map of one against the map of the other, over all ordered pairs that the network sees: "
            "overlap of the positive parts, rank correlation, share of maps whose mean is larger in the other's box (swapped), share whose "
            "maximum lies in the own box, and in the other's.",
            ("map", "layer"),
        ),
    },
    measure=_measure,
    claims=_claims,
    identities=_identities,
    figures={"rates": _draw_rates, "example": _draw_example},
)
