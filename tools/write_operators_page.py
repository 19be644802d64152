"""Write docs/operators.md and the list of passing cases: `python tools/write_operators_page.py`.

Runs all test cases that the `onnx` package has for the operators that gradcam claims (`tests/onnx_conformance`).
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import onnx

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "operators.md"
sys.path[:0] = [str(path) for path in (ROOT, ROOT / "tests") if str(path) not in sys.path]

from onnx_conformance.runner import CLAIMED, OLDEST, PASSING, Case, Outcome, cases, run_all  # noqa: E402

HEAD = """# Operators

*Written by `tools/write_operators_page.py` from a run of the test cases of the `onnx` package, version {version}.*

gradcam reads the default domain of ONNX at opsets {oldest} to {newest}. Real numbers are computed in float32 (float16, bfloat16 and
double are converted; in double precision where asked for). Shapes are known when the graph is built, so that arithmetic on shapes,
integers and booleans is done once, then, on constants. Integers that are computed at run time (by `ArgMax`, `TopK`, `Cast`, the
indices of `MaxPool`) are 64 bits wide whatever their type; `Gather`, `Scatter` and their kin read them as positions, and arithmetic
on them passes through real numbers, which is exact up to 2^24 in float32. Booleans at run time are numbers, 1 or 0; no gradient
passes either. `QuantizeLinear` and `DequantizeLinear` compute with real numbers; the gradient passes the rounding as if it were not
there, inside the range of the type (straight-through).
`If` and `Loop` are written out when the graph is built, where condition and number of steps are constants by then.

The table counts the package's own cases of each operator, those of its decomposition into others among them: values are compared
with the package's, and where inputs and outputs are real numbers the gradient of a weighted sum of the outputs, in float64, with
central differences: element by element up to 40 elements, along 12 directions beyond. A case counts for the gradient where a
difference quotient exists at all (no NaN or infinity, no numbers beyond 1e6). Inputs of a case that gradcam wants as constants
(weights, sizes, positions) are given as constants: *on constants* counts cases in which all are.
"""


def opsets(operator: str) -> str:
    """Opsets at which an operator is read."""
    versions = [s.since_version for s in onnx.defs.get_all_schemas_with_history() if s.name == operator and s.domain == ""]
    newest = onnx.defs.get_schema(operator)
    last = str(newest.since_version - 1) if newest.deprecated else ""
    return f"{max(OLDEST, min(versions))} to {last}" if last else f"from {max(OLDEST, min(versions))}"


def counts(outcomes: Iterable[Outcome]) -> list[str]:
    """Forward passed / total, on constants, gradient passed / total, reasons of what does not pass."""
    outcomes = list(outcomes)
    passed = [o for o in outcomes if o.forward == "passed"]
    differentiated = [o for o in passed if o.gradient and not o.gradient.endswith("no difference quotient")]
    reasons = Counter(o.forward for o in outcomes if o.forward != "passed")
    reasons += Counter(o.gradient for o in differentiated if o.gradient != "passed")
    constant = sum(o.forward_inputs == "none" or not o.gradient for o in passed if o.forward_inputs != "all")
    return [
        f"{len(passed)} / {len(outcomes)}" if outcomes else "no case",
        str(constant or ""),
        f"{sum(o.gradient == 'passed' for o in differentiated)} / {len(differentiated)}" if differentiated else "",
        "; ".join(f"{text.replace('|', '/')}" + (f" ({n})" if n > 1 else "") for text, n in reasons.most_common()),
    ]


def table(claimed: dict[str, Case], outcomes: dict[str, Outcome]) -> list[str]:
    """One row per operator, then one per family of models."""
    rows = ["| operator | opsets | forward | on constants | gradient | what does not pass |", "|" + " --- |" * 6]
    for operator in sorted(CLAIMED):
        own = [outcomes[name] for name, case in claimed.items() if case.operator == operator]
        rows.append(f"| {operator} | {opsets(operator)} | {' | '.join(counts(own))} |")
    others = sorted({case.operator for case in claimed.values()} - CLAIMED - {""})
    rows += ["", "Operators that gradcam runs where they come as their decomposition into the ones above:", ""]
    rows += ["| operator | forward | on constants | gradient | what does not pass |", "|" + " --- |" * 5]
    for operator in others:
        own = [outcomes[name] for name, case in claimed.items() if case.operator == operator]
        rows.append(f"| {operator} | {' | '.join(counts(own))} |")
    rows += ["", "Models that PyTorch exported, of several operators each:", ""]
    rows += ["| cases | forward | on constants | gradient | what does not pass |", "|" + " --- |" * 5]
    for kind in sorted({case.kind for case in claimed.values() if not case.operator}):
        own = [outcomes[name] for name, case in claimed.items() if case.kind == kind and not case.operator]
        rows.append(f"| {kind} | {' | '.join(counts(own))} |")
    return rows


def refused() -> str:
    """Operators of the default domain that gradcam does not run."""
    names = {s.name for s in onnx.defs.get_all_schemas() if s.domain == "" and not s.deprecated and s.support_level == s.SupportType.COMMON}
    return ", ".join(f"`{name}`" for name in sorted(names - CLAIMED))


def page(outcomes: dict[str, Outcome]) -> str:
    """Return the whole page."""
    claimed = cases()
    total = Counter(outcome.passed for outcome in outcomes.values())
    forward = total["forward"] + total["forward, gradient"]
    lines = [
        HEAD.format(version=onnx.__version__, oldest=OLDEST, newest=onnx.defs.onnx_opset_version()),
        f"In all {forward} of {len(outcomes)} cases pass, {total['forward, gradient']} of them with their gradient.",
        "",
        *table(claimed, outcomes),
        "",
        f"Not run, and refused with the name of the node: {refused()}.",
        "",
    ]
    return "\n".join(lines)


def passing(outcomes: dict[str, Outcome]) -> str:
    """Return the cases that have to pass, one per line, with what passes."""
    return "".join(f"{name}: {outcome.passed}\n" for name, outcome in sorted(outcomes.items()) if outcome.passed)


if __name__ == "__main__":
    results = run_all()
    PAGE.write_text(page(results), encoding="utf-8")
    PASSING.write_text(passing(results), encoding="utf-8")
