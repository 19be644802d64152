"""Token sequences of transformers: prefix and grid, maps on the grid, the default layer, what is not a picture."""

from __future__ import annotations

import numpy as np
import pytest
from model.networks import Weights, conv, model_bytes, normal, reference, vit
from onnx import helper

import gradcam
from gradcam.graph.tokens import largest_square, token_grid

MODEL = gradcam.load(vit())
X = normal((2, 2, 8, 12))


def layers(model):
    return {layer.name: layer for layer in model.layers}


def on_grid(tokens, prefix, grid):
    """(N, T, C) as (N, C, *grid), one token after the other."""
    found = np.empty((len(tokens), tokens.shape[2], *grid))
    for number, place in enumerate(np.ndindex(grid)):
        found[(slice(None), slice(None), *place)] = tokens[:, prefix + number]
    return found


def test_forward_agrees_with_onnx():
    for one in X:
        np.testing.assert_allclose(MODEL(one[None]), reference(vit(), {"x": one[None]})[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prefix", range(6))
def test_prefix_and_grid_are_those_of_the_patches(prefix):
    model = gradcam.load(vit(prefix, (3, 4)))
    found = layers(model)
    for name in ("embedded", "blocks.0.norm1", "blocks.1.qkv", "blocks.1.out", "norm"):
        assert (found[name].layout, found[name].tokens) == ("tokens", (prefix, (3, 4)))
    assert found["patches"].layout == "channels_first"
    assert found["patches"].tokens is None
    assert found["patches.flat"].tokens == (0, (3, 4))


def test_heads_and_attention_weights_are_no_layers():
    assert not {"blocks.0.q", "blocks.0.attention", "blocks.0.products", "blocks.0.mixed", "blocks.0.split"} & layers(MODEL).keys()


@pytest.mark.parametrize("layer", ["blocks.1.norm1", "blocks.0.out", "embedded"])
@pytest.mark.parametrize(("prefix", "grid"), [(1, (2, 3)), (0, (2, 3)), (4, (3, 2)), (2, (2, 1, 2))])
def test_maps_lie_on_the_grid_without_the_prefix(layer, prefix, grid):
    model = gradcam.load(vit(prefix, grid, pool=prefix == 0))
    x = normal((2, 2, *(4 * n for n in grid)), dtype=np.float64)
    tokens, gradients = model.activations_and_gradients(x, layer=layer, target=1)
    assert tokens.shape == gradients.shape == (2, prefix + int(np.prod(grid)), 8)
    a, g = on_grid(tokens, prefix, grid), on_grid(gradients, prefix, grid)
    info = layers(model)[layer]
    np.testing.assert_array_equal(info.channels_first(tokens), a)
    space = tuple(range(2, a.ndim))
    for method in ("gradcam", "hirescam", "layercam", "gradcam++", "xgradcam"):
        found = model.explain(x, target=1, layer=layer, method=method, relu=False)
        np.testing.assert_allclose(found.raw, gradcam.cam(a, g, method=method, relu=False), rtol=1e-9, atol=1e-12)
        assert found.map.shape == (2, *x.shape[2:])
    why = model.explain(x, target=1, layer=layer, relu=False)
    np.testing.assert_allclose(why.raw, (g.mean(space, keepdims=True) * a).sum(1), rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(why.weights, g.mean(space), rtol=1e-9, atol=1e-14)


def test_gradient_at_tokens_is_that_of_central_differences():
    x, step, direction = X.astype(np.float64), 1e-5, normal(X.shape, 8, np.float64)
    _, g = MODEL.activations_and_gradients(x, layer="embedded", target=2)
    (high, da), (low, db) = (
        (MODEL(moved)[:, 2], MODEL.run(moved, outputs=["embedded"])) for moved in (x + step * direction, x - step * direction)
    )
    np.testing.assert_allclose((g * (da - db)).reshape(2, -1).sum(1), high - low, rtol=1e-6, atol=1e-12)


def test_grid_can_be_given():
    found = MODEL.explain(X, target=1, layer="blocks.1.norm1", tokens=(1, (3, 2)), relu=False)
    assert found.raw.shape == (2, 3, 2)
    same = MODEL.explain(X, target=1, layer="blocks.1.norm1", relu=False)
    np.testing.assert_array_equal(found.raw.reshape(2, -1), same.raw.reshape(2, -1))
    # One token more counts as prefix: the weights are means over the others alone.
    a, g = MODEL.activations_and_gradients(X, layer="blocks.1.norm1", target=1)
    two = MODEL.explain_many(X, [1], layer="blocks.1.norm1", tokens=(2, [1, 5]), relu=False)[0]
    np.testing.assert_allclose(two.raw[:, 0], np.einsum("nc,ntc->nt", g[:, 2:].mean(1), a[:, 2:]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("layer", "tokens", "message"),
    [
        ("norm", (1, (2, 2)), r"explain: layer 'norm': tokens: expected prefix \+ rows \* columns = 7 = T, got \(1, \(2, 2\)\)"),
        ("norm", (-1, (2, 4)), r"tokens: expected prefix \+ rows \* columns = 7"),
        ("norm", (7, (0, 2)), r"tokens: expected prefix \+ rows \* columns = 7"),
        ("norm", (6, ()), r"tokens: expected prefix \+ rows \* columns = 7"),
        ("norm", 7, r"tokens: expected \(prefix, \(rows, columns\)\), got 7"),
        ("norm", (1, 6), r"tokens: expected \(prefix, \(rows, columns\)\), got \(1, 6\)"),
        ("patches", (0, (2, 3)), r"explain: layer 'patches': tokens: expected a layer of shape \(N, T, C\), got \(1, 8, 2, 3\)"),
    ],
)
def test_bad_grids(layer, tokens, message):
    with pytest.raises(ValueError, match=message):
        MODEL.explain(X, target=1, layer=layer, tokens=tokens)


def test_default_layer_is_the_norm_before_the_last_attention():
    for prefix in (1, 2, 5):
        assert gradcam.load(vit(prefix)).default_layer.name == "blocks.1.norm1"
    assert gradcam.load(vit(blocks=3)).default_layer.name == "blocks.2.norm1"
    why = MODEL.explain(X)
    assert (why.raw.shape, why.map.shape, why.layer) == ((2, 2, 3), (2, 8, 12), "blocks.1.norm1")
    _, g = MODEL.activations_and_gradients(X, layer="blocks.1.norm2", target=1)
    assert not g[:, 1:].any()  # behind it only the class token counts


def test_default_layer_comes_before_queries_that_are_added_in_place():
    content = vit(residual=True, width=16)  # 8 channels of a head in place of 4: some must differ from the 7 tokens
    model = gradcam.load(content)
    np.testing.assert_allclose(model(X[:1]), reference(content, {"x": X[:1]})[0], rtol=1e-4, atol=1e-5)
    assert model.default_layer.name == "blocks.1.norm1"
    assert np.abs(model.activations_and_gradients(X[:1], target=1)[1]).max() > 1e-3


def test_default_layer_is_the_last_norm_where_all_tokens_are_averaged():
    assert gradcam.load(vit(0, pool=True)).default_layer.name == "norm"
    assert gradcam.load(vit(1, pool=True)).default_layer.name == "norm"


def pooled_by_attention() -> bytes:
    """Words over attended features, as captioners do it: weights from a softmax, products summed over the positions."""
    w = Weights()
    nodes = [*conv(w, "x", "c", (2, 4)), helper.make_node("Relu", ["c"], ["r"])]
    w["flat"], w["axis"], w["step"] = np.array([0, 4, -1]), np.array([2]), np.array([1])
    nodes += [helper.make_node("Reshape", ["r", "flat"], ["f"]), helper.make_node("Transpose", ["f"], ["features"], perm=[0, 2, 1])]
    nodes += [helper.make_node("MatMul", ["features", w.add("key", 4, 6)], ["keys"]), helper.make_node("Tanh", ["keys"], ["active"])]
    nodes += [helper.make_node("MatMul", ["active", w.add("score", 6, 1)], ["scores"])]
    nodes += [helper.make_node("Softmax", ["scores"], ["weights"], axis=1), helper.make_node("Mul", ["weights", "features"], ["weighted"])]
    nodes += [helper.make_node("ReduceSum", ["weighted", "step"], ["context"], keepdims=0)]
    nodes += [helper.make_node("MatMul", ["context", w.add("word", 4, 5)], ["w"]), helper.make_node("Unsqueeze", ["w", "step"], ["w1"])]
    nodes += [helper.make_node("Tanh", ["w"], ["again"]), helper.make_node("MatMul", ["again", w.add("next", 5, 5)], ["v"])]
    nodes += [helper.make_node("Unsqueeze", ["v", "step"], ["w2"]), helper.make_node("Concat", ["w1", "w2"], ["y"], axis=1)]
    return model_bytes(nodes, {"x": ["N", 2, 6, 7]}, {"y": ["N", 2, 5]}, w)


def test_a_sequence_is_no_default_layer_of_a_model_of_pictures():
    model = gradcam.load(pooled_by_attention())
    assert model.default_layer.name == "r"
    assert layers(model)["weighted"].tokens == (0, (6, 7))
    x = normal((2, 2, 6, 7))
    target = gradcam.targets.Tokens((1, 3))
    assert model.explain(x, target=target, relu=False).map.shape == (2, 6, 7)
    assert model.explain(x, target=target, layer="keys", relu=False).raw.shape == (2, 6, 7)


def squeezed(count: int) -> bytes:
    """A picture whose positions become `count` tokens by a matrix."""
    w = Weights()
    w["flat"] = np.array([0, 3, -1])
    nodes = [*conv(w, "x", "c", (2, 3)), helper.make_node("Reshape", ["c", "flat"], ["f"])]
    nodes += [helper.make_node("MatMul", ["f", w.add("m", 35, count)], ["t"])]
    nodes += [
        helper.make_node("Transpose", ["t"], ["tt"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["tt", w.add("n", 3, 4)], ["tokens"]),
    ]
    nodes += [helper.make_node("Tanh", ["tokens"], ["a"]), helper.make_node("ReduceMean", ["a"], ["p"], axes=[1], keepdims=0)]
    nodes.append(helper.make_node("MatMul", ["p", w.add("h", 4, 3)], ["y"]))
    return model_bytes(nodes, {"x": ["N", 2, 5, 7]}, {"y": ["N", 3]}, w)


def test_tokens_without_a_grid_are_laid_on_a_square_or_refused():
    x = normal((1, 2, 5, 7))
    model = gradcam.load(squeezed(18))
    assert (layers(model)["a"].layout, layers(model)["a"].tokens) == ("tokens", None)
    assert model.default_layer.name == "c"  # a sequence that fits no picture is no default
    a, _ = model.activations_and_gradients(x, layer="a", target=1)
    why = model.explain(x, target=1, layer="a", relu=False)
    assert why.raw.shape == (1, 4, 4)
    assert layers(model)["a"].channels_first(a).shape == (1, 4, 4, 4)
    model = gradcam.load(squeezed(23))
    with pytest.raises(ValueError, match=r"explain: layer 'a': T=23 tokens fit no grid of the model and no square: pass tokens="):
        model.explain(x, target=1, layer="a")
    with pytest.raises(ValueError, match="channels_first: layer 'a': T=23 tokens fit no grid"):
        layers(model)["a"].channels_first(normal((1, 23, 4)))
    assert model.explain(x, target=1, layer="a", tokens=(2, (3, 7)), relu=False).raw.shape == (1, 3, 7)


def test_several_layers_of_tokens_and_pictures_are_combined():
    why = MODEL.explain(X, target=1, layer=["patches", "blocks.0.norm1", "blocks.1.norm1"], relu=False)
    assert [raw.shape for raw in why.raw] == [(2, 2, 3)] * 3
    assert why.map.shape == (2, 8, 12)


def test_noise_and_signs_see_the_grid():
    x = X[:1].astype(np.float64)
    noise = 0.01 * normal((3, *x.shape), 5, np.float64)
    why = MODEL.explain(x, target=1, method="smoothgradcam++", noise=noise, relu=False)
    samples = np.stack([on_grid(MODEL.activations_and_gradients(x + n, layer="blocks.1.norm1", target=1)[1], 1, (2, 3)) for n in noise])
    a = on_grid(MODEL.activations_and_gradients(x, layer="blocks.1.norm1", target=1)[0], 1, (2, 3))
    np.testing.assert_allclose(
        why.raw, gradcam.cam(a, method="smoothgradcam++", gradient_samples=samples, relu=False), rtol=1e-7, atol=1e-12
    )
    report = MODEL.explain(x, target=1, relu=False).signs()
    np.testing.assert_allclose(sum(report.quadrants), MODEL.explain(x, target=1, relu=False).raw, rtol=1e-9, atol=1e-12)


def test_grids():
    assert token_grid(197, [(14, 14)], []) == (1, (14, 14))
    assert token_grid(196, [(7, 7), (14, 14), (13, 15)], []) == (0, (14, 14))
    assert token_grid(202, [(14, 14)], []) is None
    assert token_grid(201, [(14, 14)], []) == (5, (14, 14))
    assert token_grid(141, [], [(224, 160)]) == (1, (14, 10))  # patches of 16 without a convolution
    assert token_grid(50, [(50,)], []) == (0, (50,))
    assert token_grid(393, [(1, 393), (8, 7, 7)], []) == (1, (8, 7, 7))  # attention with an axis of heads is no grid
    assert token_grid(50, [(1, 50)], [(224, 224)]) == (1, (7, 7))
    assert token_grid(50, [(1, 50)], [(1, 400)]) == (0, (1, 50))
    assert [largest_square(n) for n in (1, 5, 6, 9, 14, 15, 0)] == [
        (0, (1, 1)),
        (1, (2, 2)),
        (2, (2, 2)),
        (0, (3, 3)),
        (5, (3, 3)),
        None,
        None,
    ]


def windowed() -> bytes:
    """Channels-last features that are cut into four windows, changed in each, and put together again."""
    w = Weights()
    w["cut"], w["windows"] = np.array([-1, 2, 3, 2, 4, 3]), np.array([-1, 12, 3])
    w["back"], w["whole"] = np.array([-1, 2, 2, 3, 4, 3]), np.array([-1, 6, 8, 3])
    nodes = [*conv(w, "x", "c", (2, 3)), helper.make_node("Transpose", ["c"], ["last"], perm=[0, 2, 3, 1])]
    nodes += [
        helper.make_node("Reshape", ["last", "cut"], ["pieces"]),
        helper.make_node("Transpose", ["pieces"], ["p"], perm=[0, 1, 3, 2, 4, 5]),
    ]
    nodes += [
        helper.make_node("Reshape", ["p", "windows"], ["window"]),
        helper.make_node("MatMul", ["window", w.add("m", 3, 3)], ["changed"]),
    ]
    nodes += [helper.make_node("Reshape", ["changed", "back"], ["b"]), helper.make_node("Transpose", ["b"], ["q"], perm=[0, 1, 3, 2, 4, 5])]
    nodes += [helper.make_node("Reshape", ["q", "whole"], ["joined"]), helper.make_node("Tanh", ["joined"], ["active"])]
    nodes.append(helper.make_node("ReduceMean", ["active"], ["pooled"], axes=[1, 2], keepdims=0))
    nodes.append(helper.make_node("MatMul", ["pooled", w.add("fc", 3, 4)], ["y"]))
    return model_bytes(nodes, {"x": ["N", 2, 6, 8]}, {"y": ["N", 4]}, w)


def test_windows_are_no_layers_and_what_they_become_is_a_picture():
    model = gradcam.load(windowed())
    assert [layer.name for layer in model.layers] == ["c", "last", "joined", "active"]
    assert {layer.layout for layer in model.layers[1:]} == {"channels_last"}
    assert model.default_layer.name == "active"
    x = normal((2, 2, 6, 8))
    np.testing.assert_allclose(model(x), reference(windowed(), {"x": x})[0], rtol=1e-4, atol=1e-5)
    a, g = model.activations_and_gradients(x, layer="last", target=1)
    why = model.explain(x, target=1, layer="last", relu=False)
    np.testing.assert_allclose(why.raw, np.einsum("nc,nijc->nij", g.mean((1, 2)), a), rtol=1e-4, atol=1e-6)
