"""All cases of the `onnx` package that docs/operators.md counts as passed pass, and the page says what the run says."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_conformance.runner import CLAIMED, PASSING, Case, Outcome, cases, run, run_all

from gradcam.graph.operators import OPERATORS

ROOT = Path(__file__).resolve().parents[2]
EXPECTED = dict(line.split(": ", 1) for line in PASSING.read_text(encoding="utf-8").splitlines())


def tool():
    spec = importlib.util.spec_from_file_location("write_operators_page", ROOT / "tools" / "write_operators_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    return run_all()


def test_everything_that_is_listed_passes(outcomes):
    known = [name for name in EXPECTED if name in outcomes]  # another version of the package has other cases
    assert len(known) > 0.9 * len(EXPECTED)
    worse = {name: outcomes[name] for name in known if not outcomes[name].passed.startswith(EXPECTED[name])}
    assert worse == {}


def test_the_page_and_the_list_are_those_of_the_run(outcomes):
    module = tool()
    written = module.PAGE.read_text(encoding="utf-8")
    if f"version {onnx.__version__}." not in written:
        pytest.skip(f"docs/operators.md is of another version of onnx than {onnx.__version__}")
    assert written == module.page(outcomes), "run `python tools/write_operators_page.py`"
    assert PASSING.read_text(encoding="utf-8") == module.passing(outcomes), "run `python tools/write_operators_page.py`"


def case(op: str, inputs: tuple, outputs: tuple, **attrs) -> Case:
    names = [f"i{k}" for k in range(len(inputs))]
    values = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in zip(names, inputs, strict=True)
    ]
    node = helper.make_node(op, names, ["y"], **attrs)
    graph = helper.make_graph([node], "g", values, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    return Case(
        "own", "node", op, helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), inputs, outputs, 1e-3, 1e-7
    )


X = np.array([[0.3, -0.7, 1.2]], np.float32)


def test_a_wrong_value_is_noticed():
    assert run(case("Tanh", (X,), (np.tanh(X),))).passed == "forward, gradient"
    assert run(case("Tanh", (X,), (np.tanh(X) + 0.01,))).forward == "values: 3 of 3 differ"
    assert run(case("Tanh", (X,), (np.tanh(X)[0],))).forward == "values: shape (1, 3), expected (3,)"


@pytest.mark.parametrize("factor", [1.01, np.nan])
def test_a_wrong_gradient_is_noticed(monkeypatch, factor):
    from gradcam.graph.builder import Builder

    right = Builder.unary_grad
    monkeypatch.setattr(Builder, "unary_grad", lambda g, op, x, dy, *a: right(g, op, x, g.mul(dy, g.constant(factor)), *a))
    assert run(case("Tanh", (X,), (np.tanh(X),))).gradient.startswith("gradient: ")


def test_kinks_are_left_out_but_not_their_neighbours(monkeypatch):
    from gradcam.graph.builder import Builder

    x = np.array([[0.0, -0.7, 1.2]], np.float32)
    assert run(case("Relu", (x,), (np.maximum(x, 0),))).gradient == "passed"
    right = Builder.unary_grad
    monkeypatch.setattr(Builder, "unary_grad", lambda g, op, x, dy, *a: right(g, op, g.constant(-1.0 * np.ones(x.shape)), dy, *a))
    assert run(case("Relu", (x,), (np.maximum(x, 0),))).gradient == "gradient: differs from central differences"


def test_weights_are_constants_where_there_is_no_gradient_for_them(monkeypatch):
    rule = OPERATORS["Conv"].gradient
    only_x = replace(OPERATORS["Conv"], gradient=lambda node, dy, g: [rule(node, dy, g)[0], None, None])
    monkeypatch.setitem(OPERATORS, "Conv", only_x)
    w = np.ones((2, 1, 1), np.float32)
    outcome = run(case("Conv", (X[None], w), (np.repeat(X[None], 2, 1),)))
    assert (outcome.passed, outcome.forward_inputs, outcome.gradient_inputs) == ("forward, gradient", "all", "first")


def test_every_claimed_operator_has_cases_or_is_known_not_to():
    tested = {c.operator for c in cases().values()} | {op for c in cases().values() for op in c.operators}
    assert CLAIMED - tested <= WITHOUT_CASES


WITHOUT_CASES = {"ConcatFromSequence", "GlobalLpPool", "Scatter", "SequenceErase"}
"""The package has no case of these (or only deprecated ones)."""
