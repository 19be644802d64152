"""Methods on arrays that take more than activations and gradients, and the options common to all of them."""

from __future__ import annotations

import numpy as np
import pytest
from reference.smooth import smooth_weights

import gradcam
from gradcam.methods import METHODS

SHAPES = [(2, 3, 7), (1, 5, 4, 6), (2, 1, 1, 5), (3, 4, 2, 3, 4)]


def normal(shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def weighted(w, a):
    return np.einsum("nk,nk...->n...", w, a)


def last(array):
    return np.ascontiguousarray(np.moveaxis(array, 1, -1))


# --- CAM, RandomCAM, Shapley-CAM


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_cam_adds_the_activations_by_the_weights_given(shape, dtype):
    a, w = normal(shape, dtype=dtype), normal(shape[:2], 1)
    want = weighted(w.astype(dtype), a.astype(np.float64))
    raw = gradcam.cam(a, method="cam", weights=w, relu=False)
    assert raw.dtype == dtype
    np.testing.assert_allclose(raw, want, rtol=1e-6 if dtype == np.float32 else 1e-12, atol=1e-6 if dtype == np.float32 else 1e-12)
    np.testing.assert_array_equal(gradcam.cam(last(a), method="cam", weights=w, relu=False, channel_axis=-1), raw)
    np.testing.assert_array_equal(
        gradcam.class_activation_map(a, weights=w[0], relu=False)[0], gradcam.cam(a[:1], method="cam", weights=w[0], relu=False)[0]
    )
    assert gradcam.cam(a[:0], method="cam", weights=w[:0]).shape == (0, *shape[2:])


def test_cam_without_weights_says_what_is_missing():
    with pytest.raises(ValueError, match=r"cam: weights: expected the class's weights, of shape \(C,\) or \(N, C\)"):
        gradcam.cam(normal((1, 2, 3, 3)), method="cam")
    with pytest.raises(ValueError, match=r"cam: weights: expected shape \(1, 2\), got \(3,\)"):
        gradcam.cam(normal((1, 2, 3, 3)), method="cam", weights=np.ones(3))
    with pytest.raises(TypeError, match="cam: weights: expected real numbers"):
        gradcam.cam(normal((1, 2, 3, 3)), method="cam", weights=["a", "b"])
    with pytest.raises(TypeError, match="cam: weights: no such option of method 'gradcam'"):
        gradcam.cam(normal((1, 2, 3, 3)), normal((1, 2, 3, 3)), weights=np.ones(2))


def test_random_cam_draws_its_weights_from_the_generator():
    a = normal((3, 4, 5, 6))
    raw = gradcam.cam(a, method="randomcam", rng=7, relu=False)
    drawn = np.random.default_rng(7).uniform(-1, 1, (3, 4))
    np.testing.assert_allclose(raw, weighted(drawn, a), rtol=1e-12)
    assert raw.tobytes() == gradcam.random_cam(a, rng=7, relu=False).tobytes()
    assert raw.tobytes() == gradcam.random_cam(a, rng=np.random.default_rng(7), relu=False).tobytes()
    assert raw.tobytes() != gradcam.random_cam(a, relu=False).tobytes()


@pytest.mark.parametrize("shape", SHAPES)
def test_shapley_cam_subtracts_half_of_the_hessian_product(shape):
    a, g, h = (normal(shape, seed) for seed in range(3))
    space = tuple(range(2, len(shape)))
    want = weighted((g - h / 2).mean(space), a)
    np.testing.assert_allclose(gradcam.shapley_cam(a, g, hessian_product=h, relu=False), want, rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match="shapleycam: hessian_product: expected the Hessian"):
        gradcam.shapley_cam(a, g)
    with pytest.raises(ValueError, match="cam: hessian_product: expected shape"):
        gradcam.shapley_cam(a, g, hessian_product=h[..., :1])


# --- Smooth Grad-CAM++


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("compat", ["paper", "torchcam"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_smooth_grad_cam_plus_plus_is_its_formula(shape, compat, dtype):
    a = np.abs(normal(shape)).astype(dtype)
    samples = np.abs(normal((4, *shape), 1)).astype(dtype)  # positive: no denominator nearly vanishes
    samples[:, :, 0] *= -1 if compat == "paper" and shape[1] > 1 else 1
    raw = gradcam.cam(a, method="smoothgradcam++", gradient_samples=samples, compat=compat, relu=False)
    weights, _ = smooth_weights(a, samples, compat)
    want = weighted(weights, a.astype(np.float64))
    np.testing.assert_allclose(raw, want, rtol=0, atol=(1e-5 if dtype == np.float32 else 1e-11) * np.abs(want).max())
    other = gradcam.cam(
        last(a), method="smoothgradcam++", gradient_samples=np.stack([last(s) for s in samples]), compat=compat, relu=False, channel_axis=-1
    )
    np.testing.assert_allclose(other, raw, rtol=0, atol=1e-12 if dtype == np.float64 else 1e-6 * np.abs(want).max())


def test_smooth_grad_cam_plus_plus_of_tiny_gradients_does_not_underflow():
    a, samples = np.abs(normal((1, 3, 4, 4), dtype=np.float32)), np.abs(normal((4, 1, 3, 4, 4), 1, np.float32)) * np.float32(1e-25)
    raw = gradcam.cam(a, method="smoothgradcam++", gradient_samples=samples, relu=False)
    weights, _ = smooth_weights(a, samples, "paper")
    np.testing.assert_allclose(raw, weighted(weights, a.astype(np.float64)), rtol=1e-5)


def test_smooth_grad_cam_plus_plus_without_a_denominator_gives_nothing():
    a, g = normal((1, 2, 3, 3)), normal((2, 1, 2, 3, 3), 1)
    g[:, :, 0] = 0
    raw = gradcam.cam(a, method="smoothgradcam++", gradient_samples=g, relu=False)
    alone = gradcam.cam(a[:, 1:], method="smoothgradcam++", gradient_samples=g[:, :, 1:], relu=False)
    np.testing.assert_array_equal(raw, alone)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "gradient_samples: expected gradients of noisy inputs"),
        ({"gradient_samples": np.ones((4, 1, 2, 3, 4))}, r"gradient_samples: expected shape \(samples, 1, 2, 3, 3\)"),
        ({"gradient_samples": np.ones((0, 1, 2, 3, 3))}, "gradient_samples: expected shape"),
        ({"gradient_samples": np.ones((4, 1, 2, 3, 3)), "compat": "captum"}, "mode 'captum' has no Smooth Grad-CAM"),
    ],
)
def test_smooth_grad_cam_plus_plus_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        gradcam.cam(normal((1, 2, 3, 3)), method="smoothgradcam++", **options)


