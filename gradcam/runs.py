"""Runs plans of explanations: groups the pictures by the structure of their targets, one plan per group, and collects the results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.compat import Mode
from gradcam.graph.explain_graph import Branch, Layer, Scores, explain_graph, full_gradient_graph, gradient_graph, score_graph
from gradcam.graph.ir import Graph, Value
from gradcam.graph.plan import Plan
from gradcam.methods.base import Method
from gradcam.ops import _call
from gradcam.session import Bound, Session
from gradcam.targets import Target

__all__ = ["Column", "Job", "explaining_plan", "gradients_of", "run_columns", "settle"]

Rows = Sequence[Sequence[Target]]
"""For each thing that is explained, one target per picture."""


@dataclass(slots=True)
class Job:
    """What is computed, on which inputs.

    Attributes
    ----------
    options : mapping
        Plain options of the method.
    operands : tuple of mapping
        For each layer the options that are arrays with one block per picture.
    keep : bool
        Activations and gradients of the (only) layer are results too.
    """

    session: Session
    bound: Bound
    layers: tuple[Layer, ...]
    method: Method
    mode: Mode
    options: Mapping[str, Any] = field(default_factory=dict)
    operands: tuple[Mapping[str, NDArray[Any]], ...] = ()
    num_threads: int | None = None
    keep: bool = False


@dataclass(slots=True)
class Column:
    """Results of one target for all pictures: arrays by what they are, then by the number of the layer, in its order."""

    pictures: int
    found: dict[str, dict[int, NDArray[Any]]] = field(default_factory=dict)

    def put(self, key: tuple[str, int], array: NDArray[Any], group: Sequence[int]) -> None:
        """Store a result, which nobody else holds, of a group of pictures."""
        kind, layer = key
        arrays = self.found.setdefault(kind, {})
        if len(group) == len(array) == self.pictures:
            arrays[layer] = array
            return
        if layer not in arrays:
            arrays[layer] = np.zeros((self.pictures, *array.shape[1:]), array.dtype)
        arrays[layer][group] = array

    def each(self, name: str) -> list[NDArray[Any]]:
        """Arrays of one kind, in the order of the layers."""
        return list(self.found.get(name, {}).values())

    def first(self, name: str) -> NDArray[Any] | None:
        """Array of one kind of the first layer, or of none."""
        return next(iter(self.found.get(name, {}).values()), None)

    def choose(self, row: list[Target], pictures: Sequence[int]) -> None:
        """Settle the targets of pictures on the classes that the network chose."""
        chosen = self.first("index")
        if chosen is not None:
            for picture in pictures:
                row[picture] = row[picture].settled(int(chosen[picture]))


Names = tuple[tuple[str, int], ...]
Make = Callable[[Scores], tuple[Graph, list[Branch]]]


def run_columns(job: Job, rows: Rows, pictures: Sequence[int], columns: Sequence[Column]) -> None:
    """Compute scores and maps of some pictures and put them in their places."""
    shapes = [(name, array.shape[1:]) for one in job.operands for name, array in one.items()]
    what = ("explain", job.layers, job.method.name, job.mode.name, tuple(sorted(job.options.items())), tuple(shapes), job.keep)
    _run(job, rows, pictures, columns, what, *_explaining(job))


def explaining_plan(job: Job, targets: Sequence[Target]) -> Plan:
    """Plan of the explanation of one picture, which is not run."""
    return _compile(job, targets, *_explaining(job))[0]


def _explaining(job: Job) -> tuple[Make, Sequence[Value] | None]:
    """What makes the graph of an explanation, and the values that folding must leave alone."""
    if job.method.layerless and not job.method.at_input:
        # Folding would merge the bias of a batch normalisation into that of a convolution: FullGrad wants both.
        return lambda scores: full_gradient_graph(scores, job.method, job.mode, job.options), None

    def make(scores: Scores) -> tuple[Graph, list[Branch]]:
        return explain_graph(scores, job.layers, job.method, job.mode, job.options, job.operands, job.keep)

    return make, [layer.value for layer in job.layers]


def settle(job: Job, rows: Rows) -> list[list[Target]]:
    """Let the network choose the classes that the caller left open."""
    settled = [list(row) for row in rows]
    if any(target.settled(0) is not target for row in rows for target in row):
        columns = [Column(job.bound.pictures) for _ in rows]
        _run(job, rows, range(job.bound.pictures), columns, ("score", job.mode.literal_targets), score_graph, ())
        for row, column in zip(settled, columns, strict=True):
            column.choose(row, range(len(row)))
    return settled


def gradients_of(job: Job, row: Sequence[Target]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Activations of the (only) layer and the gradient of a target for all pictures, in the layout of the tensor."""
    layer, column = job.layers[0].value, Column(job.bound.pictures)
    what = ("gradient", layer, job.mode.literal_targets)
    _run(job, [row], range(job.bound.pictures), [column], what, lambda scores: gradient_graph(scores, layer), [layer])
    activations, gradients = column.each("array") or [np.empty((0, *layer.shape[1:]), job.bound.forward.real)] * 2
    return activations, gradients


def _run(
    job: Job,
    rows: Rows,
    pictures: Sequence[int],
    columns: Sequence[Column],
    what: tuple[Any, ...],
    make: Make,
    keep: Sequence[Value] | None,
) -> None:
    """Run one plan per group of pictures whose targets have the same structure."""
    groups: dict[Any, list[int]] = {}
    for picture in pictures:
        groups.setdefault(tuple(row[picture].structure() for row in rows), []).append(picture)
    for structure, group in groups.items():
        key = (what, job.bound.key, structure, _call.isa)
        plan, names = job.session.plans.get(key, partial(_compile, job, [row[group[0]] for row in rows], make, keep))
        arrays = _arrays(job, rows, group)
        bound = job.bound if len(group) == job.bound.pictures else replace(job.bound, pictures=len(group))
        results = iter(job.session.execute(plan, bound, arrays, job.num_threads, held=job.bound.pictures))
        for keys, column in zip(names, columns, strict=True):
            for key in keys:
                column.put(key, next(results), group)


def _compile(job: Job, targets: Sequence[Target], make: Make, keep: Sequence[Value] | None) -> tuple[Plan, list[Names]]:
    """Plan of an explanation, and what its results are, branch by branch."""
    forward = job.bound.forward
    outputs = list(forward.outputs.values())
    graph = Graph(list(forward.graph.inputs), outputs, list(forward.graph.nodes)) if keep is None else forward.folded(outputs, keep)
    graph, branches = make(Scores.emit(graph, forward.outputs, targets, job.mode.literal_targets, forward.real))
    return job.session.compile(graph, forward.real), [tuple(branch.named()) for branch in branches]


def _arrays(job: Job, rows: Rows, group: Sequence[int]) -> list[NDArray[Any]]:
    """Inputs of the plan for a group: those of the model, the operands of the targets, those of the method."""
    whole = len(group) == job.bound.pictures
    arrays = [a if whole else np.ascontiguousarray(a[group]) for a in job.bound.arrays]
    for row in rows:
        operands = [row[picture].operands() for picture in group]
        for blocks in zip(*operands, strict=True):
            block = blocks[0] if len(blocks) == 1 else np.concatenate([np.atleast_1d(b) for b in blocks])
            arrays.append(_as_input(block, job.bound.forward.real))
    arrays += [_as_input(array[group], job.bound.forward.real) for one in job.operands for array in one.values()]
    return arrays


def _as_input(array: NDArray[Any], real: np.dtype[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(array if array.dtype.kind == "i" else array.astype(real, copy=False))
