"""Ask trained models that others made what the experiments about signs ask of their small networks.

Writes docs/experiments/real_models.json and real_models.md; needs the models and pictures of ../shared:

    python tools/measure_real_models.py
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gradcam
from gradcam.experiments.cases import VARIANTS, enlarged, raw_maps
from gradcam.experiments.parametrisation import CHANGES, EQUAL, Changed, described, mapped
from gradcam.experiments.results import markdown_table
from gradcam.experiments.truth_table import QUADRANTS, quadrant_numbers
from gradcam.metrics import energy_in_region, iou, pointing_game
from gradcam.preprocess import Preprocess, open_image
from gradcam.targets import ClassScore, Negative

SHARED = Path(__file__).resolve().parents[2] / "shared"
RESULTS = Path(__file__).resolve().parents[1] / "docs" / "experiments" / "real_models.json"
PAGE = RESULTS.with_suffix(".md")

# y0, x0, y1, x1, read off the picture
BY_EYE = {"both.png": {"dog": [(10, 78, 141, 166)], "cat": [(120, 45, 223, 201)]}}


@dataclass(frozen=True)
class Question:
    """A picture, what stands in it, and the class that is explained."""

    file: str
    thing: str
    target: int

    @property
    def name(self) -> str:
        return f"{self.thing} in {self.file}"


@dataclass(frozen=True)
class Trained:
    """A model, how it reads pictures, and what it is asked.

    `layers` are the places whose quadrants are measured, the last one that of the maps; `changed` those whose readers make up for a
    shift, a scale and a sign flip, and whether a mean over positions reads them.
    """

    file: str
    preset: str
    exact: bool
    layers: tuple[str, ...]
    changed: tuple[tuple[str, bool], ...]
    questions: tuple[Question, ...]


MODELS = (
    Trained(
        "squeezenet1.0.onnx",
        "caffe",
        False,
        tuple(f"/fire{i}/Concat_output_0" for i in (3, 5, 8, 9)),
        (("/pool_2/MaxPool_output_0", False),),
        (
            Question("both.png", "dog", 243),
            Question("both.png", "cat", 282),
            Question("000000000030.jpg", "vase", 883),
            Question("000000000285.jpg", "bear", 294),
            Question("000000000450.jpg", "pizza", 963),
            Question("000000000785.jpg", "skis", 795),
            Question("000000000872.jpg", "person", 981),
            Question("000000002149.jpg", "apple", 948),
            Question("000000006012.jpg", "banana", 954),
        ),
    ),
    Trained(
        "cifar-resnet20.onnx",
        "imagenet",
        True,
        tuple(f"/layer{i}/layer{i}.2/{node}_output_0" for i, node in ((1, "Relu_1"), (2, "Relu_1"), (3, "Add"), (3, "Relu_1"))),
        (("/layer3/layer3.2/Relu_1_output_0", True),),
        (Question("both.png", "dog", 5), Question("both.png", "cat", 3)),
    ),
    Trained(
        "vww-mobilenet.onnx",
        "unit",
        True,
        tuple(f"/layers/layers.{i}/{node}_output_0" for i, node in ((14, "Relu"), (22, "Relu"), (26, "conv/Conv"), (26, "Relu"))),
        (("/layers/layers.25/Relu_output_0", False), ("/layers/layers.26/Relu_output_0", True)),
        (Question("000000000785.jpg", "person", 1), Question("000000000872.jpg", "person", 1)),
    ),
)


@dataclass(frozen=True)
class Photos:
    """Preprocessed pictures with a class each, as `gradcam.experiments.cases.AnyCases`."""

    inputs: NDArray[np.float32]
    masks: NDArray[np.bool_]
    classes: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def size(self) -> tuple[int, ...]:
        return self.inputs.shape[2:]

    def targets(self, sign: int = 1) -> list[Any]:
        scores = [ClassScore(c) for c in self.classes]
        return scores if sign > 0 else [Negative(score) for score in scores]

    def __getitem__(self, i: int) -> Photos:
        return Photos(self.inputs[i : i + 1], self.masks[i : i + 1], self.classes[i : i + 1])


def photos(trained: Trained, model: gradcam.Model) -> Photos:
    """Return the pictures of all questions of a model."""
    known = json.loads((SHARED / "images" / "boxes.json").read_text(encoding="utf-8"))
    inputs, masks = [], []
    for question in trained.questions:
        steps = Preprocess.preset(trained.preset, size=model.preprocess.size)
        if trained.exact or question.file in BY_EYE:
            steps = replace(steps, resize="exact", crop=False)
        image = open_image(SHARED / "images" / question.file)
        found = [b for item in known if item["file"] == question.file for b in item["boxes"] if b["name"] == question.thing]
        boxes = [(b["xyxy"][1], b["xyxy"][0], b["xyxy"][3], b["xyxy"][2]) for b in found] or BY_EYE[question.file][question.thing]
        inputs.append(steps(image))
        masks.append(box_mask(steps, image.shape[:2], boxes))
    return Photos(np.concatenate(inputs), np.stack(masks), tuple(question.target for question in trained.questions))


def box_mask(steps: Preprocess, shape: tuple[int, int], boxes: Sequence[tuple[float, ...]]) -> NDArray[np.bool_]:
    """Positions of the input whose centre lies in one of the boxes (top, left, bottom, right in pixels of the photo)."""
    top, left, bottom, right = steps.placement(shape)
    rows, columns = (
        low + (np.arange(n) + 0.5) * (high - low) / n for low, high, n in zip((top, left), (bottom, right), steps.size, strict=True)
    )
    inside = [((rows >= y0) & (rows < y1))[:, None] & ((columns >= x0) & (columns < x1)) for y0, x0, y1, x1 in boxes]
    return np.logical_or.reduce(inside)


def measure(trained: Trained) -> dict[str, Any]:
    """All numbers of one model."""
    model = gradcam.load(SHARED / "models" / trained.file)
    seen = photos(trained, model)
    names = [question.name for question in trained.questions]
    return {
        "layers": {layer: {name: quadrant_numbers(model, seen[i], layer) for i, name in enumerate(names)} for layer in trained.layers},
        "pictures": {name: picture_numbers(model, seen[i], trained.layers[-1]) for i, name in enumerate(names)},
        "changes": {layer: dict(change_rows(model, seen, layer, pooled)) for layer, pooled in trained.changed},
    }


def picture_numbers(model: gradcam.Model, seen: Photos, layer: str) -> dict[str, Any]:
    """Probability and rank of the class, area of the boxes, and how each variant of the map finds them."""
    logits = np.asarray(model.run(seen.inputs, [model.outputs[0].name]), np.float64)[0]
    probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    target, maps = seen.classes[0], raw_maps(model, seen, layer)
    found = {}
    for name, variant in VARIANTS.items():
        large = enlarged(variant(maps), seen)
        metrics = {"hit": pointing_game(large, seen.masks, tolerance=0), "energy": energy_in_region(large, seen.masks)}
        found[name] = {key: float(value[0]) for key, value in (metrics | {"iou": iou(large, seen.masks)}).items()}
    return {
        "class": target,
        "probability": float(probabilities[target]),
        "rank": int((logits > logits[target]).sum()) + 1,
        "box": float(seen.masks.mean()),
        "variants": found,
    }


def change_rows(model: gradcam.Model, seen: Photos, layer: str, pooled: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Theory and measurement of each kind of map at one layer, the largest difference over two pictures; the scores come first."""
    changed = Changed.draw(model, seen.inputs[:2].astype(np.float64), seen.targets()[:2], layer, seed=0)
    none = dict.fromkeys(CHANGES, "=")
    scores = {c: f"= ({e:.0e})" if e < EQUAL else f"{e:.2g}" for c, e in changed.score_changes().items()}
    yield "(all scores)", {"theory": none, "measured": scores}
    for kind in mapped():
        laws = kind.laws_at(pooled)
        found = {change: described(difference) for change, difference in changed.compare(kind).items()}
        yield kind.name, {"theory": {change: getattr(laws, change) for change in CHANGES}, "measured": found}


