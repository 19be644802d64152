"""Layers: what a model lists, by which names they are found, and tensors that a pass would have swallowed."""

from __future__ import annotations

import numpy as np
import pytest
from model.networks import Weights, conv, model_bytes, normal, reference, resnet, segmenter, vgg
from onnx import helper

import gradcam
from gradcam import targets

MODEL = gradcam.load(resnet())
X = normal((2, 3, 16, 16))


def test_layers_come_in_order_with_shapes_and_operators():
    layers = gradcam.load(vgg()).layers
    assert [layer.name for layer in layers] == ["conv1", "relu1", "conv2", "relu2", "pool"]
    assert [layer.op for layer in layers] == ["Conv", "Relu", "Conv", "Relu", "MaxPool"]
    assert [layer.shape for layer in layers] == [(1, 6, 8, 10), (1, 6, 8, 10), (1, 8, 8, 10), (1, 8, 8, 10), (1, 8, 4, 5)]
    assert {layer.layout for layer in layers} == {"channels_first"}


def test_node_names_are_aliases():
    layers = {layer.name: layer for layer in MODEL.layers}
    assert layers["stage2"].aliases == ("/stage2/relu",)
    assert layers["stem.conv"].aliases == ("/stem.conv",)
    by_node = MODEL.explain(X, target=1, layer="/stage2/relu", relu=False)
    by_tensor = MODEL.explain(X, target=1, layer="stage2", relu=False)
    assert by_node.raw.tobytes() == by_tensor.raw.tobytes()
    assert by_node.layer == by_tensor.layer == "stage2"
    a, _ = MODEL.activations_and_gradients(X, layer="/stage2/relu", target=1)
    assert a.shape == (2, 12, 4, 4)


@pytest.mark.parametrize("layer", [layer.name for layer in MODEL.layers] + ["x"])
def test_every_layer_has_the_values_and_the_gradient_of_its_tensor(layer):
    x = X.astype(np.float64)
    a, g = MODEL.activations_and_gradients(x, layer=layer, target=2)
    assert a.shape == g.shape
    np.testing.assert_allclose(MODEL.run(x, outputs=[layer]) if layer != "x" else x, a, rtol=1e-9, atol=1e-12)
    # Moving the input moves the score by <g, da> to first order where the layer separates the graph.
    if layer in ("x", "stem.conv", "stem.bn", "stem", "pool", "stage1", "stage1.sum", "stage2", "stage2.sum"):
        step, direction = 1e-6, normal(x.shape, 8, np.float64)
        (high, da), (low, db) = (
            (MODEL.explain(moved, target=2, relu=False).score, MODEL.activations_and_gradients(moved, layer=layer, target=2)[0])
            for moved in (x + step * direction, x - step * direction)
        )
        np.testing.assert_allclose((g * (da - db)).reshape(2, -1).sum(1), high - low, rtol=1e-4, atol=1e-11)


