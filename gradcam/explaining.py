"""From inputs, targets and layers to explanations."""

from __future__ import annotations

import warnings
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
from gradcam.graph.explain_graph import Layer, explained_input
from gradcam.graph.ir import Value
from gradcam.graph.plan import Plan
from gradcam.methods import find_method
from gradcam.methods.base import Method, prepare_options
from gradcam.resampling import resize
from gradcam.runs import Column, Job, explaining_plan, gradients_of, run_columns, settle
from gradcam.session import Bound, Inputs, Session
from gradcam.smoothing import augmented, average, draw_noise, noisy_operands
from gradcam.targets import Target, per_picture

__all__ = ["Request", "explain_plan", "explain_rows", "gradient_rows"]

Labels = Mapping[int, str]


@dataclass(slots=True)
class Request:
    """The arguments of `Model.explain` besides inputs and targets."""

    layer: str | Sequence[str] | None = None
    method: str = "gradcam"
    compat: str = "paper"
    channel_axis: int | None = None
    tokens: tuple[int, Sequence[int]] | None = None
    num_threads: int | None = None
    batch_size: int | None = None
    progress: bool = False
    callback: Callable[[int, int], object] | None = None
    relu: bool | None = None
    aug_smooth: bool = False
    aggregate: str | None = None
    signs: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_keywords(cls, keywords: Mapping[str, Any]) -> Request:
        """Take the arguments by name; all others are options of the method."""
        own = {f.name for f in fields(cls)} - {"options"}
        given = {name: value for name, value in keywords.items() if name in own}
        return cls(**given, options={name: value for name, value in keywords.items() if name not in own})


def explain_rows(session: Session, labels: Labels, function: str, x: Inputs, targets: Sequence[Any], request: Request) -> list[Explanation]:
    """Explain each target for all pictures."""
    job, shown = _job(session, labels, function, x, targets, request)
    bound, method, mode, noisy = job.bound, job.method, job.mode, _is_noisy(job.method)
    if request.aug_smooth or noisy:
        shown = settle(job, shown)  # one class for all runs of a picture: that of the picture as it is
    rows = shown if method.retarget is None else [[method.retarget(t, mode, request.options) for t in row] for row in shown]
    parts = _noisy_parts(function, job, request, rows) if noisy else [(_with_options(function, job, request), rows)]
    columns = [Column(bound.pictures) for _ in rows]
    for pictures in _batches(bound.pictures, request):
        _run(parts, columns, pictures)
        for row, column in zip(shown, columns, strict=True):
            column.choose(row, pictures)
    explanations = []
    passes = _smoothed_passes(parts, columns) if request.aug_smooth else None
    for i, (row, column) in enumerate(zip(shown, columns, strict=True)):
        make = partial(_explanation, labels, job, row, column, request)
        explanations.append(make(_raw_maps(job, column)) if passes is None else average(make, passes[i], mode))
        explanations[-1].warn(function, session.told)
    return explanations


def explain_plan(session: Session, labels: Labels, function: str, target: Any, request: Request) -> Plan:
    """Return the plan that explains one picture of the declared sizes."""
    x = {v.name: np.zeros(v.shape, v.dtype) for v in session.nominal.graph.inputs}
    job, (row,) = _job(session, labels, function, x, [target], request)
    if _is_noisy(job.method):
        raise ValueError(f"{function}: method: '{job.method.name}' runs several plans, one after the other")
    targets = row if job.method.retarget is None else [job.method.retarget(t, job.mode, request.options) for t in row]
    return explaining_plan(_with_options(function, job, request), targets[:1])


def _job(
    session: Session, labels: Labels, function: str, x: Inputs, targets: Sequence[Any], request: Request
) -> tuple[Job, list[list[Target]]]:
    """Check what is asked for; the job has no options yet."""
    method, mode = find_method(function, request.method), compat_mode(request.compat)
    method.check_options(function, request.options)
    if request.batch_size is not None and request.batch_size < 1:
        raise ValueError(f"{function}: batch_size: expected at least 1, got {request.batch_size}")
    bound = session.bind(function, x)
    _check_mixing(function, bound, "explained")
    if method.at_input:
        _warn_without_relu(function, bound, request)
    shown = [_resolve(labels, bound, target, mode) for target in targets]
    layers = _layers(function, bound, request, shown, method)
    keep = request.signs and len(layers) == 1 and method.retarget is None
    return Job(session, bound, layers, method, mode, operands=({},) * len(layers), num_threads=request.num_threads, keep=keep), shown


