"""Weight gradient of convolutions of blocked tensors against plain loops."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from ops import blocks
from reference import conv as reference

from gradcam import _core
from gradcam.ops import _call
from gradcam.ops.blocked import Blocked, Window, weight_attributes

DTYPES = ["float32", "float64"]

# n, c, h, w, filters, window
CASES = [
    (2, 16, 5, 6, 9, Window((3, 3), (1, 1), (1, 1), (1, 1))),
    (1, 33, 7, 5, 18, Window((3, 3), (2, 2), (1, 1), (1, 1))),
    (3, 5, 6, 7, 3, Window((1, 1))),
    (2, 48, 5, 4, 17, Window((1, 1), (2, 1))),
    (1, 17, 10, 8, 3, Window((2, 3), (2, 1), (2, 3), (5, 4), (2, 3))),
    (1, 20, 8, 9, 5, Window((4, 5), (1, 3), (0, 2), (1, 2))),
    (1, 1, 1, 1, 1, Window((1, 1))),
    (1, 2, 3, 1029, 2, Window((1, 3), (1, 1), (0, 1), (0, 0))),  # rows longer than a strip
    (3, 17, 33, 33, 2, Window((1, 1))),  # strips of several rows, a short one at the end of each picture
    (130, 3, 4, 5, 2, Window((2, 2), (1, 1), (1, 0), (0, 1))),  # more pictures than a group has
]


@functools.cache
def example(case, whole=False):
    """Gradient of the output, the input, their gradient by plain loops, and that of their sizes."""
    n, c, h, w, filters, window = case
    plain = reference.Conv(window.stride, tuple(zip(window.pad_lo, window.pad_hi, strict=True)), window.dilation, 1)
    rng, shape = np.random.default_rng(1), (filters, c, *window.kernel)
    shapes = plain.output_shape((n, c, h, w), shape), (n, c, h, w)
    dy, x = (rng.integers(-8, 9, s).astype(np.float32) if whole else rng.standard_normal(s).astype(np.float32) for s in shapes)
    return dy, x, reference.conv_weight_grad(dy, x, shape, plain), reference.conv_weight_grad(np.abs(dy), np.abs(x), shape, plain)


def border(x, dy, window):
    """Least border of x."""
    ends = [
        max(0, (dy.shape[i] - 1) * s + (k - 1) * d - lo - (x.shape[i] - 1))
        for i, k, s, d, lo in zip((2, 3), window.kernel, window.stride, window.dilation, window.pad_lo, strict=True)
    ]
    return (*window.pad_lo, *ends)


def gradient(dy, x, window, more=0):
    """By the kernel, with borders that are wider by `more` than it needs, and numbers in spare lanes."""
    x_tensor = Blocked(*x.shape, *(side + more for side in border(x, dy, window)))
    dy_tensor = Blocked(*dy.shape, more, more, more, more)
    inputs = [blocks.to_blocked(dy, dy_tensor, 9), blocks.to_blocked(x, x_tensor, 9)]
    return blocks.run(
        "blocked_weight_grad", weight_attributes(x_tensor, dy_tensor, window), inputs, (*dy.shape[1:2], *x.shape[1:2], *window.kernel)
    )


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("more", [0, 2])
def test_small_integers_are_exact(isa, case, dtype, more):
    dy, x, expected, _ = example(case, whole=True)
    np.testing.assert_array_equal(gradient(dy.astype(dtype), x.astype(dtype), case[-1], more), expected)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_error_of_float32_is_within_its_bound(isa, case):
    dy, x, expected, sizes = example(case)
    assert (np.abs(gradient(dy, x, case[-1]) - expected) <= dy[:, 0].size * 2.0**-24 * sizes).all()


def test_nan_spoils_the_weights_that_meet_it(isa):
    dy, x, *_ = example(CASES[2])
    x, window = x.copy(), CASES[2][-1]
    x[1, 2, 0, 0] = np.nan
    assert np.isnan(gradient(dy, x, window)[:, :, 0, 0]).tolist() == [[False, False, True, False, False]] * 3
    dy = dy.copy()
    dy[0, 1, 3, 2] = np.inf
    assert (~np.isfinite(gradient(dy, x, window))).all((1, 2, 3)).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("x", "dy", "window", "message"),
    [
        (Blocked(2, 3, 4, 4), Blocked(1, 5, 4, 4), Window((1, 1)), "sizes of at least 1"),
        (Blocked(1, 3, 4, 4), Blocked(1, 5, 4, 3), Window((1, 1)), "output shape that"),
        (Blocked(1, 3, 4, 4, 1, 1, 1, 0), Blocked(1, 5, 4, 4), Window((3, 3), (1, 1), (1, 1), (1, 1)), "padding smaller"),
        (Blocked(1, 3, 4, 4, 1, 0, 1, 1), Blocked(1, 5, 4, 4), Window((3, 3), (1, 1), (1, 1), (1, 1)), "padding smaller"),
        (Blocked(1, 3, 4, 4), Blocked(1, 5, 4, 4), Window((0, 1)), "kernel sizes"),
    ],
)
def test_wrong_geometries_are_refused(x, dy, window, message):
    attributes = weight_attributes(x, dy, window)
    with pytest.raises(ValueError, match=message):
        _core.operands("blocked_weight_grad", _call.isa, "f", attributes.ints, ())
