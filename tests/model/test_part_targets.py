"""Targets on parts of an output: values in plain NumPy, gradients against central differences, composition, bad input."""

from __future__ import annotations

import numpy as np
import pytest
from model.networks import Weights, conv, model_bytes, normal, resnet, two_outputs
from onnx import helper
from reference.softmax import softmax

import gradcam
from gradcam import targets

X = normal((2, 2, 5, 6), dtype=np.float64)
WORDS = ["a", "dog", "cat", "runs", "."]


def network(head=None):
    """Outputs of three ranks: a map (N, 3, 5, 6), sentences (N, 4, 5), one value (N, 1); `head` follows the first two."""
    w = Weights()
    nodes = [*conv(w, "x", "c", (2, 4)), helper.make_node("Tanh", ["c"], ["r"]), *conv(w, "r", "map.logits", (4, 3), kernel=1)]
    nodes += [helper.make_node("GlobalAveragePool", ["r"], ["gap"]), helper.make_node("Flatten", ["gap"], ["f"])]
    w["steps"] = np.array([0, 4, 5])
    nodes += [helper.make_node("MatMul", ["f", w.add("w1", 4, 20)], ["m"]), helper.make_node("Reshape", ["m", "steps"], ["words.logits"])]
    nodes.append(helper.make_node("MatMul", ["f", w.add("w2", 4, 1)], ["one.logits" if head else "one"]))
    if head:
        nodes.append(helper.make_node("Sigmoid", ["one.logits"], ["one"]))
    for name, axis in (("map", 1), ("words", 2)):
        nodes.append(helper.make_node(head or "Identity", [f"{name}.logits"], [name], **({"axis": axis} if head else {})))
    outputs = {"map": ["N", 3, 5, 6], "words": ["N", 4, 5], "one": ["N", 1], "map.logits": ["N", 3, 5, 6], "words.logits": ["N", 4, 5]}
    return gradcam.load(model_bytes(nodes, {"x": ["N", 2, 5, 6]}, outputs | ({"one.logits": ["N", 1]} if head else {}), w), labels=WORDS)


MODEL = network()
MASK = np.arange(30).reshape(5, 6) % 4 == 1
SOFT = normal((5, 6), 3, np.float64)
EMBEDDING = normal((4, 5), 4, np.float64)
IDS = (1, 0, 4, 2)


def words(y):
    logs = softmax(y["words.logits"], 2, log=True)
    return sum(logs[:, step, word] for step, word in enumerate(IDS))


def cosine(y):
    flat, e = y["words"].reshape(2, -1), EMBEDDING.ravel()
    return flat @ e / (np.linalg.norm(flat, axis=1) * np.linalg.norm(e))


CASES = {
    "region": (targets.Region(2, MASK), lambda y: y["map.logits"][:, 2][:, MASK].sum(1)),
    "weighted region": (targets.Region(-1, SOFT), lambda y: (y["map.logits"][:, 2] * SOFT).sum((1, 2))),
    "cell": (targets.Index((1, -1, 3), output="map"), lambda y: y["map"][:, 1, 4, 3]),
    "word at a step": (targets.Index((2, 4), output="words"), lambda y: y["words"][:, 2, 4]),
    "value": (targets.Index(0, output="one"), lambda y: y["one"][:, 0]),
    "similarity": (targets.Similarity(EMBEDDING, output="words"), cosine),
    "sentence": (targets.Tokens(IDS, output="words"), words),
    "yes": (targets.Binary(output="one"), lambda y: y.get("one.logits", y["one"])[:, 0]),
    "no": (targets.Binary(-1, output="one"), lambda y: -y.get("one.logits", y["one"])[:, 0]),
    "not there": (targets.Negative(targets.Region(0, MASK)), lambda y: -y["map.logits"][:, 0][:, MASK].sum(1)),
    "here, not there": (
        targets.Contrast(targets.Region(0, MASK), targets.Region(1, ~MASK)),
        lambda y: y["map.logits"][:, 0][:, MASK].sum(1) - y["map.logits"][:, 1][:, ~MASK].sum(1),
    ),
    "class against region": (
        targets.Contrast(2, targets.Region(1, MASK)),
        lambda y: y["map.logits"][:, 2].sum((1, 2)) - y["map.logits"][:, 1][:, MASK].sum(1),
    ),
    "sentence against word": (
        targets.Contrast(targets.Tokens(IDS, output="words"), targets.Index((0, 0), output="words")),
        lambda y: words(y) - y["words"][:, 0, 0],
    ),
}


