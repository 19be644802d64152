"""Guided backpropagation, the deconvnet and Guided Grad-CAM against plain loops, the peers' numbers and PyTorch."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from model.networks import conv_net, model_bytes, normal, resnet, vgg, vit
from onnx import helper
from reference.guided import network_gradient

import gradcam
from gradcam.cli import main
from gradcam.errors import LayerError

pytestmark = pytest.mark.filterwarnings("ignore::gradcam.BlankMapWarning")

RULES = ("guidedbackprop", "deconvnet")
HIGH = 1.5

W1, B1 = normal((5, 2, 3, 3), 1, np.float64) * 0.4, normal((5,), 2, np.float64) * 0.2
W2, B2 = normal((4, 5, 2, 2), 3, np.float64) * 0.5, normal((4,), 4, np.float64) * 0.2
FC = normal((3, 4 * 3 * 2), 5, np.float64)
X = normal((3, 2, 7, 5), 6, np.float64)


def network(last="relu"):
    """Convolution, ReLU, convolution with stride 2, a ReLU or a Clip, linear layer."""
    net = gradcam.GraphBuilder()
    x = net.input("x", (None, 2, 7, 5))
    z = net.conv(net.relu(net.conv(x, W1, B1, padding=1), name="first"), W2, B2, stride=2)
    a = {"relu": lambda: net.relu(z), "clip": lambda: net.clip(z, 0, HIGH), "shifted": lambda: net.clip(z, -0.1, HIGH)}[last]()
    net.output("y", net.linear(net.flatten(a), FC))
    return net.model()


def expected(x, target, rules, high=np.inf):
    return np.concatenate([network_gradient(one[None], W1, B1, W2, B2, high, FC, target, rules) for one in x])


def close(got, want, tolerance=1e-12):
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * np.abs(want).max())


@pytest.mark.parametrize("method", RULES)
@pytest.mark.parametrize("target", [0, 2])
def test_attributions_equal_plain_loops(method, target):
    found = network().explain(X, target=target, method=method)
    close(found.attributions, expected(X, target, (method, method)))
    assert (found.attributions < 0).any()  # signed
    close(found.raw, found.attributions.sum(axis=1))
    assert found.weights is None
    assert found.layer == "all layers"
    single = network().explain(X.astype(np.float32), target=target, method=method)
    assert single.attributions.dtype == single.raw.dtype == np.float32
    close(single.attributions, found.attributions, 1e-5)


@pytest.mark.parametrize("method", RULES)
def test_clip_counts_as_a_relu_on_request_and_with_minimum_0(method):
    clipped = network("clip")
    close(clipped.explain(X, target=1, method=method).attributions, expected(X, 1, (method, "gradient"), HIGH))
    close(clipped.explain(X, target=1, method=method, clip=True).attributions, expected(X, 1, (method, method), HIGH))
    shifted = network("shifted")
    same = [shifted.explain(X, target=1, method=method, clip=clip).attributions for clip in (False, True)]
    np.testing.assert_array_equal(*same)


def test_both_rules_differ_from_the_gradient_and_from_each_other():
    model = network()
    plain = model.activations_and_gradients(X, layer="x", target=0)[1]
    close(plain, expected(X, 0, ("gradient", "gradient")))
    guided, deconv = (model.explain(X, target=0, method=method).attributions for method in RULES)
    for a, b in ((plain, guided), (plain, deconv), (guided, deconv)):
        assert np.abs(a - b).max() > 0.1 * np.abs(a).max()


@pytest.mark.parametrize(("compat", "grid"), [("paper", "linear"), ("captum", "nearest")])
def test_guided_grad_cam_is_the_product(compat, grid):
    model = network()
    found = model.explain(X, target=1, method="guidedgradcam", layer="first", compat=compat)
    cam = model.explain(X, target=1, layer="first")
    guided = model.explain(X, target=1, method="guidedbackprop").attributions
    close(found.attributions, guided * gradcam.resize(np.maximum(cam.raw, 0), (7, 5), grid)[:, None])
    close(found.raw, found.attributions.sum(axis=1))
    assert found.map.shape == (3, 7, 5)
    np.testing.assert_array_equal(found.weights, cam.weights)


def test_the_layer_of_guided_grad_cam_is_resized_and_none_is_the_default():
    model = gradcam.load(resnet())
    x = normal((2, 3, 16, 16), 3)
    found = model.explain(x, target=[1, 3], method="guidedgradcam")
    cam = model.explain(x, target=[1, 3])
    assert found.layer == cam.layer
    guided = model.explain(x, target=[1, 3], method="guidedbackprop").attributions
    close(found.attributions, guided * gradcam.resize(np.maximum(cam.raw, 0), 16 * np.ones(2, int))[:, None], 1e-6)


def test_one_picture_a_batch_and_parts_of_it():
    model = gradcam.load(resnet())
    x = normal((3, 3, 16, 16), 4)
    for method in (*RULES, "guidedgradcam"):
        batch = model.explain(x, target=[0, 1, 2], method=method)
        assert batch.attributions.shape == (3, 3, 16, 16)
        for i in range(3):
            one = model.explain(x[i], target=i, method=method)
            assert one.attributions.shape == (3, 16, 16)
            np.testing.assert_array_equal(one.attributions, batch.attributions[i])
            np.testing.assert_array_equal(batch[i].attributions, batch.attributions[i])
            np.testing.assert_array_equal(one.map, batch.map[i])
        parts = model.explain(x, target=[0, 1, 2], method=method, batch_size=2)
        np.testing.assert_array_equal(parts.attributions, batch.attributions)
        assert model.explain(x[:0], target=0, method=method).attributions.shape == (0, 3, 16, 16)
    assert model.explain(x, target=0).attributions is None


def test_many_targets_at_once():
    model, x = gradcam.load(resnet()), normal((2, 3, 16, 16), 5)
    for method in (*RULES, "guidedgradcam"):
        for target, found in zip((0, 2), model.explain_many(x, [0, 2], method=method), strict=True):
            np.testing.assert_array_equal(found.attributions, model.explain(x, target=target, method=method).attributions)


def test_signals_volumes_and_tokens():
    for space in (1, 3):
        model = gradcam.load(conv_net(space))
        shape = tuple(model.inputs[0].shape[2:])
        x = normal((2, 2, *shape), 6)
        for method in (*RULES, "guidedgradcam"):
            layer = {"layer": "relu"} if method == "guidedgradcam" else {}
            found = model.explain(x, target=0, method=method, **layer)
            assert found.attributions.shape == x.shape
            assert found.map.shape == (2, *shape)
    with pytest.warns(UserWarning, match="explain: method: the model has no Relu: 'guidedgradcam' is made of the plain gradient"):
        found = gradcam.load(vit()).explain(normal((1, 2, 8, 12)), target=0, method="guidedgradcam")
    assert found.attributions.shape == (1, 2, 8, 12)


def test_channels_last_inputs_give_channels_first_attributions():
    weights = {"w": normal((4, 3, 3, 3), 1), "fc": normal((2, 4), 2)}
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "fc"], ["y"], transB=1),
    ]
    last = gradcam.load(model_bytes(nodes, {"x": ["N", 5, 6, 3]}, {"y": ["N", 2]}, weights))
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]), *nodes[2:]]
    first = gradcam.load(model_bytes(nodes, {"x": ["N", 3, 5, 6]}, {"y": ["N", 2]}, weights))
    x = normal((2, 5, 6, 3), 7)
    for method in (*RULES, "guidedgradcam"):
        found, want = last.explain(x, target=1, method=method), first.explain(np.moveaxis(x, 3, 1).copy(), target=1, method=method)
        close(found.attributions, want.attributions, 1e-6)
        close(found.map, want.map, 1e-5)


def test_a_network_without_relu_warns_and_gives_the_gradient():
    net = gradcam.GraphBuilder()
    x = net.input("x", (None, 2, 7, 5))
    net.output("y", net.linear(net.flatten(net.tanh(net.conv(x, W1[:4], B1[:4], padding=1))), normal((3, 140), 8, np.float64)))
    model = net.model()
    with pytest.warns(UserWarning, match="explain: method: the model has no Relu: 'deconvnet' is made of the plain gradient"):
        found = model.explain(X, target=0, method="deconvnet")
    close(found.attributions, model.activations_and_gradients(X, layer="x", target=0)[1])
    with pytest.warns(UserWarning, match="has no Relu or Clip with minimum 0"):
        model.explain(X, target=0, method="deconvnet", clip=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network("clip").explain(X, target=1, method="guidedbackprop", clip=True)


def test_nan_stays_visible():
    x = X.astype(np.float32).copy()
    x[0, 0, 0, 0] = np.nan
    with pytest.warns(gradcam.NonFiniteWarning):
        found = network().explain(x, target=0, method="guidedgradcam", layer="first")
    assert np.isnan(found.attributions[0]).any()
    assert np.isfinite(found.attributions[1:]).all()


def test_saved_arrays_hold_the_attributions(tmp_path):
    found = network().explain(X, target=0, method="guidedbackprop")
    found.save(tmp_path / "guided.npz")
    with np.load(tmp_path / "guided.npz") as file:
        np.testing.assert_array_equal(file["attributions"], found.attributions)


@pytest.mark.parametrize("method", [*RULES, "guidedgradcam"])
def test_on_the_command_line(method, tmp_path, capsys):
    (tmp_path / "net.onnx").write_bytes(resnet())
    np.save(tmp_path / "x.npy", normal((1, 3, 16, 16), 9))
    status = main(
        ["explain", str(tmp_path / "net.onnx"), str(tmp_path / "x.npy"), "--method", method, "-o", str(tmp_path), "--target", "1"]
    )
    assert status == 0, capsys.readouterr().err
    assert len(list(tmp_path.glob("*.png"))) == 1


def test_bad_input():
    model = network()
    with pytest.raises(LayerError, match="method 'guidedbackprop' explains the input, without a layer"):
        model.explain(X, method="guidedbackprop", layer="first")
    with pytest.raises(LayerError, match="explain: layer: method 'guidedgradcam' explains one layer per call, got 2"):
        gradcam.load(vgg()).explain(normal((1, 2, 8, 10)), method="guidedgradcam", layer=["relu1", "relu2"])
    with pytest.raises(TypeError, match="guidedbackprop: clip: expected True or False, got 'yes'"):
        model.explain(X, method="guidedbackprop", clip="yes")
    with pytest.raises(TypeError, match="explain: samples: no such option of method 'deconvnet', which has clip"):
        model.explain(X, method="deconvnet", samples=3)
    for method in (*RULES, "guidedgradcam"):
        with pytest.raises(ValueError, match=f"cam: method: '{method}' needs a whole model"):
            gradcam.cam(X, X, method=method)


# Peers ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vgg", "res", "mob"])
def test_peers_numbers(name, shared):
    path = shared / "golden" / f"net_{name}.onnx"
    model = gradcam.load(path)
    with np.load(path.with_suffix(".npz")) as golden:
        x, classes, mid = golden["input"], golden["class"].tolist(), str(golden["mid/tensor"])
        for method, key in (("guidedbackprop", "guided_backprop"), ("deconvnet", "deconvolution")):
            close(model.explain(x, target=classes, method=method).attributions, golden[f"captum/{key}"], 1e-5)
        for compat, grid in (("paper", "bilinear"), ("captum", "nearest")):
            found = model.explain(x, target=classes, method="guidedgradcam", layer=mid, compat=compat)
            close(found.attributions, golden[f"captum/mid/guided_gradcam_{grid}"], 1e-5)
        first = model.explain(x[0], target=classes[0], method="guidedbackprop").attributions
        close(np.moveaxis(first, 0, -1), golden["pgc/guided_backprop_image0"], 1e-5)


@pytest.mark.torch
@pytest.mark.parametrize("method", RULES)
@pytest.mark.parametrize("clip", [False, True])
def test_torch_with_other_backward_rules(torch, method, clip):
    class Rule(torch.autograd.Function):
        @staticmethod
        def forward(context, z, high):
            context.save_for_backward(z)
            context.high = high
            return z.clamp(0, high)

        @staticmethod
        def backward(context, g):
            (z,) = context.saved_tensors
            is_open = (z > 0) & (z < context.high)
            return g.clamp(min=0) * (is_open if method == "guidedbackprop" else 1), None

    w1, b1, w2, b2, fc = (torch.from_numpy(a) for a in (W1, B1, W2, B2, FC))
    x = torch.from_numpy(X).requires_grad_()
    z = torch.nn.functional.conv2d(Rule.apply(torch.nn.functional.conv2d(x, w1, b1, padding=1), float("inf")), w2, b2, stride=2)
    a = Rule.apply(z, HIGH) if clip else z.clamp(0, HIGH)
    (a.flatten(1) @ fc.T)[:, 2].sum().backward()
    close(network("clip").explain(X, target=2, method=method, clip=clip).attributions, x.grad.numpy())


@pytest.mark.torch
def test_captum(torch):
    attr = pytest.importorskip("captum.attr")
    nn = torch.nn
    module = nn.Sequential(
        nn.Conv2d(2, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, 4, 2, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3, bias=False)
    ).double()
    for parameter, array in zip(module.parameters(), (W1, B1, W2, B2, FC), strict=True):
        parameter.data = torch.from_numpy(array)
    x, model = torch.from_numpy(X), network()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of captum: it sets hooks
        found = {
            "guidedbackprop": attr.GuidedBackprop(module).attribute(x, target=1),
            "deconvnet": attr.Deconvolution(module).attribute(x, target=1),
            "guidedgradcam": attr.GuidedGradCam(module, module[1]).attribute(x, target=1),
        }
    for method, want in found.items():
        layer = {"layer": "first", "compat": "captum"} if method == "guidedgradcam" else {}
        close(model.explain(X, target=1, method=method, **layer).attributions, want.detach().numpy())
