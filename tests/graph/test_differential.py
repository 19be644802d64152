"""Fast kernels against plain ones over random networks: convolutions of all kinds and what lies between them, with their gradients.

On small integers every sum is exact, so that the results agree to the last bit, at kinks and ties too; only Winograd's transforms
divide, so that they are tried on smooth networks of real numbers within a bound.
"""

from __future__ import annotations

import numpy as np
import pytest
from seeds import seeds

from gradcam import _core
from gradcam.graph.autodiff import gradients
from gradcam.graph.builder import Builder
from gradcam.graph.compilation import compile_plan
from gradcam.ops import _call

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
FAST = ("gates", "fuse", "blocked", "winograd", "choices")
BOUND = 2e-5  # of the largest value, as in test_layout.py
CHANNELS = (16, 17, 24, 32, 40, 48)
SMOOTH = ("Silu", "Gelu", "Tanh", "Sigmoid", "Softplus", "Mish", "Elu")
BROKEN = ("Relu", "LeakyRelu", "Clip", "Abs", "Neg")
PARAMETERS = {"LeakyRelu": (0.5, 0.0), "Clip": (-3.0, 6.0), "Elu": (1.0, 0.0)}


class Network:
    """A random network; `exact` ones compute with small integers (and halves)."""

    def __init__(self, seed: int, real, exact: bool) -> None:
        self.rng, self.exact, self.g = np.random.default_rng(seed), exact, Builder(real)
        size = (int(n) for n in self.rng.integers(6, 31, 2))
        self.x = self.g.input("x", (1, int(self.rng.choice([1, 3, 4, 16, 20, 32])), *size))
        y = self.conv(self.x)
        steps = (self.activated, self.convolved, self.pooled, self.residual, self.joined, self.scaled)
        convolutions = 1
        for step in self.rng.choice(len(steps), int(self.rng.integers(2, 6))):
            if steps[step] in (self.convolved, self.residual, self.joined):
                convolutions += 1
            if convolutions < 4:  # integers stay small
                y = steps[step](y)
        if self.rng.random() < 0.4:
            y = self.rows(y)
        score = self.g.sum(self.g.mul(y, self.g.constant(self.numbers(y.shape))), tuple(range(len(y.shape))))
        self.g.graph.outputs = [y, gradients(self.g, score, [self.x])[0]]

    def numbers(self, shape, spread: int = 2):
        return 1.0 * self.rng.integers(-spread, spread + 1, shape) if self.exact else self.rng.standard_normal(shape)

    def weights(self, shape):
        """Of convolutions (K, C, ...) and products: sparse signs, or numbers that keep the size of what they meet."""
        inner, outer = int(np.prod(shape[1:])), int(np.prod(shape[:1] + shape[2:]))
        if self.exact:
            return self.rng.choice([-1.0, 1.0], shape) * (self.rng.random(shape) < 16 / max(inner, outer))
        return self.rng.standard_normal(shape) / np.sqrt(inner)

    def conv(self, x, k=None, keep=False):
        """Any kernel, stride, dilation, padding and groups; `keep`: the picture's size."""
        c, rng = x.shape[1], self.rng
        k = int(rng.choice(CHANNELS)) if k is None else k
        groups = int(rng.choice([g for g in (1, 1, 1, 2, 4, 8, c) if c % g == 0 and k % g == 0]))
        kind = rng.choice(("any", "depthwise", "usual"))
        if kind == "depthwise" and not keep:
            groups = k = c
        elif kind == "usual":  # what Winograd's algorithm takes
            groups, keep = 1, True
        kernel = [3, 3] if kind == "usual" or rng.random() < 0.3 else [int(n) for n in rng.integers(1, 6, 2)]
        stride, dilation = ([1, 1] if keep or rng.random() < 0.5 else [int(n) for n in rng.integers(1, m, 2)] for m in (4, 3))
        if keep:
            kernel = [n | 1 for n in kernel]
        for i, n in enumerate(x.shape[2:]):
            if dilation[i] * (kernel[i] - 1) >= n:
                kernel[i] = 1
        reach = [d * (n - 1) for d, n in zip(dilation, kernel, strict=True)]
        lo = [r // 2 if keep else int(rng.integers(0, r + 1)) for r in reach]
        hi = lo if keep else [int(rng.integers(0, r + 1)) for r in reach]
        b = self.g.constant(self.numbers(k)) if rng.random() < 0.7 else None
        window = {"stride": tuple(stride), "pad_lo": tuple(lo), "pad_hi": tuple(hi), "dilation": tuple(dilation), "groups": groups}
        return self.g.emit("Conv", x, self.g.constant(self.weights((k, c // groups, *kernel))), b, **window)

    def activated(self, x):
        op = str(self.rng.choice(BROKEN if self.exact else SMOOTH))
        alpha, beta = PARAMETERS.get(op, (0.0, 0.0))
        return self.g.emit(op, x, alpha=alpha, beta=beta)

    def convolved(self, x):
        return self.conv(self.activated(x))

    def residual(self, x):
        return self.activated(self.g.add(self.conv(self.activated(x), x.shape[1], keep=True), x))

    def joined(self, x):
        return self.g.emit("Concat", x, self.conv(x, keep=True), axis=1) if x.shape[1] % 16 == 0 else self.activated(x)

    def pooled(self, x):
        if min(x.shape[2:]) < 3:
            return x
        op = "AveragePool" if not self.exact or self.rng.random() < 0.4 else "MaxPool"
        kernel = 2 if op == "AveragePool" and self.exact else int(self.rng.integers(2, 4))
        stride, pad = (int(self.rng.integers(1, 4)),) * 2, (int(self.rng.integers(0, 2)),) * 2
        window = {"kernel": (kernel,) * 2, "stride": stride, "pad_lo": pad, "pad_hi": pad, "dilation": (1, 1)}
        return self.g.emit(op, x, **window, ceil_mode=bool(self.rng.random() < 0.3), count_include_pad=bool(self.rng.random() < 0.5))

    def scaled(self, x):
        """Squeeze and excitation; on integers, a factor per channel."""
        if self.exact:
            return self.g.mul(x, self.g.constant(self.rng.choice([-1.0, 0.5, 2.0], (1, x.shape[1], 1, 1))))
        return self.g.mul(x, self.g.unary("Sigmoid", self.g.reduce("ReduceMean", x, (2, 3), True)))

    def rows(self, x):
        """A linear layer on the pixels."""
        c, pixels, m = x.shape[1], x.shape[2] * x.shape[3], int(self.rng.choice([16, 32, 48]))
        rows = self.g.transpose(self.g.reshape(x, (1, c, pixels)), (0, 2, 1))
        product = self.g.emit("MatMul", rows, self.g.constant(self.weights((c, m))), trans_a=False, trans_b=False)
        return self.activated(self.g.add(product, self.g.constant(self.numbers(m))))


@pytest.fixture(params=_core.isas)
def isa(request, monkeypatch):
    monkeypatch.setattr(_call, "isa", request.param)
    return request.param


def plain(seed: int, exact: bool, x):
    """Results of the plain kernels in float64, picture by picture."""
    network = Network(seed, F64, exact)
    plan = compile_plan(network.g.graph, F64, without=FAST)
    assert not any(step.kernel.startswith(("blocked", "linear")) for step in plan.steps)
    return plan.run([x.astype(F64)], len(x), 1)


def fast(seed: int, exact: bool, x, without=()):
    """Results of the fast kernels, with the same bits for any number of threads and any split of the pictures."""
    network = Network(seed, F32, exact)
    plan = compile_plan(network.g.graph, F32, without=without)
    assert any(step.kernel.startswith(("blocked", "linear")) or step.kernel == "conv_output" for step in plan.steps)
    found = plan.run([x], len(x), 1)
    for workers in (2, 3, 4):
        for a, b in zip(plan.run([x], len(x), workers), found, strict=True):
            np.testing.assert_array_equal(a.view(np.int32), b.view(np.int32))
    for i in range(len(x)):
        for a, b in zip(plan.run([x[i : i + 1]], 1, 1 + i), found, strict=True):
            one = len(b) // len(x)
            np.testing.assert_array_equal(a.view(np.int32), b[i * one : (i + 1) * one].view(np.int32))
    return found


def pictures(seed: int, exact: bool):
    shape = Network(seed, F32, exact).x.shape
    rng = np.random.default_rng(seed + 1)
    x = rng.integers(-4, 5, (2, *shape[1:])) if exact else rng.standard_normal((2, *shape[1:]))
    return x.astype(F32)


@pytest.mark.parametrize("seed", seeds(30))
def test_on_small_integers_fast_and_plain_kernels_agree_exactly(isa, seed):
    x = pictures(seed, True)
    for got, want in zip(fast(seed, True, x, ("winograd",)), plain(seed, True, x), strict=True):
        assert np.abs(want).max() < 2**23
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("seed", seeds(30))
def test_on_real_numbers_fast_and_plain_kernels_agree_within_the_bound(isa, seed):
    x = pictures(seed, False)
    for got, want in zip(fast(seed, False, x), plain(seed, False, x), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=BOUND * np.abs(want).max())
