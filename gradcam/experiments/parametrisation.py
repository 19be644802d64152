"""Maps under another parametrisation of the same function: which maps, which changes, and how large the difference is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from gradcam.methods import METHODS
from gradcam.methods.base import Laws
from gradcam.model import Model
from gradcam.reparametrisation import reparametrise

__all__ = [
    "CHANGES",
    "EQUAL",
    "Change",
    "Changed",
    "Difference",
    "Mapped",
    "blanking_shift",
    "channel_spread",
    "described",
    "difference",
    "draw_changes",
    "gradcam_from",
    "mapped",
]

Floats = NDArray[np.floating[Any]]
Numbers = NDArray[np.float64]
Change = Literal["shift", "scale", "flip"]
Reference = Literal["minimum", "mean", "input"]

CHANGES: tuple[Change, ...] = get_args(Change)
"""A shift of each channel, a positive factor for each, and another sign for every third."""

EQUAL = 1e-10
"""What rounding in float64 may leave of a difference that is none, relative to the peak of the map."""

BLANK_REFERENCE = 0.0
"""What the reference input holds everywhere."""

_POOLED: Mapping[str, Literal["=", "const"]] = {
    "xgradcam": "const",
    "hirescam": "const",
    "layercam": "const",
    "eigengradcam": "=",
    "segeigencam": "=",
}
"""What a shift does where the gradient is the same at all positions, and something else elsewhere."""

_FROM_MEAN = Laws("=", "=", "=", "L -> -L")


@dataclass(frozen=True)
class Mapped:
    """A kind of map, and what becomes of it when the function is parametrised otherwise.

    Attributes
    ----------
    name : str
        For people.
    laws : Laws
        What the theory says of it.
    method : str
        Method of the registry.
    options : mapping
        Options of the method.
    reference : {"minimum", "mean", "input"} or None
        What activations are measured from: the smallest value of each channel, its mean, or its values at the reference input,
        which is `BLANK_REFERENCE` everywhere; None: from zero, as the method does it.
    """

    name: str
    laws: Laws
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    reference: Reference | None = None

    def laws_at(self, pooled: bool) -> Laws:
        """Return the laws at a layer; `pooled` if it is read by a mean over its positions, so that the gradient is the same at all of them.

        Then each sum of gradient times shift is one constant, and what is centred afterwards does not know it.
        """
        return replace(self.laws, shift=_POOLED[self.method]) if pooled and self.reference is None and self.method in _POOLED else self.laws

    def maps(self, model: Model, x: Floats, target: Any, layer: str, num_threads: int | None = None) -> Floats:
        """Signed maps of a target, or of one for each picture, at the layer's size; (N, *S)."""
        if self.reference is None:
            given = {"method": self.method, "relu": False, "num_threads": num_threads, **self.options}
            return np.asarray(model.explain(x, target=target, layer=layer, **given).raw)
        a, g = model.activations_and_gradients(x, target=target, layer=layer, num_threads=num_threads)
        if self.reference == "input":
            zero: Any = model.run(np.full_like(x[:1], BLANK_REFERENCE), [layer], num_threads=num_threads)
        else:
            zero = (np.min if self.reference == "minimum" else np.mean)(a, axis=tuple(range(2, a.ndim)), keepdims=True)
        weights = g if self.method == "hirescam" else g.mean(axis=tuple(range(2, g.ndim)), keepdims=True)
        return np.asarray((weights * (a - zero)).sum(axis=1))


def gradcam_from(reference: Reference) -> Mapped:
    """Return Grad-CAM whose activations are measured from a reference."""
    laws = replace(_FROM_MEAN, flip="const") if reference == "minimum" else _FROM_MEAN  # minimum and maximum change places
    return Mapped(f"gradcam, b = {_NAMES[reference]}", laws, "gradcam", reference=reference)


_NAMES = {"minimum": "channel minimum", "mean": "channel mean", "input": "reference input"}


def mapped() -> list[Mapped]:
    """Every method of one layer that has a law, with the options that change it, then maps that are measured from a reference.

    CAM itself needs a pooled head, where several methods coincide.
    """
    methods = [m for m in METHODS.values() if m.laws is not None and m.name != "cam"]
    found = [Mapped(m.name, m.laws, m.name, {"rng": 0} if "rng" in m.own_options() else {}) for m in methods if m.laws is not None]
    # The rule "energy" reads activations that are not centred: a shift may turn the sign, though not the map.
    centred = {"center": True, "sign": "extreme"}
    found += [
        Mapped("eigencam, `center=True, sign='extreme'`", Laws("=", "changes", "=", "="), "eigencam", centred),
        Mapped("fem, `mask='fraction'`", Laws("const", "changes", "changes", "="), "fem", {"mask": "fraction"}),
    ]
    found += [gradcam_from("minimum"), gradcam_from("mean"), gradcam_from("input")]
    return [*found, Mapped(f"hirescam, b = {_NAMES['input']}", _FROM_MEAN, "hirescam", reference="input")]


