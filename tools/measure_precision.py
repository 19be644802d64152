"""Measure what `precision="bfloat16"` changes in scores, maps and time; writes docs/precision.md.

    python tools/measure_precision.py --networks RESNET50.onnx VGG16.onnx ... [--rounds 20] [--threads 1 2]

The networks are measured on noise; those of ../shared/models, which are trained, on pictures. Times against ONNX Runtime appear where it
is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gradcam
from gradcam import _core
from gradcam.ops.bf16 import mixed_attributes
from gradcam.ops.blocked import Blocked, Window, conv_attributes, winograd_attributes, winograd_border, winograd_pack_attributes
from gradcam.preprocess import open_image
from gradcam.resampling import resize

SHARED = Path(__file__).resolve().parents[2] / "shared"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "precision.md"
PRECISIONS = ("float32", "bfloat16")
Arrays = NDArray[Any]

HEAD = """# Reduced precision

`gradcam.load(path, precision="bfloat16")`, on the command line `--precision bfloat16`: convolutions and linear layers read numbers of 8
significant bits, which a CPU with AVX512_BF16 multiplies twice as fast as float32. Off by default; models that are not read from ONNX files
stay in float32.

## What runs in bfloat16

In bfloat16, of the forward run alone:

* activations and weights of convolutions by the direct kernel: 1x1, strides over 1, 5x5 and larger, dilated, groups other than
  depthwise, and 3x3 where Winograd's algorithm does not pay (under 144 pixels);
* rows and weights of linear layers whose sizes are multiples of 16, for any number of rows;
* residuals and results that only such layers read.

In float32: all sums, biases and activation functions; Winograd's and depthwise convolutions, and the first one (up to 4 channels);
other matrix products (attention, last layers of 1,000 classes); pools, normalisations, elementwise functions; the gradient, with the
weights as they are in the file.

A result is rounded once, to nearest, after bias, residual and activation; what another kernel has computed is rounded by a step of its
own. `gradcam info MODEL --plan --precision bfloat16` lists the steps. Layers that are asked for are returned in float32. The gradient is
that of the float32 network at the activations of the forward run, which is that of the function computed up to the rounding of weights
and activations. Two plans of a model (scores alone, or with a layer that is kept) may store different values rounded, and their scores
then differ by such rounding.

Products of two bfloat16 numbers are exact in float32; a sum is one chain in a fixed order (for each pair of channels first the odd one,
as `vdpbf16ps` does), so that the bits are the same for any number of threads. Against float64 sums of the rounded numbers an error is at
most (terms + 2) 2^-24 times the sum of the sizes of the products, plus 2^-8 of the result where that is rounded. Numbers below 2^-126
count as zero.

Without AVX512_BF16 `load` raises an error. The levels below avx512 compute the same bits by float32 instructions, slower than they
compute in float32, and only where `GRADCAM_ISA` asks for such a level: that is for tests. Models loaded so take no float64 arrays.
Converted weights are kept beside those of the file and take half their size.

## When to use it

