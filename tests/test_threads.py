"""Threads, processes and signals: the same bytes from everywhere, no hang after a fork, Ctrl-C ends a long run."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from model.networks import Weights, conv, model_bytes, normal, resnet
from onnx import helper

import gradcam
from gradcam.ops.conv import conv as conv_arrays
from gradcam.ops.matmul import matmul

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and POSIX signals")


def run_script(path: Path, program: str, timeout: float = 60, **environment: str) -> str:
    """Run a program in a fresh interpreter; a hang or an error fails the test."""
    path.write_text(program, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path(gradcam.__file__).parents[1]), **environment}
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=timeout, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- Python threads


@pytest.fixture
def switch_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(count, work) -> list[BaseException]:
    """Run work(i) in so many threads at once and return what they raised."""
    errors: list[BaseException] = []
    gate = threading.Barrier(count)

    def guarded(i):
        try:
            gate.wait()
            work(i)
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(count)]
    for step in (threading.Thread.start, threading.Thread.join):
        for thread in threads:
            step(thread)
    return errors


def test_eight_threads_of_array_functions_get_equal_bytes(switch_often):
    x, w, a, b = normal((1, 8, 30, 31)), normal((5, 8, 3, 3), 1), normal((40, 50), 2), normal((50, 33), 3)
    calls = [
        lambda n: conv_arrays(x, w, num_threads=n),
        lambda n: matmul(a, b, num_threads=n),
        lambda n: gradcam.cam(x, x, num_threads=n),
        lambda n: gradcam.cam(x, x, method="gradcam++", num_threads=n, relu=False),
    ]
    wanted = [call(1).tobytes() for call in calls]

    def work(i):
        for j in range(150):
            which = (i + j) % len(calls)
            assert calls[which](1 + (i + j) % 3).tobytes() == wanted[which]

    assert in_threads(8, work) == []


def test_eight_threads_of_one_model_get_equal_bytes(switch_often):
    model, x = gradcam.load(resnet()), normal((3, 3, 16, 16))
    wanted = [model.explain(x, target=c, layer="stage1", relu=False).raw.tobytes() for c in range(3)]
    forward = model(x).tobytes()
    fresh = gradcam.load(resnet())

    def work(i):
        for j in range(15):
            c = (i + j) % 3
            assert fresh.explain(x, target=c, layer="stage1", relu=False, num_threads=1 + j % 2).raw.tobytes() == wanted[c]
            assert fresh(x).tobytes() == forward

    assert in_threads(8, work) == []


def test_numbers_of_threads_of_different_threads_do_not_meet():
    from gradcam.environment import resolve_threads

    def work(i):
        for _ in range(100):
            with gradcam.threads(i + 1):
                assert resolve_threads() == i + 1

    assert in_threads(8, work) == []


def long_model(layers: int = 400) -> bytes:
    """Many convolutions of a few milliseconds each."""
    w = Weights()
    names = conv(w, "x", "c0", (32, 32))
    nodes = [*names]
    for i in range(1, layers):
        nodes.append(helper.make_node("Conv", [f"c{i - 1}", "c0.weight", "c0.bias"], [f"c{i}"], pads=[1, 1, 1, 1]))
    return model_bytes(nodes, {"x": ["N", 32, 96, 96]}, {f"c{layers - 1}": None}, w, check=False)


def test_other_threads_run_during_a_call():
    model, x = gradcam.load(long_model(60)), normal((2, 32, 96, 96))
    model(x[:1])
    thread = threading.Thread(target=lambda: model(x, num_threads=1))
    beats, start = [], time.perf_counter()
    thread.start()
    while thread.is_alive():
        time.sleep(0.001)
        beats.append(time.perf_counter())
    assert beats[-1] - start > 0.02  # else the call was too short to tell
    assert len(beats) > 5


# --- the OpenMP runtime's own limits

LIMITS = [{}, {"OMP_THREAD_LIMIT": "1"}, {"OMP_THREAD_LIMIT": "2"}, {"OMP_DYNAMIC": "true"}, {"OMP_NUM_THREADS": "3"}]


def test_fewer_threads_than_asked_for_give_equal_bytes(tmp_path):
    (tmp_path / "net.onnx").write_bytes(resnet())
    program = f"""
