"""How an operator makes up for scaled and shifted operands, so that nothing after it changes: one rule per ONNX operator.

A rule takes the change up into the constants of the node, or says how the output changes in turn, or refuses with the
reason. `gradcam.reparametrisation` walks from the changed tensor forward and asks the rule of each reader.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Node, Shape, Value
from gradcam.graph.onnx_form import ONNX_FORMS, OnnxNode
from gradcam.graph.windows import windows

__all__ = ["RULES", "Affine", "Floats", "Reader", "Refused", "unchanged"]

Floats = NDArray[np.float64]


class Refused(Exception):
    """A reader cannot be compensated; the text says why."""


def _compress(array: Floats) -> Floats:
    """Size 1 along every axis on which the elements do not depend."""
    for axis in range(array.ndim):
        first = array.take([0], axis)
        if array.shape[axis] > 1 and bool((array == first).all()):
            array = first
    return array


class Affine:
    """The change x' = scale x + shift of a tensor; both have its rank, and size 1 along axes on which they do not vary."""

    __slots__ = ("scale", "shift")

    def __init__(self, scale: Floats, shift: Floats, rank: int = 0) -> None:
        rank = max(scale.ndim, shift.ndim, rank)
        self.scale, self.shift = (_compress(a.reshape((1,) * (rank - a.ndim) + a.shape)) for a in (scale, shift))

    @property
    def scales(self) -> bool:
        """Whether any element is scaled."""
        return bool((self.scale != 1).any())

    @property
    def shifts(self) -> bool:
        """Whether any element is shifted."""
        return bool((self.shift != 0).any())

    @property
    def flips(self) -> bool:
        """Whether any element changes its sign."""
        return bool((self.scale < 0).any())

    def __bool__(self) -> bool:
        return self.scales or self.shifts


def unchanged(rank: int) -> Affine:
    """Return the change that is none."""
    return Affine(np.ones(()), np.zeros(()), rank)


@dataclass(slots=True)
class Reader:
    """A node that reads changed tensors, as its rule sees it.

    Attributes
    ----------
    node : OnnxNode
        The node as it was read.
    values : list of Value or None
        Its operands at the model's nominal sizes; constants hold float64.
    changes : list of Affine
        How each operand changes.
    emitted : Node or None
        What the node became in the graph; None if its output is another name of an operand.
    output : Value
        Its (first) output.
    sized : list of bool
        Whether an operand is a constant only as long as the model's input keeps its size.
    symbolic : bool
        Whether the model's input may have other sizes.
    constants : dict
        New operands, filled by the rule.
    attributes : dict
        New attributes, filled by the rule.
    bias : ndarray or None
        What is to be added to the output, for an operator without a bias of its own.
    """

    node: OnnxNode
    values: list[Value | None]
    changes: list[Affine]
    emitted: Node | None
    output: Value
    sized: list[bool]
    symbolic: bool
    constants: dict[int, Floats] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    bias: Floats | None = None

    def only(self, index: int) -> Affine:
        """Change of the one operand that may have one."""
        for i, change in enumerate(self.changes):
            if change and i != index:
                raise Refused(f"as operand {i}, where it cannot be compensated")
        return self.changes[index]

    def shape(self, index: int) -> Shape:
        """Shape of an operand."""
        value = self.values[index]
        assert value is not None
        return value.shape

    def is_constant(self, index: int) -> bool:
        """Whether an operand is the same for every input of the model."""
        value = self.values[index]
        return value is not None and value.data is not None and not self.sized[index]

    def constant(self, index: int, what: str) -> Floats:
        """Elements of an operand that must be constant."""
        value = self.values[index]
        if not self.is_constant(index) or value is None or value.data is None:
            raise Refused(f"but its {what} is not constant")
        return np.asarray(value.data, np.float64)

    def has(self, index: int) -> bool:
        """Whether there is such an operand."""
        return index < len(self.values) and self.values[index] is not None

    def along(self, axis: int) -> tuple[Floats, Floats]:
        """Scale and shift of the first operand, one number for each place of its axis `axis`."""
        change, size = self.only(0), self.shape(0)[axis]
        for array in (change.scale, change.shift):
            if any(n > 1 for i, n in enumerate(array.shape) if i != axis):
                raise Refused("but there the change is not one number per channel")
        return tuple(np.broadcast_to(a.reshape(-1), (size,)) for a in (change.scale, change.shift))  # type: ignore[return-value]

    def pads(self) -> bool:
        """Whether a window with attributes in the manner of Conv reaches beyond its input, at any size that this may have."""
        size = self.shape(0)[2:]
        kernel = self.shape(1)[2:] if self.node.op_type == "Conv" else tuple(self.node.attrs["kernel_shape"])
        _, low, high, _ = windows(self.node, size, kernel)
        same = str(self.node.attrs.get("auto_pad", "NOTSET")).startswith("SAME")
        return any(low + high) or (same and self.symbolic and max(kernel) > 1)


