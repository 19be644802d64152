"""Every pass can be left out by name: the same results, by other steps."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from model.networks import Weights, conv, model_bytes, resnet, vgg, vit
from onnx import helper

import gradcam
from gradcam.graph.compilation import PASSES, compile_plan
from gradcam.graph.ir import Graph
from gradcam.session import Session

ROOT = Path(__file__).resolve().parents[2]


def gated() -> bytes:
    """Two equal branches of x sigmoid(x) behind convolutions of 32 channels, large enough for Winograd's algorithm."""
    w = Weights()
    nodes = conv(w, "x", "stem", (3, 32))
    for branch in ("a", "b"):
        nodes.append(helper.make_node("Sigmoid", ["stem"], [f"{branch}.gate"]))
        nodes.append(helper.make_node("Mul", ["stem", f"{branch}.gate"], [f"{branch}.act"]))
        nodes += conv(w, f"{branch}.act", f"{branch}.conv", (32, 32))
        nodes.append(helper.make_node("Relu", [f"{branch}.conv"], [f"{branch}.relu"]))
    nodes.append(helper.make_node("Add", ["a.relu", "b.relu"], ["sum"]))
    nodes.append(helper.make_node("GlobalAveragePool", ["sum"], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["features"]))
    nodes.append(helper.make_node("MatMul", ["features", w.add("fc", 32, 4)], ["y"]))
    return model_bytes(nodes, {"x": ["N", 3, 16, 16]}, {"y": ["N", 4]}, w)


NETWORKS = {  # model, size of its pictures, a layer with a long way to the score
    "resnet": (resnet(), (3, 16, 16), "stem"),
    "vgg": (vgg(), (2, 8, 10), "relu2"),
    "vit": (vit(), (2, 8, 12), None),
    "gated": (gated(), (3, 16, 16), "stem"),
}


def without(content: bytes, *names: str) -> gradcam.Model:
    """A model whose plans are made without these passes."""
    model = gradcam.load(content)
    model._session = Session(model._source, None, names)
    return model


def results(model, x, layer):
    """Scores, and maps and weights of two classes by two methods at an early layer."""
    found = [model(x)]
    for method in ("gradcam", "layercam"):
        for explanation in model.explain_many(x, [0, 2], layer=layer, method=method, relu=False):
            found += [explanation.raw, explanation.score]
    return found


def kernels(model, layer):
    plans = model.forward_plan(), model.explain_plan(2, layer=layer)
    return [[step.kernel for step in plan.steps] for plan in plans]


@pytest.mark.parametrize("real", [np.float32, np.float64])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", PASSES)
def test_results_are_the_same_without_a_pass(name, network, real):
    content, shape, layer = NETWORKS[network]
    x = np.random.default_rng(0).standard_normal((2, *shape)).astype(real)
    bound = 1e-4 if real is np.float32 else 1e-10
    for want, got in zip(results(gradcam.load(content), x, layer), results(without(content, name), x, layer), strict=True):
        assert np.abs(want).max() > 0
        np.testing.assert_allclose(got, want, rtol=0, atol=bound * np.abs(want).max())


@pytest.mark.parametrize("name", sorted(set(PASSES) - {"prune"}))
def test_leaving_a_pass_out_changes_the_steps_of_some_network(name):
    changed = [
        network
        for network, (content, _, layer) in NETWORKS.items()
        if kernels(gradcam.load(content), layer) != kernels(without(content, name), layer)
    ]
    assert changed


def test_without_pruning_what_no_result_needs_is_computed():
    forward = gradcam.load(resnet())._session.nominal
    graph = Graph(list(forward.graph.inputs), [forward.layer("stem")], list(forward.graph.nodes))
    few, all_ = (len(compile_plan(graph, forward.real, without=names).steps) for names in ((), ("prune",)))
    assert few < all_


def test_all_passes_off_at_once():
    content, shape, layer = NETWORKS["gated"]
    x = np.random.default_rng(0).standard_normal((1, *shape)).astype(np.float32)
    for want, got in zip(results(gradcam.load(content), x, layer), results(without(content, *PASSES), x, layer), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * np.abs(want).max())


@pytest.mark.parametrize(
    "make", [lambda names: compile_plan(Graph([], [], []), np.dtype(np.float32), without=names), lambda names: without(resnet(), *names)]
)
def test_an_unknown_name_is_refused(make):
    with pytest.raises(ValueError, match=r"without: expected names among fold_batchnorm, pull_row, take_row, .*winograd, got tuse"):
        make(("fuse", "tuse"))


SCRIPT = """
import sys, gradcam
print(sys.argv[1:], sorted({step.kernel for step in gradcam.load("gated.onnx").forward_plan().steps}))
"""


def test_a_script_runs_without_passes(tmp_path):
    (tmp_path / "gated.onnx").write_bytes(gated())
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run(names):
        command = [sys.executable, str(ROOT / "tools" / "without_passes.py"), names, "script.py", "--more"]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    done = run("winograd,gates")
    assert done.stdout.startswith("['--more'] ['binary_output', 'blocked_"), done.stderr
    assert "winograd" not in done.stdout
    done = run("blocked")
    assert "conv_output" in done.stdout
    assert "blocked" not in done.stdout
    assert "without_passes: without: expected names among" in run("none").stderr
