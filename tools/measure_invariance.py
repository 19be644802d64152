"""Measure which maps change when a trained model is given other activations for the same function; writes docs/invariance.md.

Every method that has such a law is measured, in float64:

    python tools/measure_invariance.py [--model FILE.onnx --preset NAME --labels FILE.txt] [--image PICTURE] [--layer NAME]
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import gradcam
from gradcam.experiments.parametrisation import EQUAL, Changed, Mapped, described, difference, mapped
from gradcam.preprocess import open_image
from gradcam.targets import Negative

SHARED = Path(__file__).resolve().parents[2] / "shared"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "invariance.md"

HEAD = """# What a map owes to the parametrisation

The same function can be computed with other numbers in a layer: each channel shifted, `A + s`, or multiplied, `c A`, if the next
layer makes up for it (`gradcam.reparametrise`). A map that changes then says something about the numbers, not only about the
function. [What the sign means](signs.md) has the reasons; here is how much it is on a trained network.

Numbers are the largest change of the signed raw map relative to its peak, in float64. `=`: none (what rounding leaves is in
brackets). `const`: one number is added at all positions, and nothing else changes; the picture of the signed map is the same, but
the ReLU cuts elsewhere. A number alone: the map changes otherwise. The shift has the size of the activations, the scale is
exp(N(0, 0.7)), the sign flip turns every third channel around. The last column: what negating the score does.

Maps made of products of gradient and activation ignore scale and sign; only those that are measured from the mean of each channel, or
from a reference input, ignore a shift as well, and belong to the function alone. Centred Eigen-CAM ignores a shift up to its own sign:
the rule that picks it (`energy`) reads activations that are not centred, `sign="extreme"` does not.
"""


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
    changed = Changed.draw(model, x, target, layer, options.seed)

    cells = [f"= ({change:.0e})" if change < EQUAL else f"{change:.2g}" for change in changed.score_changes().values()]
    lines = [
        HEAD,
        f"`{options.model.name}`, layer `{layer}`, {options.image.name}, class {target} {model.labels.get(target, '')}".rstrip() + ":",
        "",
        "| method | shift | scale c > 0 | sign flip | target negated |",
        "| --- | --- | --- | --- | --- |",
        "| (all scores) | " + " | ".join(cells) + " | |",
        *(row(kind, changed) for kind in mapped()),
        "",
        f"Measured with gradcam {gradcam.__version__}, NumPy {np.__version__}: `python tools/measure_invariance.py`.",
    ]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


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


def row(kind: Mapped, changed: Changed) -> str:
    cells = [described(found) for found in changed.compare(kind).values()]
    before, negative = (kind.maps(changed.model, changed.x, t, changed.layer) for t in (changed.target, Negative(changed.target)))
    same, opposite = (float(difference(sign * before, negative).whole[0]) for sign in (1, -1))
    cells.append(f"= ({same:.0e})" if same < EQUAL else f"L -> -L ({opposite:.0e})" if opposite < EQUAL else "other map")
    return f"| {kind.name} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
