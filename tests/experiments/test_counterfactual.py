"""Maps of negated scores, and pictures with parts removed, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gradcam.datasets import Scenes
from gradcam.datasets.scenes import DISTRACTOR
from gradcam.experiments import LAYERS, Design
from gradcam.experiments.cases import Cases, absent, drawn, present, raw_maps, relative
from gradcam.experiments.counterfactual import METHODS, NEGATED, box_regions, negation_numbers
from gradcam.experiments.removal import erased, free_boxes, pointed, removal_numbers

SIDE = 8
BOXES = np.array([[[0, 3], [0, 2]], [[4, 6], [5, 8]], [[6, 8], [0, 2]]])


def scenes(count=1):
    """Three objects, 1, 0 and 2, whose ink is their box, and a distractor that reaches into the box of the first."""
    owner = np.zeros((SIDE, SIDE), np.uint8)
    owner[0, 1:4] = DISTRACTOR
    for slot, box in enumerate(BOXES):
        owner[drawn(box, owner.shape)] = np.where(owner[drawn(box, owner.shape)], DISTRACTOR, slot + 1)
    images = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(1, SIDE, SIDE)
    one = Scenes(
        images, np.array([[1, 1, 1, 0]], np.uint8), np.array([[1, 0, 2]]), BOXES[None], owner[None], np.zeros(1, bool), tuple("0123")
    )
    return one[np.zeros(count, np.int64)]


class BrightPixels:
    """In place of a study and a model: the score of class 0 is the brightness, those of others its negative."""

    def scores(self, model, x):
        total = x.sum(axis=(1, 2, 3))
        return np.stack([total, -total, -total, -total], axis=1)


@pytest.mark.parametrize("layer", LAYERS)
def test_the_negated_score_negates_the_map_of_some_methods(untrained, layer):
    model, cases = untrained.trained(Design(), 0), absent(untrained.test)
    maps = {(method, sign): raw_maps(model, cases, layer, method, sign=sign) for method in METHODS for sign in (1, -1)}
    for method in METHODS:
        same = relative(maps[method, -1], -maps[method, 1]) < 1e-6
        assert same == (method in NEGATED), method
    # of the definition: relu(g) A and relu(-g) A differ by g A, summed over channels
    activations, gradients = model.activations_and_gradients(cases.inputs, layer=layer, target=cases.targets())
    wanted = (np.asarray(activations, np.float64) * gradients).sum(axis=1)
    assert relative(maps["layercam", 1] - maps["layercam", -1], wanted) < 1e-5
    against = (np.asarray(activations, np.float64) * np.maximum(-gradients, 0)).sum(axis=1)
    assert relative(maps["layercam", -1], against) < 1e-5


def test_negation_by_hand():
    maps = np.array([[[2.0, -4.0, 1.0]], [[1.0, 2.0, 3.0]], [[0.0, 0.0, 0.0]]])
    assert negation_numbers(maps, -maps) == {"deviation": 0, "rank correlation": pytest.approx(1)}
    other = np.array([[[-2.0, 4.0, 1.0]], [[1.0, 2.0, 3.0]], [[0.0, 0.0, 0.0]]])
    found = negation_numbers(maps, other)
    assert found["deviation"] == pytest.approx((2 / 4 + 6 / 3) / 2)
    assert found["rank correlation"] == pytest.approx((0.5 - 1) / 2 + 0.25)
    assert np.isnan(negation_numbers(maps[2:], maps[2:])["deviation"])


def test_box_regions_split_the_picture():
    own, others, distractor, rest = box_regions(present(scenes())[:1])[0]
    np.testing.assert_array_equal(own, drawn(BOXES[0], (SIDE, SIDE)))
    np.testing.assert_array_equal(others, drawn(BOXES[1:], (SIDE, SIDE)).any(axis=0))
    np.testing.assert_array_equal(np.argwhere(distractor), [[0, 2], [0, 3]])
    np.testing.assert_array_equal(own.astype(int) + others + distractor + rest, 1)


def test_a_map_points_at_the_other_object_where_its_mean_is_largest():
    cases = present(scenes())
    maps = np.zeros((3, SIDE, SIDE))
    maps[:, 0:3, 0:2] = 9  # slot 0: a mean of 9
    maps[:, 4, 5] = 30  # slot 1: a mean of 5, though the largest sum and maximum
    maps[:, 6:8, 0:2] = 7  # slot 2: a mean of 7
    np.testing.assert_array_equal(cases.classes, [1, 0, 2])
    np.testing.assert_array_equal(pointed(maps, cases), [2, 0, 0])
    np.testing.assert_array_equal(pointed(-maps, cases), [1, 2, 1])
    np.testing.assert_array_equal(pointed(-np.ones_like(maps), cases), [1, 0, 0])  # an empty slot is no object, whatever is there
    two = replace(cases.scenes, classes=np.array([[1, -1, 2]] * 3), boxes=cases.scenes.boxes * np.array([1, 0, 1])[:, None, None])
    np.testing.assert_array_equal(pointed(-maps, Cases(two, cases.picture, cases.classes))[[0, 2]], [2, 0])


def test_free_boxes_touch_no_object_and_keep_their_size():
    many = scenes(50)
    boxes = np.repeat(BOXES[None, 1], 50, axis=0)
    found, placed = free_boxes(boxes, many)
    assert placed.all() and len(np.unique(found, axis=0)) > 10
    np.testing.assert_array_equal(found[..., 1] - found[..., 0], boxes[..., 1] - boxes[..., 0])
    assert (found >= 0).all() and (found <= SIDE).all()
    assert not (drawn(found, (SIDE, SIDE)) & drawn(BOXES, (SIDE, SIDE)).any(axis=0)).any()
    whole = np.array([[[0, SIDE], [0, SIDE]]])
    assert not free_boxes(whole, scenes())[1].any()


def test_boxes_are_filled_with_the_median_around_them():
    images = scenes(2).images.copy()
    box = np.array([[[4, 6], [5, 8]], [[0, 3], [0, 2]]])  # at the right border, and in a corner
    found = erased(images, box)
    rings = [[3, r] for r in range(4, 8)] + [[6, r] for r in range(4, 8)] + [[4, 4], [5, 4]]
    assert found[0, 4, 5] == int(np.median([images[0][r, c] for r, c in rings]))
    rings = [[3, 0], [3, 1], [3, 2], [0, 2], [1, 2], [2, 2]]
    assert found[1, 0, 0] == int(np.median([images[1][r, c] for r, c in rings]))
    for picture, one in enumerate(box):
        inside = drawn(one, (SIDE, SIDE))
        assert len(np.unique(found[picture][inside])) == 1
        np.testing.assert_array_equal(found[picture][~inside], images[picture][~inside])


def test_removal_by_hand():
    """Bright objects on black: the score of class 0 falls by what was removed, that of others rises."""
    picture = scenes()
    light = np.zeros((1, SIDE, SIDE), np.uint8)
    for box, value in zip(BOXES, (51, 102, 255), strict=True):
        light[0][drawn(box, light.shape[1:])] = value
    cases = present(replace(picture, images=light))
    maps = np.zeros((3, SIDE, SIDE))
    maps[:, 6:8, 0:2] = 5  # on class 2, densest for classes 1 and 0; a map of class 2 itself has its maximum on no other object
    maps[:, 4:6, 5:8] = 1  # class 0
    brightness = {1: 6 * 0.2, 0: 6 * 0.4, 2: 4 * 1.0}
    found = removal_numbers(BrightPixels(), None, cases, maps)
    assert set(found) == {"pointed at", "random place", "own object", "of several: densest", "of several: least dense"}
    assert found["pointed at"] == {"change": pytest.approx((brightness[2] - brightness[2]) / 2), "rises": 0.5, "cases": 2}
    places, _ = free_boxes(np.repeat(BOXES[None, 2], 3, axis=0), cases.scenes)
    brighter = erased(cases.scenes.images, places).sum(axis=(1, 2)) / 255 - light.sum() / 255  # where an object surrounds most of the place
    assert found["random place"]["change"] == pytest.approx((brighter[1] - brighter[0]) / 2)
    assert found["own object"]["change"] == pytest.approx((brightness[1] - brightness[0]) / 2)
    # densest: class 2 for 1 and 0, class 0 for 2; least dense: class 0 for 1, class 1 for 0 and 2
    assert found["of several: densest"]["change"] == pytest.approx((brightness[2] - brightness[2] + brightness[0]) / 3)
    assert found["of several: least dense"]["change"] == pytest.approx((brightness[0] - brightness[1] + brightness[1]) / 3)


def test_without_other_objects_nothing_is_compared_that_is_not_there(untrained):
    cases = absent(scenes())
    maps = np.zeros((1, SIDE, SIDE))
    maps[0, 4, 3] = 1  # on no object
    assert set(removal_numbers(BrightPixels(), None, cases, maps)) == {"of several: densest", "of several: least dense"}
