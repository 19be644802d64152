"""Plans of the extension module: a wrong description or a wrong run raises."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from gradcam import _core

RELU = (0, 6)
X, Y = np.arange(-3, 3, dtype=np.float32), np.zeros(6, np.float32)


def readonly():
    array = np.zeros(6, np.float32)
    array.flags.writeable = False
    return array


ARENA, CONSTANT, INPUT, OUTPUT = range(4)
BUFFERS = ((INPUT, 0, 6, 0), (OUTPUT, 0, 6, 0))
STEPS = (("unary_output", RELU, (0.0, 0.0), (0,), (1,)),)


def plan(dtype="f", isa=_core.isa, arena=0, buffers=BUFFERS, steps=STEPS):
    return _core.Plan(dtype, isa, arena, buffers, steps)


def test_good_plan():
    y = np.zeros((2, 6), np.float32)
    plan().run((np.stack([X, -X]),), (y,), 2, 2, False)
    np.testing.assert_array_equal(y, np.maximum([X, -X], 0))


def test_runs_at_the_same_time_do_not_share_kept_memory():
    """Every run has its own intermediate values, whether the plan holds on to memory or not."""
    count = 5000
    buffers = ((INPUT, 0, count, 0), (ARENA, 0, count, 0), (OUTPUT, 0, count, 0))
    steps = (STEPS[0][:1] + ((0, count), (0.0, 0.0), (0,), (1,)), STEPS[0][:1] + ((0, count), (0.0, 0.0), (1,), (2,)))
    made = plan(arena=4 * count, buffers=buffers, steps=steps)
    made.keep_memory()

    def work(i: int) -> bool:
        x, y = np.full(count, float(i), np.float32), np.zeros(count, np.float32)
        for _ in range(50):
            made.run((x,), (y,), 1, 1, False)
        return bool((y == i).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"dtype": "e"}, ValueError, "dtype"),
        ({"isa": "sse9"}, ValueError, "isa"),
        ({"isa": 1}, TypeError, None),
        ({"arena": -1}, ValueError, "arena_bytes: expected a size"),
        ({"arena": 2**70}, OverflowError, None),
        ({"arena": "1"}, TypeError, None),
        ({"buffers": list(BUFFERS)}, TypeError, None),
        ({"buffers": (3,)}, TypeError, "buffers: expected a tuple"),
        ({"buffers": ((0, 0, 6),)}, TypeError, None),
        ({"buffers": ((9, 0, 6, 0), BUFFERS[1])}, ValueError, "buffers: expected"),
        ({"buffers": ((-1, 0, 6, 0), BUFFERS[1])}, ValueError, "buffers: expected"),
        ({"buffers": ((INPUT, 2, 6, 0), BUFFERS[1])}, ValueError, "buffers: expected"),
        ({"buffers": ((INPUT, 0, -6, 0), BUFFERS[1])}, ValueError, "buffers: expected"),
        ({"buffers": ((INPUT, 0, 6, -1), BUFFERS[1])}, OverflowError, None),
        ({"buffers": ((INPUT, 0, 6, 2000), BUFFERS[1])}, ValueError, "buffers: expected a slot below 1024"),
        ({"buffers": ((INPUT, 0, 6, None), BUFFERS[1])}, TypeError, None),
        ({"buffers": ((INPUT, 0, 5, 0), BUFFERS[1])}, ValueError, "unary_output: buffers"),
        ({"buffers": ((INPUT, 1, 6, 0), BUFFERS[1])}, ValueError, "unary_output: buffers"),
        ({"buffers": (BUFFERS[0], (INPUT, 0, 6, 1))}, ValueError, "unary_output: buffers"),  # writes an input
        ({"buffers": (BUFFERS[0], (CONSTANT, 0, 6, X))}, ValueError, "unary_output: buffers"),  # writes a constant
        ({"buffers": ((CONSTANT, 0, 5, X), BUFFERS[1])}, ValueError, "buffers: expected a constant of the stated size"),
        ({"buffers": ((CONSTANT, 0, 6, X.astype(float)), BUFFERS[1])}, TypeError, "buffers: expected native arrays"),
        ({"buffers": ((CONSTANT, 0, 6, [1.0] * 6), BUFFERS[1])}, TypeError, "buffers: expected arrays, got list"),
        ({"buffers": (BUFFERS[0], (ARENA, 0, 6, 0))}, ValueError, "Plan: buffers"),  # beyond the arena
        ({"buffers": (BUFFERS[0], (ARENA, 0, 6, 8)), "arena": 64}, ValueError, "Plan: buffers"),  # not aligned
        ({"buffers": (BUFFERS[0], (ARENA, 0, 6, 64)), "arena": 64}, ValueError, "Plan: buffers"),
        ({"buffers": (BUFFERS[0], (ARENA, 0, 6, 2**63)), "arena": 64}, ValueError, "Plan: buffers"),
        ({"buffers": (BUFFERS[0], (ARENA, 0, 2**62, 0)), "arena": 64}, (MemoryError, ValueError), "Plan: "),
        ({"steps": list(STEPS)}, TypeError, None),
        ({"steps": (3,)}, TypeError, "steps: expected a tuple"),
        ({"steps": (STEPS[0][:4],)}, TypeError, None),
        ({"steps": (("relu", *STEPS[0][1:]),)}, ValueError, "kernel: no kernel is called 'relu'"),
        ({"steps": ((*STEPS[0][:3], (), (1,)),)}, ValueError, "steps: expected as many operands as the kernel has"),
        ({"steps": ((*STEPS[0][:3], (0, 0), (1,)),)}, ValueError, "steps: expected as many operands"),
        ({"steps": ((*STEPS[0][:3], [0], (1,)),)}, TypeError, "steps: expected a tuple"),
        ({"steps": ((*STEPS[0][:3], (2,), (1,)),)}, ValueError, "unary_output: steps"),
        ({"steps": ((*STEPS[0][:3], (0,), (2,)),)}, ValueError, "unary_output: steps"),
        ({"steps": ((*STEPS[0][:3], (-1,), (1,)),)}, ValueError, "unary_output: buffers"),
        ({"steps": ((*STEPS[0][:3], (0,), (-1,)),)}, ValueError, "unary_output: buffers"),
        ({"steps": ((*STEPS[0][:3], (-2,), (1,)),)}, ValueError, "steps: expected buffer numbers"),
        ({"steps": ((*STEPS[0][:3], (2**40,), (1,)),)}, ValueError, "steps: expected buffer numbers"),
        ({"steps": ((*STEPS[0][:3], ("0",), (1,)),)}, TypeError, None),
        ({"steps": (("unary_output", (0,), (0.0, 0.0), (0,), (1,)),)}, ValueError, "unary_output: attributes"),
        ({"steps": (("unary_output", [0, 6], (0.0, 0.0), (0,), (1,)),)}, TypeError, "ints: expected a tuple"),
    ],
)
def test_bad_plans(change, error, message):
    with pytest.raises(error, match=message):
        plan(**change)


def test_plan_takes_no_keywords_and_cannot_be_subclassed():
    with pytest.raises(TypeError):
        _core.Plan(dtype="f")
    with pytest.raises(TypeError):
        _core.Plan()
    with pytest.raises(TypeError):
        type("More", (_core.Plan,), {})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (((X,), (Y,), 0, 1, False), ValueError, "run: expected pictures >= 1"),
        (((X,), (Y,), -1, 1, False), ValueError, "run: expected pictures >= 1"),
        (((X,), (Y,), 1, 0, False), ValueError, "workers in 1..4096"),
        (((X,), (Y,), 1, 5000, False), ValueError, "workers in 1..4096"),
        (((X,), (Y,), 2**70, 1, False), OverflowError, None),
        (((X,), (Y,), 1.0, 1, False), TypeError, None),
        (([X], (Y,), 1, 1, False), TypeError, "inputs: expected a tuple"),
        (((X,), [Y], 1, 1, False), TypeError, "outputs: expected a tuple"),
        (((), (Y,), 1, 1, False), ValueError, "inputs: expected 1 arrays, got 0"),
        (((X, X), (Y,), 1, 1, False), ValueError, "inputs: expected 1 arrays, got 2"),
        (((X,), (), 1, 1, False), ValueError, "outputs: expected 1 arrays, got 0"),
        (((None,), (Y,), 1, 1, False), TypeError, "inputs: expected arrays"),
        (((X.astype(float),), (Y,), 1, 1, False), TypeError, "inputs: expected native arrays"),
        (((X[:5],), (Y,), 1, 1, False), ValueError, "inputs: array 0: expected 6 elements for each of 1 pictures, got 5"),
        (((X,), (Y,), 2, 1, False), ValueError, "outputs: array 0: expected 6 elements for each of 2 pictures, got 6"),
        (((X,), (Y,), 2**61, 1, False), ValueError, "outputs: array 0"),
        (((X,), (readonly(),), 1, 1, False), ValueError, "outputs: expected C-contiguous writeable arrays"),
        (((X,), (np.zeros(12, np.float32)[::2],), 1, 1, False), ValueError, "outputs: expected C-contiguous"),
        (((X,), (Y,), 1, 1), TypeError, "run: expected 5 arguments, got 4"),
    ],
)
def test_bad_runs(arguments, error, message):
    with pytest.raises(error, match=message):
        plan().run(*arguments)


def test_bad_run_bytes():
    for arguments, error in (((1,), TypeError), ((1, 0), ValueError), ((1, 5000), ValueError), (("1", 1), TypeError)):
        with pytest.raises(error):
            plan().run_bytes(*arguments)