def test_tensors_that_folding_would_swallow():
    content = resnet(1)
    names = ["stem.conv", "stage1.conv1", "stage2.conv2", "stem.bn"]
    x = X[:1]
    session_nodes = dict(zip(names, _tensors(content, names, x), strict=True))
    for name, expected in session_nodes.items():
        why = MODEL.explain(x, target=0, layer=name, relu=False)
        a, _ = MODEL.activations_and_gradients(x, layer=name, target=0)
        np.testing.assert_allclose(a, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(MODEL.run(x, outputs=[name]), expected, rtol=1e-4, atol=1e-5)
        assert why.layer == name
        assert why.raw.shape == (1, *expected.shape[2:])
    np.testing.assert_allclose(MODEL(x), reference(content, {"x": x})[0], rtol=1e-4, atol=1e-5)


def _tensors(content, names, x):
    """Inner tensors by ONNX's own evaluator."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    model = onnx.load_model_from_string(content)
    for name in names:
        model.graph.output.append(helper.make_empty_tensor_value_info(name))
    return ReferenceEvaluator(model).run(names, {"x": x})


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("stage3", r"layer: no tensor, node or module is called 'stage3'; nearest: '(/stage1/relu|stage[12])', '.*', '.*'$"),
        ("Stem", "layer: no tensor, node or module is called 'Stem'; nearest: '"),
        (3, "layer: expected the name of a tensor, node or module, got int"),
        ("fc.weight", "layer: no tensor, node or module is called 'fc.weight'"),
        ("", "layer: no tensor, node or module is called ''"),
    ],
)
def test_layers_that_do_not_exist(layer, message):
    for call in (MODEL.explain, MODEL.activations_and_gradients):
        with pytest.raises(gradcam.LayerError, match=message):
            call(X, target=1, layer=layer)


def test_outputs_that_do_not_exist():
    with pytest.raises(gradcam.LayerError, match="no tensor, node or module is called 'logit'; nearest: "):
        MODEL.run(X, outputs=["logit"])


def test_vectors_have_gradients_but_no_map():
    for layer in ("features", "y"):
        with pytest.raises(gradcam.LayerError, match=rf"explain: layer: '{layer}' of shape .* has no positions to draw a map of"):
            MODEL.explain(X, target=1, layer=layer)
    a, g = MODEL.activations_and_gradients(X, layer="features", target=1)
    assert a.shape == g.shape == (2, 12)
    _, g = MODEL.activations_and_gradients(X, layer="y", target=1)
    np.testing.assert_array_equal(g, [[0, 1, 0, 0, 0]] * 2)


def test_layer_after_which_nothing_depends_on_it_has_no_gradient():
    w = Weights()
    nodes = conv(w, "x", "c", (2, 3))
    nodes += conv(w, "x", "other", (2, 3))
    nodes += [helper.make_node("GlobalAveragePool", [n], [f"{n}.gap"]) for n in ("c", "other")]
    nodes += [helper.make_node("Flatten", ["c.gap"], ["y"]), helper.make_node("Flatten", ["other.gap"], ["z"])]
    model = gradcam.load(model_bytes(nodes, {"x": ["N", 2, 5, 5]}, {"y": ["N", 3], "z": ["N", 3]}, w))
    x = normal((2, 2, 5, 5))
    a, g = model.activations_and_gradients(x, layer="other", target=1)
    assert a.any()
    assert not g.any()
    with pytest.warns(gradcam.BlankMapWarning, match="the gradient is 0 everywhere"):
        model.explain(x, layer="other", target=1)


def channels_last() -> bytes:
    """A Keras-style export: NHWC input, transposed around each convolution, NHWC activations."""
    w = Weights()
    nodes = [helper.make_node("Transpose", ["x"], ["t1"], perm=[0, 3, 1, 2])]
    nodes += conv(w, "t1", "c1", (3, 6))
    nodes += [helper.make_node("Transpose", ["c1"], ["nhwc1"], perm=[0, 2, 3, 1]), helper.make_node("Relu", ["nhwc1"], ["relu1"])]
    nodes += [helper.make_node("Transpose", ["relu1"], ["t2"], perm=[0, 3, 1, 2])]
    nodes += conv(w, "t2", "c2", (6, 7))
    nodes += [helper.make_node("Transpose", ["c2"], ["nhwc2"], perm=[0, 2, 3, 1]), helper.make_node("Relu", ["nhwc2"], ["relu2"])]
    w.add("fc", 7, 4)
    nodes.append(helper.make_node("ReduceMean", ["relu2"], ["pooled"], axes=[1, 2], keepdims=0))
    nodes.append(helper.make_node("MatMul", ["pooled", "fc"], ["y"]))
    return model_bytes(nodes, {"x": ["N", 6, 8, 3]}, {"y": ["N", 4]}, w)


@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "hirescam", "layercam", "xgradcam"])
def test_channels_last_layers_are_read_where_they_lie(method):
    content = channels_last()
    model = gradcam.load(content)
    assert model.inputs[0].layout == "channels_last"
    assert model.default_layer.name == "relu2"
    layers = {layer.name: layer for layer in model.layers}
    assert layers["relu1"].layout == "channels_last"
    assert layers["c1"].layout == "channels_first"
    x = normal((2, 6, 8, 3))
    np.testing.assert_allclose(model(x), reference(content, {"x": x})[0], rtol=1e-4, atol=1e-5)
    last = model.explain(x, target=1, layer="nhwc1", method=method, relu=False)
    first = model.explain(x, target=1, layer="c1", method=method, relu=False)
    assert last.raw.shape == (2, 6, 8)
    np.testing.assert_allclose(last.raw, first.raw, rtol=1e-4, atol=1e-6 * np.abs(first.raw).max())
    assert last.map.shape == (2, 6, 8)
    a, g = model.activations_and_gradients(x, layer="nhwc1", target=1)
    assert a.shape == (2, 6, 8, 6)
    info = layers["nhwc1"]
    np.testing.assert_array_equal(info.channels_first(a), model.activations_and_gradients(x, layer="c1", target=1)[0])


def test_channel_axis_can_be_given():
    model = gradcam.load(channels_last())
    x = normal((2, 6, 8, 3))
    found = model.explain(x, target=1, layer="relu1", relu=False)
    given = model.explain(x, target=1, layer="relu1", channel_axis=-1, relu=False)
    assert found.raw.tobytes() == given.raw.tobytes()
    other = model.explain(x, target=1, layer="relu1", channel_axis=1, relu=False)
    assert other.raw.shape == (2, 8, 6)


def test_tokens_have_one_spatial_axis():
    w = Weights()
    nodes = [helper.make_node("MatMul", ["x", w.add("w1", 5, 8)], ["m"]), helper.make_node("Relu", ["m"], ["tokens"])]
    nodes += [helper.make_node("ReduceMean", ["tokens"], ["pooled"], axes=[1], keepdims=0)]
    nodes += [helper.make_node("MatMul", ["pooled", w.add("w2", 8, 3)], ["y"])]
    model = gradcam.load(model_bytes(nodes, {"x": ["N", 7, 5]}, {"y": ["N", 3]}, w))
    x = normal((2, 7, 5))
    why = model.explain(x, target=1, layer="tokens", relu=False)
    assert why.raw.shape == (2, 7)
    a, g = model.activations_and_gradients(x, layer="tokens", target=1)
    np.testing.assert_allclose(why.raw, np.einsum("nc,nxc->nx", g.mean(1), a), rtol=1e-4, atol=1e-6)


def test_volumes_have_three_spatial_axes():
    w = Weights()
    w.add("w1", 3, 2, 2, 3, 3)
    w.add("fc", 3, 2)
    nodes = [helper.make_node("Conv", ["x", "w1"], ["c"]), helper.make_node("Relu", ["c"], ["r"])]
    nodes += [helper.make_node("GlobalAveragePool", ["r"], ["gap"]), helper.make_node("Flatten", ["gap"], ["f"])]
    nodes += [helper.make_node("MatMul", ["f", "fc"], ["y"])]
    content = model_bytes(nodes, {"x": ["N", 2, 4, 5, 6]}, {"y": ["N", 2]}, w)
    model = gradcam.load(content)
    x = normal((2, 2, 4, 5, 6))
    np.testing.assert_allclose(model(x), reference(content, {"x": x})[0], rtol=1e-4, atol=1e-5)
    why = model.explain(x, target=1, relu=False)
    assert (why.raw.shape, why.map.shape) == ((2, 3, 3, 4), (2, 4, 5, 6))


def test_signals_have_one_spatial_axis():
    w = Weights()
    w.add("w1", 3, 2, 5)
    w.add("fc", 3, 2)
    nodes = [helper.make_node("Conv", ["x", "w1"], ["c"], strides=[2]), helper.make_node("Relu", ["c"], ["r"])]
    nodes += [helper.make_node("GlobalAveragePool", ["r"], ["gap"]), helper.make_node("Flatten", ["gap"], ["f"])]
    nodes += [helper.make_node("MatMul", ["f", "fc"], ["y"])]
    model = gradcam.load(model_bytes(nodes, {"x": ["N", 2, 21]}, {"y": ["N", 2]}, w))
    why = model.explain(normal((2, 2, 21)), target=1, relu=False)
    assert (why.raw.shape, why.map.shape) == ((2, 9), (2, 21))


def test_model_describes_itself():
    text = str(MODEL)
    assert "input  x  (N, 3, 16, 16)  float32" in text
    assert "output y  (N, 5)  float32" in text
    assert sum("<- default" in line for line in text.splitlines()) == 1
    assert "layers" in repr(MODEL)


def test_inputs_and_outputs_are_listed():
    model = gradcam.load(segmenter(1))
    assert [(t.name, t.shape, t.dtype, t.layout) for t in model.inputs] == [("x", (1, 2, 6, 7), np.float32, "channels_first")]
    assert [(t.name, t.shape) for t in model.outputs] == [("y", (1, 3, 6, 7))]


def test_outputs_can_be_chosen_at_load():
    model = gradcam.load(resnet(), outputs=["features", "stage1"])
    assert [t.name for t in model.outputs] == ["features", "stage1"]
    found = model(X)
    assert found["features"].tobytes() == MODEL.run(X, outputs=["features"]).tobytes()
    with pytest.raises(gradcam.ModelFormatError, match="outputs: no tensor is called 'stage9'; nearest: "):
        gradcam.load(resnet(), outputs=["stage9"])
    why = model.explain(X, target=targets.ClassScore(3), layer="stage2", relu=False)
    np.testing.assert_allclose(why.score, found["features"][:, 3], rtol=1e-6)


# --- modules


def modular(metadata: bool) -> bytes:
    """Two blocks and a pool, named as one of PyTorch's exporters names them."""
    w = Weights()
    nodes, previous, scopes = [], "x", []
    for block, (channels, width) in enumerate(((2, 4), (4, 5))):
        nodes += conv(w, previous, f"conv{block}", (channels, width))
        nodes.append(helper.make_node("Relu", [f"conv{block}"], [f"relu{block}"]))
        nodes.append(helper.make_node("Add", [f"relu{block}", f"conv{block}"], [f"sum{block}"]))
        nodes.append(helper.make_node("Relu", [f"sum{block}"], [f"out{block}"]))
        scopes += [f"body.{block}.conv", f"body.{block}.act", f"body.{block}", f"body.{block}.act"]
        previous = f"out{block}"
    nodes += [helper.make_node("GlobalAveragePool", [previous], ["gap"]), helper.make_node("Flatten", ["gap"], ["f"])]
    nodes.append(helper.make_node("MatMul", ["f", w.add("fc", 5, 3)], ["y"]))
    scopes += ["pool", "", "fc"]
    for i, (node, scope) in enumerate(zip(nodes, scopes, strict=True)):
        parts = scope.split(".")
        paths = [".".join(parts[: n + 1]) for n in range(len(parts))] if scope else []
        if metadata:
            node.name = f"node_{i}"
            entry = node.metadata_props.add()
            entry.key, entry.value = "pkg.torch.onnx.name_scopes", str(["", *paths, f"op_{i}"])
        else:
            # a child of a Sequential repeats its parent's name; the second call of a module is numbered
            inner = ["body", f"body.{parts[1]}", *parts[2:]] if parts[0] == "body" else parts
            inner = [f"{p}_1" if p == "act" and node.output[0].startswith("out") else p for p in inner]
            node.name = "/".join(["", *(p for p in inner if p), node.op_type])
    return model_bytes(nodes, {"x": ["N", 2, 6, 7]}, {"y": ["N", 3]}, w, check=not metadata)


@pytest.mark.parametrize("metadata", [True, False])
def test_modules_are_names_of_their_last_tensor(metadata):
    model = gradcam.load(modular(metadata))
    found = {alias: layer.name for layer in model.layers for alias in layer.aliases if not alias.startswith(("node_", "/"))}
    expected = {"body": "out1", "body.0": "out0", "body.1": "out1", "body.0.conv": "conv0", "body.1.conv": "conv1"}
    expected |= {"body.0.act": "out0", "body.1.act": "out1"} | ({} if metadata else {"body.0.act_1": "out0", "body.1.act_1": "out1"})
    assert found == expected
    assert {layer.name: layer.module for layer in model.layers}["conv1"] == "body.1.conv"
    x = normal((1, 2, 6, 7))
    for name, tensor in [*expected.items(), ("body[0]", "out0"), ("body[-1]", "out1"), ("body[-1].conv", "conv1"), ("bod?", "out1")]:
        assert model.explain(x, target=1, layer=name, relu=False).layer == tensor
        assert model.activations_and_gradients(x, layer=name, target=1)[0].tobytes() == model.run(x, outputs=[tensor]).tobytes()


def test_own_names_win_over_modules():
    w = Weights()
    nodes = [*conv(w, "x", "a", (2, 3)), helper.make_node("Relu", ["a"], ["r"], name="/a/Relu")]
    nodes += [helper.make_node("GlobalAveragePool", ["r"], ["gap"]), helper.make_node("Flatten", ["gap"], ["y"])]
    model = gradcam.load(model_bytes(nodes, {"x": ["N", 2, 5, 5]}, {"y": ["N", 3]}, w))
    assert {layer.name: layer.aliases for layer in model.layers} == {"a": ("/a",), "r": ("/a/Relu",)}
    x = normal((1, 2, 5, 5))
    assert model.explain(x, target=1, layer="a", relu=False).layer == "a"


def test_patterns_are_lists_of_layers():
    model, x = gradcam.load(modular(True)), normal((1, 2, 6, 7))
    for pattern, names in (("body.*", ["out0", "out1"]), ("relu?", ["relu0", "relu1"]), ("**.conv", ["conv0", "conv1"])):
        why = model.explain(x, target=1, layer=pattern, relu=False)
        assert why.layer == ", ".join(names)
        listed = model.explain(x, target=1, layer=names, relu=False)
        assert why.map.tobytes() == listed.map.tobytes()
        assert [raw.tobytes() for raw in why.raw] == [raw.tobytes() for raw in listed.raw]
    assert model.explain(x, target=1, layer=["conv0", "relu?"], relu=False).layer == "conv0, relu0, relu1"
    one = model.explain(x, target=1, layer="*sum1", relu=False)
    assert one.raw.shape == (1, 6, 7)
    assert model.explain(x.astype(np.float64), target=1, layer="*sum1", relu=False).raw.dtype == np.float64
    assert model.explain(x, target=1, layer="*sum1", relu=False).raw.tobytes() == one.raw.tobytes()


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("nothing*", "layer: no layer matches 'nothing[*]'; `model.layers` lists their names"),
        (["relu?", "relu0"], "explain: layer: expected one layer or a list of different ones"),
        ([], "explain: layer: expected one layer or a list of different ones"),
        ("body[2]", r"layer: no tensor, node or module is called 'body\[2\]'; nearest: 'body"),
    ],
)
def test_patterns_that_match_nothing_or_twice(layer, message):
    model = gradcam.load(modular(True))
    for _ in range(2):
        with pytest.raises(gradcam.LayerError, match=message):
            model.explain(normal((1, 2, 6, 7)), target=1, layer=layer)


