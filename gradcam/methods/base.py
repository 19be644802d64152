"""What a CAM method is, and the registry of all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from inspect import signature
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gradcam.compat import Mode
from gradcam.graph.builder import Builder
from gradcam.graph.ir import Value
from gradcam.graph.operators import GuidedRule
from gradcam.methods.projection import project
from gradcam.targets import Target

__all__ = [
    "COMMON_OPTIONS",
    "METHODS",
    "CamBuilder",
    "CamNodes",
    "Laws",
    "Method",
    "Tail",
    "emit_cam",
    "find_method",
    "gradient_method",
    "list_methods",
    "method",
    "prepare_options",
]

Need = Literal["activations", "gradients", "forward", "input"]
Operand = Literal["channels", "map", "activations", "samples"]
SignRule = Literal["energy", "extreme"]
Product = Literal["product", "relu-product", "relu-gradient"]

COMMON_OPTIONS = {"eigen_smooth": (False, True), "nan": ("propagate", "omit")}
"""Options that every method on a layer takes, and their values, the default first."""

_PRODUCTS: tuple[Product, ...] = ("product", "relu-product", "relu-gradient")


@dataclass(frozen=True, slots=True)
class CamNodes:
    """What a method emits.

    Attributes
    ----------
    raw : Value
        Signed map (1, *S).
    weights, degenerate : Value or None
        Channel weights (1, C), and numbers (1, C) that are not 0 for each degenerate channel.
    eigen : Value or None
        (1, 2) of methods that project on a singular vector: code of the rule that decided its sign (`SIGN_RULES`), and
        whether it is not unique (0 or 1).
    at_input : Value or None
        Guided gradient in the shape of the input, which the finished layer map is multiplied with.
    """

    raw: Value
    weights: Value | None = None
    degenerate: Value | None = None
    eigen: Value | None = None
    at_input: Value | None = None


@dataclass(frozen=True, slots=True)
class Tail:
    """What lies behind the layer, for methods that need more than one gradient: emitted when it is asked for.

    Attributes
    ----------
    hessian_product : callable
        Emits the Hessian of the score times the activations.
    check_pooled_head : callable
        Raises ValueError unless the score is a linear function of the pooled activations.
    guided_gradient : callable
        Emits what a `GuidedRule` makes of the gradient at the input.
    """

    hessian_product: Callable[[], Value]
    check_pooled_head: Callable[[], None]
    guided_gradient: Callable[[GuidedRule], Value]


@dataclass(slots=True)
class CamBuilder:
    """What a method works with: activations and gradients of one picture, and the reductions over them."""

    name: str
    g: Builder
    activations: Value
    channel_axis: int
    mode: Mode
    given_gradients: Value | None = None
    tail: Tail | None = None
    eigen_smooth: bool = False
    eigen: Value | None = None

    @property
    def gradients(self) -> Value:
        """Gradients of the score with respect to the activations."""
        assert self.given_gradients is not None
        return self.given_gradients

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.activations.shape[self.channel_axis]

    @property
    def positions(self) -> int:
        """Number of positions."""
        return prod(n for i, n in enumerate(self.activations.shape) if i not in (0, self.channel_axis))

    @property
    def _common(self) -> dict[str, Any]:
        return {"channel_axis": self.channel_axis}

    def variant(self, field: str, title: str) -> Any:
        """What the mode says of a method, by a field of `Mode`; ValueError if the mode does not have the method."""
        return self.mode.variant(self.name, field, title)

    def channel_mean(self, array: Value) -> Value:
        """Return mean_x array[k, x] for each channel k."""
        return self.g.emit("CamChannelMean", array, **self._common)

    def combine(self, weights: Value, activations: Value | None = None) -> Value:
        """Return sum_k weights[k] A[k, x] for each position x."""
        a = self.activations if activations is None else activations
        if self.eigen_smooth:
            return self.project("weighted", center=True, weights=weights)
        return self.g.emit("CamCombine", weights, a, omit_nan=self.mode.nan == "drop", **self._common)

    def product(self, variant: Product) -> Value:
        """Return sum_k g A, sum_k R(g A) or sum_k R(g) A for each position."""
        if self.eigen_smooth:
            return self.project(variant, center=True)
        code = _PRODUCTS.index(variant)
        return self.g.emit("CamProduct", self.activations, self.gradients, variant=code, omit_nan=self.mode.nan == "drop", **self._common)

    def weights(self, op: str, *arrays: Value, variant: int = 0, epsilon: float = 0.0) -> tuple[Value, Value]:
        """Emit a weight operator (of activations and gradients unless `arrays` says otherwise) with its degenerate channels."""
        arrays = arrays or (self.activations, self.gradients)
        weights, degenerate = self.g.emit_all(op, *arrays, variant=variant, epsilon=epsilon, **self._common)
        return weights, degenerate

    def project(
        self, term: str, *, center: bool, weights: Value | None = None, sign: str | int | Value = "energy", own: SignRule = "energy"
    ) -> Value:
        """Return the projection of a term's channels on its first singular vector (numerics: the eigen family).

        Parameters
        ----------
        term : {"activations", "product", "abs-product", "relu-product", "relu-gradient", "weighted"}
            What is decomposed, per channel and position.
        center : bool
            Whether the mean over the positions of each channel is subtracted.
        weights : Value, optional
            Of ``"weighted"``.
        sign : {"energy", "extreme"}, 1, -1, or Value
            What decides the sign: a rule, the method's own rule times a factor, or the map that it must agree with.
        own : {"energy", "extreme"}
            The method's own rule.
        """
        rule = own if not isinstance(sign, str) else "energy" if sign == "energy" else "extreme"
        if isinstance(sign, str) and sign != rule or isinstance(sign, int) and sign not in (1, -1):
            raise ValueError(f"sign: expected 'energy', 'extreme', 1, -1 or a map, got {sign!r}")
        found = project(
            self.g,
            self.channel_axis,
            term,
            activations=self.activations,
            gradients=self.given_gradients if term not in ("activations", "weighted") else None,
            weights=weights,
            center=center,
            sign=rule,
            factor=sign if isinstance(sign, int) else 1,
            reference=sign if isinstance(sign, Value) else None,
            replace_nan=self.mode.nan == "spread",
        )
        self.eigen = found.info
        return found.map


@dataclass(frozen=True, slots=True)
class Laws:
    """What becomes of a raw map when the same function is parametrised otherwise, or the score negated (tested).

    Attributes
    ----------
    shift, scale, flip : {"=", "const", "changes"}
        Each channel of the layer is shifted, multiplied by a positive number, or some by -1, and the next layer makes up for
        it: the map stays, changes by one number at all positions, or changes otherwise.
    negated : {"=", "L -> -L", "other map"}
        The score is negated.
    """

    shift: Literal["=", "const", "changes"]
    scale: Literal["=", "const", "changes"]
    flip: Literal["=", "const", "changes"]
    negated: Literal["=", "L -> -L", "other map"]


Emitter = Callable[..., Any]
"""Takes a `CamBuilder` and options, and returns `CamNodes`; a layerless method is described in `gradcam.methods.fullgrad`."""
Prepare = Callable[[dict[str, Any], int, int], dict[str, Any]]
Retarget = Callable[[Target, Mode, Mapping[str, Any]], Target]


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
    use : str
        When to use it.
    laws : Laws or None
        How its map depends on the parametrisation; None: as the method that it builds on, or there is no such law.
    operands : mapping of str to {"channels", "map", "activations", "samples"}
        Options that are arrays, inputs of the graph: (N, C) or (C,); (N, *S); as the activations; (samples, *activations).
    prepare : callable or None
        Turns the caller's options into those of `function`, given the numbers of pictures and channels.
    options : tuple of str or None
        The caller's options where they are not those of `function`.
    retarget : callable or None
        Replaces the target by the score that is differentiated.
    aggregate : str or None
        How several layers are combined, whatever the mode says.
    layerless : bool
        It is computed from all layers at once, or from none.
    at_input : bool
        It has attributions in the shape of the input.
    model_gradients : bool
        In a model the gradient takes the place of an operand that arrays must come with.
    """

    name: str
    function: Emitter
    needs: tuple[Need, ...]
    paper: str
    use: str
    laws: Laws | None = None
    operands: Mapping[str, Operand] = field(default_factory=dict)
    prepare: Prepare | None = None
    options: tuple[str, ...] | None = None
    retarget: Retarget | None = None
    aggregate: str | None = None
    layerless: bool = False
    at_input: bool = False
    model_gradients: bool = False

    def own_options(self) -> list[str]:
        """Names of the options that the method takes beside `COMMON_OPTIONS`."""
        return self.emitter_options() if self.options is None else list(self.options)

    def emitter_options(self) -> list[str]:
        """Names of the keyword-only parameters of `function`."""
        return list(_keyword_only(self.function))

    def check_options(self, caller: str, options: Mapping[str, Any]) -> None:
        """Raise TypeError for an option that the method does not have, ValueError for a wrong value of a common one."""
        if not options:
            return
        own = self.own_options()
        common = {} if self.layerless else COMMON_OPTIONS
        for name, value in options.items():
            if name in common:
                if not isinstance(value, bool | str) or value not in common[name]:
                    raise ValueError(f"{caller}: {name}: expected one of {', '.join(map(repr, common[name]))}, got {value!r}")
            elif name not in own:
                has = f"has {', '.join(own)}" if own else "has none of its own"
                raise TypeError(f"{caller}: {name}: no such option of method '{self.name}', which {has}")


