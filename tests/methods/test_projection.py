"""The projection on the first singular vector and kernel PCA: values, signs, laws, what is refused."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from methods.projections import run
from reference import eigen as reference

from gradcam import _core
from gradcam.graph.builder import Builder
from gradcam.methods.projection import SIGN_RULES, project
from gradcam.ops import _call
from gradcam.ops.cam import EIGEN_TERMS, eigen_attributes

SHAPES = [(3, 7), (5, 4, 6), (1, 1, 5), (4, 2, 3, 4), (70, 3, 3), (9, 1), (1, 1), (31, 9, 8), (40, 5, 5)]


@pytest.fixture(params=_core.isas)
def isa(request, monkeypatch):
    monkeypatch.setattr(_call, "isa", request.param)
    return request.param


def one(*arguments, **options):
    """The map of one picture without its batch axis, the rule of its sign, whether it is not unique."""
    raw, info = run(*(v if v is None or isinstance(v, str) else v[None] for v in arguments), **options)
    return raw[0], SIGN_RULES[int(info[0, 0])], bool(info[0, 1])


def arrays(shape, dtype=np.float64, seed=0):
    generator = np.random.default_rng(seed)
    return tuple(generator.standard_normal(s).astype(dtype) for s in (shape, shape, shape[:1]))


def near(got, want, bound):
    np.testing.assert_allclose(got, want, rtol=0, atol=bound * (np.abs(want).max() or 1))


# --- values


@pytest.mark.parametrize("term", EIGEN_TERMS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize(("dtype", "bound"), [(np.float64, 1e-11), (np.float32, 1e-6)])
def test_values_are_the_reference(isa, term, shape, center, dtype, bound):
    a, g, w = arrays(shape, dtype)
    used = (g if "product" in term or term == "relu-gradient" else None, w if term == "weighted" else None)
    for rule in ("energy", "extreme"):
        want, decided, not_unique = reference.project(term, a, *used, center=center, rule=rule)
        got, found, flag = one(term, a, *used, center=center, sign=rule)
        assert got.dtype == dtype
        near(got, want, bound)
        assert flag == not_unique
        if np.abs(want).max() > 0:
            assert found == decided


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "bound"), [(np.float64, 1e-9), (np.float32, 1e-6)])
def test_kernel_pca_is_the_reference(isa, shape, dtype, bound):
    a = arrays(shape, dtype)[0]
    got, _, flag = one("activations", a, pca=True)
    near(got, reference.kernel_pca(a), bound)
    assert got.dtype == dtype
    assert not flag


def test_kernel_pca_of_small_activations_does_not_cancel():
    a = 1e-6 * arrays((8, 5, 6))[0]
    x = a.reshape(8, -1) - a.reshape(8, -1).mean(1, keepdims=True)
    slope = 1 - np.tanh(1) ** 2  # so small, the kernel is linear: K = slope <X, X'> / C
    values, vectors = np.linalg.eigh(slope / 8 * x.T @ x)
    want = np.sqrt(values[-1]) * vectors[:, -1]
    near(np.abs(one("activations", a, pca=True)[0].ravel()), np.abs(want), 1e-9)


@pytest.mark.parametrize("shape", [(300, 17, 18), (130, 40, 41), (520, 19, 19)])
@pytest.mark.parametrize("center", [False, True])
def test_large_matrices(shape, center):
    a = np.maximum(arrays(shape, np.float64, 5)[0] + 0.2, 0)
    want = reference.project("activations", a, center=center)[0]
    near(one("activations", a, center=center)[0], want, 1e-11)


def test_eigenvalues_that_crowd_at_the_top():
    generator = np.random.default_rng(2)
    left, right = (np.linalg.qr(generator.standard_normal((120, 120)))[0] for _ in range(2))
    values = 1 - 1e-5 * np.arange(120) / 120
    values[60:] = 1e-3
    a = left * values @ right
    got, _, flag = one("activations", a, center=False)
    v = np.linalg.solve(a.T, got)
    np.testing.assert_allclose([np.linalg.norm(v), np.linalg.norm(got)], 1, rtol=1e-12)
    assert np.linalg.norm(a @ (a.T @ v) - v) <= 3e-12
    assert not flag  # they are 8e-8 apart


@pytest.mark.parametrize("factor", [1e-150, 1e-30, 1e30, 1e150])
def test_squares_of_large_and_small_numbers(factor):
    a = arrays((6, 4, 5))[0]
    for center in (False, True):
        near(one("activations", factor * a, center=center)[0] / factor, one("activations", a, center=center)[0], 1e-12)


# --- signs


def test_nonnegative_activations_give_a_nonnegative_map():
    a = np.abs(arrays((6, 4, 5))[0])
    got, rule, _ = one("activations", a, center=False)
    assert got.min() >= 0
    assert rule == "energy"


def test_extremes_decide_where_the_energy_cancels():
    a = np.asarray([[3.0, -1, -1, -1]])
    for flip in (1, -1):
        got, rule, _ = one("activations", flip * a, center=False)
        assert rule == "energy"  # 9 - 3 > 0
        near(got, a[0], 1e-15)
    balanced = np.asarray([[3.0, -1, -1, -1, -np.sqrt(6), 0]])  # 9 = 3 + 6
    for flip in (1, -1):
        got, rule, _ = one("activations", flip * balanced, center=False)
        assert rule == "extreme"
        near(got, balanced[0], 1e-15)
        assert reference.project("activations", flip * balanced)[1] == "extreme"
    lopsided = np.asarray([[2.0, -1.5, -1.5, -1.5]])  # 4 < 6.75: the rules disagree
    near(one("activations", lopsided, center=False)[0], -lopsided[0], 1e-15)
    near(one("activations", lopsided, center=False, sign="extreme")[0], lopsided[0], 1e-15)


def test_first_large_entry_decides_where_all_else_ties():
    a = np.asarray([[1.0, -1, 2, -2], [-1.0, 1, -2, 2]])  # v = (1, -1) / sqrt 2
    for flip in (1, -1):
        got, rule, _ = one("activations", flip * a, center=False)
        assert rule == "tie"
        near(got, flip * np.sqrt(2) * a[0], 1e-15)
    wide = np.concatenate([a, [[0.5, -0.5, 1, -1]] * 5])  # more channels than positions
    for flip in (1, -1):
        want, decided, _ = reference.project("activations", flip * wide)
        got, rule, _ = one("activations", flip * wide, center=False)
        assert rule == decided == "tie"
        near(got, want, 1e-14)
        assert got[0] * flip > 0


@pytest.mark.parametrize("wide", [False, True])
def test_equal_singular_values(wide):
    """Two orthogonal channels of the same length: any mixture is a first vector, and the flag says so."""
    a = np.zeros((12 if wide else 2, 8))
    a[0, :4] = [3, -1, -1, -1]
    a[1, 4:] = [-1, 3, -1, -1]
    got, rule, flag = one("activations", a, center=False)
    assert flag
    assert rule in SIGN_RULES
    # whatever the mixture, it is unit, has the singular value, and its sign follows the rules
    v = a @ got / np.linalg.norm(got) ** 2
    np.testing.assert_allclose(np.linalg.norm(got), np.sqrt(12), rtol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(v), 1, rtol=1e-9)
    want, decided = reference.signed(got.copy(), a, v)
    assert decided == rule
    np.testing.assert_array_equal(want, got)
    assert not one("activations", a * np.asarray([1] + [1 + 1e-6] * (len(a) - 1))[:, None], center=False)[2]
    assert one("activations", a * np.asarray([1] + [1 + 1e-11] * (len(a) - 1))[:, None], center=False)[2]


@pytest.mark.parametrize("wide", [False, True])
def test_equal_singular_values_and_no_energy_either_way(wide):
    """All mixtures have P . e = 0, max = -min: only the entries of v are left to decide."""
    a = np.zeros((12 if wide else 2, 4))
    a[0, :2], a[1, 2:] = [1, -1], [1, -1]
    got, rule, flag = one("activations", a, center=False)
    assert flag
    assert rule == "tie"
    v = a @ got / 2
    assert v[np.flatnonzero(np.abs(v) >= np.abs(v).max() * (1 - 1e-9))[0]] > 0


@pytest.mark.parametrize("shape", [(6, 4, 5), (40, 3, 4)])
def test_reference_map_and_factor(shape):
    a = arrays(shape)[0]
    plain = one("activations", a, center=True)[0]
    assert np.array_equal(one("activations", a, center=True, factor=-1)[0], -plain)
    for r in (plain, -plain):
        got, rule, _ = one("activations", a, center=True, like=np.ascontiguousarray(r)[None])
        assert rule == "match"
        np.testing.assert_array_equal(got, r)
    got, rule, _ = one("activations", a, center=True, like=np.zeros((1, *shape[1:])))
    assert rule == "energy"
    np.testing.assert_array_equal(got, plain)


# --- laws


@given(
    st.sampled_from(EIGEN_TERMS),
    st.lists(st.integers(1, 6), min_size=1, max_size=3),
    st.integers(1, 40),
    st.booleans(),
    st.sampled_from([np.float32, np.float64]),
    st.integers(0, 10**6),
)
def test_layout_batch_and_threads_change_no_bit(term, space, channels, center, dtype, seed):
    generator = np.random.default_rng(seed)
    a, g = generator.standard_normal((2, 3, channels, *space)).astype(dtype)
    w = generator.standard_normal((3, channels)).astype(dtype)
    used = (g if "product" in term or term == "relu-gradient" else None, w if term == "weighted" else None)
    raw = run(term, a, *used, center=center, pictures=3)
    last = [None if v is None else np.ascontiguousarray(np.moveaxis(v, 1, -1)) if v.ndim > 2 else v for v in (a, *used)]
    moved = run(term, *last, axis=a.ndim - 1, center=center, pictures=3)
    for i in range(2):
        assert moved[i].tobytes() == raw[i].tobytes()
        for k in range(3):
            alone = run(term, *(None if v is None else v[k : k + 1] for v in (a, *used)), center=center)
            assert alone[i].tobytes() == raw[i][k : k + 1].tobytes()
    assert np.isfinite(raw[0]).all()


def steps(a, workers, pca=False):
    """The kernels one by one with so many workers, whatever the size; the map's bytes."""
    attributes = eigen_attributes(
        a.shape[0], prod(a.shape[1:]), (prod(a.shape[1:]), 1), (1, 1), term="activations", center=True, kernel_pca=pca
    )

    def step(kernel, *reads):
        sizes = _core.operands(kernel, _call.isa, a.dtype.char, *attributes)[1]
        outputs = tuple(np.empty(n, a.dtype) for n in sizes)
        _core.call(kernel, _call.isa, a.dtype.char, *attributes, reads, outputs, workers)
        return outputs

    matrix, stats = step("eigen_matrix", a, None, None)
    (gram,) = step("eigen_gram", *step("eigen_pack", matrix, stats))
    vector, _ = step("eigen_vector", gram, stats)
    projection, energy = step("eigen_project", matrix, stats, vector)
    return step("eigen_sign", matrix, stats, vector, projection, energy, None)[0].tobytes()


