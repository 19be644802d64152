"""Draws the figures of docs/signs.md from the bundled model: python tools/draw_signs_figures.py"""

from __future__ import annotations

import io
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

import gradcam
from gradcam.preprocess import open_image
from gradcam.render.figure import Scale, panel
from gradcam.render.overlay import as_rgb
from gradcam.render.signs import sign_panel, signed_picture, signs_peak

FIGURES = Path(__file__).resolve().parent.parent / "docs" / "figures"
BEFORE_RELU = "conv4"
DIGIT, OTHER = 2, 8


def write(name: str, drawn: np.ndarray) -> None:
    """Six bits a colour and less than full size are enough for a page, and a fraction of the bytes."""
    FIGURES.mkdir(exist_ok=True)
    image = Image.fromarray(drawn)
    small = np.asarray(image.resize((round(image.width * 0.7), round(image.height * 0.7)), Image.Resampling.LANCZOS))
    Image.fromarray(np.minimum((small.astype(int) + 2) // 4 * 4, 255).astype(np.uint8)).save(FIGURES / name, optimize=True)
    print(f"{name}: {(FIGURES / name).stat().st_size / 1024:.0f} KB")


def main() -> None:
    data = files("gradcam") / "data"
    model = gradcam.load((data / "digits.onnx").read_bytes())
    scene = open_image(io.BytesIO((data / "scene_1.png").read_bytes()))
    x = model.preprocess(scene)
    scene = np.asarray(Image.fromarray(scene).filter(ImageFilter.MedianFilter(3)))  # less noise, fewer bytes: for drawing alone
    photo = as_rgb("figures", np.kron(scene, np.ones((4, 4), np.uint8)))

    def over(values: np.ndarray, peak: float) -> np.ndarray:
        return signed_picture(gradcam.resize(values[None], photo.shape[:2])[0], peak, photo)

    report = model.explain(x, target=DIGIT, layer=BEFORE_RELU, relu=False).signs()[0]
    write("signs_quadrants.png", sign_panel(report, scene))
    print(report.describe(2))

    peak, removed = signs_peak(report), report.removed
    shown = np.maximum(report.map, 0)
    cells = [
        (f"signed map L for {DIGIT}", over(report.map, peak)),
        ("R(L): what is usually shown", over(shown, peak)),
        (f"removed: {removed.share:.0%} of the mass", over(np.minimum(report.map, 0), peak)),
        (f"R(-L): the map of -S for {DIGIT}", over(report.counterfactual.shown, peak)),
    ]
    write("signs_relu.png", panel([cells], scale=Scale("all on one scale", peak)))

    # The same function in other numbers: the layer is shifted, the next bias takes the shift back, gradients stay (12.3).
    a, g = model.activations_and_gradients(x, layer=model.default_layer.name, target=DIGIT)
    plain = gradcam.signs(a, g)[0]
    alpha = plain.channels.alpha
    size = 1.2 * float(plain.map.max()) / np.abs(alpha).sum()
    shift = (-size * np.sign(alpha)).astype(a.dtype)
    shifted = gradcam.signs(a + shift[None, :, None, None], g)[0]
    print(shifted.describe(0))
    print(f"shifted by {size:.3g}; constant: predicted {alpha @ shift:.6f}, measured {np.mean(shifted.map - plain.map):.6f}")
    zero = next(d for d in shifted.diagnosis if d.kind == "choice_of_zero").evidence
    peak = max(signs_peak(plain), float(np.abs(shifted.map).max()))
    cells = [
        ("signed map L", over(plain.map, peak)),
        ("R(L)", over(np.maximum(plain.map, 0), peak)),
        ("same function, layer shifted: L'", over(shifted.map, peak)),
        ("R(L'): blank", over(np.maximum(shifted.map, 0), peak)),
        ("R(L' - mean)", over(np.maximum(shifted.map - zero["mean_baseline"], 0), peak)),
    ]
    write("signs_shift.png", panel([cells], scale=Scale(f"shift adds {alpha @ shift:.3g} everywhere; all on one scale", peak)))

    both = [model.explain(x, target=t, relu=False).signs()[0] for t in (OTHER, DIGIT, gradcam.targets.Contrast(OTHER, DIGIT))]
    peak = max(signs_peak(r) for r in both)
    names = (f"class {OTHER}", f"class {DIGIT}", f"Contrast({OTHER}, {DIGIT})")
    cells = [(f"{name}\nsum {r.masses.sum():+.3g}", over(r.map, peak)) for name, r in zip(names, both, strict=True)]
    write("signs_contrast.png", panel([cells], scale=Scale("all on one scale", peak)))


if __name__ == "__main__":
    main()
