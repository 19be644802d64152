"""Masks and boxes against plain loops and SciPy's labelling."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from maps import random_maps
from reference import localisation as reference

import gradcam
from gradcam.localisation import boxes, mask

few_values = hnp.arrays(
    st.sampled_from([np.float32, np.float64]),
    hnp.array_shapes(min_dims=2, max_dims=4, max_side=6),
    elements=st.sampled_from([-2.0, 0.0, 0.125, 0.5, 0.75, 1.0, float("nan"), float("inf"), float("-inf")]),
    fill=st.nothing(),
)


@given(few_values, st.sampled_from([0.0, 0.15, 0.5, 0.99]))
def test_masks_and_boxes_equal_the_reference(maps, threshold):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, drawn = mask(maps, threshold), boxes(maps, threshold)
    assert found.dtype == np.bool_
    assert drawn.dtype == np.int64
    assert drawn.shape == (len(maps), maps.ndim - 1, 2)
    np.testing.assert_array_equal(found, np.stack([reference.mask(m, threshold) for m in maps]))
    np.testing.assert_array_equal(drawn, [reference.box(m, threshold) for m in maps])


@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=4, max_side=9), fill=st.nothing()))
def test_the_box_is_around_the_part_that_scipy_finds(above):
    ndimage = pytest.importorskip("scipy.ndimage")
    for image, drawn in zip(above, boxes(above.astype(np.float32)), strict=True):
        labels, count = ndimage.label(image)
        sizes = np.bincount(labels.reshape(-1), minlength=count + 1)[1:]
        want = ndimage.find_objects(labels)[int(sizes.argmax())] if count else (slice(0, 0),) * image.ndim
        assert [slice(*pair) for pair in drawn.tolist()] == list(want)


@pytest.mark.parametrize("shape", [(3, 40), (2, 31, 45), (2, 9, 11, 10)])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_larger_maps_with_winding_parts(shape, share):
    maps = np.random.default_rng(3).random(shape)
    np.testing.assert_array_equal(boxes(maps, share), [reference.box(m, share) for m in maps])


def test_the_largest_part_counts_not_the_strongest():
    maps = np.zeros((1, 6, 7))
    maps[0, 0, 0] = 1.0
    maps[0, 2:5, 3:5] = 0.2
    maps[0, 4, 5] = 0.2
    np.testing.assert_array_equal(boxes(maps), [[[2, 5], [3, 6]]])
    np.testing.assert_array_equal(boxes(maps, 0.2), [[[0, 1], [0, 1]]])  # 0.2 is not above 0.2 of 1


def test_corners_do_not_connect():
    maps = np.array([[[1.0, 0, 0], [0, 1, 1], [0, 0, 0]]])
    np.testing.assert_array_equal(boxes(maps), [[[1, 2], [1, 3]]])


def test_ties_go_to_the_stronger_part_then_to_the_first():
    np.testing.assert_array_equal(boxes(np.array([[0.5, 0, 1, 0, 1], [1, 0, 0.5, 0, 1]])), [[[2, 3]], [[0, 1]]])


@pytest.mark.parametrize("scale", [5e-324, 1e-3, 1.0, 1e300])
def test_only_the_ratio_to_the_maximum_counts(scale):
    maps = np.array([[[0.0, 4, 2], [-9, 0, 1]]]) * scale
    np.testing.assert_array_equal(mask(maps, 0.25), [[[False, True, True], [False, False, False]]])
    np.testing.assert_array_equal(boxes(maps, 0.25), [[[0, 1], [1, 3]]])


def test_raw_and_finished_maps_agree_where_the_minimum_is_zero():
    raw = random_maps((3, 7, 9), np.float32)
    np.testing.assert_array_equal(boxes(raw), boxes(gradcam.postprocess(raw)))
    np.testing.assert_array_equal(boxes(raw), boxes(gradcam.postprocess(raw, relu=False)))


def test_images_without_evidence_have_no_box():
    maps = np.stack([np.zeros((3, 4)), np.full((3, 4), -1.0), np.full((3, 4), np.nan), np.full((3, 4), -np.inf), np.eye(3, 4)])
    np.testing.assert_array_equal(mask(maps), maps == 1)
    np.testing.assert_array_equal(boxes(maps)[:4], 0)
    assert not mask(np.zeros((2, 5))).any()
    assert mask(np.zeros((0, 4, 5))).shape == (0, 4, 5)
    assert boxes(np.zeros((0, 4, 5))).shape == (0, 2, 2)


def test_images_do_not_influence_each_other_and_layout_makes_no_difference():
    maps = random_maps((4, 8, 9), np.float32)
    maps[1] *= 1000
    kept, want = maps.copy(), boxes(maps)
    maps.flags.writeable = False
    for i in range(4):
        np.testing.assert_array_equal(boxes(maps[i : i + 1]), want[i : i + 1])
    for other in (np.asfortranarray(maps), maps.astype(">f4"), maps[:, ::-1].copy()[:, ::-1]):
        np.testing.assert_array_equal(boxes(other), want)
    np.testing.assert_array_equal(maps, kept)
    np.testing.assert_array_equal(boxes(maps.astype(np.float16)), boxes(maps.astype(np.float16).astype(np.float32)))


@pytest.mark.parametrize("pattern", ["comb", "spiral", "checkerboard"])
def test_awkward_patterns_take_time_in_proportion(pattern):
    """A labelling that is quadratic in the number of runs would take minutes."""
    side = 400
    above = np.zeros((side, side), bool)
    if pattern == "comb":
        above[:, ::2] = True
        above[-1] = True
    elif pattern == "checkerboard":
        above[::2, ::2] = above[1::2, 1::2] = True
    else:
        low, high = 0, side - 1
        while low < high:
            above[low, max(low - 2, 0) : high + 1] = above[low : high + 1, high] = True
            above[high, low : high + 1] = above[low + 2 : high + 1, low] = True
            low, high = low + 2, high - 2
    start = time.perf_counter()
    drawn = boxes(above[None].astype(np.float32))
    assert time.perf_counter() - start < 10
    stop = 1 if pattern == "checkerboard" else side
    np.testing.assert_array_equal(drawn, [[[0, stop], [0, stop]]])


@pytest.mark.parametrize("function", [mask, boxes])
@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((np.ones((2, 3), int),), TypeError, "map: expected float32 or float64, got int64"),
        ((np.ones(3),), ValueError, "map: expected one batch axis and 1 to 3 spatial axes, got shape (3,)"),
        ((np.ones((2, 0)),), ValueError, "map: expected spatial axes of length 1 or more, got shape (2, 0)"),
        ((np.ones((2, 3)), 1.0), ValueError, "threshold: expected at least 0 and less than 1, got 1.0"),
        ((np.ones((2, 3)), -0.1), ValueError, "threshold: expected at least 0 and less than 1, got -0.1"),
        ((np.ones((2, 3)), float("nan")), ValueError, "threshold: expected at least 0 and less than 1, got nan"),
        ((np.ones((2, 3)), "15%"), TypeError, "threshold: expected a real number, got '15%'"),
        ((np.ones((2, 3)), True), TypeError, "threshold: expected a real number, got True"),
    ],
)
def test_bad_input(function, arguments, error, text):
    with pytest.raises(error) as info:
        function(*arguments)
    assert str(info.value) == f"{function.__name__}: {text}"
