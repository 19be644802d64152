"""Operators that move or resample positions: values against ONNX's evaluator, gradients against central differences."""

from __future__ import annotations

import time

import numpy as np
import pytest
from graph.cases import F64, run
from graph.onnx_cases import Case, build, expected, f32, folded, ints, node
from graph.position_cases import POSITION_CASES, by_definition
from graph.test_autodiff import central_differences
from model.networks import model_bytes, normal

import gradcam
from gradcam.graph.autodiff import gradients
from gradcam.graph.builder import Builder
from gradcam.readers.onnx import read_onnx

RUN = [(case, opset) for case in POSITION_CASES for opset in case.opsets]


@pytest.mark.parametrize(("case", "opset"), RUN, ids=str)
def test_operator_is_the_reference(case, opset):
    content, x = build(case, opset)
    got = gradcam.load(content)(x)
    want = by_definition(case, opset, x)
    want = expected(content, x)[0] if want is None else want
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=case.bound, atol=case.bound)


@pytest.mark.parametrize("case", POSITION_CASES, ids=str)
def test_gradient_is_the_central_difference(case):
    content, x = build(case, case.opsets[-1])
    x = x.astype(np.float64)
    graph, _ = read_onnx(content).build({"x": x.shape}, F64)
    g, (value,), (y,) = Builder(F64, graph), graph.inputs, graph.outputs
    seed = normal(y.shape, 3, np.float64)
    (dx,) = gradients(g, y, [value], g.input("dy", y.shape))
    (found,) = run(g, [dx], [x, seed])
    forward = Builder(F64, graph)
    wanted = central_differences(lambda moved: np.vdot(seed, run(forward, [y], moved)[0]), [x], 0)
    assert found.shape == x.shape
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 * max(1.0, np.abs(wanted).max(initial=0)))


def test_a_window_of_zeros_has_the_gradient_zero():
    for op, attrs in (("LpPool", {"kernel_shape": [2], "strides": [2]}), ("GlobalLpPool", {}), ("GlobalLpPool", {"p": 3})):
        graph, _ = read_onnx(build(Case(op, (1, 1, 4), (), attrs), 18)[0]).build({"x": (1, 1, 4)}, F64)
        g = Builder(F64, graph)
        (dx,) = gradients(g, g.sum(g.graph.outputs[0], (0, 1, 2)), g.graph.inputs)
        np.testing.assert_array_equal(run(g, [dx], [np.zeros((1, 1, 4))])[0], 0.0)


def test_a_nan_stays_where_it_is():
    """Taps of weight 0 are not read."""
    x = normal((1, 1, 6))
    x[0, 0, 5] = np.nan
    y = gradcam.load(build(Case("Resize", x.shape, (None, None, ints(1, 1, 12)), {"mode": "linear"}), 13)[0])(x)
    np.testing.assert_array_equal(np.isnan(y[0, 0]), np.arange(12) > 8)
    y = gradcam.load(build(Case("Trilu", (1, 2, 2), (), {"upper": 0}), 14)[0])(f32([[[1, np.inf], [2, 3]]]))
    np.testing.assert_array_equal(y, f32([[[1, 0], [2, 3]]]))


def test_rows_that_a_factor_hits_exactly_are_copies():
    x = normal((1, 2, 9, 6))
    attrs = {"mode": "linear", "coordinate_transformation_mode": "asymmetric"}
    y = gradcam.load(build(Case("Resize", x.shape, (None, f32([1, 1, 1 / 3, 2])), attrs), 13)[0])(x)
    np.testing.assert_array_equal(y[..., ::2], x[:, :, ::3])


# --- several pictures: what changes the axis of the pictures is not run picture by picture

TOGETHER = [
    Case("CumSum", (3, 4), (np.array(0),), {}, (14,)),
    Case("Trilu", (3, 4), (), {}, (14,)),
    Case("Compress", (3, 4), (np.array([True]),), {"axis": 0}, (11,)),
    Case("Tile", (3, 4), (ints(2, 1),), {}, (13,)),
    Case("Resize", (3, 2, 4), (None, None, ints(5, 2, 4)), {"mode": "linear"}, (13,)),
    Case("Pad", (3, 2, 4), (ints(1, 0, 0, 2, 0, 0),), {"mode": "reflect"}, (13,)),
]


@pytest.mark.parametrize("case", TOGETHER, ids=str)
def test_pictures_that_meet(case):
    content, x = build(case, case.opsets[0])
    np.testing.assert_allclose(gradcam.load(content)(x), expected(content, x)[0], rtol=1e-6)