@pytest.mark.parametrize("head", [None, "Softmax", "LogSoftmax"])
@pytest.mark.parametrize("case", CASES)
def test_scores(case, head):
    model = MODEL if head is None else network(head)
    target, expected = CASES[case]
    why = model.explain(X, target=target, layer="r", relu=False)
    np.testing.assert_allclose(why.score, expected(model(X)), rtol=1e-10, atol=1e-12)
    literal = isinstance(target, targets.Index | targets.Similarity)
    assert why.logit == (head is not None and not literal)


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_central_differences(case):
    model, (target, _) = network("Softmax"), CASES[case]
    direction, step = normal(X.shape, 8, np.float64), 1e-5
    _, g = model.activations_and_gradients(X, layer="x", target=target)
    high, low = (model.explain(X + sign * step * direction, target=target, layer="r", relu=False).score for sign in (1, -1))
    np.testing.assert_allclose((g * direction).sum((1, 2, 3)), (high - low) / (2 * step), rtol=2e-6, atol=1e-9)
    assert np.abs(g).max() > 1e-6


def test_gradient_of_a_region_stays_in_it():
    _, g = MODEL.activations_and_gradients(X, layer="map.logits", target=targets.Region(2, SOFT))
    np.testing.assert_array_equal(g[:, 2], np.broadcast_to(SOFT, (2, 5, 6)))
    assert not g[:, :2].any()


