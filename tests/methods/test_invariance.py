"""Which maps belong to the function and which to its parametrisation: shift, scale and sign of the channels, sign of the score."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from model.networks import model_bytes, normal
from onnx import helper

import gradcam
from gradcam.experiments.parametrisation import Mapped, mapped
from gradcam.targets import Negative


KINDS = mapped()
IDS = [kind.name for kind in KINDS]

CHANNELS, CLASS = 6, 1
GENERATOR = np.random.default_rng(5)
SHIFT = GENERATOR.standard_normal(CHANNELS)
SCALE = np.exp(0.7 * GENERATOR.standard_normal(CHANNELS))
FLIP = np.where(np.arange(CHANNELS) % 3 == 0, -1.0, 1.0)
CHANGES: dict[str, dict[str, Any]] = {"shift": {"shift": SHIFT}, "scale": {"scale": SCALE}, "flip": {"scale": FLIP}}
EQUAL, DIFFERENT = 1e-12, 1e-3


def network() -> gradcam.Model:
    """Convolution, ReLU, per-channel affine = layer 'a', unpadded strided convolution, ReLU, flatten, linear; in float64."""
    generator = np.random.default_rng(11)

    def draw(*shape: int) -> np.ndarray:
        return generator.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) if len(shape) > 1 else 4)

    weights = {"w1": draw(CHANNELS, 2, 3, 3), "b1": draw(CHANNELS), "beta": draw(CHANNELS), "mean": draw(CHANNELS)}
    weights |= {"gamma": 1 + draw(CHANNELS), "var": 0.5 + np.abs(draw(CHANNELS))}
    weights |= {"w2": draw(5, CHANNELS, 3, 3), "b2": draw(5), "w3": draw(3, 5 * 4 * 5), "b3": draw(3)}
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("BatchNormalization", ["r1", "gamma", "beta", "mean", "var"], ["a"]),
        helper.make_node("Conv", ["a", "w2", "b2"], ["c2"], strides=[2, 2]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("Flatten", ["r2"], ["f"]),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["y"], transB=1),
    ]
    return gradcam.load(model_bytes(nodes, {"x": ["N", 2, 9, 11]}, {"y": ["N", 3]}, weights, check=False))


MODEL = network()
X = normal((3, 2, 9, 11), 2, np.float64)
CHANGED = {name: gradcam.reparametrise(MODEL, "a", **change) for name, change in CHANGES.items()}


@pytest.mark.parametrize("name", CHANGES)
def test_the_function_is_the_same(name):
    y = MODEL(X)
    np.testing.assert_allclose(CHANGED[name](X), y, rtol=0, atol=EQUAL * np.abs(y).max())
    a, b = MODEL.run(X, ["a"]), CHANGED[name].run(X, ["a"])
    assert np.abs(a - b).max() > 0.1 * np.abs(a).max()


def raw(model: gradcam.Model, kind: Mapped, target: Any = CLASS) -> np.ndarray:
    return kind.maps(model, X, target, "a")


def largest(difference: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Largest difference in each picture relative to the peak of its map."""
    return np.abs(difference).max((1, 2)) / np.abs(reference).max((1, 2))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_reparametrisation(kind, change):
    before, after = raw(MODEL, kind), raw(CHANGED[change], kind)
    difference = after - before
    constant = difference.mean((1, 2), keepdims=True)
    whole, rest = largest(difference, before), largest(difference - constant, before)
    expected = getattr(kind.laws, change)
    if expected == "=":
        assert whole.max() < EQUAL
    elif expected == "const":
        assert rest.max() < EQUAL
        assert whole.min() > DIFFERENT
    else:
        assert expected == "changes"
        assert rest.min() > DIFFERENT


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_negated_score(kind):
    before, after = raw(MODEL, kind), raw(MODEL, kind, Negative(CLASS))
    same, opposite = largest(after - before, before), largest(after + before, before)
    if kind.laws.negated == "=":
        assert same.max() < EQUAL
    elif kind.laws.negated == "L -> -L":
        assert opposite.max() < EQUAL
    else:
        assert kind.laws.negated == "other map"
        assert min(same.min(), opposite.min()) > DIFFERENT


def test_constant_of_gradcam_is_the_weighted_shift():
    """L'(x) = L(x) + sum_k alpha[k] shift[k]."""
    before = MODEL.explain(X, target=CLASS, layer="a", relu=False)
    after = CHANGED["shift"].explain(X, target=CLASS, layer="a", relu=False)
    assert before.weights is not None
    predicted = (before.weights @ SHIFT)[:, None, None]
    np.testing.assert_allclose(after.raw - before.raw, np.broadcast_to(predicted, before.raw.shape), rtol=0, atol=EQUAL)
    np.testing.assert_allclose(after.weights, before.weights, rtol=0, atol=1e-15)
    # From minimum to maximum the pictures are the same, after ReLU they are not.
    assert np.abs(gradcam.normalize(after.raw) - gradcam.normalize(before.raw)).max() < 1e-10
    rectified = [model.explain(X, target=CLASS, layer="a", relu=True).map for model in (MODEL, CHANGED["shift"])]
    assert np.abs(rectified[0] - rectified[1]).max() > 0.1


@pytest.mark.filterwarnings("ignore::gradcam.BlankMapWarning")
def test_one_of_two_equal_networks_has_a_blank_map():
    alpha = MODEL.explain(X[:1], target=CLASS, layer="a", relu=False).weights
    peak = MODEL.explain(X[:1], target=CLASS, layer="a", relu=False).raw.max()
    lower = gradcam.reparametrise(MODEL, "a", shift=-alpha[0] * (peak + 0.1) / (alpha[0] @ alpha[0]))
    np.testing.assert_allclose(lower(X), MODEL(X), rtol=0, atol=1e-11)
    assert MODEL.explain(X[:1], target=CLASS, layer="a").map.max() == 1
    blank = lower.explain(X[:1], target=CLASS, layer="a")
    assert blank.map.max() == 0
    assert blank.flags["all_negative"].all()
