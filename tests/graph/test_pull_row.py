"""The pass that computes only the token that the score reads."""

from __future__ import annotations

import numpy as np
import pytest

from gradcam.graph.autodiff import gradients
from gradcam.graph.builder import Builder
from gradcam.graph.compilation import compile_plan
from gradcam.graph.passes import prune, pull_row

F64 = np.dtype(np.float64)
TOKENS, SIZE = 7, 6


class Net:
    """A transformer's block in the making on tokens (1, TOKENS, SIZE)."""

    def __init__(self):
        self.g, self.rng = Builder(F64), np.random.default_rng(0)
        self.x = self.g.input("x", (1, TOKENS, SIZE))

    def linear(self, x, m=SIZE):
        w = self.g.constant(self.rng.standard_normal((x.shape[-1], m)))
        y = self.g.emit("MatMul", x, w, trans_a=False, trans_b=False)
        return self.g.add(y, self.g.constant(self.rng.standard_normal(m)))

    def normed(self, x):
        deviation = self.g.sub(x, self.g.reduce("ReduceMean", x, (2,), True))
        variance = self.g.reduce("ReduceMean", self.g.mul(deviation, deviation), (2,), True)
        return self.g.emit("Div", deviation, self.g.unary("Sqrt", self.g.unary("Affine", variance, 1.0, 1e-5)))

    def attention(self, x):
        """Tokens first, as torch's own layer has them."""
        q, k, v = (
            self.g.transpose(self.g.reshape(self.linear(self.g.transpose(x, (1, 0, 2))), (TOKENS, 2, 3)), (1, 0, 2)) for _ in range(3)
        )
        weights = self.g.emit("Softmax", self.g.emit("MatMul", q, k, trans_a=False, trans_b=True), axis=2)
        y = self.g.emit("MatMul", weights, v, trans_a=False, trans_b=False)
        rows = self.g.reshape(self.g.transpose(y, (1, 0, 2)), (TOKENS, SIZE))
        return self.g.transpose(self.g.reshape(self.linear(rows), (TOKENS, 1, SIZE)), (1, 0, 2))

    def block(self, x):
        x = self.g.add(x, self.attention(self.normed(x)))
        return self.g.add(x, self.linear(self.g.unary("Gelu", self.linear(self.normed(x), 3 * SIZE))))

    def pick(self, x, index=0, axis=1):
        return self.g.emit("Gather", x, self.g.constant(np.array(index)), axis=axis)

    def score(self, row):
        """A weighted sum: that of a normed row would be zero."""
        return self.g.sum(self.g.mul(row, self.g.constant(np.linspace(-1.0, 2.0, row.shape[-1]))), (0, 1))

    def results(self, score, layers, pulls):
        g = Builder(F64, self.g.graph)
        if pulls:
            g.graph = pull_row(g.graph, F64, layers)
        g.graph.outputs = [score, *gradients(g, score, layers)]
        graph = prune(g.graph)
        x = np.random.default_rng(1).standard_normal((1, TOKENS, SIZE))
        return graph, compile_plan(graph, F64).run([x], 1, 1)

    def check(self, score, layers):
        (_, plain), (graph, found) = (self.results(score, layers, pulls) for pulls in (False, True))
        for a, b in zip(plain, found, strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-11, atol=1e-12)
        assert all(np.abs(a).max() > 0 for a in plain)
        return graph


def whole_products(graph):
    """Products with as many rows as there are tokens."""
    return sum(node.op == "MatMul" and TOKENS in node.outputs[0].shape[:2] for node in graph.nodes)


@pytest.mark.parametrize("index", [0, 3, TOKENS - 1])
def test_last_block_is_computed_for_one_token(index):
    net = Net()
    first = net.block(net.x)
    last = net.normed(net.block(first))
    graph = net.check(net.score(net.pick(last, index)), [first])
    rows = [node for node in graph.nodes if node.op == "MatMul" and node.outputs[0].shape[-2:] == (1, 3 * SIZE)]
    assert len(rows) == 2  # the first linear layer of the last block, and the gradient of the second
    assert sum(node.op == "Slice" for node in graph.nodes) == 2  # of the block's input and of the queries: no earlier rows
    plain, _ = net.results(net.score(net.pick(last, index)), [first], False)
    assert whole_products(graph) < whole_products(plain)


def test_a_layer_that_is_asked_for_stays_whole():
    net = Net()
    first = net.block(net.x)
    inside = net.normed(net.g.add(first, net.attention(net.normed(first))))
    y = net.linear(net.g.unary("Gelu", net.linear(inside)))
    net.check(net.score(net.pick(y)), [inside, first])


def test_a_mean_over_tokens_and_products_that_mix_them_are_left_alone():
    net = Net()
    mean = net.g.reduce("ReduceMean", net.linear(net.x), (1,), True)
    mixed = net.g.emit("MatMul", net.g.constant(net.rng.standard_normal((1, TOKENS, TOKENS))), net.x, trans_a=False, trans_b=False)
    y = net.g.add(net.linear(net.g.mul(mixed, mean)), net.x)
    net.check(net.score(net.pick(y)), [mixed, mean])


def test_a_softmax_over_tokens_is_computed_whole():
    net = Net()
    y = net.g.emit("Softmax", net.linear(net.x), axis=1)
    graph = net.check(net.score(net.pick(net.linear(y))), [y])
    assert any(node.op == "Softmax" and node.outputs[0].shape == (1, TOKENS, SIZE) for node in graph.nodes)


def test_a_pick_along_another_axis_is_left_alone():
    net = Net()
    y = net.linear(net.x)
    net.g.graph.outputs = [net.pick(y, 2, axis=2)]
    assert [n.op for n in pull_row(net.g.graph, F64).nodes] == [n.op for n in net.g.graph.nodes]