import hashlib, numpy as np, gradcam
model = gradcam.load({str(tmp_path / "net.onnx")!r})
for pictures in (1, 3, 9):
    x = np.random.default_rng(0).standard_normal((pictures, 3, 16, 16)).astype(np.float32)
    for threads in (1, 2, 4, 8):
        why = model.explain(x, target=1, layer="stem", relu=False, num_threads=threads)
        print(pictures, hashlib.sha256(why.raw.tobytes() + why.score.tobytes()).hexdigest())
"""
    lines = [run_script(tmp_path / "program.py", program, **limit).splitlines() for limit in LIMITS]
    assert all(found == lines[0] for found in lines)
    assert len(lines[0]) == 12
    assert len(set(lines[0])) == 3  # one digest for each number of pictures


# --- fork

WORK = """
import os, signal, sys, threading, time
import numpy as np
import gradcam
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
from gradcam.ops.conv import conv

x = np.random.default_rng(0).standard_normal((1, 16, 64, 64)).astype(np.float32)
w = np.random.default_rng(1).standard_normal((32, 16, 3, 3)).astype(np.float32)

def compute(threads=4):
    return conv(x, w, num_threads=threads).tobytes()

def child(work):
    '''Fork, run `work` in the child within 10 s, and return whether its result was right.'''
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)
        try:
            os._exit(0 if work() else 1)
        except BaseException:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""


def test_child_of_a_process_that_ran_in_parallel(tmp_path):
    program = (
        WORK
        + """
wanted = compute()
assert child(lambda: compute() == wanted)
assert child(lambda: compute(1) == wanted)
assert compute() == wanted                                       # the parent goes on in parallel
assert child(lambda: compute() == wanted and child(lambda: compute() == wanted))  # grandchild
assert all(child(lambda: compute() == wanted) for _ in range(5))
print("right")
"""
    )
    assert run_script(tmp_path / "program.py", program) == "right\n"


def test_fork_from_a_second_thread(tmp_path):
    program = (
        WORK
        + """
wanted = compute()
found = []
def work():
    assert compute() == wanted
    found.append(child(lambda: compute() == wanted))
thread = threading.Thread(target=work)
thread.start()
thread.join()
assert found == [True] and compute() == wanted
print("right")
"""
    )
    assert run_script(tmp_path / "program.py", program) == "right\n"


def test_fork_during_a_call(tmp_path):
    program = (
        WORK
        + """
wanted = compute()
stop = False
def work():
    while not stop:
        assert compute() == wanted
thread = threading.Thread(target=work)
thread.start()
try:
    results = [child(lambda: compute() == wanted) for _ in range(8)]
finally:
    stop = True
    thread.join()
assert results == [True] * 8, results
print("right")
"""
    )
    assert run_script(tmp_path / "program.py", program) == "right\n"


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_process_pools(tmp_path, method):
    program = (
        WORK
        + f"""
import hashlib, multiprocessing
def work(i):
    return hashlib.sha256(compute()).hexdigest()
if __name__ == "__main__":
    wanted = work(0)
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        assert pool.map_async(work, range(6)).get(timeout=40) == [wanted] * 6
    print("right")
"""
    )
    assert run_script(tmp_path / "program.py", program) == "right\n"


def test_model_in_a_forked_child(tmp_path):
    (tmp_path / "net.onnx").write_bytes(resnet())
    program = (
        WORK
        + f"""
model = gradcam.load({str(tmp_path / "net.onnx")!r})
pictures = np.random.default_rng(2).standard_normal((8, 3, 16, 16)).astype(np.float32)
def explain():
    return model.explain(pictures, target=1, layer="stem", relu=False, num_threads=4).raw.tobytes()
wanted = explain()
assert child(lambda: explain() == wanted)
print("right")
"""
    )
    assert run_script(tmp_path / "program.py", program) == "right\n"


# --- Ctrl-C

