"""Every operator record in small float64 cases: what it is fed with, which of its inputs are constants, its attributes.

Inputs keep away from kinks, poles and ties, so that central differences are meaningful.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

import gradcam.graph.ops  # noqa: F401  (fills the registry)
from gradcam.graph.builder import Builder
from gradcam.graph.ir import Value
from gradcam.graph.passes import prune
from gradcam.graph.compilation import compile_plan
from gradcam.ops.resample import Taps
from gradcam.ops.unary import UNARY

F64 = np.dtype(np.float64)


@dataclass(frozen=True)
class Case:
    """One use of an operator."""

    op: str
    arrays: tuple[np.ndarray | None, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    constants: tuple[int, ...] = ()

    def __str__(self) -> str:
        return "-".join([self.op, *("x".join(map(str, a.shape)) or "scalar" for a in self.arrays if a is not None)])


def run(g: Builder, outputs: list[Value], arrays: list[np.ndarray], workers: int = 1) -> list[np.ndarray]:
    """Compile what `outputs` need and run it for one picture."""
    g.graph.outputs = list(outputs)
    plan = compile_plan(prune(g.graph), g.real)
    return [result.reshape(value.shape) for result, value in zip(plan.run(arrays, 1, workers), outputs, strict=True)]


def build(case: Case, real: np.dtype[Any] = F64) -> tuple[Builder, list[Value], list[np.ndarray], tuple[Value, ...]]:
    """Return builder, inputs, their arrays, and the outputs of the operator."""
    g = Builder(real)
    operands: list[Value | None] = []
    inputs, arrays = [], []
    for i, array in enumerate(case.arrays):
        if array is None:
            operands.append(None)
            continue
        array = array.astype(real) if array.dtype.kind == "f" else array
        if i in case.constants:
            operands.append(g.constant(array))
        else:
            operands.append(g.input(f"input{i}", array.shape, array.dtype))
            inputs.append(operands[-1])
            arrays.append(np.ascontiguousarray(array))
    return g, inputs, arrays, g.emit_all(case.op, *operands, **case.attrs)


def spaced(shape: tuple[int, ...], seed: int = 0, scale: float = 0.37) -> np.ndarray:
    """Numbers of both signs, no two nearer than `scale`, none nearer to 0 than half of it."""
    count = int(np.prod(shape))
    return (np.random.default_rng(seed).permutation(count) - count // 2 + 0.5).reshape(shape) * scale


def normal(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def positive(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.3, 2.5, shape)


def window(kernel, stride, lo, hi, dilation, ceil_mode=False, count_include_pad=False) -> dict[str, Any]:
    geometry = {"kernel": kernel, "stride": stride, "pad_lo": lo, "pad_hi": hi, "dilation": dilation}
    return geometry | {"ceil_mode": ceil_mode, "count_include_pad": count_include_pad}


def conv(stride, lo, hi, dilation, groups) -> dict[str, Any]:
    return {"stride": stride, "pad_lo": lo, "pad_hi": hi, "dilation": dilation, "groups": groups}


CONVS = [  # shape of x, of w, bias, attributes
    ((2, 3, 9), (4, 3, 3), True, conv((2,), (1,), (0,), (1,), 1)),
    ((1, 4, 7, 6), (6, 2, 3, 2), False, conv((1, 2), (2, 0), (1, 3), (2, 1), 2)),
    ((1, 4, 5, 5), (4, 1, 3, 3), True, conv((1, 1), (1, 1), (1, 1), (1, 1), 4)),
    ((1, 3, 4, 4), (5, 3, 1, 1), True, conv((1, 1), (0, 0), (0, 0), (1, 1), 1)),
    ((1, 3, 5, 4), (2, 3, 1, 1), False, conv((2, 3), (0, 0), (0, 0), (1, 1), 1)),
    ((1, 2, 3, 4, 5), (2, 2, 2, 1, 3), True, conv((1, 2, 2), (1, 0, 2), (0, 1, 0), (1, 1, 2), 1)),
]
POOLS = [  # shape, attributes
    ((2, 2, 11), window((3,), (2,), (1,), (0,), (1,), True)),
    ((1, 2, 6, 7), window((2, 3), (2, 2), (0, 1), (1, 1), (1, 1))),
    ((1, 2, 6, 5), window((2, 2), (3, 3), (0, 0), (0, 0), (1, 1), True)),
    ((1, 1, 7, 6), window((3, 2), (1, 2), (1, 0), (2, 1), (2, 2), False, True)),
    ((1, 1, 3, 4, 5), window((2, 2, 2), (1, 2, 2), (0, 1, 0), (1, 0, 1), (1, 1, 1), True, True)),
]
SLICES = [  # shape, starts, steps, sizes
    ((3, 4, 5), (0, 1, 4), (1, 2, -1), (3, 2, 5)),
    ((6,), (5,), (-2,), (3,)),
    ((2, 3), (0, 1), (1, 1), (2, 1)),
]
TAPS = [  # shape, axis, and outputs, inputs and weights of the taps
    ((2, 4, 3), 1, ((0, 0, 1, 4, 4, 4), (3, 1, 2, 0, 1, 3), (0.5, -1.5, 2.0, 0.25, 1.0, -0.5))),
    ((3, 5), 1, ((0, 1, 1, 2), (4, 0, 4, 2), (1.0, 0.3, 0.7, -2.0))),
    ((3,), 0, ((1,), (2,), (1.5,))),
]
MATMULS = [  # a, b, trans_a, trans_b
    ((3, 4), (4, 5), False, False),
    ((4, 3), (5, 4), True, True),
    ((2, 3, 4), (2, 5, 4), False, True),
    ((2, 4, 3), (4, 5), True, False),
    ((2, 1, 3, 4), (3, 4, 2), False, False),
    ((1, 6), (6, 4), False, False),
]
REDUCTIONS = [((2, 3, 4), (1,)), ((2, 3, 4), (0, 2)), ((5,), (0,)), ((2, 1, 3, 2), (1, 2, 3))]
BROADCASTS = [((2, 3), (2, 3)), ((2, 1, 4), (3, 1)), ((3, 1), (2, 3, 4)), ((4,), (1,)), ((1, 2, 3), (1, 2, 3))]


def _unary() -> list[Case]:
    parameters = {
        "LeakyRelu": {"alpha": 0.2},
        "Clip": {"alpha": -1.0, "beta": 1.4},
        "HardSigmoid": {"alpha": 0.21, "beta": 0.47},
        "Elu": {"alpha": 1.3},
        "Affine": {"alpha": -1.7, "beta": 0.4},
        "ThresholdedRelu": {"alpha": 0.3},
    }
    cases = []
    for op in UNARY:
        x = positive((2, 7)) if op in ("Log", "Sqrt", "Reciprocal") else spaced((2, 9))
        x = positive((2, 7)) + 0.9 if op == "Acosh" else x * 0.2 if op in ("Asin", "Acos", "Atanh", "Tan") else x
        attrs = {"alpha": 0.0, "beta": 0.0} | parameters.get(op, {})
        cases += [Case(op, (x,), attrs), Case("UnaryGrad", (x, normal(x.shape, 1)), {"function": op} | attrs)]
    return cases


def _binary() -> list[Case]:
    cases = []
    for op in ("Add", "Sub", "Mul", "Div", "Pow", "PRelu", "Max", "Min"):
        for a, b in BROADCASTS:
            if op == "PRelu" and len(b) > len(a):
                continue
            left = positive(a, 1) if op == "Pow" else spaced(a, 1)
            right = positive(b, 2) if op == "Div" else normal(b, 2) + (0.1234 if op in ("Max", "Min") else 0)
            cases += [Case(op, (left, right)), Case(op, (left, right), constants=(1,))]
            if op not in ("Add", "Sub", "Mul"):  # their gradients are sums and products again
                operands = (left, right, normal(np.broadcast_shapes(a, b), 3))
                cases += [Case("BinaryGrad", operands, {"function": op, "operand": operand}) for operand in "ab"]
    return cases


def _selections() -> list[Case]:
    mask = (normal((3, 4), 2) > 0).astype(float)
    cases = []
    for a, b in BROADCASTS:
        cases += [Case(op, (spaced(a, 1), normal(b, 2) + 0.1234)) for op in ("Less", "LessOrEqual", "Equal")]
        cases.append(Case("Quantize", (normal(a, 1), positive(b, 2))))
    return [
        *cases,
        Case("Keep", (normal((2, 3, 4)), mask), constants=(1,)),
        Case("Keep", (normal((4,)), mask), constants=(1,)),
        Case("Keep", (normal((3, 1)), np.array([[1.0, 2.0]]))),
        Case("Gather", (normal((2, 3, 5)), np.array([[4, 0], [1, 1]])), {"axis": 2, "batch_axes": 1}, constants=(1,)),
        Case("Gather", (normal((2, 3)), np.array([[2, 0, 0], [1, -1, 0]])), {"axis": 1, "batch_axes": 1}),
        Case("GatherGrad", (normal((2, 3, 2)), np.array([[4, 0], [1, 1]])), {"axis": 2, "batch_axes": 1, "input_shape": (2, 3, 5)}),
    ]


def _moves() -> list[Case]:
    cases = [
        Case("Reshape", (normal((2, 3, 4)),), {"shape": (6, 4)}),
        Case("Reshape", (normal((2, 3)),), {"shape": (1, 6, 1)}),
        Case("Transpose", (normal((2, 3, 4)),), {"perm": (2, 0, 1)}),
        Case("Transpose", (normal((1, 3, 1, 4)),), {"perm": (1, 2, 0, 3)}),
        Case("Concat", (normal((2, 3)), normal((2, 1), 1), normal((2, 2), 2)), {"axis": 1}),
        Case("Concat", (normal((1, 2, 3)), normal((2, 2, 3), 1)), {"axis": 0}, constants=(1,)),
        Case("Pad", (normal((2, 3, 4)),), {"lo": (0, 1, 2), "hi": (1, 0, 3), "value": 1.5}),
        Case("Pad", (normal((3, 4)),), {"lo": (-1, 2), "hi": (1, -2), "value": 0.0}),
        Case("PadGrad", (normal((3, 3, 4)),), {"lo": (1, -1, 0), "hi": (0, 2, 1), "value": 0.0, "input_shape": (2, 2, 3)}),
        Case("Expand", (normal((3, 1)),), {"shape": (2, 3, 4)}),
        Case("Expand", (normal((1, 2)),), {"shape": (5, 2)}),
        Case("Gather", (normal((3, 4, 2)), np.array([[2, 0], [1, 2]])), {"axis": 1}, constants=(1,)),
        Case("Gather", (normal((5,)), np.array([3])), {"axis": 0}),
        Case("GatherGrad", (normal((3, 2, 2)), np.array([2, 2])), {"axis": 1, "input_shape": (3, 4, 2)}, constants=(1,)),
    ]
    for shape, axis, rows in TAPS:
        taps = Taps.of(shape[axis], rows[0][-1] + 1, *rows)
        operands = (normal(shape), taps.starts, taps.indices, taps.weights)
        cases.append(Case("Resample", operands, {"axis": axis}, constants=(1, 2, 3)))
    for shape, starts, steps, sizes in SLICES:
        attrs = {"starts": starts, "steps": steps, "sizes": sizes}
        cases += [Case("Slice", (normal(shape),), attrs), Case("SliceGrad", (normal(sizes),), attrs | {"input_shape": shape})]
    return cases


def _windows() -> list[Case]:
    cases = []
    for x, w, has_bias, attrs in CONVS:
        bias = normal((w[0],), 2) if has_bias else None
        cases.append(Case("Conv", (normal(x), normal(w, 1), bias), attrs, constants=(1, 2)))
        cases.append(Case("Conv", (normal(x), normal(w, 1), bias), attrs))
        g, _, _, (y,) = build(cases[-1])
        for constants in ((1,), ()):
            cases.append(Case("ConvInputGrad", (normal(y.shape), normal(w, 1)), attrs | {"input_shape": x}, constants))
        cases.append(Case("ConvWeightGrad", (normal(y.shape), normal(x, 1)), attrs | {"weight_shape": w}))
    for shape, attrs in POOLS:
        cases += [Case("MaxPool", (spaced(shape),), attrs), Case("AveragePool", (normal(shape),), attrs)]
        g, _, _, (y,) = build(cases[-1])
        cases.append(Case("AveragePoolGrad", (normal(y.shape),), attrs | {"input_shape": shape}))
        cases.append(Case("MaxPoolGrad", (spaced(shape), normal(y.shape, 1)), attrs))
        cases.append(Case("MaxPoolPick", (spaced(shape), normal(shape, 1)), attrs))
    return cases


def _sums() -> list[Case]:
    cases = []
    for a, b, trans_a, trans_b in MATMULS:
        attrs = {"trans_a": trans_a, "trans_b": trans_b}
        cases += [Case("MatMul", (normal(a), normal(b, 1)), attrs, constants=constants) for constants in ((), (1,), (0,))]
    for shape, axes in REDUCTIONS:
        cases += [Case(op, (spaced(shape),), {"axes": axes}) for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin")]
        x, attrs = np.round(normal(shape)), {"axes": axes, "reduction": "ReduceMax"}  # with ties
        y = x.max(axes)
        cases.append(Case("ReduceExtremeGrad", (x, y, normal(y.shape, 1)), attrs, constants=(0, 1)))
    for shape, axis in (((2, 3, 4), 1), ((5,), 0), ((3, 1, 2), 2), ((2, 1), 1)):
        cases += [Case(op, (normal(shape),), {"axis": axis}) for op in ("Softmax", "LogSoftmax")]
        cases += [Case("SoftmaxGrad", (normal(shape), normal(shape, 1)), {"axis": axis, "log": log}) for log in (False, True)]
    parameters = (normal((3,), 1), normal((3,), 2), normal((3,), 3), positive((3,), 4))
    cases.append(Case("BatchNorm", (normal((2, 3, 4)), *parameters), {"epsilon": 1e-3}, constants=(1, 2, 3, 4)))
    cases.append(Case("BatchNorm", (normal((2, 3, 4)), *parameters), {"epsilon": 1e-3}, constants=(3, 4)))
    cases.append(Case("BatchNormGrad", (normal((2, 3, 4)), parameters[0], parameters[3]), {"epsilon": 1e-3}, constants=(1, 2)))
    cases += [Case("BatchNormTrain", (normal(shape), *parameters[:2]), {"epsilon": 1e-3}) for shape in ((4, 3), (2, 3, 5), (2, 3, 2, 3))]
    row = (normal((3, 2), 1), normal((3, 2), 2))
    for shape, axis, *parameters in (((2, 4, 6), 2, None, None), ((2, 3, 2), 1, *row), ((1, 5, 6), 2, normal((6,), 1), None)):
        attrs = {"axis": axis, "epsilon": 1e-2}
        cases.append(Case("LayerNorm", (normal(shape), *parameters), attrs, constants=(1, 2)))
        cases.append(Case("LayerNormGrad", (normal(shape), parameters[0], normal(shape, 3)), attrs, constants=(1,)))
    return cases


def _computed_positions() -> list[Case]:
    cases = []
    for batch, outer, axis, count, taps in ((2, 3, 5, 4, 2), (1, 1, 3, 1, 3), (3, 2, 1, 2, 1)):
        index = np.random.default_rng(5).integers(-1, axis + 1, (batch, count, taps))  # -1 and `axis` are no taps
        x, w, dy = normal((batch, outer, axis), 1), normal(index.shape, 2), normal((batch, outer, count), 3)
        cases += [Case("Sample", (x, index, w)), Case("SampleGrad", (dy, index, w), {"size": axis})]
        cases.append(Case("SampleWeightGrad", (x, index, dy)))
    return cases


STRAIGHT_THROUGH = ("Quantize",)
"""Operators whose gradient is not that of their values."""

CASES = [*_unary(), *_binary(), *_selections(), *_moves(), *_windows(), *_sums(), *_computed_positions()]