@cache
@cache
def _keyword_only(function: Emitter) -> tuple[str, ...]:
    return tuple(p.name for p in signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY)


METHODS: dict[str, Method] = {}


def method(name: str, *, needs: tuple[Need, ...], paper: str, use: str, **fields: Any) -> Callable[[Emitter], Emitter]:
    """Register a function that emits a method's nodes; `fields` are those of `Method`."""

    def register(function: Emitter) -> Emitter:
        METHODS[name] = Method(name, function, needs, paper, use, **fields)
        return function

    return register


def find_method(caller: str, name: str) -> Method:
    """Look up a method; ValueError lists those there are."""
    if not isinstance(name, str) or name not in METHODS:
        raise ValueError(f"{caller}: method: expected one of {', '.join(METHODS)}, got {name!r}")
    return METHODS[name]


def gradient_method(caller: str, name: str) -> Method:
    """Look up the method that another one builds on: one of activations and gradients of one layer."""
    found = find_method(caller, name)
    special = found.layerless or found.retarget is not None or found.aggregate is not None or bool(found.operands)
    if special or found.needs != ("activations", "gradients"):
        raise ValueError(f"{caller}: base: expected a method of activations and gradients alone, got {name!r}")
    return found


def list_methods() -> list[Method]:
    """Return all CAM methods.

    Returns
    -------
    list of Method
        Each with name, function, needs (``activations``, ``gradients``, ``forward``, ``input``) and paper.
    """
    return list(METHODS.values())


