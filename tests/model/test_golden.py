"""Three small networks against the papers' formulas in float64 and the numbers of the peer libraries."""

from __future__ import annotations

import numpy as np
import pytest

import gradcam
from gradcam.targets import ClassScore, Probability, ReST

METHODS = {"gradcam": "gradcam", "gradcampp": "gradcam++", "xgradcam": "xgradcam", "hirescam": "hirescam", "layercam": "layercam"}

TARGETS = {"logit": ClassScore, "softmax": Probability, "rest": ReST}

FLOAT64 = {"vgg": 1e-9, "res": 1e-9, "mob": 2e-6}
"""Bounds of float64 runs; the exporter of net_mob folded its batch normalisation in float32."""

pytestmark = pytest.mark.filterwarnings("ignore::gradcam.BlankMapWarning")


@pytest.fixture(scope="module", params=["vgg", "res", "mob"])
def network(request, shared):
    path = shared / "golden" / f"net_{request.param}.onnx"
    with np.load(path.with_suffix(".npz")) as file:
        golden = {key: file[key] for key in file.files}
    golden["float64"] = FLOAT64[request.param]
    return gradcam.load(path), golden


def close(got, want, tolerance):
    """Relative to the peak."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * np.abs(want).max())


def classes(golden):
    return [int(c) for c in golden["class"]]


def test_logits_and_input_gradient(network):
    model, golden = network
    x = golden["input"]
    close(model(x), golden["paper/logits"], 1e-5)
    close(model(x.astype(np.float64)), golden["paper/logits"], golden["float64"])
    for dtype, bound in ((np.float32, 2e-5), (np.float64, golden["float64"])):
        _, g = model.activations_and_gradients(x.astype(dtype), layer=model.inputs[0].name, target=classes(golden))
        close(g, golden["paper/input_gradient"], bound)


@pytest.mark.parametrize("layer", ["mid", "last"])
def test_activations_and_gradients(network, layer):
    model, golden = network
    a, g = model.activations_and_gradients(golden["input"], layer=str(golden[f"{layer}/tensor"]), target=classes(golden))
    close(a, golden[f"{layer}/A"], 1e-5)
    close(g, golden[f"{layer}/g"], 2e-5)


@pytest.mark.parametrize("layer", ["mid", "last"])
@pytest.mark.parametrize("method", METHODS)
def test_papers(network, layer, method):
    model, golden = network
    options = {"target": classes(golden), "layer": str(golden[f"{layer}/tensor"]), "method": METHODS[method]}
    want = golden[f"paper/{layer}/{method}/raw"]
    close(model.explain(golden["input"], **options).raw, want, 1e-3 if method == "gradcampp" else 2e-5)
    close(model.explain(golden["input"].astype(np.float64), **options).raw, want, golden["float64"])
    if method == "gradcam":
        close(model.explain(golden["input"], **options).map, golden[f"paper/{layer}/gradcam/final"], 5e-5)


@pytest.mark.parametrize("layer", ["mid", "last"])
@pytest.mark.parametrize("method", METHODS)
def test_pytorch_grad_cam(network, layer, method):
    model, golden = network
    why = model.explain(
        golden["input"],
        target=classes(golden),
        layer=str(golden[f"{layer}/tensor"]),
        method=METHODS[method],
        compat="pytorch-grad-cam",
    )
    close(why.map, golden[f"pgc/{layer}/{method}/final"], 5e-5)


@pytest.mark.parametrize("target", TARGETS)
def test_targets_of_pytorch_grad_cam(network, target):
    model, golden = network
    targets = [TARGETS[target](c) for c in classes(golden)]
    why = model.explain(golden["input"], target=targets, layer=str(golden["last/tensor"]), compat="pytorch-grad-cam")
    close(why.map, golden[f"pgc/last/gradcam_{target}/final"], 5e-5)


@pytest.mark.parametrize("layer", ["mid", "last"])
@pytest.mark.parametrize("method", ["gradcam", "gradcampp", "xgradcam", "layercam"])
def test_torchcam(network, layer, method):
    model, golden = network
    why = model.explain(
        golden["input"], target=classes(golden), layer=str(golden[f"{layer}/tensor"]), method=METHODS[method], compat="torchcam"
    )
    close(np.maximum(why.raw, 0), golden[f"tc/{layer}/{method}/raw"], 2e-5)
    close(why.map, golden[f"tc/{layer}/{method}/final"], 5e-5)


@pytest.mark.parametrize("layer", ["mid", "last"])
@pytest.mark.parametrize(("method", "key"), [("gradcam", "gradcam_relu0"), ("hirescam", "gradient_x_activation_sum")])
def test_captum(network, layer, method, key):
    model, golden = network
    why = model.explain(golden["input"], target=classes(golden), layer=str(golden[f"{layer}/tensor"]), method=method, compat="captum")
    want = golden[f"captum/{layer}/{key}"]
    close(why.raw, want.reshape(why.raw.shape), 2e-5)


def test_threads_and_batches_change_no_bit(network):
    model, golden = network
    x, target = golden["input"], classes(golden)
    layer = str(golden["mid/tensor"])
    whole = model.explain(x, target=target, layer=layer, num_threads=1)
    for threads in (2, 3, 4):
        assert model.explain(x, target=target, layer=layer, num_threads=threads).raw.tobytes() == whole.raw.tobytes()
    for i in range(len(x)):
        assert model.explain(x[i], target=target[i], layer=layer).raw.tobytes() == whole.raw[i].tobytes()
