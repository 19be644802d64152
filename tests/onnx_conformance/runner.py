"""Runs the test cases of the `onnx` package: values against its expected ones, gradients against central differences.

Floating-point inputs of a case are inputs of the graph; where that cannot be run, only the first one stays an input, and then
none. Integers, booleans and everything else become initializers: constants. Gradients are those of a weighted sum of all
floating-point outputs, computed in float64. Models of opsets before 7 are converted to opset 7 by the package's own converter.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper, version_converter

from gradcam.errors import GradcamError
from gradcam.graph.autodiff import gradients
from gradcam.graph.bodies import INLINED
from gradcam.graph.builder import Builder
from gradcam.graph.ir import Value
from gradcam.graph.onnx_form import ONNX_FORMS
from gradcam.graph.passes import prune
from gradcam.graph.compilation import compile_plan
from gradcam.graph.source import Source
from gradcam.readers.onnx import read_onnx

PASSING = Path(__file__).with_name("passing.txt")
"""What has to pass, written by tools/write_operators_page.py: `kind/case: forward[, gradient]`."""
CLAIMED = {*(op for op in ONNX_FORMS if "::" not in op), *INLINED}
OLDEST = 7
STEP = 1e-6
BOUND = 1e-6
"""Largest error in units of the largest element of the gradient (at least 1)."""
EVERY_ELEMENT = 40
"""Inputs of up to so many elements are checked element by element, larger ones along as many random directions as DIRECTIONS."""
DIRECTIONS = 12
LARGEST = 1e6

TYPES = {
    **dict.fromkeys(("int4", "uint4", "int2", "uint2", "float4e2m1"), "numbers of 2 or 4 bits"),
    **dict.fromkeys(("float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz", "float8e8m0"), "real numbers of 8 bits"),
}
LOSE = {np.dtype(np.float16): 2e-3, "bfloat16": 2e-2}


@dataclass(frozen=True)
class Case:
    """A model of the package with one set of inputs and expected outputs."""

    name: str
    kind: str
    operator: str
    """What a case of kind "node" tests; empty for models of several operators."""
    model: onnx.ModelProto
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    rtol: float
    atol: float

    @property
    def operators(self) -> set[str]:
        return {node.op_type for node in self.model.graph.node}


@dataclass(frozen=True)
class Outcome:
    """`forward` and `gradient` are "passed" or the reason why not; `gradient` is empty where there is nothing to differentiate.

    `forward_inputs` and `gradient_inputs` say which floating-point inputs were inputs of the graph: "all", "first" or "none".
    """

    forward: str
    gradient: str = ""
    forward_inputs: str = "all"
    gradient_inputs: str = "all"

    @property
    def passed(self) -> str:
        """What a later run must reach again: nothing, "forward" or "forward, gradient"."""
        if self.forward != "passed":
            return ""
        return "forward, gradient" if self.gradient == "passed" else "forward"


class Mismatch(Exception):
    """A number is not what it should be."""


# The package's cases -------------------------------------------------------------------------------------------------


@cache
def cases() -> dict[str, Case]:
    """All cases whose operators gradcam claims, by kind and name."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # the package computes its data with overflows and divisions by zero
        found = [*_node_cases(), *_file_cases("pytorch-converted"), *_file_cases("pytorch-operator")]
    claimed = [_in_tensors(case) for case in found if case.operators <= CLAIMED]
    counts = Counter((case.kind, case.name) for case in claimed)
    named = {}
    for case in reversed(claimed):
        counts[case.kind, case.name] -= 1
        number = counts[case.kind, case.name]
        named[f"{case.kind}/{case.name}" + (f"#{number + 1}" if number else "")] = case
    return dict(reversed(named.items()))


