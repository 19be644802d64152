"""Resizing against plain loops, SciPy's zoom and torch."""

from __future__ import annotations

import numpy as np
import pytest
from maps import ROUNDING, assert_close, random_maps
from reference import resampling as reference

from gradcam.resampling import resize

GRIDS = ["linear", "linear-corners", "nearest", "cubic-spline"]
SHAPES = [
    ((7,), (16,)),
    ((1,), (5,)),
    ((5,), (1,)),
    ((2,), (9,)),
    ((13, 9), (32, 40)),
    ((32, 40), (7, 9)),
    ((1, 9), (4, 9)),
    ((3, 4, 5), (6, 8, 10)),
]


@pytest.mark.parametrize("mode", GRIDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "size"), SHAPES)
def test_resize_equals_the_reference(shape, size, dtype, mode):
    maps = random_maps((2, *shape), dtype)
    got = resize(maps, size, mode)
    assert got.dtype == dtype
    assert_close(got, np.stack([reference.resize(m, size, mode) for m in maps]), 10 * ROUNDING[dtype])


@pytest.mark.parametrize("mode", GRIDS)
@pytest.mark.parametrize("value", [1 / 3, 0.1, 1e-30, 1e20])
def test_resize_keeps_a_constant_map_constant(value, mode):
    for dtype in (np.float32, np.float64):
        maps = np.full((1, 5, 7), value, dtype)
        got = resize(maps, (11, 6), mode)
        np.testing.assert_array_equal(got, np.full_like(got, maps[0, 0, 0]))


@pytest.mark.parametrize("mode", GRIDS)
def test_resize_to_the_same_size_gives_an_equal_array(mode):
    maps = random_maps((2, 4, 5))
    maps[0, 0, 0] = np.nan
    got = resize(maps, (4, 5), mode)
    np.testing.assert_array_equal(got, maps)
    assert not np.shares_memory(got, maps)


def test_resize_does_not_read_samples_of_weight_0():
    line = np.array([[1.0, np.nan, 3.0, 4.0]])
    np.testing.assert_array_equal(resize(line, 4, "linear"), line)
    np.testing.assert_array_equal(np.isnan(resize(line, 7, "linear-corners")), [[False, True, True, True, False, False, False]])
    np.testing.assert_array_equal(np.isnan(resize(line, 8, "nearest")), np.repeat(np.isnan(line), 2, axis=1))
    # Half-pixel from 3 to 9: outputs 1, 4 and 7 hit the samples exactly.
    tripled = resize(np.array([[np.inf, 2.0, np.nan]]), 9)
    np.testing.assert_array_equal(tripled, [[np.inf] * 4 + [2.0] + [np.nan] * 4])


@pytest.mark.parametrize(("shape", "size"), [((7, 5), (20, 18)), ((3, 4, 5), (6, 8, 10)), ((2,), (9,))])
def test_cubic_spline_equals_scipy_zoom(shape, size):
    ndimage = pytest.importorskip("scipy.ndimage")
    maps = random_maps((1, *shape))
    want = ndimage.zoom(maps[0], [new / old for new, old in zip(size, shape, strict=True)], order=3)
    np.testing.assert_allclose(resize(maps, size, "cubic-spline")[0], want, atol=5e-14)


@pytest.mark.torch
@pytest.mark.parametrize(("shape", "size"), SHAPES)
def test_linear_and_nearest_equal_torch(torch, shape, size):
    name = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(shape)]
    maps = random_maps((2, *shape))
    x = torch.from_numpy(maps)[:, None]
    for mode, want in (
        ("linear", torch.nn.functional.interpolate(x, size, mode=name, align_corners=False)),
        ("linear-corners", torch.nn.functional.interpolate(x, size, mode=name, align_corners=True)),
    ):
        np.testing.assert_allclose(resize(maps, size, mode), want[:, 0].numpy(), atol=1e-6)
    np.testing.assert_array_equal(resize(maps, size, "nearest"), torch.nn.functional.interpolate(x, size, mode="nearest")[:, 0].numpy())


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: resize(np.ones((2, 3)), 4, "cubic"), ValueError, "resize: mode: expected one of linear"),
        (lambda: resize(np.ones((2, 3, 3)), 4), ValueError, "resize: size: expected 2 positive integers, got 4"),
        (lambda: resize(np.ones((2, 3)), 0), ValueError, "expected 1 positive integer, got 0"),
        (lambda: resize(np.ones((2, 3)), -1), ValueError, "expected 1 positive integer, got -1"),
        (lambda: resize(np.ones((2, 3)), 2.5), TypeError, "resize: size: expected integers, got 2.5"),
        (lambda: resize(np.ones((2, 3), int), 4), TypeError, "resize: map: expected float32 or float64, got int64"),
        (lambda: resize(np.ones(3), 4), ValueError, "resize: map: expected one batch axis and 1 to 3 spatial axes, got shape (3,)"),
    ],
)
def test_bad_input(call, error, text):
    with pytest.raises(error) as info:
        call()
    assert text in str(info.value)