For networks of 1x1 convolutions and linear layers (ResNet, MobileNet, EfficientNet, ViT), for many pictures, and for maps that people
look at. Not for numbers that are compared with other software, for signs of values near zero, or where a class is decided by the third
digit of a score. Networks of 3x3 convolutions (VGG) gain less: Winograd's algorithm computes those in float32, see the end.
"""


@dataclass(frozen=True, slots=True)
class Trained:
    """A model of ../shared/models and how its pictures are prepared."""

    file: str
    preset: str
    changes: dict[str, Any]
    target: int | None = None


TRAINED = (
    Trained("squeezenet1.0.onnx", "caffe", {}),
    Trained("cifar-resnet20.onnx", "imagenet", {}),
    Trained("vww-mobilenet.onnx", "unit", {"resize": "exact", "crop": False}, 1),
    Trained("mnist-8.onnx", "raw", {}),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=Path, nargs="*", default=[], help="ONNX files of one input (1, 3, 224, 224)")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    options = parser.parse_args()
    parts = [
        HEAD,
        *maps_part(options.networks),
        *times_part(options.networks, options.rounds, options.threads),
        *kernels_part(options.rounds),
    ]
    PAGE.write_text("\n".join(parts) + "\n", encoding="utf-8")


# Maps -------------------------------------------------------------------------------------------------------------------


def maps_part(networks: Sequence[Path]) -> list[str]:
    lines = ["## Scores and maps", ""]
    lines += ["Grad-CAM at the default layer, for the class with the largest float32 score (person for the person detector). Error of the"]
    lines += ["scores: largest difference relative to the largest score, worst picture. Rank correlation (Spearman) of the signed raw"]
    lines += [
        "maps of both precisions. Same peak: maps with their largest value in the same cell. Pointing game: peaks that lie in any box of"
    ]
    lines += [
        '`../shared/images/boxes.json` (of a person for the person detector), float32 and bfloat16. Networks without "trained" have random'
    ]
    lines += ["weights and see noise: their maps say how rounding spreads, nothing about pictures.", ""]
    lines += ["| network | pictures | error of scores | same class | rank correlation: median, worst | same peak | pointing game |"]
    lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
    lines += [trained_row(model) for model in TRAINED]
    lines += [noise_row(path) for path in networks]
    return [*lines, ""]


def both(path: Path) -> list[gradcam.Model]:
    return [gradcam.load(path, max_bytes=None, precision=precision) for precision in PRECISIONS]


def trained_row(trained: Trained) -> str:
    models = both(SHARED / "models" / trained.file)
    if trained.file.startswith("mnist"):
        digits = np.load(SHARED / "images" / "mnist_test200.npz")["images"]
        return compare(f"{trained.file}, trained", models, digits[:, None].astype(np.float32), None, None)
    info = models[0].preprocess
    steps = replace(gradcam.Preprocess.preset(trained.preset, size=info.size, layout=info.layout), **trained.changes)
    boxes = {item["file"]: item["boxes"] for item in json.loads((SHARED / "images" / "boxes.json").read_text())}
    wanted = {name: found for name, found in boxes.items() if trained.target is None or any(b["name"] == "person" for b in found)}
    photos = [open_image(SHARED / "images" / name) for name in wanted]

    def hits(maps: Arrays) -> int:
        return sum(
            in_boxes(steps.place(m, photo.shape[:2]), [b for b in found if trained.target is None or b["name"] == "person"])
            for m, photo, found in zip(maps, photos, wanted.values(), strict=True)
        )

    x = np.concatenate([np.asarray(steps(photo), np.float32) for photo in photos])
    return compare(f"{trained.file}, trained", models, x, hits, trained.target)


def in_boxes(placed: Arrays, boxes: Sequence[dict[str, Any]]) -> bool:
    y, x = np.unravel_index(int(np.nanargmax(placed)), placed.shape)
    return any(b["xyxy"][0] <= x <= b["xyxy"][2] and b["xyxy"][1] <= y <= b["xyxy"][3] for b in boxes)


def noise_row(path: Path) -> str:
    x = np.random.default_rng(0).standard_normal((8, 3, 224, 224)).astype(np.float32)
    return compare(path.stem, both(path), x, None, None)


def compare(name: str, models: Sequence[gradcam.Model], x: Arrays, hits: Callable[[Arrays], int] | None, target: int | None) -> str:
    scores = [np.concatenate([first_output(m, x[i : i + 1]) for i in range(len(x))]) for m in models]
    largest = abs(scores[0]).max(axis=1)
    if not largest.all():
        return f"| {name} | {len(x)} | no scores: its last layer is zero | | | | |"
    error = (abs(scores[1] - scores[0]).max(axis=1) / largest).max()
    classes = [s.argmax(axis=1) for s in scores]
    chosen = [int(c) for c in classes[0]] if target is None else target
    found = [m.explain(x, target=chosen, relu=False) for m in models]
    raws = [f.raw.reshape(len(x), -1) for f in found]
    ranks = [spearman(a, b) for a, b in zip(*raws, strict=True)]
    same = sum(int(a.argmax() == b.argmax()) for a, b in zip(*raws, strict=True))
    game = "" if hits is None else ", ".join(f"{hits(resize(f.raw, x.shape[2:]))}" for f in found) + f" of {len(x)}"
    agree = int((classes[0] == classes[1]).sum())
    rank = f"{np.median(ranks):.4f}, {min(ranks):.4f}"
    return f"| {name} | {len(x)} | {error:.1e} | {agree} | {rank} | {same} | {game} |"


def first_output(model: gradcam.Model, x: Arrays) -> Arrays:
    y = model.run(x)
    return next(iter(y.values())) if isinstance(y, dict) else y


def spearman(a: Arrays, b: Arrays) -> float:
    ranked = [np.argsort(np.argsort(v, kind="stable")).astype(np.float64) for v in (a, b)]
    return 1.0 if a.size == 1 else float(np.corrcoef(*ranked)[0, 1])


# Times ------------------------------------------------------------------------------------------------------------------


def times_part(networks: Sequence[Path], rounds: int, counts: Sequence[int]) -> list[str]:
    runtime = importlib.import_module("onnxruntime") if importlib.util.find_spec("onnxruntime") else None
    title = "ONNX Runtime" + (f" {runtime.__version__}" if runtime else "")
    lines = [
        "## Times",
        "",
        f"Forward run of one picture in ms, best of {rounds} interleaved rounds.",
        "",
    ]
    lines += [f"| network | threads | float32 | bfloat16 | float32 / bfloat16 | {title} (float32) | {title} / bfloat16 |"]
    lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    for path in networks:
        models = both(path)
        for threads in counts:
            runs: list[Callable[[], object]] = [lambda m=m, n=threads: m.run(x, num_threads=n) for m in models]
            if runtime:
                options = runtime.SessionOptions()
                options.intra_op_num_threads = threads
                session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
                runs.append(lambda s=session: s.run(None, {s.get_inputs()[0].name: x}))
            ms = [1e3 * t for t in best(runs, rounds)]
            other = f"{ms[2]:.2f} | {ms[2] / ms[1]:.2f}" if runtime else " | "
            lines.append(f"| {path.stem} | {threads} | {ms[0]:.2f} | {ms[1]:.2f} | {ms[0] / ms[1]:.2f} | {other} |")
    return [*lines, "", measured(), ""]


def measured() -> str:
    """What was measured, where and when."""
    info = gradcam.cpu_info()
    family = re.findall(r"^(?:cpu family|model)\s*:\s*(\d+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)[:2]
    where = f"{info['model']} (family {', model '.join(family)}), {info['physical_cores']} cores, level {info['isa']}"
    versions = f"gradcam {gradcam.__version__}, NumPy {np.__version__}"
    return (
        f"Measured with {versions} on {where},\n{time.strftime('%B %Y')}; the networks are torchvision's, exported at 224 x 224: "
        "`python tools/measure_precision.py --networks ...`."
    )


def best(functions: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    times = [float("inf")] * len(functions)
    for function in functions:
        function()
    for _ in range(rounds):
        for i, function in enumerate(functions):
            start = time.perf_counter()
            function()
            times[i] = min(times[i], time.perf_counter() - start)
    return times


# Kernels: why Winograd stays ----------------------------------------------------------------------------------------------

LAYERS = (
    (64, 64, 56, 3, 1),
    (128, 128, 28, 3, 1),
    (256, 256, 14, 3, 1),
    (512, 512, 14, 3, 1),
    (512, 512, 7, 3, 1),
    (128, 128, 112, 3, 1),
    (512, 512, 28, 3, 1),
    (64, 256, 56, 1, 1),
    (512, 128, 28, 1, 1),
    (1024, 256, 14, 1, 1),
    (2048, 512, 7, 1, 1),
    (128, 128, 56, 3, 2),
)


def kernels_part(rounds: int) -> list[str]:
    lines = [
        "## Kernels, and why Winograd stays",
        "",
        "GFLOP/s by the operations of the direct sum, one thread, data in cache where it fits.",
        "",
    ]
    lines += ["| channels in, out | pixels | kernel, stride | direct, float32 | Winograd, float32 | direct, bfloat16 |"]
    lines += ["| --- | --- | --- | --- | --- | --- |"]
    for c, k, size, kernel, stride in LAYERS:
        direct, winograd, bf16 = kernel_times(c, k, size, kernel, stride, rounds)
        lines.append(f"| {c}, {k} | {size} x {size} | {kernel}x{kernel}, {stride} | {direct:.0f} | {winograd or '-'} | {bf16:.0f} |")
    lines += ["", "Winograd's algorithm needs a quarter of the multiplications, bfloat16 half the time for each: where the first applies,"]
    return [*lines, "from 144 pixels on, it is about as fast or faster, and exact to float32. It stays."]


def kernel_times(c: int, k: int, size: int, kernel: int, stride: int, rounds: int) -> tuple[float, int, float]:
    pad, rng = kernel // 2, np.random.default_rng(0)
    out = (size + 2 * pad - kernel) // stride + 1
    tiled = kernel == 3 and stride == 1
    low, high = winograd_border(size, out, pad) if tiled else (pad, pad)
    x, y = Blocked(1, c, size, size, low, low, high, high), Blocked(1, k, out, out)
    w, source = rng.standard_normal((k, c, kernel, kernel)).astype(np.float32), rng.standard_normal(x.shape).astype(np.float32)
    direct = conv_attributes(x, y, Window((kernel, kernel), (stride, stride), (pad, pad), (pad, pad)))
    cases = [("blocked_conv", direct, direct, source), ("bf16_conv", *(mixed_attributes(direct, result=True, residual=False),) * 2, source)]
    if tiled:
        cases.append(("blocked_winograd", winograd_pack_attributes(k, c), winograd_attributes(x, y, (pad, pad)), source))
    runs = []
    for name, pack, attributes, array in cases:
        kind = np.uint16 if name == "bf16_conv" else np.float32
        packed = np.empty(_core.operands(f"{name}_pack", _core.isa, "f", pack.ints, pack.reals)[1][0], kind)
        _core.call(f"{name}_pack", _core.isa, "f", pack.ints, pack.reals, (w,), (packed,), 1)
        read = (array.view(np.uint32) >> 16).astype(np.uint16) if name == "bf16_conv" else array
        inputs, result = (read, packed, None, None), np.empty(y.shape, kind)
        runs.append(lambda n=f"{name}_output", a=attributes, i=inputs, r=result: _core.call(n, _core.isa, "f", a.ints, a.reals, i, (r,), 1))
    rates = [2e-9 * c * k * kernel * kernel * out * out / t for t in best(runs, rounds)]
    return rates[0], round(rates[2]) if tiled else 0, rates[1]


if __name__ == "__main__":
    main()
