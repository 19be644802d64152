"""Which layer is explained when none is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gradcam.graph.ir import Graph, Node, Value
from gradcam.graph.layers import LayerInfo, positions
from gradcam.graph.operators import OPERATORS

__all__ = ["default_layer"]

_MOVES = ("Reshape", "Transpose", "MaxPool", "AveragePool")
_PICKS = ("Gather", "Slice")

_INTERIOR = 500
"""Most tensors between an attention's projections and its last product."""


def default_layer(graph: Graph, layers: Mapping[Value, LayerInfo], axes: Mapping[Value, int], output: Value) -> Value | None:
    """Last layer before the positions are mixed for good on the way to `output`, with learned operators after it.

    (a) It comes before the last operator that makes one of several positions (global pooling, flatten), or before the last
    attention with its projections where after it one position is only picked (a class token);
    (b) it is still followed by a learned operator; (c) it is no result of pooling, reshape or transpose;
    (d) in a model of pictures it is no sequence, unless that is known to be cut from a picture.
    """
    path = graph.upstream([output])
    nodes = [n for n in graph.nodes if any(o in path for o in n.outputs)]
    before = _before_the_last_mixing(graph, nodes, axes)
    before = path - {output} if before is None else before
    learned = [n for n in nodes if OPERATORS[n.op].learned and any(v is not None and v.data is not None for v in n.inputs[1:])]
    followed = graph.upstream([v for n in learned for v in n.inputs[:1] if v is not None])
    pictures = any(len(v.shape) > 3 for v in graph.inputs)
    for node in reversed(nodes):
        value = node.outputs[0]
        if value in before and value in layers and value in followed and node.op not in _MOVES:
            if len(value.shape) > 3 or not pictures or layers[value].tokens is not None:
                return value
    return None


def _before_the_last_mixing(graph: Graph, nodes: Sequence[Node], axes: Mapping[Value, int]) -> set[Value] | None:
    """Values that come before the last operator that mixes positions; None if there is none."""
    producers, computed = graph.producers(), graph.downstream(graph.inputs)
    picked = None
    for node in reversed(nodes):
        if node.op in ("MatMul", "ReduceSum"):
            read = [value for value in _attended(node, producers, axes) if value in computed]
            if read:
                return set.intersection(*(graph.upstream([value]) for value in read))
        if _loses_positions(node, axes):
            inputs = [v for v in node.inputs if v is not None]
            if node.op not in _PICKS:
                return graph.upstream(inputs)
            picked = picked or inputs
    return None if picked is None else graph.upstream(picked)


def _loses_positions(node: Node, axes: Mapping[Value, int]) -> bool:
    """Whether a node makes a vector of an array with positions; statistics over the channels alone do not count."""
    value = node.outputs[0]
    several = [v for v in node.inputs if v is not None and positions(v, axes) > 1]
    over_channels = node.op.startswith("Reduce") and bool(several) and tuple(node.attrs["axes"]) == (axes[several[0]],)
    is_vector = positions(value, axes) == 1 and (value in axes or len(value.shape) < 3 or sum(n > 1 for n in value.shape) < 2)
    return bool(several) and is_vector and not over_channels


def _attended(node: Node, producers: Mapping[Value, Node], axes: Mapping[Value, int]) -> list[Value]:
    """What the projections of an attention read, if `node` applies its weights to its values; else nothing.

    The weights are applied by a product of two computed arrays, or by a product that is summed.
    """
    product: Node | None = node
    if node.op == "ReduceSum":
        product = producers.get(node.inputs[0]) if node.inputs[0] is not None else None
    inputs = [v for v in product.inputs if v is not None and v.data is None] if product is not None else []
    if product is None or product.op not in ("MatMul", "Mul") or len(inputs) < 2:
        return []
    # Beyond values with several axes of positions, one of which may be that of the heads, if there is an end to it.
    return _projected(product, inputs, producers, axes, True) or _projected(product, inputs, producers, axes, False)


def _projected(
    product: Node, inputs: Sequence[Value], producers: Mapping[Value, Node], axes: Mapping[Value, int], heads: bool
) -> list[Value]:
    """What the projections before `inputs` read; nothing if no weights are among them, or no end within `_INTERIOR`."""
    waiting, seen, read, weighs = list(inputs), set(inputs), [], product.op == "MatMul"
    while waiting and len(seen) <= _INTERIOR:
        value = waiting.pop()
        inner = producers.get(value)
        constant = inner is not None and any(v is not None and v.data is not None for v in inner.inputs)
        if inner is None or _is_picture(value, axes, heads):
            read.append(value)
        elif inner.op in ("MatMul", "Conv") and constant:
            read += [v for v in inner.inputs if v is not None and v.data is None]
        else:
            weighs = weighs or inner.op == "Softmax"
            fresh = {v for v in inner.inputs if v is not None and v.data is None} - seen
            seen |= fresh
            waiting += fresh
    return list(dict.fromkeys(read)) if weighs and not waiting else []


def _is_picture(value: Value, axes: Mapping[Value, int], heads: bool) -> bool:
    """Whether a value has positions along several axes; with `heads` only after its channels."""
    several = value in axes and sum(n > 1 for i, n in enumerate(value.shape) if i not in (0, axes[value])) > 1
    return several and (axes[value] == 1 or not heads)
