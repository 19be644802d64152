"""from_torch: modules by way of ONNX in memory."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import gradcam
from gradcam import MissingExtraError

pytestmark = pytest.mark.torch


def network(torch):
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 3, padding=1),
        torch.nn.BatchNorm2d(6),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.5),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(6, 4),
    )


def test_equals_the_module_and_leaves_it_as_it_was(torch):
    net = network(torch)
    net[1].eval()
    x = torch.randn(3, 3, 10, 12)
    model = gradcam.from_torch(net, x[:1], labels=list("abcd"))
    assert [part.training for part in net] == [True, False, True, True, True, True, True]
    want = net.eval()(x).detach().numpy()
    np.testing.assert_allclose(model(x.numpy()), want, rtol=1e-5, atol=1e-6)
    assert model.labels[3] == "d"
    assert model.inputs[0].name == "input"
    features = torch.nn.Sequential(*net[:3])(x).detach().numpy()
    why = model.explain(x.numpy(), target="c", relu=False)
    weights = net[6].weight.detach().numpy()[2] / (10 * 12)
    np.testing.assert_allclose(why.raw, np.einsum("c,nchw->nhw", weights, features), rtol=1e-4, atol=1e-7)


def test_several_inputs_are_named_by_the_arguments(torch):
    class Two(torch.nn.Module):
        def forward(self, picture, scale):
            return torch.relu(picture).mean((2, 3)) * scale

    picture, scale = np.ones((1, 2, 4, 4), np.float32), np.full((1, 2), 3, np.float32)
    model = gradcam.from_torch(Two(), (picture, scale))
    assert [i.name for i in model.inputs] == ["picture", "scale"]
    np.testing.assert_allclose(model({"picture": picture, "scale": scale}), [[3, 3]])


def test_mode_comes_back_after_an_error(torch):
    class Broken(torch.nn.Module):
        def forward(self, x):
            raise RuntimeError("broken module")

    net = Broken()
    with pytest.raises(Exception, match="broken module"):
        gradcam.from_torch(net, torch.ones(1, 2))
    assert net.training


def test_wrong_arguments(torch):
    with pytest.raises(TypeError, match="from_torch: module: expected a torch.nn.Module, got function"):
        gradcam.from_torch(lambda x: x, torch.ones(1))
    with pytest.raises(TypeError, match="from_torch: example: expected a tensor or array"):
        gradcam.from_torch(network(torch), "picture")


def test_without_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match="from_torch: torch is needed for this and is not installed: pip install torch"):
        gradcam.from_torch(object(), 0)
