"""What is explained: classes by index and name, lists, weights, contrasts; heads that normalise."""

from __future__ import annotations

import json

import numpy as np
import pytest
from model.networks import Weights, conv, model_bytes, normal, resnet, segmenter, two_outputs
from onnx import helper

import gradcam
from gradcam import targets

LABELS = ["tabby cat", "tiger cat", "Persian", "golden retriever", "labrador retriever"]
MODEL = gradcam.load(resnet(), labels=LABELS)
X = normal((3, 3, 16, 16))


def gradient(target, model=MODEL, x=X, layer="stage1"):
    return model.activations_and_gradients(x, layer=layer, target=target)[1]


def same(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6 * np.abs(b).max())


# --- classes


@pytest.mark.parametrize(
    ("name", "index"),
    [("tabby cat", 0), ("persian", 2), ("PERSIAN", 2), ("golden", 3), ("LABRA", 4), ("tiger", 1), (np.int64(3), 3), (-1, 4)],
)
def test_class_by_name_or_index(name, index):
    why = MODEL.explain(X, target=name, relu=False)
    assert why.target == (targets.ClassScore(index),) * 3
    assert {type(target.c) for target in why.target} == {int}
    assert why.raw.tobytes() == MODEL.explain(X, target=index, relu=False).raw.tobytes()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("cat", r"target: class 'cat' is ambiguous: 0 'tabby cat', 1 'tiger cat'"),
        ("persain", r"target: no class is called 'persain'; nearest: 'Persian', '.*', '.*'$"),
        (5, r"target: class 5 does not exist: the output has 5 classes, 0 to 4"),
        (-6, "target: class -6 does not exist"),
        (True, "target: expected a class index, a class name or a target, got bool"),
        (1.0, "target: expected a class index, a class name or a target, got float"),
        (targets.Contrast(0, "none of them"), "target: no class is called 'none of them'"),
        (targets.Negative(9), "target: class 9 does not exist"),
        (targets.Probability(5), "target: class 5 does not exist: the output has 5 classes, 0 to 4"),
        (targets.LogProbability("cat"), "target: class 'cat' is ambiguous"),
        (targets.Negative(targets.ReST("nobody")), "target: no class is called 'nobody'"),
        (targets.ReST(None), "target: expected a class index, a class name or a target, got NoneType"),
        (targets.Probability(0, output="z"), "target: output: expected one of y, got 'z'"),
        (targets.ClassScore(0, output="z"), "target: output: expected one of y, got 'z'"),
        ([0, 1], "target: expected one target for each of 3 pictures, got 2"),
        ([0, 1, "nobody"], "target: no class is called 'nobody'"),
        (np.array([0, 1]), "target: expected one target for each of 3 pictures, got 2"),
        ([[0], [1], [2]], "target: expected a class index, a class name or a target, got list"),
    ],
)
def test_targets_that_do_not_exist(target, message):
    with pytest.raises(gradcam.TargetError, match=message):
        MODEL.explain(X, target=target)
    with pytest.raises(gradcam.TargetError, match=message):
        MODEL.activations_and_gradients(X, layer="stage2", target=target)


def test_names_need_labels():
    with pytest.raises(gradcam.TargetError, match="cannot be looked up: the model has no labels, pass labels= or a class index"):
        gradcam.load(resnet()).explain(X, target="Persian")


