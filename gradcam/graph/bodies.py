"""Graphs inside nodes: `If` with a constant condition and `Loop` with a constant number of steps are written out."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass

import numpy as np

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Value
from gradcam.graph.onnx_form import Body, Inputs, OnnxNode, TensorSequence, Unsupported

__all__ = ["INLINED", "MAX_NODES", "MAX_STEPS", "Inliner"]

INLINED = ("If", "Loop")
"""Operators whose bodies are written out."""
MAX_STEPS = 1024
"""Most steps of a loop that is written out."""
MAX_NODES = 100_000
"""Most nodes that all bodies of a graph are written out to."""

Names = MutableMapping[str, Value]


@dataclass(slots=True)
class Inliner:
    """Writes bodies out with `emit(node, names)`, which emits one node of a file."""

    emit: Callable[[OnnxNode, Names], None]
    g: Builder
    left: int = MAX_NODES

    def run(self, node: OnnxNode, inputs: Inputs, names: Names) -> list[Value]:
        """Return the outputs of an `If` or a `Loop`."""
        return self._if(node, inputs, names) if node.op_type == "If" else self._loop(node, inputs, names)

    def _if(self, node: OnnxNode, inputs: Inputs, names: Names) -> list[Value]:
        condition = node.required(inputs, 0)
        if condition.data is None or condition.size != 1:
            raise Unsupported(f"a condition ('{condition.name}') that is not known before the model runs")
        return self._written_out(_body(node, "then_branch" if condition.data.reshape(-1)[0] else "else_branch"), [], names)

    def _loop(self, node: OnnxNode, inputs: Inputs, names: Names) -> list[Value]:
        body, carried = _body(node, "body"), [node.required(inputs, i) for i in range(2, len(inputs))]
        steps, running = node.optional(inputs, 0), node.optional(inputs, 1)
        if len(body.inputs) != 2 + len(carried) or len(body.outputs) <= len(carried):
            raise node.bad("its body does not have the inputs and outputs of the loop")
        if steps is not None and steps.data is None:
            raise Unsupported(f"a number of steps ('{steps.name}') that is not known before the model runs")
        count = MAX_STEPS + 1 if steps is None else int(node.array(inputs, 0).reshape(-1)[0])
        collected: list[list[Value]] = [[] for _ in body.outputs[1 + len(carried) :]]
        step = 0
        while step < count and (running is None or _holds(running)):
            if step == MAX_STEPS:
                raise Unsupported(f"a loop of more than {MAX_STEPS} steps")
            running = running or self.g.constant(np.array(True))
            running, *results = self._written_out(body, [self.g.constant(np.array(step)), running, *carried], names)
            carried = results[: len(carried)]
            for values, value in zip(collected, results[len(carried) :], strict=True):
                values.append(value)
            step += 1
        if not step and collected:
            raise Unsupported("a loop without steps that collects results")
        return [*carried, *(self._stacked(values) for values in collected)]

    def _written_out(self, body: Body, inputs: list[Value], names: Names) -> list[Value]:
        """Emit the nodes of a body once; its names are its own, and it sees those around it."""
        scope: Names = ChainMap({}, names)
        scope.update(zip(body.inputs, inputs, strict=True))
        scope.update((name, self.g.constant(array)) for name, array in body.initializers.items())
        for inner in body.nodes:
            self.left -= 1
            if self.left < 0:
                raise Unsupported(f"bodies that are written out to more than {MAX_NODES} nodes")
            try:
                self.emit(inner, scope)
            except Unsupported as problem:
                raise Unsupported(f"in its body: {inner.label}: {problem}") from problem
        missing = next((name for name in body.outputs if name not in scope), None)
        if missing is not None:
            raise Unsupported(f"an output '{missing}' of its body that no node there computes")
        return [scope[name] for name in body.outputs]

    def _stacked(self, values: list[Value]) -> Value:
        if any(isinstance(v, TensorSequence) for v in values):
            raise Unsupported("a loop that collects sequences of tensors")
        rows = [self.g.reshape(v, (1, *v.shape)) for v in values]
        return rows[0] if len(rows) == 1 else self.g.emit("Concat", *rows, axis=0)


def _body(node: OnnxNode, attribute: str) -> Body:
    body = node.attrs.get(attribute)
    if not isinstance(body, Body):
        raise node.bad(f"attribute '{attribute}' is no graph")
    return body


def _holds(condition: Value) -> bool:
    if condition.data is None or condition.size != 1:
        raise Unsupported(f"a condition ('{condition.name}') that is not known before the model runs")
    return bool(condition.data.reshape(-1)[0])
