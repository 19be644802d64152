"""ONNX operators composed of others: values by definition and by ONNX's evaluator, gradients, pictures of a batch, bad input."""

from __future__ import annotations

import time

import numpy as np
import pytest
from gradcheck import central_differences
from graph.cases import F64, normal
from graph.composed_cases import COMPOSED, COMPOSED_RUN, by_definition, f32, fitting, ints, states, weights
from graph.onnx_cases import NEWEST, Case, build, expected
from model.networks import model_bytes
from onnx import helper
from reference import reduce

import gradcam
from gradcam.graph.autodiff import gradients
from gradcam.graph.builder import Builder
from gradcam.graph.operators import OPERATORS
from gradcam.graph.passes import is_per_picture, prune
from gradcam.graph.compilation import compile_plan
from gradcam.graph.plan import SERIAL_ELEMENTS
from gradcam.readers.onnx import read_onnx


def outputs(content, x):
    found = gradcam.load(content)(x)
    return list(found.values()) if isinstance(found, dict) else [found]


@pytest.mark.parametrize(("case", "opset"), COMPOSED_RUN, ids=lambda value: str(value))
def test_values_are_those_of_the_definition(case, opset):
    content, x = build(case, opset)
    x = fitting(case, x)
    for dtype, bound in (("float32", 1e-5), ("float64", 1e-12)):
        found, wanted = outputs(content, x.astype(dtype)), by_definition(case, opset, x.astype(np.float64))
        assert len(found) == case.outputs
        for got, want in zip(found, wanted, strict=True):
            assert got.dtype == dtype
            assert got.shape == (np.shape(want) or (1,))
            np.testing.assert_allclose(got, np.reshape(want, got.shape), rtol=bound, atol=bound)


def evaluator_is_right(case: Case) -> bool:
    """Whether ONNX's evaluator does what ONNX defines (seen with onnx 1.23.2)."""
    if case.op in ("RNN", "GRU", "LSTM"):  # it knows neither lengths nor limits nor other activations
        lengths = case.constants[3] if len(case.constants) > 3 else None
        return lengths is None and not {"clip", "activations", "input_forget"} & set(case.attrs)
    if case.op == "LRN":  # it counts pictures in place of channels
        return False
    return case.op != "LpNormalization" or (case.attrs.get("p", 2) == 2 and case.attrs.get("axis", -1) != 0)  # p = 1 without magnitudes


@pytest.mark.parametrize(
    ("case", "opset"), [(case, opset) for case, opset in COMPOSED_RUN if evaluator_is_right(case)], ids=lambda value: str(value)
)
def test_values_are_those_of_the_evaluator(case, opset):
    content, x = build(case, opset)
    x = fitting(case, x)
    for got, want in zip(outputs(content, x), expected(content, x), strict=True):
        np.testing.assert_allclose(got, want.reshape(got.shape), rtol=1e-5, atol=1e-5)


def graph_of(content: bytes, *shape: int) -> Builder:
    graph, _ = read_onnx(content).build({"x": shape}, F64)
    return Builder(F64, graph)


@pytest.mark.parametrize("case", COMPOSED, ids=str)
def test_gradients_are_central_differences(case):
    content, x = build(case, case.opsets[-1])
    x = fitting(case, x).astype(np.float64)
    g = graph_of(content, *x.shape)
    forward = compile_plan(prune(g.graph), F64)
    for i, y in enumerate(g.graph.outputs):
        if y.data is not None:
            continue
        dy = normal(y.shape, 7)
        seed = g.input(f"dy{i}", y.shape)
        h = Builder(F64, g.graph)
        h.graph.inputs = [*h.graph.inputs[:1], seed]
        h.graph.outputs = gradients(h, y, [h.graph.inputs[0]], seed)
        (got,) = compile_plan(prune(h.graph), F64).run([x, dy], 1, 1)
        want = central_differences(lambda v, i=i, y=y: forward.run([v], 1, 1)[i].reshape(y.shape), x, dy)
        np.testing.assert_allclose(got.reshape(x.shape), want, rtol=1e-6, atol=2e-8 * max(1.0, np.abs(want).max()))


