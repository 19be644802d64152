"""Gradients as graphs: ordinary nodes emitted by the operators' rules, only on the paths from a value to the score."""

from __future__ import annotations

from collections.abc import Sequence

from gradcam.errors import UnsupportedOpError
from gradcam.graph.builder import Builder
from gradcam.graph.ir import Node, Value
from gradcam.graph.operators import OPERATORS, GuidedRule

__all__ = ["gradients"]


def gradients(
    g: Builder, score: Value, targets: Sequence[Value], seed: Value | None = None, guided: GuidedRule | None = None
) -> list[Value]:
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
    guided : GuidedRule, optional
        What takes the place of the gradient at ReLUs.

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
        if any(o in pending for o in node.outputs[1:]):  # rules know of the first output alone
            raise _no_rule(node)
        count = len(g.graph.nodes)
        for value, grad in zip(node.inputs, _input_gradients(g, node, pending[node.outputs[0]], guided), strict=True):
            if grad is None and value in relevant and OPERATORS[node.op].learned:
                raise UnsupportedOpError([f"operator '{node.op}' (output '{node.outputs[0].name}') has no gradient for computed weights"])
            if value is not None and grad is not None and value in relevant:
                pending[value] = g.add(pending[value], grad) if value in pending else grad
        for made in g.graph.nodes[count:]:
            for output in made.outputs:
                output.name = f"{node.outputs[0].name}.grad"  # plans say whose gradient a step belongs to
    return [pending.get(target) or g.zeros_like(target) for target in targets]


def _input_gradients(g: Builder, node: Node, dy: Value, guided: GuidedRule | None) -> list[Value | None]:
    """Emit the gradients of the inputs of one node."""
    record = OPERATORS[node.op]
    if guided is not None and record.guided_gradient is not None:
        found = record.guided_gradient(node, dy, g, guided)
        if found is not None:
            return found
    if record.gradient is None:
        raise _no_rule(node)
    return record.gradient(node, dy, g)


def _no_rule(node: Node) -> UnsupportedOpError:
    return UnsupportedOpError([f"operator '{node.op}' (output '{node.outputs[0].name}') has no gradient rule"])
