"""The projection and kernel PCA beside golden arrays."""

from __future__ import annotations

import numpy as np
import pytest
from methods.projections import run

GOLDEN = {
    "eigencam": ("activations", False, "energy"),
    "eigencam_centered": ("activations", True, "energy"),
    "eigengradcam": ("product", True, "energy"),
    "segeigencam": ("abs-product", True, "extreme"),
}


@pytest.fixture(scope="module")
def golden(shared):
    with np.load(shared / "golden" / "arrays.npz") as file:
        return {key: file[key] for key in file.files}


def cases(golden, suffix):
    found = [key.split("/")[0] for key in golden if key.endswith(suffix) and f"{key.split('/')[0]}/A" in golden]
    assert len(found) > 5
    return found


def close(got, want, bound, either_sign=False):
    """Compare picture by picture, NaN with NaN."""
    for one_map, expected in zip(np.asarray(got, np.float64), np.asarray(want, np.float64), strict=True):
        np.testing.assert_array_equal(np.isnan(one_map), np.isnan(expected))
        peak = np.nanmax(np.abs(want), initial=0) or 1
        sign = -1 if either_sign and np.nansum(one_map * expected) < 0 else 1
        np.testing.assert_allclose(sign * one_map, expected, rtol=0, atol=bound * peak)


@pytest.mark.parametrize("name", [n for n in GOLDEN if n != "segeigencam"])
def test_golden_papers(golden, name):
    term, center, sign = GOLDEN[name]
    for case in cases(golden, f"/paper/{name}/raw"):
        a, g = golden[f"{case}/A"], golden[f"{case}/g"]
        for dtype, bound in ((np.float64, 1e-11), (np.float32, 1e-6)):
            used = (a.astype(dtype), None if term == "activations" else g.astype(dtype))
            close(run(term, *used, center=center, sign=sign, pictures=len(a))[0], golden[f"{case}/paper/{name}/raw"], bound)


@pytest.mark.parametrize("name", [n for n in GOLDEN if n != "eigencam_centered"])
def test_golden_peer(golden, name):
    term, _, sign = GOLDEN[name]
    for case in cases(golden, f"/pgc/{name}/raw"):
        a, g = golden[f"{case}/A"], golden[f"{case}/g"]
        raw = run(term, a, None if term == "activations" else g, center=True, sign=sign, replace_nan=True, pictures=len(a))[0]
        close(raw, golden[f"{case}/pgc/{name}/raw"], 2e-6, either_sign=name != "segeigencam")


def test_golden_kernel_pca(golden):
    for case in cases(golden, "/pgc/kpca/raw"):
        a = golden[f"{case}/A"]
        raw = run("activations", a, pca=True, replace_nan=True, pictures=len(a))[0]
        close(raw, golden[f"{case}/pgc/kpca/raw"], 1e-4)


@pytest.mark.parametrize(("name", "term"), [("hirescam", "product"), ("layercam", "relu-gradient")])
def test_golden_smoothing_of_products(golden, name, term):
    for case in cases(golden, f"/pgc/{name}/eigen_smooth/raw"):
        a, g = golden[f"{case}/A"], golden[f"{case}/g"]
        raw = run(term, a, g, center=True, replace_nan=True, pictures=len(a))[0]
        close(raw, golden[f"{case}/pgc/{name}/eigen_smooth/raw"], 1e-5, either_sign=True)


def test_golden_smoothing_of_weights(golden):
    for case in cases(golden, "/pgc/gradcam/eigen_smooth/raw"):
        a, g = golden[f"{case}/A"], golden[f"{case}/g"]
        w = g.mean(tuple(range(2, g.ndim)), dtype=np.float64).astype(a.dtype)
        raw = run("weighted", a, None, w, center=True, replace_nan=True, pictures=len(a))[0]
        close(raw, golden[f"{case}/pgc/gradcam/eigen_smooth/raw"], 1e-5, either_sign=True)
