from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from gradcam import overlay, resize
from gradcam.render import peers
from gradcam.render.colormap import DIVERGING, NO_DATA, SEQUENTIAL, TABLES, colorize, colormap
from gradcam.render.figure import Scale, encode_png, panel


def test_tables_have_256_rows_and_are_those_of_matplotlib():
    matplotlib = pytest.importorskip("matplotlib")
    assert set(TABLES) == {*SEQUENTIAL, *DIVERGING}
    for name in SEQUENTIAL:
        table = colormap(name)
        assert table.shape == (256, 3)
        assert np.abs(table - 255 * matplotlib.colormaps[name](np.arange(256))[:, :3]).max() <= 0.51
    for name, other in zip(DIVERGING, ("RdBu_r", "PRGn"), strict=True):
        table = colormap(name)
        assert table.shape == (256, 3)
        assert np.abs(table - 255 * matplotlib.colormaps[other].resampled(257)(np.arange(256))[:, :3]).max() <= 0.51
        np.testing.assert_array_equal(table[128], [247, 247, 247])
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


@pytest.mark.parametrize("cmap", [None, *DIVERGING])
def test_a_signed_map_is_neutral_at_zero(cmap):
    values = np.asarray([[-2.0, 0.0, 1.0, np.nan]], np.float32)
    got = overlay(np.zeros((1, 4), np.uint8), values, alpha=1.0, cmap=cmap)
    table = colormap(cmap or "diverging")
    np.testing.assert_array_equal(got[0], [table[0], table[128], table[192], NO_DATA])
    np.testing.assert_array_equal(overlay(np.zeros((1, 4), np.uint8), values * 1e30, alpha=1.0, cmap=cmap), got)


@pytest.mark.parametrize("cmap", DIVERGING)
def test_a_diverging_table_that_is_asked_for_is_neutral_at_zero_without_counter_evidence_too(cmap):
    got = overlay(np.zeros((2, 2), np.uint8), np.asarray([[0.0, 1.0], [2.0, 4.0]]), alpha=1.0, cmap=cmap)
    table = colormap(cmap)
    np.testing.assert_array_equal(got, [[table[128], table[160]], [table[192], table[255]]])
    np.testing.assert_array_equal(overlay(np.zeros((2, 2), np.uint8), np.zeros((2, 2)), alpha=1.0, cmap=cmap), np.full((2, 2, 3), 247))


def test_a_sequential_table_that_is_asked_for_clips_counter_evidence():
    got = overlay(np.zeros((1, 3), np.uint8), np.asarray([[-1.0, 0.5, 2.0]]), alpha=1.0, cmap="inferno")
    table = colormap("inferno")
    np.testing.assert_array_equal(got[0], [table[0], table[128], table[255]])


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
        (
            np.zeros((2, 2), np.uint8),
            np.zeros((1, 2, 2)),
            {},
            ValueError,
            r"image: expected shape \(D, H, W, 3\) or \(D, H, W\), got \(2, 2\)",
        ),
        (np.zeros((2, 2), np.uint8), np.zeros((1, 1, 2, 2)), {}, ValueError, "map: expected real numbers"),
        (np.zeros((2, 2), np.uint8), np.zeros((2, 2)), {"alpha": 1.5}, ValueError, "alpha"),
        (np.zeros((2, 2), np.uint8), np.zeros((0, 2)), {}, ValueError, "map: expected real numbers"),
        (np.zeros((2, 2), np.uint8), np.zeros((2, 2)), {"alpha": float("nan")}, ValueError, "alpha"),
        (np.zeros((2, 2), np.uint8), np.zeros((2, 2)), {"cmap": "x"}, ValueError, "cmap: expected one of viridis"),
        (np.zeros((2, 2), np.uint8), np.zeros((2, 2)), {"cmap": "x", "compat": "torchcam"}, ValueError, "cmap: expected one of viridis"),
        (np.zeros((2, 2), np.uint8), np.zeros((2, 2)), {"compat": "captum"}, ValueError, "compat: expected one of 'paper', 'pytorch-grad"),
    ],
)
def test_bad_input(image, values, options, error, text):
    with pytest.raises(error, match=text):
        overlay(image, values, **options)


