from __future__ import annotations

import numpy as np
import pytest
from reference import conv as reference
from reference.conv import CASES, WIDE, case, random_geometries

from gradcam import _core
from gradcam.environment import threads
from gradcam.ops import _call
from gradcam.ops.conv import conv, conv_attributes, conv_input_grad, conv_output_shape

DTYPES = ["float32", "float64"]


def options(geometry):
    _, _, stride, padding, dilation, groups = geometry
    return {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


def plain(geometry):
    return reference.Conv(*geometry[2:])


def integers(shape, dtype, seed=0):
    return np.random.default_rng(seed).integers(-8, 9, shape).astype(dtype)


def normal(shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def naive(geometry, x, w, bias=None):
    """The C oracle."""
    shape, _, stride, padding, dilation, groups = geometry
    lo, hi = zip(*padding, strict=True)
    options = {"stride": stride, "pad_lo": lo, "pad_hi": hi, "dilation": dilation}
    attributes = conv_attributes(shape, w.shape, **options, groups=groups, has_bias=bias is not None)
    y_shape = conv_output_shape(shape, w.shape, **options)
    return _call.call("conv_output_naive", attributes, [x, w, bias], [y_shape])[0]


def naive_grad(geometry, dy, w):
    shape, _, stride, padding, dilation, groups = geometry
    lo, hi = zip(*padding, strict=True)
    options = {"stride": stride, "pad_lo": lo, "pad_hi": hi, "dilation": dilation}
    attributes = conv_attributes(shape, w.shape, **options, groups=groups, has_bias=False, gradient=True)
    return _call.call("conv_input_grad_naive", attributes, [dy, w], [shape])[0]


# --- exact on small integers


@pytest.mark.parametrize("geometry", CASES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("has_bias", [False, True])
def test_small_integers_are_exact(isa, geometry, dtype, has_bias):
    x, w = integers(geometry[0], dtype), integers(geometry[1], dtype, 1)
    bias = integers(w.shape[:1], dtype, 2) if has_bias else None
    y = conv(x, w, bias, **options(geometry))
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, reference.conv(x, w, bias, plain(geometry)))
    np.testing.assert_array_equal(y, naive(geometry, x, w, bias))
    dy = integers(y.shape, dtype, 3)
    dx = conv_input_grad(dy, w, x.shape[2:], **options(geometry))
    assert dx.dtype == dtype
    np.testing.assert_array_equal(dx, reference.conv_input_grad(dy, w, x.shape, plain(geometry)))
    np.testing.assert_array_equal(dx, naive_grad(geometry, dy, w))


@pytest.mark.parametrize("dtype", DTYPES)
def test_random_geometries_are_exact(isa, dtype):
    for i, geometry in enumerate(random_geometries(250)):
        x, w, bias = integers(geometry[0], dtype, i), integers(geometry[1], dtype, i + 1), integers(geometry[1][:1], dtype, i + 2)
        y = conv(x, w, bias, **options(geometry))
        np.testing.assert_array_equal(y, naive(geometry, x, w, bias), err_msg=str(geometry))
        dy = integers(y.shape, dtype, i + 3)
        dx = conv_input_grad(dy, w, x.shape[2:], **options(geometry))
        np.testing.assert_array_equal(dx, naive_grad(geometry, dy, w), err_msg=str(geometry))


def test_oracles_are_the_reference():
    for i, geometry in enumerate(random_geometries(25, seed=7)):
        x, w, bias = integers(geometry[0], "float64", i), integers(geometry[1], "float64", i + 1), integers(geometry[1][:1], "float64", 2)
        y = naive(geometry, x, w, bias)
        np.testing.assert_array_equal(y, reference.conv(x, w, bias, plain(geometry)), err_msg=str(geometry))
        dy = integers(y.shape, "float64", i + 3)
        dx = reference.conv_input_grad(dy, w, x.shape, plain(geometry))
        np.testing.assert_array_equal(naive_grad(geometry, dy, w), dx, err_msg=str(geometry))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_edge_of_a_tile(isa, dtype):
    """1 to 20 rows (output channels) and 1 to 70 columns (positions)."""
    depth = 5
    for rows in range(1, 21):
        w = integers((rows, depth, 1, 1), dtype, rows)
        for positions in range(1, 71):
            x = integers((1, depth, 1, positions), dtype, positions)
            expected = w[:, :, 0, 0] @ x[0, :, 0]
            np.testing.assert_array_equal(conv(x, w)[0, :, 0], expected, err_msg=f"{rows} x {positions}")
            back = conv_input_grad(conv(x, w), w, (1, positions))
            np.testing.assert_array_equal(back[0, :, 0], w[:, :, 0, 0].T @ expected, err_msg=f"{rows} x {positions}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("channels", "filters"), [(28, 3), (29, 130), (57, 5), (86, 13)])
def test_several_blocks_of_depth_and_positions(isa, dtype, channels, filters):
    """More than one depth block (256 products), more than one block of positions, more than 16 row panels."""
    geometry = case((1, channels, 11, 27), (filters, channels, 3, 3), 1, ((1, 1), (2, 0)))
    x, w = integers(geometry[0], dtype), integers(geometry[1], dtype, 1)
    bias = integers((filters,), dtype, 2)
    y = conv(x, w, bias, **options(geometry))
    np.testing.assert_array_equal(y, naive(geometry, x, w, bias))
    dy = integers(y.shape, dtype, 3)
    np.testing.assert_array_equal(conv_input_grad(dy, w, (11, 27), **options(geometry)), naive_grad(geometry, dy, w))


@pytest.mark.parametrize("depth", [1, 255, 256, 257, 511, 512, 513])
def test_depths_around_a_block(isa, depth):
    x, w = integers((1, depth, 9), "float32"), integers((7, depth, 1), "float32", 1)
    np.testing.assert_array_equal(conv(x, w)[0], w[:, :, 0] @ x[0])


# --- real numbers


@pytest.mark.parametrize("geometry", CASES, ids=str)
def test_error_of_float32_is_within_its_bound(isa, geometry):
    x, w, bias = (normal(s, "float32", i) for i, s in enumerate((geometry[0], geometry[1], geometry[1][:1])))
    y = conv(x, w, bias, **options(geometry))
    terms = np.prod(w.shape[1:]) + 1
    sizes = reference.conv(np.abs(x), np.abs(w), np.abs(bias), plain(geometry))
    assert (np.abs(y - reference.conv(x, w, bias, plain(geometry))) <= terms * 2.0**-24 * sizes).all()
    dy = normal(y.shape, "float32", 3)
    dx = conv_input_grad(dy, w, x.shape[2:], **options(geometry))
    terms = w.shape[0] // geometry[5] * np.prod(w.shape[2:])
    sizes = reference.conv_input_grad(np.abs(dy), np.abs(w), x.shape, plain(geometry))
    assert (np.abs(dx - reference.conv_input_grad(dy, w, x.shape, plain(geometry))) <= terms * 2.0**-24 * sizes).all()


@pytest.mark.parametrize("geometry", CASES, ids=str)
def test_float64_is_the_reference_and_the_gradient_its_adjoint(isa, geometry):
    x, w, bias = (normal(s, seed=i) for i, s in enumerate((geometry[0], geometry[1], geometry[1][:1])))
    y = conv(x, w, bias, **options(geometry))
    np.testing.assert_allclose(y, reference.conv(x, w, bias, plain(geometry)), rtol=1e-12, atol=1e-12)
    dy = normal(y.shape, seed=3)
    dx = conv_input_grad(dy, w, x.shape[2:], **options(geometry))
    np.testing.assert_allclose(dx, reference.conv_input_grad(dy, w, x.shape, plain(geometry)), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(np.vdot(dy, conv(x, w, **options(geometry))), np.vdot(dx, x), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("geometry", [c for c in CASES if c[0][0]], ids=str)
def test_input_grad_is_the_central_difference(geometry):
    x, w, direction = normal(geometry[0]), normal(geometry[1], seed=1), normal(geometry[0], seed=2)
    dy, step = normal(conv(x, w, **options(geometry)).shape, seed=3), 1e-4
    dx = conv_input_grad(dy, w, x.shape[2:], **options(geometry))
    high, low = (np.vdot(dy, conv(x + sign * step * direction, w, **options(geometry))) for sign in (1, -1))
    np.testing.assert_allclose(np.vdot(dx, direction), (high - low) / (2 * step), rtol=1e-6, atol=1e-9)


# --- NaN and infinity


@pytest.mark.parametrize("geometry", [c for c in CASES if c[0][0]], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_infinity_go_where_their_taps_go(isa, geometry, dtype):
    generator = np.random.default_rng(5)
    x, w = normal(geometry[0], dtype), normal(geometry[1], dtype, 1)
    w.flat[0] = 0  # 0 * NaN and 0 * inf are NaN
    dy = normal(plain(geometry).output_shape(x.shape, w.shape), dtype, 2)
    for array in (x, dy):
        for value in (np.nan, np.inf, -np.inf):
            array.flat[generator.integers(array.size)] = value
    with np.errstate(invalid="ignore"):
        pairs = [
            (conv(x, w, **options(geometry)), reference.conv(x, w, None, plain(geometry))),
            (conv_input_grad(dy, w, x.shape[2:], **options(geometry)), reference.conv_input_grad(dy, w, x.shape, plain(geometry))),
        ]
    for got, want in pairs:
        np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
        np.testing.assert_array_equal(np.isinf(got), np.isinf(want))
        assert (np.sign(got[np.isinf(got)]) == np.sign(want[np.isinf(want)])).all()


def test_nan_in_weight_and_bias(isa):
    x, w, bias = normal((1, 2, 5, 5), "float32"), normal((3, 2, 3, 3), "float32", 1), np.zeros(3, np.float32)
    w[1, 0, 2, 2] = bias[2] = np.nan
    found = np.isnan(conv(x, w, bias))
    assert not found[:, 0].any()
    assert found[:, 1:].all()


# --- threads, batches, layouts


@pytest.mark.parametrize("geometry", WIDE, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("workers", [2, 3, 4])
def test_the_number_of_threads_changes_no_bit(isa, monkeypatch, geometry, dtype, workers):
    monkeypatch.setattr(_call, "SERIAL_ELEMENTS", 0)
    x, w, bias = (normal(s, dtype, i) for i, s in enumerate((geometry[0], geometry[1], geometry[1][:1])))

    def run(count):
        with threads(count):
            y = conv(x, w, bias, **options(geometry))
            return y.tobytes(), conv_input_grad(y, w, x.shape[2:], **options(geometry)).tobytes()

    assert run(workers) == run(1)


@pytest.mark.parametrize("geometry", WIDE, ids=str)
def test_pictures_of_a_batch_have_the_bytes_of_single_ones(isa, geometry):
    shape = (4, *geometry[0][1:])
    x, w = normal(shape, "float32"), normal(geometry[1], "float32", 1)
    y = conv(x, w, **options(geometry))
    dx = conv_input_grad(y, w, shape[2:], **options(geometry))
    for i in range(4):
        assert conv(x[i : i + 1], w, **options(geometry)).tobytes() == y[i].tobytes()
        assert conv_input_grad(y[i : i + 1], w, shape[2:], **options(geometry)).tobytes() == dx[i].tobytes()


def test_num_threads_is_an_argument():
    x, w = normal((1, 3, 40, 41), "float32"), normal((5, 3, 3, 3), "float32")
    assert conv(x, w, num_threads=3).tobytes() == conv(x, w, num_threads=1).tobytes()
    with pytest.raises(ValueError, match="num_threads"):
        conv(x, w, num_threads=0)


def test_arrays_in_other_layouts():
    x, w = normal((2, 3, 6, 7), "float32"), normal((4, 3, 3, 3), "float32", 1)
    expected = conv(x, w)
    swapped = x.astype(x.dtype.newbyteorder())
    for view in (np.asfortranarray(x), np.concatenate([x, x])[:2], x[..., ::-1][..., ::-1], swapped):
        assert conv(view, w).tobytes() == expected.tobytes()
    assert conv(x, np.asfortranarray(w)).tobytes() == expected.tobytes()


def test_half_precision_is_widened():
    x, w = normal((1, 2, 5), "float16"), normal((3, 2, 3), "float16", 1)
    assert conv(x, w).dtype == np.float32
    assert conv(x, w).tobytes() == conv(x.astype(np.float32), w.astype(np.float32)).tobytes()


# --- bad input

X, W = np.zeros((1, 64, 5, 5), np.float32), np.zeros((8, 64, 3, 3), np.float32)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((X, W[:, :32]), ValueError, r"conv: weight: expected 64 input channels \(axis 1\), got 32"),
        ((X, W[0]), ValueError, r"conv: weight: expected 4 axes like the input, got 3 \(shape \(64, 3, 3\)\)"),
        ((X[0, 0], W), ValueError, r"conv: x: expected 3 to 5 axes, got 2 \(shape \(5, 5\)\)"),
        ((X, W, np.zeros(7, np.float32)), ValueError, r"conv: bias: expected shape \(8,\), got \(7,\)"),
        ((X, W, np.zeros((8, 1), np.float32)), ValueError, r"conv: bias: expected shape \(8,\)"),
        ((X.astype(int), W), TypeError, "conv: x: expected float32 or float64, got int64"),
        ((X, W.astype(float)), TypeError, "conv: weight: expected float32 like the first array, got float64"),
        ((X, W, np.zeros(8)), TypeError, "conv: bias: expected float32 like the first array, got float64"),
        ((X[..., :2], W), ValueError, "conv: weight: expected a kernel that fits into the padded input"),
        ((X[:, :0], W[:, :0]), ValueError, "conv: "),
        ((X[..., :0], W), ValueError, "conv: "),
        ((X, W[:0]), ValueError, "conv: "),
    ],
)
def test_bad_arrays_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        conv(*arguments)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"stride": 0}, "conv: stride: expected an integer >= 1, or 2 of them, got 0"),
        ({"stride": (1, 2, 3)}, r"conv: stride: expected an integer >= 1, or 2 of them, got \(1, 2, 3\)"),
        ({"stride": 1.5}, "conv: stride: expected an integer"),
        ({"stride": True}, "conv: stride: expected an integer"),
        ({"dilation": -1}, "conv: dilation: expected an integer >= 1, or 2 of them, got -1"),
        ({"padding": -1}, "conv: padding: expected an integer >= 0, or 2 of them, got -1"),
        ({"padding": ((0, 0),)}, r"conv: padding: expected 2 \(low, high\) pairs"),
        ({"padding": ((0, -1), (0, 0))}, "conv: padding: expected an integer >= 0"),
        ({"groups": 3}, "conv: groups: expected a divisor of 64 input and 8 output channels, got 3"),
        ({"groups": 0}, "conv: groups: expected a divisor"),
        ({"groups": 16}, "conv: groups: expected a divisor"),
        ({"groups": 2}, r"conv: weight: expected 32 input channels \(axis 1\), got 64"),
        ({"dilation": 3}, "conv: weight: expected a kernel that fits"),
    ],
)
def test_bad_parameters_are_refused(keywords, message):
    with pytest.raises(ValueError, match=message):
        conv(X, W, **keywords)


@pytest.mark.parametrize(
    ("dy", "size", "message"),
    [
        ((1, 8, 3, 4), (5, 5), r"conv_input_grad: dy: expected shape \(1, 8, 3, 3\) for an input of \(1, 64, 5, 5\), got \(1, 8, 3, 4\)"),
        ((1, 7, 3, 3), (5, 5), "conv_input_grad: dy: expected 8 channels"),
        ((1, 8, 3, 3), (5,), "conv_input_grad: dy: expected 8 channels and as many axes"),
        ((1, 8, 3, 3), (2, 2), "conv_input_grad: "),
        ((1, 8, 3, 3), (0, 5), "conv_input_grad: "),
        ((1, 8, 3, 3), (-5, 5), "conv_input_grad: "),
    ],
)
def test_bad_gradients_are_refused(dy, size, message):
    with pytest.raises(ValueError, match=message):
        conv_input_grad(np.zeros(dy, np.float32), W, size)


GOOD = {
    "n": 1,
    "c": 2,
    "k": 4,
    "groups": 2,
    "in": (4, 4),
    "kernel": (3, 2),
    "stride": (1, 1),
    "lo": (0, 0),
    "hi": (0, 0),
    "d": (1, 1),
    "bias": 0,
}
HUGE = 2**62
KERNELS = ["conv_pack", "conv_output", "conv_input_grad", "conv_weight_grad", "conv_output_naive", "conv_input_grad_naive"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"n": -1}, ValueError, "shape"),
        ({"c": 0}, ValueError, "shape"),
        ({"k": 0}, ValueError, "shape"),
        ({"k": -4}, ValueError, "shape"),
        ({"groups": 0}, ValueError, "groups"),
        ({"groups": -2}, ValueError, "groups"),
        ({"groups": 3}, ValueError, "groups"),
        ({"groups": 4}, ValueError, "groups"),
        ({"in": (0, 4)}, ValueError, "shape"),
        ({"kernel": (0, 2)}, ValueError, "kernel"),
        ({"stride": (1, 0)}, ValueError, "stride"),
        ({"stride": (-1, 1)}, ValueError, "stride"),
        ({"d": (0, 1)}, ValueError, "dilation"),
        ({"lo": (-1, 0)}, ValueError, "padding"),
        ({"hi": (0, -1)}, ValueError, "padding"),
        ({"kernel": (5, 2)}, ValueError, "shape"),
        ({"d": (2, 1)}, ValueError, "shape"),
        ({"bias": 2}, ValueError, "op"),
        ({"bias": -1}, ValueError, "op"),
        ({"in": (HUGE, HUGE)}, MemoryError, "overflows"),
        ({"n": HUGE}, MemoryError, "overflows"),
        ({"c": HUGE, "k": HUGE}, MemoryError, "overflows"),
        ({"stride": (HUGE, 1), "in": (HUGE, 4)}, MemoryError, "overflows"),
        ({"lo": (HUGE, 0), "hi": (HUGE, 0)}, MemoryError, "overflows"),
        ({"kernel": (HUGE, 1), "d": (HUGE, 1)}, MemoryError, "overflows"),
        ({"lo": (2**40, 0), "hi": (0, 2**40)}, MemoryError, "overflows"),
    ],
)
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_kernels_refuse_bad_attributes(kernel, change, error, message):
    a = GOOD | change
    gradient = int(kernel == "conv_input_grad")
    space = (*a["in"], *a["kernel"], *a["stride"], *a["lo"], *a["hi"], *a["d"])
    ints = (2, a["n"], a["c"], a["k"], a["groups"], *space, a["bias"], gradient)
    for dtype in "fd":
        with pytest.raises(error, match=message):
            _core.operands(kernel, _core.isa, dtype, ints, ())
        for wrong in (ints[:-1], (*ints, 0), (2,)):
            with pytest.raises(ValueError, match="attributes"):
                _core.operands(kernel, _core.isa, dtype, wrong, ())
        for rank in (0, 4, -1, HUGE):
            with pytest.raises(ValueError, match="rank"):
                _core.operands(kernel, _core.isa, dtype, (rank, *ints[1:]), ())
        with pytest.raises(ValueError, match="attributes"):
            _core.operands(kernel, _core.isa, dtype, ints, (1.0,))


