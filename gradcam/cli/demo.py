"""gradcam demo."""

from __future__ import annotations

import argparse
import io
import json
from importlib.resources import files
from pathlib import Path

import numpy as np

from gradcam.files import write_bytes
from gradcam.loading import load
from gradcam.preprocess import open_image
from gradcam.render.figure import Scale, encode_png, panel
from gradcam.render.signs import sign_cells, signs_peak

NAME = "demo"
HELP = "explain the bundled model on a bundled scene with several digits, and draw one PNG: evidence, and where its sign comes from"


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
    reports = [e.signs()[0] for e in found]
    contested = max(range(len(present)), key=lambda i: float(reports[i].removed.share))  # most of its evidence is outweighed
    report = reports[contested]
    large = np.kron(scene, np.ones((4, 4), np.uint8))
    evidence = [("the scene", large)]
    evidence += [(f"evidence for {digit}", e.overlay(large)) for digit, e in zip(present, found, strict=True)]
    (title, signed), *quadrants = sign_cells(report, large)
    for_and_against = (title.replace("signed map", f"for and against {present[contested]}"), signed)
    scale = Scale(f"digit {present[contested]}: signed map = Q1 + Q2 + Q3 + Q4, all on one scale", signs_peak(report))
    write_bytes(arguments.output, encode_png(panel([evidence, [for_and_against, *quadrants]], scale=scale)))
    seen = np.flatnonzero(np.asarray(model(x)) > 0)
    print(f"digits in the scene: {', '.join(map(str, sorted(present)))}; the model sees: {', '.join(map(str, seen))}")
    for digit, e in zip(present, found, strict=True):
        row, column = np.unravel_index(int(np.argmax(e.map)), e.map.shape)
        print(f"digit {digit}: score {float(e.score):.2f}, strongest evidence at row {row}, column {column}")
    print(f"digit {present[contested]}: {report.summary()}")
    print(f"wrote {Path(arguments.output)}")
    return 0