def test_panel_and_png():
    rng = np.random.default_rng(1)
    rows = [[("one", rng.integers(0, 256, (64, 64), np.uint8)), ("two", rng.integers(0, 256, (30, 90, 3), np.uint8))]]
    drawn = panel(rows, Scale("signed"))
    assert drawn.dtype == np.uint8
    assert drawn.ndim == 3
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 1000  # both pictures, text and the colour bar are there
    again = Image.open(io.BytesIO(encode_png(drawn)))
    np.testing.assert_array_equal(np.asarray(again), drawn)
    wide = Image.open(io.BytesIO(encode_png(np.zeros((10, 3200, 3), np.uint8))))
    assert wide.size == (1600, 5)


# --- overlays of the peers


@pytest.fixture(scope="module")
def golden(shared):
    with np.load(shared / "golden" / "images.npz") as file:
        return {key: file[key] for key in file.files}


def test_jets_of_the_peers(golden):
    np.testing.assert_array_equal(peers._opencv_jet(), golden["colormap/opencv_jet_rgb"])
    np.testing.assert_array_equal(peers._matplotlib_jet(), golden["colormap/matplotlib_jet_rgb"])


@pytest.mark.parametrize("weight", [0.5, 0.3])
def test_overlays_of_pytorch_grad_cam(golden, weight):
    def draw(image, **options):
        return overlay(image, golden["mask"], 1 - weight, compat="pytorch-grad-cam", **options)

    image, name = golden["image"], "pgc/show_cam_on_image"
    np.testing.assert_array_equal(draw(image), golden[f"{name}/rgb1_weight{weight}"])
    # Without use_rgb the peer lays a BGR heat map over the picture as it is.
    np.testing.assert_array_equal(draw(image[..., ::-1])[..., ::-1], golden[f"{name}/rgb0_weight{weight}"])
    if weight == 0.5:
        np.testing.assert_array_equal(draw(image, cmap="viridis"), golden[f"{name}/viridis_rgb1_weight0.5"])


@pytest.mark.parametrize("weight", [0.7, 0.4])
def test_overlays_of_torchcam(golden, weight):
    for kind, key in (("small", "mask_small"), ("full", "mask"), ("small", "tc/overlay_mask/small_resized_mask")):
        got = overlay(golden["image_uint8"], golden[key], 1 - weight, compat="torchcam")
        if key == "tc/overlay_mask/small_resized_mask":
            # Given at full size the overshoot below 0 is clipped; in this map its square is 0 in the table anyway.
            assert golden[key].min() < 0
        np.testing.assert_array_equal(got, golden[f"tc/overlay_mask/{kind}_alpha{weight}"])


def test_overlays_of_the_peers_where_values_are_missing_or_outside():
    values = np.asarray([[-1.0, 0.0, 1.0, 1.03, np.nan]])
    black = np.zeros((1, 5), np.uint8)
    for compat, jet in (("pytorch-grad-cam", peers._opencv_jet()), ("torchcam", peers._matplotlib_jet())):
        got = overlay(black, values, alpha=1.0, compat=compat)
        np.testing.assert_array_equal(got[0, :4], jet[[0, 0, 255, 255]] if compat == "torchcam" else brightest(jet[[0, 0, 255, 255]]))
        assert got[0, 4].tolist() == ([128] * 3 if compat == "torchcam" else [255] * 3)
    assert not overlay(black, np.ones((1, 5)), alpha=0.0, compat="pytorch-grad-cam").any()


def brightest(colours):
    """Divided by the largest value, 128 at both ends of the jet and in the colour of missing values."""
    return (255 * (colours.astype(np.float32) / 255 / np.float32(128 / 255))).astype(np.uint8)


def test_a_uint8_picture_equals_its_shares_in_the_mode_of_pytorch_grad_cam():
    rng = np.random.default_rng(0)
    image, values = rng.integers(0, 256, (6, 7), np.uint8), rng.random((3, 4), np.float32)
    got = overlay(image, values, compat="pytorch-grad-cam")
    np.testing.assert_array_equal(got, overlay(image.astype(np.float32) / 255, values, compat="pytorch-grad-cam"))
    np.testing.assert_array_equal(got, overlay(image, resize(values[None], (6, 7))[0], compat="pytorch-grad-cam"))