def test_weights_packed_for_the_other_direction_are_refused():
    ints = conv_attributes(
        (1, 2, 4), (3, 2, 2), stride=(1,), pad_lo=(0,), pad_hi=(0,), dilation=(1,), groups=1, has_bias=False, gradient=True
    ).ints
    assert _core.operands("conv_input_grad", _core.isa, "f", ints, ())[1] == (8,)
    with pytest.raises(ValueError, match="conv_output: op"):
        _core.operands("conv_output", _core.isa, "f", ints, ())
    with pytest.raises(ValueError, match="conv_input_grad: op"):
        _core.operands("conv_input_grad", _core.isa, "f", (*ints[:-1], 0), ())


@pytest.mark.torch
@pytest.mark.parametrize("geometry", [c for c in CASES if all(lo == hi for lo, hi in c[3]) and c[0][0]], ids=str)
def test_convolution_of_torch(torch, geometry):
    shape, w_shape, stride, padding, dilation, groups = geometry
    x, w, bias = (torch.tensor(normal(s, seed=i)) for i, s in enumerate((shape, w_shape, w_shape[:1])))
    x.requires_grad_()
    function = getattr(torch.nn.functional, f"conv{len(stride)}d")
    y = function(x, w, bias, stride, [lo for lo, _ in padding], dilation, groups)
    dy = torch.tensor(normal(tuple(y.shape), seed=3))
    y.backward(dy)
    np.testing.assert_allclose(conv(x.detach(), w, bias, **options(geometry)), y.detach().numpy(), rtol=1e-11, atol=1e-12)
    dx = conv_input_grad(dy, w, shape[2:], **options(geometry))
    np.testing.assert_allclose(dx, x.grad.numpy(), rtol=1e-11, atol=1e-12)
