"""DFT, STFT and windows against NumPy, and their gradients."""

from __future__ import annotations

import numpy as np
import pytest
from graph.cases import F64

from graph.test_computed_positions import check_gradients, model, node, values
from model.networks import normal

import gradcam
from gradcam.graph.passes import is_per_picture
from gradcam.readers.onnx import read_onnx


def complex_of(x):
    return x[..., 0] if x.shape[-1] == 1 else x[..., 0] + 1j * x[..., 1]


def parts_of(z):
    return np.stack([z.real, z.imag], -1)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize(("inverse", "onesided"), [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("length", [None, 5, 8, 3])
@pytest.mark.parametrize(("opset", "axis"), [(17, 1), (17, 2), (20, -2), (23, 1)])
def test_transform_of_an_axis(parts, inverse, onesided, length, opset, axis):
    x = normal((1, 5, 4, parts), 1, np.float64)
    attrs = {"inverse": inverse, "onesided": onesided} | ({"axis": axis} if opset < 20 else {})
    names = ["x", "n" if length else "", *["a"] * (opset >= 20)]
    weights = {"n": np.array(length or 0), "a": np.array(axis)}
    content = model([node("DFT", names, **attrs)], {"x": x.shape}, {k: v for k, v in weights.items() if k in names}, opset=opset)
    function = (np.fft.irfft if onesided else np.fft.ifft) if inverse else np.fft.fft
    place = axis % 4
    want = function(complex_of(x), length, axis=place)
    if onesided and not inverse:
        want = want.take(range(want.shape[place] // 2 + 1), place)
    want = want[..., None] if inverse and onesided else parts_of(want)
    np.testing.assert_allclose(values(content, {"x": x})[0], want, rtol=1e-12, atol=1e-12)
    if length == 5:
        check_gradients(content, {"x": x}, ["x"])


@pytest.mark.parametrize(("parts", "onesided"), [(1, 0), (1, 1), (2, 0)])
@pytest.mark.parametrize("windowed", [False, True])
def test_transforms_of_frames(parts, onesided, windowed):
    x, w = normal((2, 13, parts), 1, np.float64), normal((6,), 2)
    names = ["x", "step", "w"] if windowed else ["x", "step", "", "length"]
    content = model([node("STFT", names, onesided=onesided)], {"x": x.shape}, {"step": np.array(3), "w": w, "length": np.array(6)})
    frames = np.stack([complex_of(x)[:, i : i + 6] for i in (0, 3, 6)], 1) * (w if windowed else 1)
    want = parts_of(np.fft.fft(frames, axis=-1)[..., : 4 if onesided else 6])
    np.testing.assert_allclose(values(content, {"x": x})[0], want, rtol=1e-6, atol=1e-6)
    check_gradients(content, {"x": x}, ["x"])


def test_signals_do_not_meet():
    content = model([node("STFT", ["x", "step", "", "n"])], {"x": ("n", 12, 1)}, {"step": np.array(4), "n": np.array(8)})
    graph, _ = read_onnx(content).build({"x": (1, 12, 1)}, F64)
    assert is_per_picture(graph)


@pytest.mark.parametrize(("op", "function"), [("HannWindow", np.hanning), ("HammingWindow", np.hamming), ("BlackmanWindow", np.blackman)])
@pytest.mark.parametrize("size", [1, 2, 9])
def test_windows(op, function, size):
    if size > 1:
        bound = 1e-2 if op == "HammingWindow" else 1e-6  # ONNX has 25/46 where NumPy has 0.54
        nodes = [node(op, ["n"], "w", periodic=0), node("Add", ["w", "zero"], "shape")]
        np.testing.assert_allclose(_constant(nodes, size), function(size), rtol=0, atol=bound)
        np.testing.assert_allclose(_constant([node(op, ["n"], "shape")], size), function(size + 1)[:-1], rtol=0, atol=bound)
    assert _constant([node(op, ["n"], "shape")], 1).shape == (1,)


def _constant(nodes, size):
    graph, _ = read_onnx(model([*nodes, node("Identity", ["shape"])], {"x": (1, 1)}, {"n": np.array(size), "zero": np.float32(0)})).build(
        {"x": (1, 1)}, F64
    )
    return graph.outputs[0].data


@pytest.mark.parametrize(
    ("op", "shape", "constants", "text"),
    [
        ("DFT", (1, 4, 3), (), "expected real numbers or pairs"),
        ("DFT", (1, 4, 1), (np.array(0),), "a length of at least 1"),
        ("DFT", (1, 4, 1), (np.array(4), np.array(-1)), "the last axis holds"),
        ("DFT", (1, 4, 1), (np.array(2**40),), "positions along an axis"),
        ("STFT", (1, 4), (np.array(1),), "expected signals"),
        ("STFT", (1, 4, 1), (np.array(0),), "do not fit together"),
        ("STFT", (1, 4, 1), (np.array(1), np.ones(5, np.float32)), "do not fit together"),
        ("HannWindow", None, (np.array(0),), "a size of at least 1"),
    ],
)
def test_malformed(op, shape, constants, text):
    names = {f"c{i}": c for i, c in enumerate(constants)}
    content = model([node(op, [*["x"] * (shape is not None), *names])], {"x": shape or (1, 2)}, names)
    with pytest.raises(gradcam.ModelFormatError, match=text):
        read_onnx(content).build({"x": shape or (1, 2)}, F64)
