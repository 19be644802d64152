"""Train the bundled model and write `gradcam/data`: digits.onnx, two held-out scenes and scenes.json.

    python demo/train_digits.py

Needs torch, onnx, scikit-learn and Pillow; the package itself needs none of them. The model says which handwritten digits a
cluttered scene holds (ten independent logits). It is trained on the labels alone: no box is ever shown to it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from PIL import Image
from scenes import SIZE, Box, digit_scenes
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

TRAIN_SEED, TEST_SEED, BUNDLE_SEED = 0, 1, 2
ALLOWED_OPS = {"Conv", "Relu", "MaxPool", "GlobalAveragePool", "AveragePool", "Flatten", "Gemm", "Add"}
PREPROCESS = {  # value = (pixel * scale - mean) / std
    "size": [SIZE, SIZE],
    "resize": "exact",
    "crop": False,
    "channels": "grey",
    "scale": 1 / 255,
    "mean": [0.0],
    "std": [1.0],
    "layout": "NCHW",
}
Bytes = NDArray[np.uint8]


class Maps(NamedTuple):
    """Logits (N, 10) and signed Grad-CAM maps (N, 10, 64, 64) of a batch of scenes."""

    logits: NDArray[np.float32]
    maps: NDArray[np.float32]


def build_trunk() -> nn.Sequential:
    """Four convolutions, (N, 1, 64, 64) -> (N, 64, 16, 16); a unit sees 27 pixels, a little more than the largest digit."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, (inputs, outputs, kernel, stride) in enumerate([(1, 16, 5, 2), (16, 24, 3, 1), (24, 48, 3, 1), (48, 64, 3, 1)], start=1):
        layers[f"conv{i}"] = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        layers[f"norm{i}"] = nn.BatchNorm2d(outputs)
        layers[f"relu{i}"] = nn.ReLU()
        if i == 2:
            layers["pool2"] = nn.MaxPool2d(2)
    return nn.Sequential(layers)


