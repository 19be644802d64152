"""The extension module trusts nothing: a wrong call raises, and an allocation that fails is a MemoryError."""

from __future__ import annotations

import gc
import sys
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model.networks import normal, resnet

import gradcam
from gradcam import _core
from gradcam.graph.builder import Builder
from gradcam.graph.compilation import compile_plan
from gradcam.ops.binary import binary_attributes
from gradcam.ops.matmul import matmul_attributes

F32 = np.dtype(np.float32)
RELU = (0, 6)
X, Y = np.arange(-3, 3, dtype=np.float32), np.zeros(6, np.float32)
GOOD = {
    "kernel": "unary_output",
    "isa": _core.isa,
    "dtype": "f",
    "ints": RELU,
    "reals": (0.0, 0.0),
    "inputs": (X,),
    "outputs": (Y,),
    "workers": 1,
}


def call(**change):
    return _core.call(*(GOOD | change).values())


def readonly():
    array = np.zeros(6, np.float32)
    array.flags.writeable = False
    return array


def misaligned(count=6):
    return np.zeros(4 * count + 1, np.uint8)[1:].view(np.float32)


def test_good_call():
    y = np.full(6, 9, np.float32)
    assert call(outputs=(y,)) is None
    np.testing.assert_array_equal(y, np.maximum(X, 0))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"kernel": "relu"}, ValueError, "kernel: no kernel is called 'relu'"),
        ({"kernel": 3}, TypeError, "kernel: expected a str"),
        ({"kernel": None}, TypeError, "kernel: expected a str"),
        ({"kernel": "unary\0output"}, ValueError, None),
        ({"kernel": "\udc80"}, UnicodeEncodeError, None),
        ({"isa": "sse9"}, ValueError, "isa: this CPU or build has no level 'sse9'"),
        ({"isa": None}, ValueError, "isa"),
        ({"isa": "\udc80"}, UnicodeEncodeError, None),
        ({"dtype": "e"}, ValueError, "dtype: expected 'f' or 'd'"),
        ({"dtype": "ff"}, ValueError, "dtype: expected 'f' or 'd'"),
        ({"dtype": b"f"}, ValueError, "dtype: expected 'f' or 'd'"),
        ({"dtype": F32}, ValueError, "dtype: expected 'f' or 'd'"),
        ({"ints": [0, 6]}, TypeError, "ints: expected a tuple, got list"),
        ({"ints": None}, TypeError, "ints: expected a tuple"),
        ({"ints": (0,)}, ValueError, "attributes"),
        ({"ints": (0, 6, 1)}, ValueError, "attributes"),
        ({"ints": ()}, ValueError, "attributes"),
        ({"ints": (99, 6)}, ValueError, "op: expected a known operator code"),
        ({"ints": (-1, 6)}, ValueError, "op"),
        ({"ints": (0, -6)}, ValueError, "shape"),
        ({"ints": (0, 2**62)}, (MemoryError, ValueError), None),
        ({"ints": (0, 2**63)}, OverflowError, None),
        ({"ints": (0, -(2**64))}, OverflowError, None),
        ({"ints": (0, 6.0)}, TypeError, None),
        ({"ints": (0, "6")}, TypeError, None),
        ({"ints": (0, None)}, TypeError, None),
        ({"reals": [0.0, 0.0]}, TypeError, "reals: expected a tuple"),
        ({"reals": (0.0,)}, ValueError, "attributes"),
        ({"reals": (0.0, "a")}, TypeError, None),
        ({"inputs": [X]}, TypeError, "inputs: expected a tuple"),
        ({"inputs": ()}, ValueError, "unary_output: expected 1 inputs and 1 outputs"),
        ({"inputs": (X, X)}, ValueError, "expected 1 inputs and 1 outputs"),
        ({"inputs": (None,)}, ValueError, "unary_output: inputs: expected an array of 6 elements, got 0"),
        ({"inputs": (X.tolist(),)}, TypeError, "inputs: expected arrays, got list"),
        ({"inputs": (X[:5],)}, ValueError, "inputs: expected an array of 6 elements, got 5"),
        ({"inputs": (X.astype(np.float64),)}, TypeError, "inputs: expected native arrays of the kernel's type"),
        ({"inputs": (X.astype(np.int32),)}, TypeError, "inputs: expected native arrays"),
        ({"inputs": (X.astype(object),)}, TypeError, "inputs: expected native arrays"),
        ({"inputs": (X.astype(F32.newbyteorder()),)}, TypeError, "inputs: expected native arrays"),
        ({"inputs": (np.zeros(12, np.float32)[::2],)}, ValueError, "inputs: expected C-contiguous arrays"),
        ({"inputs": (np.zeros((2, 3), np.float32).T,)}, ValueError, "inputs: expected C-contiguous arrays"),
        ({"inputs": (misaligned(),)}, ValueError, "inputs: expected C-contiguous"),
        ({"inputs": (np.broadcast_to(np.float32(1), 6),)}, ValueError, "inputs: expected C-contiguous"),
        ({"outputs": ()}, ValueError, "expected 1 inputs and 1 outputs"),
        ({"outputs": (Y, Y)}, ValueError, "expected 1 inputs and 1 outputs"),
        ({"outputs": (None,)}, ValueError, "outputs: expected an array of 6 elements, got 0"),
        ({"outputs": (Y[:5],)}, ValueError, "outputs: expected an array of 6 elements, got 5"),
        ({"outputs": (readonly(),)}, ValueError, "outputs: expected C-contiguous writeable arrays"),
        ({"outputs": (misaligned(),)}, ValueError, "outputs: expected C-contiguous writeable"),
        ({"outputs": (np.zeros(12, np.float32)[::2],)}, ValueError, "outputs: expected C-contiguous writeable"),
        ({"outputs": (np.zeros(6),)}, TypeError, "outputs: expected native arrays"),
        ({"workers": 0}, ValueError, "workers: expected 1..4096, got 0"),
        ({"workers": -1}, ValueError, "workers: expected 1..4096, got -1"),
        ({"workers": 4097}, ValueError, "workers: expected 1..4096"),
        ({"workers": 2**70}, OverflowError, None),
        ({"workers": 1.5}, TypeError, None),
        ({"workers": None}, TypeError, None),
    ],
)
def test_bad_calls(change, error, message):
    with pytest.raises(error, match=message):
        call(**change)


