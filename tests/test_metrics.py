"""Metrics of maps against plain loops, by hand, at the edges, and with bad input."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reference import localisation as loops
from reference import metrics as reference

import gradcam
from gradcam.datasets import REGIONS, shape_scenes
from gradcam.metrics import (
    Interval,
    energy_in_region,
    iou,
    mean_interval,
    overlap,
    pointing_game,
    rank_correlation,
    region_masses,
    swapped,
)
from gradcam.metrics.intervals import student_quantile

VALUES = st.sampled_from([-2.0, -0.5, 0.0, 0.125, 0.5, 0.75, 1.0, 3.0])
ODD = st.sampled_from([-2.0, 0.0, 0.125, 0.5, 1.0, float("nan"), float("inf"), float("-inf")])
INF, NAN = math.inf, math.nan


@st.composite
def maps_and_masks(draw, masks=2, elements=VALUES):
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=4, max_side=5))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    maps = draw(hnp.arrays(dtype, shape, elements=elements, fill=st.nothing()))
    return maps, *(draw(hnp.arrays(np.bool_, shape, fill=st.nothing())) for _ in range(masks))


def each(function, *arrays, **keywords):
    return [function(*row, **keywords) for row in zip(*arrays, strict=True)]


ANY = maps_and_masks() | maps_and_masks(elements=ODD)


@given(ANY, st.sampled_from([0, 1, 1.5, 3]))
def test_values_of_one_map_equal_the_reference(given, tolerance):
    maps, own, other = given
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = [
            pointing_game(maps, own, tolerance),
            energy_in_region(maps, own),
            iou(maps, own, 0.3),
            swapped(maps, own, other),
        ]
    assert all(values.dtype == np.float64 and values.shape == (len(maps),) for values in found)
    np.testing.assert_array_equal(found[0], each(reference.pointing, maps, own, tolerance=tolerance))
    np.testing.assert_allclose(found[1], each(reference.energy, maps, own), rtol=1e-14)
    np.testing.assert_allclose(found[2], each(reference.iou, maps, own, threshold=0.3), rtol=1e-15)
    np.testing.assert_array_equal(found[3], each(reference.swapped, maps, own, other))
    assert not ((found[1] < 0) | (found[1] > 1)).any()


@given(st.one_of(*(maps_and_masks(masks=0, elements=e) for e in (VALUES, ODD))), st.integers(0, 2**32 - 1))
def test_agreement_of_two_maps_equals_the_reference(given, seed):
    a = given[0]
    b = np.random.default_rng(seed).permuted(a.reshape(-1)).reshape(a.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shared, ranks = overlap(a, b), rank_correlation(a, b)
    np.testing.assert_allclose(shared, each(reference.overlap, a, b), rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(ranks, each(reference.rank_correlation, a, b), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(shared, overlap(b, a))
    np.testing.assert_array_equal(ranks, rank_correlation(b, a))


@given(ANY)
def test_region_masses_equal_sums_over_positions(given):
    maps, own, other = given
    found = region_masses(maps, np.stack([own, other, own & ~own], axis=1))
    for i, m in enumerate(maps):
        for r, inside in enumerate((own[i], other[i], np.zeros_like(own[i]))):
            values = [float(v) for v in m[inside] if np.isfinite(v)]
            np.testing.assert_allclose(found.positive[i, r], sum(v for v in values if v > 0))
            np.testing.assert_allclose(found.negative[i, r], -sum(v for v in values if v < 0))
            np.testing.assert_allclose(found.areas[i, r], inside.mean())
        np.testing.assert_allclose(found.total_positive[i], sum(reference.positive(m).values()))
        np.testing.assert_allclose(found.total_negative[i], sum(reference.positive(-m).values()))


# By hand --------------------------------------------------------------------------------------------------------------


def picture(*rows):
    return np.array([rows], np.float64)


def test_pointing_game_by_hand():
    m = picture([0, 0, 0, 0], [0, 9, 0, 0], [0, 0, 0, 9], [0, 0, 0, 0])  # the first of two maxima is at (1, 1)
    box = np.array([[[2, 4], [2, 4]]])  # its nearest pixel, (2, 2), is sqrt(2) away
    assert pointing_game(m, box, 1).tolist() == [0]
    assert pointing_game(m, box, 1.4143).tolist() == [1]
    assert pointing_game(m, box).tolist() == [1]
    assert pointing_game(m, np.array([[[1, 2], [1, 2]]]), 0).tolist() == [1]
    assert pointing_game(np.zeros((1, 4, 4)), box).tolist() == [0]  # a blank map points nowhere
    assert pointing_game(-m, box, 0).tolist() == [0]  # its first maximum is the corner


def test_energy_and_iou_by_hand():
    m = picture([4, 1, 0], [-3, 3, 0])
    assert energy_in_region(m, np.array([[[0, 1], [0, 2]]])).tolist() == [5 / 8]
    assert energy_in_region(-m, np.array([[[1, 2], [0, 1]]])).tolist() == [1]
    assert energy_in_region(np.zeros((1, 2, 3)), np.ones((1, 2, 3), bool)).tolist() == [0]
    assert iou(m, m > 2).tolist() == [2 / 3]  # above 0.6 are three positions
    assert iou(m, np.array([[[0, 2], [0, 1]]])).tolist() == [2 / 4]  # the box around them is 2 x 2
    assert iou(-m, np.array([[[0, 1], [0, 3]]])).tolist() == [0]  # the box around the only positive value is elsewhere
    assert iou(np.zeros((1, 2, 3)), np.array([[[0, 2], [0, 1]]])).tolist() == [0]


def test_energy_of_huge_and_tiny_maps():
    for scale in (1e308, 5e-324):
        m = np.array([[1.0, 1.0, 1.0, 1.0]]) * scale
        assert energy_in_region(m, np.array([[[0, 3]]])).tolist() == [0.75]
        assert overlap(m, m[:, ::-1] * [[1, 1, 0, 0]]).tolist() == [0.5]


def test_swapped_by_hand():
    own, other = np.array([[[0, 2]]]), np.array([[[2, 4]]])
    assert swapped(np.array([[1.0, 0, 2, 0]]), own, other).tolist() == [1]
    assert swapped(np.array([[-1.0, 0, -2, 0]]), own, other).tolist() == [0]
    assert swapped(np.array([[1.0, 2, 2, 1]]), own, other).tolist() == [0.5]
    assert swapped(np.array([[1.0, 2, 3, 1]]), own, np.array([[[1, 3]]])).tolist() == [1]
    assert swapped(np.zeros((1, 4)), own, other).tolist() == [0.5]


def test_overlap_and_rank_correlation_by_hand():
    a, b = picture([2, 2, 0, -7]), picture([0, 1, 1, 0])
    assert overlap(a, b).tolist() == [0.5]
    assert overlap(a, 3 * a).tolist() == [1]
    assert overlap(a, -a).tolist() == [0]
    assert np.isnan(overlap(a, np.zeros_like(a)))
    assert rank_correlation(picture([1, 2, 3, 4]), picture([10, 20, 40, 30])).tolist() == [0.8]
    assert rank_correlation(a, a).tolist() == [1]
    assert rank_correlation(a, -a).tolist() == [-1]
    assert np.isnan(rank_correlation(a, np.ones_like(a)))


def test_rank_correlation_is_scipys():
    stats = pytest.importorskip("scipy.stats")
    a, b = np.random.default_rng(0).integers(0, 9, (2, 3, 8, 7)).astype(np.float32)
    want = [stats.spearmanr(x.reshape(-1), y.reshape(-1)).statistic for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(rank_correlation(a, b), want, rtol=1e-12)


def test_region_masses_by_hand():
    regions = np.zeros((1, 2, 2, 2), bool)
    regions[0, 0, 0] = regions[0, 1, :, 1] = True
    found = region_masses(picture([3, -1], [-2, 1]), regions)
    assert found.positive.tolist() == [[3, 1]]
    assert found.negative.tolist() == [[1, 1]]
    assert found.positive_shares.tolist() == [[3 / 4, 1 / 4]]
    assert found.negative_shares.tolist() == [[1 / 3, 1 / 3]]
    assert found.areas.tolist() == [[0.5, 0.5]]
    assert np.isnan(region_masses(picture([3, 1], [2, 1]), regions).negative_shares).all()


def test_empty_regions_are_undefined():
    m = np.random.default_rng(1).random((2, 3, 4))
    for region in (np.zeros((2, 3, 4), bool), np.zeros((2, 2, 2), np.int64)):
        for values in (pointing_game(m, region), energy_in_region(m, region), iou(m, region), swapped(m, m > 0, region)):
            assert np.isnan(values).all()


def test_boxes_are_masks_with_corners():
    rng = np.random.default_rng(2)
    for shape in ((5, 9), (5, 7, 1), (5, 4, 6, 3)):
        m = rng.standard_normal(shape).astype(np.float32)
        ends = np.sort(np.stack([rng.integers(0, n + 1, (5, 2)) for n in shape[1:]], axis=1), axis=-1)
        inside = np.zeros(shape, bool)
        for i, box in enumerate(ends):
            inside[(i, *(slice(*pair) for pair in box))] = True
        for function in (lambda r, m=m: pointing_game(m, r, 1), lambda r, m=m: energy_in_region(m, r), lambda r, m=m: swapped(m, r, m < 9)):
            np.testing.assert_array_equal(function(ends), function(inside))
        np.testing.assert_array_equal(iou(m, gradcam.boxes(m)), 1)
        want = [np.logical_and(a, b).sum() / np.logical_or(a, b).sum() if b.any() else NAN for a, b in zip(_filled(m), inside, strict=True)]
        np.testing.assert_allclose(iou(m, ends), want)


def _filled(maps):
    for m in maps:
        inside = np.zeros(m.shape, bool)
        inside[tuple(slice(*pair) for pair in loops.box(m, 0.15))] = True
        yield inside


def test_no_pictures():
    m, region = np.zeros((0, 3, 4)), np.zeros((0, 3, 4), bool)
    for values in (pointing_game(m, region), energy_in_region(m, region), iou(m, region), swapped(m, region, region), overlap(m, m)):
        assert values.shape == (0,)
    assert rank_correlation(m, m).shape == (0,)
    assert region_masses(m, region[:, None]).positive_shares.shape == (0, 1)


def test_scenes_and_metrics_fit_each_other():
    scenes = shape_scenes(40, seed=3)
    present = np.flatnonzero(scenes.labels[:, 2])
    chosen = scenes[present]
    perfect = chosen.class_masks(2).astype(np.float32)
    assert pointing_game(perfect, chosen.class_boxes(2), 0).all()
    assert (energy_in_region(perfect, chosen.class_masks(2)) == 1).all()
    assert (iou(perfect, chosen.class_masks(2)) == 1).all()
    assert (iou(perfect, chosen.class_boxes(2)) == 1).all()
    masses = region_masses(-perfect, chosen.regions(2))
    assert (masses.negative_shares[:, REGIONS.index("own")] == 1).all()
    np.testing.assert_allclose(masses.areas.sum(axis=1), 1)


# Intervals ------------------------------------------------------------------------------------------------------------

# Student's two-sided quantiles from printed tables (Fisher and Yates).
TABLE = {(0.95, 1): 12.706, (0.95, 2): 4.303, (0.95, 4): 2.776, (0.95, 9): 2.262, (0.95, 30): 2.042, (0.99, 4): 4.604, (0.9, 5): 2.015}


@pytest.mark.parametrize(("where", "value"), TABLE.items(), ids=str)
def test_quantiles_are_those_of_the_table(where, value):
    assert student_quantile(*where) == pytest.approx(value, abs=5.1e-4)


def test_quantiles_are_scipys():
    stats = pytest.importorskip("scipy.stats")
    for level in (0.01, 0.5, 0.95, 0.999):
        for freedom in (1, 2, 3, 4, 7, 10, 101, 5000):
            assert student_quantile(level, freedom) == pytest.approx(stats.t.ppf((1 + level) / 2, freedom), rel=1e-10)


def test_interval_by_hand():
    found = mean_interval([1, 2, 3, 4, 5])
    half = student_quantile(0.95, 4) * math.sqrt(2.5 / 5)
    assert isinstance(found, Interval)
    assert (found.mean, found.n) == (3, 5)
    assert found.low == pytest.approx(3 - half, rel=1e-15)
    assert found.high == pytest.approx(3 + half, rel=1e-15)


def test_intervals_of_arrays_are_those_of_their_numbers():
    values = np.random.default_rng(0).random((6, 2, 3)).astype(np.float32)
    found = mean_interval(values, 0.9)
    assert found.low.shape == (2, 3)
    for index in np.ndindex(2, 3):
        one = mean_interval(values[(slice(None), *index)], 0.9)
        assert (one.mean, one.low, one.high) == (found.mean[index], found.low[index], found.high[index])


def test_one_repetition_has_no_interval():
    found = mean_interval([0.25])
    assert (found.mean, found.n) == (0.25, 1)
    assert np.isnan([found.low, found.high]).all()


def test_the_interval_holds_the_mean_as_often_as_it_says():
    values = np.random.default_rng(5).standard_normal((5, 20_000))
    found = mean_interval(values)
    assert np.mean((found.low <= 0) & (found.high >= 0)) == pytest.approx(0.95, abs=0.005)


# Bad input ------------------------------------------------------------------------------------------------------------

M, MASK, BOX = np.zeros((2, 3, 4)), np.ones((2, 3, 4), bool), np.array([[[0, 2], [0, 2]]] * 2)

BAD = [
    (lambda: pointing_game(M[0, 0], MASK), ValueError, r"^pointing_game: map: expected one batch axis"),
    (lambda: pointing_game(M.astype(int), MASK), TypeError, r"^pointing_game: map: expected float32 or float64, got int64"),
    (lambda: pointing_game(M, MASK[:1]), ValueError, r"^pointing_game: region: expected a mask of shape \(2, 3, 4\), got \(1, 3, 4\)"),
    (lambda: pointing_game(M, M), TypeError, r"^pointing_game: region: expected a mask of bool or boxes of integers, got float64"),
    (lambda: pointing_game(M, BOX[:, :1]), ValueError, r"^pointing_game: region: expected boxes of shape \(2, 2, 2\), got \(2, 1, 2\)"),
    (lambda: pointing_game(M, BOX + 2), ValueError, r"^pointing_game: region: expected boxes \[start, stop\) within the map"),
    (lambda: energy_in_region(M, BOX - 1), ValueError, r"^energy_in_region: region: expected boxes \[start, stop\) within the map"),
    (lambda: iou(M, BOX[..., ::-1]), ValueError, r"^iou: region: expected boxes \[start, stop\) within the map"),
    (lambda: iou(M, MASK[..., :2]), ValueError, r"^iou: region: expected a mask of shape"),
    (lambda: iou(M, MASK, 1), ValueError, r"threshold: expected at least 0 and less than 1, got 1"),
    (lambda: pointing_game(M, MASK, -1), ValueError, r"^pointing_game: tolerance: expected at least 0, got -1"),
    (lambda: pointing_game(M, MASK, NAN), ValueError, r"^pointing_game: tolerance: expected at least 0, got nan"),
    (lambda: pointing_game(M, MASK, "3"), TypeError, r"^pointing_game: tolerance: expected a real number, got '3'"),
    (lambda: swapped(M, MASK, MASK[0]), ValueError, r"^swapped: other: expected a mask of shape"),
    (lambda: overlap(M, M[:1]), ValueError, r"^overlap: second: expected the shape of the first, \(2, 3, 4\), got \(1, 3, 4\)"),
    (lambda: rank_correlation(M, "no"), TypeError, r"^rank_correlation: second: expected float32 or float64"),
    (lambda: region_masses(M, M[:, None]), TypeError, r"^region_masses: regions: expected bool, got float64"),
    (lambda: region_masses(M, MASK), ValueError, r"^region_masses: regions: expected shape \(2, R, 3, 4\), got \(2, 3, 4\)"),
    (lambda: mean_interval([]), ValueError, r"^mean_interval: values: expected one value or more along axis 0, got shape \(0,\)"),
    (lambda: mean_interval(3.0), ValueError, r"^mean_interval: values: expected one value or more along axis 0, got shape \(\)"),
    (lambda: mean_interval([1, NAN]), ValueError, r"^mean_interval: values: expected finite numbers, got NaN or infinity"),
    (lambda: mean_interval(["a"]), TypeError, r"^mean_interval: values: expected real numbers, got <U1"),
    (lambda: mean_interval([1, 2], 95), ValueError, r"^mean_interval: level: expected a number between 0 and 1, got 95"),
]


@pytest.mark.parametrize(("call", "error", "text"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_bad_input(call, error, text):
    with pytest.raises(error, match=text):
        call()
