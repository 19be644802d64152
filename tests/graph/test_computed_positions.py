"""Positions that are computed at run time: grids, unpooling, scattering, and arithmetic of integers."""

from __future__ import annotations

import numpy as np
import pytest
from gradcheck import central_differences
from graph.cases import F64, run
from graph.onnx_cases import f32, ints
from model.networks import model_bytes, normal, reference
from onnx import TensorProto, helper

import gradcam
from gradcam.graph.autodiff import gradients
from gradcam.graph.builder import Builder
from gradcam.graph.passes import is_per_picture
from gradcam.readers.onnx import read_onnx


def node(op, inputs, outputs="y", **attrs):
    return helper.make_node(op, inputs, outputs if isinstance(outputs, list) else [outputs], **attrs)


def model(nodes, shapes, weights=None, opset=20, outputs=("y",)):
    inputs = {name: list(shape) for name, shape in shapes.items()}
    return model_bytes(nodes, inputs, dict.fromkeys(outputs), weights or {}, opset=opset, check=False)


def graph_of(content, arrays):
    graph, _ = read_onnx(content).build({k: a.shape for k, a in arrays.items()}, F64)
    return Builder(F64, graph)


def values(content, arrays):
    """Results in double precision."""
    g = graph_of(content, arrays)
    return run(g, list(g.graph.outputs), [np.ascontiguousarray(a, np.float64) for a in arrays.values()])


def check_gradients(content, arrays, wanted):
    """Compare the gradients of the inputs named in `wanted` with central differences."""
    g = graph_of(content, arrays)
    (y,) = g.graph.outputs
    sources = {v.name: v for v in g.graph.inputs}
    seed = normal(y.shape, 9, np.float64)
    exact = {k: np.ascontiguousarray(a, np.float64) for k, a in arrays.items()}
    found = run(g, gradients(g, y, [sources[k] for k in wanted], g.input("dy", y.shape)), [*exact.values(), seed])
    for name, gradient in zip(wanted, found, strict=True):
        difference = central_differences(lambda v, name=name: values(content, exact | {name: v})[0], exact[name], seed)
        np.testing.assert_allclose(gradient, difference, rtol=0, atol=2e-6 * max(1.0, np.abs(difference).max()))


# Grids ---------------------------------------------------------------------------------------------------------------

PADDINGS = ("zeros", "border", "reflection")
SPACES = [((1, 2, 7), (1, 5, 1)), ((2, 3, 4, 5), (2, 3, 6, 2)), ((1, 2, 3, 2, 4), (1, 2, 3, 2, 3)), ((1, 1, 1, 3), (1, 4, 2, 2))]


def grid_for(shape, seed=3):
    """Coordinates on both sides of the borders, none near a place where the interpolation has a kink."""
    return np.random.default_rng(seed).uniform(-2.3, 2.3, shape)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("aligned", [0, 1])
@pytest.mark.parametrize(("shape", "grid_shape"), SPACES)
def test_grid_sample(mode, padding, aligned, shape, grid_shape):
    grid = grid_for(grid_shape)
    attrs = {"mode": mode, "padding_mode": padding, "align_corners": aligned}
    arrays = {"x": normal(shape, 1, np.float32), "grid": f32(grid)}
    content = model([node("GridSample", ["x", "grid"], **attrs)], {k: a.shape for k, a in arrays.items()})
    if (mode, padding) != ("cubic", "border") and not (aligned and 1 in shape[2:]):  # see test_cubic_border; the evaluator divides by 0
        np.testing.assert_allclose(values(content, arrays)[0], reference(content, arrays)[0], rtol=1e-5, atol=2e-5)
        np.testing.assert_allclose(gradcam.load(content)(arrays), reference(content, arrays)[0], rtol=1e-5, atol=2e-5)
    check_gradients(content, arrays, ["x"] if mode == "nearest" else ["x", "grid"])


