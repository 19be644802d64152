"""The reductions of csrc/cam/cam.h, bit for bit, in every layout and at every ISA level."""

from __future__ import annotations

import numpy as np
import pytest
from reference import cam as reference

from gradcam.ops import _call
from gradcam.ops.cam import cam_attributes

# Around the lanes of partial sums, the channels of a block and of a vector, the tile, the group and the chunk of positions.
SHAPES = [
    (1, 1),
    (3, 2),
    (2, 7),
    (7, 8),
    (9, 9),
    (5, 15),
    (4, 16),
    (8, 17),
    (17, 49),
    (63, 5),
    (64, 3),
    (65, 12),
    (2, 513),
    (3, 1030),
    (5, 1553),
    (70, 31),
    (12, 196),
]
LAYOUTS = ["rows", "columns", "rows apart", "columns apart", "neither"]


def lay_out(array, layout):
    """Flat array that holds `array` (channels, positions), and its strides."""
    k, n = array.shape
    c, x = {
        "rows": (n, 1),
        "columns": (1, k),
        "rows apart": (n + 3, 1),
        "columns apart": (1, k + 2),
        "neither": (2 * n, 2),
    }[layout]
    flat = np.full((k - 1) * c + (n - 1) * x + 1, np.nan, array.dtype)
    np.lib.stride_tricks.as_strided(flat, array.shape, (c * flat.itemsize, x * flat.itemsize))[...] = array
    return flat, (c, x)


def shares(r):
    return r / (2 - 4 * r.astype(np.float64))


def solve(share):
    """Gradient that has this share."""
    return 2 * share / (1 + 4 * share)


def arrays(shape, dtype, kind):
    generator = np.random.default_rng(sum(shape))
    a, g = (generator.standard_normal(shape).astype(dtype) for _ in range(2))
    if kind == "positive":
        a = np.abs(a)
    elif kind == "cancelling":
        a[:] = 0
        a[:, 0] = -2
        g[:, ::2] = 1  # 2 + R(g) sum A = 0
    elif kind == "balanced":
        # The terms of Grad-CAM++ add up to almost nothing, so that float32 too shows in which order they are added.
        a[:], a[:, 0] = 0, -4
        g = 0.4 * np.abs(np.tanh(g))
        if shape[1] > 2:
            g[:, -2] = 0
            total = shares(g[:, :-1]).sum(1)
            g[:, -1] = (1 - 1e-6) * solve(-total)
            g[:, -2] = solve(-total - shares(g[:, -1]))
    elif kind == "huge":
        a, g = (np.finfo(dtype).max * np.tanh(v) for v in (np.abs(a), g))
    elif kind == "not finite":
        flat = a.ravel(), g.ravel()
        for i, value in enumerate((np.nan, np.inf, -np.inf, -0.0)):
            flat[i % 2][(5 * i + 1) % a.size] = value
    return a, g


def run(kernel, a, g, layout, outputs, variant=0, epsilon=0.0, omit_nan=False, weights=None, num_threads=1):
    (a_flat, a_strides), (g_flat, g_strides) = (lay_out(v, layout) for v in (a, g))
    attributes = cam_attributes(*a.shape, a_strides, g_strides, variant=variant, epsilon=epsilon, omit_nan=omit_nan)
    inputs = {"cam_channel_mean": [g_flat], "cam_combine": [weights, a_flat]}.get(kernel, [a_flat, g_flat])
    return _call.call(kernel, attributes, inputs, outputs, num_threads=num_threads)


def assert_bits(got, want, dtype):
    """Equal bits, but for the payload of a NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        want = np.array(want, np.float64).astype(dtype)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(np.signbit(got[~np.isnan(got)]), np.signbit(want[~np.isnan(want)]))


@pytest.mark.parametrize("kind", ["any", "positive", "cancelling", "balanced", "huge", "not finite"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_bits_are_the_reference(isa, shape, dtype, kind):
    a, g = arrays(shape, dtype, kind)
    wide_a, wide_g = a.astype(np.float64), g.astype(np.float64)
    k, n = shape
    w = np.random.default_rng(1).standard_normal(k).astype(dtype)
    with np.errstate(all="ignore"):
        wanted = {
            ("cam_channel_mean", 0, 0.0): (reference.channel_mean(wide_g),),
            **{
                ("cam_plusplus_weights", v, e): reference.plusplus_weights(wide_a, wide_g, v, e, dtype == "float32")
                for v, e in ((0, 0.0), (1, 1e-6), (2, 0.0))
            },
            **{("cam_xgrad_weights", v, e): reference.xgrad_weights(wide_a, wide_g, v, e) for v, e in ((0, 0.0), (1, 1e-7))},
        }
        maps = {
            **{("cam_combine", 0, o): reference.combine(w.astype(np.float64), wide_a, o) for o in (False, True)},
            **{("cam_product", v, o): reference.product(wide_a, wide_g, v, o) for v in (0, 1, 2) for o in (False, True)},
        }
    for layout in LAYOUTS:
        for (kernel, variant, epsilon), want in wanted.items():
            for got, numbers in zip(run(kernel, a, g, layout, [(k,)] * len(want), variant, epsilon), want, strict=True):
                assert_bits(got, numbers, dtype)
        for (kernel, variant, omit_nan), want in maps.items():
            assert_bits(run(kernel, a, g, layout, [(n,)], variant, omit_nan=omit_nan, weights=w)[0], want, dtype)


@pytest.mark.parametrize("threads", [2, 3, 4])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_number_of_threads_changes_no_bit(isa, layout, threads):
    a, g = arrays((130, 300), "float32", "any")
    w = g[:, 0].copy()
    for kernel, outputs in (
        ("cam_channel_mean", 1),
        ("cam_plusplus_weights", 2),
        ("cam_xgrad_weights", 2),
        ("cam_combine", 0),
        ("cam_product", 0),
    ):
        shapes = [(130,)] * outputs or [(300,)]
        one, many = (run(kernel, a, g, layout, shapes, weights=w, num_threads=t) for t in (1, threads))
        assert [v.tobytes() for v in one] == [v.tobytes() for v in many]


def test_finite_weights_of_the_largest_floats(isa):
    a, g = arrays((9, 50), "float32", "huge")
    weights, degenerate = run("cam_plusplus_weights", a, g, "rows", [(9,)] * 2)
    assert np.isfinite(weights).all()
    assert not degenerate.any()


def test_degenerate_channels_are_reported(isa):
    a, g = arrays((9, 20), "float32", "cancelling")
    assert run("cam_plusplus_weights", a, g, "rows", [(9,)] * 2)[1].all()
    a[:, 1] = 2
    assert run("cam_xgrad_weights", a, g, "rows", [(9,)] * 2)[1].all()
