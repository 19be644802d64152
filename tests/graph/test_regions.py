"""RoiAlign, DeformConv and Hardmax."""

from __future__ import annotations

import numpy as np
import pytest
from graph.cases import F64
from graph.onnx_cases import f32, ints
from graph.test_computed_positions import check_gradients, model, node, values
from model.networks import normal, reference

import gradcam
from gradcam.graph.passes import is_per_picture
from gradcam.readers.onnx import read_onnx

BOXES = f32([[0.3, 1.1, 5.2, 4.4], [-3.1, -2.2, 2.6, 9.3], [2.1, 2.3, 2.4, 2.9], [-7.4, 0.2, -5.1, 3.3]])  # the last two: tiny, outside
OWNERS = ints(1, 0, 1, 0)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("half", ["half_pixel", "output_half_pixel"])
@pytest.mark.parametrize("opset", [16, 22])
@pytest.mark.parametrize("more", [{}, {"output_height": 3, "output_width": 2, "sampling_ratio": 3, "spatial_scale": 0.7}])
def test_regions(mode, half, opset, more):
    attrs = {"mode": mode, "coordinate_transformation_mode": half, "sampling_ratio": 2, **more}
    given = {"x": normal((2, 3, 5, 6), 1), "r": BOXES}
    content = model(
        [node("RoiAlign", ["x", "r", "owners"], **attrs)], {k: a.shape for k, a in given.items()}, {"owners": OWNERS}, opset=opset
    )
    np.testing.assert_allclose(values(content, given)[0], reference(content, given | {"owners": OWNERS})[0], rtol=1e-5, atol=1e-5)
    check_gradients(content, given, ["x", "r"])


@pytest.mark.parametrize("half", [None, "half_pixel"])
def test_as_many_points_as_a_region_is_large(half):
    """One size of regions, and one picture: its start is not read. Opset 10 knows no half pixels."""
    attrs = {"output_height": 2, "output_width": 2} | ({"coordinate_transformation_mode": half} if half else {})
    weights = {"r": f32([[0, 1, 5, 4], [0.5, 0.2, 5.5, 3.2]]), "owners": ints(0, 0)}
    content = model([node("RoiAlign", ["x", "r", "owners"], **attrs)], {"x": (1, 2, 5, 6)}, weights, opset=16 if half else 10)
    plain = {**attrs, "coordinate_transformation_mode": half or "output_half_pixel"}
    given = {"x": normal((1, 2, 5, 6), 1)}
    modern = model([node("RoiAlign", ["x", "r", "owners"], **plain)], {"x": (1, 2, 5, 6)}, weights, opset=16)
    np.testing.assert_allclose(values(content, given)[0], reference(modern, given)[0], rtol=1e-5, atol=1e-5)
    check_gradients(content, given, ["x"])


def test_no_region():
    weights = {"r": np.zeros((0, 4), np.float32), "owners": np.zeros(0, np.int64)}
    content = model(
        [node("RoiAlign", ["x", "r", "owners"]), node("Concat", ["y", "x"], "z", axis=0)], {"x": (1, 2, 1, 1)}, weights, outputs=("z",)
    )
    x = normal((1, 2, 1, 1), 1)
    np.testing.assert_array_equal(values(content, {"x": x})[0], x)


DEFORM = [  # shape of x, of w, group, offset group, geometry
    ((2, 2, 5, 4), (3, 2, 3, 2), 1, 1, {}),
    ((1, 4, 5, 6), (2, 2, 2, 2), 2, 1, {"strides": [2, 1], "pads": [1, 0, 1, 1], "dilations": [1, 2]}),
    ((1, 4, 4, 4), (4, 1, 3, 3), 4, 2, {"pads": [1, 1, 1, 1]}),
]