def test_cubic_border():
    """Taps alone are clipped, as PyTorch and onnxruntime do it; ONNX's evaluator moves coordinates beyond the border too."""
    x, a = np.array([1.0, 2.0, 4.0]), -0.75
    near, far = (lambda d: ((a + 2) * d - (a + 3)) * d * d + 1), (lambda d: ((a * d - 5 * a) * d + 8 * a) * d - 4 * a)
    content = model([node("GridSample", ["x", "g"], mode="cubic", padding_mode="border")], {"x": (1, 1, 3), "g": (1, 1, 1)})
    for at in (-0.9, -0.6, 0.3, 2.7):  # in elements
        t, low = at - np.floor(at), int(np.floor(at))
        weights = [far(1 + t), near(t), near(1 - t), far(2 - t)]
        want = sum(w * x[min(max(low + k - 1, 0), 2)] for k, w in enumerate(weights))
        grid = np.array([[[(2 * at + 1) / 3 - 1]]])
        np.testing.assert_allclose(values(content, {"x": x.reshape(1, 1, 3), "g": grid})[0], [[[want]]], rtol=1e-12)


@pytest.mark.parametrize(("opset", "mode"), [(16, "bilinear"), (16, "bicubic"), (16, "nearest"), (22, "linear")])
def test_names_of_modes(opset, mode):
    arrays = {"x": normal((1, 2, 4, 5), 1, np.float32), "grid": f32(grid_for((1, 3, 3, 2)))}
    content = model([node("GridSample", ["x", "grid"], mode=mode)], {k: a.shape for k, a in arrays.items()}, opset=opset)
    modern = model([node("GridSample", ["x", "grid"], mode=mode.removeprefix("bi"))], {k: a.shape for k, a in arrays.items()})
    np.testing.assert_array_equal(gradcam.load(content)(arrays), gradcam.load(modern)(arrays))


@pytest.mark.parametrize("aligned", [0, 1])
@pytest.mark.parametrize("space", [(3, 4), (2, 1), (3, 2, 4)])
def test_a_spatial_transformer(aligned, space):
    """AffineGrid, then GridSample: the gradient reaches the map."""
    rank = len(space)
    arrays = {"x": normal((1, 2, *space), 1), "theta": normal((1, rank, rank + 1), 2)}
    nodes = [node("AffineGrid", ["theta", "size"], "g", align_corners=aligned), node("GridSample", ["x", "g"], align_corners=aligned)]
    content = model(nodes, {k: a.shape for k, a in arrays.items()}, {"size": ints(1, 2, *space)})
    check_gradients(content, arrays, ["x", "theta"])
    if not (aligned and 1 in space):
        np.testing.assert_allclose(values(content, arrays)[0], reference(content, {k: f32(a) for k, a in arrays.items()})[0], atol=1e-5)


def test_pictures_at_grids_of_their_own_do_not_meet():
    arrays = {"x": normal((3, 2, 4, 4), 1, np.float32), "g": f32(grid_for((3, 2, 2, 2)))}
    content = model([node("GridSample", ["x", "g"])], {"x": ("n", 2, 4, 4), "g": ("n", 2, 2, 2)})
    graph, _ = read_onnx(content).build({"x": (1, 2, 4, 4), "g": (1, 2, 2, 2)}, F64)
    assert is_per_picture(graph)
    np.testing.assert_allclose(gradcam.load(content)(arrays), reference(content, arrays)[0], rtol=1e-5, atol=1e-6)


def test_what_is_not_read_can_be_nan():
    x = normal((1, 1, 3, 3))
    x[0, 0, 2, 2] = np.nan
    content = model([node("GridSample", ["x", "g"], align_corners=1)], {"x": x.shape, "g": (1, 1, 3, 2)})
    y = values(content, {"x": x, "g": np.array([[[[-0.5, -0.5], [3.0, 3.0], [np.nan, 0]]]])})[0].reshape(-1)
    assert np.isfinite(y[:2]).all()
    assert y[1] == 0
    assert np.isnan(y[2])


