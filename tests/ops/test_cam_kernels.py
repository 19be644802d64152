"""Kernels of csrc/cam, in every layout that they read in place."""

from __future__ import annotations

import numpy as np
import pytest
from reference import cam as reference

from gradcam import _core
from gradcam.ops import _call, cam

DTYPES = ["float32", "float64"]
SHAPES = [(1, 1), (1, 9), (9, 1), (3, 2), (2, 8), (5, 7), (130, 49), (64, 16), (67, 23), (6, 530)]


def random(shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def channels_first(x):
    return np.ascontiguousarray(x)


def channels_last(x):
    return np.ascontiguousarray(x.T).T


def sliced(x):
    """Neither channels nor positions are adjacent."""
    wide = np.full((2 * x.shape[0], 3 * x.shape[1]), np.nan, x.dtype)
    wide[::2, ::3] = x
    return wide[::2, ::3]


LAYOUTS = [channels_first, channels_last, sliced]
MIXED = [(channels_first, channels_first), (channels_last, channels_last), (sliced, sliced), (channels_first, channels_last)]

# name, call on (a, g), reference on (a, g)
WEIGHTS = [
    ("mean", lambda a, g, **t: (cam.channel_mean(g, **t),), lambda a, g: (reference.channel_mean(g),)),
    *[
        (f"plusplus {v}", lambda a, g, v=v, **t: cam.plusplus_weights(a, g, variant=v, epsilon=1e-6, **t),
         lambda a, g, v=v: reference.plusplus_weights(a, g, v, 1e-6))
        for v in range(3)
    ],
    *[
        (f"xgrad {v}", lambda a, g, v=v, **t: cam.xgrad_weights(a, g, variant=v, epsilon=1e-7, **t),
         lambda a, g, v=v: reference.xgrad_weights(a, g, v, 1e-7))
        for v in range(2)
    ],
]  # fmt: skip
MAPS = [
    *[
        (f"combine {omit}", lambda a, g, o=omit, **t: (cam.combine(g[:, 0].copy(), a, omit_nan=o, **t),),
         lambda a, g, o=omit: (reference.combine(g[:, 0], a, o),))
        for omit in (False, True)
    ],
    *[
        (f"product {v} {omit}", lambda a, g, v=v, o=omit, **t: (cam.product(a, g, variant=v, omit_nan=o, **t),),
         lambda a, g, v=v, o=omit: (reference.product(a, g, v, o),))
        for v in range(3) for omit in (False, True)
    ],
]  # fmt: skip
KERNELS = [pytest.param(run, expected, id=name) for name, run, expected in WEIGHTS + MAPS]


def pair(shape, dtype="float64", seed=0):
    """Activations of which half are 0, as behind a ReLU, and gradients."""
    a, g = random(shape, dtype, seed), random(shape, dtype, seed + 1)
    return np.where(a < 0, 0, a).astype(dtype) + dtype_eps(dtype), g


def dtype_eps(dtype):
    return np.asarray(0.015625, dtype)


def assert_bytes_equal(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == other.dtype
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("layouts", MIXED)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("run", "expected"), KERNELS)
def test_values_are_the_reference(isa, run, expected, dtype, shape, layouts):
    a, g = pair(shape, dtype)
    for got, want in zip(run(layouts[0](a), layouts[1](g)), expected(a, g), strict=True):
        assert got.dtype == dtype
        tolerance = 1e-12 if dtype == "float64" else 2e-7
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=1e-12 * np.abs(want).max())


