"""Gradients of graphs against central differences in float64."""

from __future__ import annotations

import numpy as np
import pytest
from graph.cases import CASES, F64, STRAIGHT_THROUGH, build, normal, run, spaced

from gradcam.errors import UnsupportedOpError
from gradcam.graph.autodiff import gradients
from gradcam.graph.builder import Builder
from gradcam.graph.operators import OPERATORS

STEP = 1e-5
COMPILED = {
    "FusedConv",
    "Linear",
    "ToBlocked",
    "FromBlocked",
    "TapSums",
    "TapProduct",
    "WeightSums",
    "Attention",
    "SlopeBits",
    "BitsGrad",
} | {name for name in OPERATORS if name.startswith(("Blocked", "Bf16"))}
"""Emitted by passes, when all gradients are there."""
CAM = {name for name in OPERATORS if name.startswith("Cam")}
WITHOUT_RULE = {"ArgMax", "TopKIndices", "ToIndex", "RowNumbers", "LastRows", "MaxPoolIndices", "BatchNormTrainGrad"} | CAM | COMPILED
"""Forward only."""


def test_every_gradient_rule_is_tested():
    assert {case.op for case in CASES} | {"ToReal"} == {name for name, record in OPERATORS.items() if record.gradient is not None}


def test_only_known_operators_lack_a_gradient_rule():
    assert {name for name, record in OPERATORS.items() if record.gradient is None} == WITHOUT_RULE


def central_differences(function, arrays, position):
    """d sum / d arrays[position], element by element."""
    result = np.empty(arrays[position].shape)
    for index in np.ndindex(result.shape):
        values = []
        for sign in (1, -1):
            moved = [a.copy() for a in arrays]
            moved[position][index] += sign * STEP
            values.append(function(moved))
        result[index] = (values[0] - values[1]) / (2 * STEP)
    return result


@pytest.mark.parametrize("case", [case for case in CASES if case.op not in STRAIGHT_THROUGH], ids=str)
def test_gradient_rule_is_the_central_difference(case):
    g, inputs, arrays, (y, *_) = build(case)
    reals = [(value, i) for i, value in enumerate(inputs) if value.is_real]
    if not reals:
        pytest.fail("the case differentiates nothing")
    seed = normal(y.shape, 11)
    dy = g.input("dy", y.shape)
    grads = gradients(g, y, [value for value, _ in reals], dy)
    found = run(g, grads, [*arrays, seed])

    forward, _, _, (again, *_) = build(case)
    for (value, position), gradient in zip(reals, found, strict=True):
        assert gradient.shape == value.shape
        expected = central_differences(lambda moved: np.vdot(seed, run(forward, [again], moved)[0]), arrays, position)
        scale = max(1.0, np.abs(expected).max(initial=0))
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-6 * scale)


def test_gradients_of_a_value_used_several_times_add_up():
    g = Builder(F64)
    x = g.input("x", (2, 3))
    y = g.add(g.mul(x, x), g.sub(g.emit("Exp", x, alpha=0.0, beta=0.0), x))
    score = g.sum(y, (0, 1))
    a = normal((2, 3))
    (found,) = run(g, gradients(g, score, [x]), [a])
    np.testing.assert_allclose(found, 2 * a + np.exp(a) - 1, rtol=1e-12)


def test_the_same_value_as_both_operands():
    g = Builder(F64)
    x = g.input("x", (3, 3))
    score = g.sum(g.emit("MatMul", x, x, trans_a=False, trans_b=True), (0, 1))
    a = normal((3, 3))
    (found,) = run(g, gradients(g, score, [x]), [a])
    np.testing.assert_allclose(found, np.broadcast_to(2 * a.sum(0), (3, 3)), rtol=1e-12)


