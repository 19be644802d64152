"""Targets that go through a softmax or sigmoid: values, gradients, heads, peers, segmentation, saturation."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
from model.networks import Weights, conv, model_bytes, normal, resnet, two_outputs
from onnx import helper

import gradcam
from gradcam import targets

LABELS = ["tabby cat", "tiger cat", "Persian", "golden retriever", "labrador retriever"]
MODEL = gradcam.load(resnet(), labels=LABELS)
X = normal((3, 3, 16, 16))


def gradient(target, model=MODEL, x=X, layer="stage1"):
    return model.activations_and_gradients(x, layer=layer, target=target)[1]


def softmax(y, axis=1):
    e = np.exp(np.float64(y) - np.max(y, axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


PROBABILISTIC = {
    targets.Probability: lambda y, p: p,
    targets.LogProbability: lambda y, p: np.log(p),
    targets.ReST: lambda y, p: y + np.log(p),
}


@pytest.mark.parametrize("head", [None, "Softmax", "LogSoftmax", "Sigmoid"])
@pytest.mark.parametrize("target", PROBABILISTIC)
def test_scores_of_probabilities(head, target):
    model = gradcam.load(resnet(head=head), labels=LABELS)
    x = X.astype(np.float64)
    y = MODEL(x)
    p = 1 / (1 + np.exp(-y)) if head == "Sigmoid" else softmax(y)
    for c in (1, "Persian"):
        why = model.explain(x, target=target(c), relu=False)
        index = LABELS.index(c) if isinstance(c, str) else c
        assert why.target == (target(index),) * 3
        np.testing.assert_allclose(why.score, PROBABILISTIC[target](y, p)[:, index], rtol=1e-12)
        assert why.logit == (head is not None and target is targets.ReST)


@pytest.mark.parametrize("head", [None, "Softmax", "LogSoftmax", "Sigmoid"])
@pytest.mark.parametrize("target", PROBABILISTIC)
def test_gradients_of_probabilities_are_central_differences(head, target):
    model = gradcam.load(resnet(head=head))
    x, direction, step = X[:1].astype(np.float64), normal(X[:1].shape, 8, np.float64), 1e-6
    c = int(np.abs(MODEL(x)[0]).argmin())  # not saturated
    g = gradient(target(c), model, x, "x")
    high, low = (model.explain(x + sign * step * direction, target=target(c), relu=False).score[0] for sign in (1, -1))
    np.testing.assert_allclose(np.vdot(g, direction), (high - low) / (2 * step), rtol=1e-6, atol=1e-10)


def test_gradient_of_the_softmax():
    x = X.astype(np.float64)
    p = softmax(MODEL(x))[..., None, None, None]
    g = np.stack([gradient(c, x=x) for c in range(5)], 1)
    mean = (p * g).sum(1)
    for c in range(5):
        by_logits = {
            targets.Probability: p[:, c] * (g[:, c] - mean),
            targets.LogProbability: g[:, c] - mean,
            targets.ReST: 2 * g[:, c] - mean,
        }
        for target, expected in by_logits.items():
            np.testing.assert_allclose(gradient(target(c), x=x), expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize(("classes", "head"), [(5, None), (5, "Softmax"), (2, None), (2, "Softmax"), (2, "LogSoftmax")])
def test_maps_of_all_probabilities_sum_to_zero(classes, head):
    model = gradcam.load(resnet(classes=classes, head=head))
    maps = [why.raw for why in model.explain_many(X.astype(np.float64), [targets.Probability(c) for c in range(classes)], relu=False)]
    logits = [why.raw for why in gradcam.load(resnet(classes=classes)).explain_many(X.astype(np.float64), range(classes), relu=False)]
    scale = np.abs(logits).max()
    np.testing.assert_allclose(np.sum(maps, 0), 0, atol=1e-15 * scale)
    assert np.abs(maps).max() > 1e-7 * scale
    assert np.abs(np.sum(logits, 0)).max() > 0.1 * scale  # not so for logits


def test_probability_of_an_output_that_is_one_is_the_output():
    model = gradcam.load(resnet(head="Softmax"))
    assert model.explain(X, target=targets.Probability(2), relu=False).score.tobytes() == model(X)[:, 2].tobytes()
    literal = gradient(targets.Weighted(np.eye(5)[2:3]), model)
    np.testing.assert_allclose(gradient(targets.Probability(2), model), literal, rtol=1e-6, atol=1e-6 * np.abs(literal).max())


@pytest.mark.parametrize("compat", ["pytorch-grad-cam", "torchcam", "captum"])
@pytest.mark.parametrize("head", [None, "Softmax", "LogSoftmax", "Sigmoid"])
@pytest.mark.parametrize("target", PROBABILISTIC)
def test_peers_take_any_output_for_logits(compat, head, target):
    model = gradcam.load(resnet(head=head))
    y = model(X)
    why = model.explain(X, target=target(1), compat=compat, relu=False)
    np.testing.assert_allclose(why.score, PROBABILISTIC[target](y, softmax(y))[:, 1], rtol=2e-5)
    assert not why.logit


def test_logarithm_stays_finite_where_the_probability_is_zero():
    for head in (None, "Softmax", "Sigmoid"):
        model, x = gradcam.load(resnet(head=head)), 300 * X
        y = np.float64(MODEL(x))
        worst = int(y[0].argmin())
        with pytest.warns(gradcam.BlankMapWarning, match="softmax is saturated|gradient is 0 everywhere"):
            assert model.explain(x, target=targets.Probability(worst), relu=False).score[0] == 0
        found = model.explain(x, target=targets.LogProbability(worst), relu=False)
        np.testing.assert_allclose(found.score[0], y[0, worst] if head == "Sigmoid" else y[0, worst] - y[0].max(), rtol=1e-5)
        assert np.abs(found.raw[0]).max() > 0


def single_value(head):
    w = Weights()
    nodes = conv(w, "x", "c", (2, 3))
    nodes += [helper.make_node("GlobalAveragePool", ["c"], ["gap"]), helper.make_node("Flatten", ["gap"], ["f"])]
    w.add("w", 3, 1)
    nodes.append(helper.make_node("MatMul", ["f", "w"], ["y" if head is None else "logit"]))
    if head is not None:
        nodes.append(helper.make_node(head, ["logit"], ["y"]))
    return gradcam.load(model_bytes(nodes, {"x": ["N", 2, 5, 5]}, {"y": ["N", 1]}, w))


@pytest.mark.parametrize("head", [None, "Sigmoid"])
@pytest.mark.parametrize("target", PROBABILISTIC)
def test_single_value_is_the_logit_of_a_sigmoid(head, target):
    x = normal((2, 2, 5, 5), dtype=np.float64)
    y = single_value(None)(x)
    why = single_value(head).explain(x, target=target(0), relu=False)
    np.testing.assert_allclose(why.score, PROBABILISTIC[target](y, 1 / (1 + np.exp(-y)))[:, 0], rtol=1e-12)


def segmenter_with(head, axis):
    w = Weights()
    nodes = [*conv(w, "x", "c", (2, 4)), helper.make_node("Relu", ["c"], ["r"]), *conv(w, "r", "logits", (4, 3), kernel=1)]
    nodes.append(helper.make_node(head, ["logits"], ["y"], axis=axis))
    return gradcam.load(model_bytes(nodes, {"x": ["N", 2, 6, 7]}, {"y": ["N", 3, 6, 7], "logits": ["N", 3, 6, 7]}, w))


@pytest.mark.parametrize("target", PROBABILISTIC)
def test_segmentation_sums_probabilities_over_the_map(target):
    x = normal((2, 2, 6, 7), dtype=np.float64)
    model = segmenter_with("Softmax", 1)
    y = model(x)["logits"]
    expected = PROBABILISTIC[target](y, softmax(y))[:, 2].sum((1, 2))
    for output in ("y", "logits"):
        np.testing.assert_allclose(model.explain(x, target=target(2, output=output), layer="r", relu=False).score, expected, rtol=1e-12)


@pytest.mark.parametrize("head", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("target", PROBABILISTIC)
def test_a_head_keeps_its_own_axis(head, target):
    x = normal((2, 2, 6, 7), dtype=np.float64)
    model = segmenter_with(head, 3)
    y = model(x)["logits"]
    expected = PROBABILISTIC[target](y, softmax(y, 3))[:, 2].sum((1, 2))
    # The probabilities of a row sum to 1, whatever the network says: their gradient is 0 to the last bit.
    constant = head == "Softmax" and target is targets.Probability
    with pytest.warns(gradcam.BlankMapWarning) if constant else nullcontext():
        found = model.explain(x, target=target(2), layer="r", relu=False)
    np.testing.assert_allclose(found.score, expected, rtol=1e-12)


def test_probabilities_of_another_output_and_one_per_picture():
    model, x = gradcam.load(two_outputs()), normal((2, 2, 6, 5), dtype=np.float64)
    p = {name: softmax(y) for name, y in model(x).items()}
    found = model.explain(x, target=[targets.Probability(1, output="b"), targets.Probability(2)], relu=False)
    np.testing.assert_allclose(found.score, [p["b"][0, 1], p["a"][1, 2]], rtol=1e-12)


def test_one_plan_serves_all_classes_of_a_target():
    kinds = [targets.ClassScore, targets.Probability, targets.LogProbability, targets.ReST]
    assert [kind(0).structure() == kind(4).structure() for kind in kinds] == [True] * 4
    assert len({kind(1).structure() for kind in kinds}) == 4
    assert len({kind(1) for kind in kinds}) == 4


@pytest.mark.parametrize(
    ("target", "logit"), [(2, True), (targets.ReST(2), True), (targets.Probability(2), False), (targets.Weighted(np.eye(5)[:1]), False)]
)
def test_negative_reads_what_its_target_reads(target, logit):
    model = gradcam.load(resnet(head="Softmax"))
    for one in (target, targets.Negative(target)):
        assert model.explain(X, target=one, relu=False).logit == logit
