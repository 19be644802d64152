"""Whole trainings: seeds, threads, checkpoints, what is refused."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest
from train.networks import data, small, tokens, wide

import gradcam
from gradcam.train import SGD, Adam, Trainer, initialise, parameter_names, with_weights


def weights(model: gradcam.Model) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in model._source.initializers.items()}


def trainer(model: gradcam.Model | None = None, **options) -> Trainer:
    return Trainer(model or small(), "softmax_cross_entropy", Adam(3e-3), **({"batch_size": 8, "seed": 5} | options))


def test_it_learns():
    model = small()
    x, _ = data(model, 96)
    classes = np.argmax([x[:, 0].mean((1, 2)), x[:, 1].mean((1, 2)), -x.mean((1, 2, 3))], axis=0)
    one = trainer(model)
    trained = one.fit(x, classes, epochs=30)
    assert one.steps == len(one.losses) == 30 * 12
    assert np.mean(one.losses[-12:]) < 0.3 * np.mean(one.losses[:12])
    assert (trained(x).argmax(1) == classes).mean() > 0.9 > (model(x).argmax(1) == classes).mean()
    assert trained.explain(x[:2], target=1).map.shape == (2, 8, 7)


@pytest.mark.parametrize("make", [small, wide])
@pytest.mark.parametrize("threads", [2, 3, 4])
def test_threads_change_no_bit(monkeypatch, make, threads):
    monkeypatch.setattr("gradcam.graph.plan.SERIAL_ELEMENTS", 0)
    monkeypatch.setattr("gradcam.graph.plan.SERIAL_STEP", 0)
    x, t = data(make(), 24)
    one, many = trainer(make()), trainer(make())
    assert weights(one.fit(x, t, epochs=2, num_threads=1)) == weights(many.fit(x, t, epochs=2, num_threads=threads))
    assert one.losses == many.losses


def test_seeds_decide():
    x, t = data(small(), 24)
    first = weights(trainer().fit(x, t, epochs=2))
    assert weights(trainer().fit(x, t, epochs=2)) == first
    assert weights(trainer(seed=6).fit(x, t, epochs=2)) != first
    assert weights(trainer(small(1)).fit(x, t, epochs=2)) != first


def test_every_epoch_has_an_order_of_its_own():
    one = trainer()
    orders = [one.order(epoch, 50).tolist() for epoch in range(4)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4


def test_batches_are_whole_and_transformed():
    x, t = data(small(), 21)
    seen = []

    def transform(batch):
        seen.append(len(batch))
        return batch / 2

    halved = trainer().fit(x, t, epochs=1, transform=transform)
    assert seen == [8, 8]
    assert weights(halved) == weights(trainer().fit(x / 2, t, epochs=1))


@pytest.mark.parametrize("optimizer", [Adam(3e-3), SGD(1e-2, 0.9)], ids=["adam", "sgd"])
def test_a_resumed_training_has_the_bits_of_one_that_was_not_interrupted(tmp_path, optimizer):
    pytest.importorskip("safetensors")
    model, path = small(), tmp_path / "checkpoint.safetensors"
    x, t = data(model, 24)

    def make():
        return Trainer(model, "softmax_cross_entropy", optimizer, batch_size=8)

    whole = make()
    expected = whole.fit(x, t, epochs=4)

    def stop(one):
        if one.steps == 5:  # within the second epoch
            one.save(path)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make().fit(x, t, epochs=4, callback=stop)
    resumed = make()
    resumed.load(path)
    assert resumed.steps == 5
    assert weights(resumed.fit(x, t, epochs=4)) == weights(expected)
    assert resumed.losses == whole.losses


def test_a_checkpoint_after_each_epoch(tmp_path):
    pytest.importorskip("safetensors")
    x, t = data(small(), 16)
    one, other = trainer(), trainer()
    one.fit(x, t, epochs=2, checkpoint=tmp_path / "c.safetensors")
    other.load(tmp_path / "c.safetensors")
    assert (other.steps, weights(other.model())) == (4, weights(one.model()))


def test_wrong_checkpoints_are_refused(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "c.safetensors"
    trainer(small(norm=False)).save(path)
    with pytest.raises(gradcam.ModelFormatError, match="expected the tensors of this trainer, got others: .*norm1.weight"):
        trainer().load(path)
    tensors = trainer()._tensors()
    numpy.save_file(tensors | {"losses": np.zeros((2, 2))}, path)
    with pytest.raises(gradcam.ModelFormatError, match="expected one loss per step"):
        trainer().load(path)
    numpy.save_file(tensors | {"optimizer/mean": tensors["optimizer/mean"].astype(np.float64)}, path)
    with pytest.raises(gradcam.ModelFormatError, match="expected the tensors of this trainer"):
        trainer().load(path)
    with pytest.raises(ValueError, match=r"Trainer.save: path: expected a name that ends in .safetensors"):
        trainer().save(tmp_path / "c.npz")


def test_without_the_extra(monkeypatch, tmp_path):
    x, t = data(small(), 8)
    for module in ("tqdm", "safetensors", "safetensors.numpy"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(gradcam.MissingExtraError, match=r"tqdm is needed .*gradcam-native\[experiments\]"):
        trainer().fit(x, t, epochs=1, progress=True)
    with pytest.raises(gradcam.MissingExtraError, match=r"safetensors is needed .*gradcam-native\[experiments\]"):
        trainer().save(tmp_path / "c.safetensors")
    trainer().fit(x, t, epochs=1)


def test_progress(capsys):
    pytest.importorskip("tqdm")
    x, t = data(small(), 16)
    trainer().fit(x, t, epochs=2, progress=True)
    assert "4/4" in capsys.readouterr().err


def test_classes_and_rows_mean_the_same():
    x, t = data(small(), 8)
    assert trainer().step(x, t) == trainer().step(x, np.eye(3)[t])


def test_the_model_stays_as_it_is():
    model = small()
    before = weights(model)
    x, t = data(model, 8)
    one = trainer(model)
    one.step(x, t)
    copies = one.parameters
    copies["conv1.weight"][...] = 0
    assert one.parameters["conv1.weight"].any()
    assert weights(model) == before != weights(one.model())


def test_trained_models_are_pickled():
    x, t = data(small(), 8)
    one = trainer()
    one.step(x, t)
    again = pickle.loads(pickle.dumps(one.model()))
    assert again(x).tobytes() == one.model()(x).tobytes()


# --- initial weights


def test_parameters_are_weights_and_biases():
    names = parameter_names(tokens())
    assert set(names) == {"in.product.weight", "in.bias", "norm.weight", "norm.bias", "offset.bias", "head.weight", "head.bias"}
    assert not any("running" in name for name in parameter_names(small()))


@pytest.mark.parametrize(
    ("scheme", "variance", "limit"),
    [("he_normal", 2 / 90, None), ("he_uniform", 2 / 90, (6 / 90) ** 0.5), ("glorot_uniform", 2 / (90 + 1800), (6 / 1890) ** 0.5)],
)
def test_initial_weights_have_their_variance(scheme, variance, limit):
    net = gradcam.GraphBuilder()
    x = net.conv(net.input("x", (None, 10, 3, 3)), np.zeros((200, 10, 3, 3), np.float32), np.full(200, 7.0, np.float32), name="conv")
    net.output("y", net.batch_norm(x, *np.full((4, 200), 3.0, np.float32), name="norm"))
    made = initialise(net.model(), scheme, seed=3)._source.initializers
    w = made["conv.weight"]
    assert w.dtype == np.float32
    assert w.var() == pytest.approx(variance, rel=0.05)
    assert abs(w.mean()) < 5 * (variance / w.size) ** 0.5
    assert limit is None or 0.99 * limit < np.abs(w).max() <= limit
    for name, value in (("conv.bias", 0), ("norm.weight", 1), ("norm.bias", 0), ("norm.running_mean", 0), ("norm.running_var", 1)):
        assert (made[name] == value).all(), name
    assert (initialise(net.model(), scheme, seed=3)._source.initializers["conv.weight"] == w).all()
    assert not (initialise(net.model(), scheme, seed=4)._source.initializers["conv.weight"] == w).any()


# --- bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "hinge"}, "Trainer: loss: expected a function or one of softmax_cross_entropy, .*, got 'hinge'"),
        ({"batch_size": 0}, "Trainer: batch_size: expected at least 1, got 0"),
        ({"output": "nothing"}, "Trainer: output: expected one of scores, got 'nothing'"),
        ({"parameters": ["conv1.wait"]}, "Trainer: parameters: expected names of weights, got 'conv1.wait'; nearest: 'conv1.weight'"),
        ({"parameters": []}, "Trainer: parameters: expected at least one weight"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        Trainer(small(), **({"loss": "softmax_cross_entropy"} | options))


def test_bad_data():
    x, t = data(small(), 16)
    with pytest.raises(TypeError, match="Trainer: dtype: expected float32 or float64, got int32"):
        trainer(dtype="int32")
    with pytest.raises(ValueError, match=r"fit: x, targets: expected the same number of at least 8 pictures, got \[15, 16\]"):
        trainer().fit(x, t[:15], epochs=1)
    with pytest.raises(ValueError, match="fit: x, targets: expected the same number of at least 8"):
        trainer().fit(x[:7], t[:7], epochs=1)
    with pytest.raises(ValueError, match=r"Trainer: x: input 'x': expected shape .* with any batch, got \(16, 2, 8, 6\)"):
        trainer().step(x[..., :6], t)
    with pytest.raises(ValueError, match="Trainer: x: expected a mapping with the inputs x, got y"):
        trainer().step({"y": x}, t)
    with pytest.raises(ValueError, match="Trainer: targets: expected classes from 0 to 2, got 0 to 3"):
        trainer().step(x, t + (t == 2))
    with pytest.raises(ValueError, match=r"Trainer: targets: expected shape \(16, 3\) like the scores, or classes, got \(16, 2\)"):
        trainer().step(x, np.zeros((16, 2)))
    with pytest.raises(ValueError, match=r"train: loss: expected one number, got shape \(16, 3\)"):
        Trainer(small(), lambda g, scores, targets: g.sub(scores, targets)).step(x, t)
    with pytest.raises(ValueError, match=r"with_weights: 'conv1.bias': expected shape \(4,\), got \(5,\)"):
        with_weights(small(), {"conv1.bias": np.zeros(5)})
    with pytest.raises(ValueError, match="initialise: scheme: expected one of he_normal, .*, got 'she_normal'"):
        initialise(small(), "she_normal")


@pytest.mark.torch
def test_a_training_of_torch(torch):
    """Ten steps of the same network from the same weights on the same batches."""
    model = small()
    x, t = data(model, 24)
    nn, given = torch.nn, model._source.initializers
    net = nn.Sequential(
        *(nn.Conv2d(2, 4, 3, 1, 1), nn.BatchNorm2d(4), nn.SiLU(), nn.Conv2d(4, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.SiLU()),
        *(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(24, 5), nn.ReLU(), nn.Linear(5, 3)),
    ).double()
    with torch.no_grad():
        for parameter, name in zip(net.parameters(), parameter_names(model), strict=True):
            parameter.copy_(torch.tensor(given[name]))
    other = torch.optim.Adam(net.parameters(), 3e-3)
    own = trainer(model, dtype="float64")
    order = [index for epoch in range(4) for index in own.order(epoch, 24).reshape(-1, 8)][:10]
    for index in order:
        loss = nn.functional.cross_entropy(net(torch.tensor(x[index].astype(float))), torch.tensor(t[index]))
        other.zero_grad()
        loss.backward()
        other.step()
        np.testing.assert_allclose(own.step(x[index], t[index]), loss.item(), rtol=1e-8)
    for parameter, array in zip(net.parameters(), own.parameters.values(), strict=True):
        np.testing.assert_allclose(array, parameter.detach().numpy(), rtol=1e-6, atol=1e-9)
    assert own.model()(x[:2]).shape == (2, 3)
    np.testing.assert_allclose(own.model()(x[:2].astype(float)), net.eval()(torch.tensor(x[:2].astype(float))).detach(), rtol=1e-6)
