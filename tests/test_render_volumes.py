"""Pictures of volumes, video and signals."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

import gradcam
from gradcam import overlay, resize
from gradcam.methods import METHODS
from gradcam.render.colormap import NO_DATA, colormap
from gradcam.render.montage import pictured
from gradcam.render.overlay import draw_alone

CELL, GAP, TITLE, BAR = 256, 12, 26, 52
"""Sizes in a montage: a slice, the space between two, the line with its number, the colour bar below."""

LEFT, WIDTH = 120, 960
"""Where the curves of a signal begin, and how wide they are."""


def corner(number, columns, cell=(CELL, CELL)):
    """Top left pixel of a slice in a montage."""
    row, column = divmod(number, columns)
    return GAP + TITLE + row * (TITLE + cell[0] + GAP), GAP + column * (cell[1] + GAP)


def mixed(share, pixel, alpha=0.5, table="viridis"):
    return np.rint(alpha * colormap(table)[min(int(share * 256), 255)] + (1 - alpha) * np.asarray(pixel)).astype(np.uint8)


def test_a_montage_shows_every_slice_in_the_colours_of_the_whole():
    rng = np.random.default_rng(0)
    frames, values = rng.integers(0, 256, (5, 4, 4, 3), np.uint8), rng.random((5, 1, 1))
    got = overlay(frames, values)
    assert got.dtype == np.uint8
    assert got.shape == (2 * (TITLE + CELL + GAP) + GAP + BAR, 3 * (CELL + GAP) + GAP, 3)
    for i in range(5):
        top, left = corner(i, 3)
        for y in range(4):
            for x in range(4):
                patch = got[top + 64 * y : top + 64 * (y + 1), left + 64 * x : left + 64 * (x + 1)]
                np.testing.assert_array_equal(patch, np.broadcast_to(mixed(values[i, 0, 0], frames[i, y, x]), patch.shape))
    top, left = corner(5, 3)
    assert (got[top : top + CELL, left : left + CELL] == 255).all()  # the last place is empty
    for i in range(5):
        top, left = corner(i, 3)
        assert (got[top - TITLE : top - 7, left : left + CELL] < 128).any()  # its number


def test_the_scale_of_a_signed_montage_is_that_of_all_slices_even_of_those_not_shown():
    values = np.asarray([-1.0, 0.5, 4.0])[:, None, None]
    black = np.zeros((3, 2, 2), np.uint8)
    got = overlay(black, values, 1.0, slices=[0, 1])
    table = colormap("diverging")
    for place, row in ((0, 96), (1, 144)):
        top, left = corner(place, 2)
        np.testing.assert_array_equal(got[top + 5, left + 5], table[row])
    np.testing.assert_array_equal(draw_alone(values, slices=[0, 1]), got)


def test_a_map_is_resized_along_all_three_axes():
    rng = np.random.default_rng(1)
    values = rng.random((2, 3, 2)).astype(np.float32)
    got = overlay(np.zeros((4, 256, 256), np.uint8), values, 1.0, slices=[1])
    top, left = corner(0, 1)
    want = resize(resize(values[None], (4, 3, 2)), (4, 256, 256))[0, 1]
    np.testing.assert_array_equal(got[top : top + 256, left : left + 256], colormap("viridis")[np.minimum((want * 256).astype(int), 255)])


def test_which_slices_are_shown():
    shades = np.arange(40, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)

    def shown(slices, columns):
        got = overlay(shades, np.zeros((40, 1, 1)), 0.0, slices=slices)
        count = (got.shape[1] - GAP) // (CELL + GAP) * ((got.shape[0] - BAR) // (TITLE + CELL + GAP))
        places = [corner(i, columns) for i in range(count)]
        return [int(got[y, x, 0]) for y, x in places if got[y, x, 0] != 255]

    assert shown(None, 4) == [1, 3, 6, 8, 11, 13, 16, 18, 21, 23, 26, 28, 31, 33, 36, 38]
    assert shown(1, 1) == [20]
    assert shown(4, 2) == [5, 15, 25, 35]
    assert shown([3, -1, 3], 2) == [3, 39, 3]
    assert shown(np.asarray([7]), 1) == [7]


def test_missing_values_and_flat_slices():
    values = np.full((2, 2, 2), np.nan)
    values[1] = 1.0
    got = overlay(np.zeros((2, 64, 16), np.uint8), values, 1.0)
    cell = (256, 64)
    assert got.shape[1] == 2 * (64 + GAP) + GAP or got.shape[1] == 256 + 2 * GAP
    columns = 2
    assert got[tuple(np.add(corner(0, columns, cell), 3))].tolist() == list(NO_DATA)
    assert got[tuple(np.add(corner(1, columns, cell), 3))].tolist() == colormap("viridis")[255].tolist()


def test_many_slices_become_small_and_fit_the_longest_side():
    got = overlay(np.zeros((200, 32, 32), np.uint8), np.ones((1, 1, 1)), 1.0, slices=range(200))
    assert max(got.shape) <= 1600
    yellow = (got[:-BAR] == colormap("viridis")[255]).all(-1)
    side = 1600 // 14 - 4 * GAP  # 14 rows of 15
    assert yellow.sum() == 200 * side * side


def test_an_array_is_shown_from_its_smallest_to_its_largest_value():
    np.testing.assert_array_equal(pictured(np.asarray([[-2.0, 0.0], [np.nan, 2.0]])[None]), np.repeat([[[0], [128]], [[0], [255]]], 3, -1))
    colours = np.random.default_rng(2).random((3, 2, 4, 5))
    got = pictured(colours)
    assert got.shape == (2, 4, 5, 3)
    np.testing.assert_array_equal(got, np.rint(255 * (colours - colours.min()) / np.ptp(colours)).transpose(1, 2, 3, 0))
    two = np.asarray([[0.0, 1.0, 4.0], [2.0, 1.0, 4.0]])
    np.testing.assert_array_equal(pictured(two)[:, 0], [0, 0, 255])
    assert not pictured(np.full((1, 2, 2), 7.0)).any()
    assert not pictured(np.full((1, 2, 2), np.nan)).any()


# --- signals


def test_a_signal_has_its_curve_before_the_band():
    values = np.asarray([0.0, 0.25, 1.0, np.nan])
    got = overlay(np.asarray([[0.0, 0.0, 1.0, 1.0]]), values, 0.4)
    assert got.shape[1] == LEFT + WIDTH + GAP
    table, height = colormap("viridis"), 159
    band = got[GAP : GAP + height, LEFT : LEFT + WIDTH]
    for i, row in enumerate((0, 64, 255)):
        want = np.rint(0.4 * table[row] + 0.6 * 255)
        np.testing.assert_array_equal(band[height // 4, 240 * i + 20], want)
    np.testing.assert_array_equal(band[height // 4, 950], np.rint(0.4 * 128 + 0.6 * 255))
    dark = (band < 40).all(-1)
    rows = [np.flatnonzero(dark[:, x]).mean() for x in (180, 300, 700, 800)]
    assert rows[0] == rows[1] > 150  # the low half at the bottom, from the middle of the first sample on
    assert rows[2] == rows[3] < 5
    assert not dark[:, :110].any()
    assert dark[:, 480].any()  # the slope between


def test_every_channel_has_a_row_on_its_own_scale():
    x = np.linspace(-1, 1, 300)
    got = overlay(np.stack([x, 1e6 * x, np.full(300, 3.0)]), np.zeros(2), 0.0)
    rows = [got[GAP + 160 * i : GAP + 160 * i + 159, LEFT : LEFT + WIDTH] for i in range(3)]
    np.testing.assert_array_equal(rows[0], rows[1])
    assert np.flatnonzero((rows[2][:, 480] < 40).all(-1)).tolist() == [79]  # a constant runs through the middle
    assert (got[GAP : GAP + 480, :LEFT] < 128).any(axis=(1, 2)).any()
    assert overlay(np.zeros((100, 50)), np.zeros(5)).shape[0] < 1600


def test_a_short_peak_in_a_long_map_is_seen_for_and_against():
    values = np.zeros(50_000)
    values[12_345] = 1.0
    got = overlay(np.zeros((1, 50_000)), values, 1.0)
    column = LEFT + 12_345 * WIDTH // 50_000
    assert got[GAP + 10, column].tolist() == colormap("viridis")[255].tolist()
    values[40_000] = -1.0
    got = overlay(np.zeros((1, 50_000)), values, 1.0)
    assert got[GAP + 10, column].tolist() == colormap("diverging")[255].tolist()
    assert got[GAP + 10, LEFT + 40_000 * WIDTH // 50_000].tolist() == colormap("diverging")[0].tolist()
    assert got[GAP + 10, LEFT + 500].tolist() == colormap("diverging")[128].tolist()


def test_a_curve_has_gaps_where_values_are_missing():
    signal = np.zeros(96)
    signal[30:60], signal[45] = np.nan, 0.0
    got = overlay(signal, np.zeros(2), 0.0)
    dark = (got[GAP : GAP + 159, LEFT : LEFT + WIDTH] < 40).all(-1).any(0)
    assert dark[10:290].all()
    assert dark[605:950].all()
    assert not dark[310:445].any()
    assert not dark[465:595].any()
    assert dark[454:456].all()  # a value alone is a short dash
    assert overlay(np.full(9, np.nan), np.zeros(2)).shape[2] == 3


def test_integers_are_signals_too_and_a_map_can_stand_alone():
    np.testing.assert_array_equal(overlay(np.asarray([1, 5, 2]), np.zeros(3)), overlay(np.asarray([[1.0, 5.0, 2.0]]), np.zeros(3)))
    alone = draw_alone(np.asarray([0.0, 1.0]))
    assert alone[GAP + 50, LEFT + 700].tolist() == colormap("viridis")[255].tolist()


VOLUME, SIGNAL = np.zeros((2, 3, 4), np.uint8), np.zeros((2, 8))


@pytest.mark.parametrize(
    ("image", "values", "options", "error", "text"),
    [
        (VOLUME[0], np.zeros((2, 3, 4)), {}, ValueError, r"image: expected shape \(D, H, W, 3\) or \(D, H, W\), got \(3, 4\)"),
        (np.zeros((3, 2, 3, 4), np.uint8), np.zeros((2, 3, 4)), {}, ValueError, "image: expected shape"),
        (np.full((2, 3, 4), 1.5), np.zeros((2, 3, 4)), {}, ValueError, r"image: expected real numbers in \[0, 1\]"),
        (VOLUME, np.zeros((2, 3, 4)), {"slices": 3}, ValueError, "slices: expected 1 to 2 slices, got 3"),
        (VOLUME, np.zeros((2, 3, 4)), {"slices": 0}, ValueError, "slices: expected 1 to 2"),
        (VOLUME, np.zeros((2, 3, 4)), {"slices": [0, 2]}, ValueError, "slices: expected numbers from 0 to 1"),
        (VOLUME, np.zeros((2, 3, 4)), {"slices": []}, ValueError, "slices: expected numbers"),
        (VOLUME, np.zeros((2, 3, 4)), {"slices": 1.5}, TypeError, "slices: expected how many slices or their numbers, got 1.5"),
        (VOLUME, np.zeros((2, 3, 4)), {"slices": "1"}, TypeError, "slices: expected how many"),
        (VOLUME[0], np.zeros((3, 4)), {"slices": 1}, ValueError, r"slices: expected a map of shape \(d, h, w\)"),
        (VOLUME, np.zeros((2, 3, 4)), {"compat": "torchcam"}, ValueError, "compat: expected one of 'paper', got"),
        (SIGNAL, np.zeros(4), {"compat": "pytorch-grad-cam"}, ValueError, "compat: expected one of 'paper', got"),
        (np.zeros((1, 2, 8)), np.zeros(4), {}, ValueError, r"image: expected a signal of real numbers, shape \(C, L\) or \(L,\)"),
        (np.zeros((2, 0)), np.zeros(4), {}, ValueError, "image: expected a signal"),
        (np.zeros(4, complex), np.zeros(4), {}, ValueError, "image: expected a signal of real numbers"),
        (SIGNAL, np.zeros(4), {"cmap": "x"}, ValueError, "cmap: expected one of viridis"),
        (SIGNAL, np.zeros(()), {}, ValueError, "map: expected real numbers"),
    ],
)
def test_bad_input(image, values, options, error, text):
    with pytest.raises(error, match=text):
        overlay(image, values, **options)


# --- explanations of models

pytestmark = pytest.mark.filterwarnings("ignore::gradcam.BlankMapWarning")


@pytest.fixture(scope="module")
def models():
    from model.networks import conv_net

    return {axes: gradcam.load(conv_net(axes)) for axes in (1, 3)}


@pytest.mark.parametrize(("axes", "size"), [(1, (40,)), (3, (4, 12, 10))])
@pytest.mark.parametrize("method", METHODS)
def test_an_explanation_is_drawn_over_what_was_explained(models, axes, size, method, tmp_path):
    x = np.random.default_rng(3).standard_normal((2, 2, *size)).astype(np.float32)
    options = {"smoothgradcam++": {"rng": 0}, "randomcam": {"rng": 0}, "finercam": {"comparisons": [1]}}.get(method, {})
    why = models[axes].explain(x, target=1, layer=None if METHODS[method].layerless else "relu", method=method, **options)
    assert why.map.shape == (2, *size)
    for i in range(2):
        want = overlay(x[i] if axes == 1 else pictured(x[i]), why.map[i])
        np.testing.assert_array_equal(why.overlay(picture=i), want)
        np.testing.assert_array_equal(why[i].overlay(), want)
    if not options:
        np.testing.assert_array_equal(models[axes].explain(x[1], target=1, method=method).overlay(), want)
    given = np.zeros((3, *size)) if axes == 1 else np.zeros(size, np.uint8)
    np.testing.assert_array_equal(why.overlay(given, alpha=0.3), overlay(given, why.map[0], 0.3))
    options = {} if axes == 1 else {"slices": [2]}
    why.save(tmp_path / "a.png", **options)
    with Image.open(tmp_path / "a.png") as drawn:
        np.testing.assert_array_equal(np.asarray(drawn), why.overlay(**options))
    with Image.open(io.BytesIO(why._repr_png_())) as drawn:
        np.testing.assert_array_equal(np.asarray(drawn), why.overlay())


@pytest.mark.parametrize(("axes", "compat"), [(1, "torchcam"), (1, "captum"), (3, "torchcam"), (3, "captum"), (3, "pytorch-grad-cam")])
def test_the_modes_are_drawn_too(models, axes, compat):
    """torchcam and captum leave the map at the layer's size; captum does not scale it."""
    x = np.random.default_rng(4).standard_normal((1, 2, *{1: (40,), 3: (4, 12, 10)}[axes])).astype(np.float32)
    why = models[axes].explain(x, target=1, compat=compat)
    np.testing.assert_array_equal(why.overlay(), overlay(x[0] if axes == 1 else pictured(x[0]), why.map[0]))


def test_mirrored_copies_and_several_layers(models):
    for axes, size in ((1, (40,)), (3, (4, 12, 10))):
        x = np.random.default_rng(5).standard_normal((2, *size)).astype(np.float32)
        for options in ({"aug_smooth": True}, {"layer": ["conv", "relu"], "aggregate": "mean"}):
            why = models[axes].explain(x, target=0, **options)
            assert why.map.shape == size
            np.testing.assert_array_equal(why.overlay(), overlay(x if axes == 1 else pictured(x), why.map))
