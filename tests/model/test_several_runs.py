"""Methods of several runs or layers: noise, augmentation, aggregation, all biases, closest classes, the pooled head."""

from __future__ import annotations

import numpy as np
import pytest
from model.networks import Weights, conv, model_bytes, normal, resnet, two_inputs, vgg
from onnx import helper

import gradcam
from gradcam import targets
from gradcam.methods import METHODS
from gradcam.session import Session

RESNET, VGG = gradcam.load(resnet()), gradcam.load(vgg("N"))
X, V = normal((3, 3, 16, 16), dtype=np.float64), normal((3, 2, 8, 10), dtype=np.float64)

pytestmark = pytest.mark.filterwarnings("ignore::gradcam.BlankMapWarning")


def close(got, want, bound=1e-10):
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=0, atol=bound * np.abs(want).max())


# --- Smooth Grad-CAM++


@pytest.mark.parametrize("compat", ["paper", "torchcam"])
def test_noisy_gradients_reach_the_method(compat):
    noise = 0.3 * normal((4, *V.shape), 5, np.float64)
    runs = [VGG.activations_and_gradients(V + n, layer="relu2", target=2) for n in noise]
    clean, _ = VGG.activations_and_gradients(V, layer="relu2", target=2)
    why = VGG.explain(V, target=2, layer="relu2", method="smoothgradcam++", compat=compat, noise=noise)
    want = gradcam.cam(clean, method="smoothgradcam++", gradient_samples=np.stack([g for _, g in runs]), compat=compat, relu=False)
    if compat == "torchcam":  # its map multiplies the activations of the last noisy pass
        want = (why.weights[:, :, None, None] * runs[-1][0]).sum(1)
    close(why.raw, want)
    assert why.score.tolist() == VGG.explain(V, target=2, layer="relu2").score.tolist()


def test_noise_comes_from_the_generator():
    options = {"target": 1, "layer": "relu2", "method": "smoothgradcam++"}
    drawn = np.random.default_rng(3).standard_normal((5, *V.shape)) * 0.2
    want = VGG.explain(V, noise=drawn, **options)
    assert VGG.explain(V, samples=5, std=0.2, rng=3, **options).raw.tobytes() == want.raw.tobytes()
    assert VGG.explain(V, samples=5, std=0.2, rng=3, num_threads=2, batch_size=1, **options).raw.tobytes() == want.raw.tobytes()
    assert VGG.explain(V, rng=3, **options).raw.tobytes() != want.raw.tobytes()


