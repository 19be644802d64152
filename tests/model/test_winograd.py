"""`gradcam.load(winograd=False)`: no Winograd kernel in any plan, and the same numbers."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from model.networks import Weights, model_bytes
from onnx import helper

import gradcam
from gradcam.train import with_weights


@pytest.fixture(scope="module")
def content():
    w = Weights()
    nodes = [
        helper.make_node("Conv", ["x", w.add("w1", 32, 3, 3, 3)], ["c1"], pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["a"]),
        helper.make_node("Conv", ["a", w.add("w2", 48, 32, 3, 3)], ["c2"]),
        helper.make_node("GlobalAveragePool", ["c2"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("MatMul", ["features", w.add("fc", 48, 3)], ["y"]),
    ]
    return model_bytes(nodes, {"x": ["N", 3, 16, 15]}, {"y": ["N", 3]}, w)


def kernels(model):
    return {step.kernel for step in model.forward_plan().steps}


@pytest.mark.parametrize("winograd", [True, False])
def test_models_made_of_a_model_keep_the_choice(content, winograd):
    model = gradcam.load(content, winograd=winograd)
    weights = {name: 2 * array for name, array in model._source.initializers.items() if array.ndim == 4}
    others = [pickle.loads(pickle.dumps(model)), gradcam.reparametrise(model, "a", scale=np.full(32, 2.0)), with_weights(model, weights)]
    for m in (model, *others):
        assert ("blocked_winograd_output" in kernels(m)) == winograd


def test_both_ways_give_the_same_maps(content):
    x = np.random.default_rng(0).standard_normal((2, 3, 16, 15)).astype(np.float32)
    found = [gradcam.load(content, winograd=w).explain(x, target=1, layer="a", method="hirescam", relu=False).raw for w in (True, False)]
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-5 * np.abs(found[1]).max())
    assert (found[0] != found[1]).any()