INTERRUPT = """
import os, signal, sys, threading, time
import numpy as np
import gradcam
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
model = gradcam.load(os.path.dirname(os.path.abspath(__file__)) + "/long.onnx")
x = np.random.default_rng(0).standard_normal((PICTURES, 32, 96, 96)).astype(np.float32)
model(x[:1, :])  # plans are made
start = time.perf_counter()
CALL
whole = time.perf_counter() - start  # machines differ by far more than any fixed pause allows
def press():
    time.sleep(whole / 4)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=press, daemon=True).start()
start = time.perf_counter()
try:
    CALL
    print("never interrupted", time.perf_counter() - start, "of", whole)
except KeyboardInterrupt:
    seconds = time.perf_counter() - start
    assert whole / 4 <= seconds < whole / 4 + 0.7, (seconds, whole)
    small = model(x[:1])
    assert small.tobytes() == model(x[:1]).tobytes()
    print("interrupted")
"""


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("pictures", [1, 40])
def test_interrupt_ends_a_long_run(tmp_path, threads, pictures):
    (tmp_path / "long.onnx").write_bytes(long_model(1200 if pictures == 1 else 100))
    program = INTERRUPT.replace("PICTURES", str(pictures)).replace("CALL", f"model(x, num_threads={threads})")
    assert run_script(tmp_path / "program.py", program) == "interrupted\n"


@pytest.mark.slow
def test_interrupt_ends_a_long_explanation(tmp_path):
    (tmp_path / "long.onnx").write_bytes(long_model(100))
    call = "model.explain(x, target=1, layer='c0', relu=False)"
    program = INTERRUPT.replace("PICTURES", "60").replace("CALL", call)
    assert run_script(tmp_path / "program.py", program) == "interrupted\n"


@pytest.mark.slow
def test_signal_handler_that_raises_stops_the_run_with_its_exception(tmp_path):
    (tmp_path / "long.onnx").write_bytes(long_model(100))
    program = """
import os, signal
import numpy as np
import gradcam
model = gradcam.load(os.path.dirname(os.path.abspath(__file__)) + "/long.onnx")
x = np.random.default_rng(0).standard_normal((60, 32, 96, 96)).astype(np.float32)
class Alarm(Exception):
    pass
seen = []
def harmless(number, frame):
    seen.append(number)
def handler(number, frame):
    raise Alarm
signal.signal(signal.SIGUSR1, harmless)
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.05)
try:
    model(x)
except Alarm:
    signal.signal(signal.SIGALRM, harmless)  # a handler that returns does not stop a run
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    model(x[:8])
    assert seen == [signal.SIGALRM]
    print("stopped")
"""
    assert run_script(tmp_path / "program.py", program) == "stopped\n"


def test_run_in_another_thread_is_not_interrupted(tmp_path):
    (tmp_path / "long.onnx").write_bytes(long_model(60))
    program = """
import os, signal, sys, threading, time
import numpy as np
import gradcam
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
model = gradcam.load(os.path.dirname(os.path.abspath(__file__)) + "/long.onnx")
x = np.random.default_rng(0).standard_normal((4, 32, 96, 96)).astype(np.float32)
wanted, found = model(x).tobytes(), []
thread = threading.Thread(target=lambda: found.append(model(x).tobytes()))
thread.start()
try:
    os.kill(os.getpid(), signal.SIGINT)
    while thread.is_alive():
        time.sleep(0.01)
except KeyboardInterrupt:
    print("main thread only")
thread.join()
assert found == [wanted]
"""
    assert run_script(tmp_path / "program.py", program) == "main thread only\n"


# --- results do not depend on the process


def test_bits_of_a_fresh_process(tmp_path):
    (tmp_path / "net.onnx").write_bytes(resnet())
    x = normal((2, 3, 16, 16))
    np.save(tmp_path / "x.npy", x)
    why = gradcam.load(tmp_path / "net.onnx").explain(x, target=2, relu=False)
    program = f"""
import hashlib, numpy as np, gradcam
why = gradcam.load({str(tmp_path / "net.onnx")!r}).explain(np.load({str(tmp_path / "x.npy")!r}), target=2, relu=False)
print(hashlib.sha256(why.raw.tobytes()).hexdigest())
"""
    assert run_script(tmp_path / "program.py", program).strip() == hashlib.sha256(why.raw.tobytes()).hexdigest()


def test_every_isa_can_be_forced_and_a_wrong_name_is_refused(tmp_path):
    from gradcam import _core

    for isa in _core.isas:
        assert run_script(tmp_path / "p.py", "from gradcam import _core\nprint(_core.isa)", GRADCAM_ISA=isa).strip() == isa
    program = """
try:
    import gradcam
except ImportError as error:
    print(error)
"""
    text = run_script(tmp_path / "p.py", program, GRADCAM_ISA="mmx")
    assert "GRADCAM_ISA: expected one of" in text
    assert "'mmx'" in text
    assert "'scalar'" in text
