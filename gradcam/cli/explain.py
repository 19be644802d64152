"""gradcam explain."""

from __future__ import annotations

import argparse
import json
import re
import sys
import traceback
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gradcam.compat import MODES
from gradcam.errors import require
from gradcam.explanation import Explanation
from gradcam.files import refuse_inputs
from gradcam.methods import METHODS
from gradcam.model import Model, load
from gradcam.preprocess import Preprocess, open_image

NAME = "explain"
HELP = "write a heat map of each picture for each target"

_PRESETS = ("imagenet", "caffe", "unit", "signed", "raw")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", metavar="MODEL", help="ONNX file")
    parser.add_argument("pictures", metavar="PICTURE", nargs="+", help="PNG, JPEG, WebP, BMP or TIFF")
    parser.add_argument("--target", metavar="T", nargs="+", help="class names or indices (default: the class with the largest score)")
    parser.add_argument("--layer", metavar="L", help="tensor or node name (default: see `gradcam info`)")
    parser.add_argument("--method", metavar="M", default="gradcam", help=f"one of {', '.join(METHODS)} (default: gradcam)")
    parser.add_argument("--compat", metavar="C", default="paper", help=f"one of {', '.join(MODES)} (default: paper)")
    parser.add_argument("--labels", metavar="FILE", help="class names, one a line (default: the model's metadata)")
    group = parser.add_argument_group("preprocessing (default: the model's metadata, else by its channels)")
    group.add_argument("--preprocess", metavar="PRESET", choices=_PRESETS, help=f"one of {', '.join(_PRESETS)}")
    group.add_argument("--mean", type=float, nargs="+", metavar="X", help="subtracted, one number or one per channel")
    group.add_argument("--std", type=float, nargs="+", metavar="X", help="divided by, one number or one per channel")
    group.add_argument("--scale", type=float, metavar="X", help="grey levels are multiplied by this first")
    group.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="input size, where the model leaves it open")
    group.add_argument("--bgr", action="store_true", help="channels in the order blue, green, red")
    parser.add_argument("-o", "--output", metavar="FILE|DIR", help="PNG file, or a folder for several (default: the current folder)")
    parser.add_argument("--npz", metavar="FILE|DIR", help="also write map, raw, weights, score and target as arrays")
    parser.add_argument("--json", action="store_true", help="print one JSON record per picture and target")
    parser.add_argument("--num-threads", type=int, metavar="N", help="threads to use")
    parser.add_argument("--max-bytes", type=int, default=2**32, metavar="N", help="most memory to use (default: 4 GiB)")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    model = load(arguments.model, labels=arguments.labels, max_bytes=arguments.max_bytes)
    steps = _preprocess(model, arguments)
    targets: list[Any] = [_target(t) for t in arguments.target] if arguments.target else [None]
    outputs = _Outputs(arguments, len(arguments.pictures) * len(targets))
    print(f"preprocessing: {steps}", file=sys.stderr)
    failures: list[str] = []
    for picture in _progress(arguments.pictures):
        try:
            photo = open_image(picture)
            tensor = steps(photo)
        except (OSError, ValueError, Warning) as error:
            if arguments.debug:
                traceback.print_exc()
            failures.append(str(error) if picture in str(error) else f"{picture}: {error}")
            continue
        found = model.explain_many(
            tensor[0], targets, layer=arguments.layer, method=arguments.method, compat=arguments.compat, num_threads=arguments.num_threads
        )
        for explanation in found:
            explanation.image, explanation.preprocess = photo, steps
            try:
                _write(explanation, Path(picture), outputs, arguments.json)
            except OSError as error:
                failures.append(f"{picture}: {error}")
    for failure in failures:
        print(f"gradcam: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _target(text: str) -> int | str:
    return int(text) if re.fullmatch(r"-?\d+", text) else text


def _preprocess(model: Model, arguments: argparse.Namespace) -> Preprocess:
    """Take the model's own preprocessing or the preset asked for, with single fields replaced."""
    steps = model.preprocess
    if arguments.preprocess:
        steps = Preprocess.preset(
            arguments.preprocess, size=steps.size, channels="grey" if steps.channels == "grey" else None, layout=steps.layout
        )
    fields: dict[str, Any] = {
        name: getattr(arguments, name) for name in ("mean", "std", "scale", "size") if getattr(arguments, name) is not None
    }
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    if arguments.bgr:
        fields["channels"] = "bgr"
    return replace(steps, **fields)


def _progress(pictures: list[str]) -> Iterable[str]:
    if len(pictures) > 1 and sys.stderr.isatty():
        bar: Iterable[str] = require("tqdm", "cli").tqdm(pictures, unit="picture")
        return bar
    return pictures


class _Outputs:
    """Where the results of each picture and target go."""

    def __init__(self, arguments: argparse.Namespace, count: int) -> None:
        self.method, self.single = arguments.method, count == 1
        self.inputs = (arguments.model, *arguments.pictures)
        self.png, self.npz = arguments.output, arguments.npz

    def paths(self, picture: Path, title: str) -> list[Path]:
        """Paths to write, the PNG first."""
        paths = [self._path(self.png or ".", picture, title, ".png")]
        if self.npz is not None:
            paths.append(self._path(self.npz, picture, title, ".npz"))
        refuse_inputs("explain", paths, self.inputs)
        return paths

    def _path(self, given: str, picture: Path, title: str, suffix: str) -> Path:
        place = Path(given)
        if self.single and place.suffix.lower() == suffix and not place.is_dir():
            return place
        place.mkdir(parents=True, exist_ok=True)
        middle = self.method if self.single else re.sub(r"[^\w.-]+", "_", title).strip("_")
        return place / f"{picture.stem}.{middle}{suffix}"


def _write(explanation: Explanation, picture: Path, outputs: _Outputs, as_json: bool) -> None:
    title = explanation.title()
    target = explanation.target[0]
    name = str(getattr(target, "c", title))
    paths = outputs.paths(picture, explanation.labels.get(int(name), name) if name.isdigit() else name)
    for path in paths:
        explanation.save(path)
    where = " (logit)" if explanation.logit else ""
    print(
        f"{picture}: {title}, score {float(explanation.score):.4g}{where}, layer {explanation.layer} -> {', '.join(map(str, paths))}",
        file=sys.stderr,
    )
    if as_json:
        print(json.dumps(_record(explanation, picture, paths)))


def _record(explanation: Explanation, picture: Path, paths: list[Path]) -> dict[str, Any]:
    finished = np.asarray(explanation.map)
    peak = np.unravel_index(int(np.nanargmax(finished)), finished.shape) if np.isfinite(finished).any() else ()
    return {
        "picture": str(picture),
        "target": explanation.title(),
        "class": getattr(explanation.target[0], "c", None),
        "score": float(explanation.score),
        "logit": explanation.logit,
        "layer": explanation.layer,
        "method": explanation.method,
        "compat": explanation.compat,
        "peak": [int(i) for i in peak],
        "flags": {key: value.tolist()[0] for key, value in explanation.flags.items()},
        "files": [str(path) for path in paths],
    }