def test_labels_from_list_mapping_file_and_metadata(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    expected = dict(enumerate(LABELS))
    content = resnet(metadata={"gradcam.labels": json.dumps(LABELS)})
    for labels in (LABELS, expected, path, str(path)):
        assert gradcam.load(resnet(), labels=labels).labels == expected
    assert gradcam.load(content).labels == expected
    assert gradcam.load(content, labels={0: "other"}).labels == {0: "other"}
    assert gradcam.load(resnet()).labels == {}
    with pytest.raises(gradcam.ModelFormatError, match="metadata 'gradcam.labels': expected a JSON list"):
        gradcam.load(resnet(metadata={"gradcam.labels": "{"}))
    with pytest.raises(TypeError, match="load: labels: expected class names as str"):
        gradcam.load(resnet(), labels=[1, 2])


@pytest.mark.parametrize("text", ["3", '{"a": "b"}', "[1, 2]", "null"])
def test_labels_in_metadata_that_are_no_list_of_names(text):
    with pytest.raises(gradcam.ModelFormatError, match="gradcam.labels"):
        gradcam.load(resnet(metadata={"gradcam.labels": text}))


def test_one_target_per_picture():
    mixed = [2, None, targets.Contrast("tabby cat", 4)]
    why = MODEL.explain(X, target=mixed, relu=False)
    for i, target in enumerate(mixed):
        alone = MODEL.explain(X[i : i + 1], target=target, relu=False)
        assert why.raw[i].tobytes() == alone.raw[0].tobytes()
        assert why.score[i] == alone.score[0]
        assert why.target[i] == alone.target[0]
    array = MODEL.explain(X, target=np.array([2, 0, 1]), relu=False)
    assert array.raw.tobytes() == MODEL.explain(X, target=[2, 0, 1], relu=False).raw.tobytes()
    assert MODEL.explain(X, target=("tabby cat", "tiger cat", "Persian"), relu=False).target[2] == targets.ClassScore(2)


def test_one_target_per_picture_with_weights():
    blocks = normal((3, 5), 7)
    why = MODEL.explain(X, target=[targets.Weighted(blocks[:1]), 1, targets.Weighted(blocks[2:])], relu=False)
    np.testing.assert_allclose(why.score[0], MODEL(X)[0] @ blocks[0], rtol=1e-4)
    np.testing.assert_allclose(why.score[1], MODEL(X)[1, 1], rtol=1e-6)
    np.testing.assert_allclose(why.score[2], MODEL(X)[2] @ blocks[2], rtol=1e-4)


# --- combinations


def test_contrast_is_the_difference():
    same(gradient(targets.Contrast(3, 1)), gradient(3) - gradient(1))
    y = MODEL(X)
    np.testing.assert_allclose(MODEL.explain(X, target=targets.Contrast(3, 1), relu=False).score, y[:, 3] - y[:, 1], rtol=1e-5)


def test_negative_is_the_negative():
    same(gradient(targets.Negative(3)), -gradient(3))
    same(gradient(targets.Negative(targets.Contrast(3, "Persian"))), gradient(2) - gradient(3))
    np.testing.assert_array_equal(MODEL.explain(X, target=targets.Negative("Persian"), relu=False).score, -MODEL(X)[:, 2])


def test_weighted_is_the_weighted_sum():
    weights = normal((1, 5), 3)
    expected = sum(weights[0, c] * gradient(c) for c in range(5))
    same(gradient(targets.Weighted(weights)), expected)
    per_picture = normal((3, 5), 4)
    found = MODEL.explain(X, target=targets.Weighted(per_picture), relu=False)
    np.testing.assert_allclose(found.score, (MODEL(X) * per_picture).sum(1), rtol=1e-4, atol=1e-5)
    onehot = np.zeros((1, 5), int)
    onehot[0, 2] = 1  # integers count as weights
    same(gradient(targets.Weighted(onehot)), gradient(2))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(5), r"target: Weighted: expected real weights of shape \(pictures, 5\), got float64 \(5,\)"),
        (np.zeros((1, 4)), r"expected real weights of shape \(pictures, 5\)"),
        (np.zeros((2, 5)), r"target: Weighted: expected 1 or 3 blocks of weights, got 2"),
        (np.zeros((1, 5), complex), "expected real weights"),
        (np.zeros((1, 5), bool), "expected real weights"),
        (2.0, "expected real weights"),
    ],
)
def test_bad_weights(array, message):
    with pytest.raises(gradcam.TargetError, match=message):
        MODEL.explain(X, target=targets.Weighted(array))


def test_targets_of_another_output():
    model = gradcam.load(two_outputs())
    x = normal((2, 2, 6, 5))
    y = model(x)
    for target, score in (
        (1, y["a"][:, 1]),
        (targets.ClassScore(1, output="b"), y["b"][:, 1]),
        (targets.Contrast(1, 0, output="b"), y["b"][:, 1] - y["b"][:, 0]),
        (targets.Weighted(np.ones((1, 2)), output="b"), y["b"].sum(1)),
        (None, y["a"].max(1)),
    ):
        np.testing.assert_allclose(model.explain(x, target=target, relu=False).score, score, rtol=1e-5, atol=1e-6)
    with pytest.raises(gradcam.TargetError, match="class 2 does not exist: the output has 2 classes"):
        model.explain(x, target=targets.ClassScore(2, output="b"))


# --- heads