def as_predicted(theory: str, measured: str) -> bool:
    """Whether a cell of `described` is what the theory says."""
    first = measured.split()[0]
    return first == theory if theory != "changes" else first not in ("=", "const")


# The page -------------------------------------------------------------------------------------------------------------

HEAD = """# Real models

*Written by `tools/measure_real_models.py`: trained models that others made, asked what the experiments about signs ask of small networks. A
few pictures each, so the numbers are those of the pictures, without intervals; boxes of COCO, and two by eye (`both.png`). [What a map
owes to the parametrisation](../invariance.md) explains shift, scale and flip.*"""


def page(results: Mapping[str, Any]) -> str:
    """The whole page, from the results alone."""
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    parts = [HEAD, sentences(results["models"])]
    for name, found in results["models"].items():
        parts += [f"## {name}", *quadrant_table(found["layers"]), *variant_table(found["pictures"], list(found["layers"])[-1])]
        for layer, rows in found["changes"].items():
            parts += change_table(layer, rows)
    return "\n\n".join([*parts, f"Measured with {versions}."]) + "\n"


def sentences(models: Mapping[str, Any]) -> str:
    """What the tables say, counted."""
    every = [p for found in models.values() for p in found["pictures"].values()]
    fair = [p for p in every if p["box"] < 0.9 and p["probability"] > 0.1]
    found = {name: [p["variants"][name] for p in fair] for name in VARIANTS}
    energies = {name: np.array([v["energy"] for v in found[name]]) for name in VARIANTS}
    more = {name: int((energies["max(L,0)"] > energies[name]).sum()) for name in ("|L|", "max(-L,0)")}
    hits = {name: sum(v["hit"] == 1 for v in found[name]) for name in VARIANTS}
    avoids = int((energies["max(-L,0)"] < [p["box"] for p in fair]).sum())
    tables = [rows for one in models.values() for rows in one["changes"].values()]
    cells = [(row["theory"][c], row["measured"][c]) for rows in tables for row in rows.values() for c in CHANGES]
    wrong = [(theory, measured) for theory, measured in cells if not as_predicted(theory, measured)]
    idle = sum(theory == "changes" for theory, _ in wrong)
    immune = [kind.name for kind in mapped() if all(rows[kind.name]["measured"][c].startswith("=") for rows in tables for c in CHANGES)]
    return (
        f"{len(fair)} of {len(every)} questions can tell maps apart: the box fills less than nine tenths of the picture and the class has "
        f"a probability above a tenth. In them the share in the box is larger for max(L,0) than for |L| {more['|L|']} times and than for "
        f"max(-L,0) {more['max(-L,0)']} times. The maximum lies in the box {hits['max(L,0)']} times for max(L,0), {hits['L']} for L, "
        f"{hits['|L|']} for |L| and {hits['max(-L,0)']} for max(-L,0), whose share in the box is below the area of the box {avoids} times."
        f"\n\nWhen a layer is shifted, scaled or turned around and its readers make up for it, {len(cells) - len(wrong)} of {len(cells)} "
        f"numbers are as the theory says; of the others {idle} could have changed and did not. In all tables, only these notice none of "
        f"the three changes: {'; '.join(immune)}."
    )


