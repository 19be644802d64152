"""What the commands share that run a model on pictures: options, preprocessing, the loop over pictures, names of files."""

from __future__ import annotations

import argparse
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.errors import require
from gradcam.explanation import Explanation
from gradcam.files import refuse_inputs
from gradcam.model import Model, load
from gradcam.preprocess import Preprocess, open_image
from gradcam.resampling import resize

__all__ = [
    "add_model_arguments",
    "add_run_arguments",
    "layer",
    "load_model",
    "output_path",
    "pictures",
    "placing",
    "preprocessing",
    "report_failures",
    "targets",
]

_PRESETS = ("imagenet", "caffe", "unit", "signed", "raw")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the model, the pictures, and what is explained."""
    parser.add_argument("model", metavar="MODEL", help="ONNX file")
    parser.add_argument("pictures", metavar="PICTURE", nargs="+", help="PNG, JPEG, WebP, BMP or TIFF")
    parser.add_argument("--target", metavar="T", nargs="+", help="class names or indices (default: the class with the largest score)")
    parser.add_argument("--layer", metavar="L", nargs="+", help="tensor or node names (default: see `gradcam info`)")


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare labels, preprocessing and limits."""
    parser.add_argument("--labels", metavar="FILE", help="class names, one a line (default: the model's metadata)")
    group = parser.add_argument_group("preprocessing (default: the model's metadata, else by its channels)")
    group.add_argument("--preprocess", metavar="PRESET", choices=_PRESETS, help=f"one of {', '.join(_PRESETS)}")
    group.add_argument("--mean", type=float, nargs="+", metavar="X", help="subtracted, one number or one per channel")
    group.add_argument("--std", type=float, nargs="+", metavar="X", help="divided by, one number or one per channel")
    group.add_argument("--scale", type=float, metavar="X", help="grey levels are multiplied by this first")
    group.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="input size, where the model leaves it open")
    group.add_argument("--bgr", action="store_true", help="channels in the order blue, green, red")
    parser.add_argument("--num-threads", type=int, metavar="N", help="threads to use")
    parser.add_argument("--max-bytes", type=int, default=2**32, metavar="N", help="most memory to use (default: 4 GiB)")


def load_model(arguments: argparse.Namespace) -> Model:
    """Load the model."""
    return load(arguments.model, labels=arguments.labels, max_bytes=arguments.max_bytes)


def targets(arguments: argparse.Namespace) -> list[Any]:
    """Class indices and names; None alone for the default."""
    if not arguments.target:
        return [None]
    return [int(text) if re.fullmatch(r"-?\d+", text) else text for text in arguments.target]


def layer(arguments: argparse.Namespace) -> str | list[str] | None:
    """The layer, or several; None for the default."""
    names: list[str] = arguments.layer or []
    return names if len(names) > 1 else next(iter(names), None)


def preprocessing(model: Model, arguments: argparse.Namespace) -> Preprocess:
    """Take the model's own preprocessing or the preset asked for, with single fields replaced, and say which."""
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
    steps = replace(steps, **fields)
    print(f"preprocessing: {steps}", file=sys.stderr)
    return steps


def pictures(
    arguments: argparse.Namespace, steps: Preprocess, failures: list[str]
) -> Iterator[tuple[str, NDArray[np.uint8], NDArray[np.float32]]]:
    """Name, photo and tensor of each picture; one that cannot be read is added to the failures."""
    for picture in _progress(arguments.pictures):
        try:
            photo = open_image(picture)
            tensor = steps(photo)
        except (OSError, ValueError, Warning) as error:
            if arguments.debug:
                traceback.print_exc()
            failures.append(str(error) if picture in str(error) else f"{picture}: {error}")
            continue
        yield picture, photo, tensor


def report_failures(failures: list[str]) -> int:
    """List what failed and return the exit status."""
    for failure in failures:
        print(f"gradcam: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _progress(names: list[str]) -> Iterable[str]:
    if len(names) > 1 and sys.stderr.isatty():
        bar: Iterable[str] = require("tqdm", "cli").tqdm(names, unit="picture")
        return bar
    return names


def output_path(arguments: argparse.Namespace, given: str, picture: str, parts: tuple[str, str], suffix: str) -> Path:
    """Path of one result: the file that was given, or one in that folder.

    Parameters
    ----------
    arguments : Namespace
        With the model and the pictures, none of which is overwritten.
    given : str
        File or folder.
    picture : str
        Path of the picture.
    parts : (str, str)
        What stands between the picture's name and the suffix for the only result, and for one of several.
    suffix : str
        With its dot.
    """
    place, single = Path(given), len(arguments.pictures) * len(targets(arguments)) == 1
    if not (single and place.suffix.lower() == suffix and not place.is_dir()):
        place.mkdir(parents=True, exist_ok=True)
        middle = parts[0] if single else re.sub(r"[^\w.-]+", "_", parts[1]).strip("_")
        place = place / f"{Path(picture).stem}.{middle}{suffix}"
    refuse_inputs(arguments.command, [place], (arguments.model, *arguments.pictures))
    return place


def target_name(explanation: Explanation) -> str:
    """Name of the explained class for a file."""
    name = str(getattr(explanation.target[0], "c", explanation.title()))
    return explanation.labels.get(int(name), name) if name.isdigit() else name


def placing(steps: Preprocess, photo: NDArray[np.uint8], size: tuple[int, ...]) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Return what puts a map of any size onto the photo; NaN where the model saw nothing."""
    height, width = photo.shape[:2]
    return lambda values: steps.place(resize(values[None], size)[0], (height, width))