def draw_changes(activations: Floats, seed: int) -> dict[Change, dict[str, Any]]:
    """Draw a shift of about the size of the activations and a scale of exp(N(0, 0.7)), and turn every third channel around."""
    generator = np.random.default_rng(seed)
    channels = activations.shape[1]
    return {
        "shift": {"shift": activations.std() * generator.standard_normal(channels)},
        "scale": {"scale": np.exp(0.7 * generator.standard_normal(channels))},
        "flip": {"scale": np.where(np.arange(channels) % 3 == 0, -1.0, 1.0)},
    }


class Difference(NamedTuple):
    """How far two batches of maps are apart, (N,) each, relative to the peak of the first.

    `whole` is the largest difference of each map, `rest` what is left of it without one constant per map.
    """

    whole: Numbers
    rest: Numbers


def difference(before: Floats, after: Floats) -> Difference:
    """Compare maps (N, *S); NaN where the first is zero."""
    first = before.reshape(len(before), -1).astype(np.float64)
    change = after.reshape(first.shape) - first
    peak = np.abs(first).max(axis=1)
    peak = np.where(peak > 0, peak, np.nan)
    return Difference(np.abs(change).max(axis=1) / peak, np.abs(change - change.mean(axis=1, keepdims=True)).max(axis=1) / peak)


def described(found: Difference) -> str:
    """Say of the largest difference of several maps: none (and what rounding leaves), one constant, or how much."""
    whole, rest = (float(np.nanmax(numbers, initial=0)) for numbers in found)
    if whole < EQUAL:
        return f"= ({whole:.0e})"
    return f"const {whole:.2g} ({rest:.0e})" if rest < EQUAL else f"{whole:.2g}"


@dataclass(frozen=True)
class Changed:
    """Pictures and targets, one layer of a network, and the same function with other activations there.

    Attributes
    ----------
    model : Model
        As it is.
    x : array
        Pictures.
    target : Any
        One target, or a list of one for each picture.
    layer : str
        Name of the layer.
    changes : mapping of str to mapping
        What is done to the layer: arguments of `gradcam.reparametrise`.
    others : mapping of str to Model
        The model after each change.
    """

    model: Model
    x: Floats
    target: Any
    layer: str
    changes: Mapping[Change, Mapping[str, Any]]
    others: Mapping[Change, Model]

    @classmethod
    def draw(cls, model: Model, x: Floats, target: Any, layer: str, seed: int) -> Changed:
        """Draw the changes; raises ValueError where one of them cannot be compensated."""
        changes = draw_changes(np.asarray(model.run(x, [layer])), seed)
        others = {name: reparametrise(model, layer, **change) for name, change in changes.items()}
        return cls(model, x, target, layer, changes, others)

    def compare(self, kind: Mapped) -> dict[Change, Difference]:
        """Compare maps before and after each change."""
        before = kind.maps(self.model, self.x, self.target, self.layer)
        return {name: difference(before, kind.maps(other, self.x, self.target, self.layer)) for name, other in self.others.items()}

    def score_changes(self, dtype: Any = np.float64) -> dict[Change, float]:
        """Largest change of a score of the first output, relative to the largest score."""
        x, output = self.x.astype(dtype), [self.model.outputs[0].name]
        scores = np.asarray(self.model.run(x, output))
        return {
            n: float(np.abs(np.asarray(other.run(x, output)) - scores).max() / np.abs(scores).max()) for n, other in self.others.items()
        }


def channel_spread(activations: Floats) -> Numbers:
    """Return the standard deviation of each channel of (N, C, *S) over pictures and positions, (C,)."""
    return np.asarray(activations.std(axis=(0, *range(2, activations.ndim)), dtype=np.float64))


def blanking_shift(maps: Floats, alpha: Floats, spread: Numbers) -> tuple[Numbers, Numbers]:
    """Return the smallest shift for each picture that brings the peak of its Grad-CAM map to zero, and its size.

    Parameters
    ----------
    maps : array, shape (N, *S)
        Signed maps of Grad-CAM.
    alpha : array, shape (N, C)
        Their channel weights.
    spread : array, shape (C,)
        Unit of each channel.

    Returns
    -------
    shift : ndarray of float64, shape (N, C)
        ``-max(L) alpha u^2 / sum (alpha u)^2`` with the units u; zero where the peak is below zero already.
    size : ndarray of float64, shape (N,)
        Root of the mean over the channels of (shift / unit)^2: no shift with a smaller one does it. NaN where it is zero.
    """
    peak = np.maximum(maps.reshape(len(maps), -1).max(axis=1), 0).astype(np.float64)
    alpha = alpha.astype(np.float64)
    norm = ((alpha * spread) ** 2).sum(axis=1)
    factor = np.divide(peak, norm, out=np.zeros_like(norm), where=norm > 0)
    size = factor * np.sqrt(norm / alpha.shape[1])
    return -factor[:, None] * alpha * spread**2, np.where(size > 0, size, np.nan)