def test_numbers_of_arguments():
    for arguments in ((), tuple(GOOD.values())[:-1], (*GOOD.values(), 1)):
        with pytest.raises(TypeError, match=f"call: expected 8 arguments, got {len(arguments)}"):
            _core.call(*arguments)
    with pytest.raises(TypeError, match="operands: expected 5 arguments, got 0"):
        _core.operands()
    with pytest.raises(TypeError):
        _core.call(**GOOD)
    with pytest.raises(TypeError):
        _core.fail_allocation("soon")


def test_indices_must_be_int64():
    x, y = np.zeros(4, np.float32), np.zeros(2, np.float32)
    good = ("gather_output", _core.isa, "f", (1, 1, 4, 1, 2), (), (x, np.array([0, 3])), (y,), 1)
    _core.call(*good)
    for index in (np.array([0, 3], np.int32), np.array([0.0, 3.0]), np.array([0, 3], np.uint64), np.array([0, 3]).astype(">i8")):
        with pytest.raises(TypeError, match="inputs: expected native arrays"):
            _core.call(*good[:5], (x, index), (y,), 1)


@pytest.mark.parametrize("index", [-1, 4, 2**62, -(2**63)])
@pytest.mark.parametrize("kernel", ["gather_output", "gather_input_grad"])
def test_indices_out_of_range_touch_no_foreign_memory(kernel, index):
    """The guard bytes around the array stay as they are, and nothing but the array is read."""
    guarded = np.full(3 * 4, 7, np.float32)
    y = np.zeros(2, np.float32)
    x = guarded[4:8]
    x[:] = 1
    indices = np.array([0, index])
    if kernel == "gather_output":
        _core.call(kernel, _core.isa, "f", (1, 1, 4, 1, 2), (), (x, indices), (y,), 1)
        assert y[0] == 1
        assert y[1] != 7
    else:
        _core.call(kernel, _core.isa, "f", (1, 1, 4, 1, 2), (), (np.ones(2, np.float32), indices), (x,), 1)
        np.testing.assert_array_equal(guarded[:4], 7)
        np.testing.assert_array_equal(guarded[8:], 7)


LISTS = st.lists(st.one_of(st.integers(-2, 9), st.sampled_from([2**31, 2**32, 2**62, -(2**63), 2**63 - 1])), max_size=24)


@given(st.sampled_from(_core.kernels), LISTS, st.lists(st.floats(), max_size=4), st.sampled_from("fd"))
def test_any_attributes(kernel, ints, reals, dtype):
    try:
        ins, outs = _core.operands(kernel, _core.isa, dtype, tuple(ints), tuple(reals))
    except (ValueError, MemoryError):
        return
    assert all(n >= 0 for n in (*ins, *outs))