@pytest.mark.parametrize(
    ("op", "shapes", "attrs", "text"),
    [
        ("GridSample", {"x": (1, 2, 4, 4), "g": (1, 2, 2, 3)}, {}, "expected pictures"),
        ("GridSample", {"x": (1, 2, 4, 4), "g": (2, 2, 2, 2)}, {}, "expected pictures"),
        ("GridSample", {"x": (1, 2), "g": (1, 0)}, {}, "expected pictures"),
        ("GridSample", {"x": (1, 2, 4, 4), "g": (1, 2, 2, 2)}, {"mode": "area"}, "unknown mode 'area'"),
        ("GridSample", {"x": (1, 2, 4, 4), "g": (1, 2, 2, 2)}, {"padding_mode": "wrap"}, "padding_mode 'wrap'"),
        ("MaxUnpool", {"x": (1, 2, 4), "i": (1, 2, 4)}, {}, "kernel size"),
    ],
)
def test_malformed(op, shapes, attrs, text):
    content = model([node(op, list(shapes), **attrs)], shapes)
    with pytest.raises(gradcam.ModelFormatError, match=text):
        read_onnx(content).build(shapes, F64)


# Unpooling -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 2, 6), (1, 2, 6, 5), (2, 3, 4, 6), (1, 1, 4, 4, 3)])
@pytest.mark.parametrize("wanted", [False, True])
def test_unpooling_undoes_pooling(shape, wanted):
    rank = len(shape) - 2
    attrs = {"kernel_shape": [2] * rank, "strides": [2] * rank}
    sizes = ints(*shape[:2], *(n + n % 2 + 1 for n in shape[2:]))
    nodes = [node("MaxPool", ["x"], ["p", "i"], **attrs), node("MaxUnpool", ["p", "i", *["sizes"] * wanted], **attrs)]
    odd = tuple(n - n % 2 for n in shape[2:])
    content = model(nodes, {"x": (*shape[:2], *odd)}, {"sizes": sizes} if wanted else {})
    x = normal((*shape[:2], *odd), 4, np.float32)
    np.testing.assert_array_equal(gradcam.load(content)(x), reference(content, {"x": x})[0])
    check_gradients(content, {"x": x}, ["x"])


def test_a_batch_is_unpooled_picture_by_picture():
    attrs = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [node("MaxPool", ["x"], ["p", "i"], **attrs), node("MaxUnpool", ["p", "i"], **attrs)]
    content = model(nodes, {"x": ("n", 2, 4, 6)})
    x = normal((5, 2, 4, 6), 4, np.float32)
    graph, _ = read_onnx(content).build({"x": (1, 2, 4, 6)}, F64)
    assert is_per_picture(graph)
    np.testing.assert_array_equal(gradcam.load(content)(x), reference(content, {"x": x})[0])


@pytest.mark.parametrize("order", [0, 1])
def test_positions_of_maxima_are_an_output(order):
    attrs = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1], "storage_order": order}
    content = model([node("MaxPool", ["x"], ["y", "i"], **attrs)], {"x": (1, 2, 7, 6)}, outputs=("y", "i"))
    x = normal((1, 2, 7, 6), 2, np.float32)
    for got, want in zip(gradcam.load(content)(x).values(), reference(content, {"x": x}), strict=True):
        np.testing.assert_array_equal(got, want)


# Computed indices ----------------------------------------------------------------------------------------------------


def cast(name, result):
    return node("Cast", [name], result, to=TensorProto.INT64)


def gathered(x, index, axis):
    """GatherElements; ONNX's evaluator wants indices of the shape of x."""
    y = np.empty(index.shape, x.dtype)
    for at in np.ndindex(*index.shape):
        y[at] = x[(*at[:axis], index[at], *at[axis + 1 :])]
    return y


