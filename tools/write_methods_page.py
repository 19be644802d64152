"""Write docs/methods.md from the registry: `python tools/write_methods_page.py`; a test says when it is out of date."""

from __future__ import annotations

from pathlib import Path

from gradcam.array_methods import __all__ as functions
from gradcam.methods import METHODS
from gradcam.methods.base import COMMON_OPTIONS, Method

PAGE = Path(__file__).resolve().parents[1] / "docs" / "methods.md"

HEAD = """# Methods

*Written by `tools/write_methods_page.py` from the registry (`gradcam.list_methods()`): change the method's own file instead.*

A is the layer's activation, g the gradient of the explained score S, k a channel, x a position, and R(v) = max(v, 0). All
formulas give the signed map L; what the mode does afterwards (ReLU, resize, normalise) is `gradcam.postprocess`. Every method is
asked for by name, `model.explain(x, method=...)`, `gradcam explain --method ...`, and where arrays are enough
`gradcam.cam(A, g, method=...)` or its own function.

The last four columns of the table are laws that a test checks: what becomes of the map when each channel of the layer is shifted,
scaled by a positive number, or some are turned around, and the next layer makes up for it so that the network computes the same
(`gradcam.reparametrise`); and when the score is negated. `=`: nothing; `const`: one number is added at all positions, so the signed
picture is the same but the ReLU cuts elsewhere; `L -> -L`: the map is negated. [Measured numbers](invariance.md), and
[what they mean](signs.md).
"""

COSTS = {
    "layerless": "forward, gradient down to the input",
    "input": "forward, and forward and gradient once per sample",
    "gradients": "forward, gradient back to the layer",
    "activations": "forward",
}


def cost(method: Method) -> str:
    """What a model runs for one explanation."""
    if method.layerless or method.at_input:
        return COSTS["layerless"]
    needs = (*method.needs, "gradients") if method.model_gradients else method.needs
    found = COSTS[next(need for need in ("input", "gradients", "activations") if need in needs)]
    return f"{found}, gradient of the gradient" if "hessian_product" in method.operands else found


def table() -> list[str]:
    """One row per method."""
    rows = ["| method | needs | cost on a model | shift | scale > 0 | sign flip | score negated |", "|" + " --- |" * 7]
    for method in METHODS.values():
        laws = method.laws
        cells = ["", "", "", ""] if laws is None else [laws.shift, laws.scale, laws.flip, laws.negated]
        rows.append(f"| {' | '.join([f'`{method.name}`', ', '.join(method.needs), cost(method), *cells])} |")
    return rows


def section(method: Method) -> list[str]:
    """Formula, source, options and use of a method."""
    name = method.function.__name__
    text = " ".join((method.function.__doc__ or "").split())
    lines = [f"## {method.name}", "", text, "", f"* Source: {method.paper}."]
    if name in functions:
        lines.append(f"* On arrays: `gradcam.{name}`.")
    options = method.own_options()
    if options:
        lines.append(f"* Options: {', '.join(f'`{option}`' for option in options)}.")
    if method.laws is None and not (method.layerless or method.at_input):
        lines.append("* Under another parametrisation it behaves as the method that it builds on.")
    return [*lines, f"* When to use it: {method.use}", ""]


def page() -> str:
    """Return the whole page."""
    common = ", ".join(f"`{name}` ({', '.join(map(repr, values))})" for name, values in COMMON_OPTIONS.items())
    options = f"Options of all methods on a layer: {common}; of `Model.explain` with any method: `aug_smooth`, `aggregate`."
    lines = [HEAD, *table(), "", options, ""]
    for method in METHODS.values():
        lines += section(method)
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
