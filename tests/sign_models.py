"""What the tests of the sign report and of its diagnoses share: small models and explanations that can be run again."""

from __future__ import annotations

import warnings
from importlib.resources import files
from pathlib import Path

import numpy as np
from model.networks import Weights, conv, model_bytes, normal
from onnx import helper

import gradcam

DATA = Path(str(files("gradcam") / "data"))


def explain(model, x, target=None, *, classes="count", **keywords):
    """An explanation that can be run again, also where the layer is no default."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = model.explain(x, target=target, **keywords)
    layer = next(info for info in model.layers if info.name == found.layer)

    def probe(target):
        target = list(found.target) if target is None else target
        pair = model.activations_and_gradients(x[None] if found.squeeze else x, layer=found.layer, target=target)
        return tuple(layer.channels_first(v) for v in pair)

    found.probe = probe
    found.classes = model.outputs[0].shape[1] if classes == "count" else classes
    return found


def kinds(report):
    return {d.kind for d in report.diagnosis}


def only(report, kind):
    (found,) = [d for d in report.diagnosis if d.kind == kind]
    assert found.text
    assert found.advice
    assert found.evidence
    return found


def pooled(rows, *, relu=True, bias=None, shift=None, head=None, weight=None, space=(5, 6)):
    """conv, ReLU, maybe a shift per channel (the layer "layer"), global pooling, and a linear layer with the given rows."""
    rows = np.asarray(rows, np.float32)
    w, channels = Weights(), rows.shape[1]
    nodes = conv(w, "x", "conv", (2, channels))
    if weight is not None:
        w["conv.weight"] = np.asarray(weight, np.float32)
    if bias is not None:
        w["conv.bias"] = np.asarray(bias, np.float32)
    last = "conv"
    if relu:
        nodes.append(helper.make_node("Relu", ["conv"], ["relu"]))
        last = "relu"
    w["shift"] = np.zeros((1, channels, 1, 1), np.float32) if shift is None else np.asarray(shift, np.float32).reshape(1, -1, 1, 1)
    nodes.append(helper.make_node("Add", [last, "shift"], ["layer"]))
    nodes.append(helper.make_node("GlobalAveragePool", ["layer"], ["gap"]))
    nodes.append(helper.make_node("Flatten", ["gap"], ["features"]))
    w["fc"] = rows
    w["fc.bias"] = np.zeros(len(rows), np.float32) if shift is None else -rows @ np.asarray(shift, np.float32)
    nodes.append(helper.make_node("Gemm", ["features", "fc", "fc.bias"], ["logits" if head else "y"], transB=1))
    if head:
        nodes.append(helper.make_node(head, ["logits"], ["y"]))
    return gradcam.load(model_bytes(nodes, {"x": ["N", 2, *space]}, {"y": ["N", len(rows)]}, w))


X = normal((3, 2, 5, 6), 7)
ROWS = normal((4, 6), 8)
