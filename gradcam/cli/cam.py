"""gradcam cam."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.array_methods import cam
from gradcam.cli._arrays import read_npy
from gradcam.compat import MODES, Mode
from gradcam.compat import mode as compat_mode
from gradcam.files import refuse_inputs, write_bytes
from gradcam.methods import METHODS, find_method
from gradcam.postprocessing import flags, postprocess, warn_blank
from gradcam.preprocess import open_image
from gradcam.render.figure import encode_png
from gradcam.render.overlay import overlay

NAME = "cam"
HELP = "make maps of arrays that were exported from any framework"

_SIDE = 224
"""A map that is drawn alone is enlarged by a whole factor until its longer side has this many pixels."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("activations", metavar="ACTIVATIONS.npy", help="values of the layer, (N, C, *S)")
    parser.add_argument("gradients", metavar="GRADIENTS.npy", nargs="?", help="gradient of the score, same shape, if the method needs it")
    parser.add_argument("--method", metavar="M", default="gradcam", help=f"one of {', '.join(METHODS)} (default: gradcam)")
    parser.add_argument("--compat", metavar="C", default="paper", help=f"one of {', '.join(MODES)} (default: paper)")
    parser.add_argument("--channel-axis", metavar="A", type=int, default=1, help="axis of the channels: 1, or -1 for channels-last arrays")
    parser.add_argument("--signed", action="store_true", help="keep negative evidence")
    parser.add_argument("--image", metavar="PICTURE", help="what the network saw; every map is drawn over it (default: maps alone)")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE.npy|FILE.png|DIR",
        required=True,
        help=".npy: the raw maps at layer size; .png: the first finished map; a folder: the raw maps and a picture of each",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    method = find_method("cam", arguments.method)
    if arguments.gradients is None and "gradients" in method.needs:
        raise ValueError(f"cam: GRADIENTS.npy: expected a file, since method '{method.name}' needs gradients; got none")
    activations = read_npy("cam", arguments.activations)
    gradients: Any = None if arguments.gradients is None else read_npy("cam", arguments.gradients)
    photo = None if arguments.image is None else open_image(arguments.image)
    common = {"method": arguments.method, "channel_axis": arguments.channel_axis, "compat": arguments.compat}
    signed = cam(activations, gradients, relu=False, **common)
    record = compat_mode(arguments.compat)
    relu = record.removes_negative(method.name, False if arguments.signed else None)
    raw = cam(activations, gradients, relu=True, **common) if relu else signed
    outputs = _outputs(arguments, raw)
    refuse_inputs("cam", outputs, [p for p in (arguments.activations, arguments.gradients, arguments.image) if p is not None])
    warn_blank(flags(signed), relu=relu, function="cam")
    for path, picture in outputs.items():
        write_bytes(path, _npy(raw) if picture is None else encode_png(_draw(signed[picture], photo, record, method.name, relu)))
    print(f"{arguments.activations}: {method.name}, maps {raw.shape} -> {', '.join(map(str, outputs))}", file=sys.stderr)
    return 0


def _outputs(arguments: argparse.Namespace, raw: NDArray[Any]) -> dict[Path, int | None]:
    """Tell what to write: for each path the number of a picture, or None for the raw maps."""
    place = Path(arguments.output)
    suffix = "" if place.is_dir() else place.suffix.lower()
    if suffix == ".npy":
        return {place: None}
    if raw.ndim != 3:
        raise ValueError(f"cam: -o: expected FILE.npy, since only maps with two spatial axes can be drawn; got maps of shape {raw.shape}")
    if suffix == ".png":
        if not len(raw):
            raise ValueError("cam: -o: expected FILE.npy or a folder, since there is no picture to draw")
        return {place: 0}
    place.mkdir(parents=True, exist_ok=True)
    stem = Path(arguments.activations).stem
    pictures: dict[Path, int | None] = {place / f"{stem}.{i}.{arguments.method}.png": i for i in range(len(raw))}
    return {place / f"{stem}.{arguments.method}.npy": None} | pictures


def _draw(signed: NDArray[Any], photo: NDArray[np.uint8] | None, record: Mode, method: str, relu: bool) -> NDArray[np.uint8]:
    factor = max(1, -(-_SIDE // max(signed.shape)))
    size = (factor * signed.shape[0], factor * signed.shape[1]) if photo is None else photo.shape[:2]
    finished = postprocess(
        signed[None],
        size if record.output == "input" else None,
        compat=record.name,
        relu=relu,
        normalize="absmax" if record.normalize == "none" else None,  # colours need a scale
        method=method,
    )[0]
    return overlay(np.zeros((*size, 3), np.uint8), finished, alpha=1.0) if photo is None else overlay(photo, finished)


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