def test_gradient_of_a_similarity_does_not_point_along_the_output():
    y = MODEL(X)["words"]
    _, g = MODEL.activations_and_gradients(X, layer="words.logits", target=CASES["similarity"][0])
    s = cosine({"words": y})[:, None, None]
    length = np.linalg.norm(y.reshape(2, -1), axis=1)[:, None, None]
    np.testing.assert_allclose(g, (EMBEDDING / np.linalg.norm(EMBEDDING) - s * y / length) / length, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose((g * y).sum((1, 2)), 0, atol=1e-12)
    scaled = targets.Similarity(1e200 * EMBEDDING.ravel(), output="words")  # any length, also flat
    np.testing.assert_allclose(MODEL.explain(X, target=scaled, layer="r", relu=False).score, s.ravel(), rtol=1e-12)


def test_words_by_name_and_targets_one_per_picture():
    named = targets.Tokens(["dog", "a", ".", "cat"], output="words")
    mixed = [named, targets.Index((3, 3), output="words")]
    y = MODEL(X)
    why = MODEL.explain(X, target=mixed, layer="r", relu=False)
    np.testing.assert_allclose(why.score, [words(y)[0], y["words"][1, 3, 3]], rtol=1e-10)
    assert why.target[0].ids == IDS


def test_one_plan_serves_all_places():
    pairs = [
        (targets.Region(0, MASK), targets.Region(2, SOFT)),
        (targets.Index((0, 0, 0)), targets.Index((2, 4, -1))),
        (targets.Tokens(IDS, output="words"), targets.Tokens((0, 0, 0, 0), output="words")),
        (targets.Similarity(EMBEDDING), targets.Similarity(-EMBEDDING)),
        (targets.Contrast(0, targets.Region(1, MASK)), targets.Contrast(2, targets.Region(0, SOFT))),
    ]
    assert all(one.structure() == other.structure() for one, other in pairs)
    assert len({one.structure() for one, _ in pairs}) == len(pairs)
    assert targets.Binary(1).structure() != targets.Binary(-1).structure()


def test_weights_inside_a_combination_belong_to_their_picture():
    model, x = gradcam.load(two_outputs()), normal((2, 2, 6, 5), dtype=np.float64)
    blocks = normal((2, 3), 5, np.float64)
    expected = (model(x)["a"] * blocks).sum(1)
    negative = model.explain(x, target=targets.Negative(targets.Weighted(blocks)), relu=False)
    np.testing.assert_allclose(negative.score, -expected, rtol=1e-10)
    contrast = model.explain(x, target=targets.Contrast(1, targets.Weighted(blocks)), relu=False)
    np.testing.assert_allclose(contrast.score, model(x)["a"][:, 1] - expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (targets.Region(3, MASK), "target: class 3 does not exist: the output has 3 classes"),
        (targets.Region(0, MASK.T), r"target: Region: mask: expected the shape \(5, 6\) of the output's positions, got \(6, 5\)"),
        (targets.Region(0, MASK[None]), r"target: Region: mask: expected the shape \(5, 6\)"),
        (targets.Region(0, np.full((5, 6), np.nan)), "target: Region: mask: expected finite numbers, got NaN or infinity"),
        (targets.Region(0, MASK * 1j), "target: Region: mask: expected real numbers, got complex128"),
        (targets.Region(0, MASK, output="one"), r"target: Region: mask: expected the shape \(\) of the output's positions"),
        (targets.Index((3, 0, 0)), r"target: Index: expected 3 indices into the shape \(3, 5, 6\) .*, got \(3, 0, 0\)"),
        (targets.Index((0, -6, 0)), r"target: Index: expected 3 indices into the shape \(3, 5, 6\)"),
        (targets.Index((0, 0)), r"target: Index: expected 3 indices into the shape \(3, 5, 6\)"),
        (targets.Index((0, 0, 1.0)), r"target: Index: expected 3 indices"),
        (targets.Index((0, True, 0)), r"target: Index: expected 3 indices"),
        (targets.Index("012"), r"target: Index: expected 3 indices into the shape \(3, 5, 6\) .*, got '012'"),
        (targets.Index(1, output="one"), r"target: Index: expected 1 index into the shape \(1,\)"),
        (targets.Similarity(EMBEDDING), r"target: Similarity: embedding: expected the shape \(3, 5, 6\) of the output, got \(4, 5\)"),
        (targets.Similarity(0 * EMBEDDING, output="words"), "target: Similarity: embedding: expected a vector other than 0"),
        (targets.Similarity(["a"] * 20, output="words"), "target: Similarity: embedding: expected real numbers, got <U1"),
        (targets.Tokens(IDS), r"target: Tokens: expected an output of shape \(N, steps, words\), got \('N', 3, 5, 6\)"),
        (targets.Tokens(IDS[:3], output="words"), r"target: Tokens: ids: expected one word for each of 4 steps, got \(1, 0, 4\)"),
        (targets.Tokens("adog", output="words"), "target: Tokens: ids: expected one word for each of 4 steps, got 'adog'"),
        (targets.Tokens((0, 1, 2, 5), output="words"), "target: class 5 does not exist"),
        (targets.Tokens((0, 1, 2, "bird"), output="words"), "target: no class is called 'bird'"),
        (targets.Binary(), r"target: Binary: expected an output of one class, got 3 in \('N', 3, 5, 6\)"),
        (targets.Binary(0, output="one"), "target: Binary: sign: expected 1 or -1, got 0"),
        (targets.Binary(True, output="one"), "target: Binary: sign: expected 1 or -1, got True"),
        (targets.Contrast(0, targets.Index(0, output="one"), output="map"), "target: Contrast: expected two targets of one output"),
        (targets.Contrast(targets.Top(), 1), "target: expected a class index, a class name or a target of its own class, got Top"),
        (targets.Negative(targets.Top()), "target: expected a class index, a class name or a target of its own class, got Top"),
    ],
)
def test_bad_targets(target, message):
    for call in (MODEL.explain, MODEL.activations_and_gradients):
        with pytest.raises(gradcam.TargetError, match=message):
            call(X, target=target, layer="r")


def test_an_output_without_direction_has_no_similarity():
    w = Weights()
    nodes = [*conv(w, "x", "c", (2, 4)), helper.make_node("Relu", ["c"], ["r"]), helper.make_node("GlobalAveragePool", ["r"], ["g"])]
    nodes.append(helper.make_node("Flatten", ["g"], ["y"]))
    w["c.bias"] = w["c.bias"] * 0
    model = gradcam.load(model_bytes(nodes, {"x": ["N", 2, 5, 6]}, {"y": ["N", 4]}, w))
    with pytest.warns(gradcam.BlankMapWarning):
        assert np.isnan(model.explain(0 * X, target=targets.Similarity(np.ones(4)), layer="c").score).all()


def test_float32_keeps_the_digits():
    for target, expected in CASES.values():
        found = MODEL.explain(X.astype(np.float32), target=target, layer="r", relu=False).score
        np.testing.assert_allclose(found, expected(MODEL(X)), rtol=2e-5, atol=1e-5)


def test_classes_keep_their_forms():
    model = gradcam.load(resnet(), labels=["a", "b", "c", "d", "e"])
    why = model.explain(normal((1, 3, 16, 16)), target=targets.Contrast("b", -1), relu=False)
    assert why.target == (targets.Contrast(1, 4),)