PLACES = [  # operator, shape of x, indices, shape of the updates, attributes
    ("GatherElements", (1, 3, 4), np.array([[[2, 0], [-1, 1]]]), None, {"axis": 1}),
    ("GatherElements", (3, 4), np.array([[2, 0, 1, -3]]), None, {"axis": 0}),
    ("GatherElements", (2, 2, 2), np.array([[[1], [0]], [[-1], [0]]]), None, {"axis": 2}),
    ("GatherND", (1, 3, 4), np.array([[[0, 2, -1], [0, 0, 1]]]), None, {}),
    ("GatherND", (2, 3, 4), np.array([[[2], [-1]], [[0], [0]]]), None, {"batch_dims": 1}),
    ("GatherND", (2, 3, 4), np.array([[1, 2], [0, -3]]), None, {}),
    ("GatherND", (2, 2, 3, 2), np.array([[[[1, 1]], [[0, 1]]], [[[2, 0]], [[1, 1]]]]), None, {"batch_dims": 2}),
    ("ScatterElements", (1, 3, 4), np.array([[[2, 0, 1], [0, 0, -1]]]), (1, 2, 3), {"axis": 1}),
    ("ScatterElements", (3, 2), np.array([[1, 1], [1, -3]]), (2, 2), {"axis": 0}),
    ("ScatterElements", (1, 5), np.array([[1, 1, -1]]), (1, 3), {"axis": 1, "reduction": "add"}),
    ("ScatterND", (1, 3, 2), np.array([[[0, 2], [0, -3], [0, 2]]]), (1, 3, 2), {}),
    ("ScatterND", (4, 2), np.array([[3], [1], [3]]), (3, 2), {"reduction": "add"}),
    ("ScatterND", (2, 3), np.array([[1, 2], [0, 0], [1, 2], [0, -1]]), (4,), {}),
]


@pytest.mark.parametrize(("op", "shape", "index", "updates", "attrs"), PLACES)
def test_computed_indices(op, shape, index, updates, attrs):
    arrays = {"x": normal(shape, 1, np.float32), "real": f32(index + 0.25 * np.sign(index))}
    if updates is not None:
        arrays["u"] = normal(updates, 2, np.float32)
    content = model(
        [cast("real", "i"), node(op, ["x", "i", *["u"] * (updates is not None)], **attrs)], {k: a.shape for k, a in arrays.items()}
    )
    want = gathered(arrays["x"], index, attrs["axis"]) if op == "GatherElements" else reference(content, arrays)[0]
    np.testing.assert_allclose(values(content, arrays)[0], want, rtol=1e-6)
    check_gradients(content, arrays, [k for k in arrays if k != "real"])


def test_computed_rows_that_do_not_exist():
    arrays = {"x": normal((1, 3)), "real": f32([[0, 3, -4, 2]])}
    content = model([cast("real", "i"), node("GatherElements", ["x", "i"], axis=1)], {k: a.shape for k, a in arrays.items()})
    assert np.isnan(values(content, arrays)[0]).tolist() == [[False, True, True, False]]
    arrays |= {"u": np.ones((1, 4))}
    content = model([cast("real", "i"), node("ScatterElements", ["x", "i", "u"], axis=1)], {k: a.shape for k, a in arrays.items()})
    assert (values(content, arrays)[0] == 1).tolist() == [[True, False, True]]


@pytest.mark.parametrize("reduction", ["mul", "max", "min"])
def test_other_reductions_want_constant_indices(reduction):
    shapes = {"x": (1, 3), "real": (1, 2), "u": (1, 2)}
    content = model([cast("real", "i"), node("ScatterElements", ["x", "i", "u"], axis=1, reduction=reduction)], shapes)
    with pytest.raises(gradcam.UnsupportedOpError, match=f"reduction '{reduction}' at computed indices"):
        gradcam.load(content)


