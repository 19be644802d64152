"""Every method that takes arrays gives the same bits whatever the layout of the arrays, the number of threads and the batch."""

from __future__ import annotations

import warnings
from inspect import signature

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradcam

METHODS = [
    m.name
    for m in gradcam.list_methods()
    if set(m.needs) <= {"activations", "gradients"}
    and all(p.default is not p.empty for p in signature(m.function).parameters.values() if p.kind is p.KEYWORD_ONLY)
]
SHAPES = [(5, 6, 7), (4, 9, 3, 5), (3, 17, 7, 7), (2, 3, 2, 3, 4), (3, 1, 4, 4), (2, 5, 1, 1)]


def arrays(shape, dtype=np.float32, seed=0):
    generator = np.random.default_rng(seed)
    return tuple(generator.standard_normal(shape).astype(dtype) for _ in range(2))


def signed_map(method, a, g, channel_axis=1, **keywords):
    keywords["channel_axis"] = channel_axis
    if method == "cam":
        keywords["weights"] = np.linspace(-1, 1, a.shape[channel_axis])
    elif method == "shapleycam":
        keywords["hessian_product"] = g
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a map is blank or ambiguous is no concern here
        return gradcam.cam(a, g, method=method, relu=False, **keywords)


# --- views with the values of an array


def fortran(array):
    return np.asfortranarray(array)


def reversed_axes(array):
    return np.ascontiguousarray(array[(slice(None, None, -1),) * array.ndim])[(slice(None, None, -1),) * array.ndim]


def reversed_channels(array):
    return np.ascontiguousarray(array[:, ::-1])[:, ::-1]


def every_other(array):
    wide = np.full([2 * n for n in array.shape], np.nan, array.dtype)
    view = wide[(slice(None, None, 2),) * array.ndim]
    view[...] = array
    return view


def inner_part(array):
    return np.pad(array, 1, constant_values=np.nan)[(slice(1, -1),) * array.ndim]


def channels_stored_last(array):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)


def byte_swapped(array):
    return array.astype(array.dtype.newbyteorder())


def misaligned(array):
    view = np.frombuffer(bytearray(array.nbytes + 1), np.uint8)[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    assert not view.flags.aligned
    return view


def read_only(array):
    view = array.copy()
    view.flags.writeable = False
    return view


LAYOUTS = {
    f.__name__: f
    for f in (fortran, reversed_axes, reversed_channels, every_other, inner_part, channels_stored_last, byte_swapped, misaligned, read_only)
}


def test_there_are_methods():
    assert {"gradcam", "gradcam++", "hirescam", "layercam", "xgradcam"} <= set(METHODS)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("method", METHODS)
def test_layout_changes_no_bit(method, layout):
    for shape in SHAPES:
        a, g = arrays(shape)
        expected = signed_map(method, a, g).tobytes()
        for pair in ((LAYOUTS[layout](a), LAYOUTS[layout](g)), (LAYOUTS[layout](a), g), (a, LAYOUTS[layout](g))):
            assert signed_map(method, *pair).tobytes() == expected


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
@pytest.mark.parametrize("method", METHODS)
def test_zero_strides(method, axis):
    a, g = arrays((4, 9, 3, 5))
    for which in (0, 1):
        pair = [a, g]
        pair[which] = np.broadcast_to(pair[which].take([0], axis), a.shape)
        assert 0 in pair[which].strides
        assert signed_map(method, *pair).tobytes() == signed_map(method, *(v.copy() for v in pair)).tobytes()


@given(
    st.sampled_from(METHODS),
    st.lists(st.integers(1, 9), min_size=1, max_size=3),
    st.integers(1, 20),
    st.integers(1, 5),
    st.sampled_from([np.float16, np.float32, np.float64]),
    st.lists(st.sampled_from(sorted(LAYOUTS)), max_size=3),
    st.lists(st.sampled_from(sorted(LAYOUTS)), max_size=3),
    st.integers(1, 4),
    st.lists(st.integers(1, 4), max_size=2),
    st.integers(0, 10**6),
)
def test_any_layout_threads_and_batch_split(method, space, channels, pictures, dtype, a_layouts, g_layouts, threads, splits, seed):
    a, g = arrays((pictures, channels, *space), dtype, seed)
    expected = signed_map(method, a, g, num_threads=1)
    a_view, g_view = a, g
    for name in a_layouts:
        a_view = LAYOUTS[name](a_view)
    for name in g_layouts:
        g_view = LAYOUTS[name](g_view)
    kept = a_view.tobytes(), g_view.tobytes()
    assert signed_map(method, a_view, g_view, num_threads=threads).tobytes() == expected.tobytes()
    at = sorted(min(n, pictures) for n in splits)
    parts = [signed_map(method, *v, num_threads=threads) for v in zip(np.split(a_view, at), np.split(g_view, at), strict=True)]
    assert np.concatenate(parts).tobytes() == expected.tobytes()
    last = signed_map(method, np.moveaxis(a_view, 1, -1), np.moveaxis(g_view, 1, -1), channel_axis=-1, num_threads=threads)
    assert last.tobytes() == expected.tobytes()
    assert (a_view.tobytes(), g_view.tobytes()) == kept


@pytest.mark.parametrize("threads", [2, 3, 4])
@pytest.mark.parametrize("method", METHODS)
def test_number_of_threads_changes_no_bit_where_all_of_them_work(method, threads):
    for shape in ((1, 64, 30, 37), (5, 64, 15, 31), (3, 300, 7, 7)):
        a, g = arrays(shape)
        one = signed_map(method, a, g, num_threads=1)
        assert signed_map(method, a, g, num_threads=threads).tobytes() == one.tobytes()


@pytest.mark.parametrize("method", METHODS)
def test_chunk_by_chunk_under_dask(method):
    dask_array = pytest.importorskip("dask.array")
    a, g = arrays((7, 12, 5, 6))
    for batches in ((7,), (3, 3, 1), (1,) * 7):
        chunks = (batches, *((n,) for n in a.shape[1:]))
        pair = [dask_array.from_array(v, chunks=chunks) for v in (a, g)]
        lazy = dask_array.map_blocks(
            lambda x, y: signed_map(method, x, y), *pair, drop_axis=1, dtype=a.dtype, meta=np.empty((0, 0, 0), a.dtype)
        )
        assert lazy.shape == (7, 5, 6)
        assert lazy.compute(scheduler="threads").tobytes() == signed_map(method, a, g).tobytes()