def test_pictures_that_do_not_meet_run_in_any_number():
    nodes = [
        node("Resize", ["x", "", "scales"], "a", mode="linear"),
        node("Pad", ["a", "pads"], "b", mode="reflect"),
        node("ConvTranspose", ["b", "w"], "c", strides=[2, 2]),
        node("DepthToSpace", ["c"], "d", blocksize=2),
        node("CumSum", ["d", "axis"], "y"),
    ]
    weights = {"scales": f32([1, 1, 2, 2]), "pads": ints(0, 0, 1, 1, 0, 0, 1, 1), "w": normal((2, 4, 2, 2)), "axis": np.array(2)}
    model = gradcam.load(model_bytes(nodes, {"x": [1, 2, 3, 4]}, {"y": None}, weights, check=False))
    x = normal((5, 2, 3, 4))
    np.testing.assert_allclose(model(x), np.concatenate([model(x[i : i + 1]) for i in range(5)]), rtol=1e-6)


# --- constants and malformed nodes


SIX, ZERO = ints(6), ints(0)
CONSTANTS = {
    "Resize": (
        [node("Resize", ["a", "", "", "b"], "c"), node("Concat", ["c", "d"], "shape", axis=0)],
        {"a": ints(2), "b": ints(2), "d": SIX},
    ),
    "Trilu": (
        [node("Trilu", ["a"], "b"), node("ReduceSum", ["b", "c"], "shape", keepdims=0)],
        {"a": ints(4, 1, 9, 5).reshape(2, 2), "c": ZERO},
    ),
    "OneHot": ([node("OneHot", ["a", "b", "c"], "shape")], {"a": np.array(-1), "b": np.array(2), "c": ints(2, 12)}),
    "EyeLike": (
        [node("EyeLike", ["a"], "b"), node("ReduceSum", ["b", "c"], "d", keepdims=0), node("Concat", ["d", "e"], "shape", axis=0)],
        {"a": ints(0, 0, 0, 0).reshape(2, 2), "c": ZERO, "e": ints(24)},
    ),
    "CumSum": ([node("CumSum", ["a", "b"], "shape", reverse=1)], {"a": ints(2, 4), "b": np.array(0)}),
    "Pad by repetition": (
        [node("Pad", ["a", "b"], "c", mode="edge"), node("Concat", ["c", "d"], "shape", axis=0)],
        {"a": ints(2), "b": ints(1, 0), "d": SIX},
    ),
    "Tile": ([node("Tile", ["a", "b"], "c"), node("Concat", ["c", "d"], "shape", axis=0)], {"a": ints(2), "b": ints(2), "d": SIX}),
    "Compress": ([node("Compress", ["a", "b"], "shape")], {"a": ints(9, 4, 6), "b": np.array([False, True, True])}),
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_are_computed_at_once(name):
    assert folded(*CONSTANTS[name]).size == 24


def test_a_constant_that_is_padded_and_cropped():
    """ONNX's evaluator does not crop."""
    nodes = [node("Pad", ["a", "b", "c"], "shape"), node("Reshape", ["x", "shape"], "y")]
    weights = {"a": ints(9, 4), "b": ints(-1, 1), "c": np.array(6)}
    assert gradcam.load(model_bytes(nodes, {"x": [1, 4, 6]}, {"y": None}, weights, check=False))(normal((1, 4, 6))).shape == (4, 6)


BAD = [
    ("Resize", (None,), {}),
    ("Resize", (None, f32([1, 1, 2]), ints(1, 3, 8)), {}),
    ("Resize", (None, f32([]), ints()), {}),
    ("Resize", (None, f32([1, 2])), {}),
    *(("Resize", (None, f32([1, 1, value])), {}) for value in (0, -1, np.inf, 1e30, 1e-3)),
    *(("Resize", (None, None, ints(1, 3, value)), {"mode": "linear"}) for value in (0, -4, 2**31, 2**40, 2**62)),
    ("Resize", (None, None, ints(1, 3, 2**25)), {}),
    ("Resize", (None, None, f32([1, 3, 4])), {}),
    ("Resize", (None, f32([1, 1, 2])), {"mode": "area"}),
    ("Resize", (None, f32([1, 1, 2])), {"nearest_mode": "up"}),
    ("Resize", (None, f32([1, 1, 2])), {"coordinate_transformation_mode": "none"}),
    ("Resize", (None, f32([1, 1, 2])), {"antialias": 1}),
    ("Resize", (None, f32([1, 1, 2])), {"mode": "cubic", "cubic_coeff_a": float("inf")}),
    ("Resize", (None, f32([2])), {"axes": [3]}),
    ("Resize", (None, f32([2, 2])), {"axes": [2, -1]}),
    ("Resize", (None, None, ints(4)), {"axes": [2], "keep_aspect_ratio_policy": "maybe"}),
    ("Resize", (None, f32([1, 1, 2])), {"coordinate_transformation_mode": "tf_crop_and_resize"}),
    ("Resize", (f32([0, 0, np.inf, 1, 1, 1]), f32([1, 1, 2])), {"coordinate_transformation_mode": "tf_crop_and_resize"}),
    ("Pad", (ints(0, 0, 0, 0, 0, 1),), {"mode": "mirror"}),
    ("Pad", (ints(0, 0, -4, 0, 0, 1),), {"mode": "edge"}),
    ("Pad", (ints(0, 0, 0, 0, 0, 2**40),), {"mode": "reflect"}),
    ("ConvTranspose", (np.ones((2, 3, 3), np.float32),), {}),
    ("ConvTranspose", (np.ones((3, 3), np.float32),), {}),
    ("ConvTranspose", (np.ones((3, 0, 3), np.float32),), {}),
    ("ConvTranspose", (np.ones((3, 3, 3), np.float32),), {"group": 2}),
    ("ConvTranspose", (np.ones((3, 3, 3), np.float32),), {"group": 0}),
    ("ConvTranspose", (np.ones((3, 3, 3), np.float32), np.ones(2, np.float32)), {}),
    ("ConvTranspose", (np.ones((3, 3, 3), np.float32),), {"pads": [4, 4]}),
    ("ConvTranspose", (np.ones((3, 3, 3), np.float32),), {"pads": [1]}),
    ("ConvTranspose", (np.ones((3, 3, 3), np.float32),), {"strides": [0]}),
    ("ConvTranspose", (np.ones((3, 3, 3), np.float32),), {"strides": [2**45]}),
    ("ConvTranspose", (np.ones((3, 3, 3), np.float32),), {"output_padding": [-1]}),
    ("ConvTranspose", (np.ones((3, 3, 3), np.float32),), {"output_padding": [2**45]}),
    ("ConvTranspose", (np.ones((3, 3, 3), np.float32),), {"output_shape": [0]}),
    ("ConvTranspose", (np.ones((3, 3, 3), np.float32),), {"auto_pad": "SAME"}),
    ("ConvTranspose", (np.ones((3, 3, 3), np.float32),), {"kernel_shape": [2]}),
    ("DepthToSpace", (), {"blocksize": 2}),
    ("SpaceToDepth", (), {"blocksize": 2}),
    ("LpPool", (), {"kernel_shape": [2], "p": 0}),
    ("LpPool", (), {"kernel_shape": [9]}),
    ("GlobalLpPool", (), {"p": -1}),
    ("Tile", (ints(1, 2),), {}),
    ("Tile", (ints(1, 2, -1),), {}),
    ("Tile", (ints(1, 2, 2**45),), {}),
    ("Tile", (ints(2**45, 1, 1),), {}),
    ("CenterCropPad", (ints(1, 2),), {}),
    ("CenterCropPad", (ints(-1),), {"axes": [1]}),
    ("CenterCropPad", (ints(2, 2),), {"axes": [1, 1]}),
    ("CenterCropPad", (ints(2**45),), {"axes": [1]}),
    ("ReverseSequence", (ints(5),), {"batch_axis": 0, "time_axis": 1}),
    ("ReverseSequence", (ints(1, 1),), {"batch_axis": 0, "time_axis": 1}),
    ("ReverseSequence", (ints(1),), {"batch_axis": 0, "time_axis": 2}),
    ("Compress", (np.array([False] * 4 + [True]),), {"axis": 1}),
    ("Compress", (np.array([True]),), {"axis": 5}),
    ("CumSum", (np.array(3),), {}),
    ("Trilu", (ints(1, 2),), {}),
    ("Col2Im", (ints(3, 4), ints(2, 2)), {}),
    ("Col2Im", (ints(2**33, 2**33), ints(1, 3)), {}),
    ("EyeLike", (), {}),
    ("OneHot", (ints(0), ints(1, 2)), {}),
    ("OneHot", (ints(2), ints(1, 2, 3)), {}),
]


@pytest.mark.parametrize(("op", "constants", "attrs"), BAD, ids=[f"{i}-{case[0]}" for i, case in enumerate(BAD)])
def test_malformed_nodes_are_named(op, constants, attrs):
    names = {f"c{i}": c for i, c in enumerate(constants) if c is not None}
    inputs = ["index" if op == "OneHot" else "x", *(f"c{i}" if c is not None else "" for i, c in enumerate(constants))]
    nodes = [node(op, inputs, "y", **attrs), node("Identity", ["x"], "more")]
    nodes[0].name = "n"
    weights = names | ({"index": ints(0)} if op == "OneHot" else {})
    content = model_bytes(nodes, {"x": [1, 3, 4]}, {"y": None, "more": None}, weights, opset=19, check=False)
    started = time.perf_counter()
    with pytest.raises(gradcam.ModelFormatError, match=rf"node 'n' \({op}, opset 19\): "):
        gradcam.load(content)
    assert time.perf_counter() - started < 5


def test_input_sizes_that_must_be_constant():
    content = model_bytes([node("Resize", ["x", "", "", "s"], "y")], {"x": [1, 3, 4], "s": [3]}, {"y": None}, check=False)
    with pytest.raises(gradcam.UnsupportedOpError, match=r"input 3 \('s'\) must be a constant"):
        gradcam.load(content)


def test_tables_count_against_the_memory():
    content = build(Case("Resize", (1, 3, 4), (None, None, ints(1, 3, 2**20)), {"mode": "linear"}), 13)[0]
    with pytest.raises(gradcam.MemoryBudgetError, match="max_bytes"):
        gradcam.load(content, max_bytes=2**22)
