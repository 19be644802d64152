"""Sequences of tensors: lists that are known when the graph is built. Nothing of them is left in it."""

from __future__ import annotations

from math import ceil

import numpy as np

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Value
from gradcam.graph.onnx_form import Inputs, OnnxNode, TensorSequence, Unsupported, onnx_form
from gradcam.graph.ops.layout import concat, split_into

__all__ = ["MAX_ITEMS", "READERS"]

MAX_ITEMS = 1024
"""Most tensors of a sequence."""

READERS = frozenset(
    ("ConcatFromSequence", "Identity", "SequenceAt", "SequenceErase", "SequenceInsert", "SequenceLength")  # `If` and `Loop` hand them on
)
"""Operators that take sequences."""


def _sequence(node: OnnxNode, items: tuple[Value, ...]) -> TensorSequence:
    _check_count(len(items))
    return TensorSequence(node.outputs[0], (), np.dtype(object), items=items)


def _check_count(count: int) -> None:
    if count > MAX_ITEMS:
        raise Unsupported(f"a sequence of more than {MAX_ITEMS} tensors")


def _items(node: OnnxNode, inputs: Inputs) -> tuple[Value, ...]:
    value = node.required(inputs, 0)
    if not isinstance(value, TensorSequence):
        raise node.bad(f"input 0: expected a sequence, got a tensor of shape {value.shape}")
    return value.items


def _position(node: OnnxNode, inputs: Inputs, index: int, count: int) -> int:
    """A constant position below `count`; a negative one counts from the end."""
    position = node.array(inputs, index)
    if position.size != 1 or not -count <= int(position.reshape(-1)[0]) < count:
        raise node.bad(f"input {index}: expected a position from {-count} to {count - 1}, got {position.tolist()}")
    return int(position.reshape(-1)[0]) % count


@onnx_form("SequenceEmpty", "SequenceConstruct")
def sequence_construct(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Tensors one after the other."""
    return _sequence(node, tuple(node.required(inputs, i) for i in range(len(inputs))))


@onnx_form("SequenceInsert")
def sequence_insert(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Before a position, by default at the end."""
    items, tensor = _items(node, inputs), node.required(inputs, 1)
    at = len(items)
    if node.optional(inputs, 2) is not None:
        position = int(node.array(inputs, 2).reshape(-1)[0])
        at = len(items) if position == len(items) else _position(node, inputs, 2, len(items))
    return _sequence(node, (*items[:at], tensor, *items[at:]))


@onnx_form("SequenceErase")
def sequence_erase(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """One tensor less, by default the last."""
    items = _items(node, inputs)
    given = node.optional(inputs, 1) is not None
    if not items:
        raise node.bad("input 0: expected a sequence that is not empty")
    at = _position(node, inputs, 1, len(items)) if given else len(items) - 1
    return _sequence(node, items[:at] + items[at + 1 :])


@onnx_form("SequenceAt")
def sequence_at(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """One of the tensors."""
    items = _items(node, inputs)
    return items[_position(node, inputs, 1, len(items))]


@onnx_form("SequenceLength")
def sequence_length(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Number of tensors."""
    return g.constant(np.array(len(_items(node, inputs)), np.int64))


@onnx_form("SplitToSequence")
def split_to_sequence(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Parts of given sizes, or of one size with a smaller one at the end; by default of size 1."""
    x = node.required(inputs, 0)
    axis = node.axis(int(node.attrs.get("axis", 0)), len(x.shape))
    count = x.shape[axis]
    given = node.optional(inputs, 1) is not None
    sizes = [int(n) for n in np.atleast_1d(node.array(inputs, 1))] if given else [1]
    if min(sizes, default=0) < 1:
        raise node.bad(f"input 1: expected sizes of at least 1, got {sizes}")
    if not given or not node.array(inputs, 1).ndim:
        _check_count(ceil(count / sizes[0]))
        sizes = [min(sizes[0], count - start) for start in range(0, ceil(count / sizes[0]) * sizes[0], sizes[0])]
    parts = split_into(node, x, axis, sizes, g)
    if not given and not node.attrs.get("keepdims", 1):
        parts = [g.reshape(part, (*x.shape[:axis], *x.shape[axis + 1 :])) for part in parts]
    return _sequence(node, tuple(parts))


@onnx_form("ConcatFromSequence")
def concat_from_sequence(node: OnnxNode, inputs: Inputs, g: Builder) -> Value | list[Value]:
    """Tensors joined along an axis, or stacked along a new one."""
    items = _items(node, inputs)
    if not items:
        raise node.bad("input 0: expected a sequence that is not empty")
    if node.attrs.get("new_axis", 0):
        axis = node.axis(int(node.attrs.get("axis", 0)), len(items[0].shape) + 1)
        items = tuple(g.reshape(item, (*item.shape[:axis], 1, *item.shape[axis:])) for item in items)
    return concat(node, items, g)
