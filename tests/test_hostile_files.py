"""ONNX files that lie: any bytes give a model or a documented exception, in bounded time and memory."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model.networks import model_bytes, normal, resnet
from onnx import TensorProto, helper, numpy_helper

import gradcam

DOCUMENTED = (gradcam.ModelFormatError, gradcam.UnsupportedOpError, MemoryError)
SECONDS = 20
ROOM = 3 * 2**30
SANITIZED = "asan" in os.environ.get("LD_PRELOAD", "")  # the sanitizer maps terabytes: no address space may be withheld from it


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """A test may take so many seconds, and so much address space over what the process has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if not SANITIZED:
        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, hard))
    start = time.perf_counter()
    yield
    seconds = time.perf_counter() - start
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert SANITIZED or seconds < SECONDS, f"{seconds:.0f} s"


def proto(content: bytes) -> onnx.ModelProto:
    return onnx.load_model_from_string(content)


def conv_model(weight: np.ndarray | TensorProto | None = None, **attrs) -> bytes:
    """x (1, 2, 4, 5) -> Conv -> y, with the weight as it is given."""
    model = proto(
        model_bytes([helper.make_node("Conv", ["x", "w"], ["y"], name="c", **attrs)], {"x": [1, 2, 4, 5]}, {"y": None}, check=False)
    )
    weight = np.ones((3, 2, 3, 3), np.float32) if weight is None else weight
    model.graph.initializer.append(numpy_helper.from_array(weight, "w") if isinstance(weight, np.ndarray) else weight)
    return model.SerializeToString()


SMALL = conv_model(np.ones((1, 2, 1, 1), np.float32))


