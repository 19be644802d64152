"""gradcam signs."""

from __future__ import annotations

import argparse
import json
import sys
import warnings

from gradcam.cli import _model
from gradcam.errors import BlankMapWarning
from gradcam.explanation import Explanation
from gradcam.files import write_bytes
from gradcam.render.figure import encode_png
from gradcam.render.signs import sign_panel
from gradcam.sign_report import SignReport

NAME = "signs"
HELP = "say where the sign of a Grad-CAM map comes from, and why a map is blank, negative or the same for every class"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    _model.add_model_arguments(parser)
    parser.add_argument("--top", type=int, default=5, metavar="K", help="channels for and against (default: 5)")
    _model.add_run_arguments(parser)
    parser.add_argument("-o", "--output", metavar="FILE|DIR", help="also draw the signed map and its quadrants: PNG file, or a folder")
    parser.add_argument("--json", action="store_true", help="print one JSON record per picture and target instead of text")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if arguments.top < 0:
        raise ValueError(f"signs: --top: expected 0 or more, got {arguments.top}")
    model = _model.load_model(arguments)
    failures: list[str] = []
    first = True
    for batch, inputs in _model.batches(_model.pictures(model, arguments, failures), arguments.batch_size):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BlankMapWarning)  # the report says the same
            found = model.explain_many(
                inputs,
                _model.targets(arguments),
                layer=_model.layer(arguments),
                relu=False,
                num_threads=arguments.num_threads,
                signs=True,
            )
        reports = [explanations.signs() for explanations in found]
        for i, picture in enumerate(batch):
            for explanations, report in zip(found, reports, strict=True):
                if not first and not arguments.json:
                    print()
                first = False
                try:
                    _write(explanations[i], report[i], picture, arguments)
                except OSError as error:
                    failures.append(f"{picture.name}: {error}")
    return _model.report_failures(failures)


def _write(explanation: Explanation, report: SignReport, picture: _model.Picture, arguments: argparse.Namespace) -> None:
    if arguments.output is not None:
        name = _model.target_name(explanation)
        path = _model.output_path(arguments, arguments.output, picture, ("signs", f"{name}.signs"), ".png")
        place = picture.placing(explanation.size) if explanation.size else None
        write_bytes(path, encode_png(sign_panel(report, picture.photo, place=place)))
        print(f"{picture.name}: {explanation.title()} -> {path}", file=sys.stderr)
    if arguments.json:
        print(json.dumps({"picture": picture.name} | report.to_dict(arguments.top), allow_nan=False))
    else:
        print(f"{picture.name}\n{report.describe(arguments.top)}")
