"""The table of `gradcam info --plan`."""

from __future__ import annotations

from collections.abc import Iterator

from gradcam.graph.plan import Plan, Step
from gradcam.graph.source import dims_text

_HEAD = ("step", "kernel", "algorithm", "output", "read kB", "written kB", "GFLOP", "belongs to")
_RIGHT = (0, 4, 5, 6)
"""Columns of numbers."""


def plan_lines(plan: Plan) -> Iterator[str]:
    """One line per step, and the totals."""
    rows = [_HEAD, *(_row(plan, number, step) for number, step in enumerate(plan.steps))]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
    for row in rows:
        cells = (text.rjust(w) if i in _RIGHT else text.ljust(w) for i, (text, w) in enumerate(zip(row, widths, strict=True)))
        yield "  ".join(cells).rstrip()
    products = sum(step.products for step in plan.steps)
    yield f"weights {plan.weight_bytes:,} bytes, arena {plan.arena_bytes:,} bytes, {_gflop(products)} GFLOP for one picture"


def _row(plan: Plan, number: int, step: Step) -> tuple[str, ...]:
    node, output = step.node, step.writes[0]
    shape = node.attrs["result"].plain_shape if "result" in node.attrs and output in node.outputs else output.shape
    return (
        str(number),
        step.kernel,
        node.attrs.get("algorithm", "matrix product") if step.products else "",
        dims_text(shape),
        *(f"{sum(v.size * v.dtype.itemsize for v in values if v is not None) / 1e3:,.1f}" for values in (step.reads, step.writes)),
        _gflop(step.products) if step.products else "",
        node.outputs[0].name,
    )


def _gflop(products: int) -> str:
    """Nominal: a product and a sum each, whatever the algorithm."""
    return f"{2 * products / 1e9:.4f}"