def test_every_picture_is_scattered_at_places_of_its_own():
    content = model(
        [node("ArgMax", ["x"], "i", axis=1), node("ScatterElements", ["x", "i", "u"], axis=1)],
        {"x": ("n", 4), "u": ("n", 1)},
    )
    graph, _ = read_onnx(content).build({"x": (1, 4), "u": (1, 1)}, F64)
    assert is_per_picture(graph)
    x, u = normal((3, 4), 1, np.float32), normal((3, 1), 2, np.float32)
    np.testing.assert_array_equal(gradcam.load(content)({"x": x, "u": u}), reference(content, {"x": x, "u": u})[0])


# Integers ------------------------------------------------------------------------------------------------------------

A, B = np.array([[7.0, -7, 5, 0, -1, 9]]), np.array([[3.0, 3, -2, 4, 5, 9]])
INTEGERS = {
    **{op: [node(op, ["i", "j"], "k")] for op in ("Add", "Sub", "Mul", "Div", "Mod", "Max", "Min", "Sum")},
    "fmod": [node("Mod", ["i", "j"], "k", fmod=1)],
    **{op: [node(op, ["i"], "k")] for op in ("Abs", "Neg", "Sign")},
    **{op: [node(op, ["i", "axes"], "k")] for op in ("ReduceSum", "ReduceMax", "ReduceMin")},
    "with a constant": [node("Mul", ["i", "three"], "m"), node("Sub", ["four", "m"], "k")],
    "Clip": [node("Clip", ["i", "three", "four"], "k")],
    "CumSum": [node("CumSum", ["i", "one"], "k")],
    "Where": [node("Greater", ["i", "j"], "c"), node("Where", ["c", "i", "three"], "k")],
    "Pad": [node("Pad", ["i", "pads", "three"], "k")],
    "Scatter": [node("ScatterElements", ["i", "places", "j"], "k", axis=1)],
    "TopK": [node("TopK", ["i", "count"], ["k", "p"], axis=1)],
    "ArgMax": [node("ArgMax", ["i"], "k", axis=1)],
}
CONSTANTS = {
    "axes": ints(1),
    "three": ints(3).reshape(()),
    "four": ints(4).reshape(()),
    "one": ints(1).reshape(()),
    "pads": ints(0, 1, 0, 2),
    "places": ints(5, 4, 0, 1, 2, 2).reshape(1, 6),
    "count": ints(3),
}


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_arithmetic_of_computed_integers(name, real):
    nodes = [cast("a", "i"), cast("b", "j"), *INTEGERS[name]]
    content = model(nodes, {"a": A.shape, "b": B.shape}, CONSTANTS, outputs=("k",))
    loaded = gradcam.load(content)
    given = {"a": A.astype(real), "b": B.astype(real)}
    found = loaded({spec.name: given[spec.name] for spec in loaded.inputs})
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, reference(content, {"a": f32(A), "b": f32(B)})[0])


def test_computed_integers_become_real_numbers_and_indices():
    nodes = [
        node("ArgMax", ["x"], "i", axis=1),
        node("Add", ["i", "one"], "n"),
        node("Mod", ["n", "size"], "m"),
        node("Gather", ["w", "m"], "y"),
    ]
    content = model(nodes, {"x": (1, 4)}, {"one": ints(1), "size": ints(4), "w": f32([10, 20, 30, 40])})
    x = f32([[0, 1, 2, 9]])
    assert gradcam.load(content)(x).tolist() == reference(content, {"x": x})[0].tolist() == [[10.0]]


def test_gradient_of_a_remainder():
    arrays = {"a": normal((2, 5), 1) * 4, "b": normal((5,), 2) + 0.1}
    for fmod in (0, 1):
        content = model([node("Mod", ["a", "b"], fmod=fmod)], {k: a.shape for k, a in arrays.items()})
        wanted = (np.fmod if fmod else np.mod)(arrays["a"], arrays["b"])
        np.testing.assert_allclose(values(content, arrays)[0], wanted, rtol=0, atol=1e-12)
        check_gradients(content, arrays, ["a", "b"])
