"""What an operator is, and the registry of all of them.

A record is a class with static methods (see `gradcam.graph.ops` for all of them):

``shape(node) -> Shape | list[Shape]``
    Shape of the output, or the shapes of several.
``lower(node, plan)``
    Emit the steps that compute it (`gradcam.graph.plan.PlanBuilder`).
``gradient(node, dy, g) -> list[Value | None]``, optional
    Emit the gradient of every input from that of the output; None where there is none.
``guided_gradient(node, dy, g, rule) -> list[Value | None] | None``, optional
    Emit what a `GuidedRule` puts in the place of the gradient; None where it leaves the gradient as it is.
``evaluate(node, arrays) -> ndarray``, optional
    Compute it at once in NumPy: shape arithmetic and constants.
``picture_axis(node, axes) -> int | None``, optional
    Where the picture axis of the inputs (`axes`, None for inputs without one) lies in the output; raises `Mixes` if
    the operator combines pictures. Without it the rule is that of elementwise operators.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from gradcam.graph.ir import Node, Shape, Value

if TYPE_CHECKING:
    from gradcam.graph.builder import Builder
    from gradcam.graph.plan import PlanBuilder

__all__ = [
    "OPERATORS",
    "GuidedRule",
    "Mixes",
    "Operator",
    "elementwise_picture_axis",
    "keeps_axis_0",
    "operator",
    "same_shape",
    "sums_pictures",
]


class Mixes(Exception):
    """An operator combines pictures of a batch."""


@dataclass(frozen=True, slots=True)
class GuidedRule:
    """What passes a ReLU backwards: the positive part of what arrives.

    Attributes
    ----------
    gated : bool
        Only where the ReLU was open on the way forward (guided backpropagation); else everywhere (deconvnet).
    clip : bool
        Clip with minimum 0, such as ReLU6, counts as a ReLU.
    """

    gated: bool
    clip: bool = False


@dataclass(frozen=True, slots=True)
class Operator:
    """One record of the registry; the fields are the static methods described above."""

    name: str
    shape: Callable[[Node], Shape | list[Shape]]
    lower: Callable[[Node, PlanBuilder], None]
    gradient: Callable[[Node, Value, Builder], list[Value | None]] | None
    guided_gradient: Callable[[Node, Value, Builder, GuidedRule], list[Value | None] | None] | None
    evaluate: Callable[[Node, list[NDArray[Any] | None]], Any] | None
    picture_axis: Callable[[Node, list[int | None]], int | None]
    dtype: type | None
    learned: bool
    indices: tuple[int, ...]


OPERATORS: dict[str, Operator] = {}


def operator(name: str, *, dtype: type | None = None, learned: bool = False, indices: tuple[int, ...] = ()) -> Callable[[type], type]:
    """Register a class as the record of operator `name`.

    Parameters
    ----------
    dtype : type, optional
        Type of the output where it is not that of the first input; ``np.floating`` is the graph's type of real numbers.
    learned : bool
        The operator has weights of its own.
    indices : tuple of int
        Which inputs may be integers; all others are real numbers.
    """

    def register(record: type) -> type:
        OPERATORS[name] = Operator(
            name,
            record.shape,  # type: ignore[attr-defined]
            record.lower,  # type: ignore[attr-defined]
            getattr(record, "gradient", None),
            getattr(record, "guided_gradient", None),
            getattr(record, "evaluate", None),
            getattr(record, "picture_axis", elementwise_picture_axis),
            dtype,
            learned,
            indices,
        )
        return record

    return register


def elementwise_picture_axis(node: Node, axes: list[int | None]) -> int | None:
    """Rule of operators that broadcast: the picture axis is the same axis, counted from the right, in all inputs."""
    found = set()
    for value, axis in zip(node.inputs, axes, strict=True):
        if value is not None and axis is not None:
            found.add(axis - len(value.shape))
    if len(found) > 1:
        raise Mixes
    if not found:
        return None
    right = found.pop()
    for value, axis in zip(node.inputs, axes, strict=True):
        if value is not None and axis is None and len(value.shape) >= -right and value.shape[right] != 1:
            raise Mixes
    return right + len(node.outputs[0].shape)


def keeps_axis_0(node: Node, axes: list[int | None]) -> int | None:
    """Rule of operators that treat axis 0 of their first input as the picture axis (convolution, pooling, ...)."""
    if any(axis not in (None, 0) for axis in axes[:1]) or any(axis is not None for axis in axes[1:]):
        raise Mixes
    return axes[0]


def sums_pictures(node: Node, axes: list[int | None]) -> int | None:
    """Rule of operators that add up or normalise over the pictures (gradients of weights, batch statistics)."""
    if any(axis is not None for axis in axes):
        raise Mixes
    return None


def same_shape(node: Node) -> Shape:
    """Shape rule of operators whose output has the shape of their first input."""
    assert node.inputs[0] is not None
    return node.inputs[0].shape
