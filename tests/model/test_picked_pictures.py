"""Graphs that pick some of the pictures of a batch, which for one picture look like the identity."""

from __future__ import annotations

import numpy as np
import pytest
from model.networks import model_bytes, normal, reference
from onnx import helper

import gradcam


def cut(starts, ends, batch, *, axes=None, steps=None, joined=False):
    """A network whose features are sliced along the picture axis before the last layer, or joined again from two such slices."""
    weights = {"w": normal((3, 2, 3, 3)), "head": normal((3, 4), 1)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
    ]
    names = []
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        weights |= {f"s{i}": np.atleast_1d(start), f"e{i}": np.atleast_1d(end), "axes": np.array(axes or [0])}
        inputs = ["f", f"s{i}", f"e{i}", "axes"]
        if steps is not None:
            weights["steps"] = np.array(steps)
            inputs.append("steps")
        nodes.append(helper.make_node("Slice", inputs, [f"part{i}"]))
        names.append(f"part{i}")
    nodes.append(helper.make_node("Concat", names, ["all"], axis=0) if joined else helper.make_node("Identity", names, ["all"]))
    nodes.append(helper.make_node("MatMul", ["all", "head"], ["y"]))
    return model_bytes(nodes, {"x": [batch, 2, 5, 5]}, {"y": None}, weights, check=False)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (cut([0], [1], "N"), "the first"),
        (cut([-1], [2**31 - 1], "N"), "the last"),
        (cut([-1], [-(2**63)], "N", steps=[-1]), "backwards"),
        (cut([0], [2], "N"), "the first two"),
        (cut([[0, 0]], [[1, 3]], "N", axes=[0, 1]), "the first, all features"),
        (cut([-1, 0], [2**31 - 1, -1], "N", joined=True), "rolled"),
    ],
)
def test_a_slice_of_the_pictures_mixes_them(content, name):
    model = gradcam.load(content)
    for pictures in (1, 2, 3):
        x = normal((pictures, 2, 5, 5))
        np.testing.assert_allclose(model(x), reference(content, {"x": x})[0], rtol=1e-4, atol=1e-5)
        if pictures > 1:
            with pytest.raises(ValueError, match="explain: x: this model mixes the pictures of a batch"):
                model.explain(x, layer="c", target=0)
    assert model.explain(x[:1], layer="c", target=0, relu=False).raw.shape == (1, 5, 5)


def test_a_slice_of_the_pictures_in_a_file_for_several():
    content = cut([0], [1], 2)
    model, x = gradcam.load(content), normal((2, 2, 5, 5))
    np.testing.assert_allclose(model(x), reference(content, {"x": x})[0], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="mixes the pictures of a batch, so it takes exactly 2 at once, got 3"):
        model(normal((3, 2, 5, 5)))


@pytest.mark.parametrize(
    "content",
    [
        cut([0], [2**31 - 1], "N"),
        cut([0], [1], 1),  # exported for one picture: all of it
        cut([0], [2], 2),
        cut([[0, 0]], [[2**63 - 1, 3]], "N", axes=[0, 1]),
    ],
    ids=["all", "all of one", "all of two", "all, and all features"],
)
def test_a_slice_that_leaves_no_picture_out_is_no_mixing(content):
    model, x = gradcam.load(content), normal((3, 2, 5, 5))
    single = np.concatenate([model(x[i : i + 1]) for i in range(3)])
    np.testing.assert_array_equal(model(x), single)
    assert model.explain(x, layer="c", target=0, relu=False).raw.shape == (3, 5, 5)


def test_a_slice_up_to_the_number_of_pictures_is_no_mixing():
    """x[: x.shape[0]]: the bound is computed, and is the number of pictures."""
    weights = {"zero": np.array([0]), "one": np.array([1])}
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Slice", ["shape", "zero", "one"], ["count"]),
        helper.make_node("Slice", ["x", "zero", "count", "zero"], ["same"]),
        helper.make_node("Relu", ["same"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["y"]),
    ]
    model = gradcam.load(model_bytes(nodes, {"x": ["N", 3, 4, 4]}, {"y": None}, weights, check=False))
    x = normal((3, 3, 4, 4))
    np.testing.assert_allclose(model(x), np.maximum(x, 0).mean((2, 3)), rtol=1e-5, atol=1e-6)
    assert model.explain(x, layer="r", target=0).raw.shape == (3, 4, 4)


@pytest.mark.parametrize(
    "pick",
    [
        [helper.make_node("Gather", ["x", "zero"], ["part"], axis=0)],
        [helper.make_node("Split", ["x"], ["part", "rest"], axis=0, num_outputs=2)],
    ],
    ids=["Gather", "Split"],
)
def test_other_ways_to_pick_pictures_mix_them_too(pick):
    nodes = [*pick, helper.make_node("Relu", ["part"], ["y"])]
    content = model_bytes(nodes, {"x": ["N", 3, 4]}, {"y": None}, {"zero": np.array([0])}, opset=18, check=False)
    model = gradcam.load(content)
    for pictures in (2, 4):
        x = normal((pictures, 3, 4))
        np.testing.assert_array_equal(model(x), reference(content, {"x": x})[0])
        with pytest.raises(ValueError, match="mixes the pictures"):
            model.activations_and_gradients(x, layer="y", target=0)
