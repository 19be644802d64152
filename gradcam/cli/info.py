"""gradcam info."""

from __future__ import annotations

import argparse
import sys

from gradcam.errors import UnsupportedOpError
from gradcam.model import Model, load

NAME = "info"
HELP = "print a model's inputs, outputs and layers, its default layer, and what would not run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", metavar="MODEL", help="ONNX file")
    parser.add_argument("--all", action="store_true", help="list other names of the layers too")
    parser.add_argument("--plan", action="store_true", help="list the steps of a forward run, with bytes read and written")
    parser.add_argument("--labels", metavar="FILE", help="class names, one a line")
    parser.add_argument("--max-bytes", type=int, default=2**32, metavar="N", help="most memory to use (default: 4 GiB)")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    try:
        model = load(arguments.model, labels=arguments.labels, max_bytes=arguments.max_bytes)
    except UnsupportedOpError as error:
        print(f"gradcam: {arguments.model} would not run:", *(f"  {p}" for p in error.problems), sep="\n", file=sys.stderr)
        return 2
    print(model)
    if arguments.all:
        for layer in model.layers:
            if layer.aliases:
                print(f"alias  {layer.name}: {', '.join(layer.aliases)}")
    if model.labels:
        print(f"labels {len(model.labels)}")
    print(f"prepares pictures as {model.preprocess}")
    if arguments.plan:
        _print_plan(model)
    return 0


def _print_plan(model: Model) -> None:
    plan = model.forward_plan()
    item = plan.real.itemsize
    for number, step in enumerate(plan.steps):
        read = sum(v.size for v in step.reads if v is not None) * item
        written = sum(v.size for v in step.writes) * item
        print(f"step {number:4}  {step.kernel:24} reads {read:>12,}  writes {written:>12,}  {', '.join(v.name for v in step.writes)}")
    print(f"arena {plan.arena_bytes:,} bytes")