def try_to_use(content: bytes) -> None:
    """Load and run; only documented exceptions may escape."""
    try:
        model = gradcam.load(content, max_bytes=2**24)
    except DOCUMENTED:
        return
    try:
        shapes = {t.name: tuple(d if isinstance(d, int) else 4 for d in t.shape) for t in model.inputs}
        if sum(np.prod(s, dtype=float) for s in shapes.values()) < 1e6:
            model({name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
    except (*DOCUMENTED, ValueError):  # ValueError: an input that does not fit the changed model
        return


# --- bytes


@pytest.mark.parametrize("content", [b"", b"\x00", b"\x08", b"not a model", bytes(1000), b"PK\x03\x04" + bytes(50), b"\xff" * 500])
def test_bytes_that_are_no_model(content):
    with pytest.raises(gradcam.ModelFormatError, match="no ONNX model") as caught:
        gradcam.load(content)
    assert caught.value.path is None


@given(st.binary(max_size=200))
def test_random_bytes(content):
    with pytest.raises(DOCUMENTED):
        gradcam.load(content)


def test_truncated_anywhere():
    for length in range(len(SMALL)):
        try_to_use(SMALL[:length])


@given(st.integers(0, len(SMALL) - 1), st.integers(0, 255), st.integers(0, len(SMALL) - 1), st.integers(0, 255))
def test_changed_bytes(first, one, second, other):
    content = bytearray(SMALL)
    content[first], content[second] = one, other
    try_to_use(bytes(content))


@given(st.integers(0, len(SMALL)), st.binary(max_size=8), st.integers(0, 8))
def test_inserted_and_removed_bytes(place, inserted, removed):
    try_to_use(SMALL[:place] + inserted + SMALL[place + removed :])


def test_files(tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(resnet()[:-100])
    with pytest.raises(gradcam.ModelFormatError) as caught:
        gradcam.load(path)
    assert caught.value.path == str(path)
    assert str(caught.value).count(str(path)) == 1
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(gradcam.ModelFormatError, match="empty.onnx"):
        gradcam.load(tmp_path / "empty.onnx")
    with pytest.raises(FileNotFoundError):
        gradcam.load(tmp_path / "absent.onnx")
    with pytest.raises(IsADirectoryError):
        gradcam.load(tmp_path)


def test_file_beyond_the_budget_is_not_read(tmp_path):
    path = tmp_path / "large.onnx"
    with open(path, "wb") as file:
        file.truncate(2**40)  # sparse
    with pytest.raises(gradcam.MemoryBudgetError, match="max_bytes"):
        gradcam.load(path)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="needs /dev/zero")
def test_device_is_not_read_for_ever():
    limit = "" if SANITIZED else "resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))"
    program = f"""
import resource, gradcam
{limit}
try:
    gradcam.load("/dev/zero", max_bytes=10**6)
except (gradcam.ModelFormatError, gradcam.MemoryBudgetError, OSError):
    print("refused")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.stdout == "refused\n", done.stderr


# --- names, cycles, depth


def ints(*values):
    return np.array(values, np.int64)


def relus(*edges: tuple[str, str], outputs=("y",), inputs=None, **options) -> bytes:
    nodes = [helper.make_node("Relu", [a], [b], name=f"{a}-{b}") for a, b in edges]
    return model_bytes(nodes, {"x": [1, 3]} if inputs is None else inputs, dict.fromkeys(outputs), check=False, **options)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (relus(("nobody", "y")), "tensor 'nobody' is read but never computed"),
        (relus(("x", "a"), outputs=("z",)), "outputs: no tensor is called 'z'"),
        (relus(("x", "y"), ("x", "y")), "tensor 'y' is computed twice"),
        (relus(("x", "x"), outputs=("x",)), "tensor 'x' is computed twice"),
        (relus(("y", "y")), "the nodes form a cycle"),
        (relus(("a", "b"), ("b", "a"), ("x", "y")), "the nodes form a cycle"),
        (relus(("c", "a"), ("a", "b"), ("b", "c"), ("x", "y")), "the nodes form a cycle"),
        (relus(("x", "y"), outputs=()), "no ONNX model, or one without nodes or outputs"),
        (relus(), "no ONNX model, or one without nodes or outputs"),
    ],
)
def test_names_and_cycles(content, message):
    with pytest.raises(gradcam.ModelFormatError, match=message):
        gradcam.load(content)


def test_names_given_twice():
    model = proto(conv_model())
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((3, 2, 3, 3), np.float32), "w"))
    with pytest.raises(gradcam.ModelFormatError, match="initializer 'w' is given twice"):
        gradcam.load(model.SerializeToString())
    model = proto(relus(("x", "y")))
    model.graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, [7]))
    with pytest.raises(gradcam.ModelFormatError, match="'x'"):
        gradcam.load(model.SerializeToString())


def test_absent_output_name():
    model = proto(relus(("x", "y")))
    model.graph.output.append(helper.make_tensor_value_info("", TensorProto.FLOAT, [1]))
    with pytest.raises(gradcam.ModelFormatError):
        gradcam.load(model.SerializeToString())


def control_flow(op: str, reads: str) -> bytes:
    """One node whose body is the Relu of `reads`, led by computed numbers."""
    ports = [helper.make_tensor_value_info(name, kind, []) for name, kind in (("i", TensorProto.INT64), ("g", TensorProto.BOOL))]
    outputs = [helper.make_tensor_value_info(name, 1, [1]) for name in (("g", "inner") if op == "Loop" else ("inner",))]
    nodes = [helper.make_node("Relu", [reads], ["inner"])]
    body = helper.make_graph(nodes, "b", ports if op == "Loop" else [], outputs)
    attrs = {"then_branch": body, "else_branch": body} if op == "If" else {"body": body}
    return model_bytes([helper.make_node(op, ["x"], ["y"], name="flow", **attrs)], {"x": [1]}, {"y": None}, check=False)


@pytest.mark.parametrize(
    ("op", "text"),
    [
        ("If", r"a condition \('x'\) that is not known before the model runs"),
        ("Loop", r"a number of steps \('x'\) that is not known before the model runs"),
        ("Scan", "gradcam cannot run this operator"),
    ],
)
def test_control_flow_that_the_data_leads_is_not_followed(op, text):
    with pytest.raises(gradcam.UnsupportedOpError, match=rf"node 'flow' \({op}, opset 17\): {text}"):
        gradcam.load(control_flow(op, "x"))


@pytest.mark.parametrize("op", ["If", "Loop", "Scan"])
def test_a_body_that_reads_what_its_own_node_computes(op):
    with pytest.raises(gradcam.ModelFormatError, match="the nodes form a cycle"):
        gradcam.load(control_flow(op, "y"))


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def field(number: int, payload: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def nested(depth: int) -> bytes:
    """Graphs within attributes of nodes within graphs ..., written by hand: no library makes such a file."""
    graph = b""
    for _ in range(depth):
        attribute = field(1, b"then_branch") + field(6, graph) + varint(20 << 3) + b"\x05"
        graph = field(1, field(4, b"If") + field(1, b"c") + field(2, b"y") + field(5, attribute))
    return varint(1 << 3) + b"\x08" + field(8, field(2, b"") + varint(2 << 3) + b"\x11") + field(7, graph)


@pytest.mark.parametrize("depth", [50, 200, 10_000])
def test_deep_nesting(depth):
    with pytest.raises((gradcam.ModelFormatError, gradcam.UnsupportedOpError)):
        gradcam.load(nested(depth))


def test_deep_nesting_and_long_chain_on_a_small_stack():
    chain = relus(*((f"t{i}", f"t{i + 1}") for i in range(20_000)), inputs={"t0": [1, 2]}, outputs=("t20000",))
    found: list[object] = []

    def work():
        for content in (nested(10_000), chain):
            try:
                found.append(gradcam.load(content))
            except gradcam.GradcamError as error:
                found.append(error)

    old = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(old)
    assert isinstance(found[0], gradcam.ModelFormatError | gradcam.UnsupportedOpError)
    assert isinstance(found[1], gradcam.Model)


@pytest.mark.slow
def test_chain_of_as_many_nodes_as_are_allowed():
    count = 100_000
    content = relus(*((f"t{i}", f"t{i + 1}") for i in range(count)), inputs={"t0": [1, 2]}, outputs=(f"t{count}",))
    model = gradcam.load(content)
    assert model.outputs[0].shape == (1, 2)


@pytest.mark.slow
def test_chain_of_more_nodes_than_are_allowed():
    count = 100_001
    content = relus(*((f"t{i}", f"t{i + 1}") for i in range(count)), inputs={"t0": [1, 2]}, outputs=(f"t{count}",))
    with pytest.raises(gradcam.ModelFormatError, match="more than 100000 nodes or tensors"):
        gradcam.load(content)


def test_chain_in_reverse_order_is_sorted():
    count = 3000
    content = relus(*((f"t{i}", f"t{i + 1}") for i in reversed(range(count))), inputs={"t0": [1, 2]}, outputs=(f"t{count}",))
    x = normal((1, 2))
    np.testing.assert_array_equal(gradcam.load(content)(x), np.maximum(x, 0))


# --- arrays that would fill the memory

BOMBS = {
    "ConstantOfShape": ([helper.make_node("ConstantOfShape", ["n"], ["c"])], ints(10**8)),
    "Range": ([helper.make_node("Range", ["zero", "n0", "one"], ["r"]), helper.make_node("Cast", ["r"], ["c"], to=1)], np.array(10**8)),
    "Expand": ([helper.make_node("Expand", ["real", "n"], ["c"])], ints(10**4, 10**4)),
    "broadcast": (
        [
            helper.make_node("Expand", ["real", "n"], ["a"]),
            helper.make_node("Unsqueeze", ["a", "one1"], ["b"]),
            helper.make_node("Add", ["a", "b"], ["c"]),
        ],
        ints(10**4),
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_constants_that_are_computed_stay_within_the_budget(name):
    """A file of 200 bytes that asks for 400 MB, with 10 MB allowed."""
    import tracemalloc

    nodes, size = BOMBS[name]
    weights = {"n" if size.ndim else "n0": size, "zero": np.array(0), "one": np.array(1), "one1": ints(1), "real": np.ones(1, np.float32)}
    used = {i for n in nodes for i in n.input}
    nodes = [*nodes, helper.make_node("ReduceMax", ["c"], ["m"], keepdims=0), helper.make_node("Add", ["x", "m"], ["y"])]
    content = model_bytes(nodes, {"x": [1, 3]}, {"y": None}, {k: v for k, v in weights.items() if k in used}, check=False)
    tracemalloc.start()
    try:
        with pytest.raises((gradcam.MemoryBudgetError, gradcam.ModelFormatError)):
            gradcam.load(content, max_bytes=10**7)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10**8


def test_activations_that_are_too_large_are_refused():
    content = model_bytes(
        [helper.make_node("Pad", ["x", "p"], ["y"])], {"x": [1, 3]}, {"y": None}, {"p": ints(0, 0, 0, 2**34)}, check=False
    )
    with pytest.raises(gradcam.MemoryBudgetError, match="max_bytes"):
        gradcam.load(content)(np.ones((1, 3), np.float32))
    content = model_bytes(
        [helper.make_node("Pad", ["x", "p"], ["y"])], {"x": [1, 3]}, {"y": None}, {"p": ints(0, 0, 0, 2**62)}, check=False
    )
    with pytest.raises(gradcam.ModelFormatError, match="too large"):
        gradcam.load(content)


@pytest.mark.parametrize("dims", [[1, 2**62], [1, -5]])
def test_declared_inputs_of_no_size(dims):
    with pytest.raises((gradcam.ModelFormatError, MemoryError)):
        gradcam.load(relus(("x", "y"), inputs={"x": dims}))


def test_declared_batch_is_no_promise():
    try_to_use(relus(("x", "y"), inputs={"x": [2**62, 3]}))
    assert gradcam.load(relus(("x", "y"), inputs={"x": [0, 0]}))(np.ones((4, 5), np.float32)).shape == (4, 5)


def test_inputs_that_are_no_real_tensors():
    for elem, text in ((TensorProto.INT64, "holds int64, not real numbers"), (TensorProto.STRING, "string"), (99, "type 99")):
        with pytest.raises(gradcam.UnsupportedOpError, match=f"input 'x' .*{text}"):
            gradcam.load(relus(("x", "y"), input_type=elem))
    model = proto(relus(("x", "y")))
    model.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(gradcam.UnsupportedOpError, match="input 'x' has no declared rank"):
        gradcam.load(model.SerializeToString())
    model.graph.input[0].type.Clear()
    with pytest.raises(gradcam.UnsupportedOpError, match="input 'x' is no tensor"):
        gradcam.load(model.SerializeToString())


# --- operators that are not there


def test_all_unsupported_nodes_are_listed_at_once():
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("NonMaxSuppression", ["r"], ["a"], name="nms"),
        helper.make_node("Bernoulli", ["r"], ["b"], name="rounding"),
        helper.make_node("FancyOp", ["r"], ["c"], name="fancy", domain="com.example"),
        helper.make_node("Abs", ["a"], ["behind"], name="behind"),
        helper.make_node("Sum", ["behind", "b", "c"], ["y"]),
    ]
    content = model_bytes(nodes, {"x": [1, 3]}, {"y": None, "r": None}, check=False)
    with pytest.raises(gradcam.UnsupportedOpError) as caught:
        gradcam.load(content)
    assert len(caught.value.problems) == 3
    text = str(caught.value)
    for part in (
        "node 'nms' (NonMaxSuppression, opset 17)",
        "node 'rounding' (Bernoulli, opset 17)",
        "node 'fancy' (FancyOp",
        "com.example",
    ):
        assert part in text
    assert "behind" not in text  # what only waits for them is no problem of its own
    model = gradcam.load(content, outputs=["r"])
    x = normal((2, 3))
    np.testing.assert_array_equal(model(x), np.maximum(x, 0))


def test_message_shows_the_way_out():
    nodes = [helper.make_node("Relu", ["x"], ["features"]), helper.make_node("NonMaxSuppression", ["features"], ["y"], name="nms")]
    with pytest.raises(gradcam.UnsupportedOpError, match="outputs="):
        gradcam.load(model_bytes(nodes, {"x": [1, 3]}, {"y": None}, check=False))


def test_what_only_other_outputs_need_is_left_out():
    nodes = [
        helper.make_node("Relu", ["x"], ["y"]),
        helper.make_node("Add", ["y", "broken"], ["z"]),
        helper.make_node("Add", ["ids", "ids"], ["w"]),
    ]
    model = proto(model_bytes(nodes, {"x": [1, 3]}, {"y": None, "z": None}, check=False))
    model.graph.initializer.append(TensorProto(name="broken", data_type=TensorProto.FLOAT, dims=[5], raw_data=b""))
    with pytest.raises(gradcam.ModelFormatError, match="'broken'"):
        gradcam.load(model.SerializeToString())
    chosen = gradcam.load(model.SerializeToString(), outputs=["y"])
    assert [t.name for t in chosen.inputs] == ["x"]