# Attribute lists that kernels accept, changed in one place: what is still accepted must run within its arrays.
ACCEPTED = {
    "binary_output": binary_attributes("Add", (2, 1, 3), (4, 1)).ints,
    "binary_a_grad": binary_attributes("Mul", (2, 3), (3,)).ints,
    "matmul_output": matmul_attributes((2, 5, 3), (3, 4)).ints,
    "matmul_live_output": matmul_attributes((2, 3, 3), (3, 4)).ints,
    "conv_output_naive": (1, 1, 2, 4, 2, 6, 3, 1, 1, 0, 1, 0, 0),
    "conv_pack": (2, 1, 2, 4, 1, 5, 5, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0),
    "conv_output": (2, 1, 2, 4, 1, 5, 5, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0),
    "conv_input_grad": (2, 1, 2, 4, 1, 5, 5, 3, 3, 2, 1, 1, 1, 1, 1, 1, 1, 0, 1),
    "pool_max_output": (2, 1, 2, 5, 5, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 0, 0),
    "pool_max_pick": (2, 1, 2, 5, 5, 3, 2, 2, 1, 1, 0, 1, 1, 2, 1, 1, 0),
    "pool_average_input_grad": (1, 1, 2, 7, 3, 2, 1, 1, 1, 1, 0),
    "gather_output": (2, 2, 3, 4, 5),
    "convert_to_index": (7,),
    "topk_output": (3, 7, 4, 1),
    "cam_fem_weights": (5, 6, 6, 1, 1),
    "cam_fem_map": (5, 6, 1, 5, 0),
    "cam_finite": (5, 6, 6, 1, 1, 5, 1),
    "cam_drop": (2, 3, 5),
}


@given(st.sampled_from(sorted(ACCEPTED)), st.integers(0, 30), st.integers(-3, 12), st.sampled_from("fd"), st.integers(1, 3))
def test_accepted_attributes_run_within_their_arrays(kernel, place, value, dtype, workers):
    ints = list(ACCEPTED[kernel])
    ints[place % len(ints)] = value
    try:
        ins, outs = _core.operands(kernel, _core.isa, dtype, tuple(ints), ())
    except (ValueError, MemoryError):
        return
    if max((*ins, *outs)) > 10**5:
        return
    guard = 16
    blocks = [np.full(n + 2 * guard, 3, np.int64 if kernel in ("topk_output", "convert_to_index") else dtype) for n in outs]
    inputs = tuple(np.ones(n, dtype) if n else None for n in ins)
    if kernel == "gather_output":
        inputs = (inputs[0], np.zeros(ins[1], np.int64))
    outputs = tuple(block[guard : guard + n] for block, n in zip(blocks, outs, strict=True))
    _core.call(kernel, _core.isa, dtype, tuple(ints), (), inputs, outputs, workers)
    for block in blocks:
        assert (block[:guard] == 3).all()
        assert (block[len(block) - guard :] == 3).all()


# --- plans

ARENA, CONSTANT, INPUT, OUTPUT = range(4)
BUFFERS = ((INPUT, 0, 6, 0), (OUTPUT, 0, 6, 0))
STEPS = (("unary_output", RELU, (0.0, 0.0), (0,), (1,)),)


def plan(dtype="f", isa=_core.isa, arena=0, buffers=BUFFERS, steps=STEPS):
    return _core.Plan(dtype, isa, arena, buffers, steps)


def test_constants_live_as_long_as_the_plan():
    constant = np.arange(6, dtype=np.float32)
    alive = weakref.ref(constant)
    made = plan(buffers=((CONSTANT, 0, 6, constant), BUFFERS[1]))
    del constant
    gc.collect()
    assert alive() is not None
    y = np.zeros(6, np.float32)
    made.run((), (y,), 1, 1, False)
    np.testing.assert_array_equal(y, np.arange(6))
    del made
    gc.collect()
    assert alive() is None


# --- failing allocations


@pytest.fixture
def fail_allocation():
    yield _core.fail_allocation
    _core.fail_allocation(-1)


def count_failures(fail_allocation, action) -> int:
    """Let the first, second, ... allocation of the C core fail until the action succeeds."""
    for n in range(200):
        fail_allocation(n)
        try:
            action()
        except MemoryError:
            continue
        finally:
            fail_allocation(-1)
        return n
    raise AssertionError("the action never succeeds")


def test_failing_allocations_of_a_call(fail_allocation):
    y = np.zeros(6, np.float32)
    assert count_failures(fail_allocation, lambda: call(outputs=(y,))) == 3  # attributes, geometry, scratch
    np.testing.assert_array_equal(y, np.maximum(X, 0))


