"""Einsum: an equation of index letters as transposes, products and sums."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from math import prod

import numpy as np

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Value
from gradcam.graph.onnx_form import Inputs, OnnxNode, Unsupported, onnx_form
from gradcam.ops.binary import MAX_RANK

Labels = tuple[str, ...]
"""One label per axis: a letter, or "-3" for the third axis from the right among those of an ellipsis."""


@onnx_form("Einsum")
def einsum(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Operands are contracted from the left, two at a time; of an operand with a letter twice the diagonal is taken first."""
    values = [node.required(inputs, i) for i in range(len(inputs))]
    terms, wanted = _parse(node, values)
    values, terms = (list(parts) for parts in zip(*(_diagonal(node, g, *part) for part in zip(values, terms, strict=True)), strict=True))
    sizes = _sizes(node, values, terms)
    parts = [_squeezed(g, value, labels, sizes) for value, labels in zip(values, terms, strict=True)]
    value, labels = parts[0]
    for i, (other, other_labels) in enumerate(parts[1:], start=1):
        kept = {*wanted, *(label for _, later in parts[i + 1 :] for label in later)}
        value, labels = _contract(g, value, labels, other, other_labels, kept)
    value, labels = _summed(g, value, labels, wanted)
    return g.transpose(value, [labels.index(label) for label in wanted])


def _parse(node: OnnxNode, values: list[Value]) -> tuple[list[Labels], Labels]:
    """Return the labels of each operand and of the result."""
    equation = str(node.attrs.get("equation", "")).replace(" ", "")
    left, arrow, right = equation.partition("->")
    texts = left.split(",")
    if len(texts) != len(values) or not values:
        raise node.bad(f"attribute 'equation': '{equation}' does not name {len(values)} operands")
    terms = [_labels(node, text, len(value.shape)) for text, value in zip(texts, values, strict=True)]
    dots = sorted({label for term in terms for label in term if label[0] == "-"}, key=int)
    if arrow:
        wanted = _labels(node, right, len(right.replace("...", "")) + ("..." in right) * len(dots))
    else:
        counts = Counter(label for term in terms for label in term if label[0] != "-")
        wanted = (*dots, *sorted(label for label, count in counts.items() if count == 1))
    if len(set(wanted)) < len(wanted) or not set(wanted) <= {label for term in terms for label in term}:
        raise node.bad(f"attribute 'equation': the result of '{equation}' has an index twice, or one that no operand has")
    return terms, wanted


def _labels(node: OnnxNode, text: str, rank: int) -> Labels:
    before, dots, after = text.partition("...")
    letters = before + after
    spare = rank - len(letters)
    if (letters and not (letters.isascii() and letters.isalpha())) or spare < 0 or (spare and not dots):
        raise node.bad(f"attribute 'equation': '{text}' does not fit an array of {rank} axes")
    return (*before, *(str(i) for i in range(-spare, 0)), *after)


def _sizes(node: OnnxNode, values: list[Value], terms: list[Labels]) -> dict[str, int]:
    """Return the size of every label; sizes of 1 are broadcast."""
    sizes: dict[str, int] = {}
    for value, labels in zip(values, terms, strict=True):
        for label, n in zip(labels, value.shape, strict=True):
            if 1 not in (n, sizes.get(label, 1)) and sizes[label] != n:
                raise node.bad(f"index '{label}' has the sizes {sizes[label]} and {n}")
            sizes[label] = n if sizes.get(label, 1) == 1 else sizes[label]
    return sizes


def _diagonal(node: OnnxNode, g: Builder, value: Value, labels: Labels) -> tuple[Value, Labels]:
    """Keep the elements whose positions along all axes of one label are the same."""
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is None:
        return value, labels
    first = labels.index(twice)
    second = labels.index(twice, first + 1)
    rest = [a for a in range(len(labels)) if a not in (first, second)]
    n = value.shape[first]
    if value.shape[second] != n:
        raise node.bad(f"index '{twice}' has the sizes {n} and {value.shape[second]}")
    flat = g.reshape(g.transpose(value, (*rest, first, second)), (*(value.shape[a] for a in rest), n * n))
    diagonal = g.emit("Gather", flat, g.constant(np.arange(n) * (n + 1)), axis=len(rest))
    return _diagonal(node, g, diagonal, (*(labels[a] for a in rest), twice))


def _squeezed(g: Builder, value: Value, labels: Labels, sizes: dict[str, int]) -> tuple[Value, Labels]:
    """Drop the axes that are repeated: another operand has them in full size."""
    kept = [i for i, label in enumerate(labels) if value.shape[i] == sizes[label]]
    return g.reshape(value, tuple(value.shape[i] for i in kept)), tuple(labels[i] for i in kept)


def _summed(g: Builder, value: Value, labels: Labels, kept: Collection[str]) -> tuple[Value, Labels]:
    """Sum over the axes whose labels are not kept."""
    axes = [i for i, label in enumerate(labels) if label not in kept]
    return g.sum(value, axes), tuple(label for label in labels if label in kept)


def _contract(g: Builder, a: Value, labels_a: Labels, b: Value, labels_b: Labels, kept: Collection[str]) -> tuple[Value, Labels]:
    """Multiply two operands and sum over the labels that both have and nobody needs any more."""
    a, labels_a = _summed(g, a, labels_a, {*kept, *labels_b})
    b, labels_b = _summed(g, b, labels_b, {*kept, *labels_a})
    shared = [label for label in labels_a if label in labels_b]
    batch, inner = [label for label in shared if label in kept], [label for label in shared if label not in kept]
    rows, columns = ([label for label in labels if label not in shared] for labels in (labels_a, labels_b))
    if not inner and len(batch) + len(rows) + len(columns) <= MAX_RANK:  # an outer product, each label an axis of its own
        left = _arranged(g, a, labels_a, [*([x] for x in batch + rows), *([] for _ in columns)])
        right = _arranged(g, b, labels_b, [*([x] for x in batch), *([] for _ in rows), *([x] for x in columns)])
        return g.mul(left, right), (*batch, *rows, *columns)
    if len(batch) > MAX_RANK - 2:
        raise Unsupported(f"more than {MAX_RANK - 2} indices that two operands share with the result")
    # Labels of one operand become one matrix axis, in the operand's own order: a batch axis stays the first of it.
    left = _arranged(g, a, labels_a, [*([x] for x in batch), rows, inner])
    right = _arranged(g, b, labels_b, [*([x] for x in batch), inner, columns])
    sizes = dict(zip((*labels_a, *labels_b), (*a.shape, *b.shape), strict=True))
    labels = (*batch, *rows, *columns)
    return g.reshape(g.emit("MatMul", left, right, trans_a=False, trans_b=False), tuple(sizes[label] for label in labels)), labels


def _arranged(g: Builder, value: Value, labels: Labels, groups: list[list[str]]) -> Value:
    """Transpose to the order of the groups and make each one axis."""
    order = [labels.index(label) for group in groups for label in group]
    sizes = tuple(prod(value.shape[labels.index(label)] for label in group) for group in groups)
    return g.reshape(g.transpose(value, order), sizes)
