"""Kernels on bfloat16 against float64 sums of what ml_dtypes rounds."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from ops.blocks import from_blocked, to_blocked
from ops.test_blocked_conv import SPARE, border, geometry, integers, naive

from gradcam import _core
from gradcam.ops import _call
from gradcam.ops._call import Attributes
from gradcam.ops.bf16 import mixed_attributes
from gradcam.ops.blocked import Blocked, Window, conv_attributes, epilogue
from gradcam.ops.conv import conv_output_shape
from gradcam.ops.unary import UNARY

HALF_ULP = 2.0**-8
BITS = np.dtype(np.uint16)
LEVELS = [isa for isa in _core.isas if isa != "avx512" or _core.bfloat16]


@pytest.fixture(params=LEVELS)
def level(request, monkeypatch):
    """Each ISA level whose bfloat16 kernels this CPU runs."""
    monkeypatch.setattr(_call, "isa", request.param)
    return request.param


def bits(x):
    return np.asarray(x).astype(ml_dtypes.bfloat16).view(BITS)


def rounded(x):
    """The same numbers as bfloat16 has them, in float64."""
    return np.asarray(x).astype(ml_dtypes.bfloat16).astype(np.float64)


def widened(array):
    return array.view(ml_dtypes.bfloat16).astype(np.float64)


def normal(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def same_for_workers(kernel, attributes, inputs, shape, result, dtype="f"):
    """Output of a kernel, which must write all of it, with the same bits for 1 to 4 workers."""
    found = []
    for workers in (1, 2, 3, 4):
        y = np.full(shape, 0xABCD if result else np.nan, BITS if result else np.dtype(dtype))
        _core.call(kernel, _call.isa, dtype, attributes.ints, attributes.reals, tuple(inputs), (y,), workers)
        found.append(y)
    assert all(y.tobytes() == found[0].tobytes() for y in found[1:])
    return found[0]


def pack(kernel, attributes, w):
    count = _core.operands(kernel, _call.isa, w.dtype.char, attributes.ints, attributes.reals)[1][0]
    return _call.call(kernel, attributes, [w], [(count,)], result=BITS)[0]


def conv(x, w, bias, stride, lo, hi, dilation, groups, *, result, residual=None, mixed=False, finish=None, extra=(0, 0, 0, 0)):
    """y by the kernel, from float32 (or float64) arrays that it is given rounded; `mixed`: the residual is bfloat16."""
    shape = conv_output_shape(x.shape, w.shape, stride=stride, pad_lo=lo, pad_hi=hi, dilation=dilation)
    ends = [
        border(-a, -a + (n - 1) * s + d * (k - 1), size)
        for a, n, s, d, k, size in zip(lo, shape[2:], stride, dilation, w.shape[2:], x.shape[2:], strict=True)
    ]
    source = Blocked(*x.shape, ends[0][0] + extra[0], ends[1][0], ends[0][1], ends[1][1] + extra[1])
    y, other = Blocked(*shape, *extra), Blocked(*shape, 1, 0, 2, 1)
    code = epilogue(-1 if finish is None else UNARY[finish], bias=bias is not None, residual=None if residual is None else other)
    attributes = conv_attributes(source, y, Window(w.shape[2:], stride, lo, hi, dilation), code, (0.3, 1.5), groups=groups)
    attributes = mixed_attributes(attributes, result=result, residual=mixed)
    if residual is not None:
        residual = to_blocked(residual, other, SPARE)
        residual = bits(residual) if mixed else residual
    inputs = (bits(to_blocked(x, source, SPARE)), pack("bf16_conv_pack", attributes, w), bias, residual)
    return from_blocked(same_for_workers("bf16_conv_output", attributes, inputs, y.shape, result, w.dtype.char), y)


def exact(x, w, bias, *window):
    """Sum, and bound of the error of float32 sums, in float64."""
    x, w, bias = rounded(x), rounded(w), None if bias is None else bias.astype(np.float64)
    size = naive(abs(x), abs(w), None if bias is None else abs(bias), *window)
    return naive(x, w, bias, *window), (np.prod(w.shape[1:]) + 2) * 2.0**-24 * size


def assert_within(y, want, bound, result):
    found = widened(y) if result else y.astype(np.float64)
    assert (abs(found - want) <= bound + result * HALF_ULP * (abs(want) + bound)).all()


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("result", [False, True])
def test_convolutions_of_all_shapes(level, seed, result):
    shape, w_shape, *window = geometry(seed)
    x, w, bias = normal(shape), normal(w_shape, 1), normal(w_shape[:1], 2) if seed % 3 else None
    y = conv(x, w, bias, *window, result=result, extra=(seed % 2, seed % 3, 1, 0))
    assert_within(y, *exact(x, w, bias, *window), result)


@pytest.mark.parametrize("seed", range(40))
def test_small_integers_are_exact(level, seed):
    shape, w_shape, *window = geometry(seed)
    x, w = integers(shape, "float32"), integers(w_shape, "float32", 1)
    np.testing.assert_array_equal(conv(x, w, None, *window, result=False), naive(x, w, None, *window))


@pytest.mark.parametrize("seed", range(0, 40, 5))
def test_sums_in_double_are_exact_to_rounding(level, seed):
    shape, w_shape, *window = geometry(seed)
    x, w = normal(shape), normal(w_shape, 1)
    want, bound = exact(x, w, None, *window)
    assert_within(conv(x, w.astype(np.float64), None, *window, result=False), want, bound * 2.0**-29, False)


WINDOW = ((1, 1), (1, 1), (1, 1), (1, 1), 1)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 14, 15])
@pytest.mark.parametrize("height", [1, 2, 3, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_all_tile_edges(level, width, height, stride):
    x, w = integers((1, 32, height, width), "float32"), integers((48, 32, 3, 3), "float32", 1)
    window = ((stride, stride), *WINDOW[1:])
    np.testing.assert_array_equal(conv(x, w, None, *window, result=False), naive(x, w, None, *window))


@pytest.mark.parametrize("name", [None, "Relu", "Clip", "Silu", "HardSwish"])
@pytest.mark.parametrize("result", [False, True])
@pytest.mark.parametrize("mixed", [None, False, True])
def test_epilogues(level, name, result, mixed):
    x, w, bias = normal((2, 24, 9, 11)), normal((40, 24, 3, 3), 1), normal((40,), 2)
    residual = None if mixed is None else normal((2, 40, 9, 11), 3)
    y = conv(x, w, bias, *WINDOW, result=result, residual=residual, mixed=bool(mixed), finish=name, extra=(1, 1, 0, 2))
    want, bound = exact(x, w, bias, *WINDOW)
    if residual is not None:
        want = want + (rounded(residual) if mixed else residual)
    bound = bound + 2.0**-23 * abs(want)
    want = want if name is None else _call.call("unary_output", *unary_call(name, want))[0]
    assert_within(y, want, 1.1 * bound + 1e-6, result)


def unary_call(name, x):
    return Attributes((UNARY[name], x.size), (0.3, 1.5)), [x], [x.shape]


@pytest.mark.parametrize("result", [False, True])
@pytest.mark.parametrize("name", [None, "Relu"])
def test_all_levels_have_the_same_bits(monkeypatch, result, name):
    x, w, bias, residual = normal((1, 100, 13, 12)), normal((72, 100, 3, 2), 1), normal((72,), 2), normal((1, 72, 13, 13), 3)
    window = ((1, 1), (1, 1), (1, 1), (1, 1), 1)
    found = []
    for isa in LEVELS:
        monkeypatch.setattr(_call, "isa", isa)
        found.append(conv(x, w, bias, *window, result=result, residual=residual, finish=name))
    assert all(y.tobytes() == found[0].tobytes() for y in found[1:])


def linear(x, w, transposed, bias, residual, result, mixed, name=None):
    rows, k, m = x.shape[0], x.shape[1], w.shape[0 if transposed else 1]
    ints = (rows, k, m, int(transposed), -1 if name is None else UNARY[name], int(bias is not None), int(residual is not None))
    attributes = mixed_attributes(Attributes(ints, (0.0, 0.0)), result=result, residual=mixed)
    beside = None if residual is None else bits(residual) if mixed else residual
    inputs = (bits(x), pack("bf16_linear_pack", attributes, w), bias, beside)
    return same_for_workers("bf16_linear_output", attributes, inputs, (rows, m), result)


@pytest.mark.parametrize("rows", [1, 2, 3, 13, 14, 15, 29, 230])
@pytest.mark.parametrize(("k", "m"), [(16, 16), (48, 80), (592, 112)])
@pytest.mark.parametrize("transposed", [False, True])
def test_linear_layers(level, rows, k, m, transposed):
    x, w, bias, residual = normal((rows, k)), normal((m, k) if transposed else (k, m), 1), normal((m,), 2), normal((rows, m), 3)
    matrix = rounded(w).T if transposed else rounded(w)
    for result, mixed, beside in ((False, False, None), (True, True, residual), (False, True, residual), (True, False, residual)):
        want = rounded(x) @ matrix + bias
        bound = (k + 3) * 2.0**-24 * (abs(rounded(x)) @ abs(matrix) + abs(bias))
        if beside is not None:
            want, bound = want + (rounded(residual) if mixed else residual), bound + 2.0**-23 * abs(residual)
        assert_within(linear(x, w, transposed, bias, beside, result, mixed), want, bound, result)
        assert_within(linear(x, w, transposed, bias, beside, result, mixed, "Relu"), np.maximum(want, 0), bound, result)


def round_to_bits(x):
    return same_for_workers("bf16_round", Attributes((x.size,)), (x,), x.shape, True)


def test_rounding(level):
    x = (normal(1 << 14) * np.exp2(np.random.default_rng(1).integers(-100, 100, 1 << 14))).astype(np.float32)
    ties = (np.arange(1 << 12, dtype=np.uint32) * 0x8000 + 0x3F800000).view(np.float32)
    for values in (x, ties, -ties):
        np.testing.assert_array_equal(round_to_bits(values), bits(values))


def test_rounding_of_what_is_special(level):
    largest = np.finfo(np.float32).max
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, largest, -largest, 2.0**-126, -(2.0**-126)], np.float32)
    y = round_to_bits(np.concatenate([x, np.ones(23, np.float32)]))[:9]
    np.testing.assert_array_equal(widened(y), [0.0, -0.0, np.inf, -np.inf, np.nan, np.inf, -np.inf, 2.0**-126, -(2.0**-126)])
    assert list(y[:2]) == [0, 0x8000]


def test_subnormal_numbers_become_zeros_of_their_sign(level):
    x = np.array([2.0**-127, -(2.0**-127), 2.0**-149, -(2.0**-149)] * 4, np.float32)
    assert list(round_to_bits(x)) == [0, 0x8000] * 8


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_goes_on(level, bad):
    x, w = normal((1, 16, 5, 5)), abs(normal((16, 16, 3, 3), 1)) + 1
    x[0, 3, 2, 2] = bad
    for result in (False, True):
        y = conv(x, w, None, *WINDOW, result=result, finish="Relu")
        found = widened(y) if result else y
        assert not np.isfinite(found[:, :, 1:4, 1:4]).any()
        assert np.isfinite(found[:, :, 0]).all()


def test_attributes_that_do_not_fit(level):
    x = Blocked(1, 16, 4, 4)
    good = conv_attributes(x, x, Window((1, 1)))
    for ints, text in (
        ((*good.ints, 2, 0), "op: expected a known operator code"),
        ((*good.ints, 0, -1), "op: expected a known operator code"),
        (good.ints, "another number of attributes"),
        ((*conv_attributes(x, x, Window((1, 1)), gradient=True).ints, 0, 0), "op: expected a known operator code"),
    ):
        with pytest.raises(ValueError, match=text):
            _core.operands("bf16_conv_output", level, "f", ints, good.reals)
    with pytest.raises(ValueError, match="bf16_round: shape"):
        _core.operands("bf16_round", level, "f", (17,), ())


def test_arrays_of_another_type_are_refused(level):
    x = np.zeros(16, np.float32)
    with pytest.raises(TypeError, match="native arrays of the kernel's type"):
        _core.call("bf16_round", level, "f", (16,), (), (x,), (x.copy(),), 1)
