"""Normalising and post-processing against plain loops and against the peers' own output."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from maps import ROUNDING, assert_close, random_maps
from reference import postprocessing as reference

from gradcam.errors import BlankMapWarning, NonFiniteWarning
from gradcam.postprocessing import flags, normalize, plainly_alive, postprocess, warn_blank
from gradcam.resampling import resize

NORMALIZATIONS = ["none", "minmax", "max", "absmax", "sum", ("percentile", 5, 90.0)]
GRIDS = ["linear", "linear-corners", "nearest", "cubic-spline"]
# --- normalize


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mode", NORMALIZATIONS, ids=str)
@pytest.mark.parametrize("shape", [(3, 7), (2, 5, 6), (1, 2, 3, 4)])
def test_normalize_equals_the_reference(shape, mode, dtype):
    maps = random_maps(shape, dtype)
    got = normalize(maps, mode)
    assert got.dtype == dtype
    assert_close(got, np.stack([reference.normalize(m, mode) for m in maps]), ROUNDING[dtype])


@pytest.mark.parametrize("mode", NORMALIZATIONS[1:], ids=str)
def test_normalize_leaves_non_finite_positions_out(mode):
    maps = random_maps((3, 4, 5))
    maps[0, 1, 2], maps[0, 0, 0], maps[1] = np.nan, -np.inf, np.nan
    got = normalize(maps, mode)
    assert np.isnan(got[1]).all()
    for i in (0, 2):
        assert_close(got[i], reference.normalize(maps[i], mode), 1e-14)
    assert np.isnan(got[0]).sum() == 2


@pytest.mark.parametrize("value", [0.0, 3.5, -2.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normalize_of_a_constant_map(value, dtype):
    maps = np.full((1, 3, 4), value, dtype)
    assert not normalize(maps, "minmax").any()
    assert not normalize(maps, ("percentile", 1, 99)).any()
    np.testing.assert_array_equal(normalize(maps, "max"), np.full_like(maps, value > 0))
    np.testing.assert_array_equal(normalize(maps, "absmax"), np.full_like(maps, np.sign(value)))
    np.testing.assert_allclose(normalize(maps, "sum"), np.full_like(maps, 1 / 12 if value else 0), rtol=1e-6)


@pytest.mark.parametrize("mode", ["minmax", "max", "absmax"])
@pytest.mark.parametrize("scale", [5e-324, 1e-310, 1e-40, 1e300, 1.7e308])
def test_normalize_of_subnormal_and_of_huge_values(scale, mode):
    maps = np.array([[-1.0, 0.0, 1.0]]) * scale
    want = {"minmax": [0, 0.5, 1], "max": [-1, 0, 1], "absmax": [-1, 0, 1]}[mode]
    np.testing.assert_array_equal(normalize(maps, mode), [want])


def test_normalize_shared_takes_extremes_of_the_batch():
    maps = np.array([[0.0, 1.0], [2.0, 4.0]])
    np.testing.assert_array_equal(normalize(maps, "minmax", shared=True), maps / 4)
    np.testing.assert_array_equal(normalize(maps, "minmax"), [[0, 1], [0, 1]])


finite_maps = hnp.arrays(
    st.sampled_from([np.float32, np.float64]),
    hnp.array_shapes(min_dims=2, max_dims=4, max_side=4),
    elements={"allow_nan": False, "allow_infinity": False},
)


@given(finite_maps)
def test_finite_maps_never_give_nan(maps):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for compat in ("paper", "torchcam"):
            finished = postprocess(maps, compat=compat)
            assert ((finished >= 0) & (finished <= 1)).all()
        signed = postprocess(maps, relu=False)
        assert (np.abs(signed) <= 1).all()
        np.testing.assert_array_equal(signed[maps == 0], 0)
        assert np.isin(np.abs(signed).max(axis=tuple(range(1, maps.ndim)), initial=0), (0, 1)).all()


@given(finite_maps)
def test_images_of_a_batch_do_not_influence_each_other(maps):
    whole = postprocess(maps, tuple(n + 1 for n in maps.shape[1:]), compat="paper")
    for i in range(len(maps)):
        alone = postprocess(maps[i : i + 1], tuple(n + 1 for n in maps.shape[1:]), compat="paper")
        assert alone.tobytes() == whole[i : i + 1].tobytes()


# --- postprocess


@pytest.mark.parametrize("mode", GRIDS)
@pytest.mark.parametrize("value", [1 / 3, 0.1, 1e-30, 1e20])
def test_a_constant_map_finishes_as_zeros(value, mode):
    for dtype in (np.float32, np.float64):
        assert not postprocess(np.full((1, 5, 7), value, dtype), (11, 6), mode=mode).any()


@pytest.mark.parametrize("compat", ["paper", "pytorch-grad-cam", "torchcam", "captum"])
@pytest.mark.parametrize(("shape", "size"), [((7,), (16,)), ((5, 6), (13, 8)), ((5, 6), None), ((3, 4, 5), (6, 8, 10))])
def test_postprocess_equals_the_reference(shape, size, compat):
    raw = random_maps((3, *shape))
    raw[1] = -np.abs(raw[1])
    raw[2].flat[3] = np.nan
    if compat == "pytorch-grad-cam" and len(shape) == 1:
        with pytest.raises(ValueError, match="spatial axes that mode 'pytorch-grad-cam' supports, got 1"):
            postprocess(raw, size, compat=compat)
        return
    want = np.stack([reference.postprocess(m, size, compat) for m in raw])
    assert_close(postprocess(raw, size, compat=compat), want, 1e-13)


def test_paper_maximum_is_exactly_1_and_minimum_exactly_0():
    finished = postprocess(random_maps((20, 7, 7), np.float32), (224, 224))
    np.testing.assert_array_equal(finished.max(axis=(1, 2)), 1)
    np.testing.assert_array_equal(finished.min(axis=(1, 2)), 0)


def test_without_relu_the_paper_mode_keeps_zero_and_sign():
    raw = np.array([[[-4.0, 0.0], [1.0, 2.0]]])
    np.testing.assert_array_equal(postprocess(raw, relu=False), raw / 4)
    np.testing.assert_array_equal(postprocess(-raw, relu=False), -postprocess(raw, relu=False))


def test_arguments_take_the_place_of_the_mode():
    raw = random_maps((2, 4, 5))
    relu = np.maximum(raw, 0)
    np.testing.assert_array_equal(
        postprocess(raw, (8, 9), mode="nearest", normalize="max"), normalize(resize(relu, (8, 9), "nearest"), "max")
    )
    np.testing.assert_array_equal(postprocess(raw, compat="captum", relu=True), relu)
    np.testing.assert_array_equal(postprocess(raw, (8, 9), compat="captum", mode="linear"), resize(raw, (8, 9)))
    np.testing.assert_array_equal(postprocess(raw, compat="torchcam", normalize="minmax"), normalize(relu))


@pytest.mark.parametrize("compat", ["paper", "pytorch-grad-cam", "torchcam"])
def test_several_layers(compat):
    raw = [random_maps((2, 3, 7)), random_maps((2, 6, 4), seed=1), random_maps((2, 5, 5), seed=2)]
    got = postprocess(raw, compat=compat)
    size = (6, 7)
    layers = []
    for maps in raw:
        relu = [reference.relu(m) for m in maps]
        if compat == "paper":
            layers.append([reference.normalize(reference.resize(m, size, "linear"), "minmax") for m in relu])
        else:
            layers.append(
                [reference.resize(reference.scale(m, 1e-7 if compat == "pytorch-grad-cam" else 1e-8), size, "linear") for m in relu]
            )
    fused = np.max(layers, axis=0) if compat == "torchcam" else np.mean(layers, axis=0)
    if compat == "paper":
        fused = np.stack([reference.normalize(m, "minmax") for m in fused])
    elif compat == "pytorch-grad-cam":
        fused = np.stack([reference.scale(m, 1e-7) for m in fused])
    assert_close(got, fused, 1e-13)
    for aggregate in ("mean", "max", "product"):
        one = postprocess(raw, compat=compat, aggregate=aggregate)
        assert one.tobytes() == postprocess(raw[::-1], compat=compat, aggregate=aggregate).tobytes()
    np.testing.assert_array_equal(postprocess(raw[:1], compat=compat), postprocess(raw[0], compat=compat))


def test_inputs_are_not_modified_and_layout_makes_no_difference():
    raw = random_maps((2, 6, 5), np.float32)
    kept = raw.copy()
    raw.flags.writeable = False
    want = postprocess(raw, (9, 9))
    np.testing.assert_array_equal(raw, kept)
    for other in (np.asfortranarray(raw), raw.astype(">f4"), np.repeat(raw, 2, axis=1)[:, ::2], raw[:, ::-1].copy()[:, ::-1]):
        got = postprocess(other, (9, 9))
        assert got.dtype == np.float32 and got.dtype.isnative
        assert got.tobytes() == want.tobytes()


def test_batch_0_and_float16():
    for compat in ("paper", "pytorch-grad-cam", "torchcam", "captum"):
        assert postprocess(np.zeros((0, 4, 5), np.float32), (8, 9), compat=compat).shape == (0, 8, 9)
    assert normalize(np.zeros((0, 4), np.float32), ("percentile", 1, 99)).shape == (0, 4)
    assert normalize(np.ones((1, 4), np.float16), "sum").dtype == np.float32


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: normalize(np.ones((2, 3), int)), TypeError, "normalize: map: expected float32 or float64, got int64"),
        (lambda: normalize(np.ones((2, 3), bool)), TypeError, "got bool"),
        (lambda: normalize(np.ones((2, 3), complex)), TypeError, "got complex128"),
        (lambda: normalize(np.ones(3)), ValueError, "one batch axis"),
        (lambda: normalize(np.ones((1,) * 5)), ValueError, "one batch axis"),
        (lambda: normalize(np.ones((2, 0))), ValueError, "length 1 or more"),
        (lambda: normalize(np.ones((2, 3)), "min-max"), ValueError, "normalize: mode: expected one of none, minmax"),
        (lambda: normalize(np.ones((2, 3)), ("percentile", 90, 10)), ValueError, "0 <= lo < hi <= 100"),
        (lambda: postprocess(np.ones((2, 3), np.int32)), TypeError, "postprocess: raw: expected float32"),
        (lambda: postprocess(np.ones((2, 3)), compat="keras"), ValueError, "'pytorch-grad-cam'"),
        (lambda: postprocess(np.ones((2, 3)), normalize="x"), ValueError, "postprocess: normalize"),
        (lambda: postprocess(np.ones((2, 3)), mode="x"), ValueError, "postprocess: mode"),
        (lambda: postprocess([np.ones((2, 3)), np.ones((1, 3))]), ValueError, "equal batch, rank and type"),
        (lambda: postprocess([np.ones((2, 3))] * 2, compat="captum"), ValueError, "number of layers that mode 'captum' supports, got 2"),
        (lambda: postprocess([np.ones((2, 3))] * 2, aggregate="sum"), ValueError, "aggregate: expected mean, max or product"),
        (lambda: postprocess([]), ValueError, "got 0"),
    ],
)
def test_bad_input(call, error, text):
    with pytest.raises(error) as info:
        call()
    assert text in str(info.value)


# --- flags and warnings


def test_flags():
    raw = np.array([[1.0, -1, 2], [-1, -2, 0], [0, 0, -0.0], [3, 3, 3], [-3, -3, -3], [math.nan, -1, math.inf], [math.nan] * 3])
    got = flags(raw)
    np.testing.assert_array_equal(got["all_negative"], [0, 1, 0, 0, 1, 1, 0])
    np.testing.assert_array_equal(got["zero"], [0, 0, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(got["constant"], [0, 1, 1, 1, 1, 1, 0])
    np.testing.assert_array_equal(got["nonfinite"], [0, 0, 0, 0, 0, 2, 3])
    assert all(value.shape == (0,) for value in flags(np.zeros((0, 2))).values())


@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        hnp.array_shapes(min_dims=2, max_dims=3, max_side=3),
        elements=st.sampled_from([-math.inf, -1.0, -0.0, 0.0, 5e-324, 2.0, math.inf, math.nan]),
    )
)
def test_a_map_is_plainly_alive_if_no_flag_is_up(raw):
    found = flags(raw)
    assert plainly_alive(raw) == (not found["constant"].any() and not found["nonfinite"].any())


def test_one_warning_of_each_kind_per_call():
    raw = np.array([[-1.0, -2], [0, 0], [1, 2], [math.nan, 1], [4, 4]])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_blank(flags(raw), stacklevel=1)
    assert [item.category for item in caught] == [BlankMapWarning, NonFiniteWarning]
    text = str(caught[0].message)
    assert "zero everywhere for image 1, nowhere positive (relu=False shows it) for image 0, constant for images 3, 4" in text
    assert str(caught[1].message) == "explain: NaN or infinity in the raw map of image 3"
    assert caught[0].filename == __file__


def test_a_signed_map_is_blank_only_where_it_is_zero():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_blank(flags(np.array([[-1.0, -2], [3, 3]])), relu=False)
        warn_blank(flags(np.array([[-1.0, 2]])))
    with pytest.warns(BlankMapWarning, match="zero everywhere for images 0, 1, 2, 3, 4, ..."):
        warn_blank(flags(np.zeros((9, 2))), relu=False)


# --- golden values

COMPAT = {"paper": "paper", "pgc": "pytorch-grad-cam", "tc": "torchcam"}


def error_of(got, want):
    finite = np.isfinite(want)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    return np.abs(got[finite] - want[finite]).max(initial=0) / (np.abs(want[finite]).max(initial=0) or 1)


@pytest.mark.parametrize("source", ["paper", "pgc", "tc"])
def test_golden_arrays(shared, source):
    """From the stored raw map to the stored finished one; a sign that LAPACK chose is that of the stored raw map."""
    checked = 0
    with np.load(shared / "golden" / "arrays.npz") as data:
        for key in data.files:
            case, _, rest = key.partition("/")
            if not rest.startswith(f"{source}/") or not key.endswith("/raw") or key[:-3] + "final" not in data:
                continue
            raw, want = data[key], data[key[:-3] + "final"]
            size = None if source == "tc" else tuple(data[f"{case}/size"])
            got = postprocess(raw, size, compat=COMPAT[source])
            assert got.dtype == raw.dtype
            assert error_of(got, want) <= 1e-6, key
            if source == "paper" and raw.dtype == np.float64:
                # A raw map in float32 costs its rounding before the scaling.
                assert error_of(postprocess(raw.astype(np.float32), size), want) <= 2e-6, key
            checked += 1
    assert checked >= 30


@pytest.mark.parametrize("net", ["net_vgg", "net_res", "net_mob"])
def test_golden_layers_together(shared, net):
    with np.load(shared / "golden" / f"{net}.npz") as data:
        size = data["input"].shape[2:]
        for method in ("gradcam", "layercam"):
            raw = [data[f"paper/{layer}/{method}/raw"].astype(np.float32) for layer in ("mid", "last")]
            want = data[f"pgc/multi/{method}/final"] if f"pgc/multi/{method}/final" in data else data[f"pgc/multi/{method}"]
            assert error_of(postprocess(raw, size, compat="pytorch-grad-cam"), want) <= 1e-5
            for name, length in (("fused", None), ("fused_input_size", size)):
                got = postprocess(raw, length, compat="torchcam", method=method)
                assert error_of(got, data[f"tc/multi/{method}/{name}"]) <= 1e-5
        got = postprocess(
            data["captum/last/gradcam_relu1"].reshape(len(data["input"]), *data["captum/last/gradcam_relu1"].shape[-2:]),
            size,
            compat="captum",
        )
        want = data["captum/last/gradcam_interpolate_nearest"]
        np.testing.assert_array_equal(got, want.reshape(got.shape))