def _is_noisy(method: Method) -> bool:
    """Whether a method needs gradients at noisy inputs, of runs before its own."""
    return "gradient_samples" in method.operands


def gradient_rows(
    session: Session, labels: Labels, function: str, x: Inputs, layer_name: str | None, target: Any, num_threads: int | None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return activations and gradients of a layer; see `Model.activations_and_gradients`."""
    bound, mode = session.bind(function, x), compat_mode("paper")
    row = _resolve(labels, bound, target, mode)
    value = _default_layer(bound, [row]) if layer_name is None else bound.forward.layer(layer_name)
    _check_mixing(function, bound, "differentiated")
    _check_pictures(function, bound, value)
    layer = Layer(value, bound.forward.channel_axis(value))  # in the layout of the tensor, tokens and all
    activations, gradients = gradients_of(
        Job(session, bound, (layer,), find_method(function, "gradcam"), mode, num_threads=num_threads), row
    )
    return (activations[0], gradients[0]) if bound.squeeze else (activations, gradients)


# What is asked for ----------------------------------------------------------------------------------------------------


def _check_mixing(function: str, bound: Bound, verb: str) -> None:
    if not bound.forward.per_picture and bound.pictures > 1:
        raise ValueError(f"{function}: x: this model mixes the pictures of a batch, so only one picture at a time can be {verb}")


def _check_pictures(function: str, bound: Bound, layer: Value) -> None:
    count = 1 if bound.forward.per_picture else bound.pictures
    if bound.forward.picture_axis(layer) or layer.shape[0] != count and bound.pictures:
        raise LayerError(
            f"{function}: layer: '{layer.name}' of shape {layer.shape} does not have the pictures along axis 0: "
            "take a layer before or behind it that has"
        )


def _warn_without_relu(function: str, bound: Bound, request: Request) -> None:
    """Warn where guided rules change nothing."""
    clip = bool(request.options.get("clip", False))
    if not any(n.op == "Relu" or clip and n.op == "Clip" and n.attrs["alpha"] == 0 for n in bound.forward.graph.nodes):
        what = "Relu or Clip with minimum 0" if clip else "Relu"
        text = f"{function}: method: the model has no {what}: '{request.method}' is made of the plain gradient"
        warnings.warn(text, UserWarning, stacklevel=4)


def _resolve(labels: Labels, bound: Bound, target: Any, mode: Mode) -> list[Target]:
    """One checked target per picture."""
    outputs = bound.forward.outputs
    if target is None and mode.default_target is None:
        raise TargetError(f"target: mode '{mode.name}' needs a target, as the library it follows does")
    resolved: list[Target] = []
    known: dict[int, Target] = {}
    for picture, one in enumerate(per_picture(target, bound.pictures)):
        if id(one) not in known:
            name = one.output_name()
            if name is not None and name not in outputs:
                raise TargetError(f"target: output: expected one of {', '.join(outputs)}, got '{name}'")
            known[id(one)] = one.resolve(labels, bound.forward.output(name).shape[1:])
        resolved.append(known[id(one)].of_picture(picture, bound.pictures))
    return resolved


def _layers(function: str, bound: Bound, request: Request, rows: Sequence[Sequence[Target]], method: Method) -> tuple[Layer, ...]:
    if method.layerless:
        if request.layer is not None:
            takes = "explains the input, without a layer" if method.at_input else "takes all layers at once"
            raise LayerError(f"{function}: layer: method '{method.name}' {takes}")
        return ()
    several = isinstance(request.layer, Sequence) and not isinstance(request.layer, str)
    names: list[Any] = list(request.layer or ()) if several else [request.layer]
    values = [value for name in names for value in ([_default_layer(bound, rows)] if name is None else bound.forward.matching(name))]
    if not values or len(set(values)) < len(values):
        raise LayerError(f"{function}: layer: expected one layer or a list of different ones, got {names}")
    layers = tuple(
        bound.forward.as_layer(
            f"{function}: layer '{value.name}'", value, _axis(function, bound, value, request.channel_axis), request.tokens
        )
        for value in values
    )
    if len(layers) > 1 and (method.at_input or compat_mode(request.compat).aggregate is None):
        who = f"method '{method.name}'" if method.at_input else f"mode '{request.compat}'"
        raise LayerError(f"{function}: layer: {who} explains one layer per call, got {len(layers)}")
    return layers


def _default_layer(bound: Bound, rows: Sequence[Sequence[Target]]) -> Value:
    outputs = {t.output_name() for row in rows for t in row} or {None}
    value = bound.forward.default_layer(outputs.pop() if len(outputs) == 1 else None)
    if value is None:
        raise LayerError("layer: the model has no layer with positions before a learned operator: pass layer=")
    return value


def _axis(function: str, bound: Bound, layer: Value, channel_axis: int | None) -> int:
    _check_pictures(function, bound, layer)
    rank = len(layer.shape)
    axis = bound.forward.channel_axis(layer) if channel_axis is None else channel_axis
    if not -rank <= axis < rank or axis % rank == 0 or axis % rank not in (1, rank - 1):
        raise LayerError(f"{function}: channel_axis: expected 1 or -1, got {channel_axis}")
    if not 3 <= rank <= 5:
        raise LayerError(
            f"{function}: layer: '{layer.name}' of shape {layer.shape} has no positions to draw a map of; activations_and_gradients works"
        )
    return axis % rank


# Running --------------------------------------------------------------------------------------------------------------

Parts = Sequence[tuple[Job, Sequence[Sequence[Target]]]]
"""Jobs with the rows of targets that each computes, in order."""


def _with_options(function: str, job: Job, request: Request) -> Job:
    """Add the method's options and, for each layer, its arrays."""
    if not request.options and job.method.prepare is None:
        return job
    plain, arrays = dict(request.options), []
    for layer in job.layers:
        shape = (job.bound.pictures, *layer.shape[1:])
        plain, found = prepare_options(function, job.method, request.options, shape, layer.channel_axis, job.bound.forward.real)
        arrays.append(found)
    return replace(job, options=plain, operands=tuple(arrays))


def _noisy_parts(function: str, job: Job, request: Request, rows: Sequence[Sequence[Target]]) -> Parts:
    """One job per row: the gradients of noisy inputs belong to one target."""
    if "gradient_samples" in request.options:
        raise TypeError(f"{function}: gradient_samples: a model computes them itself: pass noise, or samples, std and rng")
    job = _with_options(function, job, request)
    noise = draw_noise(function, request.options, job.session, job.bound)
    return [(replace(job, operands=noisy_operands(job, row, noise, request.batch_size)), [row]) for row in rows]


def _run(parts: Parts, columns: Sequence[Column], pictures: Sequence[int]) -> None:
    start = 0
    for job, rows in parts:
        run_columns(job, rows, pictures, columns[start : start + len(rows)])
        start += len(rows)


def _batches(pictures: int, request: Request) -> Iterator[range]:
    """Ranges of pictures for one run each, reporting progress between them."""
    reports = request.callback is not None or request.progress
    size = request.batch_size or (resolve_threads(request.num_threads) if reports else max(1, pictures))
    bar = require("tqdm", "cli").tqdm(total=pictures, unit="picture") if request.progress else None
    try:
        for start in range(0, pictures, size):
            stop = min(start + size, pictures)
            yield range(start, stop)
            if bar is not None:
                bar.update(stop - start)
            if request.callback is not None:
                request.callback(stop, pictures)
    finally:
        if bar is not None:
            bar.close()


def _smoothed_passes(parts: Parts, columns: Sequence[Column]) -> list[list[list[NDArray[Any]]]]:
    """Raw maps for each column and pass of augmentation smoothing, turned back."""
    job = parts[0][0]
    passes: list[list[list[NDArray[Any]]]] = [[] for _ in columns]
    for flipped, changed in augmented(job.bound):
        found = columns
        if changed is not job.bound:
            found = [Column(job.bound.pictures) for _ in columns]
            _run([(replace(one, bound=changed), rows) for one, rows in parts], found, range(job.bound.pictures))
        for store, column in zip(passes, found, strict=True):
            store.append([np.flip(m, -1) if flipped else m for m in _raw_maps(job, column)])
    return passes


# Results --------------------------------------------------------------------------------------------------------------


def _raw_maps(job: Job, column: Column) -> list[NDArray[Any]]:
    """Raw maps of the layers; of a method on all layers, the sum of its maps at the input's size."""
    real, n = job.bound.forward.real, job.bound.pictures
    if job.method.at_input:
        return [_attributions(job, column).sum(axis=1, dtype=np.float64).astype(real)]
    if not job.method.layerless:
        return column.each("raw") or [np.empty((n, *layer.grid), real) for layer in job.layers]
    size = job.bound.arrays[0].shape[2:]
    total = np.zeros((n, *size))
    for array in column.each("array"):
        total += resize(array.astype(np.float64), size, job.mode.grids[len(size) - 1] or "linear")
    return [total.astype(real)]


def _attributions(job: Job, column: Column) -> NDArray[Any]:
    """Guided gradient at the input, channels first, times the map of the layer if there is one."""
    seen = _explained_input(job)
    assert seen is not None
    found = column.each("at_input")
    if not found:
        return np.zeros(seen.shape, job.bound.forward.real)
    gradient = _channels_of_input(job, found[0])
    if not job.layers:
        return gradient
    raw = column.each("raw")[0]
    size = seen.shape[2:]
    shown = resize(np.where(raw < 0, raw.dtype.type(0), raw), size, job.mode.grids[len(size) - 1] or "linear")
    return np.asarray(gradient * shown[:, None])


def _explained_input(job: Job) -> NDArray[Any] | None:
    """The input whose positions are explained, channels first."""
    number = explained_input(job.bound.forward.graph.inputs, job.layers)
    return None if number is None else _channels_of_input(job, job.bound.arrays[number])


def _channels_of_input(job: Job, array: NDArray[Any]) -> NDArray[Any]:
    """Move the channels of the explained input, or of its gradient, to axis 1."""
    forward = job.bound.forward
    number = explained_input(forward.graph.inputs, job.layers)
    axis = 1 if number is None else forward.channel_axis(forward.graph.inputs[number])
    return array if axis == 1 else np.moveaxis(array, axis, 1)


def _explained_as_logit(job: Job, target: Target) -> bool:
    """Whether a score stands before a final Softmax or Sigmoid rather than at the output."""
    return target.reads_logits() and not job.mode.literal_targets and job.bound.forward.is_normalised(target.output_name())


def _explanation(
    labels: Labels,
    job: Job,
    row: Sequence[Target],
    column: Column,
    request: Request,
    raws: list[NDArray[Any]],
    finished: NDArray[Any] | None = None,
) -> Explanation:
    names = job.bound.forward.layers
    layers = [names[x.value].name if x.value in names else x.value.name for x in job.layers]
    several = len(raws) > 1
    seen = _explained_input(job)
    weights, score = column.each("weights"), column.first("score")
    return Explanation(
        raw=raws if several else raws[0],
        weights=None if not weights else weights if several else weights[0],
        score=np.empty(0, job.bound.forward.real) if score is None else score,
        target=tuple([t for t in row if t.settled(0) is t]),
        layer=", ".join(layers) or "all layers",
        method=job.method.name,
        compat=job.mode.name,
        size=None if seen is None else seen.shape[2:],
        relu=request.relu,
        aggregate=job.method.aggregate or request.aggregate,
        squeeze=job.bound.squeeze,
        labels=labels,
        logit=len(row) > 0 and _explained_as_logit(job, row[0]),
        degenerate=column.first("degenerate"),
        eigen=column.first("eigen"),
        finished=finished,
        probe=partial(_probe, job, labels, row) if len(job.layers) == 1 else None,
        classes=_classes(job, row),
        measured=_measured(job, column),
        attributions=_attributions(job, column) if job.method.at_input else None,
        input=seen if seen is not None and seen.ndim in (3, 5) else None,
    )


def _classes(job: Job, row: Sequence[Target]) -> int | None:
    """Number of classes of the explained output."""
    shape = job.bound.forward.output(row[0].output_name()).shape if row else ()
    return shape[1] if len(shape) > 1 else 1


def _probe(job: Job, labels: Labels, row: Sequence[Target], target: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Activations and gradients of the layer, channels first, for the explained targets or another one."""
    activations, gradients = gradients_of(job, row if target is None else _resolve(labels, job.bound, target, job.mode))
    return _channels_first(job.layers[0], activations), _channels_first(job.layers[0], gradients)


def _measured(job: Job, column: Column) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """The same of the explained targets, where they were kept."""
    found = column.each("array") if job.keep else []
    return (_channels_first(job.layers[0], found[0]), _channels_first(job.layers[0], found[1])) if found else None


def _channels_first(layer: Layer, array: NDArray[Any]) -> NDArray[Any]:
    return np.moveaxis(layer.arrange(array), layer.channel_axis, 1)