def _node_cases() -> Iterator[Case]:
    from onnx.backend.test.case.node import collect_testcases

    collected = collect_testcases(None)
    tested = {case.name: case.model.graph.node[0].op_type for case in collected if len(case.model.graph.node) == 1}
    for case in collected:
        base = re.sub(r"_expanded(_ver\d+|_function.*)?$", "", case.name)
        operator = tested.get(base, tested.get(case.name, ""))
        for inputs, outputs in case.data_sets:
            arrays = [tuple(map(_decoded, values)) for values in (inputs, outputs)]
            yield Case(case.name, "node", operator, _modern(case.model), arrays[0], arrays[1], case.rtol, case.atol)


def _file_cases(kind: str) -> Iterator[Case]:
    from onnx.backend.test.loader import load_model_tests

    for case in load_model_tests(kind=kind):
        folder = Path(case.model_dir)
        model = _modern(onnx.load(folder / "model.onnx"))
        for data in sorted(folder.glob("test_data_set_*")):
            arrays = [[_read(data / f"{what}_{i}.pb") for i in range(len(list(data.glob(f"{what}_*.pb"))))] for what in ("input", "output")]
            yield Case(case.name, kind, "", model, tuple(arrays[0]), tuple(arrays[1]), case.rtol, case.atol)


def _modern(model: onnx.ModelProto) -> onnx.ModelProto:
    opset = next((i.version for i in model.opset_import if i.domain == ""), OLDEST)
    claimed = all(node.op_type in CLAIMED for node in model.graph.node)
    return version_converter.convert_version(model, OLDEST) if claimed and opset < OLDEST else model


def _decoded(value: Any) -> Any:
    """A tensor as an array; 4-bit numbers and the like come as tensors."""
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def _read(path: Path) -> Any:
    tensor = onnx.TensorProto()
    tensor.ParseFromString(path.read_bytes())
    return numpy_helper.to_array(tensor)


def _in_tensors(case: Case) -> Case:
    """The case with its sequences taken apart: made of tensors before the model, and picked out of it one by one after it."""
    if not any(isinstance(value, list) for value in (*case.inputs, *case.outputs)):
        return case
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    graph = model.graph
    before, after, given, wanted = [], [], [], []
    infos, results = list(graph.input), list(graph.output)
    del graph.input[:], graph.output[:]
    for info, value in zip(infos, case.inputs, strict=True):
        parts = {f"{info.name}.{i}": np.asarray(part) for i, part in enumerate(value)} if isinstance(value, list) else {}
        graph.input.extend([_info(name, part) for name, part in parts.items()] if isinstance(value, list) else [info])
        given += list(parts.values()) if isinstance(value, list) else [value]
        if isinstance(value, list):
            before.append(onnx.helper.make_node("SequenceConstruct" if parts else "SequenceEmpty", list(parts), [info.name]))
    for info, value in zip(results, case.outputs, strict=True):
        for i, part in enumerate(value if isinstance(value, list) else ()):
            name, position = f"{info.name}.{i}", f"{info.name}.{i}.position"
            graph.initializer.append(numpy_helper.from_array(np.array(i), position))
            after.append(onnx.helper.make_node("SequenceAt", [info.name, position], [name]))
            graph.output.append(_info(name, np.asarray(part)))
        graph.output.extend([] if isinstance(value, list) else [info])
        wanted += value if isinstance(value, list) else [value]
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    return replace(case, model=model, inputs=tuple(given), outputs=tuple(wanted))


def _info(name: str, array: np.ndarray) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


# One case ------------------------------------------------------------------------------------------------------------


def run(case: Case) -> Outcome:
    """Compare values and gradients."""
    if any(not isinstance(a, (np.ndarray, np.generic)) or np.asarray(a).dtype.kind in "OU" for a in (*case.inputs, *case.outputs)):
        return Outcome("sequences, optional values and text")
    inputs = dict(zip((v.name for v in _fed(case)), case.inputs, strict=False))
    reals = [name for name, a in inputs.items() if _is_real(a)]
    feeds = {"all": reals, "first": reals[:1], "none": []}
    first_reason = ""
    for fed, free in feeds.items():
        try:
            _check_values(case, inputs, free)
        except (GradcamError, Mismatch) as error:
            first_reason = first_reason or _reason(error)
            if isinstance(error, Mismatch):
                break
            continue
        return Outcome("passed", forward_inputs=fed, **_gradient(case, inputs, {k: v for k, v in feeds.items() if len(v) <= len(free)}))
    return Outcome(first_reason)


