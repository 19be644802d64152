"""gradcam experiment."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

NAME = "experiment"
HELP = "train small networks and measure what the sign and the zero of a Grad-CAM map mean; write tables as JSON and plots as PNG"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("name", metavar="NAME", help="an experiment, or 'all'; 'list' names them with their questions")
    parser.add_argument("--quick", action="store_true", help="one seed, short training, few pictures: whether all works, not what is true")
    parser.add_argument("--seeds", type=int, metavar="N", help="number of training seeds (default: 5; quick: 1)")
    parser.add_argument("-o", "--output", metavar="DIR", default=".", help="folder for NAME.json and NAME-*.png (default: the current one)")
    parser.add_argument("--models", metavar="DIR", help="folder that keeps the trained networks (default: OUTPUT/networks)")
    parser.add_argument("--num-threads", type=int, metavar="N", help="threads (default: all cores); the numbers do not depend on it")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from gradcam.experiments import EXPERIMENTS, FULL, QUICK, Study, draw, run_on

    if arguments.name == "list":
        for name, experiment in EXPERIMENTS.items():
            print(f"{name:22} {experiment.question}")
        return 0
    names = list(EXPERIMENTS) if arguments.name == "all" else [arguments.name]
    scale = QUICK if arguments.quick else FULL
    if arguments.seeds is not None:
        if arguments.seeds < 1:
            raise ValueError(f"experiment: --seeds: expected at least 1, got {arguments.seeds}")
        scale = replace(scale, seeds=tuple(range(arguments.seeds)))
    folder = Path(arguments.output)
    models = folder / "networks" if arguments.models is None else Path(arguments.models)
    study = Study(scale, models=models, num_threads=arguments.num_threads, tell=lambda line: print(line, file=sys.stderr, flush=True))
    for name in names:
        result = run_on(study, name)
        print(result, end="\n\n")
        path = folder / f"{name}.json"
        folder.mkdir(parents=True, exist_ok=True)
        result.save(path)
        for written in (path, *draw(result, study, folder)):
            print(f"wrote {written}")
    return 0
