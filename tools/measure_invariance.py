"""Measure which maps change when a trained model is given other activations for the same function; prints a Markdown table.

Every method that needs only activations and gradients is measured with its default options, in float64:

    python tools/measure_invariance.py [--model FILE.onnx --preset NAME --labels FILE.txt] [--image PICTURE] [--layer NAME]
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

import gradcam
from gradcam.methods.base import Method
from gradcam.preprocess import open_image
from gradcam.targets import Negative

SHARED = Path(__file__).resolve().parents[2] / "shared"
EQUAL = 1e-10
"""What rounding may leave of a difference that is none, relative to the peak of the map."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=SHARED / "models" / "squeezenet1.0.onnx")
    parser.add_argument("--image", type=Path, default=SHARED / "images" / "both.png")
    parser.add_argument("--preset", default="caffe", help="preprocessing of the model, see gradcam.Preprocess.preset")
    parser.add_argument("--labels", type=Path, default=SHARED / "models" / "imagenet_classes.txt")
    parser.add_argument("--layer", help="by default the last one whose readers can be compensated for any change")
    parser.add_argument("--target", type=int, help="class; by default the one with the largest score")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    model = gradcam.load(options.model, labels=options.labels)
    preset = gradcam.Preprocess.preset(options.preset, size=model.preprocess.size, layout=model.preprocess.layout)
    x = replace(preset, resize="exact", crop=False)(open_image(options.image)).astype(np.float64)
    layer = options.layer or last_linear_layer(model)
    target = options.target if options.target is not None else int(np.argmax(first_output(model, x)))
    changes = draw_changes(model.run(x, [layer]), options.seed)
    changed = {name: gradcam.reparametrise(model, layer, **change) for name, change in changes.items()}

    print(f"`{options.model.name}`, layer `{layer}`, {options.image.name}, class {target} {model.labels.get(target, '')}".rstrip() + "\n")
    print("| method | " + " | ".join(changed) + " | target negated |")
    print("|---" * (len(changed) + 2) + "|")
    scores = first_output(model, x)
    cells = [text(first_output(new, x) - scores, scores) for new in changed.values()]
    print("| (all scores) | " + " | ".join(cells) + " | |")
    for method in gradcam.list_methods():
        if measurable(method):
            print(row(method, model, changed, x, layer, target))


def measurable(method: Method) -> bool:
    """Whether activations and gradients are enough, and no option has to be given."""
    required = [p for p in signature(method.function).parameters.values() if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    return set(method.needs) <= {"activations", "gradients"} and not required


def first_output(model: gradcam.Model, x: Any) -> Any:
    return model.run(x, [model.outputs[0].name])


def last_linear_layer(model: gradcam.Model) -> str:
    """Last layer that can be shifted and turned around.

    If only pooling and a linear layer follow it, the gradient is the same at all positions and several methods coincide.
    """
    for layer in reversed(model.layers):
        try:
            gradcam.reparametrise(model, layer.name, shift=1, scale=-1)
        except ValueError:
            continue
        return layer.name
    raise SystemExit("no layer of this model can be shifted and turned around")


def draw_changes(activations: Any, seed: int) -> dict[str, dict[str, Any]]:
    """A shift of about the size of the activations, a scale of exp(N(0, 0.7)), and every third channel turned around."""
    generator = np.random.default_rng(seed)
    channels = activations.shape[1]
    return {
        "shift": {"shift": activations.std() * generator.standard_normal(channels)},
        "scale c > 0": {"scale": np.exp(0.7 * generator.standard_normal(channels))},
        "sign flip": {"scale": np.where(np.arange(channels) % 3 == 0, -1.0, 1.0)},
    }


def row(method: Method, model: gradcam.Model, changed: dict[str, gradcam.Model], x: Any, layer: str, target: int) -> str:
    def raw(one: gradcam.Model, of: Any) -> Any:
        return one.explain(x, target=of, layer=layer, method=method.name, relu=False).raw

    before = raw(model, target)
    cells = [text(raw(new, target) - before, before) for new in changed.values()]
    negative = raw(model, Negative(target))
    same, opposite = (np.abs(negative - sign * before).max() / np.abs(before).max() for sign in (1, -1))
    cells.append(f"= ({same:.0e})" if same < EQUAL else f"L -> -L ({opposite:.0e})" if opposite < EQUAL else "other map")
    return f"| {method.name} | " + " | ".join(cells) + " |"


def text(difference: Any, before: Any) -> str:
    """A difference relative to the peak: none, one constant, or how much."""
    peak = np.abs(before).max()
    whole, rest = np.abs(difference).max() / peak, np.abs(difference - difference.mean()).max() / peak
    if whole < EQUAL:
        return f"= ({whole:.0e})"
    return f"const {whole:.2g} ({rest:.0e})" if rest < EQUAL else f"{whole:.2g}"


if __name__ == "__main__":
    main()