@pytest.mark.parametrize("shape", [(3, 5), (130, 49), (16, 1000)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_float32_sums_are_rounded_once(isa, shape, layout):
    a, g = random(shape, "float32"), random(shape, "float32", 1)
    half_ulp = 2.0**-24
    mean, wanted = cam.channel_mean(layout(g)), reference.channel_mean(g)
    assert np.all(np.abs(mean - wanted) <= half_ulp * np.abs(wanted) + 1e-15)
    for variant in range(3):
        terms = np.abs(reference.map_terms(g, a, variant)).sum(axis=0)
        error = np.abs(cam.product(layout(a), layout(g), variant=variant) - reference.product(a, g, variant))
        assert np.all(error <= 2.0**-23 * terms)
        assert np.all(error <= half_ulp * np.abs(reference.product(a, g, variant)) + 1e-14 * terms)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_integers_are_exact(isa, shape, layout):
    generator = np.random.default_rng(3)
    a, g = (generator.integers(-8, 9, shape).astype("float32") for _ in range(2))
    weights = np.ascontiguousarray(g[:, 0])
    np.testing.assert_array_equal(cam.combine(weights, layout(a)), weights @ a)
    np.testing.assert_array_equal(cam.product(layout(a), layout(g)), (g * a).sum(axis=0))
    np.testing.assert_array_equal(cam.product(layout(a), layout(g), variant=1), np.maximum(g * a, 0).sum(axis=0))
    np.testing.assert_array_equal(cam.product(layout(a), layout(g), variant=2), (np.maximum(g, 0) * a).sum(axis=0))
    np.testing.assert_array_equal(cam.plusplus_weights(layout(a), layout(g), variant=2)[0], (np.maximum(g, 0) ** 3).sum(axis=1))
    mean = (g.sum(axis=1, dtype="float64") / shape[1]).astype("float32")
    np.testing.assert_array_equal(cam.channel_mean(layout(g)), mean)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(130, 49), (67, 23), (1, 40), (40, 1), (6, 530)])
@pytest.mark.parametrize(("run", "expected"), KERNELS)
def test_bits_do_not_depend_on_threads_layout_or_isa(monkeypatch, run, expected, shape, dtype):
    monkeypatch.setattr(_call, "SERIAL_ELEMENTS", 0)
    a, g = random(shape, dtype), random(shape, dtype, 1)
    results = []
    for isa in _core.isas:
        monkeypatch.setattr(_call, "isa", isa)
        results += [run(one(a), other(g), num_threads=1) for one, other in MIXED]
        results += [run(layout(a), layout(g), num_threads=n) for layout in LAYOUTS for n in (2, 3, 4)]
    for result in results[1:]:
        assert_bytes_equal(results[0], result)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("run", "expected"), KERNELS)
