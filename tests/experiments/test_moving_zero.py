"""Another zero, scale and sign of a layer: what the experiment is made of, on small networks in float64.

That each kind of map obeys its law, the constant of Grad-CAM and a blank map are in tests/methods/test_invariance.py.
"""

from __future__ import annotations

import numpy as np
import pytest

import gradcam
from gradcam.experiments import Design
from gradcam.experiments.cases import centred, present
from gradcam.experiments.moving_zero import LAYERS, directions
from gradcam.experiments.parametrisation import (
    EQUAL,
    Changed,
    blanking_shift,
    channel_spread,
    difference,
    gradcam_from,
    mapped,
)

KINDS = {kind.name: kind for kind in mapped()}
POOLED = [name for name, kind in KINDS.items() if kind.laws_at(pooled=True) != kind.laws]


@pytest.fixture(scope="module")
def changed(untrained):
    cases = present(untrained.test)[:4]
    x = cases.inputs.astype(np.float64)
    return {layer: Changed.draw(untrained.trained(Design(), 0), x, cases.targets(), layer, seed=3) for layer in LAYERS}


@pytest.mark.parametrize("layer", LAYERS)
def test_gradients_after_each_change(changed, layer):
    c = changed[layer]
    _, before = c.model.activations_and_gradients(c.x, target=c.target, layer=layer)
    assert np.abs(before).max() > 0
    for name, other in c.others.items():
        _, after = other.activations_and_gradients(c.x, target=c.target, layer=layer)
        factor = np.asarray(c.changes[name].get("scale", 1.0)).reshape(-1, 1, 1)
        np.testing.assert_allclose(after * factor, before, rtol=0, atol=1e-13 * np.abs(before).max())
    assert all(change < 1e-13 for change in c.score_changes().values())
    assert c.score_changes(np.float32)["shift"] > 1e-9  # rounding: the numbers are others


def test_laws_of_a_layer_that_is_pooled():
    assert set(POOLED) == {"xgradcam", "hirescam", "layercam", "eigengradcam", "segeigencam"}


@pytest.mark.parametrize("name", POOLED)
def test_a_pooled_layer_has_other_laws_of_shifts(changed, name):
    at = {layer: changed[layer].compare(KINDS[name])["shift"] for layer in LAYERS}
    assert np.nanmin(at["act3"].rest) > 1e-3
    assert np.nanmax(at["evidence"].rest) < EQUAL
    assert (np.nanmax(at["evidence"].whole) < EQUAL) == (KINDS[name].laws_at(pooled=True).shift == "=")


def test_maps_from_a_reference_by_loops(changed):
    c = changed["act3"]
    a, g = c.model.activations_and_gradients(c.x, target=c.target, layer=c.layer)
    a0 = c.model.run(np.zeros_like(c.x[:1]), ["act3"])[0]
    names = ("minimum", "mean", "input")
    want = {name: np.zeros((len(a), *a.shape[2:])) for name in (*names, "hirescam")}
    for n in range(len(a)):
        for k in range(a.shape[1]):
            zeros = (a[n, k].min(), a[n, k].sum() / a[n, k].size, a0[k])
            for name, zero in zip(names, zeros, strict=True):
                want[name][n] += g[n, k].sum() / g[n, k].size * (a[n, k] - zero)
            want["hirescam"][n] += g[n, k] * (a[n, k] - a0[k])
    kinds = {name: gradcam_from(name) for name in names} | {"hirescam": KINDS["hirescam, b = reference input"]}
    for name, kind in kinds.items():
        got = kind.maps(c.model, c.x, c.target, c.layer)
        np.testing.assert_allclose(got, want[name], rtol=0, atol=1e-13 * np.abs(want[name]).max())
    assert np.abs(want["mean"].mean((1, 2))).max() < 1e-13 * np.abs(want["mean"]).max()


def test_difference_without_and_with_a_constant():
    before = np.array([[[1.0, -2.0], [0.0, 1.0]], [[4.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    after = before + np.array([[[3.0, 3.0], [3.0, 3.0]], [[0.0, 0.0], [0.0, -2.0]], [[1.0, 1.0], [1.0, 1.0]]])
    whole, rest = difference(before, after)
    np.testing.assert_allclose(whole, [1.5, 0.5, np.nan])
    np.testing.assert_allclose(rest, [0, 0.375, np.nan])


@pytest.mark.parametrize("layer", LAYERS)
def test_no_smaller_shift_brings_the_peak_to_zero(changed, layer):
    c = changed[layer]
    a, found = c.model.run(c.x, [layer]), c.model.explain(c.x, target=c.target, layer=layer, relu=False)
    maps, alpha, spread = found.raw, found.weights, channel_spread(a)
    np.testing.assert_allclose(spread, [a[:, k].std() for k in range(a.shape[1])], rtol=1e-12)
    shifts, sizes = blanking_shift(maps, alpha, spread)
    chosen = int(np.nanargmin(sizes))
    used = spread > 0
    shift, size, peak = shifts[chosen], sizes[chosen], maps[chosen].max()
    assert size == pytest.approx(np.sqrt(np.sum((shift[used] / spread[used]) ** 2) / len(spread)))
    other = gradcam.reparametrise(c.model, layer, shift=shift)
    moved = other.explain(c.x[chosen : chosen + 1], target=c.target[chosen], layer=layer, relu=False).raw
    assert abs(moved.max()) < 1e-12 * np.abs(moved).max()
    for d in np.random.default_rng(0).standard_normal((50, len(spread))):
        assert peak + alpha[chosen] @ (spread * d * size / np.sqrt((d**2).mean())) > 0


def test_a_map_below_zero_needs_no_shift():
    shift, size = blanking_shift(np.array([[[-1.0, -2.0]]]), np.array([[1.0, 2.0]]), np.ones(2))
    np.testing.assert_array_equal(shift, [[0, 0]])
    np.testing.assert_array_equal(size, [np.nan])


def test_the_lowering_direction_lowers_the_mean_map_most():
    rng = np.random.default_rng(1)
    alpha, spread = rng.standard_normal((7, 5)), np.array([1.0, 2.0, 0.0, 0.5, 3.0])
    found = directions(alpha, spread, seed=4)
    used = spread > 0
    drops = {kind: [(alpha @ shift).mean() for shift in shifts] for kind, shifts in found.items()}
    (lowest,) = drops["lowering"]
    assert lowest < min(drops["random"])
    assert np.sqrt(((found["lowering"][0][used] / spread[used]) ** 2).sum() / 5) == pytest.approx(1)
    for d in rng.standard_normal((50, 5)):
        assert lowest < (alpha @ (spread * d / np.sqrt((d**2).mean()))).mean()
    again = directions(alpha, spread, seed=4)
    np.testing.assert_array_equal(again["random"], found["random"])
    assert not np.array_equal(directions(alpha, spread, seed=5)["random"], found["random"])


def test_the_map_from_the_mean_is_the_centred_one_and_the_same_in_float32(changed):
    c = changed["evidence"]
    x = c.x.astype(np.float32)
    before, after = (gradcam_from("mean").maps(m, x, c.target, "evidence") for m in (c.model, c.others["shift"]))
    assert before.dtype == np.float32
    tolerance = 1e-5 * np.abs(before).max()
    np.testing.assert_allclose(after, before, rtol=0, atol=tolerance)
    maps = c.others["shift"].explain(x, target=c.target, layer="evidence", relu=False).raw
    np.testing.assert_allclose(centred(maps), before, rtol=0, atol=tolerance)