@pytest.mark.parametrize(
    ("pictures", "batch_size", "most"), [(3, None, [15]), (3, 4, [4, 4, 4, 3]), (3, 1, [1] * 15), (1, None, [5]), (0, None, [])]
)
def test_noisy_copies_run_as_one_batch(pictures, batch_size, most, monkeypatch):
    x, options = V[:pictures], {"layer": "relu2", "method": "smoothgradcam++", "compat": "torchcam"}
    noise = 0.3 * normal((5, *x.shape), 5, np.float64)
    alone = [VGG.explain(x[i], target=i, noise=noise[:, i : i + 1], **options).raw for i in range(pictures)]
    runs, execute = [], Session.execute

    def counting(self, plan, bound, *arguments, **keywords):
        runs.append(bound.pictures)
        return execute(self, plan, bound, *arguments, **keywords)

    monkeypatch.setattr(Session, "execute", counting)
    why = VGG.explain(x, target=list(range(pictures)), noise=noise, batch_size=batch_size, **options)
    assert runs[: len(most)] == most
    assert len(runs) == len(most) + (pictures > 0) * -(-pictures // (batch_size or pictures or 1))
    assert [one.tobytes() for one in why.raw] == [one.tobytes() for one in alone]


def test_noisy_copies_keep_within_the_memory_allowed():
    """Activations and gradients of all 64 copies, as results and collected, would take more than is allowed."""
    content, x = resnet(size="S"), normal((1, 3, 64, 64))
    options = {"target": 1, "layer": "stage1", "method": "smoothgradcam++", "samples": 64, "rng": 0}
    tight = gradcam.load(content, max_bytes=7_000_000)
    assert 64 * 4 * 2 * 2 * 8 * 32 * 32 > 7_000_000
    assert tight.explain(x, **options).raw.tobytes() == gradcam.load(content).explain(x, **options).raw.tobytes()
    with pytest.raises(gradcam.MemoryBudgetError, match="max_bytes allows 200000"):
        gradcam.load(content, max_bytes=200_000).explain(x, **options)


def test_noisy_copies_of_a_model_that_mixes_pictures_run_one_by_one():
    w = Weights()
    nodes = [*conv(w, "x", "c", (2, 4)), helper.make_node("Relu", ["c"], ["r"])]
    nodes += [helper.make_node("ReduceMax", ["r"], ["m"], axes=[0], keepdims=1), helper.make_node("Sub", ["r", "m"], ["s"])]
    nodes += [helper.make_node("Mul", ["s", "r"], ["t"]), helper.make_node("Add", ["t", "r"], ["u"])]
    nodes += [helper.make_node("GlobalAveragePool", ["u"], ["p"]), helper.make_node("Flatten", ["p"], ["y"])]
    model = gradcam.load(model_bytes(nodes, {"x": ["N", 2, 6, 6]}, {"y": ["N", 4]}, w))
    x, noise = normal((1, 2, 6, 6)), 0.1 * normal((3, 1, 2, 6, 6), 1)
    samples = [model.activations_and_gradients(x + n, layer="r", target=1)[1] for n in noise]
    clean, _ = model.activations_and_gradients(x, layer="r", target=1)
    want = gradcam.cam(clean, method="smoothgradcam++", gradient_samples=np.stack(samples), relu=False)
    close(model.explain(x, target=1, layer="r", method="smoothgradcam++", noise=noise).raw, want, 1e-5)


def test_noise_does_not_change_the_class():
    best = VGG(V).argmax(1)
    why = VGG.explain(V, layer="relu2", method="smoothgradcam++", std=3.0, rng=0)
    assert [t.c for t in why.target] == best.tolist()
    given = VGG.explain(V, target=[int(c) for c in best], layer="relu2", method="smoothgradcam++", std=3.0, rng=0)
    assert why.raw.tobytes() == given.raw.tobytes()


def test_every_target_has_its_own_noisy_gradients():
    options = {"layer": "relu2", "method": "smoothgradcam++", "rng": 1}
    both = VGG.explain_many(V, [0, 3], **options)
    for why, target in zip(both, (0, 3), strict=True):
        assert why.raw.tobytes() == VGG.explain(V, target=target, **options).raw.tobytes()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"noise": np.ones((4, 2, 8, 10))}, ValueError, r"explain: noise: expected real numbers of shape \(samples, 3, 2, 8, 10\)"),
        ({"samples": 0}, ValueError, "explain: samples: expected a positive integer, got 0"),
        ({"std": -1.0}, ValueError, "explain: std: expected a number of at least 0"),
        ({"gradient_samples": np.ones((4, *V.shape))}, TypeError, "explain: gradient_samples: a model computes them itself"),
        ({"compat": "pytorch-grad-cam"}, ValueError, "mode 'pytorch-grad-cam' has no Smooth Grad-CAM"),
    ],
)
def test_noise_that_does_not_fit(options, error, message):
    with pytest.raises(error, match=message):
        VGG.explain(V, target=1, layer="relu2", method="smoothgradcam++", **options)


def test_noise_needs_one_input():
    model = gradcam.load(two_inputs())
    x = {"image": normal((1, 2, 6, 5)), "vector": normal((1, 3))}
    with pytest.raises(ValueError, match="explain: x: expected a model of one input for noise, got 2 inputs"):
        model.explain(x, target=1, method="smoothgradcam++")


# --- augmentation smoothing


@pytest.mark.parametrize("compat", ["paper", "pytorch-grad-cam", "torchcam"])
@pytest.mark.parametrize("method", ["gradcam", "eigencam"])
def test_augmentation_is_the_mean_of_six_explanations(compat, method):
    if compat == "torchcam" and method == "eigencam":
        pytest.skip("torchcam has no Eigen-CAM")
    options = {"target": 2, "layer": "relu2", "method": method, "compat": compat}
    passes = []
    for flip in (False, True):
        for factor in (0.9, 1.0, 1.1):
            why = VGG.explain((V[..., ::-1] if flip else V) * factor, **options)
            passes.append([m[..., ::-1] if flip else m for m in (why.raw, why.map)])
    why = VGG.explain(V, aug_smooth=True, **options)
    close(why.raw, np.mean([raw for raw, _ in passes], axis=0))
    if compat == "paper":
        summed = sum(gradcam.resize(np.where(raw < 0, 0, raw), V.shape[2:]) for raw, _ in passes)
        close(why.map, gradcam.normalize(summed))
    else:
        close(why.map, np.mean([finished for _, finished in passes], axis=0))
    close(why.score, VGG.explain(V, **options).score)
    single = VGG.explain(V[1], aug_smooth=True, **options)
    assert single.map.tobytes() == why.map[1].tobytes()
    assert why[1].map.tobytes() == why.map[1].tobytes()