# --- options of all methods

GRADIENT_METHODS = ("gradcam", "gradcam++", "hirescam", "layercam", "xgradcam", "elementwise", "eigengradcam", "segeigencam")
ACTIVATION_METHODS = ("eigencam", "kpcacam", "fem")


@pytest.mark.parametrize("method", GRADIENT_METHODS + ACTIVATION_METHODS)
@pytest.mark.parametrize("channel_axis", [1, -1])
@pytest.mark.filterwarnings("ignore:cam. the two largest")
def test_nan_omit_leaves_the_channel_out(method, channel_axis):
    a, g = normal((2, 4, 3, 5)), normal((2, 4, 3, 5), 1)
    arrays = (a, g) if method in GRADIENT_METHODS else (a,)
    dirty = tuple(v.copy() for v in arrays)
    dirty[0][0, 1, 2, 2] = np.nan
    dirty[-1][1, 3, 0, 0] = np.inf
    order = (lambda v: v) if channel_axis == 1 else last
    raw = gradcam.cam(*map(order, dirty), method=method, nan="omit", relu=False, channel_axis=channel_axis)
    for picture, dropped in ((0, 1), (1, 3)):
        kept = [v[picture : picture + 1].copy() for v in arrays]
        for v in kept:
            v[:, dropped] = 0
        want = gradcam.cam(*map(order, kept), method=method, relu=False, channel_axis=channel_axis)
        np.testing.assert_array_equal(raw[picture], want[0])
    assert not np.isfinite(gradcam.cam(*map(order, dirty), method=method, relu=False, channel_axis=channel_axis)).all()


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "layercam", "xgradcam", "elementwise", "fem"])
def test_eigen_smooth_projects_the_terms_of_the_sum(method):
    a, g = normal((2, 5, 4, 6)), normal((2, 5, 4, 6), 1)
    options = {"mask": "fraction"} if method == "fem" else {}
    raw = gradcam.cam(a, None if method == "fem" else g, method=method, eigen_smooth=True, relu=False, **options)
    relu = lambda v: np.maximum(v, 0)  # noqa: E731
    flat = (2, 5, -1)
    means, deviations = a.mean((2, 3), keepdims=True), a.std((2, 3), keepdims=True)
    terms = {
        "gradcam": lambda: g.mean((2, 3), keepdims=True) * a,
        "hirescam": lambda: g * a,
        "layercam": lambda: relu(g) * a,
        "elementwise": lambda: relu(g * a),
        "xgradcam": lambda: (g * a).sum((2, 3), keepdims=True) / a.sum((2, 3), keepdims=True) * a,
        "fem": lambda: (a > means + 2 * deviations).mean((2, 3), keepdims=True) * a,
    }[method]().reshape(flat)
    for picture, term in enumerate(terms):
        matrix = (term - term.mean(1, keepdims=True)).T
        projection = matrix @ np.linalg.svd(matrix, full_matrices=False)[2][0]
        got = raw[picture].ravel()
        np.testing.assert_allclose(got * np.sign(got @ projection), projection, rtol=0, atol=1e-9 * np.abs(projection).max())
        energy = got @ np.abs(term).sum(0)
        assert energy >= -1e-9 * np.linalg.norm(got) * np.linalg.norm(np.abs(term).sum(0))


