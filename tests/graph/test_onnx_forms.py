"""ONNX operators in small models against ONNX's own evaluator, and shape arithmetic folded away."""

from __future__ import annotations

import numpy as np
import pytest
from graph.composed_cases import COMPOSED
from graph.onnx_cases import CASES, RUN, build, by_definition, expected, f32, folded, ints, node
from graph.position_cases import POSITION_CASES
from model.networks import model_bytes, normal
from onnx import TensorProto, helper, numpy_helper

import gradcam
from gradcam.graph.onnx_form import ONNX_FORMS


@pytest.mark.parametrize(("case", "opset"), RUN, ids=lambda value: str(value))
def test_operator_is_the_reference(case, opset):
    content, x = build(case, opset)
    found = gradcam.load(content)(x)
    found = list(found.values()) if isinstance(found, dict) else [found]
    defined = by_definition(case, opset, x)
    for got, want in zip(found, expected(content, x) if defined is None else [defined], strict=True):
        assert got.shape == (want.shape or (1,))
        np.testing.assert_allclose(got, want.reshape(got.shape), rtol=case.bound, atol=case.bound)


# --- shape arithmetic: operators that are computed while the graph is built

CHAINS = {
    "Shape, Gather, Unsqueeze, Concat": [
        node("Shape", ["x"], "s"),
        node("Gather", ["s", "one"], "n", axis=0),
        node("Unsqueeze", ["n", "axis0"], "first"),
        node("Concat", ["first", "minus"], "shape", axis=0),
    ],
    "Shape with start and end": [node("Shape", ["x"], "s", start=-2, end=3), node("Concat", ["minus", "s"], "shape", axis=0)],
    "Shape, Slice": [
        node("Shape", ["x"], "s"),
        node("Slice", ["s", "axis0", "ends"], "part"),
        node("Concat", ["part", "minus"], "shape", axis=0),
    ],
    "Shape, Cast, Div, Mul, Floor, Cast": [
        node("Shape", ["x"], "s"),
        node("Cast", ["s"], "real", to=TensorProto.FLOAT),
        node("Mul", ["real", "half"], "h"),
        node("Ceil", ["h"], "c"),
        node("Div", ["real", "c"], "d"),
        node("Mul", ["c", "d"], "back"),
        node("Floor", ["back"], "f"),
        node("Cast", ["f"], "shape", to=TensorProto.INT64),
    ],
    "Size, Div, Mod": [
        node("Size", ["x"], "n"),
        node("Div", ["n", "five"], "q"),  # 4
        node("Mod", ["n", "five"], "r"),  # 4
        node("Sub", ["q", "one"], "three"),
        node("Add", ["three", "one"], "four"),
        node("Unsqueeze", ["four", "axis0"], "a"),
        node("Concat", ["a", "minus"], "shape", axis=0),
    ],
    "ConstantOfShape": [
        helper.make_node("ConstantOfShape", ["two"], ["c"], value=numpy_helper.from_array(ints(-1))),
        node("Where", ["mask", "c", "sizes"], "shape"),
    ],
    "Range, Gather of the shape": [
        node("Range", ["zero", "three_scalar", "one"], "r"),
        node("Shape", ["x"], "s"),
        node("Gather", ["s", "r"], "all", axis=0),
        node("ReduceSum", ["all", "axis0"], "sum", keepdims=1),
        node("Concat", ["minus"], "shape", axis=0),
    ],
    "Equal, Where": [
        node("Shape", ["x"], "s"),
        node("Equal", ["s", "expected"], "same"),
        node("Where", ["same", "s", "wrong"], "shape"),
    ],
    "comparisons and logic": [
        node("Shape", ["x"], "s"),
        node("Greater", ["s", "two_scalar"], "gt"),
        node("LessOrEqual", ["s", "two_scalar"], "le"),
        node("Or", ["gt", "le"], "always"),
        node("Not", ["always"], "never"),
        node("And", ["always", "never"], "false"),
        node("Less", ["s", "zero"], "negative"),
        node("GreaterOrEqual", ["s", "zero"], "positive"),
        node("And", ["positive", "always"], "true"),
        node("Or", ["negative", "false"], "false2"),
        node("Where", ["false2", "wrong", "s"], "t"),
        node("Where", ["true", "t", "wrong"], "shape"),
    ],
    "NonZero, Unique": [
        node("Shape", ["x"], "s"),
        node("NonZero", ["sparse"], "where"),  # (1, 2): 1 and 2
        node("Reshape", ["where", "minus"], "flat"),
        node("Gather", ["s", "flat"], "last", axis=0),
        node("Unique", ["repeated"], "ones"),  # 1
        node("Concat", ["ones", "last"], "shape", axis=0),
    ],
    "Unique in the order of the first": [
        helper.make_node("Unique", ["six"], ["u", "first", "inverse", "counts"], sorted=0),
        node("Gather", ["u", "inverse"], "again", axis=0),  # 6, 1, 6, 4
        node("Gather", ["again", "first"], "shape", axis=0),
    ],
    "Xor, BitShift and bits": [
        node("Shape", ["x"], "s"),
        node("Equal", ["s", "expected"], "same"),
        node("Xor", ["same", "same"], "never"),
        node("BitShift", ["two_u", "one_u"], "four", direction="LEFT"),
        node("BitShift", ["four", "one_u"], "two_again", direction="RIGHT"),
        node("BitwiseOr", ["four", "two_again"], "six_u"),
        node("BitwiseAnd", ["six_u", "four"], "four_again"),
        node("BitwiseXor", ["six_u", "two_again"], "four_once_more"),
        node("BitwiseNot", ["minus"], "zeros"),
        node("Add", ["four_again", "four_once_more"], "eight"),
        node("Cast", ["eight"], "n", to=TensorProto.INT64),
        node("Add", ["n", "zeros"], "m"),
        node("Where", ["never", "wrong", "s"], "t"),
        node("Concat", ["m", "minus"], "shape", axis=0),
    ],
    "ScatterND into a mask": [
        node("Shape", ["x"], "s"),
        node("ScatterND", ["wrong", "rows", "sizes46"], "t"),
        node("ScatterElements", ["t", "axis0", "one_row"], "shape"),
    ],
    "Squeeze, Sqrt, Max": [
        node("Shape", ["x"], "s"),
        node("ReduceMax", ["s"], "m", keepdims=1),
        node("Max", ["m", "axis0"], "m2"),
        node("Concat", ["m2", "minus"], "shape", axis=0),
    ],
    "Expand, Neg, Abs": [
        node("Neg", ["minus"], "p"),
        node("Abs", ["p"], "q"),
        node("Expand", ["q", "two"], "ones"),
        node("Concat", ["ones", "minus"], "shape", axis=0),
    ],
    "Split of a shape": [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Split", ["s", "ones3"], ["a", "b", "c"]),
        node("Mul", ["b", "c"], "bc"),
        node("Concat", ["a", "bc"], "shape", axis=0),
    ],
    "Transpose and Reshape of a constant": [
        node("Transpose", ["table"], "t"),
        node("Gather", ["t", "zero"], "row", axis=0),
        node("Reshape", ["row", "minus"], "shape"),
    ],
    "Identity, Cast between integers, CastLike": [
        node("Shape", ["x"], "s"),
        node("Cast", ["s"], "small", to=TensorProto.INT32),
        node("Identity", ["small"], "same"),
        node("CastLike", ["same", "minus"], "shape"),
    ],
}
SHARED = {
    "one": np.array(1),
    "sparse": np.array([0.0, 3.0, -2.0], np.float32),
    "repeated": ints(1, 1),
    "six": ints(6, 1, 6, 4),
    "two_u": np.array([2], np.uint8),
    "one_u": np.array([1], np.uint8),
    "rows": ints(1, 2).reshape(2, 1),
    "sizes46": ints(4, 6),
    "one_row": ints(1),
    "zero": np.array(0),
    "five": np.array(5),
    "two_scalar": np.array(2),
    "three_scalar": np.array(3),
    "axis0": ints(0),
    "minus": ints(-1),
    "ends": ints(2),
    "two": ints(2),
    "half": f32(0.5),
    "mask": np.array([True, False]),
    "sizes": ints(7, 6),
    "expected": ints(1, 4, 6),
    "wrong": ints(9, 9, 9),
    "ones3": ints(1, 1, 1),
    "table": ints(4, 0, 6, 0).reshape(2, 2),
}


