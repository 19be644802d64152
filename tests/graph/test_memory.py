"""Placement of buffers, and steps that run in place."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest
from graph.cases import F64, normal, run
from hypothesis import given
from hypothesis import strategies as st

from gradcam.graph.builder import Builder
from gradcam.graph import memory
from gradcam.graph.memory import ALIGNMENT, Block, place
from gradcam.graph.passes import prune
from gradcam.graph.compilation import compile_plan

BLOCK = st.tuples(st.integers(0, 1000), st.integers(0, 30), st.integers(0, 10)).map(lambda t: Block(t[0], t[1], t[1] + t[2]))


@given(st.lists(BLOCK, max_size=30), st.booleans())
def test_blocks_that_live_at_the_same_time_do_not_overlap(blocks, many):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "MANY", 0 if many else 31)
        total = place(blocks)
    for i, a in enumerate(blocks):
        assert a.offset % ALIGNMENT == 0
        assert 0 <= a.offset
        assert a.offset + a.size <= total
        for b in blocks[:i]:
            if a.first <= b.last and b.first <= a.last and a.size and b.size:
                assert a.offset + a.size <= b.offset or b.offset + b.size <= a.offset


@given(st.lists(BLOCK, max_size=30))
def test_arena_is_no_larger_than_all_blocks_side_by_side(blocks):
    assert place(blocks) <= sum(-(-b.size // ALIGNMENT) * ALIGNMENT for b in blocks)


def test_blocks_that_follow_each_other_share_their_memory():
    blocks = [Block(1000, i, i + 1) for i in range(20)]
    assert place(blocks) == 2 * 1024


def test_no_blocks_need_no_memory():
    assert place([]) == 0


def test_many_blocks_take_little_more_than_lives_at_once_and_little_time():
    rng = np.random.default_rng(0)
    blocks = [Block(int(rng.integers(1, 4000)), i, int(i + rng.integers(0, 40))) for i in range(40_000)]
    blocks += [Block(640, i, 80_000 - i) for i in range(0, 40_000, 8)]  # as in a gradient: needed again in reverse order
    start = time.perf_counter()
    total = place(blocks)
    assert time.perf_counter() - start < 30
    change = np.zeros(80_002)
    for b in blocks:
        size = -(-b.size // ALIGNMENT) * ALIGNMENT
        change[b.first] += size
        change[b.last + 1] -= size
    assert change.cumsum().max() <= total < 1.3 * change.cumsum().max()


# --- in place


UNARY = {"Relu": lambda a: np.where(a < 0, 0, a), "Tanh": np.tanh, "Neg": np.negative, "Abs": np.abs}
BINARY = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Max": np.maximum}


@st.composite
def programs(draw):
    """Elementwise instructions and moves on arrays of a few shapes, and which results are wanted, repetitions included."""
    count = draw(st.integers(1, 14))
    steps = []
    for i in range(count):
        kind = draw(st.sampled_from(["unary", "binary", "binary", "reshape", "transpose", "softmax", "grad"]))
        operands = [draw(st.integers(0, i + 1)) for _ in range(2)]
        steps.append((kind, draw(st.sampled_from(sorted(UNARY if kind == "unary" else BINARY))), operands))
    wanted = draw(st.lists(st.integers(0, count + 1), min_size=1, max_size=4))
    return steps, wanted


def interpret(steps, x, c):
    """The program in NumPy, and as a graph."""
    g = Builder(F64)
    values, arrays = [g.input("x", x.shape), g.constant(c)], [x, c]
    for kind, op, (i, j) in steps:
        a, b = arrays[i], arrays[j]
        va, vb = values[i], values[j]
        if kind == "unary":
            value, array = g.emit(op, va, alpha=0.0, beta=0.0), UNARY[op](a)
        elif kind == "reshape":
            shape = tuple(reversed(a.shape))
            value, array = g.reshape(va, shape), a.reshape(shape)
        elif kind == "transpose":
            value, array = g.transpose(va, (1, 0)), a.T
        elif kind == "softmax":
            e = np.exp(a - a.max(0))
            value, array = g.emit("Softmax", va, axis=0), e / e.sum(0)
        elif kind == "grad":
            if a.shape != b.shape:
                vb, b = g.reshape(vb, a.shape), b.reshape(a.shape)
            value, array = g.unary_grad("Relu", va, vb), np.where(a <= 0, 0, b)
        else:
            if a.shape != b.shape:
                vb, b = g.reshape(vb, a.shape), b.reshape(a.shape)
            value, array = g.emit(op, va, vb), BINARY[op](a, b)
        values.append(value)
        arrays.append(np.ascontiguousarray(array))
    return g, values, arrays


@given(programs(), st.sampled_from([(3, 5), (4, 4), (1, 7)]))
def test_plans_of_random_programs_are_numpy(program, shape):
    steps, wanted = program
    x, c = normal(shape), normal(shape, 1)
    with np.errstate(over="ignore", invalid="ignore"):
        g, values, arrays = interpret(steps, x, c)
    kept = x.copy()
    results = run(g, [values[i] for i in wanted], [x])
    for i, result in zip(wanted, results, strict=True):
        np.testing.assert_allclose(result, arrays[i], rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(x, kept)
    np.testing.assert_array_equal(values[1].data, c)


@given(programs(), st.integers(1, 4), st.integers(1, 3))
def test_plans_of_random_programs_serve_any_batch(program, pictures, workers):
    steps, wanted = program
    x, c = normal((pictures, 3, 4)), normal((3, 4), 1)
    g, values, _ = interpret(steps, x[0], c)
    g.graph.outputs = [values[i] for i in wanted]
    plan = compile_plan(prune(g.graph), F64)
    plan.workers = lambda pictures, workers: workers  # so small a plan would stay on one thread
    together = plan.run([x], pictures, workers)
    for n in range(pictures):
        for whole, one in zip(together, plan.run([np.ascontiguousarray(x[n])], 1, 1), strict=True):
            assert whole[n * len(one) : (n + 1) * len(one)].tobytes() == one.tobytes()


def test_chain_of_elementwise_steps_needs_no_memory_of_its_own():
    g = Builder(F64)
    value = g.input("x", (100,))
    for _ in range(10):
        value = g.emit("Tanh", value, alpha=0.0, beta=0.0)
    g.graph.outputs = [value]
    plan = compile_plan(g.graph, F64)
    assert plan.arena_bytes == 0  # the first step writes into the output, the others run in place
    expected = a = normal((100,))
    for _ in range(10):
        expected = np.tanh(expected)
    np.testing.assert_allclose(plan.run([a], 1, 1)[0], expected, rtol=1e-12)


def test_value_that_is_read_later_is_not_overwritten():
    g = Builder(F64)
    x = g.input("x", (8,))
    first = g.emit("Tanh", x, alpha=0.0, beta=0.0)
    second = g.emit("Neg", first, alpha=0.0, beta=0.0)
    (result,) = run(g, [g.mul(first, second)], [normal((8,))])
    np.testing.assert_allclose(result, -(np.tanh(normal((8,))) ** 2), rtol=1e-12)


def test_same_value_as_both_operands_is_not_overwritten():
    g = Builder(F64)
    first = g.emit("Exp", g.input("x", (2, 3)), alpha=0.0, beta=0.0)
    a = normal((2, 3))
    (result,) = run(g, [g.sub(first, g.reshape(first, (2, 3)))], [a])
    np.testing.assert_array_equal(result, 0)
    (result,) = run(g, [g.add(g.expand(g.sum(first, (1,), True), (2, 3)), first)], [a])
    np.testing.assert_allclose(result, np.exp(a) + np.exp(a).sum(1, keepdims=True), rtol=1e-12)


def test_smaller_operand_is_not_overwritten():
    g = Builder(F64)
    row = g.emit("Exp", g.input("x", (3,)), alpha=0.0, beta=0.0)
    (result,) = run(g, [g.add(row, g.constant(normal((2, 3))))], [np.zeros(3)])
    np.testing.assert_allclose(result, 1 + normal((2, 3)), rtol=1e-12)


# --- outputs


def outputs_of(choose):
    g = Builder(F64)
    x = g.input("x", (2, 3))
    inner = g.emit("Tanh", x, alpha=0.0, beta=0.0)
    a = normal((2, 3))
    known = {x: a, inner: np.tanh(a)}
    chosen = choose(g, x, inner)
    return run(g, [value for value, _ in chosen], [a]), [expected(known) for _, expected in chosen]


@pytest.mark.parametrize(
    "choose",
    [
        lambda g, x, y: [(x, lambda k: k[x])],
        lambda g, x, y: [(g.constant(np.arange(4.0)), lambda k: np.arange(4.0)), (y, lambda k: k[y])],
        lambda g, x, y: [(g.reshape(x, (6,)), lambda k: k[x].ravel())],
        lambda g, x, y: [(g.reshape(y, (3, 2)), lambda k: k[y].reshape(3, 2))],
        lambda g, x, y: [(y, lambda k: k[y]), (g.reshape(y, (6,)), lambda k: k[y].ravel())],
        lambda g, x, y: [(g.reshape(y, (6,)), lambda k: k[y].ravel()), (y, lambda k: k[y])],
        lambda g, x, y: [(y, lambda k: k[y])] * 3,
        lambda g, x, y: [(x, lambda k: k[x])] * 2,
        lambda g, x, y: [(y, lambda k: k[y]), (g.mul(y, y), lambda k: k[y] ** 2)],
        lambda g, x, y: [(g.emit("Neg", g.reshape(y, (6,)), alpha=0.0, beta=0.0), lambda k: -k[y].ravel()), (y, lambda k: k[y])],
        lambda g, x, y: [(g.constant(np.float64(2.5)), lambda k: np.float64(2.5))],
        lambda g, x, y: [(g.sum(y, (0, 1)), lambda k: k[y].sum())],
    ],
    ids=[
        "input",
        "constant",
        "view of an input",
        "view",
        "value and its view",
        "view and its value",
        "same value thrice",
        "same input twice",
        "value and what is computed from it",
        "computed from a view, and the value",
        "scalar constant",
        "scalar",
    ],
)
def test_outputs_that_are_another_values_memory(choose):
    results, expected = outputs_of(choose)
    for got, want in zip(results, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)
    for i, got in enumerate(results):
        assert got.flags.writeable
        assert not any(np.shares_memory(got, other) for other in results[:i])


def test_integer_outputs_that_share_memory():
    g = Builder(F64)
    index = g.emit("ArgMax", g.input("x", (2, 3)), axis=1)
    a = normal((2, 3))
    first, again, view = run(g, [index, index, g.reshape(index, (2, 1))], [a])
    for result in (first, again, view):
        assert result.dtype == np.int64
        np.testing.assert_array_equal(result.ravel(), a.argmax(1))


def test_index_that_is_an_input_and_an_output():
    g = Builder(F64)
    index = g.input("index", (3,), np.dtype(np.int64))
    x = g.input("x", (5,))
    results = run(g, [g.emit("Gather", x, index, axis=0), index], [np.array([4, 0, 2]), np.arange(5.0)])
    np.testing.assert_array_equal(results[0], [4, 0, 2])
    np.testing.assert_array_equal(results[1], [4, 0, 2])


def test_input_that_nothing_reads_must_still_be_given():
    g = Builder(F64)
    x = g.input("x", (3,))
    g.input("unused", (2,))
    g.graph.outputs = [g.mul(x, x)]
    plan = compile_plan(g.graph, F64)
    np.testing.assert_array_equal(plan.run([np.arange(3.0), np.zeros(2)], 1, 1)[0], [0, 1, 4])
    with pytest.raises(ValueError, match="inputs: expected 2 arrays, got 1"):
        plan.run([np.arange(3.0)], 1, 1)


def test_no_pictures():
    g = Builder(F64)
    x = g.input("x", (1, 3))
    g.graph.outputs = [g.mul(x, x)]
    assert compile_plan(g.graph, F64).run([np.empty((0, 3))], 0, 2)[0].shape == (0, 3)


def test_array_of_one_block_serves_all_pictures():
    g = Builder(F64)
    x, shared = g.input("x", (1, 3)), g.input("shared", (1, 3))
    g.graph.outputs = [g.add(x, shared)]
    a = normal((4, 3))
    (result,) = compile_plan(g.graph, F64).run([a, np.ones((1, 3))], 4, 1)
    np.testing.assert_array_equal(result, a + 1)


def calls_to_compile(op, steps):
    """Function calls that compiling a chain takes: the same on every machine."""
    g = Builder(F64)
    value = g.input("x", (2, 2))
    for _ in range(steps):
        value = g.transpose(value, (1, 0)) if op == "Transpose" else g.emit("Neg", value, alpha=0.0, beta=0.0)
    g.graph.outputs = [value]
    calls = 0

    def count(*_):
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        compile_plan(g.graph, F64)
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("op", ["Neg", "Transpose"])  # runs in place; needs a block of its own
def test_work_of_compiling_grows_with_the_length_of_a_chain(op):
    assert calls_to_compile(op, 2000) < 5 * calls_to_compile(op, 500)
