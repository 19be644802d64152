"""Paths of modules from what exporters leave, the last tensor of each, names with indices and wildcards."""

from __future__ import annotations

import pytest

from gradcam.graph.module_paths import child_paths, last_tensors, module_paths, pattern_of
from gradcam.graph.onnx_form import OnnxNode


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("/layer4/layer4.2/relu_2/Relu", ("layer4", "layer4.2", "layer4.2.relu_2")),
        ("/features/features.5/features.5.0/block/block.1/block.1.2/Mul", None),
        ("/encoder/layers/encoder_layer_11/ln_1/LayerNormalization", None),
        ("/Gather", ()),
        ("node_Conv_293", ()),
        ("", ()),
        ("/", ()),
        ("/.a/Relu", (".a",)),
        ("//a//Relu", ("a",)),
        ("/block/block2/Relu", ("block", "block.block2")),
    ],
)
def test_names_of_the_torchscript_exporter(name, paths):
    if paths is None:
        last = {"features": "features.5.0.block.1.2", "encoder": "encoder.layers.encoder_layer_11.ln_1"}[name.split("/")[1]]
        assert module_paths(name, None)[-1] == last
    else:
        assert module_paths(name, None) == paths


@pytest.mark.parametrize(
    ("scopes", "paths"),
    [
        ("['', 'layer4', 'layer4.0', 'layer4.0.bn2', '_native_batch_norm_17']", ("layer4", "layer4.0", "layer4.0.bn2")),
        ("['', 'view']", ()),
        ('["", "a", "relu"]', ("a",)),
        ("", ()),
        ("[", ()),
        ("['a', ['b'", ("a",)),
    ],
)
def test_metadata_of_the_dynamo_exporter(scopes, paths):
    assert module_paths("/other/Relu", scopes) == paths


def test_names_beyond_reason_are_no_paths():
    assert module_paths("/a" * 10_000 + "/Relu", None) == ()
    assert module_paths("/" + "a." * 10_000 + "/Relu", None) == ()
    assert module_paths("", str(["a"] * 10_000)) == ()
    assert module_paths("", str(["a." * 10_000, "relu"])) == ()
    assert module_paths("", "[" * 100_000) == ()


def node(name, *inputs):
    return OnnxNode("Op", name, "", 17, inputs, (f"{name}:0",), {}, module_paths(name, None))


def test_last_tensor_of_a_module():
    nodes = [
        node("/a/conv/Conv", "w"),
        node("/a/relu/Relu"),
        node("/a/conv2/Conv", "w2"),
        node("/a/relu_1/Relu"),
        node("/b/Pool"),
        node("/c/X"),
    ]
    tensors = {n.outputs[0] for n in nodes if n.name != "/c/X"}
    assert last_tensors(nodes, {"w", "w2"}, tensors) == {
        "a": "/a/relu_1/Relu:0",
        "a.conv": "/a/conv/Conv:0",
        "a.relu": "/a/relu_1/Relu:0",  # called twice
        "a.relu_1": "/a/relu_1/Relu:0",
        "a.conv2": "/a/conv2/Conv:0",
        "b": "/b/Pool:0",
    }


def test_modules_with_weights_that_end_in_numbers_are_modules_of_their_own():
    nodes = [node("/conv/Conv", "w"), node("/conv_1/Conv", "w1")]
    assert last_tensors(nodes, {"w", "w1"}, {n.outputs[0] for n in nodes})["conv"] == "/conv/Conv:0"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("layer4[1]", "layer4.1"),
        ("layer4[-1]", "layer4.10"),
        ("layer4[-2].relu", "layer4.1.relu"),
        ("layer4[0][3]", "layer4.0.3"),
        ("layer4[-4]", "layer4[-4]"),
        ("layer4[x]", "layer4[x]"),
        ("layer4", "layer4"),
    ],
)
def test_indices(name, found):
    assert child_paths(name, ["layer4", "layer4.0", "layer4.1", "layer4.10.relu", "layer4.bn", "layer40.7"]) == found


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("layer?", ["layer1", "layer4"], ["layer", "layer10", "layer.", "xlayer1"]),
        ("blocks.*", ["blocks.0", "blocks.11"], ["blocks", "blocks.0.norm1", "blocksx0"]),
        ("blocks.*.norm1", ["blocks.0.norm1"], ["blocks.0.x.norm1", "blocks.0.norm2"]),
        ("**norm1", ["norm1", "blocks.0.norm1", "/a/b/norm1"], ["norm1/x"]),
        ("/a/*/Relu", ["/a/b/Relu"], ["/a/b/c/Relu", "/a/b.0/Relu"]),
        ("a+(*", ["a+(b"], ["aa(b"]),
    ],
)
def test_patterns(pattern, yes, no):
    expression = pattern_of(pattern)
    assert all(expression.fullmatch(name) for name in yes)
    assert not any(expression.fullmatch(name) for name in no)


def test_names_without_wildcards_are_no_patterns():
    assert pattern_of("layer4[1].relu") is None