Result = Affine | Sequence[Affine] | None
Rule = Callable[[Reader], Result]
_Rule = TypeVar("_Rule", bound=Rule)
RULES: dict[str, Rule] = {}


def rule(*op_types: str) -> Callable[[_Rule], _Rule]:
    """Register the rule of ONNX operators: it returns the change of each output, None where none is left."""

    def register(function: _Rule) -> _Rule:
        for op_type in op_types:
            RULES[op_type] = function
        return function

    return register


# Operators that take the change up -----------------------------------------------------------------------------------


@rule("Conv")
def _conv(r: Reader) -> None:
    scale, shift = r.along(1)
    weight = r.constant(1, "weight")
    groups, outputs = int(r.node.attrs.get("group", 1)), weight.shape[0]
    if shift.any() and r.pads():
        raise Refused("and pads it with zeros: a shift would not reach the padding")
    # Rows of a (groups, channels of a group) table, one for each output channel, against the weight's first two axes.
    scale, shift = (
        np.repeat(v.reshape(groups, -1), outputs // groups, 0).reshape(*weight.shape[:2], *(1,) * (weight.ndim - 2)) for v in (scale, shift)
    )
    weight = weight / scale
    r.constants[1] = weight
    if shift.any():
        bias = r.constant(2, "bias") if r.has(2) else np.zeros(outputs)
        r.constants[2] = bias - (weight * shift).sum(tuple(range(1, weight.ndim)))


@rule("Gemm")
def _gemm(r: Reader) -> None:
    if r.node.attrs.get("transA", 0):
        raise Refused("but multiplies it transposed")
    scale, shift = r.along(1)
    weight = r.constant(1, "weight")
    transposed = bool(r.node.attrs.get("transB", 0))
    weight = weight / (scale[None] if transposed else scale[:, None])
    r.constants[1] = weight
    if shift.any():
        alpha, beta = (float(r.node.attrs.get(name, 1.0)) for name in ("alpha", "beta"))
        bias = beta * r.constant(2, "bias") if r.has(2) and beta else np.zeros(())
        r.constants[2] = bias - alpha * (shift @ (weight.T if transposed else weight))
        r.attributes["beta"] = 1.0


@rule("MatMul")
def _matmul(r: Reader) -> None:
    rank = len(r.shape(0))
    scale, shift = r.along(rank - 1)
    weight = r.constant(1, "weight")
    weight = weight / (scale if weight.ndim == 1 else scale[:, None])
    r.constants[1] = weight
    if shift.any():
        lost = np.asarray(shift @ weight)
        r.bias = -(lost[..., None, :] if weight.ndim > 2 and rank > 1 else lost)


@rule("BatchNormalization")
def _batch_normalization(r: Reader) -> None:
    scale, shift = r.along(1)
    r.constants[1] = r.constant(1, "scale") / scale
    r.constants[3] = scale * r.constant(3, "mean") + shift


# Sums and products: a constant operand takes up what it can ----------------------------------------------------------


@rule("Add", "Sum", "Sub")
def _sum(r: Reader) -> Affine:
    signs = [1.0, -1.0] if r.node.op_type == "Sub" else [1.0] * len(r.values)
    constants = [i for i in range(len(r.values)) if r.is_constant(i)]
    varying = [change for i, change in enumerate(r.changes) if i not in constants]
    scale = varying[0].scale
    if any((change.scale != scale).any() for change in varying):
        raise Refused("together with another activation that is not scaled alike")
    shift: Floats = np.asarray(sum(sign * change.shift for sign, change in zip(signs, r.changes, strict=True)))
    for i in constants:
        r.constants[i] = scale * r.constant(i, "operand") - signs[i] * shift
        shift = np.zeros(())
    return Affine(scale, shift)


@rule("Mul", "Div")
def _product(r: Reader) -> Affine:
    divides = r.node.op_type == "Div"
    constant = next((i for i in (0, 1) if r.is_constant(i)), None)
    if any(change.shifts for change in r.changes) and (constant is None or (divides and constant == 0)):
        raise Refused("and divides by it" if constant == 0 else "together with another activation: a shift does not pass their product")
    scale: Floats = r.changes[0].scale / r.changes[1].scale if divides else r.changes[0].scale * r.changes[1].scale
    if constant is None:
        return Affine(scale, np.zeros(()))
    factor = r.constant(constant, "operand")
    new = factor * scale if divides and constant == 1 else factor / scale
    r.constants[constant] = new
    shift = r.changes[1 - constant].shift
    if not shift.any():
        return unchanged(len(r.output.shape))
    return Affine(np.ones(()), shift / new if divides else shift * new)


@rule("Neg")
def _neg(r: Reader) -> Affine:
    return Affine(r.only(0).scale, -r.only(0).shift)


# Operators that hand the change on -----------------------------------------------------------------------------------


@rule("Identity", "Dropout", "Cast", "CastLike")
def _same(r: Reader) -> Affine:
    return r.only(0)


def _moved(r: Reader, node: OnnxNode | None = None, operands: int = 1) -> list[Affine]:
    """Changes of the outputs of an operator that only moves elements: it moves scale and shift along."""
    node = node or r.node
    parts = []
    for name in ("scale", "shift"):
        g = Builder(np.dtype(np.float64))
        inputs = list(r.values)
        for i in range(operands):
            inputs[i] = g.constant(np.broadcast_to(getattr(r.changes[i], name), r.shape(i)))
        result = ONNX_FORMS[node.op_type](node, inputs, g)
        parts.append([np.asarray(v.data) for v in (result if isinstance(result, list) else [result])])
    return [Affine(scale, shift) for scale, shift in zip(*parts, strict=True)]


@rule("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split", "Gather", "Expand")
def _move(r: Reader) -> list[Affine]:
    r.only(0)
    return _moved(r)


@rule("Concat")
def _concat(r: Reader) -> list[Affine]:
    return _moved(r, operands=len(r.values))


@rule("Pad")
def _pad(r: Reader) -> Affine:
    change = r.only(0)
    if change.shifts and r.symbolic and any(r.sized[1:]):
        raise Refused("and pads it by an amount that depends on the size of the input: a shift might not reach the padding")
    if r.emitted is not None and r.emitted.op == "Resample":  # elements are repeated
        return _moved(r)[0]
    if r.emitted is None or r.emitted.op != "Pad":
        return change
    ends = list(zip(r.emitted.attrs["lo"], r.emitted.attrs["hi"], strict=True))
    if r.emitted.attrs["value"] != 0 and any(lo > 0 or hi > 0 for lo, hi in ends):
        raise Refused("and pads it with a number other than 0")
    # Channels that are added have no shift, even where all others have the same.
    shift = np.repeat(change.shift, r.shape(0)[1], 1) if change.shift.shape[1] == 1 else change.shift
    if change.shifts and any((lo > 0 or hi > 0) and n == 1 for (lo, hi), n in zip(ends, shift.shape, strict=True)):
        raise Refused("and pads it with zeros: a shift would not reach the padding")
    return Affine(_padded(change.scale, ends, 1.0), _padded(shift, ends, 0.0))


def _padded(array: Floats, ends: Sequence[tuple[int, int]], value: float) -> Floats:
    """Pad scale or shift along the axes on which they vary; zeros may be scaled by anything on the others."""
    ends = [(0, 0) if n == 1 else pair for pair, n in zip(ends, array.shape, strict=True)]
    cropped = array[tuple(slice(max(0, -lo), n - max(0, -hi)) for (lo, hi), n in zip(ends, array.shape, strict=True))]
    return np.pad(cropped, [(max(0, lo), max(0, hi)) for lo, hi in ends], constant_values=value)


@rule("ReduceMean")
def _reduced(r: Reader) -> Affine:
    """Change of a reduction over elements that all change alike: then it is also the largest and the smallest of theirs."""
    r.only(0)
    high, low = (_moved(r, replace(r.node, op_type=op_type))[0] for op_type in ("ReduceMax", "ReduceMin"))
    if (high.scale != low.scale).any() or (high.shift != low.shift).any():
        raise Refused("and takes elements together that change differently")
    return high


@rule("GlobalAveragePool")
def _pooled(r: Reader) -> Affine:
    """Change of a pooling over positions that all change alike."""
    change = r.only(0)
    if any(n > 1 for array in (change.scale, change.shift) for n in array.shape[2:]):
        raise Refused("and takes elements together that change differently")
    return change


@rule("ReduceSum")
def _reduce_sum(r: Reader) -> Affine:
    if r.only(0).shifts:
        raise Refused("and adds up a number of elements that depends on the input: only a scale passes it")
    return _reduced(r)


@rule("ReduceMax", "ReduceMin")
def _reduce_extreme(r: Reader) -> Affine:
    _refuse_flip(r)
    return _reduced(r)


@rule("MaxPool", "GlobalMaxPool")
def _max_pool(r: Reader) -> Affine:
    _refuse_flip(r)
    return _pooled(r)


def _refuse_flip(r: Reader) -> None:
    if r.only(0).flips:
        raise Refused("and takes the extreme of it: only a positive scale passes it")


@rule("AveragePool")
def _average_pool(r: Reader) -> Affine:
    if r.only(0).shifts and r.node.attrs.get("count_include_pad", 0) and r.pads():
        raise Refused("and counts the zeros of its padding: a shift would not reach them")
    return _pooled(r)


@rule("Relu", "LeakyRelu", "Abs")
def _homogeneous(r: Reader) -> Affine:
    change = r.only(0)
    if change.flips or change.shifts:
        raise Refused("and is not linear: only a positive scale without shift passes it")
    return change


@rule("PRelu")
def _prelu(r: Reader) -> Affine:
    r.only(0)
    r.constant(1, "slope")
    return _homogeneous(r)
