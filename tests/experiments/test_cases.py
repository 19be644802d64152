"""Pictures with a class each, their maps, and the numbers that several experiments take of them."""

from __future__ import annotations

import numpy as np
import pytest

from gradcam.targets import ClassScore, Negative
from gradcam.experiments import Design
from gradcam.experiments.cases import (
    VARIANTS,
    absent,
    centred,
    enlarged,
    maps_and_weights,
    most_crowded,
    present,
    quadrant_maps,
    raw_maps,
)
from gradcam.experiments.measures import balance, localisation, signs_of

MODEL = Design().model(0)


@pytest.fixture(scope="module")
def cases(untrained):
    return present(untrained.test)


def test_present_holds_every_object(untrained, cases):
    assert len(cases) == untrained.test.labels.sum()
    assert all(untrained.test.labels[picture, c] for picture, c in zip(cases.picture, cases.classes, strict=True))
    np.testing.assert_array_equal(cases.inputs, untrained.test.inputs[cases.picture])


def test_absent_holds_a_class_that_is_not_there(untrained):
    found = absent(untrained.test, seed=3)
    assert len(found) == len(untrained.test)
    assert not any(untrained.test.labels[i, c] for i, c in enumerate(found.classes))
    assert len({tuple(absent(untrained.test, seed=seed).classes) for seed in range(5)}) > 1
    np.testing.assert_array_equal(found.classes, absent(untrained.test, seed=3).classes)
    assert not found.masks.any()


def test_boxes_masks_and_regions_belong_to_the_class(untrained, cases):
    for i, (picture, c) in enumerate(zip(cases.picture, cases.classes, strict=True)):
        (top, bottom), (left, right) = cases.boxes[i]
        np.testing.assert_array_equal(cases.boxes[i], untrained.test.class_boxes(c)[picture])
        assert cases.masks[i, top:bottom, left:right].all()
        assert cases.masks[i].sum() == (bottom - top) * (right - left)
        np.testing.assert_array_equal(cases.regions[i], untrained.test.regions(c)[picture])


def test_maps_are_those_of_explain(cases):
    found = MODEL.explain(cases.inputs[1], target=int(cases.classes[1]), layer="act3", relu=False)
    np.testing.assert_array_equal(raw_maps(MODEL, cases, "act3")[1], found.raw)
    negated = MODEL.explain(cases.inputs[1], target=Negative(ClassScore(int(cases.classes[1]))), layer="act3", relu=False)
    np.testing.assert_array_equal(raw_maps(MODEL, cases, "act3", sign=-1)[1], negated.raw)
    maps, weights = maps_and_weights(MODEL, cases, "act3")
    np.testing.assert_array_equal(maps[1], found.raw)
    np.testing.assert_array_equal(weights[1], found.weights)
    np.testing.assert_allclose(quadrant_maps(MODEL, cases, "act3").sum(axis=1), maps, atol=1e-6 * np.abs(maps).max())


def test_chunks_do_not_change_a_map(cases, monkeypatch):
    whole = raw_maps(MODEL, cases, "evidence")
    monkeypatch.setattr("gradcam.experiments.cases._CHUNK", 2)
    np.testing.assert_array_equal(raw_maps(MODEL, cases, "evidence"), whole)


def test_the_most_crowded_picture(cases):
    found = most_crowded(cases)
    counts = np.bincount(cases.picture)
    assert len(found) == counts.max() and set(found.picture) == {counts.argmax()}


def test_variants_and_centring():
    maps = np.array([[[1.0, -2.0], [3.0, 2.0]]])
    shown = {name: variant(maps)[0].tolist() for name, variant in VARIANTS.items()}
    assert shown == {
        "max(L,0)": [[1, 0], [3, 2]],
        "L": [[1, -2], [3, 2]],
        "|L|": [[1, 2], [3, 2]],
        "max(-L,0)": [[0, 2], [0, 0]],
    }
    np.testing.assert_array_equal(centred(maps)[0], [[0, -3], [2, 1]])


def test_centred_maps_are_those_of_centred_activations(cases):
    """Counting each channel from its mean changes the map by one constant (numerics: baseline-referenced maps)."""
    maps, weights = maps_and_weights(MODEL, cases, "act3")
    activations = np.asarray(MODEL.run(cases.inputs, outputs=["act3"]), np.float64)
    activations -= activations.mean(axis=(2, 3), keepdims=True)
    expected = np.einsum("nc,nchw->nhw", weights, activations)
    np.testing.assert_allclose(centred(maps), expected, atol=1e-5 * np.abs(expected).max())


def test_localisation_of_known_maps(cases):
    masks = cases.masks.astype(np.float32)
    found = localisation(masks, cases)
    assert found == {"hits": 1.0, "energy": 1.0, "iou": 1.0, "blank": 0.0}
    found = localisation(-masks, cases)
    assert found == {"hits": 0.0, "energy": 0.0, "iou": 0.0, "blank": 1.0}
    masks[: len(cases) // 2] *= -1
    assert localisation(masks, cases)["blank"] == pytest.approx((len(cases) // 2) / len(cases))


def test_balance():
    assert balance(np.array([3.0, -1.0])) == 0.5
    assert balance(np.array([-3.0, 0.0])) == -1
    assert balance(np.zeros(3)) == 0


def test_signs_of_a_layer(cases):
    found = signs_of(MODEL, cases, "evidence")
    maps, weights = maps_and_weights(MODEL, cases, "evidence")
    assert found["activations"] == 1.0
    assert found["weights"] == pytest.approx(balance(weights))
    assert found["map"] == pytest.approx(balance(maps))
    large, masks = enlarged(maps, cases), cases.masks
    assert found["map in box"] == pytest.approx(balance(large[masks]), abs=1e-9)
    assert found["map outside"] == pytest.approx(balance(large[~masks]), abs=1e-9)
    turned = signs_of(MODEL, cases, "evidence", sign=-1)
    for name in ("weights", "map", "map in box", "map outside"):
        assert turned[name] == pytest.approx(-found[name], abs=1e-6)
