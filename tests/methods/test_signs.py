"""The kernels and laws of the sign analysis: reference loops, golden quadrants, identities of the four parts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import signs as reference

import gradcam
from gradcam import _core
from gradcam.ops import _call
from gradcam.ops.cam import cam_attributes
from gradcam.sign_facts import ChannelTable, measure

SHAPES = [(2, 3, 7), (1, 5, 4, 6), (2, 1, 1, 5), (3, 4, 2, 3, 4), (1, 70, 3, 3), (1, 9, 17, 19), (2, 3, 1), (1, 6, 600)]


@pytest.fixture(params=_core.isas)
def isa(request, monkeypatch):
    monkeypatch.setattr(_call, "isa", request.param)
    return request.param


def arrays(shape, dtype=np.float64, seed=0):
    generator = np.random.default_rng(seed)
    return tuple(generator.standard_normal(shape).astype(dtype) for _ in range(2))


def expected(a, g, weighting):
    """Quadrants (N, 4, n), map (N, n) and masses by channel (N, C, 4) of the loops."""
    flat = [v.reshape(*v.shape[:2], -1) for v in (a, g)]
    maps, wholes, channels = [], [], []
    for ak, gk in zip(*flat, strict=True):
        u = gk if weighting == "hirescam" else np.repeat(gk.mean(1, dtype=np.float64).astype(gk.dtype)[:, None], gk.shape[1], 1)
        parts, whole = reference.quadrants(u, ak)
        maps.append(parts)
        wholes.append(whole)
        channels.append(np.transpose(reference.quadrants(u.T, ak.T)[0]))
    return np.array(maps), np.array(wholes), np.array(channels)


@pytest.mark.parametrize("weighting", ["gradcam", "hirescam"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "bound"), [(np.float64, 1e-13), (np.float32, 3e-7)])
def test_quadrants_are_the_reference(isa, weighting, shape, dtype, bound):
    a, g = arrays(shape, dtype)
    facts = measure("signs", a, g, weighting=weighting)
    maps, whole, channels = expected(a, g, weighting)
    scale = np.abs(maps).sum(1).max()
    np.testing.assert_allclose(facts.quadrants.reshape(maps.shape), maps, rtol=0, atol=bound * scale)
    np.testing.assert_allclose(facts.map.reshape(whole.shape), whole, rtol=0, atol=bound * scale)
    np.testing.assert_allclose(facts.contributions, channels, rtol=0, atol=4 * bound * np.abs(channels).max())
    assert facts.map.dtype == facts.quadrants.dtype == dtype


@pytest.mark.parametrize(("shape"), SHAPES)
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_channel_table_is_the_reference(isa, shape, last, dtype):
    a, g = arrays(shape, dtype)
    a[0, 0].flat[-1] = np.nan
    a[0, -1].flat[0] = np.inf if shape[1] > 1 else 1
    a = np.round(a * 2) / 2  # ties
    if last:
        pair = [np.ascontiguousarray(np.moveaxis(v, 1, -1)) for v in (a, g)]
        table = measure("signs", *pair, channel_axis=-1).activations
    else:
        table = measure("signs", a, g).activations
    for i in range(shape[0]):
        for k in range(shape[1]):
            want = reference.channel(a[i, k].ravel())
            got = [getattr(table, name)[i, k] for name in ("positive", "negative", "low", "high", "nonfinite", "peak")]
            np.testing.assert_array_equal(got, want)


def test_a_position_beyond_the_split_is_exact(isa):
    a = np.zeros((1, 2, 300, 300), np.float32)
    a[0, 0, 299, 298], a[0, 1, 0, 1] = -1, 2
    for arrays_, axis in ((a, 1), (np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1)):
        facts = measure("signs", arrays_, arrays_, channel_axis=axis)
        assert facts.activations.peak.tolist() == [[299 * 300 + 298, 1]]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_map_has_the_bits_of_the_method(isa, shape, dtype):
    a, g = arrays(shape, dtype)
    for weighting in ("gradcam", "hirescam"):
        raw = gradcam.cam(a, g, method=weighting, relu=False)
        assert gradcam.signs(a, g, method=weighting).map.tobytes() == raw.tobytes()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "ulp"), [(np.float32, 2.0**-23), (np.float64, 2.0**-52)])
def test_quadrants_sum_to_the_map_and_have_their_signs(shape, dtype, ulp):
    a, g = arrays(shape, dtype)
    for method in ("gradcam", "hirescam"):
        report = gradcam.signs(a, g, method=method)
        parts = np.stack(report.quadrants)
        whole = np.abs(parts).astype(np.float64).sum(0)  # sum of |alpha A| at each position
        assert (np.abs(parts.astype(np.float64).sum(0) - report.map) <= 4 * ulp * whole).all()
        assert (parts[:2] >= 0).all()
        assert (parts[2:] <= 0).all()
        np.testing.assert_allclose(report.channels.contribution.sum(1), report.masses, rtol=1e-5, atol=1e-5 * whole.sum())
        np.testing.assert_allclose(report.shares.sum(1), 1, rtol=1e-12)


def test_relu_layers_have_two_quadrants():
    a, g = arrays((2, 5, 4, 6))
    report = gradcam.signs(np.maximum(a, 0), g)
    assert not report.quadrants[1].any()
    assert not report.quadrants[2].any()
    assert report.quadrants[0].any()
    assert report.quadrants[3].any()


def test_quadrants_of_gradients_give_two_more_methods():
    a, g = arrays((2, 5, 4, 6))
    q = gradcam.signs(a, g, method="hirescam").quadrants
    np.testing.assert_allclose(q[0] + q[2], gradcam.layer_cam(a, g, relu=False), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(q[0] + q[1], np.maximum(g * a, 0).sum(1), rtol=1e-12, atol=1e-14)  # element-wise


@pytest.mark.parametrize("method", ["gradcam", "hirescam"])
def test_flipped_channels_exchange_quadrants(method):
    a, g = arrays((2, 5, 4, 6))
    q, flipped = (gradcam.signs(s * a, s * g, method=method).quadrants for s in (1, -1))
    for one, other in ((0, 1), (1, 0), (2, 3), (3, 2)):
        np.testing.assert_array_equal(flipped[one], q[other])
    some = np.where(np.arange(5) % 2, -1.0, 1.0).reshape(1, 5, 1, 1)
    mixed = gradcam.signs(some * a, some * g, method=method).quadrants
    np.testing.assert_allclose(mixed[0] + mixed[1], q[0] + q[1], rtol=1e-12)  # the split changes, the pair does not
    np.testing.assert_allclose(mixed[2] + mixed[3], q[2] + q[3], rtol=1e-12)
    assert np.abs(mixed[0] - q[0]).max() > 0.01


@pytest.mark.parametrize("method", ["gradcam", "hirescam"])
def test_a_negated_score_is_the_counterfactual(method):
    a, g = arrays((2, 5, 4, 6))
    report, negated = gradcam.signs(a, g, method=method), gradcam.signs(a, -g, method=method)
    other = report.counterfactual
    np.testing.assert_array_equal(other.map, negated.map)
    np.testing.assert_array_equal(other.map, -report.map)
    np.testing.assert_array_equal(other.shown, np.maximum(-report.map, 0))
    for got, want in zip(other.quadrants, negated.quadrants, strict=True):
        np.testing.assert_array_equal(got, want)


def test_scale_changes_nothing_and_a_shift_one_constant():
    a, g = arrays((1, 5, 4, 6))
    scale = np.exp2(np.arange(5)).reshape(1, 5, 1, 1)
    q, scaled = gradcam.signs(a, g).quadrants, gradcam.signs(a * scale, g / scale).quadrants
    np.testing.assert_array_equal(np.stack(scaled), np.stack(q))
    shift = np.random.default_rng(5).standard_normal((1, 5, 1, 1))
    moved, report = gradcam.signs(a + shift, g), gradcam.signs(a, g)
    constant = (report.channels.alpha * shift[..., 0, 0]).sum()
    np.testing.assert_allclose(moved.map - report.map, constant, rtol=1e-12)


# --- golden values


def test_golden_quadrants(shared):
    with np.load(shared / "golden" / "arrays.npz") as file:
        golden = {key: file[key] for key in file.files}
    cases = [key.split("/")[0] for key in golden if key.endswith("/paper/gradcam/quadrants")]
    assert len(cases) >= 12
    for case in cases:
        a, g, want = (golden[f"{case}/{key}"] for key in ("A", "g", "paper/gradcam/quadrants"))
        for dtype, bound in ((np.float32, 2e-6), (np.float64, 1e-12)):
            got = np.stack(gradcam.signs(a.astype(dtype), g.astype(dtype)).quadrants, 1).astype(np.float64)
            np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
            peak = np.nanmax(np.abs(want), initial=0) or 1
            np.testing.assert_allclose(got, want, rtol=0, atol=bound * peak)


# --- layouts and threads


@given(
    st.sampled_from(["gradcam", "hirescam"]),
    st.lists(st.integers(1, 6), min_size=1, max_size=3),
    st.integers(1, 19),
    st.integers(1, 3),
    st.sampled_from([np.float32, np.float64]),
    st.integers(0, 10**6),
)
def test_rows_and_layouts_have_the_same_bytes(method, space, channels, pictures, dtype, seed):
    a, g = arrays((pictures, channels, *space), dtype, seed)
    kept = a.copy(), g.copy()

    def everything(a, g, **keywords):
        facts = measure("signs", a, g, weighting=method, **keywords)
        tables = [getattr(t, n) for t in (facts.activations, facts.gradients) for n in ChannelTable.__dataclass_fields__]
        return [v.tobytes() for v in (facts.map, facts.quadrants, facts.contributions, *tables)]

    whole = everything(a, g)
    assert everything(*(np.ascontiguousarray(np.moveaxis(v, 1, -1)) for v in (a, g)), channel_axis=-1) == whole
    for view in (np.asfortranarray, lambda v: v[::-1][::-1], lambda v: v.astype(v.dtype.newbyteorder())):
        assert everything(view(a), view(g)) == whole
    if len(space) > 1:
        assert everything(*(np.moveaxis(v, 1, 2) for v in (a, g)), channel_axis=2) == whole
    one = measure("signs", a[:1], g[:1], weighting=method)
    assert whole[0].startswith(one.map.tobytes())
    assert whole[1].startswith(one.quadrants.tobytes())
    np.testing.assert_array_equal(a, kept[0])
    np.testing.assert_array_equal(g, kept[1])


@pytest.mark.parametrize("threads", [2, 3, 4, 8])
@pytest.mark.parametrize("axis", [1, -1])
def test_number_of_threads_changes_no_bit(threads, axis):
    for shape in ((1, 64, 40, 41), (5, 64, 30, 31), (1, 300, 41, 7)):
        pair = [np.ascontiguousarray(np.moveaxis(v, 1, axis)) for v in arrays(shape, np.float32)]
        one, many = (measure("signs", *pair, channel_axis=axis, weighting="hirescam", num_threads=n) for n in (1, threads))
        for name in ("map", "quadrants", "contributions", "alpha"):
            assert getattr(one, name).tobytes() == getattr(many, name).tobytes()
        assert one.activations.positive.tobytes() == many.activations.positive.tobytes()
        assert one.activations.peak.tobytes() == many.activations.peak.tobytes()


STRIDED = {"rows": (40, 1), "columns": (1, 8), "apart": (90, 2), "overlapping": (1, 1)}


@pytest.mark.parametrize("a_layout", STRIDED)
@pytest.mark.parametrize("g_layout", STRIDED)
@pytest.mark.parametrize("variant", [0, 1])
def test_any_strides_are_read_where_they_lie(isa, a_layout, g_layout, variant):
    channels, positions = 6, 37
    rng = np.random.default_rng(1)
    flat, views = [], []
    for c, x in (STRIDED[a_layout], STRIDED[g_layout]):
        flat.append(rng.standard_normal(1 + (channels - 1) * c + (positions - 1) * x))
        views.append(np.lib.stride_tricks.as_strided(flat[-1], (channels, positions), (8 * c, 8 * x)))
    a, g = views
    weights = rng.standard_normal(channels)
    attributes = cam_attributes(channels, positions, STRIDED[a_layout], STRIDED[g_layout], variant=variant)
    first = weights if variant == 0 else flat[1]
    outputs = np.empty(4 * positions), np.empty(positions)
    _core.call("cam_quadrants", isa, "d", attributes.ints, attributes.reals, (first, flat[0]), outputs, 2)
    parts, whole = reference.quadrants(np.repeat(weights[:, None], positions, 1) if variant == 0 else g, a)
    np.testing.assert_allclose(outputs[0].reshape(4, -1), parts, rtol=0, atol=1e-13)
    np.testing.assert_allclose(outputs[1], whole, rtol=0, atol=1e-13)
    table = np.empty((channels, 7))
    _core.call(
        "cam_channel_signs", isa, "d", cam_attributes(channels, positions, (1, 8), STRIDED[g_layout]).ints, (0.0,), (flat[1],), (table,), 3
    )
    for k in range(channels):
        want = reference.channel(g[k])
        np.testing.assert_allclose([*table[k, :5], table[k, 5] * 65536 + table[k, 6]], want, rtol=1e-12)


@given(st.tuples(*[st.integers(0, 9)] * 6, st.integers(0, 2)), st.sampled_from("fd"), st.sampled_from(_core.isas), st.integers(1, 3))
def test_kernels_stay_within_their_arrays(ints, dtype, level, workers):
    for kernel in ("cam_quadrants", "cam_channel_signs"):
        try:
            ins, outs = _core.operands(kernel, level, dtype, (*ints, 0), (0.0,))
        except ValueError:
            continue
        guard = 16
        blocks = [np.full(n + 2 * guard, 3, dtype) for n in outs]
        inputs = tuple(np.ones(n, dtype) for n in ins)
        outputs = tuple(block[guard : guard + n] for block, n in zip(blocks, outs, strict=True))
        _core.call(kernel, level, dtype, (*ints, 0), (0.0,), inputs, outputs, workers)
        for block in blocks:
            assert (block[:guard] == 3).all()
            assert (block[len(block) - guard :] == 3).all()


# --- what is not a number, and what is refused


def test_nan_is_in_all_four_parts_of_its_position():
    a, g = arrays((2, 3, 4, 5), np.float32)
    a[0, 1, 2, 3] = np.nan
    report = gradcam.signs(a, g)
    for q in (*report.quadrants, report.map):
        assert np.isnan(q[0, 2, 3])
        assert np.isnan(q).sum() == 1
    assert np.isnan(report.masses[0]).all()
    assert np.isfinite(report.masses[1]).all()


def test_infinity_stays_in_its_quadrant():
    a, g = np.ones((1, 2, 3), np.float32), np.ones((1, 2, 3), np.float32)
    a[0, 0, 1] = -np.inf
    q = np.stack(gradcam.signs(a, g).quadrants)[:, 0]
    assert q[2, 1] == -np.inf
    assert np.isfinite(np.delete(q.ravel(), 7)).all()


A = np.zeros((1, 2, 3, 3), np.float32)


@pytest.mark.parametrize(
    ("a", "g", "keywords", "error", "message"),
    [
        (A, A[:, :1], {}, ValueError, r"signs: gradients: expected shape \(1, 2, 3, 3\) like the activations, got \(1, 1, 3, 3\)"),
        (A[0, 0], A[0, 0], {}, ValueError, r"signs: activations: expected 3 to 5 axes, got 2"),
        (A.astype(int), A, {}, TypeError, "signs: activations: expected float32 or float64, got int64"),
        (A, A.astype(float), {}, TypeError, "signs: gradients: expected float32 like the first array, got float64"),
        (A[:, :0], A[:, :0], {}, ValueError, "signs: activations: expected sizes of at least 1"),
        (A, A, {"channel_axis": 0}, ValueError, "signs: channel_axis: expected an axis of the 4 other than the batch axis 0, got 0"),
        (A, A, {"channel_axis": "C"}, ValueError, "signs: channel_axis: .* got 'C'"),
        (A, A, {"method": "layercam"}, ValueError, "signs: method: expected one of 'gradcam', 'hirescam', got 'layercam'"),
        (A, A, {"num_threads": 0}, ValueError, "num_threads: expected a positive integer"),
    ],
)
def test_bad_arguments(a, g, keywords, error, message):
    with pytest.raises(error, match=message):
        gradcam.signs(a, g, **keywords)


BAD_GEOMETRY = [(0, 1, 1, 1, 1, 1, 0, 0), (2, 3, 3, 1, 0, 1, 0, 0), (2, 3, 3, 1, 3, 1, 9, 0), (2, 3, 3, 1)]


@pytest.mark.parametrize("ints", BAD_GEOMETRY)
@pytest.mark.parametrize("kernel", ["cam_quadrants", "cam_channel_signs"])
def test_the_kernels_refuse_bad_geometry(kernel, ints):
    assert _core.operands(kernel, _core.isa, "d", (2, 3, 3, 1, 3, 1, 0, 0), (0.0,))
    with pytest.raises(ValueError, match=kernel):
        _core.operands(kernel, _core.isa, "d", ints, (0.0,))


def test_sizes_of_results_are_checked():
    for kernel, sizes in (("cam_quadrants", (1, 2**62, 0, 1, 0, 1)), ("cam_channel_signs", (2**61, 1, 1, 0, 1, 0))):
        with pytest.raises((ValueError, MemoryError)):
            _core.operands(kernel, _core.isa, "d", (*sizes, 0, 0), (0.0,))
    with pytest.raises(ValueError, match="cam_quadrants"):
        _core.operands("cam_quadrants", _core.isa, "d", (2, 3, 3, 1, 3, 1, 2, 0), (0.0,))  # a variant of cam_product


def test_no_pictures():
    report = gradcam.signs(np.zeros((0, 3, 4)), np.zeros((0, 3, 4)))
    assert len(report) == 0
    assert report.map.shape == (0, 4)
    assert report.diagnosis == ()
