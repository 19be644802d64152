"""Plot of whole networks beside other libraries, from what bench_peers.py wrote.

python ../shared/acceptance/bench_peers.py --json peers.json
python benchmarks/plot_peers.py peers.json [MORE.json ...]      # writes benchmarks/networks.svg
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

TITLES = {"forward": "forward pass", "cam": "Grad-CAM at the last stage"}
NAMES = {
    "resnet50": "ResNet-50",
    "vgg16": "VGG-16",
    "mobilenet_v2": "MobileNetV2",
    "efficientnet_b0": "EfficientNet-B0",
    "vit_b_16": "ViT-B/16",
}
OURS = "gradcam"
COLOURS = {
    OURS: "#b40426",
    "onnxruntime": "#3b4cc0",
    "openvino": "#6f92f3",
    "ncnn": "#aac7fd",
    "torch": "#8a8a8a",
    "pytorch-grad-cam": "#4c4c4c",
    "torchcam": "#8a8a8a",
    "captum": "#bdbdbd",
}
BAR = 0.17


def best(paths: list[Path]) -> dict[tuple[str, str, int], dict[str, float]]:
    """Milliseconds by (what, network, threads) and library; of several files the best counts."""
    found: dict[tuple[str, str, int], dict[str, float]] = {}
    for path in paths:
        for record in json.loads(path.read_text()):
            row = found.setdefault((record["what"], record["network"], record["threads"]), {})
            row[record["library"]] = min(record["ms"], row.get(record["library"], np.inf))
    return found


def draw(axes, networks: list[str], found: dict[str, dict[str, float]]) -> None:
    """Bars of each network's libraries: their time over ours."""
    for i, network in enumerate(networks):
        row = found.get(network, {})
        present = [name for name in COLOURS if name in row and OURS in row]
        for j, name in enumerate(present):
            ratio, place = row[name] / row[OURS], i + (j - (len(present) - 1) / 2) * BAR
            axes.barh(place, ratio, 0.9 * BAR, color=COLOURS[name], label=name)
            axes.text(ratio, place, f" {row[name]:.3g} ms", va="center", fontsize=7, bbox={"color": "white", "pad": 0})
    axes.axvline(1, color=COLOURS[OURS], linewidth=0.8, zorder=0.5)
    axes.set_yticks(range(len(networks)), [NAMES[name] for name in networks])
    axes.set_ylim(len(networks) - 0.4, -0.6)
    axes.set_xlim(0, 1.35 * axes.get_xlim()[1])
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="JSON of bench_peers.py")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_name("networks.svg"))
    options = parser.parse_args()
    found = {key: row for key, row in best(options.files).items() if OURS in row and len(row) > 1}
    kinds = [what for what in TITLES if any(key[0] == what for key in found)]
    counts = sorted({threads for _, _, threads in found})
    plt.rcParams["svg.hashsalt"] = "networks"  # the same numbers are the same file
    figure, grid = plt.subplots(len(kinds), len(counts), figsize=(5.5 * len(counts), 4.2 * len(kinds)), squeeze=False)
    for axes_of_kind, what in zip(grid, kinds, strict=True):
        networks = [name for name in NAMES if any(key[:2] == (what, name) for key in found)]
        for axes, threads in zip(axes_of_kind, counts, strict=True):
            draw(axes, networks, {name: found[what, name, threads] for name in networks if (what, name, threads) in found})
            axes.set_title(f"{TITLES[what]}, {threads} thread{'s' if threads > 1 else ''}", fontsize=10)
            axes.set_xlabel("time / time of gradcam", fontsize=8)
        handles = {label: handle for axes in axes_of_kind for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        order = [name for name in COLOURS if name in handles]
        axes_of_kind[-1].legend([handles[name] for name in order], order, fontsize=7, frameon=False, loc="upper right")
    figure.tight_layout()
    figure.savefig(options.output, metadata={"Date": None} if options.output.suffix == ".svg" else None)


if __name__ == "__main__":
    main()
