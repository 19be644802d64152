"""Train, measure and write the bundled model with gradcam alone: no training framework.

    python demo/digits.py train      # trains, measures on test scenes, and writes gradcam/data
    python demo/digits.py choose     # trains without the validation digits and measures on them: for choices; writes nothing
    python demo/digits.py measure    # measures the bundled model on test scenes, with any --method

The model says which handwritten digits a cluttered scene holds (ten independent logits). It is trained on the labels alone: no box
is ever shown to it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from PIL import Image

import gradcam
from gradcam.datasets import Handwriting, Scenes, digit_scenes, load_handwriting
from gradcam.metrics import energy_in_region, pointing_game
from gradcam.train import Adam, Trainer, initialise, one_cycle

DATA = Path(__file__).resolve().parents[1] / "gradcam" / "data"
SIZE = 64
STAGES = ((1, 16, 5, 2), (16, 24, 3, 1), (24, 48, 3, 1), (48, 64, 3, 1))  # of the convolutions: inputs, outputs, kernel, stride
HIDDEN, CLASSES = 32, 10
EPSILON = 1e-5
BATCH = 64
TRAIN_SEED, MEASURE_SEED, BUNDLE_SEED = 0, 1, 2
MARGIN = 3.0  # logits of a clear scene are at least this far on the right side
PREPROCESS = gradcam.Preprocess((SIZE, SIZE), resize="exact", crop=False, channels="grey")
Weights = dict[str, NDArray[np.float32]]
Metric = Callable[[NDArray[Any], NDArray[Any]], NDArray[np.float64]]


def network(weights: Weights | None = None) -> gradcam.Model:
    """(N, 1, 64, 64) -> (N, 10): as it is trained, with batch norms; with weights as it is used, where the convolutions hold them.

    A unit of the last convolution sees 27 pixels, a little more than the largest digit. The global maximum asks whether each
    channel's pattern is anywhere: unlike a mean, it does not depend on how much of the scene a digit fills. The hidden layer makes
    the channel weights of a class differ from scene to scene.
    """
    fresh = weights is None
    net = gradcam.GraphBuilder()

    def given(name: str, *shape: int) -> NDArray[np.float32]:
        return np.zeros(shape, np.float32) if weights is None else weights[name]

    x = net.input("image", (None, 1, SIZE, SIZE))
    for i, (inputs, outputs, kernel, stride) in enumerate(STAGES, start=1):
        weight = given(f"conv{i}.weight", outputs, inputs, kernel, kernel)
        bias = None if fresh else given(f"conv{i}.bias", outputs)
        x = net.conv(x, weight, bias, stride=stride, padding=kernel // 2, name=f"conv{i}")
        x = net.batch_norm(x, *np.ones((4, outputs), np.float32), eps=EPSILON, name=f"norm{i}") if fresh else x
        x = net.relu(x, name=f"relu{i}")
        x = net.max_pool(x, 2, name="pool") if i == 2 else x
    x = net.flatten(net.max_pool(x, SIZE // 4, name="maximum"), name="features")
    x = net.linear(x, given("hidden.weight", HIDDEN, outputs), given("hidden.bias", HIDDEN), name="hidden")
    x = net.linear(net.relu(x, name="relu5"), given("logits.weight", CLASSES, HIDDEN), given("logits.bias", CLASSES), name="logits")
    net.output("logits", x)
    return net.model(labels=[str(digit) for digit in range(CLASSES)], preprocess=PREPROCESS)


def train(scenes: Scenes, epochs: int, rate: float, decay: float) -> gradcam.Model:
    """Binary cross-entropy per digit, AdamW, one cycle of the learning rate."""
    steps = epochs * (len(scenes) // BATCH)
    optimizer = Adam(one_cycle(rate, steps, warmup=0.2), weight_decay=decay, decoupled=True)
    trainer = Trainer(initialise(network(), seed=TRAIN_SEED), "sigmoid_cross_entropy", optimizer, batch_size=BATCH, seed=TRAIN_SEED)

    def scaled(pixels: NDArray[Any]) -> NDArray[np.float32]:
        return np.asarray(np.divide(pixels, np.float32(255), dtype=np.float32))

    trained = trainer.fit(scenes.images[:, None], scenes.labels, epochs=epochs, transform=scaled, progress=True)
    return without_norms(trained, scenes[:BATCH])


def without_norms(trained: gradcam.Model, probe: Scenes) -> gradcam.Model:
    """The same function with every batch norm folded into the convolution before it."""
    with TemporaryDirectory() as folder:
        trained.save(Path(folder) / "trained.onnx")
        initializers = onnx.load(Path(folder) / "trained.onnx").graph.initializer
    weights: dict[str, NDArray[Any]] = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in initializers}
    for i in range(1, len(STAGES) + 1):
        parts = (weights[f"norm{i}.{part}"].astype(np.float64) for part in ("running_mean", "running_var", "weight", "bias"))
        mean, variance, gamma, beta = parts
        scale = gamma / np.sqrt(variance + EPSILON)
        weights[f"conv{i}.weight"] = weights[f"conv{i}.weight"] * scale[:, None, None, None]
        weights[f"conv{i}.bias"] = beta - mean * scale
    folded = network({name: array.astype(np.float32) for name, array in weights.items()})
    error = float(np.abs(np.asarray(folded(probe.inputs)) - np.asarray(trained(probe.inputs))).max())
    if not error <= 1e-4:
        raise RuntimeError(f"without_norms: logits: expected those before folding to 1e-4, got a difference of {error:.2e}")
    return folded


def judge(model: gradcam.Model, scenes: Scenes, metric: Metric, method: str = "gradcam") -> NDArray[np.float64]:
    """What a metric says of the map of each digit and its box, (N, 10); NaN where the digit is absent."""
    found = np.full(scenes.labels.shape, np.nan)
    for digit in range(CLASSES):
        present = scenes.labels[:, digit] == 1
        some = scenes[present]
        found[present, digit] = metric(model.explain(some.inputs, target=digit, method=method).map, some.class_boxes(digit))
    return found


def points(map: NDArray[Any], boxes: NDArray[Any]) -> NDArray[np.float64]:
    return pointing_game(map, boxes, tolerance=0)


def measure(model: gradcam.Model, scenes: Scenes, method: str = "gradcam") -> None:
    """Print how many labels are right, and how often the maximum of a digit's map, or a random pixel, lies inside the digit's box."""
    right = (np.asarray(model(scenes.inputs)) > 0) == scenes.labels
    print(f"{len(scenes)} scenes: {right.mean():.2%} of the labels are right, all ten in {right.all(axis=1).mean():.1%}")
    hits = judge(model, scenes, points, method)
    count = np.count_nonzero(scenes.labels)
    chance = np.diff(scenes.boxes, axis=-1).prod(axis=(2, 3)).sum() / SIZE**2 / count
    print(f"pointing game of {method}, tolerance 0: {np.nansum(hits):.0f} of {count} digits, {np.nanmean(hits):.1%}", end="")
    print(f" (a random pixel: {chance:.1%})")


def write_scenes(model: gradcam.Model, scenes: Scenes, folder: Path) -> None:
    """Write the clearest scene with four digits and the clearest with three.

    Clear: all ten labels right by a logit of at least `MARGIN`, every map's maximum inside its box, and among those the largest
    share of positive evidence inside the boxes, taken at the scene's worst digit.
    """
    logits = np.asarray(model(scenes.inputs))
    sure = np.where(scenes.labels == 1, logits, -logits).min(axis=1) >= MARGIN
    clear = sure & (np.nanmin(judge(model, scenes, points), axis=1) == 1)
    share = np.nanmin(judge(model, scenes, energy_in_region), axis=1)
    record = {}
    for number, amount in enumerate((4, 3), start=1):
        candidates = clear & (scenes.labels.sum(axis=1) == amount)
        if not candidates.any():
            raise RuntimeError(f"write_scenes: scenes: expected a clear one with {amount} digits, got none in {len(scenes)}")
        best = int(np.argmax(np.where(candidates, share, -1)))
        name = f"scene_{number}.png"
        Image.fromarray(scenes.images[best]).save(folder / name, optimize=True)
        digits = np.flatnonzero(scenes.labels[best]).tolist()
        record[name] = {"digits": digits, "boxes": [box_of(scenes[best : best + 1], digit) for digit in digits]}
        print(f"{name}: test scene {best}, digits {digits}, evidence inside the boxes at least {share[best]:.0%}")
    (folder / "scenes.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def box_of(scene: Scenes, digit: int) -> dict[str, int]:
    (top, bottom), (left, right) = scene.class_boxes(digit)[0].tolist()
    return {"digit": digit, "top": top, "left": left, "bottom": bottom, "right": right}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "choose", "measure"))
    parser.add_argument("--output", type=Path, default=DATA, help="train: folder to write to")
    parser.add_argument("--scenes", type=int, default=40_000, help="train, choose: number of training scenes")
    parser.add_argument("--epochs", type=int, default=8, help="train, choose")
    parser.add_argument("--rate", type=float, default=4e-3, help="train, choose: highest learning rate")
    parser.add_argument("--decay", type=float, default=0.02, help="train, choose: weight decay")
    parser.add_argument("--measured", type=int, default=2_000, help="number of scenes that are measured")
    parser.add_argument("--method", default="gradcam", help="of the maps that are measured")
    parser.add_argument("--threads", type=int, help="by default all cores; the bits are the same for any number")
    options = parser.parse_args()
    gradcam.set_num_threads(options.threads)
    if options.what == "measure":
        measure(gradcam.load(DATA / "digits.onnx"), digit_scenes(options.measured, seed=MEASURE_SEED, split="test"), options.method)
        return
    started = time.perf_counter()
    final = options.what == "train"
    handwriting = [load_handwriting(split) for split in (("train", "validation") if final else ("train",))]
    scenes = digit_scenes(options.scenes, seed=TRAIN_SEED, handwriting=Handwriting(*map(np.concatenate, zip(*handwriting, strict=True))))
    print(f"{len(scenes)} training scenes in {time.perf_counter() - started:.0f} s")
    model = train(scenes, options.epochs, options.rate, options.decay)
    measure(model, digit_scenes(options.measured, seed=MEASURE_SEED, split="test" if final else "validation"), options.method)
    if final:
        options.output.mkdir(parents=True, exist_ok=True)
        model.save(options.output / "digits.onnx")
        write_scenes(model, digit_scenes(2_000, seed=BUNDLE_SEED, split="test"), options.output)
    print(f"total {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