def test_augmentation_keeps_the_class_of_the_picture_as_it_is():
    best = VGG(V).argmax(1)
    why = VGG.explain(V, layer="relu2", aug_smooth=True)
    assert [t.c for t in why.target] == best.tolist()


# --- several layers


@pytest.mark.parametrize("aggregate", [None, "mean", "max", "product"])
@pytest.mark.parametrize("compat", ["paper", "pytorch-grad-cam", "torchcam"])
@pytest.mark.parametrize("method", ["gradcam", "layercam"])
def test_layers_are_combined(aggregate, compat, method):
    layers = ["relu1", "relu2"]
    why = VGG.explain(V, target=2, layer=layers, method=method, compat=compat, aggregate=aggregate)
    single = [VGG.explain(V, target=2, layer=layer, method=method, compat=compat) for layer in layers]
    for raw, one in zip(why.raw, single, strict=True):
        close(raw, one.raw)
    size = None if compat == "torchcam" else V.shape[2:]
    want = gradcam.postprocess([one.raw for one in single], size, compat=compat, aggregate=aggregate, method=method)
    close(why.map, want)
    assert why.layer == "relu1, relu2"
    turned = VGG.explain(V, target=2, layer=layers[::-1], method=method, compat=compat, aggregate=aggregate)
    close(turned.map, why.map, 1e-12)
    alone = VGG.explain(V[1], target=2, layer=layers, method=method, compat=compat, aggregate=aggregate)
    assert why[1].map.tobytes() == alone.map.tobytes()
    if method == "gradcam":
        assert [w.shape for w in why.weights] == [(3, 6), (3, 8)]


def test_layers_of_different_size_and_their_file(tmp_path):
    why = RESNET.explain(X, target=1, layer=["stage1", "stage2"])
    assert [raw.shape for raw in why.raw] == [(3, 8, 8), (3, 4, 4)]
    assert why.map.shape == (3, 16, 16)
    assert why.flags["constant"].shape == (3,)
    assert "(3, 8, 8), (3, 4, 4)" in repr(why)
    why.save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as file:
        assert {"raw.0", "raw.1", "weights.0", "weights.1", "map"} <= set(file.files)
        np.testing.assert_array_equal(file["raw.1"], why.raw[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": []}, "explain: layer: expected one layer or a list of different ones"),
        ({"layer": ["relu1", "relu1"]}, "expected one layer or a list of different ones"),
        ({"layer": ["relu1", "relu3"]}, "no tensor, node or module is called 'relu3'"),
        ({"layer": ["relu1", "relu2"], "compat": "captum"}, "mode 'captum' explains one layer per call, got 2"),
        ({"layer": "relu1", "method": "fullgrad"}, "method 'fullgrad' takes all layers at once"),
    ],
)
def test_layers_that_cannot_be_combined(options, message):
    with pytest.raises(gradcam.LayerError, match=message):
        VGG.explain(V, target=1, **options)
    with pytest.raises(ValueError, match="postprocess: aggregate: expected mean, max or product"):
        VGG.explain(V, target=1, layer=["relu1", "relu2"], aggregate="sum").map  # noqa: B018


@pytest.mark.parametrize("base", ["gradcam", "layercam"])
def test_refine_cam_multiplies_finished_maps(base):
    why = VGG.explain(V, target=2, layer=["relu1", "relu2"], method="refinecam", base=base)
    maps = [VGG.explain(V, target=2, layer=layer, method=base).map for layer in ("relu1", "relu2")]
    close(why.map, gradcam.normalize(maps[0] * maps[1]))


# --- FullGrad


def scaled(term):
    low, high = (f(term, axis=(2, 3), keepdims=True) for f in (np.min, np.max))
    return ((term - low) / np.where(high > low, high - low, 1)).sum(1)