def test_gradient_at_an_inner_value_leaves_out_what_is_before_it():
    g = Builder(F64)
    x = g.input("x", (1, 4))
    inner = g.emit("Tanh", x, alpha=0.0, beta=0.0)
    score = g.sum(g.mul(inner, inner), (0, 1))
    before = len(g.graph.nodes)
    (gradient,) = gradients(g, score, [inner])
    assert all(node.op != "UnaryGrad" for node in g.graph.nodes[before:])
    a = normal((1, 4))
    np.testing.assert_allclose(run(g, [gradient], [a])[0], 2 * np.tanh(a), rtol=1e-12)


def test_several_targets_at_once():
    g = Builder(F64)
    x, z = g.input("x", (2, 2)), g.input("z", (2, 1))
    inner = g.mul(x, z)
    score = g.sum(g.mul(inner, x), (0, 1))
    a, b = normal((2, 2)), normal((2, 1), 1)
    found = run(g, gradients(g, score, [x, inner, z]), [a, b])
    np.testing.assert_allclose(found[0], 2 * a * b, rtol=1e-12)
    np.testing.assert_allclose(found[1], a, rtol=1e-12)
    np.testing.assert_allclose(found[2], (a * a).sum(1, keepdims=True), rtol=1e-12)


def test_gradient_of_the_score_itself_is_the_seed():
    g = Builder(F64)
    x = g.input("x", (1, 3))
    score = g.sum(x, (0, 1))
    (gradient,) = run(g, gradients(g, score, [score]), [normal((1, 3))])
    np.testing.assert_array_equal(gradient, 1.0)


def test_gradient_is_zero_where_the_score_does_not_depend():
    g = Builder(F64)
    x, z = g.input("x", (2, 3)), g.input("z", (4,))
    unused = g.mul(z, z)
    found = run(g, gradients(g, g.sum(x, (0, 1)), [z, unused]), [normal((2, 3)), normal((4,))])
    assert [array.shape for array in found] == [(4,), (4,)]
    assert not any(array.any() for array in found)


def test_gradient_through_an_operator_without_rule_is_refused():
    g = Builder(F64)
    x = g.input("x", (1, 2, 3))
    weights = g.emit("CamChannelMean", x, channel_axis=1)
    with pytest.raises(UnsupportedOpError, match="operator 'CamChannelMean' .* has no gradient rule"):
        gradients(g, g.sum(weights, (0, 1)), [x])


def test_operator_without_rule_beside_the_path_is_no_obstacle():
    g = Builder(F64)
    x = g.input("x", (1, 4))
    index = g.emit("ArgMax", x, axis=1)
    y = g.input("y", (1, 4))
    score = g.emit("Gather", g.mul(y, y), index, axis=1)
    a, b = spaced((1, 4)), normal((1, 4), 1)
    (found,) = run(g, gradients(g, g.sum(score, range(len(score.shape))), [y]), [a, b])
    expected = np.zeros((1, 4))
    expected[0, a.argmax()] = 2 * b[0, a.argmax()]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_second_derivative_of_linear_and_product_rules():
    g = Builder(F64)
    x = g.input("x", (1, 2, 5))
    w = g.constant(normal((3, 2, 2), 1))
    attrs = {"stride": (1,), "pad_lo": (1,), "pad_hi": (0,), "dilation": (2,), "groups": 1}
    y = g.emit("Conv", x, w, None, **attrs)
    (first,) = gradients(g, g.sum(g.mul(y, y), (0, 1, 2)), [x])
    direction = normal((1, 2, 5), 2)
    product = g.sum(g.mul(first, g.constant(direction)), (0, 1, 2))
    (second,) = gradients(g, product, [x])
    a = normal((1, 2, 5))
    (found,) = run(g, [second], [a])
    # The score is quadratic: its gradient is linear in x, so one difference of it is exact.
    high, low = (run(g, [first], [a + sign * direction])[0] for sign in (1, -1))
    np.testing.assert_allclose(found, (high - low) / 2, rtol=1e-10, atol=1e-12)