# --- pictures of a batch


def sequence_model(op: str, batch: int, constants: tuple, batch_axis: int, head: bool, **attrs) -> bytes:
    """x (batch, 3, 6): transposed to steps of features unless batch first, the unit, and what follows it."""
    names = {f"c{i}": c for i, c in enumerate(constants) if c is not None}
    inputs = ["sequence", *("" if c is None else f"c{i}" for i, c in enumerate(constants))]
    perm = (0, 2, 1) if batch_axis == 0 else (2, 0, 1)
    nodes = [helper.make_node("Transpose", ["x"], ["sequence"], perm=perm), helper.make_node(op, inputs, ["all", "last"], **attrs)]
    if batch_axis == 1:
        nodes.append(helper.make_node("Transpose", ["all"], ["first"], perm=(2, 0, 1, 3)))
        nodes.append(helper.make_node("Transpose", ["last"], ["y1"], perm=(1, 0, 2)))
    else:
        nodes += [helper.make_node("Identity", [a], [b]) for a, b in (("all", "first"), ("last", "y1"))]
    nodes.append(
        helper.make_node("ReduceMean", ["first"], ["y0"], keepdims=0, axes=[1]) if head else helper.make_node("Relu", ["first"], ["y0"])
    )
    return model_bytes(nodes, {"x": [batch, 3, 6]}, {"y0": None, "y1": None}, names, check=False)


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("batch_axis", [0, 1])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("state", [False, True])
def test_sequences_of_a_batch_do_not_meet(op, batch_axis, direction, state):
    count = 1 + (direction == "bidirectional")
    options = {"direction": direction} | ({"layout": 1} if batch_axis == 0 else {})

    def constants(batch):
        shape = (batch, count, 4) if batch_axis == 0 else (count, batch, 4)
        initial = [np.broadcast_to(s, shape) for s in states(op, *(1 if n == batch else n for n in shape))] if state else []
        return (*weights(op, 3, 4, count), None, *initial)

    single = graph_of(sequence_model(op, 1, constants(1), batch_axis, True, **options), 1, 3, 6)
    assert is_per_picture(single.graph)
    whole = graph_of(sequence_model(op, 3, constants(3), batch_axis, True, **options), 3, 3, 6)
    x = normal((3, 3, 6))
    pairs = zip(compile_plan(prune(single.graph), F64).run([x], 3, 2), compile_plan(prune(whole.graph), F64).run([x], 1, 1), strict=True)
    for one_by_one, together in pairs:
        np.testing.assert_allclose(one_by_one.reshape(together.shape), together, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
def test_a_file_with_a_fixed_batch_runs_any_other(op):
    initial = [np.zeros((1, 2, 4), np.float32) for _ in states(op, 1)]
    constants = (*weights(op, 3, 4), np.array([6, 6], np.int32), *initial)
    model = gradcam.load(sequence_model(op, 2, constants, 1, True))
    x = normal((5, 3, 6)).astype(np.float32)
    want = gradcam.load(sequence_model(op, 5, weights(op, 3, 4), 1, True))(x)
    got = model(x)
    for name in ("y0", "y1"):
        np.testing.assert_allclose(got[name], want[name], rtol=1e-5, atol=1e-6)


APART = {
    "LayerNormalization": ((f32(np.ones(6)),), {}),
    "RMSNormalization": ((f32(np.ones(6)),), {}),
    "InstanceNormalization": ((f32(np.ones(4)), f32(np.ones(4))), {}),
    "GroupNormalization": ((f32(np.ones(4)), f32(np.ones(4))), {"num_groups": 2}),
    "LRN": ((), {"size": 3}),
    "LpNormalization": ((), {"axis": 1}),
    "MeanVarianceNormalization": ((), {"axes": [1, 2]}),
    **{op: ((ints(1),), {"keepdims": 0}) for op in reduce.COMPOSED if op != "ReduceLogSum"},
    "Einsum bij,jk->bik": ((normal((6, 5)),), {"equation": "bij,jk->bik"}),
    "Einsum jk,bij->kbi": ((normal((6, 5)),), {"equation": "bij,jk->bki"}),
    "Einsum bij,bij,k->bk": ((normal((5,)),), {"equation": "bij,k->bk"}),
}
TOGETHER = {
    "LayerNormalization": ((f32(np.ones((1, 4, 6))),), {"axis": 0}),
    "LpNormalization": ((), {"axis": 0}),
    "MeanVarianceNormalization": ((), {"axes": [0, 2]}),
    **{op: ((ints(0),), {}) for op in reduce.COMPOSED},
    "Einsum": ((normal((6, 5)),), {"equation": "bij,jk->ik"}),
}


@pytest.mark.parametrize("name", APART)
def test_pictures_that_do_not_meet(name):
    case = Case(name.split()[0], (1, 4, 6), *APART[name])
    content, _ = build(case, NEWEST)
    x = normal((3, 4, 6))
    single, whole = graph_of(content, 1, 4, 6), graph_of(content, 3, 4, 6)
    assert is_per_picture(single.graph)
    (one_by_one,) = compile_plan(prune(single.graph), F64).run([x], 3, 2)
    (together,) = compile_plan(prune(whole.graph), F64).run([x], 1, 1)
    np.testing.assert_allclose(one_by_one.reshape(together.shape), together, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", TOGETHER)
def test_pictures_that_meet(name):
    assert not is_per_picture(graph_of(build(Case(name, (1, 4, 6), *TOGETHER[name]), NEWEST)[0], 1, 4, 6).graph)


# --- edges


def test_an_ellipsis_that_the_result_leaves_out_is_summed():
    content, x = build(Case("Einsum", (2, 3, 5, 4), (), {"equation": "b...k->bk"}), NEWEST)
    np.testing.assert_allclose(gradcam.load(content)(x), x.sum((1, 2)), rtol=1e-5, atol=1e-5)


def test_a_row_of_zeros_has_no_direction():
    content, _ = build(Case("LpNormalization", (2, 3)), NEWEST)
    g = graph_of(content, 2, 3)
    x = np.array([[0.0, 0.0, 0.0], [3.0, 0.0, 4.0]])
    seed = g.constant(np.ones((2, 3)))
    y = g.graph.outputs[0]
    g.graph.outputs = [y, *gradients(g, y, g.graph.inputs, seed)]
    values, slope = compile_plan(prune(g.graph), F64).run([x], 1, 1)
    np.testing.assert_allclose(values.reshape(2, 3), [[0, 0, 0], [0.6, 0, 0.8]], rtol=1e-15)
    assert slope.reshape(2, 3)[0].tolist() == [0, 0, 0]


def values_and_slope(op: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An operator over the last axis, and the gradient of the sum of its results."""
    g = graph_of(build(Case(op, x.shape, (ints(-1),), {"keepdims": 0}), NEWEST)[0], *x.shape)
    y = g.graph.outputs[0]
    g.graph.outputs = [y, *gradients(g, y, g.graph.inputs, g.constant(np.ones(y.shape)))]
    values, slope = compile_plan(prune(g.graph), F64).run([x], 1, 1)
    return values.reshape(y.shape), slope.reshape(x.shape)


def test_a_norm_of_zeros_has_the_gradient_zero():
    values, slope = values_and_slope("ReduceL2", np.array([[0.0, 0.0, 0.0], [3.0, 0.0, 4.0]]))
    np.testing.assert_allclose(values, [0, 5], rtol=1e-15)
    np.testing.assert_allclose(slope, [[0, 0, 0], [0.6, 0, 0.8]], rtol=1e-15)


def test_a_product_with_zeros_has_the_gradient_of_the_others():
    values, slope = values_and_slope("ReduceProd", np.array([[2.0, 0.0, 3.0, 5.0, 7.0], [2.0, 0.0, 0.0, 5.0, 7.0]]))
    assert values.tolist() == [0, 0]
    np.testing.assert_allclose(slope, [[0, 210, 0, 0, 0], [0, 0, 0, 0, 0]], rtol=1e-15)


def test_exponentials_of_large_numbers_do_not_overflow():
    values, slope = values_and_slope("ReduceLogSumExp", np.array([[1000.0, 1000.0, -1000.0], [-1e4, -1e4, -1e4]]))
    np.testing.assert_allclose(values, [1000 + np.log(2), -1e4 + np.log(3)], rtol=1e-14)
    np.testing.assert_allclose(slope, [[0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3]], rtol=1e-9)
    for row, want in (([np.inf, 0.0], np.inf), ([-np.inf, -np.inf], -np.inf), ([-np.inf, 2.0], 2.0), ([np.nan, 2.0], np.nan)):
        np.testing.assert_array_equal(values_and_slope("ReduceLogSumExp", np.array([row]))[0], [want])


def test_reductions_of_nothing_and_of_sizes():
    for op, want in (("ReduceL1", 0), ("ReduceL2", 0), ("ReduceSumSquare", 0), ("ReduceProd", 1), ("ReduceLogSum", -np.inf)):
        nodes = [helper.make_node(op, ["nothing", "axes"], ["y"]), helper.make_node("Add", ["x", "y"], ["z"])]
        weights_ = {"nothing": np.empty((1, 0), np.float32), "axes": np.array([1])}
        content = model_bytes(nodes, {"x": [1, 2]}, {"z": None}, weights_, check=False)
        np.testing.assert_array_equal(gradcam.load(content)(np.ones((1, 2), np.float32)), [[1 + want, 1 + want]])
    nodes = [helper.make_node("Shape", ["x"], ["sizes"]), helper.make_node("ReduceProd", ["sizes"], ["all"])]
    nodes.append(helper.make_node("Reshape", ["x", "all"], ["y"]))
    content = model_bytes(nodes, {"x": [1, 2, 3]}, {"y": None}, {}, check=False)
    assert gradcam.load(content)(np.ones((1, 2, 3), np.float32)).shape == (6,)


@pytest.mark.parametrize("op", ["LayerNormalization", "InstanceNormalization"])
def test_a_large_mean_does_not_swamp_the_variance(op):
    constants = (f32(np.ones(64)),) if op == "LayerNormalization" else (f32([1]), f32([0]))
    content, _ = build(Case(op, (1, 1, 64), constants, opsets=(NEWEST,)), NEWEST)
    x = (1000 + normal((1, 1, 64))).astype(np.float32)
    (want,) = by_definition(Case(op, (1, 1, 64), constants), NEWEST, x.astype(np.float64))
    np.testing.assert_allclose(gradcam.load(content)(x), want, atol=2e-4)


def test_layers_of_a_normalised_transformer_block():
    """What a layer normalisation is composed of is no layer, and its result is."""
    w = {"scale": normal((6,)), "bias": normal((6,)), "w": normal((4, 3))}
    nodes = [
        helper.make_node("Softplus", ["x"], ["before"]),
        helper.make_node("LayerNormalization", ["before", "scale", "bias"], ["norm"]),
        helper.make_node("ReduceMean", ["norm"], ["pooled"], axes=[2], keepdims=0),
        helper.make_node("MatMul", ["pooled", "w"], ["y"]),
    ]
    model = gradcam.load(model_bytes(nodes, {"x": [1, 4, 6]}, {"y": None}, w, check=False))
    assert [layer.name for layer in model.layers] == ["before", "norm"]
    assert model.default_layer is not None
    assert model.default_layer.name == "norm"


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_a_gradient_through_many_steps_is_no_square_of_their_number(direction):
    count = 1 + (direction == "bidirectional")
    content, x = build(Case("GRU", (256, 1, 3), weights("GRU", 3, 4, count), {"direction": direction}), NEWEST)
    g = graph_of(content, *x.shape)
    before = len(g.graph.nodes)
    gradients(g, g.sum(g.graph.outputs[0], range(4)), g.graph.inputs)
    written = sum(node.outputs[0].size for node in g.graph.nodes[before:] if node.op == "SliceGrad" and len(node.outputs[0].shape) == 3)
    assert 0 < written <= count * 256 * 12 * 2 * (8 + 2)  # all of it, two halves, at each of log2(256) levels and where it is cut up


def test_small_steps_stay_on_one_thread():
    content, x = build(Case("LSTM", (200, 1, 3), weights("LSTM", 3, 8)), NEWEST)
    plan = compile_plan(prune(graph_of(content, *x.shape).graph), F64)
    assert plan.work > SERIAL_ELEMENTS
    assert (plan.workers(1, 2), plan.workers(2, 2), plan.workers(3, 2)) == (1, 2, 2)


def test_a_hostile_length_is_refused_at_once():
    start = time.monotonic()
    for steps in (4097, 10**6):
        content, _ = build(Case("LSTM", (steps, 1, 3), weights("LSTM", 3, 4)), NEWEST)
        with pytest.raises(gradcam.UnsupportedOpError, match=rf"{steps} steps in 1 directions are more than the 4096"):
            gradcam.load(content)
    content, _ = build(Case("LSTM", (2049, 1, 3), weights("LSTM", 3, 4, 2), {"direction": "bidirectional"}), NEWEST)
    with pytest.raises(gradcam.UnsupportedOpError, match="2049 steps in 2 directions"):
        gradcam.load(content)
    assert time.monotonic() - start < 20


def test_lengths_computed_at_run_time_are_refused():
    w = dict(zip(("w", "r", "b"), weights("GRU", 3, 4), strict=True))
    nodes = [helper.make_node("ArgMax", ["x"], ["lens"], axis=0, keepdims=0), helper.make_node("GRU", ["x", "w", "r", "b", "lens"], ["y"])]
    with pytest.raises(gradcam.UnsupportedOpError, match=r"\(GRU, opset 17\): input 4 \('lens'\) must be a constant"):
        gradcam.load(model_bytes(nodes, {"x": [4, 1, 3]}, {"y": None}, w, check=False))


UNSUPPORTED = [
    ("Celu", (), {"alpha": -1.0}, "only positive numbers"),
    ("RNN", weights("RNN", 4, 2), {"activations": ["Gelu"]}, "activation 'gelu'"),
]


@pytest.mark.parametrize(("op", "constants", "attrs", "text"), UNSUPPORTED, ids=[case[0] for case in UNSUPPORTED])
def test_what_is_not_supported_says_why(op, constants, attrs, text):
    with pytest.raises(gradcam.UnsupportedOpError, match=text):
        gradcam.load(build(Case(op, (1, 3, 4), constants, attrs), NEWEST)[0])


LSTM, ROWS = weights("LSTM", 4, 2), normal((2, 3))
BAD = [
    ("LayerNormalization", (f32(np.ones(3)),), {}, "parameters of shape"),
    ("LayerNormalization", (f32(np.ones(4)), f32(np.ones((2, 1, 3, 4)))), {}, "parameters of shape"),
    ("LayerNormalization", (f32(np.ones(4)),), {"axis": 3}, "axis 3"),
    ("LayerNormalization", (), {}, "input 1 is missing"),
    ("RMSNormalization", (f32(np.ones(3)),), {}, "parameters of shape"),
    ("InstanceNormalization", (f32(np.ones(3)), f32(np.ones(4))), {}, "expected parameters of shape"),
    ("GroupNormalization", (f32(np.ones(3)), f32(np.ones(3))), {"num_groups": 2}, "num_groups"),
    ("GroupNormalization", (f32(np.ones(3)), f32(np.ones(3))), {}, "num_groups"),
    ("GroupNormalization", (f32(np.ones(1)), f32(np.ones(1))), {"num_groups": 1}, "expected parameters of shape"),
    ("LpNormalization", (), {"p": 3}, "expected 1 or 2, got 3"),
    ("MeanVarianceNormalization", (), {"axes": [3]}, "axis 3"),
    *((op, (ints(3),), {}, "axis 3") for op in reduce.COMPOSED),
    ("LRN", (), {"size": 0}, "at least 1"),
    ("LRN", (), {}, "at least 1"),
    ("LSTM", LSTM[:1], {}, "input 2 is missing"),
    ("LSTM", (LSTM[0][:, :7], *LSTM[1:]), {}, "input 1: expected shape"),
    ("LSTM", (LSTM[0], LSTM[1][0], LSTM[2]), {}, "weights of 3 axes"),
    ("LSTM", (*LSTM[:2], LSTM[2][:, 1:]), {}, "input 3: expected shape"),
    ("LSTM", LSTM, {"direction": "sideways"}, "direction"),
    ("LSTM", LSTM, {"direction": "bidirectional"}, "input 1: expected shape"),
    ("LSTM", LSTM, {"hidden_size": 7}, "hidden_size"),
    ("LSTM", LSTM, {"activations": ["Tanh"]}, "expected 3 names, got 1"),
    ("LSTM", LSTM, {"clip": -1.0}, "clip"),
    ("LSTM", (*LSTM, np.array([9, 1, 1], np.int32)), {}, "expected 3 lengths from 0 to 1"),
    ("LSTM", (*LSTM, np.array([1, 0], np.int32)), {}, "expected 3 lengths from 0 to 1"),
    ("LSTM", (*LSTM, None, normal((1, 4, 2))), {}, "input 5: expected shape"),
    ("LSTM", (*LSTM, None, None, normal((2, 3, 2))), {}, "input 6: expected shape"),
    ("LSTM", (*LSTM, None, None, None, normal((1, 5))), {}, "input 7: expected shape"),
    ("Einsum", (), {}, "equation"),
    ("Einsum", (), {"equation": "bii->bi"}, "index 'i' has the sizes"),
    ("Einsum", (), {"equation": "ij->ij"}, "does not fit an array of 3 axes"),
    ("Einsum", (), {"equation": "ijkl->ij"}, "does not fit an array of 3 axes"),
    ("Einsum", (), {"equation": "i1k->i"}, "does not fit an array of 3 axes"),
    ("Einsum", (), {"equation": "ijk,kl->il"}, "does not name 1 operands"),
    ("Einsum", (), {"equation": "ijk->il"}, "no operand has"),
    ("Einsum", (), {"equation": "ijk->ii"}, "no operand has"),
    ("Einsum", (ROWS,), {"equation": "ijk,kl->ijl"}, "index 'k' has the sizes 4 and 2"),
]


@pytest.mark.parametrize(("op", "constants", "attrs", "text"), BAD, ids=[f"{i}-{case[0]}" for i, case in enumerate(BAD)])
def test_malformed_nodes_are_named(op, constants, attrs, text):
    content, _ = build(Case(op, (1, 3, 4), constants, attrs), NEWEST)
    with pytest.raises(gradcam.ModelFormatError, match=rf"node 'node' \({op}, opset {NEWEST}\): .*{text}"):
        gradcam.load(content)


def test_constants_are_computed_while_the_graph_is_built():
    nodes = [
        helper.make_node(op, [a], [b]) for op, a, b in (("Sin", "x0", "s"), ("Cos", "x0", "c"), ("Round", "x0", "r"), ("Sign", "x0", "g"))
    ]
    nodes.append(helper.make_node("Einsum", ["m", "m"], ["e"], equation="ij,kj->ik"))
    nodes += [helper.make_node("Sum", ["x", "s", "c", "r", "g", "e"], ["y"])]
    w = {"x0": f32([[0.3, -1.5], [0.5, 2.5]]), "m": f32([[1, 2], [3, 4]])}
    content = model_bytes(nodes, {"x": [2, 2]}, {"y": None}, w, opset=NEWEST, check=False)
    assert {node.op for node in graph_of(content, 2, 2).graph.nodes} == {"Add"}
    x = normal((2, 2)).astype(np.float32)
    np.testing.assert_allclose(gradcam.load(content)(x), expected(content, x)[0], rtol=1e-6)


def test_forms_emit_known_operators_only():
    for case in COMPOSED:
        g = graph_of(build(case, case.opsets[-1])[0], *case.x)
        assert all(node.op in OPERATORS for node in g.graph.nodes)
    assert ints(1).dtype == np.int64
