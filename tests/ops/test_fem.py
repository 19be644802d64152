"""FEM: weights, thresholds and maps of one picture, through graphs."""

from __future__ import annotations

import numpy as np
import pytest
from graph.cases import F64
from ops.strided import SHAPES, built, flat
from reference import fem as reference

from gradcam import _core
from gradcam.graph.builder import Builder
from gradcam.graph.compilation import compile_plan
from gradcam.graph.plan import SERIAL_ELEMENTS


def emit(mask):
    """Nodes of the method: weights, thresholds, map."""

    def nodes(g, values, axis):
        (a,) = values
        weights, thresholds = g.emit_all("CamFemWeights", a, mask=mask, channel_axis=axis)
        if mask == "binary":
            return weights, thresholds, g.emit("CamFemMap", weights, thresholds, a, channel_axis=axis)
        return weights, thresholds, g.emit("CamCombine", weights, a, channel_axis=axis)

    return nodes


def fem(a, mask="binary", axis=1, workers=1):
    weights, thresholds, raw = built([a], axis, emit(mask), workers)
    assert weights.shape == thresholds.shape == (1, a.shape[1])
    assert raw.shape == (1, *a.shape[2:])
    return weights[0], thresholds[0], raw


def sample(shape, dtype, seed=0):
    """Channels with a few peaks, so that masks are neither empty nor full; few positions have none."""
    return (np.random.default_rng(seed).standard_normal(shape) ** 3 + 0.1).astype(dtype)


@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("mask", ["binary", "fraction"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-6), ("float64", 1e-12)])
def test_values_are_the_reference(isa, shape, mask, axis, dtype, bound):
    a = sample(shape, dtype)
    weights, thresholds, raw = fem(a, mask, axis)
    wanted_weights, wanted = getattr(reference, mask)(flat(a))
    limits = [reference.statistics(channel)[1] for channel in flat(a)]
    np.testing.assert_allclose(weights, wanted_weights, rtol=bound, atol=bound)
    np.testing.assert_allclose(thresholds, limits, rtol=bound)
    np.testing.assert_allclose(raw.ravel(), wanted, rtol=0, atol=bound * (np.abs(wanted).max() + 1))
    if np.prod(shape[2:]) > 20:
        assert np.count_nonzero(wanted) > 0


