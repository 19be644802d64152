"""CAM methods on arrays: `gradcam.cam` beside NumPy formulas, pytorch-grad-cam's own functions and torch eager.

    pip install -e ".[test,bench]"
    python benchmarks/bench_cam.py --write

Contenders take turns in every round. A sample is one call, or so many short ones that the clock's grain does not matter; the best
sample counts, which other processes on the machine disturb least.
Hot: all calls read the same arrays, which stay in the cache if they fit. Cold (--cold): calls rotate over arrays that together are
several times the last cache. Values are compared before anything is timed. A contender whose package is missing is left out, and so is
a method that the registry lacks.

The share of the bandwidth is (bytes of every input that the method needs and of the map, each counted once, whatever is read twice) /
time, over the rate at which the same number of threads streams a buffer (hot: of the same size as the inputs; cold: larger than all
caches). The call overhead is the time of `gradcam.cam` less that of the compiled plan's run in C on arrays made beforehand.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import bench_cam_peers as peers
import numpy as np
from measuring import STREAM_BYTES, Call, interleaved, machine, read_rate, report, table
from threadpoolctl import threadpool_limits

import gradcam
from gradcam.graph.plan import Plan
from gradcam.methods import METHODS

SHAPES = [(2048, 7, 7), (512, 14, 14), (512, 28, 28), (256, 56, 56), (64, 112, 112)]
OURS = "gradcam"
BARS = {"gradcam": {"pytorch-grad-cam": 2.5}, "gradcam++": {"pytorch-grad-cam": 10.0}, "eigencam": {"pytorch-grad-cam": 20.0}}
EAGER_BAR = 1.5
OVERHEAD_BAR_US = 10.0


@dataclass
class Case:
    """One method on one shape at one number of threads; `best` has the seconds of one call."""

    method: str
    batch: int
    shape: tuple[int, ...]
    threads: int
    best: dict[str, float] = field(default_factory=dict)
    share: float = 0.0

    @property
    def bytes(self) -> int:
        """What must be read and written."""
        inputs = len({"activations", "gradients"} & set(METHODS[self.method].needs))
        channels, *positions = self.shape
        return 4 * self.batch * int(np.prod(positions)) * (inputs * channels + 1)

    @property
    def name(self) -> str:
        return f"{self.batch} x {'x'.join(map(str, self.shape))}"

    def ratio(self, contender: str) -> float | None:
        """How many times the contender's time is ours."""
        return self.best[contender] / self.best[OURS] if contender in self.best else None


