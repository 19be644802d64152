"""Designs: what they say, and what their networks compute."""

from __future__ import annotations

import numpy as np
import pytest

import gradcam
from gradcam.experiments import LAYERS, Design
from gradcam.experiments.networks import PRE_LAYERS, SIZE

X = np.random.default_rng(0).random((3, 1, SIZE, SIZE), dtype=np.float32)


@pytest.mark.parametrize(
    ("last", "turn"),
    [("-x", lambda x: -x), ("1-x", lambda x: 1 - x), ("x+b", lambda x: x)],
)
def test_the_head_reads_what_the_design_says(last, turn):
    found = Design(last=last).model(0).run(X, outputs=["act4", "evidence"])
    assert found["act4"].max() > 0
    np.testing.assert_array_equal(found["evidence"], turn(found["act4"]))


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "silu", "tanh"])
def test_layers_and_their_activation(activation):
    functions = {
        "relu": lambda x: np.maximum(x, 0),
        "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
        "silu": lambda x: x / (1 + np.exp(-x)),
        "tanh": np.tanh,
    }
    found = Design(activation=activation).model(0).run(X.astype(np.float64), outputs=[*PRE_LAYERS, *LAYERS])
    for before, after in zip(PRE_LAYERS, LAYERS, strict=True):
        np.testing.assert_allclose(found[after], functions[activation](found[before]), rtol=1e-9, atol=1e-12)


def test_seeds_and_names_are_different():
    designs = [Design(), Design("tanh"), Design(last="-x"), Design(targets=(1, 0)), Design(loss="mean_squared_error")]
    assert len({design.name for design in designs}) == len(designs)
    first, again, other = (np.asarray(Design().model(seed)(X)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_a_learned_offset_is_trained():
    assert "offset.bias" in gradcam.train.parameter_names(Design(last="x+b").model(0))
    assert "offset.bias" not in gradcam.train.parameter_names(Design(last="1-x").model(0))


@pytest.mark.parametrize(
    ("design", "sign", "threshold"),
    [
        (Design(), 1, 0),
        (Design(targets=(1, 0)), -1, 0),
        (Design(loss="mean_squared_error"), 1, 0.5),
        (Design(loss="mean_squared_error", targets=(0, -1)), -1, -0.5),
        (Design(loss="mean_squared_error", targets=(-1, 1)), 1, 0),
    ],
)
def test_what_a_score_means(design, sign, threshold):
    assert (design.sign, design.threshold) == (sign, threshold)
    wanted = design.wanted(np.array([[0, 1]], np.uint8))
    assert wanted.dtype == np.float32
    assert wanted.tolist() == [list(design.targets)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"activation": "gelu"}, "Design: activation: expected one of relu.*got 'gelu'"),
        ({"last": "x-1"}, "Design: last"),
        ({"loss": "hinge"}, "Design: loss"),
        ({"targets": (1, 1)}, "Design: targets: expected two different numbers"),
        ({"targets": (-1, 1)}, "Design: targets: expected 0 and 1 for the cross-entropy"),
    ],
)
def test_bad_designs(arguments, message):
    with pytest.raises(ValueError, match=message):
        Design(**arguments)
