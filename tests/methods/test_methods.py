"""The CAM methods on arrays: the formulas in NumPy, golden values, the laws they obey, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradcam
from gradcam.methods import METHODS

NAMES = ("gradcam", "gradcam++", "hirescam", "layercam", "xgradcam")
FUNCTIONS = {
    "gradcam": gradcam.grad_cam,
    "gradcam++": gradcam.grad_cam_plus_plus,
    "hirescam": gradcam.hires_cam,
    "layercam": gradcam.layer_cam,
    "xgradcam": gradcam.xgrad_cam,
}
SHAPES = [(2, 3, 7), (1, 5, 4, 6), (2, 1, 1, 5), (3, 4, 2, 3, 4), (1, 70, 3, 3)]


def arrays(shape, dtype=np.float64, seed=0):
    generator = np.random.default_rng(seed)
    return tuple(generator.standard_normal(shape).astype(dtype) for _ in range(2))


def relu(a):
    return np.where(a < 0, 0, a)


def formula(method, a, g):
    """The papers' formulas over (N, C, positions)."""
    shape, a, g = a.shape, *(v.astype(np.float64).reshape(*v.shape[:2], -1) for v in (a, g))
    if method == "hirescam":
        raw = (g * a).sum(1)
    elif method == "layercam":
        raw = (relu(g) * a).sum(1)
    else:
        total = a.sum(2, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            weights = {
                "gradcam": lambda: g.mean(2),
                "gradcam++": lambda: np.where(g > 0, g**3 / (2 * g**2 + g**3 * total), 0).sum(2),
                "xgradcam": lambda: (g * a).sum(2) / total[..., 0],
            }[method]()
        raw = (weights[..., None] * a).sum(1)
    return raw.reshape(shape[0], *shape[2:])


@pytest.mark.parametrize("method", NAMES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "bound"), [(np.float64, 1e-10), (np.float32, 1e-5)])
def test_raw_map_is_the_formula(method, shape, dtype, bound):
    a, g = arrays(shape, dtype)
    a += 0.7  # no channel's sum nearly cancels, no denominator of Grad-CAM++ nearly vanishes
    raw = gradcam.cam(a, np.abs(g) if method == "gradcam++" else g, method=method, relu=False)
    expected = formula(method, a, np.abs(g) if method == "gradcam++" else g)
    assert raw.dtype == dtype
    assert raw.shape == (shape[0], *shape[2:])
    if method == "gradcam++" and np.min(np.abs(2 + np.abs(g) * a.sum(tuple(range(2, a.ndim)), keepdims=True))) < 0.05:
        bound *= 100
    np.testing.assert_allclose(raw, expected, rtol=0, atol=bound * np.abs(expected).max())


@pytest.mark.parametrize("method", NAMES)
def test_functions_are_the_methods(method):
    a, g = arrays((2, 3, 4, 5))
    np.testing.assert_array_equal(FUNCTIONS[method](a, g), gradcam.cam(a, g, method=method))
    np.testing.assert_array_equal(FUNCTIONS[method](a, g, relu=False), gradcam.cam(a, g, method=method, relu=False))


MODES = [(m, c) for m in NAMES for c in ("paper", "pytorch-grad-cam", "torchcam", "captum") if (m, c) != ("gradcam++", "captum")]


@pytest.mark.parametrize(("method", "compat"), MODES)
def test_relu_follows_the_mode(method, compat):
    a, g = arrays((2, 3, 4, 5))
    raw = gradcam.cam(a, g, method=method, compat=compat, relu=False)
    assert raw.min() < 0
    np.testing.assert_array_equal(gradcam.cam(a, g, method=method, compat=compat, relu=True), relu(raw))
    np.testing.assert_array_equal(gradcam.cam(a, g, method=method, compat=compat), raw if compat == "captum" else relu(raw))