def build_head() -> nn.Sequential:
    """Is each channel's pattern anywhere (global max), then a small perceptron: (N, 64, 16, 16) -> (N, 10).

    Maximum instead of mean: presence does not depend on how much of the scene a digit fills. The hidden layer makes the channel
    weights of a class differ from scene to scene.
    """
    return nn.Sequential(
        OrderedDict(
            pool=nn.MaxPool2d(SIZE // 4),
            flatten=nn.Flatten(),
            hidden=nn.Linear(64, 32),
            relu=nn.ReLU(),
            logits=nn.Linear(32, 10),
        )
    )


def as_input(images: Bytes) -> Tensor:
    """Scenes (N, 64, 64) uint8 as the network reads them: (N, 1, 64, 64) float32 in [0, 1]."""
    return torch.from_numpy(images).float().div_(255)[:, None].contiguous(memory_format=torch.channels_last)


def train(network: nn.Module, images: Bytes, labels: Bytes, epochs: int, batch_size: int = 64) -> None:
    """Binary cross-entropy per digit, AdamW, one cycle of the learning rate."""
    steps = epochs * (len(images) // batch_size)
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, steps, pct_start=0.2)
    rng = np.random.default_rng(TRAIN_SEED)
    network.train()
    started = time.perf_counter()
    for epoch in range(epochs):
        total = 0.0
        order = rng.permutation(len(images))[: steps // epochs * batch_size].reshape(-1, batch_size)
        for index in order:
            loss = F.binary_cross_entropy_with_logits(network(as_input(images[index])), torch.from_numpy(labels[index]).float())
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}/{epochs}: mean loss {total / len(order):.4f}, {time.perf_counter() - started:.0f} s", flush=True)


def fold_norms(trunk: nn.Sequential) -> nn.Sequential:
    """The same trunk for inference, every batch norm folded into the convolution before it."""
    trunk.eval()
    layers = OrderedDict(trunk.named_children())
    for name in [name for name in layers if name.startswith("norm")]:
        norm, conv = layers.pop(name), name.replace("norm", "conv")
        layers[conv] = fuse_conv_bn_eval(layers[conv], norm)  # type: ignore[arg-type, type-var]
    return nn.Sequential(layers)


def grad_cam(trunk: nn.Module, head: nn.Module, images: Bytes) -> Maps:
    """Signed Grad-CAM (no ReLU) of all ten logits at the trunk's output, resized to the scene (bilinear, half-pixel centres)."""
    activations = trunk(as_input(images)).detach().requires_grad_()
    logits = head(activations)
    maps = []
    for digit in range(10):
        (gradient,) = torch.autograd.grad(logits[:, digit].sum(), activations, retain_graph=True)
        maps.append((gradient.mean((2, 3), keepdim=True) * activations).sum(1).detach())
    resized = F.interpolate(torch.stack(maps, 1), size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    return Maps(logits.detach().numpy(), resized.numpy())


def hits(maps: NDArray[np.float32], boxes: list[Box]) -> list[bool]:
    """Pointing game on one scene: does the maximum of each present digit's map lie inside that digit's box?"""
    result = []
    for digit, top, left, bottom, right in boxes:
        y, x = divmod(int(maps[digit].argmax()), SIZE)
        result.append(top <= y < bottom and left <= x < right)
    return result


def evaluate(trunk: nn.Module, head: nn.Module, count: int) -> None:
    """Print the accuracy and the pointing-game hit rate on held-out scenes, and the hit rate that chance would give."""
    images, labels, boxes = digit_scenes(count, TEST_SEED, "test")
    correct, hit = [], []
    for start in range(0, count, 100):
        logits, maps = grad_cam(trunk, head, images[start : start + 100])
        correct.append((logits > 0) == labels[start : start + 100])
        hit += [h for m, b in zip(maps, boxes[start : start + 100], strict=True) for h in hits(m, b)]
    right = np.concatenate(correct)
    chance = np.mean([(bottom - top) * (right - left) / SIZE**2 for scene in boxes for _, top, left, bottom, right in scene])
    print(f"held-out scenes {count}, digits in them {len(hit)}")
    print(f"label accuracy {right.mean():.4f}, all ten labels right {right.all(axis=1).mean():.4f}")
    print(f"pointing game, tolerance 0: {np.mean(hit):.4f} (a random pixel: {chance:.4f})")


def export(network: nn.Module, path: Path) -> None:
    """Write the ONNX file with its metadata, check it, and compare its logits with torch's."""
    example = torch.zeros(1, 1, SIZE, SIZE)
    torch.onnx.export(network, (example,), path, input_names=["image"], output_names=["logits"], opset_version=17, dynamo=False)
    model = onnx.load(path)
    for key, value in {"gradcam.preprocess": PREPROCESS, "gradcam.labels": [str(d) for d in range(10)]}.items():
        model.metadata_props.add(key=key, value=json.dumps(value))
    onnx.checker.check_model(model, full_check=True)
    extra = {node.op_type for node in model.graph.node} - ALLOWED_OPS
    if extra:
        raise RuntimeError(f"export: network: expected only the operators {sorted(ALLOWED_OPS)}, got also {sorted(extra)}")
    onnx.save(model, path)

    evaluator = ReferenceEvaluator(str(path))
    images = digit_scenes(20, TEST_SEED, "test")[0]
    with torch.no_grad():
        expected = network(as_input(images)).numpy()
    got = np.concatenate([list(evaluator.run(None, {"image": as_input(image[None]).numpy()}))[0] for image in images])
    error = float(np.abs(got - expected).max())
    if not error <= 1e-4:
        raise RuntimeError(f"export: logits: expected torch's to 1e-4, got a difference of {error:.2e}")
    print(f"{path.name}: {path.stat().st_size} bytes, largest difference to torch {error:.1e}")


def bundle_scenes(trunk: nn.Module, head: nn.Module, folder: Path, candidates: int = 500) -> None:
    """Write the clearest held-out scene with four digits and the clearest with three.

    Clear: all ten labels right by a logit of at least 3, every map's maximum inside its box, and among those the largest share
    of positive evidence inside the boxes, taken at the scene's worst digit.
    """
    images, labels, boxes = digit_scenes(candidates, BUNDLE_SEED, "test")
    record = {}
    for number, amount in enumerate((4, 3), start=1):
        best, best_share = -1, 0.0
        for i in np.flatnonzero(labels.sum(axis=1) == amount):
            logits, maps = grad_cam(trunk, head, images[i : i + 1])
            margin = np.where(labels[i] == 1, logits[0], -logits[0]).min()
            if margin >= 3 and all(hits(maps[0], boxes[i])):
                evidence = np.maximum(maps[0], 0)
                share = min(float(evidence[d, t:b, left:r].sum() / evidence[d].sum()) for d, t, left, b, r in boxes[i])
                best, best_share = (int(i), share) if share > best_share else (best, best_share)
        if best < 0:
            raise RuntimeError(f"bundle_scenes: candidates: expected a clear scene with {amount} digits, got none in {candidates}")
        name = f"scene_{number}.png"
        Image.fromarray(images[best]).save(folder / name, optimize=True)
        record[name] = {
            "digits": sorted(box[0] for box in boxes[best]),
            "boxes": [dict(zip(("digit", "top", "left", "bottom", "right"), box, strict=True)) for box in sorted(boxes[best])],
        }
        print(f"{name}: held-out scene {best}, digits {record[name]['digits']}, evidence inside the boxes >= {best_share:.2f}")
    (folder / "scenes.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Train, fold, measure, export, choose the bundled scenes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "gradcam" / "data", help="folder to write to")
    parser.add_argument("--scenes", type=int, default=40_000, help="training scenes")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--test-scenes", type=int, default=2_000)
    parser.add_argument("--threads", type=int, default=2, help="part of the recipe: sums depend on it in the last bits")
    options = parser.parse_args()
    started = time.perf_counter()
    torch.set_num_threads(options.threads)
    torch.manual_seed(TRAIN_SEED)
    options.output.mkdir(parents=True, exist_ok=True)

    trunk, head = build_trunk(), build_head()
    network = nn.Sequential(OrderedDict(trunk=trunk, head=head))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images, labels, _ = digit_scenes(options.scenes, TRAIN_SEED, "train")
    print(f"{sum(p.numel() for p in network.parameters())} parameters, {len(images)} scenes in {time.perf_counter() - started:.0f} s")
    train(network, images, labels, options.epochs)

    trunk = fold_norms(trunk)
    network = nn.Sequential(OrderedDict(trunk=trunk, head=head)).eval()
    evaluate(trunk, head, options.test_scenes)
    export(network, options.output / "digits.onnx")
    bundle_scenes(trunk, head, options.output)
    print(f"total {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