def quadrant_table(layers: Mapping[str, Any]) -> list[str]:
    rows = []
    for layer, numbers in layers.items():
        means = [nan_mean([one[key] for one in numbers.values()]) for key in (*QUADRANTS, *(f"{q} in box" for q in QUADRANTS))]
        rows.append([f"`{layer}`", *("-" if value is None else f"{value:.3f}" for value in means)])
    count = len(next(iter(layers.values())))
    heads = ["layer", *QUADRANTS, *(f"{q} in box" for q in QUADRANTS)]
    return [
        f"Share of each quadrant in the mass of Grad-CAM, and how much of its mass lies in the box; mean of {count} pictures.",
        markdown_table(heads, rows),
    ]


def nan_mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def variant_table(pictures: Mapping[str, Any], layer: str) -> list[str]:
    rows = []
    for name, p in pictures.items():
        cells = [f"{'hit' if v['hit'] else 'miss'}, {v['energy']:.2f}, {v['iou']:.2f}" for v in p["variants"].values()]
        rows.append([name, f"{p['class']}: {p['probability']:.3f}, rank {p['rank']}", f"{p['box']:.2f}", *cells])
    heads = ["object", "class, its probability", "area of the box", *VARIANTS]
    return [
        f"Grad-CAM at `{layer}`: whether the maximum lies in the box, the share in it, and the IoU with it.",
        markdown_table(heads, rows),
    ]


def change_table(layer: str, rows: Mapping[str, Any]) -> list[str]:
    cells = [[name, ", ".join(row["theory"].values()), *(row["measured"][change] for change in CHANGES)] for name, row in rows.items()]
    text = f"Largest change of raw maps at `{layer}` relative to their peak, on two pictures in float64; theory of shift, scale, flip."
    return [text, markdown_table(["map", "theory", *CHANGES], cells)]


def plain(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value


def main() -> None:
    versions = {"gradcam": gradcam.__version__, "numpy": np.__version__, "python": platform.python_version()}
    results = plain({"versions": versions, "models": {trained.file: measure(trained) for trained in MODELS}})
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    PAGE.write_text(page(results), encoding="utf-8")


if __name__ == "__main__":
    main()
