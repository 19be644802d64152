"""The four ways to show a signed map, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from gradcam.datasets import Scenes
from gradcam.datasets.scenes import DISTRACTOR
from gradcam.experiments import LAYERS, Design
from gradcam.experiments.cases import VARIANTS, absent, drawn, enlarged, present, raw_maps, region_numbers, relative
from gradcam.experiments.measures import localisation
from gradcam.experiments.relu_or_not import balance_numbers
from gradcam.metrics import energy_in_region, region_masses


def scenes():
    """One picture of 4 x 4: class 1 in the first two columns of rows 0 and 1, class 0 in the last row, a distractor, ground."""
    owner = np.array([[1, 1, 0, DISTRACTOR], [1, 0, 0, 0], [0, 0, 0, 0], [0, 2, 2, 2]], np.uint8)
    boxes = np.array([[[[0, 2], [0, 2]], [[3, 4], [1, 4]]]])
    return Scenes(
        np.zeros((1, 4, 4), np.uint8),
        np.array([[1, 1, 0]], np.uint8),
        np.array([[1, 0]]),
        boxes,
        owner[None],
        np.zeros(1, bool),
        ("0", "1", "2"),
    )


MAP = np.array([[[4.0, 2, 0, -1], [1, -3, 0, 1], [0, 0, 0, 0], [-8, -2, -1, 2]]])


@pytest.fixture(scope="module")
def maps(untrained):
    """Signed maps of random networks, and their cases."""
    cases = absent(untrained.test)
    return [(raw_maps(untrained.trained(Design(), 0), cases, layer), cases) for layer in LAYERS]


def test_boxes_are_drawn_as_masks():
    boxes = np.array([[[0, 2], [1, 3]], [[0, 0], [0, 0]]])
    wanted = np.zeros((2, 3, 4), bool)
    wanted[0, 0:2, 1:3] = True
    np.testing.assert_array_equal(drawn(boxes, (3, 4)), wanted)
    np.testing.assert_array_equal(drawn(boxes[None, ::-1], (3, 4)), wanted[None, ::-1])


def test_other_objects_are_those_of_other_classes():
    cases = present(scenes())
    np.testing.assert_array_equal(cases.classes, [1, 0])
    np.testing.assert_array_equal(cases.others, [[False, True], [True, False]])
    np.testing.assert_array_equal(cases.other_masks, cases.masks[::-1])
    one = absent(scenes())
    np.testing.assert_array_equal(one.classes, [2])
    np.testing.assert_array_equal(one.other_masks[0], cases.masks.any(axis=0))


# The map's box: around the largest connected part above 15 % of the maximum, which is that of class 1 unless it is below zero.
@pytest.mark.parametrize(
    ("shown", "hits", "energy", "overlap"),
    [("max(L,0)", 1, 7 / 10, 1), ("L", 1, 7 / 10, 1), ("|L|", 0, 10 / 25, 1), ("max(-L,0)", 0, 3 / 15, 0)],
)
def test_variants_by_hand(shown, hits, energy, overlap):
    found = localisation(VARIANTS[shown](MAP), present(scenes())[:1])
    assert found == {"hits": hits, "energy": pytest.approx(energy), "iou": overlap, "blank": 0}


def test_blank_maps_are_counted_before_they_are_enlarged():
    cases = present(scenes())
    maps = np.concatenate([-np.abs(MAP), MAP])
    blank = {name: localisation(variant(maps), cases)["blank"] for name, variant in VARIANTS.items()}
    assert blank == {"max(L,0)": 0.5, "L": 0.5, "|L|": 0, "max(-L,0)": 0}


def test_balance_by_hand():
    maps = np.concatenate([MAP, -np.abs(MAP), np.zeros_like(MAP)])
    found = balance_numbers(maps)
    assert found["positive share"] == pytest.approx(10 / 50)
    assert found["nowhere positive"] == pytest.approx(2 / 3)
    assert found["nowhere negative"] == pytest.approx(1 / 3)
    assert np.isnan(balance_numbers(np.zeros((1, 2, 2)))["positive share"])


def test_regions_by_hand():
    own, other, distractor, ground = region_numbers(MAP, present(scenes())[:1].regions)
    assert [row["area"] for row in (own, other, distractor, ground)] == [3 / 16, 3 / 16, 1 / 16, 9 / 16]
    assert [row["positive share"] for row in (own, other, distractor, ground)] == pytest.approx([0.7, 0.2, 0, 0.1])
    assert [row["negative share"] for row in (own, other, distractor, ground)] == pytest.approx([0, 3 / 15, 1 / 15, 11 / 15])
    assert own["positive density"] == pytest.approx(0.7 * 16 / 3)
    assert ground["negative density"] == pytest.approx(11 / 15 * 16 / 9)


def test_pictures_count_by_their_mass():
    maps = np.array([[[3.0, 1.0]], [[0.0, 0.5]]])
    regions = np.array([[[[True, False]]], [[[True, True]]]])
    (found,) = region_numbers(maps, regions)
    assert found["area"] == 0.75
    assert found["positive share"] == pytest.approx(3.5 / 4.5)
    assert found["positive density"] == pytest.approx(3.5 / (4 * 0.5 + 0.5 * 1))
    assert np.isnan(found["negative share"]) and np.isnan(found["negative density"])


def test_a_map_without_preference_has_density_one(untrained):
    cases = present(untrained.test)
    for row in region_numbers(np.full(cases.scenes.images.shape, -2.0), cases.regions):
        assert row["negative density"] == pytest.approx(1)


def test_parts_of_a_signed_map(maps):
    for raw, cases in maps:
        above, below = (VARIANTS[name](raw) for name in ("max(L,0)", "max(-L,0)"))
        assert (above >= 0).all() and (below >= 0).all() and below.any()
        np.testing.assert_array_equal(above - below, raw)
        np.testing.assert_array_equal(above + below, np.abs(raw))
        assert relative(enlarged(above, cases) - enlarged(below, cases), enlarged(raw, cases)) < 1e-6


def test_regions_share_the_whole_mass(maps):
    for raw, cases in maps:
        large = enlarged(raw, cases)
        masses = region_masses(large, cases.regions)
        np.testing.assert_allclose(
            masses.positive.sum(axis=1), np.where(large > 0, large, 0).sum(axis=(1, 2), dtype=np.float64), rtol=1e-12
        )
        np.testing.assert_allclose(
            masses.negative.sum(axis=1), -np.where(large < 0, large, 0).sum(axis=(1, 2), dtype=np.float64), rtol=1e-12
        )


def test_energy_does_not_see_what_is_below_zero(maps):
    for raw, cases in maps:
        large, objects = enlarged(raw, cases), cases.other_masks
        assert (large < 0).any()
        np.testing.assert_array_equal(energy_in_region(large, objects), energy_in_region(np.maximum(large, 0), objects))


def test_at_the_last_layer_the_map_is_made_of_contributions(untrained):
    cases, model = absent(untrained.test), untrained.trained(Design(), 0)
    activations, gradients = model.activations_and_gradients(cases.inputs, layer=LAYERS[-1], target=cases.targets())
    wanted = (np.asarray(activations, np.float64) * gradients).sum(axis=1)
    assert relative(raw_maps(model, cases, LAYERS[-1]), wanted) < 1e-5
    assert relative(raw_maps(model, cases, LAYERS[-1], "hirescam"), wanted) < 1e-5


def test_an_example_has_present_classes_and_one_that_is_absent(untrained):
    cases = untrained.example(Design(), 0)
    assert len(cases) > 1 and len(set(cases.picture)) == 1
    assert cases.masks.any(axis=(1, 2)).tolist() == [True] * (len(cases) - 1) + [False]