@pytest.mark.parametrize(("shape", "weights", "group", "parts", "geometry"), DEFORM)
@pytest.mark.parametrize("full", [False, True])
def test_moved_taps(shape, weights, group, parts, geometry, full):
    attrs = {"group": group, "offset_group": parts, **geometry}
    stride, pads, dilation = (geometry.get(k, d) for k, d in (("strides", [1, 1]), ("pads", [0] * 4), ("dilations", [1, 1])))
    out = [(shape[2 + i] + pads[i] + pads[2 + i] - dilation[i] * (weights[2 + i] - 1) - 1) // stride[i] + 1 for i in (0, 1)]
    cells = weights[2] * weights[3]
    given = {"x": normal(shape, 1), "w": normal(weights, 2), "o": 1.3 * normal((shape[0], 2 * parts * cells, *out), 3)}
    if full:
        given |= {"b": normal(weights[:1], 4), "m": normal((shape[0], parts * cells, *out), 5)}
    content = model([node("DeformConv", list(given), **attrs)], {k: a.shape for k, a in given.items()}, opset=19)
    np.testing.assert_allclose(values(content, given)[0], reference(content, given)[0], rtol=1e-4, atol=1e-4)
    check_gradients(content, given, list(given))


def test_without_offsets_it_is_a_convolution():
    weights = {"w": normal((3, 2, 3, 3), 2), "o": np.zeros((1, 18, 5, 4), np.float32)}
    content = model([node("DeformConv", ["x", "w", "o"], pads=[1] * 4)], {"x": (1, 2, 5, 4)}, weights)
    plain = model([node("Conv", ["x", "w"], pads=[1] * 4)], {"x": (1, 2, 5, 4)}, {"w": weights["w"]})
    x = {"x": normal((1, 2, 5, 4), 1)}
    np.testing.assert_allclose(values(content, x)[0], values(plain, x)[0], rtol=1e-6, atol=1e-6)


def test_pictures_with_offsets_of_their_own_do_not_meet():
    nodes = [node("Conv", ["x", "k"], "o", pads=[1] * 4), node("DeformConv", ["x", "w", "o"], pads=[1] * 4)]
    content = model(nodes, {"x": ("n", 2, 4, 5)}, {"k": normal((18, 2, 3, 3), 1), "w": normal((3, 2, 3, 3), 2)})
    graph, _ = read_onnx(content).build({"x": (1, 2, 4, 5)}, F64)
    assert is_per_picture(graph)
    x = normal((3, 2, 4, 5), 3)
    np.testing.assert_allclose(gradcam.load(content)(x), reference(content, {"x": x})[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("opset", "axis"), [(7, 1), (11, 2), (11, 0), (13, 1), (13, -1), (22, 0)])
def test_hardmax(opset, axis):
    x = np.round(normal((2, 3, 4), 1) * 2)
    content = model([node("Hardmax", ["x"], axis=axis)], {"x": x.shape}, opset=opset)
    rows = x.reshape(*x.shape[:axis], -1) if opset < 13 else x
    want = np.zeros(rows.shape)
    np.put_along_axis(want, np.expand_dims(rows.argmax(axis), axis), 1, axis)
    np.testing.assert_array_equal(values(content, {"x": x})[0], want.reshape(x.shape))


@pytest.mark.parametrize(
    ("op", "given", "attrs", "error", "text"),
    [
        ("RoiAlign", {"x": (1, 2, 4, 4), "r": (2, 5)}, {}, gradcam.ModelFormatError, "expected pictures, regions"),
        ("RoiAlign", {"x": (1, 2, 4, 4), "r": (2, 4)}, {"mode": "sum"}, gradcam.ModelFormatError, "mode avg or max"),
        ("RoiAlign", {"x": (1, 2, 4, 4), "r": (2, 4)}, {"sampling_ratio": -1}, gradcam.ModelFormatError, "'sampling_ratio'"),
        ("RoiAlign", {"x": (1, 2, 4, 4), "r": (2, 4)}, {}, gradcam.UnsupportedOpError, "'sampling_ratio' = 0"),
        ("RoiAlign", {"x": (1, 2, 4, 4), "r": (2, 4)}, {"wrong": 1}, gradcam.ModelFormatError, "index 7 is out of range"),
        ("DeformConv", {"x": (1, 2, 4, 4), "w": (1, 2, 2, 2), "o": (1, 8, 2, 3)}, {}, gradcam.ModelFormatError, "do not fit together"),
        ("DeformConv", {"x": (1, 2, 4, 4), "w": (1, 1, 2, 2), "o": (1, 8, 3, 3)}, {}, gradcam.ModelFormatError, "do not fit together"),
        ("DeformConv", {"x": (1, 2, 4), "w": (1, 2, 2), "o": (1, 4, 3)}, {}, gradcam.UnsupportedOpError, "other than 4 axes"),
        ("Det", {"x": (1, 5, 5)}, {}, gradcam.UnsupportedOpError, "of 5 rows"),
        ("Det", {"x": (2, 3)}, {}, gradcam.ModelFormatError, "square matrices"),
    ],
)
def test_what_is_refused(op, given, attrs, error, text):
    more = {"owners": ints(0, 7 * attrs.pop("wrong", 0))} if op == "RoiAlign" else {}
    if "out of range" in text:
        attrs = {"sampling_ratio": 1}
    content = model([node(op, [*given, *more], **attrs)], given, more)
    with pytest.raises(error, match=text):
        read_onnx(content).build(given, F64)
