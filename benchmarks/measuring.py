"""What the benchmarks share: best samples of interleaved calls, what the machine can do at that moment, tables in README.md."""

from __future__ import annotations

import ctypes
import datetime
import functools
import itertools
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import gradcam

SAMPLE_SECONDS = 2e-5
ROUND_SECONDS = 0.03
STREAM_BYTES = 1 << 28
README = Path(__file__).with_name("README.md")
Call = Callable[[], Any]


# Time ----------------------------------------------------------------------------------------------------------------


def repeat(call: Call, number: int) -> float:
    """Seconds of one of `number` calls."""
    start = time.perf_counter()
    for _ in itertools.repeat(None, number):
        call()
    return (time.perf_counter() - start) / number


def calls_of_a_sample(call: Call) -> tuple[int, float]:
    """Calls that the clock measures well together, and the seconds of one."""
    number = 1
    while (seconds := repeat(call, number)) * number < SAMPLE_SECONDS:
        number *= 2
    return number, seconds


def shortest(call: Call, number: int, seconds: float) -> float:
    """Best sample of `number` calls each within so many seconds: what other processes take in between does not count."""
    end = time.perf_counter() + seconds
    best = repeat(call, number)
    while time.perf_counter() < end:
        best = min(best, repeat(call, number))
    return best


def interleaved(contenders: dict[str, Call], rounds: int) -> dict[str, float]:
    """Best time of each contender; a call that takes half a second is not repeated in every round."""
    first = {name: calls_of_a_sample(call) for name, call in contenders.items()}
    best = {name: seconds for name, (_, seconds) in first.items()}
    for _ in range(rounds):
        for name, call in contenders.items():
            if best[name] < 0.5:
                best[name] = min(best[name], shortest(call, first[name][0], ROUND_SECONDS))
    return best


# Memory of this process ------------------------------------------------------------------------------------------------


def memory(field: str) -> int:
    """Bytes of a field of /proc/self/status: VmHWM is the most that was resident, VmRSS what is."""
    text = Path("/proc/self/status").read_text()
    return 1024 * int(next(line.split()[1] for line in text.splitlines() if line.startswith(field)))


# What the machine can do -----------------------------------------------------------------------------------------------


@functools.cache
def read_rate(size: int, threads: int) -> float:
    """Bytes per second at which `threads` threads read a buffer of `size` bytes over and over (dot product with itself)."""
    parts = np.array_split(np.ones(max(threads, size // 4), np.float32), threads)
    number = max(1, (1 << 26) // max(1, size))

    def read(part: np.ndarray) -> None:
        for _ in range(number):
            part.dot(part)

    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as pool:
        seconds = shortest(lambda: list(pool.map(read, parts)), 1, 0.5)
    return number * size / seconds


FMA_CHAINS = 12
FMA_STEPS = 1 << 21
FMA_SOURCE = """
typedef float vec __attribute__((vector_size(%(bytes)d)));
float run(long steps) {
    vec sum[%(chains)d], x = {0}, y = {0};
    x += 0.999f, y += 0.001f;
    for (int i = 0; i < %(chains)d; i++) sum[i] = y * (float)i;
    for (long n = 0; n < steps; n++)
#pragma GCC unroll %(chains)d
        for (int i = 0; i < %(chains)d; i++) sum[i] = sum[i] * x + y;
    for (int i = 1; i < %(chains)d; i++) sum[0] += sum[i];
    return sum[0][0];
}
"""
"""Enough independent chains of fused multiply-adds to hide their latency, few enough to stay in 16 registers."""


@functools.cache
def _fma_kernel() -> tuple[Any, int]:
    """The compiled loop and the floats of a vector: as wide as those of the kernels in use."""
    width = 64 if gradcam.cpu_info()["isa"] == "avx512" else 32
    source = FMA_SOURCE % {"bytes": width, "chains": FMA_CHAINS}
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "fma.so"
        command = [
            os.environ.get("CC", "cc"),
            "-O3",
            "-march=native",
            "-ffp-contract=fast",
            "-shared",
            "-fPIC",
            "-xc",
            "-",
            "-o",
            str(library),
        ]
        subprocess.run(command, input=source, text=True, check=True)
        run = ctypes.CDLL(str(library)).run
    run.argtypes, run.restype = [ctypes.c_long], ctypes.c_float
    return run, width // 4


def fma_rate(threads: int, seconds: float = 0.1) -> float:
    """Floating-point operations per second of `threads` threads that do nothing but multiply and add, measured now."""
    run, floats = _fma_kernel()
    with ThreadPoolExecutor(threads) as pool:
        best = shortest(lambda: list(pool.map(run, [FMA_STEPS] * threads)), 1, seconds)
    return 2 * FMA_CHAINS * floats * FMA_STEPS * threads / best


# Results ---------------------------------------------------------------------------------------------------------------


def machine(*packages: str) -> str:
    """Processor, level of the kernels, versions, date and load."""
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown CPU")
    found = [f"NumPy {np.__version__}", *(_version(package) for package in packages)]
    load = f"load {os.getloadavg()[0]:.1f} when it began"
    level = gradcam.cpu_info()["isa"]
    return f"{cpu}, {len(os.sched_getaffinity(0))} cores, kernels at {level}; {', '.join(found)}; {datetime.date.today()}; {load}."


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"


def table(rows: Sequence[Sequence[str]], markdown: bool) -> list[str]:
    """Lines of a table whose first row is its head."""
    if markdown:
        head, *body = rows
        return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *body)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def write(script: str, lines: list[str]) -> None:
    """Replace what stands between the marks of a script in README.md."""
    first, last = f"<!-- {script} writes from here -->", "<!-- to here -->"
    before, mark, rest = README.read_text().partition(first)
    if not mark:
        raise SystemExit(f"{README.name} has no line {first}")
    after = rest.partition(last)[2]
    README.write_text("\n".join([f"{before}{first}", *lines, f"{last}{after}"]))


def report(script: str, lines: list[str], to_readme: bool) -> None:
    """Print the result, and put it into README.md."""
    print("\n".join(lines))
    if to_readme:
        write(Path(script).name, lines)
