"""The pass that makes attention one node."""

from __future__ import annotations

import numpy as np
import pytest

from gradcam.graph.autodiff import gradients
from gradcam.graph.builder import Builder
from gradcam.graph.compilation import compile_plan
from gradcam.graph.passes import fuse_attention, prune

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
HEADS, SIZE = 3, 5


class Net:
    """A graph in the making, on tokens (1, T, 3 * HEADS * SIZE) that hold queries, keys and values side by side."""

    def __init__(self, tokens=11, real=F32):
        self.g, self.real, self.tokens = Builder(real), real, tokens
        self.x = self.g.input("x", (1, tokens, 3 * HEADS * SIZE))

    def one(self, i, perm=(0, 2, 1, 3)):
        """Queries, keys or values of all heads, as TorchScript writes it."""
        parts = self.g.transpose(self.g.reshape(self.x, (1, self.tokens, 3, HEADS, SIZE)), (2, 0, 1, 3, 4))
        return self.g.transpose(self.g.emit("Gather", parts, self.g.constant(np.array(i)), axis=0), perm)

    def product(self, a, b, trans_b=False):
        return self.g.emit("MatMul", a, b, trans_a=False, trans_b=trans_b)

    def times(self, x, factor):
        return self.g.mul(x, self.g.constant(np.array([factor])))

    def scores(self):
        return self.product(self.times(self.one(0), 0.4), self.times(self.one(1, (0, 2, 3, 1)), 0.5))

    def weights(self, scores):
        return self.g.emit("Softmax", scores, axis=len(scores.shape) - 1)

    def joined(self, y):
        return self.g.reshape(self.g.transpose(y, (0, 2, 1, 3)), (1, self.tokens, HEADS * SIZE))

    def fused(self, *outputs, bound=2e-6):
        """Operators of the fused graph; its results are those of the graph as it was."""
        self.g.graph.outputs = list(outputs)
        graph = prune(self.g.graph)
        x = np.random.default_rng(0).standard_normal(self.x.shape).astype(self.real)
        plain, found = (compile_plan(graph, self.real, without=w).run([x], 1, 2) for w in (("attention",), ()))
        for a, b in zip(plain, found, strict=True):
            np.testing.assert_allclose(b, a, rtol=0, atol=bound * np.abs(a).max())
        return [node.op for node in fuse_attention(graph).nodes]


@pytest.mark.parametrize("tokens", [1, 2, 11, 50])
def test_attention_reads_and_writes_heads_where_they_lie(tokens):
    net = Net(tokens)
    y = net.joined(net.product(net.weights(net.scores()), net.one(2)))
    assert net.fused(y) == ["Attention", "Reshape"]


def test_scores_with_the_keys_transposed_by_the_product():
    net = Net()
    scores = net.g.emit("Div", net.product(net.one(0), net.one(1), trans_b=True), net.g.constant(2.5))
    assert net.fused(net.product(net.weights(scores), net.one(2))) == ["Attention"]


def test_factor_as_an_affine_function_and_slices_in_place_of_picks():
    net = Net()
    width = HEADS * SIZE

    def part(i):
        rows = net.g.emit("Slice", net.x, starts=(0, 0, i * width), steps=(1, 1, 1), sizes=(1, net.tokens, width))
        return net.g.transpose(net.g.reshape(rows, (net.tokens, HEADS, SIZE)), (1, 0, 2))

    scores = net.product(net.g.scale(part(0), 0.3), part(1), trans_b=True)
    assert net.fused(net.product(net.weights(scores), part(2))) == ["Attention"]


@pytest.mark.parametrize("shape", [(1, HEADS, 11, 11), (1, 1, 11, 11), (11, 11), (1, 1, 1, 11), (HEADS, 1, 11)])
def test_constant_bias(shape):
    net = Net()
    bias = net.g.constant(np.random.default_rng(1).standard_normal(shape))
    assert net.fused(net.joined(net.product(net.weights(net.g.add(bias, net.scores())), net.one(2)))) == ["Attention", "Reshape"]


def test_bias_and_mask_added_in_another_shape_are_one_bias():
    """Shifted windows: a bias for each head, then a mask for each window."""
    net, rng = Net(), np.random.default_rng(1)
    scores = net.g.add(net.scores(), net.g.constant(rng.standard_normal((1, HEADS, 11, 11))))
    windows = net.g.reshape(scores, (1, 1, HEADS, 11, 11))
    mask = np.where(rng.random((1, 1, 1, 11, 11)) < 0.3, -100.0, 0.0)
    masked = net.g.reshape(net.g.add(windows, net.g.constant(mask)), (1, HEADS, 11, 11))
    assert net.fused(net.product(net.weights(masked), net.one(2))) == ["Attention"]


def test_computed_bias():
    net = Net()
    bias = net.g.emit("Slice", net.x, starts=(0, 0, 0), steps=(1, 1, 1), sizes=(1, 11, 11))
    assert net.fused(net.product(net.weights(net.g.add(net.scores(), bias)), net.one(2))) == ["Slice", "Attention"]


def test_a_bias_that_is_the_same_for_all_keys_is_left_alone():
    net = Net()
    bias = net.g.constant(np.random.default_rng(1).standard_normal((1, 1, 11, 1)))
    assert "Attention" not in net.fused(net.product(net.weights(net.g.add(net.scores(), bias)), net.one(2)))


def test_a_factor_of_the_bias_is_left_alone():
    net = Net()
    biased = net.g.add(net.scores(), net.g.constant(np.random.default_rng(1).standard_normal((11, 11))))
    assert "Attention" not in net.fused(net.product(net.weights(net.times(biased, 0.5)), net.one(2)))


def test_weights_or_scores_that_are_asked_for_or_read_elsewhere_stay():
    net = Net()
    weights = net.weights(net.scores())
    y = net.product(weights, net.one(2))
    assert "Attention" not in net.fused(y, weights)
    assert "Attention" not in net.fused(y, net.g.sum(weights, (3,)))
    net = Net()
    scores = net.scores()
    assert "Attention" not in net.fused(net.product(net.weights(scores), net.one(2)), scores)


def test_values_that_are_asked_for_are_still_computed():
    net = Net()
    keys = net.one(1)
    y = net.product(net.weights(net.product(net.one(0), keys, trans_b=True)), net.one(2))
    assert "Attention" in net.fused(y, keys)


def test_softmax_over_another_axis_and_transposed_products_are_left_alone():
    net = Net()
    weights = net.g.emit("Softmax", net.scores(), axis=2)
    assert "Attention" not in net.fused(net.product(weights, net.one(2)))
    y = net.g.emit("MatMul", net.weights(net.scores()), net.one(2), trans_a=True, trans_b=False)
    assert "Attention" not in net.fused(y)


def test_float64_runs_plain():
    net = Net(real=F64)
    assert "Attention" not in net.fused(net.product(net.weights(net.scores()), net.one(2)))


def test_a_gradient_keeps_the_weights_that_it_reads_and_no_others():
    net = Net()
    first = net.joined(net.product(net.weights(net.scores()), net.one(2)))
    second = net.product(net.weights(net.product(first, first, trans_b=True)), first)
    score = net.g.sum(second, (0, 1, 2))
    (gradient,) = gradients(net.g, score, [first])
    ops = net.fused(second, gradient)
    assert ops.count("Attention") == 1
    assert ops.count("Softmax") == 1