def test_registry_lists_what_there_is():
    methods = gradcam.list_methods()
    assert {m.name for m in methods} >= set(NAMES)
    for m in methods:
        assert METHODS[m.name] is m
        assert set(m.needs) <= {"activations", "gradients", "forward", "input"}
        assert m.needs
        assert m.paper
        assert callable(m.function)


# --- golden values

GOLDEN = {"gradcam": "gradcam", "gradcampp": "gradcam++", "xgradcam": "xgradcam", "hirescam": "hirescam", "layercam": "layercam"}
SOURCES = {"paper": "paper", "pgc": "pytorch-grad-cam", "tc": "torchcam"}


@pytest.fixture(scope="module")
def golden(shared):
    with np.load(shared / "golden" / "arrays.npz") as file:
        return {key: file[key] for key in file.files}


def close(got, want, bound):
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    assert got.shape == want.shape
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    finite = np.isfinite(want)
    peak = np.abs(want[finite]).max(initial=0)
    np.testing.assert_allclose(got[finite], want[finite], rtol=0, atol=bound * (peak or 1))


@pytest.mark.parametrize(("source", "name"), [(s, n) for s in SOURCES for n in GOLDEN if (s, n) != ("tc", "hirescam")])
def test_golden_arrays(golden, source, name):
    cases = [key.split("/")[0] for key in golden if key.endswith(f"/{source}/{name}/raw")]
    assert len(cases) > 5
    for case in cases:
        a, g, want = golden[f"{case}/A"], golden[f"{case}/g"], golden[f"{case}/{source}/{name}/raw"]
        raw = gradcam.cam(a, g, method=GOLDEN[name], compat=SOURCES[source], relu=False)
        bound = 1e-5 if name in ("gradcampp", "xgradcam") else 2e-6
        close(relu(raw) if source == "tc" else raw, want, bound)
        if source == "paper":
            close(gradcam.cam(a.astype(np.float64), g.astype(np.float64), method=GOLDEN[name], relu=False), want, 1e-11)


# --- laws


@pytest.mark.parametrize("shape", SHAPES)
def test_identities_between_methods(shape):
    a, g = arrays(shape)
    a += 0.7
    cam = {m: gradcam.cam(a, g, method=m, relu=False) for m in NAMES}
    space = tuple(range(1, a.ndim - 1))
    np.testing.assert_allclose(cam["xgradcam"].sum(space), cam["hirescam"].sum(space), rtol=1e-9)  # completeness
    positive = np.abs(g)
    layer, hires = (gradcam.cam(a, positive, method=m, relu=False) for m in ("layercam", "hirescam"))
    np.testing.assert_allclose(layer, hires, rtol=1e-12, atol=1e-14)
    parts = [gradcam.cam(a, v, method="layercam", relu=False) for v in (g, -g)]
    np.testing.assert_allclose(parts[0] - parts[1], cam["hirescam"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "xgradcam"])
def test_negated_gradient_negates_the_map(method):
    a, g = arrays((2, 5, 4, 6))
    np.testing.assert_array_equal(gradcam.cam(a, -g, method=method, relu=False), -gradcam.cam(a, g, method=method, relu=False))


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "layercam", "xgradcam"])
def test_rescaled_score_rescales_the_map(method):
    a, g = arrays((2, 5, 4, 6))
    np.testing.assert_array_equal(gradcam.cam(a, 4 * g, method=method, relu=False), 4 * gradcam.cam(a, g, method=method, relu=False))


