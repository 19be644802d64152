"""Regions against masks: the same elements of what an array is made from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradcam.graph.builder import Builder
from gradcam.graph.passes.region import Region


@st.composite
def regions(draw, most=4):
    """A shape and a region of it."""
    shape = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=most)))
    region = Region.of(shape, draw(st.sets(st.integers(0, len(shape) - 1))))
    if len(region.axes) == 1 and draw(st.booleans()):
        (axis,) = region.axes
        start = draw(st.integers(0, shape[axis] - 1))
        region = Region(region.axes, (start, draw(st.integers(1, shape[axis] - start))))
    return shape, region


def numbers(shape):
    return np.random.default_rng(0).standard_normal(shape)


def summed(region, array):
    """The sum over a region, by NumPy."""
    if region.span is not None:
        (axis,) = region.axes
        array = np.take(array, range(region.span[0], sum(region.span)), axis)
    return array.sum(axis=tuple(region.axes), keepdims=True)


@given(regions())
def test_shape_and_count(case):
    shape, region = case
    array = np.ones(shape)
    assert summed(region, array).shape == region.shape(shape)
    assert summed(region, array).max() == region.count(shape)


@given(regions(), st.integers(0, 3), st.integers(0, 3))
def test_reshaped(case, first, second):
    """Merging and parting axes anywhere: sums agree, or the region is refused; whole axes are never refused."""
    shape, region = case
    before = list(shape)
    for place in (first, second):
        i = place % len(before)
        if i + 1 < len(before):
            before[i : i + 2] = [before[i] * before[i + 1]]
        elif before[i] % 2 == 0:
            before[i : i + 1] = [2, 1, before[i] // 2]
    array = numbers(tuple(before))
    found = region.reshaped(shape, tuple(before))
    if tuple(before) == shape:
        assert found == region
    if found is not None:
        np.testing.assert_allclose(summed(found, array).reshape(region.shape(shape)), summed(region, array.reshape(shape)), atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "axes", "before", "expected"),
    [
        ((1, 14, 14, 768), (1, 2), (1, 196, 768), {1}),
        ((1, 196, 768), (1,), (1, 14, 14, 768), {1, 2}),
        ((4, 49, 8), (0, 1), (1, 2, 2, 7, 7, 8), {1, 2, 3, 4}),
        ((2, 3, 4), (1,), (2, 12), None),
        ((2, 3, 4), (1, 2), (6, 4), None),
        ((197, 1, 12, 64), (0,), (197, 1, 768), {0}),
        ((6, 0), (0,), (0, 6), None),
    ],
)
def test_reshaped_by_example(shape, axes, before, expected):
    found = Region.of(shape, axes).reshaped(shape, before)
    assert found == (None if expected is None else Region(frozenset(expected)))


@given(regions(), st.data())
def test_sliced(case, data):
    shape, region = case
    steps = [data.draw(st.sampled_from([1, 1, 2])) for _ in shape]
    starts = [data.draw(st.integers(0, 2)) for _ in shape]
    before = tuple(start + step * (n - 1) + 1 + data.draw(st.integers(0, 1)) for start, step, n in zip(starts, steps, shape, strict=True))
    array = numbers(before)
    taken = array[tuple(slice(a, a + s * n, s) for a, s, n in zip(starts, steps, shape, strict=True))]
    found = region.sliced(before, starts, steps, shape) if region.axes else None
    if found is not None:
        own = {name: tuple(values) for name, values in {"starts": starts, "steps": steps, "sizes": region.shape(shape)}.items()}
        a = region.outside(**own)
        part = summed(found, array)
        part = part[tuple(slice(s, s + d * n, d) for s, d, n in zip(a["starts"], a["steps"], a["sizes"], strict=True))]
        np.testing.assert_allclose(part, summed(region, taken), atol=1e-12)
    elif len(region.axes) == 1:
        (axis,) = region.axes
        assert steps[axis] != 1


@given(regions(), st.data())
def test_placed(case, data):
    """Of an array among zeros, the sum over a region is that over the part of the array which lies there."""
    shape, region = case
    before = tuple(data.draw(st.integers(1, n)) for n in shape)
    steps = [data.draw(st.integers(1, max(1, (n - 1) // max(m - 1, 1)))) for m, n in zip(before, shape, strict=True)]
    starts = [data.draw(st.integers(0, n - 1 - d * (m - 1))) for m, n, d in zip(before, shape, steps, strict=True)]
    array, among = numbers(before), np.zeros(shape)
    where = tuple(slice(a, a + d * (m - 1) + 1, d) for a, m, d in zip(starts, before, steps, strict=True))
    among[where] = array
    found = region.placed(before, starts, steps)
    expected = summed(region, among)
    if found.is_empty:
        assert not expected.any()
        return
    a = region.outside(starts=starts, steps=steps, sizes=before)
    whole = np.zeros(region.shape(shape))
    whole[tuple(slice(s, s + d * (n - 1) + 1, d) for s, d, n in zip(a["starts"], a["steps"], a["sizes"], strict=True))] = summed(
        found, array
    )
    np.testing.assert_allclose(whole, expected, atol=1e-12)


def test_backward_steps_with_a_span_are_refused():
    assert Region(frozenset({0}), (1, 2)).placed((3,), [2], [-1]) is None
    assert Region(frozenset({0})).placed((3,), [2], [-1]) == Region(frozenset({0}))


def test_positions_of_a_picture():
    assert Region.of((1, 5, 3, 4), (2, 3)).is_spatial((1, 5, 3, 4))
    assert Region.of((1, 5, 1, 4), (2, 3)).is_spatial((1, 5, 1, 4))
    assert not Region.of((1, 5, 3, 4), (2,)).is_spatial((1, 5, 3, 4))
    assert not Region.of((1, 5, 3, 4), (1, 2)).is_spatial((1, 5, 3, 4))
    assert not Region(frozenset({2}), (0, 1)).is_spatial((1, 5, 3))
    assert not Region.of((1, 5), ()).is_spatial((1, 5))


def test_steps_that_count_are_cut_out():
    g = Builder(np.dtype("float64"))
    value = g.input("x", (2, 7, 3))
    assert Region(frozenset({1})).cut(g, value) is value
    part = Region(frozenset({1}), (2, 4)).cut(g, value)
    assert part.shape == (2, 4, 3)
    assert g.graph.nodes[-1].attrs == {"starts": (0, 2, 0), "steps": (1, 1, 1), "sizes": (2, 4, 3)}
