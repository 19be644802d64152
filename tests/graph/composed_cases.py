"""ONNX operators that are composed of others: cases, and what they compute by definition in float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from graph.onnx_cases import NEWEST, Case, f32, ints
from model.networks import normal
from reference import normalise, recurrent, reduce
from reference import unary as elementwise

SINCE14, SINCE17 = (14, NEWEST), (17, NEWEST)


def weights(op: str, features: int, hidden: int, directions: int = 1, bias: bool = True) -> tuple[Any, ...]:
    gates = recurrent.GATES[op]
    shapes = ((directions, gates * hidden, features), (directions, gates * hidden, hidden), (directions, 2 * gates * hidden))
    arrays = [normal(shape, 31 + i) * np.float32(0.6) for i, shape in enumerate(shapes)]
    return tuple(arrays[: 2 + bias])


def states(op: str, *shape: int) -> tuple[Any, ...]:
    return tuple(normal(shape, 41 + i) for i in range(2 if op == "LSTM" else 1))


def _recurrent() -> list[Case]:
    cases = []
    for op in ("RNN", "GRU", "LSTM"):
        outputs = 3 if op == "LSTM" else 2
        seq, both, first = (4, 2, 3), {"direction": "bidirectional", "hidden_size": 5}, {"layout": 1, "hidden_size": 5}
        one, two = weights(op, 3, 5), weights(op, 3, 5, 2)
        lens = np.array([2, 4], np.int32)
        every = (8, 14, NEWEST)
        cases += [
            Case(op, seq, one, {"hidden_size": 5}, every, outputs),
            Case(op, seq, one[:2], {"hidden_size": 5}, every),
            Case(op, seq, one, {"direction": "reverse", "hidden_size": 5}, every, outputs),
            Case(op, seq, two, both, every, outputs),
            Case(op, (1, 1, 3), two, both, every, outputs),
            Case(op, seq, (*two, None, *states(op, 2, 2, 5)), both, every, outputs),
            Case(op, (2, 4, 3), one, first, SINCE14, outputs),
            Case(op, (2, 4, 3), (*two, None, *states(op, 2, 2, 5)), both | first, SINCE14, outputs),
            Case(op, seq, (*one, lens), {"hidden_size": 5}, every, outputs),
            Case(op, seq, (*one, lens), {"direction": "reverse"}, every, outputs),
            Case(op, (2, 4, 3), (*two, lens, *states(op, 2, 2, 5)), both | first, SINCE14, outputs),
            Case(op, seq, (*one, np.array([0, 3], np.int32), *states(op, 1, 2, 5)), {}, every, outputs),
            Case(op, seq, (*one, np.array([3, 3], np.int32)), {"direction": "reverse"}, every, outputs),
            Case(op, seq, (*one, np.array([0, 0], np.int32)), {}, every, outputs),
            Case(op, seq, one, {"clip": 0.3}, every, outputs),
            Case(op, (7, 1, 3), weights(op, 3, 1), {"hidden_size": 1}, every, outputs),
        ]
    for name in recurrent.FUNCTIONS:
        cases.append(Case("RNN", (3, 2, 3), weights("RNN", 3, 4), {"activations": [name]}, SINCE14, 2))
    scaled = {"activation_alpha": [0.3, 0.7], "activation_beta": [0.9]}
    gru, lstm = weights("GRU", 3, 4), weights("LSTM", 3, 4)
    peepholes = (*lstm, None, None, None, normal((1, 12), 51))
    return [
        *cases,
        Case("RNN", (3, 2, 3), weights("RNN", 3, 4, 2), {"activations": ["elu", "ScaledTanh"], "direction": "bidirectional"} | scaled),
        Case("GRU", (3, 2, 3), gru, {"activations": ["hardsigmoid", "LeakyRelu"]} | scaled, outputs=2),
        Case("GRU", (3, 2, 3), gru, {"activations": ["Sigmoid", "Affine"], "activation_alpha": [0.4], "activation_beta": [0.1]}, outputs=2),
        Case("LSTM", (3, 2, 3), lstm, {"activations": ["HardSigmoid", "Softsign", "LeakyRelu"]} | scaled, outputs=3),
        *(Case("GRU", (4, 2, 3), gru[:n], {"linear_before_reset": 1}, outputs=2) for n in (2, 3)),
        Case("GRU", (4, 2, 3), weights("GRU", 3, 4, 2), {"linear_before_reset": 1, "direction": "bidirectional"}, outputs=2),
        Case("LSTM", (4, 2, 3), peepholes, {}, outputs=3),
        Case("LSTM", (4, 2, 3), peepholes, {"input_forget": 1}, outputs=3),
        Case("LSTM", (4, 2, 3), peepholes, {"clip": 0.4}, outputs=3),
    ]


PICTURE = (2, 6, 3, 4)
CHANNELS = (normal((6,), 2), normal((6,), 3))
NORMS = [
    Case("LayerNormalization", (2, 3, 4), (normal((4,), 1), normal((4,), 2)), {}, SINCE17, 3),
    Case("LayerNormalization", (2, 3, 4), (normal((4,), 1),), {"epsilon": 0.1}, SINCE17),
    Case("LayerNormalization", (2, 3, 4), (normal((3, 4), 1), normal((4,), 2)), {"axis": 1}, SINCE17, 3),
    Case("LayerNormalization", (2, 3, 4), (normal((1,), 1), normal((3, 1), 2)), {"axis": -2}, SINCE17, 2),
    Case("LayerNormalization", (2, 3, 4), (normal((2, 3, 4), 1), normal((2, 3, 4), 2)), {"axis": 0}, SINCE17, 3),
    Case("RMSNormalization", (2, 3, 4), (normal((4,), 1),), {}, (23, NEWEST)),
    Case("RMSNormalization", (2, 3, 4), (normal((3, 4), 1),), {"axis": 1, "epsilon": 0.1}, (23, NEWEST)),
    *(Case("InstanceNormalization", x, CHANNELS, a) for x, a in ((PICTURE, {}), ((1, 6, 5), {"epsilon": 0.1}), ((1, 6, 2, 3, 2), {}))),
    *(
        Case("GroupNormalization", x, tuple(c[:n] for c in CHANNELS), {"num_groups": groups} | more, opsets)
        for x, more in ((PICTURE, {}), ((1, 6, 5), {"epsilon": 0.1}))
        for groups in (1, 2, 6)
        for n, opsets in ((groups, (18, 20)), (6, (21, NEWEST)))
    ),
    *(Case("LpNormalization", (2, 3, 4), (), a) for a in ({}, {"axis": 1}, {"axis": 0, "p": 1}, {"p": 1}, {"axis": -2, "p": 2})),
    Case("MeanVarianceNormalization", PICTURE, (), {}, (9, 13, NEWEST)),
    Case("MeanVarianceNormalization", PICTURE, (), {"axes": [2, -1]}, (13, NEWEST)),
    *(Case("LRN", PICTURE, (), {"size": size}) for size in (1, 2, 3, 5, 6, 40)),
    Case("LRN", PICTURE, (), {"size": 3, "alpha": 0.7, "beta": 0.4, "bias": 1.5}),
    Case("LRN", (2, 4, 5), (), {"size": 4, "alpha": 2.0}),
    Case("LRN", (1, 4, 2, 3, 2), (), {"size": 3, "alpha": 2.0}),
    Case("LRN", (2, 5), (), {"size": 3, "alpha": 2.0}),
]


def einsum(equation: str, *shapes: tuple[int, ...]) -> Case:
    constants = tuple(normal(shape, 61 + i) for i, shape in enumerate(shapes[1:]))
    return Case("Einsum", shapes[0], constants, {"equation": equation}, (12, NEWEST))


EINSUMS = [
    einsum("bii->bi", (2, 3, 3)),
    einsum("bii->b", (2, 3, 3)),
    einsum("...ii->...i", (2, 1, 3, 3)),
    einsum("biji,jj->bj", (1, 3, 2, 3), (2, 2)),
    einsum("biii,i->bi", (1, 3, 3, 3), (3,)),
    einsum("ii", (3, 3)),
    einsum("ij->ji", (2, 3)),
    einsum("i j -> j i", (2, 3)),
    einsum("ijk->ik", (2, 3, 4)),
    einsum("ijk", (2, 3, 4)),
    einsum("kji", (2, 3, 4)),
    einsum("ijk->k", (2, 3, 4)),
    einsum("...j->j...", (2, 3, 4)),
    einsum("...", (2, 3)),
    einsum("ij,jk->ik", (2, 3), (3, 4)),
    einsum("ij,jk", (2, 3), (3, 4)),
    einsum("ij,kj->ki", (2, 3), (4, 3)),
    einsum("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
    einsum("bhid,bhjd->bhij", (2, 3, 4, 5), (2, 3, 6, 5)),
    einsum("bihd,bjhd->hbij", (2, 4, 3, 5), (2, 6, 3, 5)),
    einsum("nchw,oc->nohw", (2, 3, 4, 2), (5, 3)),
    einsum("nc,nc->n", (2, 3), (2, 3)),
    einsum("ai,ai->", (2, 3), (2, 3)),
    einsum("ai,i->a", (2, 3), (3,)),
    einsum("ai,j->aij", (2, 3), (4,)),
    einsum("bij,bij->bij", (2, 3, 4), (2, 3, 4)),
    einsum("bij,j->bij", (2, 3, 4), (4,)),
    einsum("bij,k->bk", (2, 3, 4), (2,)),
    einsum("...ij,...jk->...ik", (2, 3, 4), (5, 1, 4, 2)),
    einsum("...ij,jk->...ik", (2, 6, 3, 4), (4, 2)),
    einsum("...ij,...ij", (2, 3, 4), (3, 4)),
    einsum("bij,bjk->bik", (2, 3, 4), (1, 4, 5)),
    einsum("bi,i->b", (2, 3), (1,)),
    einsum("bi,ij,bj->b", (2, 3), (3, 4), (2, 4)),
    einsum("bi,ij,jk,k->bk", (2, 3), (3, 4), (4, 5), (5,)),
    einsum("bi,,ij->bj", (2, 3), (), (3, 4)),
    einsum("abcdefghi,i->abcdefgh", (1, 2, 1, 2, 1, 2, 1, 2, 3), (3,)),
    einsum("bIi,bIj->bij", (2, 3, 4), (2, 3, 2)),
]
NAMES = ("Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh")
SMALL = {"Asin": 0.2, "Acos": 0.2, "Atanh": 0.2}
ACTIVATIONS = [
    *(Case(op) for op in ("Selu", "Softsign")),
    Case("Selu", attrs={"alpha": 1.2, "gamma": 0.7}),
    *(Case("Celu", attrs=attrs, opsets=(12, NEWEST)) for attrs in ({}, {"alpha": 0.4}, {"alpha": 3.0})),
    *(Case("ThresholdedRelu", attrs=attrs, opsets=(10, NEWEST)) for attrs in ({}, {"alpha": 0.4})),
    Case("Mish", opsets=(18, NEWEST)),
    *(Case("Swish", attrs=attrs, opsets=(24, NEWEST)) for attrs in ({}, {"alpha": 0.7})),
    *(Case(op, opsets=(11, 13, NEWEST)) for op in ("Sign", "Floor", "Ceil", "Round")),
    *(Case(op, opsets=(9, 22, NEWEST)) for op in NAMES),
]
SINCE18 = (18, NEWEST)
REDUCTIONS = [
    *(
        Case(op, (2, 3, 4), (), attrs, (11, 17))
        for op in reduce.COMPOSED
        for attrs in ({}, {"axes": [1]}, {"axes": [0, -1], "keepdims": 0})
    ),
    *(Case(op, (2, 3, 4), (axes,), {}, SINCE18) for op in reduce.COMPOSED for axes in (ints(1), ints(-1, 1), ints(), None)),
    *(Case(op, (1, 5), (ints(1),), {"keepdims": 0}, SINCE18) for op in reduce.COMPOSED),
    *(Case(op, (2, 3), (axes,), {"noop_with_empty_axes": 1}, SINCE18) for op in reduce.COMPOSED for axes in (ints(), None)),
]
COMPOSED = [*NORMS, *REDUCTIONS, *_recurrent(), *EINSUMS, *ACTIVATIONS]
COMPOSED_RUN = [(case, opset) for case in COMPOSED for opset in case.opsets]


def fitting(case: Case, x: np.ndarray) -> np.ndarray:
    """Bring an input into the domain of the function."""
    if case.op == "ReduceLogSum":
        return np.abs(x) + 0.1
    return np.abs(x) + 1.2 if case.op == "Acosh" else x * SMALL.get(case.op, 1)


def _as_stored(value: Any) -> Any:
    """ONNX keeps real attributes in float32."""
    if isinstance(value, list):
        return [_as_stored(v) for v in value]
    return float(np.float32(value)) if isinstance(value, float) else value


def by_definition(case: Case, opset: int, x: np.ndarray) -> list[np.ndarray]:
    case = replace(case, attrs={name: _as_stored(value) for name, value in case.attrs.items()})
    constants = [None if c is None else np.asarray(c, np.float64) for c in case.constants]
    if case.op in recurrent.GATES:
        return recurrent.run(case.op, x, *constants, **case.attrs)[: case.outputs]
    if case.op == "Einsum":
        return [np.einsum(case.attrs["equation"], x, *constants)]
    if case.op in reduce.COMPOSED:
        return [_reduction(case, x)]
    norms = {
        "LayerNormalization": normalise.layer_norm,
        "RMSNormalization": normalise.rms_norm,
        "InstanceNormalization": normalise.instance_norm,
        "LpNormalization": normalise.lp_norm,
        "MeanVarianceNormalization": normalise.mean_variance,
        "LRN": normalise.lrn,
    }
    if case.op == "GroupNormalization":
        return normalise.group_norm(x, *constants, opset=opset, **case.attrs)
    if case.op in norms:
        return norms[case.op](x, *constants, **case.attrs)[: case.outputs]
    return [_elementwise(case, x)]


def _reduction(case: Case, x: np.ndarray) -> np.ndarray:
    given = case.attrs.get("axes", case.constants[0] if case.constants else None)
    axes = range(x.ndim) if given is None or not len(given) else [int(a) % x.ndim for a in given]
    if case.attrs.get("noop_with_empty_axes"):
        axes = ()
    return reduce.composed(case.op, x, sorted(axes), bool(case.attrs.get("keepdims", 1)))


def _elementwise(case: Case, x: np.ndarray) -> np.ndarray:
    alpha = case.attrs.get("alpha")
    if case.op == "Selu":
        alpha, gamma = (case.attrs.get(n, float(np.float32(v))) for n, v in (("alpha", 1.6732632423543772), ("gamma", 1.0507009873554805)))
        return gamma * np.where(x < 0, alpha * np.expm1(x), x)
    if case.op == "Celu":
        return np.where(x < 0, (alpha or 1) * np.expm1(x / (alpha or 1)), x)
    if case.op == "ThresholdedRelu":
        return np.where(x > (alpha or 1), x, 0)
    if case.op == "Swish":
        return x / (1 + np.exp(-(alpha or 1) * x))
    return elementwise.unary(case.op, x)


__all__ = ["COMPOSED", "COMPOSED_RUN", "by_definition", "f32", "fitting", "ints"]
