"""Weight and bias gradients of convolution."""

from __future__ import annotations

import numpy as np
import pytest
from gradcheck import assert_gradient
from reference import conv as reference
from reference.conv import CASES, WIDE, case, random_geometries

from gradcam import _core, ops
from gradcam.ops import _call
from gradcam.ops.conv import conv_attributes

DTYPES = ["float32", "float64"]
LONG = [
    case((5, 3, 37, 31), (9, 3, 3, 3), 1, ((1, 1), (1, 1))),  # several lines of positions, of several pictures each
    case((9, 6, 12, 11), (70, 6, 1, 1)),  # more rows than are worked on at once
    case((2, 19, 6, 5), (3, 19, 3, 3), 1, ((1, 1), (1, 1))),  # more columns
]


def options(geometry):
    _, _, stride, padding, dilation, groups = geometry
    return {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


def operands(geometry, draw):
    """Gradient of the output, and the input."""
    plain = reference.Conv(*geometry[2:])
    return draw(plain.output_shape(*geometry[:2]), 1), draw(geometry[0], 2)


def integers(dtype):
    return lambda shape, seed: np.random.default_rng(seed).integers(-8, 9, shape).astype(dtype)


def normal(dtype):
    return lambda shape, seed: np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def gradient(geometry, dy, x, **keywords):
    return ops.conv_weight_grad(dy, x, geometry[1][2:], **options(geometry), **keywords)


def expected(geometry, dy, x):
    return reference.conv_weight_grad(dy, x, geometry[1], reference.Conv(*geometry[2:]))


@pytest.mark.parametrize("geometry", [*CASES, *WIDE, *LONG], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_small_integers_are_exact(isa, geometry, dtype):
    dy, x = operands(geometry, integers(dtype))
    dw = gradient(geometry, dy, x)
    assert dw.dtype == dtype
    np.testing.assert_array_equal(dw, expected(geometry, dy, x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_random_geometries_are_exact(isa, dtype):
    for geometry in random_geometries(60, seed=3):
        dy, x = operands(geometry, integers(dtype))
        np.testing.assert_array_equal(gradient(geometry, dy, x), expected(geometry, dy, x), err_msg=str(geometry))


@pytest.mark.parametrize("geometry", [*CASES[:8], *LONG], ids=str)
def test_error_of_float32_is_within_its_bound(isa, geometry):
    dy, x = operands(geometry, normal("float32"))
    terms = dy[:, 0].size
    sizes = expected(geometry, np.abs(dy), np.abs(x))
    assert (np.abs(gradient(geometry, dy, x) - expected(geometry, dy, x)) <= terms * 2.0**-24 * sizes).all()


@pytest.mark.parametrize("geometry", CASES[:6], ids=str)
def test_gradient_is_the_central_difference(geometry):
    dy, x = operands(geometry, normal("float64"))
    w = normal("float64")(geometry[1], 3)
    assert_gradient(gradient(geometry, dy, x), lambda v: ops.conv(x, v, **options(geometry)), w, dy)


def test_gradient_is_the_adjoint_of_the_output(isa):
    for geometry in (*WIDE, *LONG):
        dy, x = operands(geometry, normal("float64"))
        w = normal("float64")(geometry[1], 3)
        np.testing.assert_allclose(np.vdot(gradient(geometry, dy, x), w), np.vdot(dy, ops.conv(x, w, **options(geometry))), rtol=1e-10)


@pytest.mark.parametrize("geometry", [*WIDE, *LONG], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_number_of_threads_changes_no_bit(isa, monkeypatch, geometry, dtype):
    monkeypatch.setattr(_call, "SERIAL_ELEMENTS", 0)
    dy, x = operands(geometry, normal(dtype))
    assert len({gradient(geometry, dy, x, num_threads=count).tobytes() for count in (1, 2, 3, 4)}) == 1


def test_nan_spoils_the_weights_that_meet_it(isa):
    geometry = case((2, 3, 5, 4), (6, 3, 1, 1))
    dy, x = operands(geometry, normal("float32"))
    x[1, 2, 0, 0] = np.nan
    assert np.isnan(gradient(geometry, dy, x)[:, :, 0, 0]).tolist() == [[False, False, True]] * 6
    dy, x = operands(geometry, normal("float32"))
    dy[0, 4, 3, 2] = np.nan
    assert np.isnan(gradient(geometry, dy, x)).all((1, 2, 3)).tolist() == [False, False, False, False, True, False]


def test_no_pictures_give_no_gradient(isa):
    assert not ops.conv_weight_grad(np.ones((0, 5, 3)), np.ones((0, 2, 3)), (1,)).any()


@pytest.mark.parametrize("shape", [(2, 3, 5), (3, 4, 6, 7), (1, 2, 2, 3, 4)])
def test_bias_gradient_is_the_sum(isa, shape):
    dy = normal("float32")(shape, 0)
    axes = (0, *range(2, len(shape)))
    np.testing.assert_allclose(ops.conv_bias_grad(dy), dy.sum(axes, dtype=float), rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="conv_bias_grad: dy: expected 3 to 5 axes, got 2"):
        ops.conv_bias_grad(np.ones((2, 3)))


@pytest.mark.parametrize(
    ("dy", "x", "kernel", "keywords", "message"),
    [
        (
            (1, 8, 3, 4),
            (1, 4, 5, 5),
            (3, 3),
            {},
            r"conv_weight_grad: dy: expected shape \(1, 8, 3, 3\) for an input of \(1, 4, 5, 5\), got",
        ),
        ((2, 8, 3, 3), (1, 4, 5, 5), (3, 3), {}, r"conv_weight_grad: dy: expected shape \(1, 8, 3, 3\)"),
        ((1, 8, 3, 3), (1, 4, 5), (3, 3), {}, "conv_weight_grad: x: expected 4 axes, got 3"),
        ((1, 8, 3, 3), (1, 4, 5, 5), (3,), {}, r"conv_weight_grad: kernel_size: expected 2 sizes of at least 1, got \(3,\)"),
        ((1, 8, 3, 3), (1, 4, 5, 5), (3, 0), {}, "conv_weight_grad: kernel_size"),
        ((1, 8, 3, 3), (1, 4, 5, 5), (7, 7), {}, "conv_weight_grad: weight: expected a kernel that fits"),
        ((1, 8, 3, 3), (1, 4, 5, 5), (3, 3), {"groups": 3}, "conv_weight_grad: groups: expected a divisor"),
        ((1, 8, 3, 3), (1, 4, 5, 5), (3, 3), {"groups": 0}, "conv_weight_grad: groups: expected a divisor"),
        ((1, 8, 3, 3), (1, 4, 5, 5), (3, 3), {"stride": 0}, "conv_weight_grad: stride"),
    ],
)
def test_bad_input_is_refused(dy, x, kernel, keywords, message):
    with pytest.raises(ValueError, match=message):
        ops.conv_weight_grad(np.zeros(dy), np.zeros(x), kernel, **keywords)


def test_types_must_agree():
    with pytest.raises(TypeError, match="conv_weight_grad: x: expected float64 like the first array, got float32"):
        ops.conv_weight_grad(np.zeros((1, 1, 3)), np.zeros((1, 1, 3), np.float32), (1,))


def test_the_kernel_refuses_attributes_of_the_others():
    geometry = {"stride": (1,), "pad_lo": (0,), "pad_hi": (0,), "dilation": (1,), "groups": 1}
    for extra in ({"has_bias": True}, {"has_bias": False, "gradient": True}):
        ints = conv_attributes((1, 2, 4), (3, 2, 2), **geometry, **extra).ints
        with pytest.raises(ValueError, match="conv_weight_grad: op"):
            _core.operands("conv_weight_grad", _core.isa, "f", ints, ())


@pytest.mark.torch
@pytest.mark.parametrize("geometry", [c for c in CASES if all(lo == hi for lo, hi in c[3]) and c[0][0]], ids=str)
def test_gradients_of_torch(torch, geometry):
    _, w_shape, stride, padding, dilation, groups = geometry
    dy, x = operands(geometry, normal("float64"))
    w, bias = (torch.tensor(normal("float64")(s, i), requires_grad=True) for i, s in enumerate((w_shape, w_shape[:1])))
    function = getattr(torch.nn.functional, f"conv{len(stride)}d")
    function(torch.tensor(x), w, bias, stride, [lo for lo, _ in padding], dilation, groups).backward(torch.tensor(dy))
    np.testing.assert_allclose(gradient(geometry, dy, x), w.grad.numpy(), rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(ops.conv_bias_grad(dy), bias.grad.numpy(), rtol=1e-11, atol=1e-12)
