from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from gradcam import overlay
from gradcam.render.colormap import NO_DATA, TABLES, colorize, colormap
from gradcam.render.figure import encode_png, panel


def test_tables_have_256_rows_and_are_those_of_matplotlib():
    matplotlib = pytest.importorskip("matplotlib")
    for name in TABLES:
        table = colormap(name)
        assert table.shape == (256, 3)
        other = matplotlib.colormaps["RdBu_r" if name == "diverging" else name](np.arange(256))[:, :3]
        assert np.abs(table - 255 * other).max() <= 0.51
    with pytest.raises(ValueError, match="cmap: expected one of viridis"):
        colormap("rainbow")
    with pytest.raises(ValueError, match="read-only"):
        colormap("viridis")[0] = 0


def test_values_are_clipped_and_nan_has_its_own_colour():
    got = colorize(np.asarray([-1.0, 0.0, 1.0, 2.0, np.nan]), "viridis")
    table = colormap("viridis")
    np.testing.assert_array_equal(got, [table[0], table[0], table[255], table[255], NO_DATA])


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_overlay_is_the_weighted_mean(alpha):
    rng = np.random.default_rng(0)
    image, values = rng.integers(0, 256, (5, 6, 3), np.uint8), rng.random((5, 6), np.float32)
    got = overlay(image, values, alpha=alpha)
    want = alpha * colormap("viridis")[np.minimum((values * 256).astype(int), 255)] + (1 - alpha) * image
    np.testing.assert_array_equal(got, np.rint(want).astype(np.uint8))


def test_a_signed_map_is_neutral_at_zero():
    values = np.asarray([[-2.0, 0.0, 1.0]], np.float32)
    got = overlay(np.zeros((1, 3), np.uint8), values, alpha=1.0)
    table = colormap("diverging")
    np.testing.assert_array_equal(got[0], [table[0], table[128], table[192]])


def test_a_map_is_resized_to_the_picture_and_grey_pictures_do():
    got = overlay(np.full((8, 10), 0.5), np.eye(2, dtype=np.float32), alpha=0.0)
    assert got.shape == (8, 10, 3)
    assert (got == 128).all()


@pytest.mark.parametrize(
    ("image", "values", "options", "error", "text"),
    [
        (np.zeros((2, 2, 4), np.uint8), np.zeros((2, 2)), {}, ValueError, "image: expected shape"),
        (np.zeros((2, 2), np.int64), np.zeros((2, 2)), {}, TypeError, "image: expected uint8"),
        (np.full((2, 2), 2.0), np.zeros((2, 2)), {}, ValueError, r"image: expected real numbers in \[0, 1\]"),
        (np.zeros((2, 2), np.uint8), np.zeros((1, 2, 2)), {}, ValueError, "map: expected real numbers"),
        (np.zeros((2, 2), np.uint8), np.zeros((2, 2)), {"alpha": 1.5}, ValueError, "alpha"),
        (np.zeros((2, 2), np.uint8), np.zeros((2, 2)), {"cmap": "x"}, ValueError, "cmap"),
    ],
)
def test_bad_input(image, values, options, error, text):
    with pytest.raises(error, match=text):
        overlay(image, values, **options)


def test_panel_and_png():
    rng = np.random.default_rng(1)
    rows = [[("one", rng.integers(0, 256, (64, 64), np.uint8)), ("two", rng.integers(0, 256, (30, 90, 3), np.uint8))]]
    drawn = panel(rows, signed="signed")
    assert drawn.dtype == np.uint8
    assert drawn.ndim == 3
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 1000  # both pictures, text and the colour bar are there
    again = Image.open(io.BytesIO(encode_png(drawn)))
    np.testing.assert_array_equal(np.asarray(again), drawn)
    wide = Image.open(io.BytesIO(encode_png(np.zeros((10, 3200, 3), np.uint8))))
    assert wide.size == (1600, 5)