@pytest.mark.parametrize("mask", ["binary", "fraction"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [*SHAPES, (1, 300, 3, 5), (1, 300, 7, 7), (1, 33, 40, 41)])
def test_layouts_threads_and_levels_give_the_same_bytes(shape, mask, dtype, monkeypatch):
    a = sample(shape, dtype)
    found = set()
    for level in _core.isas:
        monkeypatch.setattr("gradcam.ops._call.isa", level)
        for axis in (1, -1):
            for workers in (1, 2, 3, 4):
                found.add(b"".join(part.tobytes() for part in fem(a, mask, axis, workers)))
    assert len(found) == 1


def test_the_arrays_above_are_shared_among_threads():
    g = Builder(F64)
    g.graph.outputs = [emit("binary")(g, [g.input("a", (1, 33, 40, 41))], 1)[2]]
    assert compile_plan(g.graph, F64).work > SERIAL_ELEMENTS


def test_thresholds_decide_like_exact_numbers(isa):
    """A float32 number reaches the rounded threshold if and only if it reaches the threshold in double."""
    a = sample((1, 400, 5, 5), "float32", 3)
    _, thresholds, _ = fem(a)
    rounded = 0
    for channel, threshold in zip(flat(a), thresholds, strict=True):
        values = channel.astype(np.float64)
        limit = values.mean() + 2 * values.std()
        assert threshold >= limit * (1 - 1e-14 * np.sign(limit))
        assert np.nextafter(threshold, np.float32(-np.inf)) < limit
        rounded += np.float32(limit) < threshold
    assert rounded > 100


def test_a_number_on_the_threshold_counts_only_in_the_binary_mask(isa):
    """Of four zeros and one 5: mu = 1 and sd = 2, so that the 5 lies on the threshold."""
    a = np.array([0, 0, 5, 0, 0], float).reshape(1, 1, 5)
    weights, thresholds, raw = fem(a)
    assert (weights[0], thresholds[0]) == (1, 5)
    assert raw.tolist() == [[0, 0, 1, 0, 0]]
    weights, _, raw = fem(a, "fraction")
    assert weights[0] == 0
    assert not raw.any()


@pytest.mark.parametrize("value", [0.1, -0.1, 1 / 3, 0.0, 1e30])
@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_constant_channel_stands_out_nowhere(isa, value, axis, dtype):
    for shape in ((1, 2, 7, 9), (1, 9, 3), (1, 3, 1)):
        a = np.full(shape, value, dtype)
        weights, thresholds, raw = fem(a, axis=axis)
        np.testing.assert_allclose(weights, a.dtype.type(value), rtol=1e-6)
        assert (thresholds == np.inf).all()
        assert not raw.any()
        weights, _, raw = fem(a, "fraction", axis)
        assert not weights.any()
        assert not raw.any()


@pytest.mark.parametrize("place", [(0, 0), (1, 3), (2, 6)])
@pytest.mark.parametrize("axis", [1, -1])
def test_nan_spoils_the_whole_binary_map(isa, place, axis):
    a = sample((1, 3, 7), "float32")
    a[0][place] = np.nan
    weights, thresholds, raw = fem(a, axis=axis)
    assert np.flatnonzero(np.isnan(weights)).tolist() == np.flatnonzero(np.isnan(thresholds)).tolist() == [place[0]]
    assert np.isnan(raw).all()
    weights, _, raw = fem(a, "fraction", axis)
    assert np.isfinite(weights).all()
    assert np.flatnonzero(np.isnan(raw)).tolist() == [place[1]]


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinity_is_not_finite(isa, value):
    for count in (1, 7):
        a = sample((1, 3, 7), "float32")
        a[0, 1, :count] = value
        weights, thresholds, raw = fem(a)
        assert weights[1] == value
        assert np.isnan(thresholds[1])
        assert np.isnan(raw).all()


def test_sums_are_taken_in_double(isa):
    a = np.full((1, 1, 100_000), 1000.1, np.float32)
    a[0, 0, 0] += 1
    weights, thresholds, _ = fem(a)
    values = a.astype(np.float64)
    assert weights[0] == np.float32(values.mean())
    np.testing.assert_allclose(thresholds[0], values.mean() + 2 * values.std(), rtol=1e-7)


@pytest.mark.parametrize(
    ("kernel", "ints", "message"),
    [
        ("cam_fem_weights", (2, 3, 3, 1), "attributes"),
        ("cam_fem_map", (2, 3, 3, 1, 0, 0), "attributes"),
        ("cam_fem_weights", (0, 3, 3, 1, 0), "shape"),
        ("cam_fem_map", (2, 0, 3, 1, 0), "shape"),
        ("cam_fem_map", (2, -3, 3, 1, 0), "shape"),
        ("cam_fem_weights", (2, 3, 0, 1, 0), "stride"),
        ("cam_fem_map", (2, 3, 3, -1, 0), "stride"),
        ("cam_fem_weights", (2, 3, 3, 1, 2), "op"),
        ("cam_fem_map", (2, 3, 3, 1, -1), "op"),
        ("cam_fem_weights", (2**40, 3, 2**40, 1, 0), "expected a size that fits"),
        ("cam_fem_map", (2, 3, 2**62, 2**62, 0), "expected a size that fits"),
    ],
)
def test_bad_attributes(kernel, ints, message):
    with pytest.raises((ValueError, MemoryError), match=f"{kernel}: {message}"):
        _core.operands(kernel, _core.isa, "f", ints, ())


def test_any_strides(isa):
    """Numbers between the ones of the view are not read."""
    a = sample((1, 6, 11), "float64")
    block = np.full((6, 11, 3), np.nan)
    block[..., 0] = a[0]
    strided = block.ravel()[: 5 * 33 + 10 * 3 + 1].copy()
    weights, thresholds, raw = np.empty(6), np.empty(6), np.empty(11)
    ints = (6, 11, 33, 3, 0)
    _core.call("cam_fem_weights", isa, "d", ints, (), (strided,), (weights, thresholds), 2)
    _core.call("cam_fem_map", isa, "d", ints, (), (weights, thresholds, strided), (raw,), 2)
    for got, want in zip((weights, thresholds, raw), fem(a), strict=True):
        assert got.tobytes() == want.tobytes()


# --- golden values


@pytest.mark.parametrize(("key", "mask"), [("paper/fem", "binary"), ("paper/fem_fraction", "fraction"), ("pgc/fem", "fraction")])
@pytest.mark.parametrize(("dtype", "axis"), [(None, 1), (None, -1), (np.float64, 1)])
def test_golden_arrays(shared, key, mask, dtype, axis):
    with np.load(shared / "golden" / "arrays.npz") as golden:
        cases = [name.split("/")[0] for name in golden.files if name.endswith(f"/{key}/raw")]
        assert len(cases) > 9
        for case in cases:
            a, wanted = golden[f"{case}/A"], golden[f"{case}/{key}/raw"].astype(np.float64)
            a = a.astype(dtype or a.dtype)
            bound = 1e-11 if dtype and key.startswith("paper") else 2e-6
            for picture, want in zip(a, wanted, strict=True):
                _, _, raw = fem(picture[None], mask, axis)
                peak = np.abs(want[np.isfinite(want)]).max(initial=0) or 1
                np.testing.assert_allclose(raw[0], want, rtol=0, atol=bound * peak, err_msg=case)