def _is_real(array: Any) -> bool:
    dtype = np.asarray(array).dtype
    return dtype.kind == "f" and dtype.itemsize > 1 or dtype.name == "bfloat16"


def _fed(case: Case) -> list[onnx.ValueInfoProto]:
    given = {t.name for t in case.model.graph.initializer}
    return [v for v in case.model.graph.input if v.name not in given]


def _source(case: Case, inputs: dict[str, Any], free: list[str]) -> Source:
    """The case's model, all inputs but the `free` ones made initializers."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    for value in list(model.graph.input):
        if value.name in inputs and value.name not in free:
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(inputs[value.name]), value.name))
            model.graph.input.remove(value)
    return read_onnx(model.SerializeToString(), max_bytes=None)


class _Forward:
    """The graph of a case in one type of real numbers."""

    def __init__(self, case: Case, inputs: dict[str, Any], free: list[str], real: Any) -> None:
        source = _source(case, inputs, free)
        self.real = np.dtype(real)
        graph, _ = source.build({spec.name: np.shape(inputs[spec.name]) for spec in source.inputs}, self.real)
        self.builder = Builder(self.real, graph)
        self.arrays = [np.ascontiguousarray(inputs[v.name], self.real) for v in graph.inputs]
        self.names = [v.name for v in graph.inputs]
        self.run = self.compiled(graph.outputs)

    def compiled(self, outputs: list[Value]) -> Any:
        """Return a function from arrays to the results in the shapes of the graph."""
        self.builder.graph.outputs = list(outputs)
        plan = compile_plan(prune(self.builder.graph), self.real)

        def run(arrays: list[np.ndarray]) -> list[np.ndarray]:
            return [a.reshape(v.shape) for a, v in zip(plan.run([np.ascontiguousarray(a) for a in arrays], 1, 1), outputs, strict=True)]

        return run


def _check_values(case: Case, inputs: dict[str, Any], free: list[str]) -> None:
    wide = any(np.asarray(a).dtype == np.float64 for a in (*case.inputs, *case.outputs))
    forward = _Forward(case, inputs, free, np.float64 if wide else np.float32)
    results = forward.run(forward.arrays)
    small = max((_precision(a) for a in (*case.inputs, *case.outputs)), default=0.0)
    for got, expected in zip(results, case.outputs, strict=False):
        want = np.asarray(expected)
        if got.shape != want.shape:
            raise Mismatch(f"values: shape {got.shape}, expected {want.shape}")
        if want.dtype.kind in "iub" and got.dtype.kind == "f" and not (got == np.rint(got)).all():
            raise Mismatch("values: fractions where integers are expected")
        exact = want.dtype.kind in "iub"
        close = np.isclose(
            got.astype(np.float64),
            want.astype(np.float64),
            rtol=0 if exact else max(case.rtol, small),
            atol=0 if exact else max(case.atol, small),
            equal_nan=True,
        )
        if not close.all():
            raise Mismatch(f"values: {np.count_nonzero(~close)} of {close.size} differ")


def _precision(array: Any) -> float:
    """Rounding error of the package's own data."""
    dtype = np.asarray(array).dtype
    return LOSE.get("bfloat16" if dtype.name == "bfloat16" else dtype, 0.0)


def _gradient(case: Case, inputs: dict[str, Any], feeds: dict[str, list[str]]) -> dict[str, str]:
    """Compare with central differences; an empty text if there is nothing to compare."""
    real_outputs = [i for i, a in enumerate(case.outputs) if _is_real(a)]
    reason = ""
    for fed, free in feeds.items():
        if free and real_outputs:
            try:
                forward = _Forward(case, inputs, free, np.float64)
                return {"gradient": _compare(forward, [forward.builder.graph.outputs[i] for i in real_outputs]), "gradient_inputs": fed}
            except GradcamError as error:
                reason = reason or _reason(error)
    return {"gradient": reason}