@pytest.mark.parametrize("head", ["Softmax", "LogSoftmax", "Sigmoid"])
def test_logit_is_explained_unless_a_peer_is_followed(head):
    normal_head = gradcam.load(resnet(head=head))
    y, logits = normal_head(X), MODEL(X)
    why = normal_head.explain(X, target=2, relu=False)
    assert why.logit
    np.testing.assert_allclose(why.score, logits[:, 2], rtol=1e-5)
    same(gradient(2, normal_head), gradient(2))
    for compat in ("pytorch-grad-cam", "torchcam", "captum"):
        literal = normal_head.explain(X, target=2, compat=compat, relu=False)
        assert not literal.logit
        np.testing.assert_allclose(literal.score, y[:, 2], rtol=1e-5)
    weighted = normal_head.explain(X, target=targets.Weighted(np.eye(5)[2:3]), relu=False)
    assert not weighted.logit
    np.testing.assert_allclose(weighted.score, y[:, 2], rtol=1e-5)
    np.testing.assert_allclose(
        normal_head.explain(X, target=targets.Contrast(2, 1), relu=False).score, logits[:, 2] - logits[:, 1], rtol=1e-4
    )
    assert [t.c for t in normal_head.explain(X, relu=False).target] == y.argmax(1).tolist()


def test_probability_gradient_of_a_literal_target():
    model = gradcam.load(resnet(head="Softmax"))
    x = X.astype(np.float64)
    p = model(x)
    literal = gradient(targets.Weighted(np.eye(5)[2:3]), model, x)
    expected = sum(((c == 2) - p[:, c])[:, None, None, None] * p[:, 2, None, None, None] * gradient(c, MODEL, x) for c in range(5))
    np.testing.assert_allclose(literal, expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("between", ["Identity", "Reshape", "Flatten", "Squeeze", "Cast"])
def test_head_is_found_behind_operators_that_only_move(between):
    w = Weights()
    nodes = conv(w, "x", "c", (2, 4))
    nodes += [helper.make_node("Relu", ["c"], ["r"]), helper.make_node("GlobalAveragePool", ["r"], ["gap"])]
    nodes += conv(w, "gap", "logits", (4, 3), kernel=1)
    nodes.append(helper.make_node("Softmax", ["logits"], ["p"], axis=1))
    w["shape"], w["axes"] = np.array([-1, 3]), np.array([2, 3])
    nodes.append(
        {
            "Identity": helper.make_node("Identity", ["p"], ["y"]),
            "Reshape": helper.make_node("Reshape", ["p", "shape"], ["y"]),
            "Flatten": helper.make_node("Flatten", ["p"], ["y"]),
            "Squeeze": helper.make_node("Squeeze", ["p", "axes"], ["y"]),
            "Cast": helper.make_node("Cast", ["p"], ["y"], to=1),
        }[between]
    )
    model = gradcam.load(model_bytes(nodes, {"x": ["N", 2, 5, 5]}, {"y": None}, w, check=False))
    x = normal((2, 2, 5, 5))
    why = model.explain(x, target=1, layer="r", relu=False)
    assert why.logit
    np.testing.assert_allclose(why.score, model.run(x, outputs=["logits"])[:, 1].reshape(2), rtol=1e-5)


def test_segmentation_sums_the_class_over_the_map():
    model = gradcam.load(segmenter())
    x = normal((2, 2, 6, 7))
    y = model(x)
    np.testing.assert_allclose(model.explain(x, target=1, relu=False).score, y[:, 1].sum((1, 2)), rtol=1e-4, atol=1e-4)
    why = model.explain(x, relu=False)
    centre = y[:, :, 3, 3].argmax(1)
    assert [t.c for t in why.target] == centre.tolist()
    np.testing.assert_allclose(why.score, y[np.arange(2), centre].sum((1, 2)), rtol=1e-4, atol=1e-4)


def test_single_value_is_explained_as_it_is():
    w = Weights()
    nodes = conv(w, "x", "c", (2, 3))
    nodes += [helper.make_node("GlobalAveragePool", ["c"], ["gap"]), helper.make_node("Flatten", ["gap"], ["f"])]
    w.add("w", 3, 1)
    nodes += [helper.make_node("MatMul", ["f", "w"], ["logit"]), helper.make_node("Sigmoid", ["logit"], ["y"])]
    model = gradcam.load(model_bytes(nodes, {"x": ["N", 2, 5, 5]}, {"y": ["N", 1]}, w))
    x = normal((2, 2, 5, 5))
    why = model.explain(x, relu=False)
    np.testing.assert_allclose(why.score, model.run(x, outputs=["logit"])[:, 0], rtol=1e-6)
    assert why.target == (targets.ClassScore(0),) * 2


def test_title_names_the_class():
    why = MODEL.explain(X, target=["Persian", targets.Contrast(0, 1), 4], relu=False)
    assert why.title(0) == "class 2 'Persian'"
    assert why.title(1) == "Contrast"
    assert "Persian" in repr(why)