def test_failing_allocations_of_a_plan(fail_allocation):
    assert count_failures(fail_allocation, plan) == 4  # steps, buffers, geometry, attributes
    made, y = plan(), np.zeros(6, np.float32)
    assert count_failures(fail_allocation, lambda: made.run((X,), (y,), 1, 1, False)) == 3
    np.testing.assert_array_equal(y, np.maximum(X, 0))


def test_failing_allocations_of_a_plan_that_keeps_its_memory(fail_allocation):
    made, y = plan(arena=4096), np.zeros(6, np.float32)
    made.keep_memory()
    assert count_failures(fail_allocation, lambda: made.run((X,), (y,), 1, 1, False)) == 3
    assert count_failures(fail_allocation, lambda: made.run((X,), (y,), 1, 1, False)) == 2  # the memory is there
    more = np.zeros((3, 6), np.float32)
    assert count_failures(fail_allocation, lambda: made.run((np.stack([X] * 3),), (more,), 3, 3, False)) == 3  # and not enough
    np.testing.assert_array_equal(more, [np.maximum(X, 0)] * 3)


def test_failing_allocations_of_a_model(fail_allocation):
    content, x = resnet(), normal((1, 3, 16, 16))
    wanted = gradcam.load(content).explain(x, target=1, relu=False).raw
    model = gradcam.load(content)
    found = []
    assert count_failures(fail_allocation, lambda: found.append(model.explain(x, target=1, relu=False).raw)) > 3
    assert found[0].tobytes() == wanted.tobytes()


# --- leaks


def blocks_and_references(action, objects) -> tuple[int, list[int]]:
    """Growth of Python's memory blocks in the quietest of four rounds of 50 calls, and of the references to some objects."""
    for _ in range(3):
        action()
    counts = [sys.getrefcount(o) for o in objects]
    growths = []
    for _ in range(4):
        gc.collect()
        before = sys.getallocatedblocks()
        for _ in range(50):
            action()
        gc.collect()
        growths.append(sys.getallocatedblocks() - before)
    after = [sys.getrefcount(o) for o in objects]
    return min(growths), [a - b for a, b in zip(after, counts, strict=True)]


@pytest.mark.parametrize(
    "change",
    [{}, {"inputs": (X[:5],)}, {"outputs": (readonly(),)}, {"ints": (99, 6)}, {"ints": (0, "6")}, {"dtype": "e"}, {"workers": 0}],
    ids=["success", *(f"error {i}" for i in range(6))],
)
def test_calls_leak_nothing(change):
    arguments = tuple((GOOD | change).values())

    def action():
        try:
            _core.call(*arguments)
        except (TypeError, ValueError):
            pass

    grown, references = blocks_and_references(action, [X, Y, _core, arguments, X.dtype])
    assert grown <= 2
    assert max(map(abs, references)) < 50  # of 200 calls; small objects are shared with the interpreter


@pytest.mark.parametrize("good", [True, False])
def test_plans_leak_nothing(good):
    constant = np.arange(6, dtype=np.float32)
    buffers = ((CONSTANT, 0, 6, constant), BUFFERS[1])
    steps = STEPS if good else (*STEPS, (*STEPS[0][:3], (0,), (5,)))

    def action():
        try:
            plan(buffers=buffers, steps=steps).run((), (Y,), 1, 1, False)
        except ValueError:
            pass

    grown, references = blocks_and_references(action, [constant, buffers, steps, Y, _core.Plan])
    assert grown <= 2
    assert max(map(abs, references)) < 50


def test_models_and_inputs_die_with_their_last_reference():
    model, x = gradcam.load(resnet()), normal((1, 3, 16, 16))
    model.explain(x, target=1, relu=False)
    model.activations_and_gradients(x, layer="stem", target=1)
    alive = weakref.ref(x), weakref.ref(model)
    del x, model
    gc.collect()
    assert [reference() for reference in alive] == [None, None]


def test_repeated_explanations_do_not_grow():
    model, x = gradcam.load(resnet()), normal((2, 3, 16, 16))
    for _ in range(600):  # the interpreter itself allocates while it specialises code that becomes hot
        model.explain(x, target=1, relu=False).map  # noqa: B018
    grown, _ = blocks_and_references(lambda: model.explain(x, target=1, relu=False).map, [])
    assert grown < 25


def test_compiled_plans_keep_no_graph_alive():
    g = Builder(F32)
    x = g.input("x", (3,))
    g.graph.outputs = [g.mul(x, x)]
    made = compile_plan(g.graph, F32)
    graph = weakref.ref(made)
    del made
    gc.collect()
    assert graph() is None
