"""What a CAM method is, and the registry of all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any, Literal

from gradcam.compat import Mode
from gradcam.graph.builder import Builder
from gradcam.graph.ir import Value

__all__ = ["METHODS", "CamBuilder", "CamNodes", "Method", "find_method", "list_methods", "method"]

Need = Literal["activations", "gradients", "forward", "input"]


@dataclass(frozen=True, slots=True)
class CamNodes:
    """What a method emits: the signed map (1, *S), and where it has them channel weights (1, C) and degenerate channels (1, C)."""

    raw: Value
    weights: Value | None = None
    degenerate: Value | None = None


@dataclass(frozen=True, slots=True)
class CamBuilder:
    """What a method works with: activations and gradients of one picture, and the reductions over them."""

    g: Builder
    activations: Value
    gradients: Value
    channel_axis: int
    mode: Mode

    @property
    def _common(self) -> dict[str, Any]:
        return {"channel_axis": self.channel_axis}

    def channel_mean(self, array: Value) -> Value:
        """Return mean_x array[k, x] for each channel k."""
        return self.g.emit("CamChannelMean", array, **self._common)

    def combine(self, weights: Value) -> Value:
        """Return sum_k weights[k] A[k, x] for each position x."""
        return self.g.emit("CamCombine", weights, self.activations, omit_nan=self.mode.nan == "drop", **self._common)

    def product(self, variant: Literal["product", "relu-product", "relu-gradient"]) -> Value:
        """Return sum_k g A, sum_k R(g A) or sum_k R(g) A for each position."""
        code = ("product", "relu-product", "relu-gradient").index(variant)
        return self.g.emit("CamProduct", self.activations, self.gradients, variant=code, omit_nan=self.mode.nan == "drop", **self._common)

    def weights(self, op: str, variant: int, epsilon: float) -> tuple[Value, Value]:
        """Emit a weight operator with its degenerate channels."""
        weights, degenerate = self.g.emit_all(op, self.activations, self.gradients, variant=variant, epsilon=epsilon, **self._common)
        return weights, degenerate


Emitter = Callable[..., CamNodes]


@dataclass(frozen=True, slots=True)
class Method:
    """One method of the registry.

    Attributes
    ----------
    name : str
        Name by which it is asked for.
    function : callable
        Emits its nodes; keyword-only parameters are its options.
    needs : tuple of {"activations", "gradients", "forward", "input"}
        What it is computed from.
    paper : str
        Where the formula comes from.
    """

    name: str
    function: Emitter
    needs: tuple[Need, ...]
    paper: str

    def check_options(self, caller: str, options: Mapping[str, Any]) -> None:
        """Raise TypeError for an option that the method does not have."""
        allowed = [p.name for p in signature(self.function).parameters.values() if p.kind is p.KEYWORD_ONLY]
        for name in options:
            if name not in allowed:
                has = f"has {', '.join(allowed)}" if allowed else "has none"
                raise TypeError(f"{caller}: {name}: no such option of method '{self.name}', which {has}")


METHODS: dict[str, Method] = {}


def method(name: str, *, needs: tuple[Need, ...], paper: str) -> Callable[[Emitter], Emitter]:
    """Register a function that emits a method's nodes."""

    def register(function: Emitter) -> Emitter:
        METHODS[name] = Method(name, function, needs, paper)
        return function

    return register


def find_method(caller: str, name: str) -> Method:
    """Look up a method; ValueError lists those there are."""
    if name not in METHODS:
        raise ValueError(f"{caller}: method: expected one of {', '.join(METHODS)}, got {name!r}")
    return METHODS[name]


def list_methods() -> list[Method]:
    """Return all CAM methods.

    Returns
    -------
    list of Method
        Each with name, function, needs (``activations``, ``gradients``, ``forward``, ``input``) and paper.
    """
    return list(METHODS.values())