def _compare(forward: _Forward, outputs: list[Value]) -> str:
    g, rng = forward.builder, np.random.default_rng(0)
    computed = [v for v in outputs if v.data is None and v.size]
    variables = list(g.graph.inputs)
    if not computed or not any(v.size for v in variables):
        return ""
    value = forward.compiled(computed)
    seeds = [rng.standard_normal(v.shape) for v in computed]
    if not all(np.isfinite(y).all() for y in value(forward.arrays)):
        return "infinity or NaN in the output: no difference quotient"
    if any(np.abs(a).max(initial=0) > LARGEST for a in forward.arrays):
        return f"numbers above {LARGEST:.0e} in the input: no difference quotient"
    parts = [g.sum(g.mul(g.reshape(v, (v.size,)), g.constant(s.reshape(-1))), (0,)) for v, s in zip(computed, seeds, strict=True)]
    score = parts[0]
    for part in parts[1:]:
        score = g.add(score, part)
    analytic = forward.compiled(gradients(g, score, variables))(forward.arrays)

    def total(arrays: list[np.ndarray]) -> float:
        return sum(float((y * s).sum()) for y, s in zip(value(arrays), seeds, strict=True))

    if any(np.isnan(gradient).any() for gradient in analytic):
        return "gradient: NaN"
    compared, worst = 0, 0.0
    with np.errstate(all="ignore"):
        for i, gradient in enumerate(analytic):
            scale = max(1.0, float(np.abs(gradient).max(initial=0)))
            for direction in _directions(gradient.shape, rng):
                moved = [[a + sign * STEP * direction if j == i else a for j, a in enumerate(forward.arrays)] for sign in (-1, 1)]
                low, high = total(moved[0]), total(moved[1])
                quotient = (high - low) / (2 * STEP)
                error = abs(float((gradient * direction).sum()) - quotient) / (scale * max(1.0, float(np.linalg.norm(direction))))
                if not error < BOUND and _is_kink(total, forward.arrays, i, direction):
                    continue
                compared, worst = compared + 1, max(worst, error if np.isfinite(error) else np.inf)
    if compared == 0:
        return "kinks alone: no difference quotient"
    return "passed" if worst < BOUND else "gradient: differs from central differences"


def _is_kink(total: Any, arrays: list[np.ndarray], i: int, direction: np.ndarray) -> bool:
    """Whether the left and the right difference quotient differ: there is no derivative to compare with."""
    moved = [[a + sign * STEP * direction if j == i else a for j, a in enumerate(arrays)] for sign in (-1, 1)]
    here, low, high = total(arrays), total(moved[0]), total(moved[1])
    left, right = (here - low) / STEP, (high - here) / STEP
    return bool(not np.isfinite(left + right) or abs(left - right) > 1e-3 * max(1.0, abs(left), abs(right)))


def _directions(shape: tuple[int, ...], rng: np.random.Generator) -> Iterator[np.ndarray]:
    size = int(np.prod(shape))
    if size <= EVERY_ELEMENT:
        yield from np.eye(size).reshape(size, *shape)
    else:
        yield from rng.choice([-1.0, 1.0], (DIRECTIONS, *shape))


def _reason(error: Exception) -> str:
    """What is wrong, without the names of the case's tensors."""
    text = str(error).splitlines()[-1].strip() if str(error) else type(error).__name__
    text = re.sub(r"^(\S+: )?node '[^']*' \((\w+), opset \d+\): ", r"\2: ", text)
    text = re.sub(r"; load with outputs=.*$", "", text)
    text = re.sub(r"^initializer '[^']*' holds (\w+)$", lambda found: f"tensors of {TYPES.get(found[1], found[1])}", text)
    return re.sub(r"'[\w.:/]+'(?= must be)|\('[^']*'\)", "", text).replace("  ", " ")


@cache
def run_all() -> dict[str, Outcome]:
    """Run every case."""
    return {name: run(case) for name, case in cases().items()}
