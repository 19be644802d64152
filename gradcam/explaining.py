"""From inputs, targets and a layer to explanations: groups the pictures by the structure of their targets, one plan per group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.compat import Mode
from gradcam.compat import mode as compat_mode
from gradcam.environment import resolve_threads
from gradcam.errors import LayerError, TargetError, require
from gradcam.explanation import Explanation
from gradcam.graph.explain_graph import Tail, entering_normaliser, explain_graph, gradient_graph
from gradcam.graph.ir import Value
from gradcam.graph.plan import Plan
from gradcam.methods import find_method
from gradcam.methods.base import Method
from gradcam.ops import _call
from gradcam.session import Bound, Inputs, Session
from gradcam.targets import ClassScore, Target, Top, Weighted, per_picture

__all__ = ["Request", "explain_rows", "gradient_rows"]


@dataclass(frozen=True, slots=True)
class Request:
    """The arguments of `Model.explain` besides inputs and targets."""

    layer: str | None = None
    method: str = "gradcam"
    compat: str = "paper"
    channel_axis: int | None = None
    num_threads: int | None = None
    batch_size: int | None = None
    progress: bool = False
    callback: Callable[[int, int], object] | None = None
    relu: bool | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_keywords(cls, keywords: Mapping[str, Any]) -> Request:
        """Take the arguments by name; all others are options of the method."""
        own = {f.name for f in fields(cls)} - {"options"}
        given = {name: value for name, value in keywords.items() if name in own}
        return cls(**given, options={name: value for name, value in keywords.items() if name not in own})


@dataclass(slots=True)
class _Column:
    """Results of one target for all pictures."""

    targets: list[Target]
    score: NDArray[Any]
    raw: NDArray[Any]
    weights: NDArray[Any] | None = None
    degenerate: NDArray[Any] | None = None


def explain_rows(
    session: Session, labels: Mapping[int, str], function: str, x: Inputs, targets: Sequence[Any], request: Request
) -> list[Explanation]:
    """Explain each target for all pictures."""
    method, mode = find_method(function, request.method), compat_mode(request.compat)
    method.check_options(function, request.options)
    if request.batch_size is not None and request.batch_size < 1:
        raise ValueError(f"{function}: batch_size: expected at least 1, got {request.batch_size}")
    bound = session.bind(function, x)
    rows = [_resolve(labels, bound, target, mode) for target in targets]
    layer = _layer(bound, request.layer, rows)
    axis = _axis(function, bound, layer, request.channel_axis)
    if not bound.forward.per_picture and bound.pictures > 1:
        raise ValueError(f"{function}: x: this model mixes the pictures of a batch, so only one picture at a time can be explained")
    columns = [_empty(bound, layer, axis, row, method) for row in rows]
    for pictures in _batches(bound.pictures, request):
        for group in _groups(rows, pictures):
            plan, tails = _plan(session, bound, layer, axis, [row[group[0]] for row in rows], method, mode, request)
            _run_group(session, bound, plan, tails, rows, group, columns, request.num_threads)
    size = _picture_size(bound, layer)
    names = bound.forward.layers
    name = names[layer].name if layer in names else layer.name
    explanations = [_explanation(labels, bound, column, name, method, mode, request, size) for column in columns]
    for explanation in explanations:
        explanation.warn(function)
    return explanations


def gradient_rows(
    session: Session, labels: Mapping[int, str], x: Inputs, layer_name: str | None, target: Any, num_threads: int | None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return activations and gradients of a layer; see `Model.activations_and_gradients`."""
    bound = session.bind("activations_and_gradients", x)
    row = _resolve(labels, bound, target, compat_mode("paper"))
    layer = _layer(bound, layer_name, [row])
    if not bound.forward.per_picture and bound.pictures > 1:
        raise ValueError(
            "activations_and_gradients: x: this model mixes the pictures of a batch, so only one picture at a time is differentiated"
        )
    results = [np.empty((bound.pictures * layer.shape[0], *layer.shape[1:]), bound.forward.real) for _ in range(2)]
    for group in _groups([row], range(bound.pictures)):
        key = ("gradient", bound.key, layer, row[group[0]].structure(), _call.isa)
        plan = session.plans.get(key, partial(_gradient_plan, session, bound, layer, row[group[0]]))
        found = session.execute(plan, _part(bound, group), _arrays(bound, [row], group), num_threads)
        results[0][group], results[1][group] = found[0], found[2]
    return (results[0][0], results[1][0]) if bound.squeeze else (results[0], results[1])