def test_eigen_smooth_needs_a_sum_over_channels():
    with pytest.raises(ValueError, match="eigen_smooth: method 'fem' has no sum over channels"):
        gradcam.cam(normal((1, 2, 3, 3)), method="fem", eigen_smooth=True)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"nan": "drop"}, ValueError, "cam: nan: expected one of 'propagate', 'omit', got 'drop'"),
        ({"eigen_smooth": 3}, ValueError, "cam: eigen_smooth: expected one of False, True, got 3"),
        ({"eigen_smooth": None}, ValueError, "cam: eigen_smooth: expected one of"),
        ({"method": "eigencam", "sign": "left"}, ValueError, "sign: expected 'energy', 'extreme', 1, -1 or a map, got 'left'"),
        ({"method": "eigencam", "sign": 2}, ValueError, "sign: expected"),
        ({"method": "eigencam", "sign": np.ones((1, 3))}, ValueError, r"cam: sign: expected shape \(1, 3, 3\), got \(1, 3\)"),
        ({"method": "fem", "mask": "soft"}, ValueError, "fem: mask: expected one of 'binary', 'fraction', got 'soft'"),
        ({"method": "refinecam", "base": "eigencam"}, ValueError, "refinecam: base: expected a method of activations and gradients"),
        ({"method": "finercam", "base": "none"}, ValueError, "finercam: method: expected one of"),
        ({"method": "fullgrad"}, ValueError, "cam: method: 'fullgrad' needs a whole model"),
        ({"method": ["gradcam"]}, ValueError, "cam: method: expected one of"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        gradcam.cam(normal((1, 2, 3, 3)), normal((1, 2, 3, 3)), **options)


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_gradients_that_are_needed_are_asked_for(method):
    with pytest.raises(ValueError, match=f"cam: gradients: method '{method.replace('+', '.')}' needs them"):
        gradcam.cam(normal((1, 2, 3, 3)), method=method)


@pytest.mark.parametrize("base", ["gradcam", "layercam", "hirescam"])
def test_methods_that_build_on_another_are_it_on_arrays(base):
    a, g = normal((2, 3, 4, 5)), normal((2, 3, 4, 5), 1)
    want = gradcam.cam(a, g, method=base)
    np.testing.assert_array_equal(gradcam.cam(a, g, method="finercam", base=base), want)
    np.testing.assert_array_equal(gradcam.cam(a, g, method="refinecam", base=base), want)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("method", ["eigencam", "eigengradcam", "segeigencam"])
def test_sign_may_be_chosen(method, sign):
    a, g = normal((2, 3, 4, 5)), normal((2, 3, 4, 5), 1)
    own = gradcam.cam(a, g, method=method, relu=False)
    np.testing.assert_array_equal(gradcam.cam(a, g, method=method, sign=sign, relu=False), sign * own)
    wanted = own * np.array([1, -1]).reshape(2, 1, 1)
    np.testing.assert_array_equal(gradcam.cam(a, g, method=method, sign=wanted, relu=False), wanted)


def test_every_method_has_its_file_and_its_documentation():
    for name, record in METHODS.items():
        module = record.function.__module__.rsplit(".", 1)[1]
        assert module == name.replace("++", "_plus_plus"), name
        assert record.function.__doc__, name
        assert set(record.operands) <= {*record.emitter_options(), *record.own_options()}