def arrays(case: Case, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Activations as after a ReLU, and gradients."""
    generator = np.random.default_rng(seed)
    a = generator.standard_normal((case.batch, *case.shape), np.float32)
    return np.maximum(a, 0), 1e-3 * generator.standard_normal(a.shape, np.float32)


def ours(case: Case, pairs: Iterator[tuple[np.ndarray, np.ndarray]]) -> Call:
    def call() -> np.ndarray:
        a, g = next(pairs)
        return gradcam.cam(a, g, method=case.method, relu=False, num_threads=case.threads)

    return call


def contenders_of(case: Case, cold: bool) -> dict[str, Call]:
    """Every contender on the arrays of a case, after a comparison of the values."""
    size = 2 * 4 * case.batch * int(np.prod(case.shape))
    pairs = [arrays(case, seed) for seed in range(max(2, STREAM_BYTES // size) if cold else 1)]
    calls: dict[str, Call] = {OURS: ours(case, itertools.cycle(pairs))}
    for name, peer in peers.PEERS.items():
        function = peer(case.method)
        if function is not None and not (case.method in peers.SLOW_FACTORISATION and name != "NumPy" and case.batch > 1):
            calls[name] = function(itertools.cycle(pairs))
    a, g = pairs[0]
    wanted = gradcam.cam(a, g, method=case.method, relu=False, compat="pytorch-grad-cam", num_threads=case.threads)
    for name, call in calls.items():
        if name != OURS:
            peers.check_values(f"{case.method} of {name} on {case.name}", case.method, call(), wanted)
    return calls


def measure(case: Case, cold: bool, rounds: int) -> Case:
    with threadpool_limits(case.threads, "blas"), peers.torch_threads(case.threads):
        case.best = interleaved(contenders_of(case, cold), rounds)
    size = STREAM_BYTES if cold else case.bytes
    case.share = case.bytes / case.best[OURS] / read_rate(size, case.threads)
    return case


def overhead(rounds: int) -> tuple[float, float]:
    """Seconds of `gradcam.cam` on a tiny array, and of the plan's run in C alone."""
    a, g = arrays(Case("gradcam", 1, (2, 2, 2), 1), 0)
    seen: list[tuple[Plan, int]] = []
    run = Plan.run

    def spy(plan: Plan, given: Any, pictures: int, workers: int) -> Any:
        seen.append((plan, pictures))
        return run(plan, given, pictures, workers)

    Plan.run = spy  # type: ignore[method-assign]
    try:
        out = np.empty_like(gradcam.cam(a, g, num_threads=1))
    finally:
        Plan.run = run  # type: ignore[method-assign]
    plan, pictures = seen[0]
    best = interleaved(
        {"cam": lambda: gradcam.cam(a, g, num_threads=1), "run": lambda: plan._plan.run((a, g), (out,), pictures, 1, True)}, 5 * rounds
    )
    return best["cam"], best["run"]


def columns(cases: list[Case]) -> list[str]:
    return [name for name in peers.PEERS if any(name in case.best for case in cases)]


def rows_of(cases: list[Case]) -> list[list[str]]:
    """One row per case: our time, the peers' times over ours, the share of the bandwidth."""
    names = columns(cases)
    head = ["method", "arrays", "threads", "gradcam, us", *(f"{name} / ours" for name in names), "bandwidth"]
    rows = [head]
    for case in cases:
        ratios = (case.ratio(name) for name in names)
        times = [f"{1e6 * case.best[OURS]:.0f}", *("-" if r is None else f"{r:.1f}" for r in ratios)]
        rows.append([case.method, case.name, str(case.threads), *times, f"{100 * case.share:.0f} %"])
    return rows


def verdict(cases: list[Case], spent: tuple[float, float]) -> list[str]:
    """Which bars are met."""
    met, missed = 0, []
    for case in cases:
        wanted = {**BARS.get(case.method, {}), "torch": EAGER_BAR}
        for name, bar in wanted.items():
            ratio = case.ratio(name)
            if ratio is not None and ratio < bar:
                missed.append(f"* missed: {case.method}, {case.name}, {case.threads} threads: {ratio:.2f} x {name}, the bar is {bar:g}")
            met += ratio is not None and ratio >= bar
    over = 1e6 * (spent[0] - spent[1])
    return [
        f"Call overhead: {1e6 * spent[0]:.1f} us for `gradcam.cam` less {1e6 * spent[1]:.1f} us for the run in C: {over:.1f} us; "
        f"the bar of {OVERHEAD_BAR_US:g} us is {'met' if over < OVERHEAD_BAR_US else 'missed'}.",
        f"Bars of the ratios met: {met}, missed: {len(missed)}.",
        *([""] if missed else []),
        *missed,
    ]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=peers.METHODS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--shapes", type=lambda text: tuple(map(int, text.split("x"))), nargs="+", default=SHAPES, metavar="CxHxW")
    parser.add_argument("--cold", action="store_true", help="rotate over arrays that no cache holds")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--write", action="store_true", help="put the result into benchmarks/README.md")
    return parser.parse_args()


def main() -> None:
    options = parse()
    spent = overhead(options.rounds)
    rates = [f"{threads} threads {read_rate(STREAM_BYTES, threads) / 1e9:.1f} GB/s" for threads in options.threads]
    kind = "cold" if options.cold else "hot"
    lines = [
        f"{machine('torch', 'grad-cam')} {kind.capitalize()} arrays, {options.rounds} rounds.",
        f"Streaming read of {STREAM_BYTES >> 20} MiB: {', '.join(rates)}.",
        "",
    ]
    cases = [
        measure(Case(method, batch, shape, threads), options.cold, options.rounds)
        for method in options.methods
        if method in METHODS
        for shape in options.shapes
        for batch in options.batches
        for threads in options.threads
    ]
    lines += [*table(rows_of(cases), options.markdown or options.write), "", *verdict(cases, spent)]
    report(__file__, lines, options.write)


if __name__ == "__main__":
    main()