def _gradient_plan(session: Session, bound: Bound, layer: Value, target: Target) -> Plan:
    forward = bound.forward
    graph = forward.folded(list(forward.outputs.values()), [layer])
    graph, _ = gradient_graph(graph, forward.outputs, layer, [target], False, forward.real)
    return session.compile(graph, forward.real)


def _resolve(labels: Mapping[int, str], bound: Bound, target: Any, mode: Mode) -> list[Target]:
    """One checked target per picture."""
    outputs = bound.forward.outputs
    if target is None and mode.default_target is None:
        raise TargetError(f"target: mode '{mode.name}' needs a target, as the library it follows does")
    resolved: list[Target] = []
    known: dict[int, Target] = {}
    for picture, one in enumerate(per_picture(target, bound.pictures)):
        if isinstance(one, Weighted) or id(one) not in known:
            name = one.output_name()
            if name is not None and name not in outputs:
                raise TargetError(f"target: output: expected one of {', '.join(outputs)}, got '{name}'")
            shape = (next(iter(outputs.values())) if name is None else outputs[name]).shape[1:]
            known[id(one)] = one.resolve(labels, shape)
        found = known[id(one)]
        resolved.append(found.of_picture(picture, bound.pictures) if isinstance(found, Weighted) else found)
    return resolved


def _layer(bound: Bound, name: str | None, rows: Sequence[Sequence[Target]]) -> Value:
    if name is not None:
        return bound.forward.layer(name)
    outputs = {t.output_name() for row in rows for t in row} or {None}
    value = bound.forward.default_layer(outputs.pop() if len(outputs) == 1 else None)
    if value is None:
        raise LayerError("layer: the model has no layer with positions before a learned operator: pass layer=")
    return value


def _axis(function: str, bound: Bound, layer: Value, channel_axis: int | None) -> int:
    rank = len(layer.shape)
    axis = bound.forward.channel_axis(layer) if channel_axis is None else channel_axis
    if not -rank <= axis < rank or axis % rank == 0 or axis % rank not in (1, rank - 1):
        raise LayerError(f"{function}: channel_axis: expected 1 or -1, got {channel_axis}")
    if not 3 <= rank <= 5:
        raise LayerError(
            f"{function}: layer: '{layer.name}' of shape {layer.shape} has no positions to draw a map of; activations_and_gradients works"
        )
    return axis % rank


def _empty(bound: Bound, layer: Value, axis: int, row: list[Target], method: Method) -> _Column:
    real, n = bound.forward.real, bound.pictures
    spatial = tuple(size for i, size in enumerate(layer.shape) if i not in (0, axis))
    return _Column(row, np.empty(n, real), np.empty((n, *spatial), real))


def _batches(pictures: int, request: Request) -> Iterator[range]:
    """Ranges of pictures for one run each, reporting progress between them."""
    reports = request.callback is not None or request.progress
    size = request.batch_size or (resolve_threads(request.num_threads) if reports else max(1, pictures))
    starts: Any = range(0, pictures, size)
    bar = require("tqdm", "cli").tqdm(total=pictures, unit="picture") if request.progress else None
    try:
        for start in starts:
            stop = min(start + size, pictures)
            yield range(start, stop)
            if bar is not None:
                bar.update(stop - start)
            if request.callback is not None:
                request.callback(stop, pictures)
    finally:
        if bar is not None:
            bar.close()


def _groups(rows: Sequence[Sequence[Target]], pictures: Sequence[int]) -> list[list[int]]:
    """Pictures whose targets have the same structure, so that one plan serves them."""
    groups: dict[Any, list[int]] = {}
    for picture in pictures:
        groups.setdefault(tuple(row[picture].structure() for row in rows), []).append(picture)
    return list(groups.values())


