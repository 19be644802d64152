"""Channels with NaN or infinity: found, and left out, through graphs."""

from __future__ import annotations

import numpy as np
import pytest
from ops.strided import SHAPES, built, flat
from reference import finite as reference

from gradcam import _core


def emit(g, values, axis):
    """The mask of all values, and each value without the channels that it names."""
    mask = g.emit("CamFinite", *values, channel_axis=axis)
    return mask, *(g.emit("CamDrop", value, mask, channel_axis=axis) for value in values)


def sample(shape, dtype, count=2, seed=0):
    """Arrays with some numbers that are not finite: in about every second channel if it has many positions."""
    rng = np.random.default_rng(seed)
    arrays = []
    for _ in range(count):
        array = rng.standard_normal(shape).astype(dtype)
        for _ in range(1 + shape[1] // 2):
            flat(array)[rng.integers(shape[1]), rng.integers(flat(array).shape[1])] = rng.choice([np.nan, np.inf, -np.inf])
        arrays.append(array)
    return arrays


def check(arrays, axis):
    mask, *kept = built(arrays, axis, emit)
    wanted = reference.mask(*(flat(a) for a in arrays))
    np.testing.assert_array_equal(mask, wanted[None])
    for array, result in zip(arrays, kept, strict=True):
        result = np.moveaxis(result, axis, 1)
        assert np.isfinite(result).all()
        np.testing.assert_array_equal(flat(np.ascontiguousarray(result)), reference.drop(flat(array), wanted))


@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("count", [1, 2])
def test_values_are_the_reference(isa, shape, dtype, axis, count):
    for seed in range(3):
        check(sample(shape, dtype, count, seed), axis)
    check([np.random.default_rng(9).standard_normal(shape).astype(dtype) for _ in range(count)], axis)


@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
def test_every_place_is_looked_at(isa, axis, dtype, value):
    for k in range(19):
        for x in range(17):
            for which in (0, 1):
                arrays = [np.zeros((1, 19, 17), dtype) for _ in range(2)]
                arrays[which][0, k, x] = value
                mask = built(arrays, axis, emit)[0]
                assert np.flatnonzero(mask).tolist() == [k]


def test_extreme_finite_numbers_stay(isa):
    for dtype in (np.float32, np.float64):
        info = np.finfo(dtype)
        a = np.array([info.max, info.min, info.tiny, info.smallest_subnormal, -0.0], dtype).reshape(1, 1, 5)
        mask, kept = built([a], 1, emit)
        assert not mask.any()
        assert kept.tobytes() == a.tobytes()


@pytest.mark.parametrize("shape", [(1, 300, 17, 17), (1, 33, 40, 41), (1, 1, 90_000)])
def test_layouts_threads_and_levels_give_the_same_bytes(shape, monkeypatch):
    arrays = sample(shape, "float32")
    found = set()
    for level in _core.isas:
        monkeypatch.setattr("gradcam.ops._call.isa", level)
        for axis in (1, -1):
            for workers in (1, 2, 3, 4):
                mask, *kept = built(arrays, axis, emit, workers)
                found.add(b"".join([mask.tobytes(), *(np.moveaxis(a, axis, 1).tobytes() for a in kept)]))
    assert len(found) == 1


def test_dropped_channels_leave_no_trace_in_a_map(isa):
    a, g = sample((1, 6, 4, 5), "float64", seed=4)

    def nodes(g, values, axis):
        mask, *kept = emit(g, values, axis)
        return (mask, g.emit("CamProduct", *kept, channel_axis=axis))

    mask, raw = built([a, g], 1, nodes)
    good = mask[0] == 0
    assert 0 < good.sum() < 6
    np.testing.assert_allclose(raw, (a * g)[:, good].sum(1), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("kernel", "ints", "message"),
    [
        ("cam_finite", (2, 3, 3, 1, 3, 1), "attributes"),
        ("cam_finite", (0, 3, 3, 1, 3, 1, 1), "shape"),
        ("cam_finite", (2, 0, 3, 1, 3, 1, 1), "shape"),
        ("cam_finite", (2, 3, 0, 1, 3, 1, 1), "stride"),
        ("cam_finite", (2, 3, 3, 1, 3, 0, 1), "stride"),
        ("cam_finite", (2, 3, 3, 1, 3, 1, 2), "op"),
        ("cam_finite", (2, 3, 3, 1, 2**62, 2**62, 1), "expected a size that fits"),
        ("cam_drop", (1, 2), "attributes"),
        ("cam_drop", (1, 2, 3, 4), "attributes"),
        ("cam_drop", (0, 2, 3), "shape"),
        ("cam_drop", (1, -2, 3), "shape"),
        ("cam_drop", (1, 2, 0), "shape"),
        ("cam_drop", (2**40, 2**20, 2**20), "expected a size that fits"),
        ("cam_drop", (2**40, 2**40, 1), "expected a size that fits"),
    ],
)
def test_bad_attributes(kernel, ints, message):
    with pytest.raises((ValueError, MemoryError), match=f"{kernel}: {message}"):
        _core.operands(kernel, _core.isa, "f", ints, ())


def test_strides_of_an_absent_array_are_not_read():
    assert _core.operands("cam_finite", _core.isa, "f", (2, 3, 3, 1, -5, 0, 0), ()) == ((6, 0), (2,))
