"""Channel means of gradients of tokens: taken before the products, the moves and the attention of the way back."""

from __future__ import annotations

import numpy as np
import pytest

from gradcam.graph.autodiff import gradients
from gradcam.graph.builder import Builder
from gradcam.graph.compilation import compile_plan
from gradcam.graph.passes import prune

HEADS, SIZE, TOKENS, CHANNELS = 3, 4, 17, 12
GRID = (4, 4)


class Net:
    """What follows a layer of tokens in transformers of several libraries."""

    def __init__(self, real):
        self.g, self.rng = Builder(np.dtype(real)), np.random.default_rng(0)

    def weights(self, *shape):
        return self.g.constant(self.rng.standard_normal(shape) / np.sqrt(shape[0]))

    def matmul(self, a, b, trans_b=False):
        return self.g.emit("MatMul", a, b, trans_a=False, trans_b=trans_b)

    def linear(self, x, k):
        return self.g.add(self.matmul(x, self.weights(x.shape[-1], k)), self.weights(k))

    def slice(self, x, axis, start, size):
        starts, sizes = [0] * len(x.shape), list(x.shape)
        starts[axis], sizes[axis] = start, size
        return self.g.emit("Slice", x, starts=tuple(starts), steps=(1,) * len(starts), sizes=tuple(sizes))

    def attended(self, q, k, v):
        """Softmax(q kT) v of (..., tokens, size)."""
        scores = self.g.scale(self.matmul(q, k, trans_b=True), 0.5)
        return self.matmul(self.g.emit("Softmax", scores, axis=len(scores.shape) - 1), v)

    def joined(self, heads, tokens):
        return self.g.reshape(self.g.transpose(heads, (0, 2, 1, 3)), (1, tokens, HEADS * SIZE))

    # Forms of a block --------------------------------------------------------------------------------------------

    def packed(self, x):
        """One product for all three, an axis of three in front, each picked by Gather."""
        n, t, _ = x.shape
        y = self.g.transpose(self.g.reshape(self.linear(x, 3 * CHANNELS), (n, t, 3, HEADS, SIZE)), (2, 0, 3, 1, 4))
        return self.joined(self.attended(*(self.g.emit("Gather", y, self.g.constant(np.array(i)), axis=0) for i in range(3))), t)

    def one_query(self, x, position):
        """The same, for what one token asks."""
        n, t, _ = x.shape
        y = self.g.transpose(self.g.reshape(self.linear(x, 3 * CHANNELS), (n, t, 3, HEADS, SIZE)), (2, 0, 3, 1, 4))
        q, k, v = (self.g.emit("Gather", y, self.g.constant(np.array(i)), axis=0) for i in range(3))
        return self.joined(self.attended(self.slice(q, 2, position, 1), k, v), 1)

    def first_query(self, x):
        return self.one_query(x, 0)

    def last_query(self, x):
        return self.one_query(x, x.shape[1] - 1)

    def split(self, x):
        """One product, cut into three, tokens in front."""
        n, t, _ = x.shape
        y = self.linear(self.g.transpose(x, (1, 0, 2)), 3 * CHANNELS)
        parts = [self.g.reshape(self.slice(y, 2, i * CHANNELS, CHANNELS), (t, n * HEADS, SIZE)) for i in range(3)]
        heads = self.attended(*(self.g.transpose(p, (1, 0, 2)) for p in parts))
        return self.joined(self.g.reshape(heads, (1, HEADS, t, SIZE)), t)

    def separate(self, x):
        """Three products."""
        n, t, _ = x.shape
        return self.joined(
            self.attended(
                *(self.g.transpose(self.g.reshape(self.linear(x, CHANNELS), (n, t, HEADS, SIZE)), (0, 2, 1, 3)) for _ in range(3))
            ),
            t,
        )

    def residual(self, x):
        """Read by the block and past it."""
        return self.g.add(x, self.packed(x))

    def windows(self, picture):
        """Attention within windows of 2 x 2 of a picture with channels last: the sum over windows comes last."""
        n, h, w, c = picture.shape
        x = self.g.transpose(self.g.reshape(picture, (n, h // 2, 2, w // 2, 2, c)), (0, 1, 3, 2, 4, 5))
        x = self.g.reshape(x, (h * w // 4, 4, c))
        parts = [self.g.transpose(self.g.reshape(self.linear(x, c), (h * w // 4, 4, HEADS, SIZE)), (0, 2, 1, 3)) for _ in range(3)]
        return self.g.reshape(self.g.transpose(self.attended(*parts), (0, 2, 1, 3)), (1, h * w, HEADS * SIZE))

    def moved_windows(self, picture):
        """Windows of a picture that is turned by one row and one column, in slices of both axes."""
        for axis in (1, 2):
            cut = self.slice(picture, axis, 1, picture.shape[axis] - 1), self.slice(picture, axis, 0, 1)
            picture = self.g.emit("Concat", *cut, axis=axis)
        return self.windows(picture)

    def weighted(self, x):
        """Each token times a number of its own."""
        return self.linear(self.g.mul(x, self.weights(1, x.shape[1], 1)), CHANNELS)

    def channel_sum(self, x):
        """Channels added up before anything else: their gradients are alike, tokens' are not."""
        total = self.g.reduce("ReduceSum", x, (2,), True)
        return self.linear(self.gelu(total), CHANNELS)

    def direct(self, x):
        """Nothing between the layer and the head."""
        return x

    def gelu(self, x):
        return self.g.emit("Gelu", x, alpha=0.0, beta=0.0)

    def mixed(self, x):
        """A product over the tokens: columns are channels."""
        turned = self.g.transpose(x, (0, 2, 1))
        return self.g.transpose(self.gelu(self.linear(turned, 9)), (0, 2, 1))

    def flattened(self, picture):
        """Tokens made of a picture with channels first."""
        n, c, h, w = picture.shape
        return self.packed(self.g.transpose(self.g.reshape(picture, (n, c, h * w)), (0, 2, 1)))


# name: form, shape of the layer, axis of its channels, prefix tokens, whether products become smaller
FORMS = {
    "packed": (Net.packed, (1, TOKENS, CHANNELS), 2, 1, True),
    "packed, all tokens": (Net.packed, (1, TOKENS - 1, CHANNELS), 2, 0, True),
    "first query": (Net.first_query, (1, TOKENS, CHANNELS), 2, 1, True),
    "last query": (Net.last_query, (1, TOKENS, CHANNELS), 2, 1, True),
    "split": (Net.split, (1, TOKENS, CHANNELS), 2, 1, True),
    "split, two prefixes": (Net.split, (1, TOKENS + 1, CHANNELS), 2, 2, True),
    "separate": (Net.separate, (1, TOKENS, CHANNELS), 2, 1, True),
    "residual": (Net.residual, (1, TOKENS, CHANNELS), 2, 1, True),
    "windows": (Net.windows, (1, *GRID, CHANNELS), 3, 0, True),
    "moved windows": (Net.moved_windows, (1, *GRID, CHANNELS), 3, 0, False),
    "weighted": (Net.weighted, (1, TOKENS, CHANNELS), 2, 1, False),
    "channel sum": (Net.channel_sum, (1, TOKENS, CHANNELS), 2, 1, False),
    "direct": (Net.direct, (1, TOKENS, CHANNELS), 2, 1, False),
    "mixed": (Net.mixed, (1, TOKENS, CHANNELS), 2, 1, True),
    "flattened": (Net.flattened, (1, CHANNELS, *GRID), 1, 0, True),
}


def row(net, y):
    return net.g.emit("Gather", y, net.g.constant(np.array(0)), axis=1)


def late_row(net, y):
    return net.g.emit("Gather", y, net.g.constant(np.array(y.shape[1] - 1)), axis=1)


def cut_row(net, y):
    return net.g.reshape(net.slice(y, 1, 0, 1), (1, y.shape[2]))


def late_cut(net, y):
    return net.g.reshape(net.slice(y, 1, y.shape[1] - 1, 1), (1, y.shape[2]))


def mean(net, y):
    return net.g.reduce("ReduceMean", net.gelu(y), (1,), False)


@pytest.mark.parametrize("head", [row, late_row, cut_row, late_cut, mean])
@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_means_are_the_same_for_less_work(name, head, dtype):
    form, shape, channels, prefix, early = FORMS[name]
    net = Net(dtype)
    x = net.g.input("x", shape)
    layer = net.g.emit("Tanh", x, alpha=0.0, beta=0.0)
    score = net.g.sum(net.gelu(net.linear(head(net, form(net, layer)), 5)), (0, 1))
    gradient = gradients(net.g, score, [layer])[0]
    kept = net.slice(gradient, 1, prefix, shape[1] - prefix) if prefix else gradient
    seen = kept if len(shape) == 4 else net.g.reshape(kept, (1, *GRID, CHANNELS))
    weights = net.g.emit("CamChannelMean", seen, channel_axis=1 if channels == 1 else 3)
    net.g.graph.outputs = [score, weights]
    graph, real = prune(net.g.graph), np.dtype(dtype)
    array = np.random.default_rng(3).standard_normal((3, *shape[1:])).astype(dtype)
    late, soon = compile_plan(graph, real, without=("reduce_early",)), compile_plan(graph, real)
    expected, found = late.run([array], 3, 1), soon.run([array], 3, 1)
    scale = np.abs(expected[1]).max()
    assert scale > 0 or name in ("direct", "weighted", "channel sum") and head in (row, cut_row)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=(1e-13 if dtype == "float64" else 2e-6) * scale)
    assert soon.run([array], 3, 2)[1].tobytes() == found[1].tobytes()
    before, now = (sum(s.products for s in plan.steps) for plan in (late, soon))
    assert now < before if early else now <= before


def test_means_are_those_of_differences():
    """Central differences of the score, averaged by hand over all tokens but the first."""
    net = Net("float64")
    layer = net.g.input("x", (1, TOKENS, CHANNELS))
    score = net.g.sum(net.linear(row(net, net.packed(layer)), 5), (0, 1))
    gradient = net.slice(gradients(net.g, score, [layer])[0], 1, 1, TOKENS - 1)
    weights = net.g.emit("CamChannelMean", net.g.reshape(gradient, (1, *GRID, CHANNELS)), channel_axis=3)
    net.g.graph.outputs = [score, weights]
    plan = compile_plan(prune(net.g.graph), np.dtype("float64"))
    x, step = np.random.default_rng(5).standard_normal((1, TOKENS, CHANNELS)), 1e-5
    found = plan.run([x], 1, 1)[1][0]
    for channel in range(CHANNELS):
        moved = np.zeros_like(x)
        moved[:, 1:, channel] = step
        up, down = (float(plan.run([x + sign * moved], 1, 1)[0].reshape(())) for sign in (1, -1))
        assert found[channel] == pytest.approx((up - down) / (2 * step) / (TOKENS - 1), rel=1e-6, abs=1e-9)


def test_what_lies_outside_the_region_does_not_count():
    """A head on a prefix token that attends to nothing but itself: all means are 0."""
    net = Net("float32")
    layer = net.g.input("x", (1, TOKENS, CHANNELS))
    score = net.g.sum(net.linear(row(net, layer), 5), (0, 1))
    gradient = net.slice(gradients(net.g, score, [layer])[0], 1, 1, TOKENS - 1)
    weights = net.g.emit("CamChannelMean", net.g.reshape(gradient, (1, *GRID, CHANNELS)), channel_axis=3)
    net.g.graph.outputs = [score, weights]
    plan = compile_plan(prune(net.g.graph), np.dtype("float32"))
    assert not plan.run([np.ones((2, TOKENS, CHANNELS), np.float32)], 2, 1)[1].any()