@pytest.mark.parametrize("where", ["a", "g"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_numbers(isa, run, expected, layout, where, value):
    for position in (0, 4, 12):
        a, g = pair((11, 13))
        (a if where == "a" else g)[5, position] = value
        for got, want in zip(run(layout(a), layout(g)), expected(a, g), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_nan_stays_where_the_specification_says(isa, layout):
    a, g = pair((5, 21))
    broken = a.copy()
    broken[2, 7] = np.nan
    only_there = np.arange(21) == 7
    for variant in range(3):
        np.testing.assert_array_equal(np.isnan(cam.product(layout(broken), layout(g), variant=variant)), only_there)
        np.testing.assert_array_equal(np.isnan(cam.product(layout(a), layout(broken), variant=variant)), only_there)
        assert np.isfinite(cam.product(layout(broken), layout(g), variant=variant, omit_nan=True)).all()
    weights = cam.channel_mean(layout(g))
    np.testing.assert_array_equal(np.isnan(cam.combine(weights, layout(broken))), only_there)
    assert np.isfinite(cam.combine(weights, layout(broken), omit_nan=True)).all()
    only_channel = np.arange(5) == 2
    np.testing.assert_array_equal(np.isnan(cam.channel_mean(layout(broken))), only_channel)
    for run in (cam.plusplus_weights, cam.xgrad_weights):
        for pictures in ((broken, g), (a, broken)):
            weights, degenerate = run(*map(layout, pictures))
            np.testing.assert_array_equal(np.isnan(weights), only_channel)
            assert not degenerate.any()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_cancelling_denominators_give_weight_0(isa, dtype, layout):
    a = np.array([[0, 0, 0, 0], [1, -1, 2, -2], [1, 1, 1, 1], [-1, -1, 1, 0]], dtype)
    g = np.array([[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, -4], [2, 1, -1, 2]], dtype)
    weights, degenerate = cam.xgrad_weights(layout(a), layout(g))
    np.testing.assert_array_equal(degenerate, [1, 1, 0, 0])
    np.testing.assert_array_equal(weights, [0, 0, 0.5, 4])
    weights, degenerate = cam.plusplus_weights(layout(a), layout(g))  # 2 + r s = 0 where r = 2, s = -1
    np.testing.assert_array_equal(degenerate, [0, 0, 0, 1])
    np.testing.assert_allclose(weights, [5, 5, 1 / 6 + 2 / 10 + 3 / 14, 1], rtol=3e-7)
    for variant in (1, 2):
        assert not cam.plusplus_weights(layout(a), layout(g), variant=variant, epsilon=1e-6)[1].any()
    weights, degenerate = cam.xgrad_weights(layout(a), layout(g), variant=1, epsilon=0.5)
    np.testing.assert_allclose(weights, [0, (1 - 2 + 6 - 8) / 0.5, 2 / 4.5, -4 / -0.5], rtol=3e-7)
    assert not degenerate.any()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_identities(isa, layout):
    a, g = layout(random((37, 29))), layout(random((37, 29), seed=1))
    opposite = layout(-np.asarray(g))
    hires = cam.product(a, g)
    for variant in (1, 2):
        np.testing.assert_allclose(cam.product(a, g, variant=variant) - cam.product(a, opposite, variant=variant), hires, rtol=1e-11)
    xgrad = cam.combine(cam.xgrad_weights(a, g)[0], a)
    np.testing.assert_allclose(xgrad.sum(), hires.sum(), rtol=1e-10)
    constant = layout(np.repeat(np.asarray(g)[:, :1], 29, axis=1))  # gradients that do not vary: three methods coincide
    positive = layout(np.abs(np.asarray(a)))
    gradcam = cam.combine(cam.channel_mean(constant), positive)
    np.testing.assert_allclose(gradcam, cam.product(positive, constant), rtol=1e-12)
    np.testing.assert_allclose(gradcam, cam.combine(cam.xgrad_weights(positive, constant)[0], positive), rtol=1e-12)


def raw_map(source, method, a, g):
    """Raw map of one picture as the library named by `source` makes it."""
    variant, epsilon = {"paper": (0, 0.0), "pgc": (1, 1e-7), "tc": (1, 1e-8)}[source]
    omit = source == "tc"
    if method in ("hirescam", "elementwise", "layercam"):
        return cam.product(a, g, variant=("hirescam", "elementwise", "layercam").index(method), omit_nan=omit)
    if method == "gradcam":
        weights = cam.channel_mean(g)
    elif method == "xgradcam":
        weights, _ = cam.xgrad_weights(a, g, variant=variant, epsilon=epsilon)
    else:
        weights, _ = cam.plusplus_weights(a, g, variant=("paper", "pgc", "tc").index(source), epsilon=1e-6)
    return cam.combine(weights, a, omit_nan=omit)


METHODS = ["gradcam", "gradcampp", "xgradcam", "hirescam", "elementwise", "layercam"]


@pytest.mark.parametrize("layout", [channels_first, channels_last])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("source", ["paper", "pgc", "tc"])
def test_golden_values(isa, shared, source, method, layout):
    path = shared / "golden" / "arrays.npz"
    if not path.is_file():
        pytest.skip("no ../shared/golden/arrays.npz")
    compared = 0
    with np.load(path) as golden:
        for key in golden.files:
            case, _, rest = key.partition("/")
            if rest != f"{source}/{method}/raw":
                continue
            for dtype in DTYPES if source == "paper" else ["float32"]:
                a, g = (golden[f"{case}/{name}"].astype(dtype) for name in ("A", "g"))
                ours = [raw_map(source, method, *(layout(x.reshape(x.shape[0], -1)) for x in pictures)) for pictures in zip(a, g, strict=True)]
                got, want = np.stack(ours).reshape(golden[key].shape), golden[key]
                if source == "tc":
                    got = np.where(got < 0, 0, got)
                if dtype == "float64":
                    bound = 1e-11
                else:
                    bound = 1e-5 if method == "gradcampp" or (method == "xgradcam" and source != "paper") else 1e-6 if source == "paper" else 2e-6
                np.testing.assert_allclose(got, want, rtol=0, atol=bound * np.nanmax(np.abs(want), initial=1e-300), err_msg=f"{key} {dtype}")
                compared += 1
    absent = source == "tc" and method in ("hirescam", "elementwise")  # torchcam has no such methods
    assert compared > 0 or absent


ARGUMENTS = {"channels": 3, "positions": 4, "a_c": 4, "a_x": 1, "g_c": 4, "g_x": 1, "variant": 0, "omit_nan": 0}


def operands(kernel, epsilon=0.0, **changes):
    return _core.operands(kernel, _call.isa, "f", tuple((ARGUMENTS | changes).values()), (epsilon,))


def test_operand_sizes():
    assert operands("cam_channel_mean")[0][0] == 12
    assert operands("cam_combine", a_c=7, a_x=3)[0] == (3, 2 * 7 + 3 * 3 + 1)
    assert operands("cam_product", g_c=1, g_x=5)[0] == (12, 2 + 15 + 1)
    assert operands("cam_xgrad_weights")[1] == (3, 3)
    assert operands("cam_product", channels=1, a_c=0)[0][0] == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": 0}, "sizes of at least 1"),
        ({"positions": 0}, "sizes of at least 1"),
        ({"positions": -4}, "sizes of at least 1"),
        ({"a_c": 0}, "strides of at least 1"),
        ({"a_x": 0}, "strides of at least 1"),
        ({"g_x": -1}, "strides of at least 1"),
        ({"channels": 1, "g_c": -1}, "strides of at least 1"),
        ({"variant": 3}, "known operator code"),
        ({"variant": -1}, "known operator code"),
        ({"omit_nan": 2}, "known operator code"),
        ({"epsilon": -1.0}, "finite parameter"),
        ({"epsilon": float("nan")}, "finite parameter"),
        ({"a_c": 2**62}, "overflows"),
        ({"g_c": 2**62, "g_x": 2**62}, "overflows"),
        ({"channels": 2**40, "positions": 2**40, "a_c": 2**40}, "overflows"),
    ],
)
def test_bad_attributes_are_refused(change, message):
    with pytest.raises((ValueError, MemoryError, OverflowError), match=message):
        operands("cam_product", **change)


def test_variants_are_counted_per_kernel():
    for kernel, variants in {"cam_channel_mean": 1, "cam_plusplus_weights": 3, "cam_xgrad_weights": 2, "cam_combine": 1, "cam_product": 3}.items():
        operands(kernel, variant=variants - 1)
        with pytest.raises(ValueError, match="known operator code"):
            operands(kernel, variant=variants)


def test_arrays_of_another_size_are_refused():
    a = random((3, 4))
    with pytest.raises(ValueError):
        _call.call("cam_combine", cam.cam_attributes(3, 5), [a[:, 0].copy(), a], [(5,)])


def test_reversed_views_are_copied():
    a, g = random((4, 6)), random((4, 6), seed=1)
    np.testing.assert_array_equal(cam.product(a[::-1, ::-1], g[::-1, ::-1])[::-1], cam.product(a[::-1].copy(), g[::-1].copy()))


def test_attributes_default_to_channels_first():
    assert cam.cam_attributes(3, 4) == _call.Attributes((3, 4, 4, 1, 4, 1, 0, 0), (0.0,))
    assert cam.cam_attributes(3, 4, (1, 3), variant=2, omit_nan=True, epsilon=1e-6) == ((3, 4, 1, 3, 4, 1, 2, 1), (1e-6,))