def prepare_options(
    caller: str, method: Method, options: Mapping[str, Any], shape: tuple[int, ...], channel_axis: int, real: np.dtype[Any]
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Separate plain options, which a plan depends on, from arrays, which it takes as inputs with one block per picture.

    Parameters
    ----------
    shape : tuple of int
        Of the activations, (N, ...).
    """
    pictures, channels = shape[0], shape[channel_axis]
    if method.prepare is not None:
        options = method.prepare(dict(options), pictures, channels)
    emitted = (*method.emitter_options(), *COMMON_OPTIONS)
    arrays, plain = {}, {}
    for name, value in options.items():
        if name in method.operands and value is not None and not isinstance(value, str | int):
            arrays[name] = _operand(f"{caller}: {name}", method.operands[name], value, shape, channel_axis).astype(real)
        elif name in emitted:
            plain[name] = value
    return plain, arrays


def _operand(what: str, kind: Operand, value: Any, shape: tuple[int, ...], channel_axis: int) -> NDArray[Any]:
    """Check an array among the options and bring its pictures to axis 0."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{what}: expected real numbers, got {array.dtype}")
    if kind == "samples":
        if array.ndim != len(shape) + 1 or array.shape[1:] != shape or not len(array):
            raise ValueError(f"{what}: expected shape (samples, {', '.join(map(str, shape))}), got {array.shape}")
        return np.ascontiguousarray(np.swapaxes(array, 0, 1))
    spatial = tuple(n for i, n in enumerate(shape) if i not in (0, channel_axis))
    wanted = {"channels": (shape[0], shape[channel_axis]), "map": (shape[0], *spatial), "activations": shape}[kind]
    if kind == "channels" and array.shape == wanted[1:]:
        array = np.broadcast_to(array, wanted)
    if array.shape != wanted:
        raise ValueError(f"{what}: expected shape {wanted}, got {array.shape}")
    return array


def emit_cam(
    method: Method,
    mode: Mode,
    g: Builder,
    activations: Value,
    gradients: Value | None,
    channel_axis: int,
    options: Mapping[str, Any],
    operands: Mapping[str, Value],
    tail: Tail | None = None,
) -> CamNodes:
    """Emit the nodes of a method with the options common to all of them."""
    own = {n: v for n, v in options.items() if n not in COMMON_OPTIONS}
    dropped = None
    if options.get("nan") == "omit":
        arrays = [activations] if gradients is None else [activations, gradients]
        dropped = g.emit("CamFinite", *arrays, channel_axis=channel_axis)
        activations, *rest = (g.emit("CamDrop", a, dropped, channel_axis=channel_axis) for a in arrays)
        gradients = rest[0] if rest else None
    c = CamBuilder(method.name, g, activations, channel_axis, mode, gradients, tail, bool(options.get("eigen_smooth", False)))
    nodes: CamNodes = method.function(c, **own, **operands)
    if c.eigen_smooth and c.eigen is None:
        raise ValueError(f"eigen_smooth: method '{method.name}' has no sum over channels that could be replaced")
    degenerate = nodes.degenerate
    if dropped is not None:
        degenerate = dropped if degenerate is None else g.add(degenerate, dropped)
    return CamNodes(nodes.raw, nodes.weights, degenerate, c.eigen, nodes.at_input)
