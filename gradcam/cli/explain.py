"""gradcam explain."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from gradcam.cli import _model
from gradcam.compat import MODES
from gradcam.errors import GradcamError
from gradcam.explanation import Explanation
from gradcam.methods import METHODS
from gradcam.sign_report import SignReport

NAME = "explain"
HELP = "write a heat map of each picture for each target"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    _model.add_model_arguments(parser)
    parser.add_argument("--method", metavar="M", default="gradcam", help=f"one of {', '.join(METHODS)} (default: gradcam)")
    parser.add_argument("--compat", metavar="C", default="paper", help=f"one of {', '.join(MODES)} (default: paper)")
    parser.add_argument("--aggregate", choices=("mean", "max", "product"), help="how several layers are combined (default: as --compat)")
    parser.add_argument("--aug-smooth", action="store_true", help="average over mirrored and scaled copies of the picture")
    parser.add_argument(
        "--slices", metavar="N", type=int, nargs="+", help="of volumes and video: how many slices, or the numbers of several"
    )
    _model.add_run_arguments(parser)
    parser.add_argument("-o", "--output", metavar="FILE|DIR", help="PNG file, or a folder for several (default: the current folder)")
    parser.add_argument("--npz", metavar="FILE|DIR", help="also write map, raw, weights, score and target as arrays")
    parser.add_argument("--json", action="store_true", help="print one JSON record per picture and target")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    model = _model.load_model(arguments)
    failures: list[str] = []
    for batch, inputs in _model.batches(_model.pictures(model, arguments, failures), arguments.batch_size):
        found = model.explain_many(
            inputs,
            _model.targets(arguments),
            layer=_model.layer(arguments),
            method=arguments.method,
            compat=arguments.compat,
            aug_smooth=arguments.aug_smooth,
            aggregate=arguments.aggregate,
            num_threads=arguments.num_threads,
            signs=True,
        )
        reports = [_report(explanations) for explanations in found]
        for i, picture in enumerate(batch):
            for explanations, report in zip(found, reports, strict=True):
                explanation = explanations[i]
                explanation.image, explanation.preprocess = picture.photo, picture.steps
                try:
                    _write(explanation, "" if report is None else report[i].summary(), picture, arguments)
                except OSError as error:
                    failures.append(f"{picture.name}: {error}")
    return _model.report_failures(failures)


def _slices(arguments: argparse.Namespace) -> int | list[int] | None:
    """One number says how many slices, several say which."""
    numbers: list[int] = arguments.slices or []
    return numbers if len(numbers) > 1 else next(iter(numbers), None)


def _write(explanation: Explanation, signs: str, picture: _model.Picture, arguments: argparse.Namespace) -> None:
    parts = arguments.method, _model.target_name(explanation)
    paths = [_model.output_path(arguments, arguments.output or ".", picture, parts, ".png")]
    if arguments.npz is not None:
        paths.append(_model.output_path(arguments, arguments.npz, picture, parts, ".npz"))
    for path in paths:
        explanation.save(path, slices=_slices(arguments))
    where = " (logit)" if explanation.logit else ""
    files = ", ".join(map(str, paths))
    print(
        f"{picture.name}: {explanation.title()}, score {float(explanation.score):.4g}{where}, layer {explanation.layer} -> {files}",
        file=sys.stderr,
    )
    if signs:
        print(f"{picture.name}: {signs}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(_record(explanation, picture.name, paths)))


def _report(explanations: Explanation) -> SignReport | None:
    """Where the signs of the maps come from, if that can be told."""
    try:
        return explanations.signs(compare=False)
    except (GradcamError, ValueError):  # the maps are there: their analysis may be impossible (several layers, an odd target)
        return None


def _record(explanation: Explanation, picture: str, paths: list[Path]) -> dict[str, Any]:
    finished = np.asarray(explanation.map)
    peak = np.unravel_index(int(np.nanargmax(finished)), finished.shape) if np.isfinite(finished).any() else ()
    return {
        "picture": picture,
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
