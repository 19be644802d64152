"""Optimizers against their formulas and torch's, and learning rates."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gradcam.train import SGD, Adam, one_cycle

STEPS = 20


def gradient(step: int, p: np.ndarray) -> np.ndarray:
    return np.cos(step + np.arange(p.size)) + 0.3 * p


def run(optimizer, dtype=np.float64) -> np.ndarray:
    p = np.linspace(-1, 2, 7).astype(dtype)
    state = {slot: np.zeros_like(p) for slot in optimizer.slots}
    for step in range(STEPS):
        optimizer.update(step, p, gradient(step, p).astype(dtype), state)
    return p


def sgd(p, rate, momentum, decay, nesterov):
    velocity = [0.0] * p.size
    for step in range(STEPS):
        g = gradient(step, p)
        for i in range(p.size):
            d = g[i] + decay * p[i]
            velocity[i] = momentum * velocity[i] + d
            p[i] -= rate * (d + momentum * velocity[i] if nesterov else velocity[i])
    return p


def adam(p, rate, b1, b2, epsilon, decay, decoupled):
    m, v = [0.0] * p.size, [0.0] * p.size
    for step in range(STEPS):
        g = gradient(step, p)
        for i in range(p.size):
            d = g[i] if decoupled else g[i] + decay * p[i]
            m[i], v[i] = b1 * m[i] + (1 - b1) * d, b2 * v[i] + (1 - b2) * d * d
            mean, square = m[i] / (1 - b1 ** (step + 1)), v[i] / (1 - b2 ** (step + 1))
            p[i] -= rate * mean / (math.sqrt(square) + epsilon) + (rate * decay * p[i] if decoupled else 0)
    return p


@pytest.mark.parametrize(("momentum", "decay", "nesterov"), [(0.0, 0.0, False), (0.9, 0.0, False), (0.8, 0.1, False), (0.9, 0.01, True)])
def test_sgd_is_its_formula(momentum, decay, nesterov):
    found = run(SGD(0.05, momentum, decay, nesterov))
    np.testing.assert_allclose(found, sgd(np.linspace(-1, 2, 7), 0.05, momentum, decay, nesterov), rtol=1e-12)


@pytest.mark.parametrize(("decay", "decoupled"), [(0.0, False), (0.1, False), (0.1, True)])
def test_adam_is_its_formula(decay, decoupled):
    found = run(Adam(0.05, 0.8, 0.95, 1e-3, decay, decoupled))
    np.testing.assert_allclose(found, adam(np.linspace(-1, 2, 7), 0.05, 0.8, 0.95, 1e-3, decay, decoupled), rtol=1e-11)


def test_a_rate_may_follow_the_steps():
    rates = []
    run(SGD(lambda step: rates.append(step) or 0.0))
    assert rates == list(range(STEPS))
    assert run(SGD(lambda step: 0.1)).tobytes() == run(SGD(0.1)).tobytes()


def test_one_cycle_rises_and_falls():
    rate = one_cycle(0.5, 100, warmup=0.2)
    rates = [rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.02)
    assert max(rates) == rates[19] == 0.5
    assert rates[99] == pytest.approx(0.5 / 25 * 1e-4)
    assert np.all(np.diff(rates[:20]) > 0)
    assert np.all(np.diff(rates[19:]) < 0)
    assert one_cycle(0.5, 1)(0) > 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(-1.0), "SGD: learning_rate: expected a finite number of at least 0, got -1.0"),
        (lambda: SGD(0.1, 1.0), "SGD: momentum: expected a number from 0 to below 1, got 1.0"),
        (lambda: SGD(0.1, weight_decay=-0.1), "SGD: weight_decay"),
        (lambda: Adam(math.nan), "Adam: learning_rate"),
        (lambda: Adam(beta1=1.0), "Adam: beta1"),
        (lambda: Adam(beta2=-0.1), "Adam: beta2"),
        (lambda: one_cycle(0.1, 0), "one_cycle: steps"),
    ],
)
def test_bad_options(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.torch
def test_optimizers_of_torch(torch):
    pairs = [
        (SGD(0.05, 0.9, 0.01), lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=0.01)),
        (SGD(0.05, 0.9, nesterov=True), lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, nesterov=True)),
        (Adam(0.05, weight_decay=0.02), lambda p: torch.optim.Adam(p, 0.05, weight_decay=0.02)),
        (Adam(0.05, weight_decay=0.02, decoupled=True), lambda p: torch.optim.AdamW(p, 0.05, weight_decay=0.02)),
    ]
    for dtype, bound in ((np.float32, 2e-6), (np.float64, 1e-12)):
        for own, make in pairs:
            p = torch.tensor(np.linspace(-1, 2, 7).astype(dtype), requires_grad=True)
            other = make([p])
            for step in range(STEPS):
                p.grad = torch.tensor(gradient(step, p.detach().numpy()).astype(dtype))
                other.step()
            np.testing.assert_allclose(run(own, dtype), p.detach().numpy(), rtol=bound, atol=bound)


@pytest.mark.torch
def test_one_cycle_of_torch(torch):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.4, 50, pct_start=0.2)
    rate = one_cycle(0.4, 50, warmup=0.2)
    for step in range(50):
        np.testing.assert_allclose(rate(step), optimizer.param_groups[0]["lr"], rtol=1e-9)
        optimizer.step()
        if step < 49:
            schedule.step()
