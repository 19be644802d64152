"""gradcam demo."""

from __future__ import annotations

import argparse
import io
import json
from importlib.resources import files
from pathlib import Path

import numpy as np

from gradcam.files import write_bytes
from gradcam.model import load
from gradcam.preprocess import open_image
from gradcam.render.figure import encode_png, panel
from gradcam.render.overlay import overlay

NAME = "demo"
HELP = "explain the bundled model on a bundled scene with several digits, and draw one PNG"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("-o", "--output", metavar="FILE", default="gradcam-demo.png", help="PNG to write (default: gradcam-demo.png)")
    parser.add_argument("--scene", type=int, choices=(1, 2), default=1, help="which of the bundled scenes")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    data = files("gradcam") / "data"
    model = load((data / "digits.onnx").read_bytes())
    scene = open_image(io.BytesIO((data / f"scene_{arguments.scene}.png").read_bytes()))
    present = json.loads((data / "scenes.json").read_text())[f"scene_{arguments.scene}.png"]["digits"]
    x = model.preprocess(scene)[0]
    found = model.explain_many(x, present)
    signed = model.explain_many(x, present, relu=False)
    contested = min(range(len(present)), key=lambda i: float(signed[i].map.min()))  # the digit with the strongest counter-evidence
    large = np.kron(scene, np.ones((4, 4), np.uint8))
    pictures = [("the scene", large)]
    pictures += [(f"evidence for {digit}", e.overlay(large)) for digit, e in zip(present, found, strict=True)]
    pictures.append((f"for and against {present[contested]}", overlay(large, signed[contested].map, alpha=0.6)))
    half = (len(pictures) + 1) // 2
    write_bytes(arguments.output, encode_png(panel([pictures[:half], pictures[half:]], signed="signed map")))
    seen = np.flatnonzero(np.asarray(model(x)) > 0)
    print(f"digits in the scene: {', '.join(map(str, sorted(present)))}; the model sees: {', '.join(map(str, seen))}")
    for digit, e in zip(present, found, strict=True):
        row, column = np.unravel_index(int(np.argmax(e.map)), e.map.shape)
        print(f"digit {digit}: score {float(e.score):.2f}, strongest evidence at row {row}, column {column}")
    print(f"wrote {Path(arguments.output)}")
    return 0
