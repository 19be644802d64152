"""How many threads a call gets, and what the package runs on."""

from __future__ import annotations

import functools
import math
import operator
import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TextIO

__all__ = ["cpu_info", "resolve_threads", "set_num_threads", "show_versions", "threads", "usable_cpus"]

_context_threads: ContextVar[int | None] = ContextVar("gradcam_num_threads", default=None)
_process_threads: int | None = None

_OPTIONAL = ("onnx", "Pillow", "matplotlib", "tqdm", "safetensors", "scikit-learn", "torch", "onnxruntime")


def usable_cpus() -> int:
    """CPUs that this process may use: its affinity, cut by the CPU quota of its control groups (rounded up), at least 1."""
    return max(1, math.ceil(min(len(_affinity()), _cgroup_quota())))


def _affinity() -> frozenset[int]:
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _cgroup_quota(membership: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> float:
    """Return the smallest quota between the process's control group and the root, in CPUs; infinity if there is none."""
    quota = math.inf
    for line in _read(membership).splitlines():
        _, controllers, group = (*line.split(":", 2), "", "")[:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / ("cpu" if controllers else "")
        # A container often shows a path of its host, which does not exist inside: the files of the root count then.
        names = [name for name in group.split("/") if name not in ("", "..")]
        for depth in range(len(names), -1, -1):
            folder = mount.joinpath(*names[:depth])
            if controllers:
                text = f"{_read(folder / 'cpu.cfs_quota_us')} {_read(folder / 'cpu.cfs_period_us')}"
            else:
                text = _read(folder / "cpu.max")
            found = re.fullmatch(r"\s*([0-9]+)\s+([1-9][0-9]*)\s*", text)  # "max" and -1 are no quota
            if found and int(found[1]) > 0:
                quota = min(quota, int(found[1]) / int(found[2]))
    return quota


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


@functools.lru_cache(maxsize=4)
def _physical_cores(cpus: frozenset[int], topology: Path = Path("/sys/devices/system/cpu")) -> int:
    """Cores behind these logical CPUs; a CPU whose siblings are unknown counts as a core."""
    return len({_read(topology / f"cpu{cpu}" / "topology" / "thread_siblings_list").strip() or cpu for cpu in cpus})


@functools.lru_cache(maxsize=4)
def _default_limit(cpus: frozenset[int]) -> int:
    """Threads that pay: more than one per core only compete for it. The quota is read once, as it lies in half a dozen files."""
    return max(1, min(_physical_cores(cpus), usable_cpus()))


def resolve_threads(num_threads: int | None = None) -> int:
    """Return the number of threads of one call.

    In this order: the argument, ``with threads(n)``, ``set_num_threads(n)``, the OpenMP runtime's own number if
    ``OMP_NUM_THREADS`` is set, else the smallest of that number, the physical cores and `usable_cpus`. The runtime is asked
    every time, so that limits set by other libraries (``threadpoolctl``) hold.

    Parameters
    ----------
    num_threads : int, optional
        Number of threads, -1 for all usable CPUs, None for the order above.

    Raises
    ------
    TypeError, ValueError
        `num_threads` is neither a positive integer nor -1.
    """
    for asked in (num_threads, _context_threads.get(), _process_threads):
        if asked is not None:
            count = _checked("num_threads", asked)
            return usable_cpus() if count == -1 else count
    from gradcam import _core

    available = max(1, _core.omp_max_threads())
    if re.match(r"\s*\+?0*[1-9]", os.environ.get("OMP_NUM_THREADS", "")):
        return available
    return min(available, _default_limit(_affinity()))


def _checked(argument: str, value: int) -> int:
    try:
        count = operator.index(value)
    except TypeError:
        count = None
    if count is None or isinstance(value, bool):
        raise TypeError(f"{argument}: expected a positive integer or -1, got {value!r}")
    if count < 1 and count != -1:
        raise ValueError(f"{argument}: expected a positive integer or -1 (all usable CPUs), got {count}")
    return count


def set_num_threads(num_threads: int | None) -> None:
    """Set the number of threads of calls in this process that do not say otherwise.

    Parameters
    ----------
    num_threads : int or None
        Number of threads, -1 for all usable CPUs, None to go back to the default.

    Raises
    ------
    TypeError, ValueError
        `num_threads` is neither a positive integer nor -1.
    """
    global _process_threads
    _process_threads = None if num_threads is None else _checked("set_num_threads: num_threads", num_threads)


@contextmanager
def threads(num_threads: int) -> Iterator[None]:
    """Set the number of threads within a ``with`` block, for the current thread or asynchronous task only.

    Parameters
    ----------
    num_threads : int
        Number of threads, -1 for all usable CPUs.

    Raises
    ------
    TypeError, ValueError
        `num_threads` is neither a positive integer nor -1.
    """
    token = _context_threads.set(_checked("threads: num_threads", num_threads))
    try:
        yield
    finally:
        _context_threads.reset(token)


def cpu_info() -> dict[str, str | int | bool | list[str]]:
    """Describe the processor and how the package uses it.

    Returns
    -------
    dict
        ``model``, ``machine``, ``logical_cpus``, ``physical_cores`` and ``usable_cpus`` of the process, ``isa`` (the instruction
        set in use), ``isas`` (those that this build and this CPU support), ``bfloat16`` (whether it has AVX512_BF16), ``openmp``,
        ``num_threads`` (of a call that says nothing).
    """
    from gradcam import _core

    model = re.search(r"^model name\s*:\s*(.+)$", _read(Path("/proc/cpuinfo")), re.MULTILINE)
    return {
        "model": model[1] if model else platform.processor() or "unknown",
        "machine": platform.machine(),
        "logical_cpus": os.cpu_count() or 1,
        "physical_cores": _physical_cores(_affinity()),
        "usable_cpus": usable_cpus(),
        "isa": _core.isa,
        "isas": list(_core.isas),
        "bfloat16": _core.bfloat16,
        "openmp": _core.openmp,
        "num_threads": resolve_threads(),
    }


def show_versions(file: TextIO | None = None) -> None:
    """Print what a bug report should contain: versions, processor, threads, and every OpenMP runtime in the process.

    Parameters
    ----------
    file : text file, optional
        Where to write; None: standard output.
    """
    from gradcam import _core

    rows: list[tuple[str, object]] = [
        ("gradcam", installed_version("gradcam-native")),
        ("compiler", _core.compiler),
        ("flags", _core.flags),
        ("Python", f"{platform.python_version()} ({platform.python_implementation()})"),
        ("platform", platform.platform()),
        ("NumPy", installed_version("numpy")),
        *((name, installed_version(name)) for name in _OPTIONAL),
        *((name.replace("_", " "), ", ".join(value) if isinstance(value, list) else value) for name, value in cpu_info().items()),
        *((name, os.environ[name]) for name in ("OMP_NUM_THREADS", "GRADCAM_ISA") if name in os.environ),
        *(("OpenMP runtime", path) for path in _openmp_runtimes() or ["none found"]),
    ]
    width = max(len(name) for name, _ in rows)
    print("\n".join(f"{name:<{width}}  {value}" for name, value in rows), file=file or sys.stdout)


def installed_version(distribution: str) -> str:
    """Return the version of an installed distribution, or that it is not installed."""
    import importlib.metadata  # it loads a mail parser: not at import

    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _openmp_runtimes(maps: Path = Path("/proc/self/maps")) -> list[str]:
    """Paths of the OpenMP runtimes loaded into the process (Linux)."""
    return sorted(set(re.findall(r"(/\S*/lib(?:g|i|)omp[^/\s]*\.so[^/\s]*)$", _read(maps), re.MULTILINE)))
