"""Gradients as graphs: ordinary nodes emitted by the operators' rules, only on the paths from a value to the score."""

from __future__ import annotations

from collections.abc import Sequence

from gradcam.errors import UnsupportedOpError
from gradcam.graph.builder import Builder
from gradcam.graph.ir import Value
from gradcam.graph.operators import OPERATORS

__all__ = ["gradients"]


def gradients(g: Builder, score: Value, targets: Sequence[Value], seed: Value | None = None) -> list[Value]:
    """Emit d score / d target for each target.

    Parameters
    ----------
    g : Builder
        Holds the graph that computes the score; the gradient's nodes are appended to it.
    score : Value
        What is differentiated; of one element unless `seed` is given.
    targets : sequence of Value
        Values anywhere before the score. Nothing before them is differentiated.
    seed : Value, optional
        Gradient fed in at the score, ones by default.

    Returns
    -------
    list of Value
        One gradient per target, in its shape; zeros where the score does not depend on it.

    Raises
    ------
    UnsupportedOpError
        If an operator on the way has no gradient rule, or computed weights that it has no gradient for.
    """
    forward = list(g.graph.nodes)
    relevant = g.graph.downstream(targets) & g.graph.upstream([score])
    if seed is None:
        seed = g.constant(g.zeros_like(score).data + 1)  # type: ignore[operator]
    pending: dict[Value, Value] = {score: seed}
    for node in reversed(forward):
        if not any(o in pending for o in node.outputs) or not any(v in relevant for v in node.inputs):
            continue
        rule = OPERATORS[node.op].gradient
        if rule is None:
            raise UnsupportedOpError([f"operator '{node.op}' (output '{node.outputs[0].name}') has no gradient rule"])
        count = len(g.graph.nodes)
        for value, grad in zip(node.inputs, rule(node, pending[node.outputs[0]], g), strict=True):
            if grad is None and value in relevant and OPERATORS[node.op].learned:
                raise UnsupportedOpError([f"operator '{node.op}' (output '{node.outputs[0].name}') has no gradient for computed weights"])
            if value is not None and grad is not None and value in relevant:
                pending[value] = g.add(pending[value], grad) if value in pending else grad
        for made in g.graph.nodes[count:]:
            for output in made.outputs:
                output.name = f"{node.outputs[0].name}.grad"  # plans say whose gradient a step belongs to
    return [pending.get(target) or g.zeros_like(target) for target in targets]