def test_one_layer_is_wanted():
    model, x = gradcam.load(modular(True)), normal((1, 2, 6, 7))
    with pytest.raises(gradcam.LayerError, match=r"layer: expected one layer, 'relu\?' matches 2: 'relu0', 'relu1'$"):
        model.activations_and_gradients(x, layer="relu?", target=1)
    with pytest.raises(gradcam.LayerError, match=r"layer: expected one layer, '\*' matches 8: 'conv0', 'relu0', 'sum0', \.\.\.$"):
        model.run(x, outputs=["*"])


def test_modules_can_be_reparametrised():
    model, x = gradcam.load(modular(True)), normal((1, 2, 6, 7), dtype=np.float64)
    new = gradcam.reparametrise(model, "body[0]", scale=2)
    np.testing.assert_allclose(new(x), model(x), rtol=1e-6)
    np.testing.assert_allclose(new.run(x, outputs=["body.0"]), 2 * model.run(x, outputs=["out0"]), rtol=1e-6)


@pytest.mark.parametrize("pictures", [1, 2])
def test_layers_without_the_pictures_in_front(pictures):
    """Attention of PyTorch moves the tokens in front of the pictures."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["turned"], perm=[1, 0, 2]),
        helper.make_node("MatMul", ["turned", "w"], ["tokens"]),
        helper.make_node("Relu", ["tokens"], ["active"]),
        helper.make_node("ReduceMean", ["active"], ["y"], axes=[0], keepdims=0),
    ]
    model = gradcam.load(model_bytes(nodes, {"x": ["N", 9, 6]}, {"y": ["N", 5]}, {"w": normal((6, 5))}))
    x = normal((pictures, 9, 6))
    for call in (model.explain, model.activations_and_gradients):
        with pytest.raises(gradcam.LayerError, match=rf"{call.__name__}: layer: 'tokens' of shape \(9, 1, 5\) does not have the pictures"):
            call(x, target=1, layer="tokens")
    a, g = model.activations_and_gradients(x, layer="x", target=1)
    assert a.shape == g.shape == x.shape