def _plan(
    session: Session, bound: Bound, layer: Value, axis: int, targets: Sequence[Target], method: Method, mode: Mode, request: Request
) -> tuple[Plan, list[Tail]]:
    """Compile the explanation, or find it in the cache."""
    forward = bound.forward
    options = tuple(sorted(request.options.items()))
    key = ("explain", bound.key, layer, axis, tuple(t.structure() for t in targets), method.name, mode.name, options, _call.isa)

    def make() -> tuple[Plan, list[Tail]]:
        graph = forward.folded(list(forward.outputs.values()), [layer])
        graph, tails = explain_graph(graph, forward.outputs, layer, axis, targets, method, mode, request.options, forward.real)
        return session.compile(graph, forward.real), tails

    found: tuple[Plan, list[Tail]] = session.plans.get(key, make)
    return found


def _part(bound: Bound, group: Sequence[int]) -> Bound:
    return replace(bound, pictures=len(group))


def _arrays(bound: Bound, rows: Sequence[Sequence[Target]], group: Sequence[int]) -> list[NDArray[Any]]:
    """Inputs of the plan for a group: those of the model, then the operands of the targets."""
    whole = len(group) == bound.pictures
    arrays = [a if whole else np.ascontiguousarray(a[group]) for a in bound.arrays]
    for row in rows:
        operands = [row[picture].operands() for picture in group]
        for blocks in zip(*operands, strict=True):
            stacked = np.concatenate([np.atleast_1d(b) for b in blocks])
            arrays.append(np.ascontiguousarray(stacked if stacked.dtype.kind == "i" else stacked.astype(bound.forward.real, copy=False)))
    return arrays


def _run_group(
    session: Session,
    bound: Bound,
    plan: Plan,
    tails: Sequence[Tail],
    rows: Sequence[list[Target]],
    group: list[int],
    columns: Sequence[_Column],
    num_threads: int | None,
) -> None:
    """Run the pictures of a group and put the results in their places."""
    found = dict(zip(plan.outputs, session.execute(plan, _part(bound, group), _arrays(bound, rows, group), num_threads), strict=True))
    for tail, column in zip(tails, columns, strict=True):
        assert tail.cam is not None
        column.score[group] = found[tail.score]
        column.raw[group] = found[tail.cam.raw]
        for name, value in (("weights", tail.cam.weights), ("degenerate", tail.cam.degenerate)):
            if value is not None:
                if getattr(column, name) is None:
                    setattr(column, name, np.empty((bound.pictures, *value.shape[1:]), bound.forward.real))
                getattr(column, name)[group] = found[value]
        if tail.index is not None:
            for picture, index in zip(group, found[tail.index], strict=True):
                column.targets[picture] = ClassScore(int(index), output=column.targets[picture].output_name())


def _picture_size(bound: Bound, layer: Value) -> tuple[int, ...] | None:
    """Spatial size of the first input with as many axes as the layer."""
    for value, array in zip(bound.forward.graph.inputs, bound.arrays, strict=True):
        if array.ndim == len(layer.shape):
            return array.shape[2:] if bound.forward.channel_axis(value) == 1 else array.shape[1:-1]
    return None


def _explained_as_logit(bound: Bound, target: Target, mode: Mode) -> bool:
    """Whether a score stands before a final Softmax or Sigmoid rather than at the output."""
    name = target.output_name()
    output = next(iter(bound.forward.outputs.values())) if name is None else bound.forward.outputs[name]
    return not mode.literal_targets and not isinstance(target, Weighted) and entering_normaliser(bound.forward.graph, output) is not output


def _explanation(
    labels: Mapping[int, str],
    bound: Bound,
    column: _Column,
    layer: str,
    method: Method,
    mode: Mode,
    request: Request,
    size: tuple[int, ...] | None,
) -> Explanation:
    return Explanation(
        raw=column.raw,
        weights=column.weights,
        score=column.score,
        target=tuple(t for t in column.targets if not isinstance(t, Top)),
        layer=layer,
        method=method.name,
        compat=mode.name,
        size=size,
        relu=request.relu,
        squeeze=bound.squeeze,
        labels=labels,
        logit=any(_explained_as_logit(bound, t, mode) for t in column.targets[:1]),
        degenerate=column.degenerate,
    )
