"""Thread counts from fake control groups, affinity, environment variables, arguments and contexts; version report."""

from __future__ import annotations

import asyncio
import io
import math
import os
import threading
from types import SimpleNamespace

import pytest

import gradcam
from gradcam import environment
from gradcam.environment import cpu_info, resolve_threads, set_num_threads, show_versions, threads, usable_cpus


@pytest.fixture(autouse=True)
def core(monkeypatch):
    """A core that reports 16 OpenMP threads, on 8 physical cores with two threads each, no quota, nothing set."""
    fake = SimpleNamespace(
        openmp=True, bfloat16=False, isa="avx2", isas=("scalar", "avx2"), compiler="gcc 12.2", flags="-O3", omp_max_threads=lambda: 16
    )
    monkeypatch.setitem(__import__("sys").modules, "gradcam._core", fake)
    monkeypatch.setattr(gradcam, "_core", fake, raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(environment, "_affinity", lambda: frozenset(range(16)))
    monkeypatch.setattr(environment, "_cgroup_quota", lambda: math.inf)
    monkeypatch.setattr(environment, "_physical_cores", lambda cpus: len({cpu // 2 for cpu in cpus}))
    environment._default_limit.cache_clear()
    yield fake
    environment._default_limit.cache_clear()
    set_num_threads(None)


real_quota, real_affinity, real_cores = environment._cgroup_quota, environment._affinity, environment._physical_cores


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# --- control groups


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"a/b/cpu.max": "150000 100000\n", "a/cpu.max": "max 100000\n"}, 1.5),
        ({"a/b/cpu.max": "400000 100000\n", "a/cpu.max": "50000 100000\n"}, 0.5),
        ({"a/b/cpu.max": "max 100000\n", "cpu.max": "300000 100000\n"}, 3),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"a/b/cpu.max": "nonsense\n"}, math.inf),
        ({"a/b/cpu.max": "100000 0\n"}, math.inf),
        ({"a/b/cpu.max": "0 100000\n"}, math.inf),
        ({"a/b/cpu.max": ""}, math.inf),
        ({}, math.inf),
    ],
)
def test_quota_of_cgroup_v2(tmp_path, files, quota):
    write(tmp_path / "self", "0::/a/b\n")
    for name, text in files.items():
        write(tmp_path / "fs" / name, text)
    assert real_quota(tmp_path / "self", tmp_path / "fs") == quota


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu/a/cpu.cfs_quota_us": "250000\n", "cpu/a/cpu.cfs_period_us": "100000\n"}, 2.5),
        ({"cpu/a/cpu.cfs_quota_us": "-1\n", "cpu/a/cpu.cfs_period_us": "100000\n"}, math.inf),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),  # the path of the host is not there
        ({"cpu/a/cpu.cfs_quota_us": "100000\n"}, math.inf),
        ({"memory/a/cpu.cfs_quota_us": "100000\n", "memory/a/cpu.cfs_period_us": "100000\n"}, math.inf),
    ],
)
def test_quota_of_cgroup_v1(tmp_path, files, quota):
    write(tmp_path / "self", "5:memory:/a\n4:cpu,cpuacct:/a\n3:cpuset:/a\n")
    for name, text in files.items():
        write(tmp_path / "fs" / name, text)
    assert real_quota(tmp_path / "self", tmp_path / "fs") == quota


@pytest.mark.parametrize("text", ["", "garbage", "0::", "0::/../..\n", "::::\n\n:cpu\n"])
def test_odd_membership_files_are_no_quota(tmp_path, text):
    write(tmp_path / "self", text)
    assert real_quota(tmp_path / "self", tmp_path) == math.inf
    assert real_quota(tmp_path / "absent", tmp_path) == math.inf


@pytest.mark.parametrize(("quota", "cpus", "count"), [(math.inf, 4, 4), (0.1, 4, 1), (1.5, 4, 2), (2.0, 4, 2), (64, 4, 4)])
def test_usable_cpus_is_affinity_cut_by_the_quota_rounded_up(monkeypatch, quota, cpus, count):
    monkeypatch.setattr(environment, "_cgroup_quota", lambda: quota)
    monkeypatch.setattr(environment, "_affinity", lambda: frozenset(range(cpus)))
    assert usable_cpus() == count


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no CPU affinity on this platform")
def test_affinity_of_this_process(monkeypatch):
    before = os.sched_getaffinity(0)
    monkeypatch.setattr(environment, "_affinity", real_affinity)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cpus() == 1
        assert resolve_threads() == 1
        assert resolve_threads(-1) == 1
    finally:
        os.sched_setaffinity(0, before)
    assert real_affinity() == before