@pytest.mark.parametrize(("model", "x"), [(RESNET, X), (VGG, V)], ids=["resnet", "vgg"])
def test_full_gradient_sums_input_and_biases(model, x):
    graph = model._session.nominal.graph
    _, g = model.activations_and_gradients(x, layer=model.inputs[0].name, target=1)
    total = gradcam.resize(scaled(np.abs(x * g)), x.shape[2:])
    count = 0
    for node in graph.nodes:
        if node.op == "Conv":
            bias = node.inputs[2].data.astype(np.float64)
        elif node.op == "BatchNorm":
            gamma, beta, mean, var = (v.data.astype(np.float64) for v in node.inputs[1:])
            bias = beta - mean * gamma / np.sqrt(var + node.attrs["epsilon"])
        else:
            continue
        _, g = model.activations_and_gradients(x, layer=node.outputs[0].name, target=1)
        total = total + gradcam.resize(scaled(np.abs(bias[:, None, None] * g)), x.shape[2:])
        count += 1
    assert count == sum(node.op in ("Conv", "BatchNorm") for node in graph.nodes) > 1
    why = model.explain(x, target=1, method="fullgrad")
    close(why.raw, total, 1e-6)
    close(why.map, gradcam.normalize(total), 1e-6)
    assert why.layer == "all layers"
    assert why.weights is None
    assert model.explain(x[0], target=1, method="fullgrad").raw.tobytes() == why.raw[0].tobytes()


def test_full_gradient_is_refused_where_the_mode_has_none():
    for compat in ("torchcam", "captum"):
        with pytest.raises(ValueError, match=f"fullgrad: compat: mode '{compat}' has no FullGrad"):
            VGG.explain(V, target=1, method="fullgrad", compat=compat)
    with pytest.raises(TypeError, match="explain: eigen_smooth: no such option of method 'fullgrad'"):
        VGG.explain(V, target=1, method="fullgrad", eigen_smooth=True)


# --- Finer-CAM


@pytest.mark.parametrize("base", ["gradcam", "hirescam"])
def test_finer_cam_subtracts_the_closest_classes(base):
    y = VGG(V)
    options = {"layer": "relu2", "method": base, "relu": False}
    for target in (None, 3):
        chosen = y.argmax(1) if target is None else np.full(3, 3)
        why = VGG.explain(V, target=target, layer="relu2", method="finercam", base=base, comparisons=(1, 2), alpha=0.5)
        assert [t.c for t in why.target] == chosen.tolist()
        for i, c in enumerate(chosen):
            ranked = sorted((k for k in range(4) if k != c), key=lambda k: (abs(y[i, k] - y[i, c]), k))[:2]
            weights = np.zeros((1, 4))
            weights[0, c], weights[0, ranked] = 1, -0.25
            close(why.score[i], (weights * y[i]).sum(), 1e-12)
            # Both methods are linear in the gradient.
            close(why.raw[i], VGG.explain(V[i], target=targets.Weighted(weights), **options).raw)


def test_finer_cam_of_pytorch_grad_cam_differentiates_the_probabilities():
    y = VGG(V)
    why = VGG.explain(V, target=1, layer="relu2", method="finercam", compat="pytorch-grad-cam", comparisons=(1, 3))
    for i in range(3):
        p = np.exp(y[i] - y[i].max())
        p /= p.sum()
        order = sorted((k for k in range(4) if k != 1), key=lambda k: abs(y[i, k] - y[i, 1]))
        chosen = [order[0], order[2]]
        a, b = (p[chosen] * (y[i, 1] - y[i, chosen])).sum(), p[chosen].sum() + 1e-9
        close(why.score[i], a / b, 1e-12)
        gradient = np.zeros(4)  # of the quotient with respect to the logits
        for k in range(4):
            dp = np.array([p[j] * ((j == k) - p[k]) for j in chosen])
            dy = np.array([(k == 1) - (k == j) for j in chosen])
            da = (dp * (y[i, 1] - y[i, chosen]) + p[chosen] * dy).sum()
            gradient[k] = (da * b - a * dp.sum()) / b**2
        want = VGG.explain(V[i], target=targets.Weighted(gradient[None]), layer="relu2").raw
        close(why.raw[i], want)


