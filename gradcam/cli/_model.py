"""What the commands share that run a model on pictures: options, preprocessing, the loop over pictures, names of files."""

from __future__ import annotations

import argparse
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.cli._arrays import is_array_file, read_inputs
from gradcam.errors import require
from gradcam.explanation import Explanation
from gradcam.files import refuse_inputs
from gradcam.graph.source import dims_text
from gradcam.loading import load
from gradcam.model import Model
from gradcam.ops.bf16 import PRECISIONS
from gradcam.preprocess import Preprocess, open_image
from gradcam.render.montage import pictured
from gradcam.resampling import resize

__all__ = [
    "Picture",
    "add_model_arguments",
    "add_precision_argument",
    "add_run_arguments",
    "batches",
    "layer",
    "load_model",
    "output_path",
    "pictures",
    "report_failures",
    "targets",
    "wants_arrays",
]


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture, signal or volume.

    Attributes
    ----------
    path : str
        Its file.
    inputs : dict of ndarray
        The model's inputs by name, for one picture, with a batch axis.
    photo : ndarray of uint8 or None
        The photo that it was, else the picture that an array shows.
    steps : Preprocess or None
        How the photo became the input; None for arrays, which go in as they are.
    row : int or None
        Number in its file, where that holds several.
    """

    path: str
    inputs: Mapping[str, NDArray[Any]]
    photo: NDArray[np.uint8] | None
    steps: Preprocess | None = None
    row: int | None = None

    @property
    def name(self) -> str:
        """Name for people."""
        return self.path if self.row is None else f"{self.path}[{self.row}]"

    @property
    def stem(self) -> str:
        """Beginning of the names of its results."""
        return Path(self.path).stem + ("" if self.row is None else f".{self.row}")

    def placing(self, size: tuple[int, ...]) -> Callable[[NDArray[Any]], NDArray[Any]] | None:
        """What puts a map onto the photo, by way of the input's size; NaN where the model saw nothing."""
        if self.photo is None or self.steps is None:
            return None
        steps, (height, width) = self.steps, self.photo.shape[:2]
        return lambda values: steps.place(resize(values[None], size)[0], (height, width))


