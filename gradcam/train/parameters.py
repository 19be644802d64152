"""Which weights of a model are trained, and models with other weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradcam.errors import nearest
from gradcam.graph.onnx_form import OnnxNode
from gradcam.graph.source import Source
from gradcam.model import Model

__all__ = ["checked_names", "parameter_names", "statistics_of", "training_source", "with_weights"]

Arrays = Mapping[str, NDArray[Any]]


def parameter_names(model: Model) -> list[str]:
    """Names of the weights that are trained unless told otherwise: those that end in ``.weight`` or ``.bias``.

    That is what `gradcam.GraphBuilder` calls the weights of its layers, and PyTorch those of its modules. A constant is trained
    if its name is among the `parameters` of a `Trainer`.
    """
    source = model._source
    used = dict.fromkeys(name for node in source.needed(source.outputs) for name in node.reads)
    return [name for name in used if name.endswith((".weight", ".bias")) and _is_real(source.initializers.get(name))]


def checked_names(function: str, model: Model, names: Iterable[str]) -> list[str]:
    """Return names of weights without repetition; ValueError for what is none."""
    found = list(dict.fromkeys(names))
    for name in found:
        if not _is_real(model._source.initializers.get(name)):
            close = ", ".join(repr(n) for n in nearest(name, [n for n, a in model._source.initializers.items() if _is_real(a)]))
            raise ValueError(f"{function}: parameters: expected names of weights, got '{name}'; nearest: {close}")
    if not found:
        raise ValueError(f"{function}: parameters: expected at least one weight to train, got none")
    return found


def _is_real(array: NDArray[Any] | None) -> bool:
    return array is not None and array.dtype.kind == "f"


def statistics_of(source: Source) -> dict[str, str]:
    """Running statistics of batch norm by name, with the names under which a training step hands out the next ones."""
    norms = [node for node in source.needed(source.outputs) if _is_norm(node)]
    return {name: f"{name}.next" for node in norms for name in node.inputs[3:5] if name in source.initializers}


def training_source(source: Source) -> Source:
    """Return the source with every batch norm in training form."""

    def training(node: OnnxNode) -> OnnxNode:
        if not _is_norm(node):
            return node
        following = tuple(f"{name}.next" for name in node.inputs[3:5])
        return replace(node, op_type="TrainingBatchNormalization", domain="gradcam", outputs=(node.outputs[0], *following))

    return replace(source, nodes=[training(node) for node in source.nodes], _constants={})


def _is_norm(node: OnnxNode) -> bool:
    return node.op_type == "BatchNormalization" and node.domain in ("", "ai.onnx")


def with_weights(model: Model, weights: Mapping[str, ArrayLike]) -> Model:
    """Return the model with other weights.

    Parameters
    ----------
    model : Model
        It stays as it is.
    weights : mapping of str to array_like
        Arrays of real numbers in the shapes of those that they replace, by name.

    Returns
    -------
    Model

    Raises
    ------
    ValueError
        There is no such weight, or its shape is another one.
    """
    return _with_weights(model, {name: np.array(array) for name, array in weights.items()}, model._origin)


def _with_weights(model: Model, weights: Arrays, origin: Callable[..., Model] | None) -> Model:
    checked_names("with_weights", model, weights)
    source = model._source
    for name, array in weights.items():
        if array.shape != source.initializers[name].shape:
            raise ValueError(f"with_weights: '{name}': expected shape {source.initializers[name].shape}, got {array.shape}")
    changed = replace(source, initializers={**source.initializers, **weights}, _constants={})
    again = None if origin is None else partial(_again, origin, weights)
    return model._derived(changed, again)


def _again(origin: Callable[..., Model], weights: Arrays, *, labels: dict[int, str]) -> Model:
    """Unpickle: make the original model, then the new one."""
    return _with_weights(origin(labels=labels), weights, origin)
