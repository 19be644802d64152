"""Training curves of the demo network: gradcam beside PyTorch, from the same weights, on the same batches in the same order.

    python benchmarks/bench_curves.py --write                           # draws training.svg

Digit scenes, AdamW, one cycle of the learning rate: torch.optim.AdamW and OneCycleLR there, gradcam.train here. Rounding makes runs in
float32 part, by more the longer they last, so a second run of PyTorch in another layout shows how much of a difference is rounding, and
runs in float64 show that both compute the same. The steps of all runs are taken in turns, so that noise of the machine meets them all.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib
import numpy as np
from bench_train import network, torch_network
from measuring import machine, report, table

from gradcam.datasets import digit_scenes
from gradcam.train import Adam, Trainer, one_cycle

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.ticker import PercentFormatter  # noqa: E402

LOSS, BATCH, SEED = "sigmoid_cross_entropy", 64, 1
RATE, DECAY, WARMUP = 4e-3, 0.02, 0.2
OWN, OTHER, CONTROL, EXACT = "gradcam", "torch", "torch, channels last", "float64"
COLOURS = {OWN: "#b40426", OTHER: "#3b4cc0", CONTROL: "#8a8a8a", EXACT: "#f4987a"}
SMOOTH = 25
"""Steps of a moving mean."""


@dataclass
class Run:
    """One contender: a step on a batch gives its loss, `scores` are those of pictures at that moment."""

    step: Callable[[np.ndarray, np.ndarray], float]
    scores: Callable[[np.ndarray], np.ndarray]
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    right: dict[int, tuple[float, float]] = field(default_factory=dict)

    def take(self, x: np.ndarray, labels: np.ndarray) -> None:
        """Do one step, and time it."""
        started = time.perf_counter()
        self.losses.append(self.step(x, labels))
        self.seconds.append(time.perf_counter() - started)

    def judge(self, x: np.ndarray, labels: np.ndarray) -> None:
        """Note the share of labels that are right, and of pictures with all of them right."""
        right = (self.scores(x) > 0) == labels
        self.right[len(self.losses)] = float(right.mean()), float(right.all(axis=1).mean())


def own_run(steps: int, threads: int, dtype: type[np.floating]) -> Run:
    rate = one_cycle(RATE, steps, warmup=WARMUP)
    trainer = Trainer(network(), LOSS, Adam(rate, weight_decay=DECAY, decoupled=True), dtype=dtype)
    return Run(
        lambda x, labels: trainer.step(x, labels, num_threads=threads),
        lambda x: trainer.model()(x.astype(dtype), num_threads=threads),
    )


def torch_run(steps: int, threads: int, dtype: type[np.floating], channels_last: bool = False) -> Run:
    import torch

    torch.set_num_threads(threads)
    net, layout = torch_network(channels_last), torch.channels_last if channels_last else torch.contiguous_format
    net = net.double() if dtype is np.float64 else net
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=WARMUP, cycle_momentum=False)

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array.astype(dtype))

    def step(x: np.ndarray, labels: np.ndarray) -> float:
        batch = tensor(x).contiguous(memory_format=layout)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(net(batch), tensor(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        return loss.item()

    def scores(x: np.ndarray) -> np.ndarray:
        net.eval()
        with torch.no_grad():
            found = net(tensor(x)).numpy()
        net.train()
        return found

    return Run(step, scores)


def train(runs: dict[str, Run], steps: int, scenes: int, held_out: int, every: int) -> None:
    """Take `steps` steps of all runs in turns, and judge them before the first and after every few."""
    seen = digit_scenes(scenes, seed=SEED)
    unseen = digit_scenes(held_out, seed=SEED, split="validation")
    pictures, checks, each = seen.inputs, unseen.inputs, scenes // BATCH
    for i in range(steps + 1):
        if i % every == 0 or i == steps:
            for run in runs.values():
                run.judge(checks, unseen.labels)
        if i < steps:
            order = np.random.default_rng((SEED, i // each)).permutation(scenes)
            index = order[i % each * BATCH :][:BATCH]
            for run in runs.values():
                run.take(pictures[index], seen.labels[index])


def smooth(curve: np.ndarray) -> np.ndarray:
    """Moving mean over `SMOOTH` steps around each, over fewer at the ends."""
    total = np.cumsum(np.concatenate([[0.0], curve]))
    middle = np.arange(len(curve))
    first, end = np.maximum(middle - SMOOTH // 2, 0), np.minimum(middle + SMOOTH // 2 + 1, len(curve))
    return (total[end] - total[first]) / (end - first)


def recent(curve: Sequence[float] | np.ndarray, step: int) -> float:
    """Mean of the last `SMOOTH` values before a step."""
    return float(np.mean(curve[max(0, step - SMOOTH) : step]))


def apart(run: Run, other: Run) -> np.ndarray:
    """Relative difference of the losses, step by step."""
    a, b = np.array(run.losses), np.array(other.losses)
    return np.abs(a - b) / b


def line(axes, curve: np.ndarray, name: str, label: str) -> None:
    """A curve, faint, and its moving mean."""
    axes.plot(np.where(curve > 0, curve, np.nan), color=COLOURS[name], linewidth=0.4, alpha=0.35)  # two losses may be equal
    axes.plot(smooth(curve), color=COLOURS[name], linewidth=1.4, label=label, linestyle="--" if name == OTHER else "-", zorder=2.5)


def draw(runs: dict[str, Run], exact: dict[str, Run], path: Path) -> None:
    """Losses, their differences, and how many labels of held-out scenes are right."""
    plt.rcParams["svg.hashsalt"] = "training"  # the same numbers are the same file
    figure, (losses, gaps, right) = plt.subplots(1, 3, figsize=(13, 3.9))
    for name in (CONTROL, OWN, OTHER):
        line(losses, np.array(runs[name].losses), name, name)
        steps, shares = list(runs[name].right), [labels for labels, _ in runs[name].right.values()]
        right.plot(steps, shares, color=COLOURS[name], linewidth=1.4, label=name, linestyle="--" if name == OTHER else "-")
    line(gaps, apart(runs[CONTROL], runs[OTHER]), CONTROL, f"{CONTROL} / {OTHER}")
    line(gaps, apart(runs[OWN], runs[OTHER]), OWN, f"{OWN} / {OTHER}")
    line(gaps, apart(exact[OWN], exact[OTHER]), EXACT, f"{OWN} / {OTHER}, both in float64")
    gaps.set_yscale("log")
    gaps.set_ylim(1e-16, 1)
    losses.set_ylim(bottom=0)
    right.yaxis.set_major_formatter(PercentFormatter(1, 0))
    titles = {losses: "training loss", gaps: "relative difference of two runs' losses", right: "labels of held-out scenes that are right"}
    for axes, title in titles.items():
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("step", fontsize=8)
        axes.legend(fontsize=7, frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def result(runs: dict[str, Run], exact: dict[str, Run], options: argparse.Namespace, began: str) -> list[str]:
    """Lines for README.md: losses, their differences and labels at the steps that were judged; time; float64."""
    rows = [
        ["after step", *(f"loss, {name}" for name in runs), "gradcam / torch", "torch / torch", *(f"labels right, {name}" for name in runs)]
    ]
    gaps = [apart(runs[name], runs[OTHER]) for name in (OWN, CONTROL)]
    steps = [step for step in runs[OWN].right if step]
    for step in steps:
        losses = [f"{recent(run.losses, step):.4f}" for run in runs.values()]
        rows.append(
            [str(step), *losses, *(f"{recent(gap, step):.0e}" for gap in gaps), *(f"{run.right[step][0]:.2%}" for run in runs.values())]
        )
    all_ten = ", ".join(f"{name} {run.right[steps[-1]][1]:.1%}" for name, run in runs.items())
    times = ", ".join(f"{name} {sum(run.seconds):.1f} s (median {1e3 * np.median(run.seconds):.1f} ms)" for name, run in runs.items())
    agreed = apart(exact[OWN], exact[OTHER])
    return [
        f"{options.steps} steps of {BATCH} scenes out of {options.scenes}, {options.held_out} held out, threads: {options.threads}.",
        began,
        "",
        *table(rows, options.write),
        "",
        f"All ten labels of a held-out scene right in the end: {all_ten}.",
        f"Time of all steps: {times}.",
        f"In float64 the losses of gradcam and torch agree to {agreed.max():.0e} in each of {len(agreed)} steps.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--exact-steps", type=int, default=30, help="of the runs in float64")
    parser.add_argument("--scenes", type=int, default=12_800)
    parser.add_argument("--held-out", type=int, default=1000)
    parser.add_argument("--every", type=int, default=100, help="steps between two looks at the scenes held out")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_name("training.svg"))
    parser.add_argument("--write", action="store_true", help="put the result into benchmarks/README.md")
    options = parser.parse_args()
    began = machine("torch")
    runs = {
        OWN: own_run(options.steps, options.threads, np.float32),
        OTHER: torch_run(options.steps, options.threads, np.float32),
        CONTROL: torch_run(options.steps, options.threads, np.float32, channels_last=True),
    }
    exact = {OWN: own_run(options.steps, options.threads, np.float64), OTHER: torch_run(options.steps, options.threads, np.float64)}
    train(exact, options.exact_steps, options.scenes, options.held_out, options.exact_steps)
    train(runs, options.steps, options.scenes, options.held_out, options.every)
    draw(runs, exact, options.output)
    report(__file__, result(runs, exact, options, began), options.write)


if __name__ == "__main__":
    main()