@pytest.mark.parametrize("name", CHAINS)
def test_shape_arithmetic(name):
    used = {i for n in CHAINS[name] for i in n.input}
    assert folded(CHAINS[name], {k: v for k, v in SHARED.items() if k in used}).size == 24


@pytest.mark.parametrize(("shape", "rows"), [((3, 2, 0), [[1]]), ((3, 0, 4), [[2], [0]]), ((0, 3, 4), []), ((3, 4, 2), [])])
def test_nothing_is_written_where_there_are_no_updates(shape, rows):
    """As exporters leave it of a slice that is empty at the size exported for."""
    index = np.array(rows, np.int64).reshape(-1, 1)
    weights = {"table": np.zeros(shape, np.float32), "rows": index, "updates": np.ones((len(rows), *shape[1:]), np.float32)}
    nodes = [node("ScatterND", ["table", "rows", "updates"], "t"), node("ReduceSum", ["t", "axes"], "s"), node("Add", ["x", "s"], "y")]
    content = model_bytes(nodes, {"x": [1, 2, 2]}, {"y": None}, weights | {"axes": ints(0, 1, 2)}, opset=18, check=False)
    x = normal((1, 2, 2)).astype(np.float32)
    np.testing.assert_array_equal(gradcam.load(content)(x), x)


def test_every_form_is_tested():
    tested = {case.op for case in (*CASES, *COMPOSED, *POSITION_CASES)} | {n.op_type for chain in CHAINS.values() for n in chain}
    tested |= {"Constant", "EyeLike", "OneHot"}
    tested |= {"GridSample", "AffineGrid", "MaxUnpool", "Mod"}  # tests/graph/test_computed_positions.py
    tested |= {"Attention", "RotaryEmbedding"}  # tests/graph/test_attention.py
    tested |= {"RoiAlign", "DeformConv", "Hardmax"}  # tests/graph/test_regions.py
    tested |= {"DFT", "STFT", "HannWindow", "HammingWindow", "BlackmanWindow"}  # tests/graph/test_spectra.py
    tested |= {f"Sequence{name}" for name in ("At", "Construct", "Empty", "Erase", "Insert", "Length")}  # tests/graph/test_sequences.py
    tested |= {"SplitToSequence", "ConcatFromSequence"}
    # Operators of ours are tested where they are built (tests/test_graph_builder.py).
    assert {op for op in ONNX_FORMS if "::" not in op} - tested == set()