@pytest.mark.parametrize("shape", [(64, 20, 21), (300, 7, 7), (3, 5), (50, 5, 10)])
@pytest.mark.parametrize("pca", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_number_of_workers_changes_no_bit(isa, shape, pca, dtype):
    a = arrays(shape, dtype)[0]
    want = steps(a, 1, pca)
    for workers in (2, 3, 4, 7):
        assert steps(a, workers, pca) == want
    options = {"pca": True} if pca else {"center": True, "sign": "energy"}
    assert run("activations", a[None], threads=2, **options)[0].tobytes() == run("activations", a[None], **options)[0].tobytes()


@pytest.mark.parametrize("shape", [(6, 4, 5), (40, 3, 4)])
@pytest.mark.parametrize("center", [False, True])
def test_order_and_sign_of_channels_do_not_matter(shape, center):
    generator = np.random.default_rng(3)
    for seed in range(20):
        a = arrays(shape, seed=seed)[0]
        plain = one("activations", a, center=center)[0]
        order, flips = generator.permutation(shape[0]), generator.choice([-1.0, 1], shape[0])
        near(one("activations", a[order], center=center)[0], plain, 1e-10)
        near(one("activations", (a.T * flips).T, center=center)[0], plain, 1e-10)


def test_positive_scale_scales_the_map():
    a = arrays((6, 4, 5))[0]
    np.testing.assert_array_equal(one("activations", 4 * a, center=True)[0], 4 * one("activations", a, center=True)[0])


# --- edge cases


@pytest.mark.parametrize("shape", [(6, 4, 5), (40, 3, 4), (1, 5), (5, 1)])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("options", [{"center": False}, {"center": True}, {"pca": True}])
def test_one_number_that_is_not_finite_spreads_over_the_map(shape, value, options):
    for place in (0, -1):
        a = arrays(shape, np.float32)[0]
        a.flat[place] = value
        got, _, flag = one("activations", a, **options)
        assert np.isnan(got).all()
        assert not flag
        assert np.isnan(run("activations", np.stack([a, arrays(shape, np.float32)[0]]), pictures=2, **options)[0]).sum() == got.size


def test_nan_in_gradients_and_weights():
    a, g, w = arrays((6, 4, 5))
    g[2, 1, 1], w[3] = np.nan, np.nan
    for term in ("product", "abs-product", "relu-product", "relu-gradient"):
        assert np.isnan(one(term, a, g, center=True)[0]).all()
    assert np.isnan(one("weighted", a, None, w, center=True)[0]).all()
    zero = np.where(np.isnan(g), 0, g)
    np.testing.assert_array_equal(one("product", a, g, center=True, replace_nan=True)[0], one("product", a, zero, center=True)[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", [{"center": False}, {"center": True}, {"pca": True}])
def test_zeros_and_constant_channels(dtype, options):
    got, _, flag = one("activations", np.zeros((4, 3, 3), dtype), **options)
    np.testing.assert_array_equal(got, 0)
    assert not flag
    if options != {"center": False}:
        got, _, _ = one("activations", np.full((4, 7, 9), 0.1, dtype) * np.arange(1, 5, dtype=dtype)[:, None, None], **options)
        np.testing.assert_array_equal(got, 0)


def test_numbers_near_the_limits_of_their_type():
    a = np.asarray([[1e308, -1e308, 0.5e308], [1e308, 1e308, 0.9e308]])
    assert np.isnan(one("activations", a, center=True)[0]).all()  # the mean overflows
    small = one("activations", a / 1e308, center=False)[0]
    near(one("activations", a, center=False)[0] / 1e308, small, 1e-12)


# --- refused


def test_bad_arguments():
    builder = Builder(np.dtype(np.float32))
    a = builder.input("a", (1, 3, 4))
    with pytest.raises(ValueError, match="project: term: expected one of activations, .*, got 'squares'"):
        project(builder, 1, "squares", activations=a, center=False)
    with pytest.raises(ValueError, match="project: sign: expected energy or extreme, got 'tie'"):
        project(builder, 1, "activations", activations=a, center=False, sign="tie")
    with pytest.raises(ValueError, match="project: factor: expected 1 or -1, got 2"):
        project(builder, 1, "activations", activations=a, center=False, factor=2)
    with pytest.raises(ValueError, match="project: gradients: expected a value for term 'product', got None"):
        project(builder, 1, "product", activations=a, center=False)
    with pytest.raises(ValueError, match="project: weights: expected a value for term 'weighted', got None"):
        project(builder, 1, "weighted", activations=a, center=False)


@pytest.mark.parametrize("place", range(13))
def test_kernels_refuse_bad_attributes(place):
    good = eigen_attributes(3, 4, (4, 1), (4, 1), term="product", center=True)
    kernels = ("eigen_matrix", "eigen_pack", "eigen_gram", "eigen_vector", "eigen_project", "eigen_sign")
    for kernel in kernels:
        _core.operands(kernel, _call.isa, "f", *good)
        for value in (-2, 7 if place > 5 else 1 << 62):
            ints = tuple(value if i == place else v for i, v in enumerate(good.ints))
            with pytest.raises((ValueError, MemoryError)):
                _core.operands(kernel, _call.isa, "f", ints, ())
        with pytest.raises(ValueError, match="attributes"):
            _core.operands(kernel, _call.isa, "f", good.ints[:-1], ())
