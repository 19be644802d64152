"""Shapes, constant evaluation and kernels of the operator records agree with each other and with NumPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from graph.cases import CASES, F64, build, normal, run, spaced

from gradcam.graph.builder import Builder
from gradcam.graph.operators import OPERATORS

EVALUATED = [case for case in CASES if OPERATORS[case.op].evaluate is not None and all(a is not None for a in case.arrays)]


def test_every_evaluate_rule_is_tested():
    assert {case.op for case in EVALUATED} == {name for name, record in OPERATORS.items() if record.evaluate is not None}


@pytest.mark.parametrize("case", EVALUATED, ids=str)
@pytest.mark.parametrize("real", ["float32", "float64"])
def test_evaluation_of_constants_is_the_kernel(case, real):
    g, _, arrays, (y,) = build(replace(case, constants=()), np.dtype(real))
    (computed,) = run(g, [y], arrays)
    folded, inputs, _, (constant,) = build(replace(case, constants=tuple(range(len(case.arrays)))), np.dtype(real))
    assert constant.data is not None
    assert not inputs
    assert not folded.graph.nodes
    assert constant.shape == y.shape
    assert constant.dtype == y.dtype
    bound = 1e-12 if real == "float64" else 3e-6
    np.testing.assert_allclose(computed, constant.data, rtol=bound, atol=bound)


@pytest.mark.parametrize("case", [case for case in CASES if case.op.endswith("Grad")], ids=str)
def test_gradient_operators_have_the_shape_of_their_input(case):
    g, _, arrays, (y,) = build(case)
    (result,) = run(g, [y], arrays)
    assert result.shape == y.shape
    if "input_shape" in case.attrs:
        assert y.shape == case.attrs["input_shape"]


NUMPY = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Pow": np.power,
    "PRelu": lambda a, b: np.where(a < 0, a * b, a),
    "Max": np.maximum,
    "Min": np.minimum,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Equal": np.equal,
    "Keep": lambda a, b: np.where(b != 0, a, 0),
    "Quantize": lambda a, b: np.rint(a / b),
    "Relu": lambda x: np.maximum(x, 0),
    "Tanh": np.tanh,
    "Exp": np.exp,
    "Neg": np.negative,
    "Abs": np.abs,
    "Log": np.log,
    "Sqrt": np.sqrt,
    "Reciprocal": np.reciprocal,
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Softplus": lambda x: np.log1p(np.exp(x)),
    "Affine": lambda x: -1.7 * x + 0.4,
    "Clip": lambda x: np.clip(x, -1.0, 1.4),
}


@pytest.mark.parametrize("case", [case for case in CASES if case.op in NUMPY and not case.constants], ids=str)
def test_elementwise_operators_are_numpy(case):
    g, _, arrays, (y,) = build(case)
    (result,) = run(g, [y], arrays)
    expected = NUMPY[case.op](*arrays)
    assert y.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-14)


def test_moves_are_numpy():
    g = Builder(F64)
    x = g.input("x", (2, 3, 4))
    a = normal((2, 3, 4))
    outputs = [
        g.reshape(x, (4, 6)),
        g.transpose(x, (2, 0, 1)),
        g.emit("Slice", x, starts=(1, 2, 3), steps=(1, -1, -2), sizes=(1, 3, 2)),
        g.emit("Pad", x, lo=(0, -1, 2), hi=(1, 0, -1), value=2.5),
        g.expand(g.reshape(x, (2, 3, 1, 4)), (2, 3, 5, 4)),
        g.emit("Concat", x, x, axis=1),
        g.emit("Gather", x, g.constant(np.array([[2, 0]])), axis=1),
    ]
    padded = np.full((3, 2, 5), 2.5)
    padded[:2, :, 2:] = a[:, 1:, :3]
    expected = [
        a.reshape(4, 6),
        a.transpose(2, 0, 1),
        a[1:, ::-1, 3:0:-2],
        padded,
        np.broadcast_to(a[:, :, None], (2, 3, 5, 4)),
        np.concatenate([a, a], 1),
        a[:, [[2, 0]]],
    ]
    for got, want in zip(run(g, outputs, [a]), expected, strict=True):
        assert got.shape == want.shape
        np.testing.assert_array_equal(got, want)


def test_arg_max_takes_the_first_of_equal_values():
    g = Builder(F64)
    index = g.emit("ArgMax", g.input("x", (2, 3, 2)), axis=1)
    assert index.dtype == np.int64
    a = np.array([[[1, 5], [4, 5], [4, 2]], [[-1, 0], [-2, 0], [-1, 0]]], float)
    np.testing.assert_array_equal(run(g, [index], [a])[0], [[1, 0], [0, 0]])


def test_reductions_over_no_axis_and_with_kept_axes():
    g = Builder(F64)
    x = g.input("x", (2, 3, 4))
    assert g.sum(x, ()) is x
    kept = g.reduce("ReduceMax", x, (0, 2), True)
    a = spaced((2, 3, 4))
    np.testing.assert_array_equal(run(g, [kept], [a])[0], a.max((0, 2), keepdims=True))


def test_shape_arithmetic_never_reaches_the_graph():
    g = Builder(F64)
    size = g.emit("Mul", g.constant(np.array([2, 3])), g.constant(np.array(4)))
    assert size.data.tolist() == [8, 12]
    assert size.dtype == np.int64
    assert not g.graph.nodes


def test_extending_a_graph_leaves_the_original_alone():
    g = Builder(F64)
    x = g.input("x", (3,))
    g.graph.outputs = [g.mul(x, x)]
    more = Builder(F64, g.graph)
    more.graph.outputs.append(more.add(g.graph.outputs[0], more.input("z", (3,))))
    assert (len(g.graph.nodes), len(g.graph.inputs), len(g.graph.outputs)) == (1, 1, 1)