def test_finer_cam_refuses():
    with pytest.raises(gradcam.TargetError, match="finercam: target: expected a class, got Contrast"):
        VGG.explain(V, target=targets.Contrast(0, 1), layer="relu2", method="finercam")
    with pytest.raises(gradcam.TargetError, match="finercam: comparisons: expected ranks below the number of classes"):
        VGG.explain(V, target=1, layer="relu2", method="finercam", comparisons=(4,))
    for ranks in ((), (0,), 1, (1.5,)):
        with pytest.raises(ValueError, match="finercam: comparisons: expected ranks from 1 on"):
            VGG.explain(V, target=1, layer="relu2", method="finercam", comparisons=ranks)
    with pytest.raises(ValueError, match="finercam: compat: mode 'captum' has no Finer-CAM"):
        VGG.explain(V, target=1, layer="relu2", method="finercam", compat="captum")


# --- CAM


def test_cam_takes_the_weights_of_the_pooled_head():
    weight = next(n for n in RESNET._session.nominal.graph.nodes if n.op == "MatMul").inputs[1].data.astype(np.float64)
    weight = weight if weight.shape == (5, 12) else weight.T
    a, _ = RESNET.activations_and_gradients(X, layer="stage2", target=3)
    for compat in ("paper", "torchcam"):
        why = RESNET.explain(X, target=3, layer="stage2", method="cam", compat=compat)
        close(why.weights, np.broadcast_to(weight[3], (3, 12)))
        close(why.raw, np.einsum("k,nk...->n...", weight[3], a))
    bias = RESNET.explain(np.zeros_like(X[:1]), target=3, layer="stage2", method="cam")
    close(bias.raw.mean((1, 2)) - bias.score, why.raw.mean((1, 2))[:1] - why.score[:1], 1e-9)  # the mean of the map is S - b
    given = RESNET.explain(X, target=3, layer="stage2", method="cam", weights=weight[3])
    close(given.raw, why.raw)


@pytest.mark.parametrize(
    ("model", "x", "layer", "target", "message"),
    [
        (RESNET, X, "stage1", 1, "cam: layer: 'stage1' is read by Conv, expected the mean over all positions"),
        (VGG, V, "relu2", 1, "cam: layer: 'relu2' is read by MaxPool, expected the mean over all positions"),
    ],
)
def test_cam_refuses_other_heads(model, x, layer, target, message):
    with pytest.raises(ValueError, match=message):
        model.explain(x, target=target, layer=layer, method="cam")


def test_cam_refuses_a_nonlinear_head():
    w = Weights()
    nodes = conv(w, "x", "a", (2, 4))
    nodes.append(helper.make_node("GlobalAveragePool", ["a"], ["gap"]))
    nodes.append(helper.make_node("Relu", ["gap"], ["active"]))
    nodes.append(helper.make_node("Flatten", ["active"], ["y"]))
    model = gradcam.load(model_bytes(nodes, {"x": ["N", 2, 5, 5]}, {"y": ["N", 4]}, w))
    with pytest.raises(ValueError, match="cam: layer: expected linear layers after the pooling of 'a', got Relu"):
        model.explain(normal((1, 2, 5, 5)), target=1, layer="a", method="cam")


# --- all of them


@pytest.mark.parametrize("method", [m.name for m in gradcam.list_methods()])
def test_every_method_explains_a_model(method):
    options = {"rng": 0} if method in ("randomcam", "smoothgradcam++") else {}
    layer = None if METHODS[method].layerless else "stage2" if method == "cam" else "stage1"
    x = X.astype(np.float32)
    why = RESNET.explain(x, target=1, layer=layer, method=method, **options)
    assert why.raw.dtype == np.float32
    assert why.map.shape == (3, 16, 16)
    assert why.map.min() >= 0
    assert why.map.max() <= 1
    for threads in (2, 3):
        again = RESNET.explain(x, target=1, layer=layer, method=method, num_threads=threads, **options)
        assert again.raw.tobytes() == why.raw.tobytes()
    if method not in ("randomcam", "smoothgradcam++"):
        split = RESNET.explain(x, target=1, layer=layer, method=method, batch_size=1, **options)
        assert split.raw.tobytes() == why.raw.tobytes()
    empty = RESNET.explain(x[:0], target=1, layer=layer, method=method, **options)
    assert empty.map.shape == (0, 16, 16)
