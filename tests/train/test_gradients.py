"""Losses, gradients of every parameter, and running statistics."""

from __future__ import annotations

import numpy as np
import pytest
from gradcheck import central_differences
from train.networks import data, small, tokens, wide

import gradcam
from gradcam.train import LOSSES, Trainer, parameter_names, with_weights


def softmax(scores, targets):
    each = [s - s.max() - np.log(np.exp(s - s.max()).sum()) for s in scores]
    return -np.mean([np.dot(t, e) for t, e in zip(targets, each, strict=True)])


def sigmoid(scores, targets):
    p = 1 / (1 + np.exp(-scores))
    return -np.mean(targets * np.log(p) + (1 - targets) * np.log(1 - p))


REFERENCE = {
    "softmax_cross_entropy": softmax,
    "sigmoid_cross_entropy": sigmoid,
    "mean_squared_error": lambda scores, targets: np.mean((scores - targets) ** 2),
}


def targets_of(name, count):
    rng = np.random.default_rng(1)
    return np.eye(3)[rng.integers(0, 3, count)] if name == "softmax_cross_entropy" else rng.uniform(0, 1, (count, 3))


def test_every_loss_is_tested():
    assert set(REFERENCE) == set(LOSSES)


@pytest.mark.parametrize("name", REFERENCE)
def test_losses_are_the_reference(name):
    model = tokens()
    x, _ = data(model, 5)
    targets = targets_of(name, 5)
    found = Trainer(model, name, dtype="float64").gradients(x.astype(float), targets).loss
    np.testing.assert_allclose(found, REFERENCE[name](model(x.astype(float)), targets), rtol=1e-12)


def test_losses_of_large_scores_are_finite():
    net = gradcam.GraphBuilder()
    net.output("y", net.linear(net.input("x", (None, 2)), np.eye(2, dtype=np.float32), name="l"))
    x = np.array([[1e4, -1e4], [-1e4, 1e4]])
    for name, worst in (("softmax_cross_entropy", 2e4), ("sigmoid_cross_entropy", 1e4)):
        for targets, loss in (([[1, 0], [0, 1]], 0), ([[0, 1], [1, 0]], worst)):
            result = Trainer(net.model(), name, batch_size=2).gradients(x, np.array(targets, float))
            assert result.loss == loss
            assert np.isfinite(result.gradients).all()


@pytest.mark.parametrize("make", [small, tokens, lambda: small(norm=False, groups=2)])
@pytest.mark.parametrize("name", REFERENCE)
def test_gradient_of_every_parameter_is_the_central_difference(make, name):
    model = make()
    rng = np.random.default_rng(3)
    shaken = {
        n: model._source.initializers[n] + 0.1 * rng.standard_normal(model._source.initializers[n].shape) for n in parameter_names(model)
    }
    trainer = Trainer(with_weights(model, shaken), name, dtype="float64")
    x, _ = data(model, 4)
    targets = targets_of(name, 4)
    found = trainer.gradients(x, targets).gradients

    def loss(vector):
        trainer._vector[...] = vector
        return np.array([trainer.gradients(x, targets).loss])

    expected = central_differences(loss, trainer._vector.copy(), np.ones(1))
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)


def test_float32_is_float64_rounded():
    model = wide()
    x, t = data(model, 5)
    found, expected = (Trainer(model, "softmax_cross_entropy", dtype=dtype).gradients(x, t) for dtype in ("float32", "float64"))
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-5)
    starts = np.cumsum([a.size for a in Trainer(model, "softmax_cross_entropy").parameters.values()])[:-1]
    for a, b in zip(np.split(found.gradients, starts), np.split(expected.gradients, starts), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * np.abs(expected.gradients).max())
    for a, b in zip(found.statistics, expected.statistics, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_float32_runs_in_blocked_layout():
    trainer = Trainer(wide(), "softmax_cross_entropy")
    trainer.gradients(*data(wide(), 5))
    kernels = [step.kernel for step in trainer._compile({"x": (5, 3, 13, 14)}).plan.steps]
    assert kernels.count("blocked_weight_grad") == 3
    assert kernels.count("conv_weight_grad") == 1  # of the pictures, which have 3 channels
    assert "blocked_winograd_output" in kernels
    assert not {"conv_output", "conv_input_grad"} & set(kernels)


def test_running_statistics_follow_the_batches():
    model = small()
    x, t = data(model, 6)
    trainer = Trainer(model, "softmax_cross_entropy", batch_size=6, dtype="float64")
    first = model.run(x.astype(float), ["conv1"])
    for _ in range(2):  # the first statistics are those of the first weights
        trained, count = trainer.model()._source.initializers, first[:, 0].size
        want_mean = 0.9 * trained["norm1.running_mean"] + 0.1 * first.mean((0, 2, 3))
        want_var = 0.9 * trained["norm1.running_var"] + 0.1 * first.var((0, 2, 3)) * count / (count - 1)
        trainer.step(x, t)
        now = trainer.model()
        np.testing.assert_allclose(now._source.initializers["norm1.running_mean"], want_mean, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(now._source.initializers["norm1.running_var"], want_var, rtol=1e-9)
        first = now.run(x.astype(float), ["conv1"])
    assert "norm1.running_mean" not in trainer.parameters


def test_a_trained_constant_and_frozen_weights():
    net = gradcam.GraphBuilder()
    x = net.linear(net.input("x", (None, 2)), np.eye(2, dtype=np.float32), name="frozen")
    net.output("y", net.add(x, net.constant(np.zeros(2, np.float32), name="offset")))
    model = net.model()
    trainer = Trainer(model, "mean_squared_error", gradcam.train.SGD(0.5), batch_size=1, parameters=["offset"])
    trainer.step([[1.0, 2.0]], [[0.0, 5.0]])
    assert trainer.parameters["offset"].tolist() == [-0.5, 1.5]
    assert trainer.model()._source.initializers["frozen.weight"].tolist() == np.eye(2).tolist()


@pytest.mark.torch
def test_gradients_and_statistics_of_torch(torch):
    model = small()
    weights = {n: torch.tensor(a.astype(float)) for n, a in model._source.initializers.items() if a.dtype.kind == "f"}
    for name in parameter_names(model):
        weights[name].requires_grad_()
    x, t = data(model, 5)
    f, y = torch.nn.functional, torch.tensor(x.astype(float))
    for i, stride in ((1, 1), (2, 2)):
        y = f.conv2d(y, weights[f"conv{i}.weight"], weights[f"conv{i}.bias"], stride, 1)
        running = [weights[f"norm{i}.running_{part}"] for part in ("mean", "var")]
        y = f.silu(f.batch_norm(y, *running, weights[f"norm{i}.weight"], weights[f"norm{i}.bias"], training=True))
    y = f.relu(f.linear(f.max_pool2d(y, 2).flatten(1), weights["hidden.weight"], weights["hidden.bias"]))
    loss = f.cross_entropy(f.linear(y, weights["head.weight"], weights["head.bias"]), torch.tensor(t))
    loss.backward()
    trainer = Trainer(model, "softmax_cross_entropy", batch_size=5, dtype="float64")
    result = trainer.gradients(x, t)
    np.testing.assert_allclose(result.loss, loss.item(), rtol=1e-12)
    expected = np.concatenate([weights[name].grad.numpy().ravel() for name in trainer.parameters])
    np.testing.assert_allclose(result.gradients, expected, rtol=1e-9, atol=1e-12)
    trainer.step(x, t)
    for name, array in trainer.model()._source.initializers.items():
        if "running" in name:
            np.testing.assert_allclose(array, weights[name].numpy(), rtol=1e-12, atol=1e-14)