_PRESETS = ("imagenet", "caffe", "unit", "signed", "raw")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the model, the pictures, and what is explained."""
    parser.add_argument("model", metavar="MODEL", help="ONNX file")
    parser.add_argument(
        "pictures", metavar="PICTURE", nargs="+", help="PNG, JPEG, WebP, BMP or TIFF; or arrays: .npy (of several inputs .npz, by name)"
    )
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
    parser.add_argument("--batch-size", type=int, default=1, metavar="N", help="pictures per run, of equal input sizes (default: 1)")
    add_precision_argument(parser)
    parser.add_argument("--max-bytes", type=int, default=2**32, metavar="N", help="most memory to use (default: 4 GiB)")


def add_precision_argument(parser: argparse.ArgumentParser) -> None:
    """Declare what layers compute in."""
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="bfloat16: faster and less exact, where the CPU has it (default: float32)",
    )


def load_model(arguments: argparse.Namespace) -> Model:
    """Load the model, after a check of what needs none."""
    if arguments.batch_size < 1:
        raise ValueError(f"{arguments.command}: --batch-size: expected at least 1, got {arguments.batch_size}")
    return load(arguments.model, labels=arguments.labels, max_bytes=arguments.max_bytes, precision=arguments.precision)


def targets(arguments: argparse.Namespace) -> list[Any]:
    """Class indices and names; None alone for the default."""
    if not arguments.target:
        return [None]
    return [int(text) if re.fullmatch(r"-?\d+", text) else text for text in arguments.target]


def layer(arguments: argparse.Namespace) -> str | list[str] | None:
    """The layer, or several; None for the default."""
    names: list[str] = arguments.layer or []
    return names if len(names) > 1 else next(iter(names), None)


def _preprocessing(model: Model, arguments: argparse.Namespace) -> Preprocess:
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
    if not all(map(is_array_file, arguments.pictures)):
        print(f"preprocessing: {steps}", file=sys.stderr)
    return steps


def pictures(model: Model, arguments: argparse.Namespace, failures: list[str]) -> Iterator[Picture]:
    """All pictures of all files; a file that cannot be read is added to the failures."""
    steps = _preprocessing(model, arguments)
    for path in _progress(arguments.pictures):
        try:
            found = _arrays(arguments.command, model, path) if is_array_file(path) else [_photo(arguments.command, model, steps, path)]
        except (OSError, ValueError, Warning) as error:
            if arguments.debug:
                traceback.print_exc()
            failures.append(str(error) if path in str(error) else f"{path}: {error}")
            continue
        yield from found


def wants_arrays(model: Model) -> str:
    """What a model takes that cannot be made of one photo; empty for models of pictures."""
    if len(model.inputs) == 1 and len(model.inputs[0].shape) == 4:
        return ""
    wanted = "; ".join(f"{t.name} {dims_text(t.shape)}" for t in model.inputs)
    return f"a {'.npz' if len(model.inputs) > 1 else '.npy'} file with {wanted}"


def _photo(command: str, model: Model, steps: Preprocess, path: str) -> Picture:
    if wanted := wants_arrays(model):
        raise ValueError(f"{command}: {path}: this model takes no photo but arrays: expected {wanted}")
    photo = open_image(path)
    return Picture(path, {model.inputs[0].name: steps(photo)}, photo, steps)


def _arrays(command: str, model: Model, path: str) -> list[Picture]:
    inputs = read_inputs(command, path, model.inputs)
    shown = next((t for t in model.inputs if len(t.shape) == 4), None)
    count = len(next(iter(inputs.values())))
    found = []
    for i in range(count):
        photo = None
        if shown is not None:
            array = inputs[shown.name][i]
            photo = pictured(np.moveaxis(array, -1, 0) if shown.layout == "channels_last" else array)
        one = {name: array[i : i + 1] for name, array in inputs.items()}
        found.append(Picture(path, one, photo, row=i if count > 1 else None))
    return found


def batches(found: Iterable[Picture], size: int) -> Iterator[tuple[list[Picture], dict[str, NDArray[Any]]]]:
    """Up to `size` pictures of equal shapes that follow each other, and their inputs together."""
    batch: list[Picture] = []
    for picture in found:
        if batch and (len(batch) == size or _shapes(batch[0]) != _shapes(picture)):
            yield batch, _stacked(batch)
            batch = []
        batch.append(picture)
    if batch:
        yield batch, _stacked(batch)


def _shapes(picture: Picture) -> list[tuple[int, ...]]:
    return [array.shape for array in picture.inputs.values()]


def _stacked(batch: Sequence[Picture]) -> dict[str, NDArray[Any]]:
    return {name: np.concatenate([picture.inputs[name] for picture in batch]) for name in batch[0].inputs}


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


def output_path(arguments: argparse.Namespace, given: str, picture: Picture, parts: tuple[str, str], suffix: str) -> Path:
    """Path of one result: the file that was given, or one in that folder.

    Parameters
    ----------
    arguments : Namespace
        With the model and the pictures, none of which is overwritten.
    given : str
        File or folder.
    picture : Picture
        Whose result it is.
    parts : (str, str)
        What stands between the picture's name and the suffix for the only result, and for one of several.
    suffix : str
        With its dot.
    """
    place, single = Path(given), picture.row is None and len(arguments.pictures) * len(targets(arguments)) == 1
    if not (single and place.suffix.lower() == suffix and not place.is_dir()):
        place.mkdir(parents=True, exist_ok=True)
        middle = parts[0] if single else re.sub(r"[^\w.-]+", "_", parts[1]).strip("_")
        place = place / f"{picture.stem}.{middle}{suffix}"
    refuse_inputs(arguments.command, [place], (arguments.model, *arguments.pictures))
    return place


def target_name(explanation: Explanation) -> str:
    """Name of the explained class for a file."""
    name = str(getattr(explanation.target[0], "c", explanation.title()))
    return explanation.labels.get(int(name), name) if name.isdigit() else name
