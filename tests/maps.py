"""What the tests of functions on maps share."""

from __future__ import annotations

import numpy as np

ROUNDING = {np.float32: 2**-22, np.float64: 1e-14}


def random_maps(shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def assert_close(got, want, relative):
    want = np.asarray(want, np.float64)
    assert got.shape == want.shape
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    peak = np.nanmax(np.abs(want), initial=0) or 1
    np.testing.assert_allclose(got, want, rtol=0, atol=relative * peak)