def test_pooling_and_a_linear_layer_make_three_methods_equal():
    a, _ = arrays((2, 5, 4, 6))
    a += 0.5
    weights = np.random.default_rng(3).standard_normal((2, 5, 1, 1))
    g = np.broadcast_to(weights / 24, a.shape)
    maps = [gradcam.cam(a, g, method=m, relu=False) for m in ("gradcam", "hirescam", "xgradcam")]
    np.testing.assert_allclose(maps[0], maps[1], rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(maps[0], maps[2], rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(maps[0].sum((1, 2)), (a.mean((2, 3)) * weights[..., 0, 0]).sum(1), rtol=1e-9)


@pytest.mark.parametrize("method", NAMES)
def test_order_of_channels_flips_and_transposes_commute(method):
    a, g = arrays((1, 6, 4, 5))
    a += 0.7
    raw = gradcam.cam(a, g, method=method, relu=False)
    order = np.random.default_rng(1).permutation(6)
    np.testing.assert_allclose(gradcam.cam(a[:, order], g[:, order], method=method, relu=False), raw, rtol=1e-8, atol=1e-11)
    np.testing.assert_allclose(gradcam.cam(a[..., ::-1], g[..., ::-1], method=method, relu=False), raw[..., ::-1], rtol=1e-8, atol=1e-11)
    turned = gradcam.cam(a.swapaxes(2, 3), g.swapaxes(2, 3), method=method, relu=False)
    np.testing.assert_allclose(turned, raw.swapaxes(1, 2), rtol=1e-8, atol=1e-11)


@given(
    st.sampled_from(NAMES),
    st.lists(st.integers(1, 6), min_size=1, max_size=3),
    st.integers(1, 9),
    st.integers(1, 4),
    st.sampled_from([np.float32, np.float64]),
    st.integers(0, 10**6),
)
def test_batch_has_the_bytes_of_its_rows_and_channels_last_those_of_channels_first(method, space, channels, pictures, dtype, seed):
    a, g = arrays((pictures, channels, *space), dtype, seed)
    kept = a.copy(), g.copy()
    raw = gradcam.cam(a, g, method=method, relu=False)
    for i in range(pictures):
        assert gradcam.cam(a[i : i + 1], g[i : i + 1], method=method, relu=False).tobytes() == raw[i].tobytes()
    last = [np.ascontiguousarray(np.moveaxis(v, 1, -1)) for v in (a, g)]
    assert gradcam.cam(*last, method=method, relu=False, channel_axis=-1).tobytes() == raw.tobytes()
    for view in (np.asfortranarray, lambda v: np.concatenate([v, v])[: len(v)], lambda v: v.astype(v.dtype.newbyteorder())):
        assert gradcam.cam(view(a), view(g), method=method, relu=False).tobytes() == raw.tobytes()
    np.testing.assert_array_equal(a, kept[0])
    np.testing.assert_array_equal(g, kept[1])
    assert np.isfinite(raw).all() or method == "gradcam++"


@pytest.mark.parametrize("method", NAMES)
@pytest.mark.parametrize("threads", [2, 3, 4, 8])
def test_number_of_threads_changes_no_bit(method, threads):
    for shape in ((1, 64, 40, 41), (5, 64, 30, 31), (1, 300, 7, 7)):
        a, g = arrays(shape, np.float32)
        one = gradcam.cam(a, g, method=method, relu=False, num_threads=1)
        assert gradcam.cam(a, g, method=method, relu=False, num_threads=threads).tobytes() == one.tobytes()


def test_channels_in_the_middle():
    a, g = arrays((2, 4, 5, 6))
    moved = [np.moveaxis(v, 1, 2) for v in (a, g)]
    np.testing.assert_array_equal(gradcam.cam(*moved, channel_axis=2), gradcam.cam(a, g))


def test_no_pictures():
    assert gradcam.cam(np.zeros((0, 3, 4)), np.zeros((0, 3, 4))).shape == (0, 4)


def test_array_likes_and_half_precision():
    a, g = arrays((1, 2, 3), np.float16)
    wide = gradcam.cam(a.astype(np.float32), g.astype(np.float32))
    assert gradcam.cam(a, g).tobytes() == wide.tobytes()
    np.testing.assert_allclose(gradcam.cam(a.astype(float).tolist(), g.astype(float).tolist()), wide, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", NAMES)
def test_nan_stays_in_its_place_or_spreads_with_its_channel(method):
    a, g = arrays((2, 3, 4, 5), np.float32)
    a += 3
    a[0, 1, 2, 3] = np.nan
    raw = gradcam.cam(a, g, method=method)
    assert np.isnan(raw[0, 2, 3])
    assert np.isfinite(raw[1]).all()
    if method in ("gradcam", "hirescam", "layercam"):
        assert np.isnan(raw[0]).sum() == 1


@pytest.mark.parametrize("method", NAMES)
def test_nan_in_the_gradient_is_not_hidden(method):
    a, g = arrays((1, 3, 4, 5), np.float32)
    g[0, 1, 2, 3] = np.nan
    assert np.isnan(gradcam.cam(a, g, method=method)).any()


@pytest.mark.parametrize("method", NAMES)
def test_zeros_give_zeros(method):
    a, g = arrays((1, 3, 4, 5), np.float32)
    zero = np.zeros_like(a)
    for pair in ((zero, g), (a, zero), (zero, zero)):
        assert not gradcam.cam(*pair, method=method, relu=False).any()


# --- what is refused

A = np.zeros((1, 2, 3, 3), np.float32)


@pytest.mark.parametrize(
    ("a", "g", "keywords", "error", "message"),
    [
        (A, A[:, :1], {}, ValueError, r"cam: gradients: expected shape \(1, 2, 3, 3\) like the activations, got \(1, 1, 3, 3\)"),
        (A[0, 0], A[0, 0], {}, ValueError, r"cam: activations: expected 3 to 5 axes, got 2"),
        (A[None, None], A[None, None], {}, ValueError, "cam: activations: expected 3 to 5 axes, got 6"),
        (A.astype(int), A, {}, TypeError, "cam: activations: expected float32 or float64, got int64"),
        (A, A.astype(float), {}, TypeError, "cam: gradients: expected float32 like the first array, got float64"),
        (A[:, :0], A[:, :0], {}, ValueError, "cam: activations: expected sizes of at least 1"),
        (A[:, :, :0], A[:, :, :0], {}, ValueError, "cam: activations: expected sizes of at least 1"),
        (A, A, {"method": "smooth"}, ValueError, "cam: method: expected one of gradcam, .* got 'smooth'"),
        (A, A, {"compat": "keras"}, ValueError, "compat: expected one of 'paper'"),
        (A, A, {"channel_axis": 0}, ValueError, "cam: channel_axis: expected an axis of the 4 other than the batch axis 0, got 0"),
        (A, A, {"channel_axis": 4}, ValueError, "cam: channel_axis: .* got 4"),
        (A, A, {"channel_axis": -4}, ValueError, "cam: channel_axis: .* got -4"),
        (A, A, {"channel_axis": "C"}, ValueError, "cam: channel_axis: .* got 'C'"),
        (A, A, {"sharpen": 1}, TypeError, "cam: sharpen: no such option of method 'gradcam', which has none"),
        (A, A, {"num_threads": 0}, ValueError, "num_threads: expected a positive integer"),
        (None, A, {}, TypeError, "cam: activations: expected float32 or float64, got object"),
    ],
)
def test_bad_arguments(a, g, keywords, error, message):
    with pytest.raises(error, match=message):
        gradcam.cam(a, g, **keywords)


@pytest.mark.torch
def test_tensors_are_taken(torch):
    a, g = (torch.tensor(v) for v in arrays((1, 2, 3, 4), np.float32))
    np.testing.assert_array_equal(gradcam.cam(a, g), gradcam.cam(a.numpy(), g.numpy()))
    with pytest.raises(TypeError, match=r"cam: activations: .* requires gradients: call .detach\(\) first"):
        gradcam.cam(a.requires_grad_(), g)
    with pytest.raises(TypeError, match=r"call .float\(\) first"):
        gradcam.cam(g.bfloat16(), g)