def test_physical_cores(tmp_path):
    for cpu in range(4):
        write(tmp_path / f"cpu{cpu}" / "topology" / "thread_siblings_list", f"{cpu % 2},{cpu % 2 + 2}\n")
    assert real_cores(frozenset(range(4)), tmp_path) == 2
    assert real_cores(frozenset({0, 2}), tmp_path) == 1
    assert real_cores(frozenset({0, 1}), tmp_path) == 2
    assert real_cores(frozenset({7, 8, 9}), tmp_path) == 3


# --- order of the sources


def test_default_is_the_smallest_of_runtime_cores_and_usable(monkeypatch, core):
    assert resolve_threads() == 8
    core.omp_max_threads = lambda: 3  # as after threadpoolctl.threadpool_limits(3): asked every time
    assert resolve_threads() == 3
    core.omp_max_threads = lambda: 16
    monkeypatch.setattr(environment, "_cgroup_quota", lambda: 4.2)
    environment._default_limit.cache_clear()
    assert resolve_threads() == 5


@pytest.mark.parametrize(("value", "count"), [("16", 16), (" 16,2", 16), ("", 8), ("0", 8), ("-3", 8), ("many", 8)])
def test_omp_num_threads_may_exceed_the_cores(monkeypatch, value, count):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert resolve_threads() == count


def test_order_of_the_sources(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "16")
    assert resolve_threads() == 16
    set_num_threads(5)
    assert resolve_threads() == 5
    with threads(3):
        assert resolve_threads() == 3
        with threads(-1):
            assert resolve_threads() == usable_cpus() == 16
        assert resolve_threads() == 3
        assert resolve_threads(2) == 2
        assert resolve_threads(99) == 99
    assert resolve_threads() == 5
    set_num_threads(None)
    assert resolve_threads() == 16


def test_context_ends_with_an_exception_and_stays_in_its_thread_and_task():
    with pytest.raises(KeyError), threads(3):
        raise KeyError
    assert resolve_threads() == 8
    seen = []
    with threads(3):
        worker = threading.Thread(target=lambda: seen.append(resolve_threads()))
        worker.start()
        worker.join()
    assert seen == [8]

    async def task(count):
        with threads(count):
            await asyncio.sleep(0)
            return resolve_threads()

    async def both():
        return await asyncio.gather(task(2), task(4))

    assert asyncio.run(both()) == [2, 4]


@pytest.mark.parametrize("value", [0, -2, -100])
@pytest.mark.parametrize("function", [resolve_threads, set_num_threads, lambda n: threads(n).__enter__()])
def test_counts_below_1_are_errors(function, value):
    with pytest.raises(ValueError, match=f"num_threads: expected a positive integer or -1 .*, got {value}"):
        function(value)
    assert resolve_threads() == 8


@pytest.mark.parametrize("value", [2.0, "2", True, [2]])
@pytest.mark.parametrize("function", [resolve_threads, set_num_threads])
def test_other_types_are_errors(function, value):
    with pytest.raises(TypeError, match="num_threads: expected a positive integer or -1, got"):
        function(value)


# --- reports


def test_cpu_info():
    info = cpu_info()
    assert info["isa"] == "avx2" and info["isas"] == ["scalar", "avx2"] and info["openmp"] is True and info["bfloat16"] is False
    assert (info["physical_cores"], info["usable_cpus"], info["num_threads"]) == (8, 16, 8)
    assert info["model"] and info["machine"]


def test_show_versions(monkeypatch, capsys):
    monkeypatch.setenv("OMP_NUM_THREADS", "16")
    show_versions()
    printed = capsys.readouterr().out
    rows = dict(line.split(maxsplit=1) for line in printed.splitlines())
    assert rows["compiler"] == "gcc 12.2"
    assert rows["OMP_NUM_THREADS"] == "16"
    assert "scalar, avx2" in printed
    assert {"gradcam", "NumPy", "Python", "onnx", "isa", "OpenMP"} <= rows.keys()
    file = io.StringIO()
    show_versions(file)
    assert file.getvalue() == printed
    assert capsys.readouterr().out == ""


def test_openmp_runtimes(tmp_path):
    path = tmp_path / "maps"
    path.write_text(
        "7f00-7f01 r-xp 0 0 0    /usr/lib/libgomp.so.1.0.0\n7f02-7f03 r--p 0 0 0    /usr/lib/libgomp.so.1.0.0\n"
        "7f04-7f05 r-xp 0 0 0    /a b/libx.so\n7f06-7f07 r-xp 0 0 0    /venv/torch/lib/libgomp-a34b3233.so.1\n"
        "7f06-7f07 r-xp 0 0 0    /opt/libomp.so.5\n7f06-7f07 r-xp 0 0 0    /opt/libiomp5.so\n7f06 rw 0 [heap]\n"
    )
    found = ["/opt/libiomp5.so", "/opt/libomp.so.5", "/usr/lib/libgomp.so.1.0.0", "/venv/torch/lib/libgomp-a34b3233.so.1"]
    assert environment._openmp_runtimes(path) == found
    assert environment._openmp_runtimes(tmp_path / "absent") == []
