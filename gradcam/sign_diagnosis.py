"""Why a map is blank, negative, flat or the same for all classes, in plain words with numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.sign_facts import SignFacts

__all__ = ["BLANK", "Diagnosis", "SignContext", "diagnose"]

BLANK = ("saturated", "zero_gradient", "zero_map", "one_position", "flat", "all_negative", "choice_of_zero")
"""Kinds that tell why a finished map shows nothing."""

CLASS_CORRELATION = 0.9999
"""Raw maps of two classes that correlate more than this count as one map."""
SATURATION = 1e-3
"""A probability whose gradient is weaker than that of its logit by this factor counts as saturated."""
CERTAINTY = 1e-6
"""A probability this near 0 or 1 counts as saturated where the logit's gradient is not known."""
FLATNESS = 1e-6
"""Spread of a map or of a gradient, relative to its largest value, that is taken for rounding."""
DEAD_SHARE = 0.25
"""Share of channels with one value everywhere from which they are mentioned."""


@dataclass(frozen=True)
class Diagnosis:
    """One finding about the map of one picture.

    Attributes
    ----------
    kind : str
        Its name, one of the headings of the documentation page on signs.
    text : str
        What was found, in plain words.
    evidence : dict of str to number
        The numbers it rests on.
    advice : str
        What to try.
    picture : int
        Index of the picture in the batch.
    """

    kind: str
    text: str
    evidence: dict[str, float] = field(default_factory=dict)
    advice: str = ""
    picture: int = 0

    def __str__(self) -> str:
        """Kind, text and advice."""
        return f"{self.kind}: {self.text} Try: {self.advice}"


@dataclass(frozen=True, eq=False)
class SignContext:
    """What a model knows beside activations and gradients; one entry per picture.

    Attributes
    ----------
    titles : sequence of str, optional
        What was explained.
    scores, probability, logit_gradient : ndarray, shape (N,), optional
        The scalar explained; the same where it is a probability (NaN elsewhere); largest absolute gradient of the logit
        that belongs to that probability.
    others : tuple of ndarray, shape (N, *S)
        Raw maps of other classes at the same layer.
    layer : str, optional
        Where.
    image : ndarray of uint8, optional
        The picture, where there is one.
    """

    titles: tuple[str, ...] | None = None
    scores: NDArray[Any] | None = None
    probability: NDArray[Any] | None = None
    logit_gradient: NDArray[Any] | None = None
    others: tuple[NDArray[Any], ...] = ()
    layer: str | None = None
    image: NDArray[np.uint8] | None = None

    def of(self, picture: int) -> SignContext:
        """Context of one picture."""
        one = slice(picture, picture + 1)
        rows = {f.name: getattr(self, f.name) for f in fields(self) if f.name in ("titles", "scores", "probability", "logit_gradient")}
        kept = {name: value[one] for name, value in rows.items() if value is not None}
        return replace(self, **kept, others=tuple(raw[one] for raw in self.others))


@dataclass(frozen=True, eq=False)
class _Picture:
    """The facts of one picture, in float64."""

    facts: SignFacts
    context: SignContext
    number: int

    @property
    def map(self) -> NDArray[np.float64]:
        return np.asarray(self.facts.map[self.number], np.float64)

    @property
    def finite(self) -> NDArray[np.float64]:
        values = self.map
        return values[np.isfinite(values)]

    @property
    def gradient_peak(self) -> float:
        return float(self.facts.gradients.largest[self.number].max())

    @property
    def alpha(self) -> NDArray[np.float64]:
        return np.asarray(self.facts.alpha[self.number])

    def known(self, name: str) -> float:
        """Number of the context, NaN where it is not known."""
        values = getattr(self.context, name)
        return float("nan") if values is None else float(values[self.number])


def _nonfinite(p: _Picture) -> Iterator[Diagnosis]:
    a, g = p.facts.activations.nonfinite[p.number], p.facts.gradients.nonfinite[p.number]
    if not a.any() and not g.any():
        return
    parts: list[str] = []
    evidence: dict[str, float] = {"map": int(np.count_nonzero(~np.isfinite(p.map)))}
    for name, counts in (("activations", a), ("gradients", g)):
        channels = np.flatnonzero(counts)
        evidence |= {name: int(counts.sum()), f"{name}_channels": channels.size}
        if channels.size:
            shown = ", ".join(map(str, channels[:5])) + (", ..." if channels.size > 5 else "")
            parts.append(f"{int(counts.sum())} value(s) of the {name} (channel {shown})")
            evidence[f"{name}_first_channel"] = int(channels[0])
    yield Diagnosis(
        "nonfinite",
        f"NaN or infinity in {' and '.join(parts)}; they spoil {evidence['map']} of {p.facts.positions} positions of the map.",
        evidence,
        "look for NaN in the input, for overflow in half precision, and for a division by zero or a logarithm of zero before the layer.",
    )


def _saturated(p: _Picture) -> Iterator[Diagnosis]:
    probability, logit, peak = p.known("probability"), p.known("logit_gradient"), p.gradient_peak
    if np.isnan(probability) or logit == 0:
        return
    ratio = peak / logit  # NaN where the logit's gradient is not known
    if not (ratio < SATURATION or np.isnan(ratio) and min(abs(probability), abs(1 - probability)) < CERTAINTY):
        return
    evidence = {"probability": probability, "gradient": peak} | ({} if np.isnan(ratio) else {"logit_gradient": logit, "ratio": ratio})
    against = "" if np.isnan(ratio) else f", {ratio:.2g} times that of the logit ({logit:.3g})"
    yield Diagnosis(
        "saturated",
        f"the explained score is a probability of {probability:.9g}, where the softmax is saturated: its gradient is at most {peak:.3g}"
        f"{against}. Small changes of the layer hardly change it, so the map is blank or made of rounding errors.",
        evidence,
        "explain the logit (ClassScore) instead of the probability; LogProbability keeps its gradient too where the probability is near 0.",
    )


def _zero_gradient(p: _Picture) -> Iterator[Diagnosis]:
    if p.gradient_peak == 0 and not p.facts.gradients.nonfinite[p.number].any():
        yield Diagnosis(
            "zero_gradient",
            "the gradient is 0 everywhere: the explained score does not depend on this layer, at least not for small changes. "
            "The map is 0 for every method that multiplies by the gradient.",
            {"gradient": 0.0, "activation": float(p.facts.activations.largest[p.number].max())},
            "check that the layer lies on the way to the score, and that its weights are not 0; explain a logit instead of a saturated "
            "probability; all units behind the layer may be switched off by a ReLU: take an earlier layer, or a method without gradients.",
        )


def _zero_map(p: _Picture) -> Iterator[Diagnosis]:
    values = p.finite
    if p.gradient_peak == 0 or not values.size or values.any():
        return
    activation, alpha = float(p.facts.activations.largest[p.number].max()), float(np.nanmax(np.abs(p.alpha)))
    if activation == 0:
        why = "the layer is 0 everywhere: none of its channels is active for this picture"
        cure = "check the preprocessing (range, mean, order of the channels), and take an earlier layer."
    elif alpha == 0:
        why = f"gradients of up to {p.gradient_peak:.3g} average to 0 in every channel, so that no channel gets a weight"
        cure = "a method that keeps the gradient's place: HiResCAM, LayerCAM or element-wise Grad-CAM."
    else:
        why = "channels with a weight are 0 everywhere, and active channels have no weight"
        cure = "HiResCAM or LayerCAM, or an earlier layer."
    evidence = {"gradient": p.gradient_peak, "activation": activation, "alpha": alpha}
    yield Diagnosis("zero_map", f"the map is 0 everywhere, though the gradient is not: {why}.", evidence, cure)


def _one_position(p: _Picture) -> Iterator[Diagnosis]:
    if p.facts.positions == 1:
        yield Diagnosis(
            "one_position",
            "the layer has one position, so its map is one number and shows no place.",
            {"positions": 1, "map": float(p.map.flat[0])},
            "a layer before the pooling or flattening.",
        )


def _flat(p: _Picture) -> Iterator[Diagnosis]:
    values = p.finite
    if p.facts.positions == 1 or not values.size or not values.any():
        return
    spread, peak = float(np.ptp(values)), float(np.abs(values).max())
    if spread <= FLATNESS * peak:
        active = int(np.count_nonzero(~p.facts.activations.constant[p.number]))
        yield Diagnosis(
            "flat",
            f"the map is flat: {values.flat[0]:.4g} at every position (spread {spread:.2g}), so that no place stands out and a "
            f"normalised map is 0. {active} of {p.alpha.size} channels vary in space.",
            {"value": float(values.flat[0]), "spread": spread, "varying_channels": active},
            "another layer: this one says the same everywhere (a layer behind a global pooling, or an input without structure).",
        )


def _all_negative(p: _Picture) -> Iterator[Diagnosis]:
    values = p.finite
    if not values.size or values.max() > 0 or values.min() >= 0:
        return
    q1, q2, q3, q4 = p.facts.masses[p.number]
    total = float(np.abs([q1, q2, q3, q4]).sum())
    evidence = {"max": float(values.max()), "min": float(values.min()), "positive_mass": q1 + q2, "Q3": q3, "Q4": q4}
    if abs(q4) >= abs(q3):
        share = abs(q4) / total if total > 0 else float("nan")
        why = f"active channels that speak against the score (Q4, {share:.0%} of all mass) outweigh its evidence at every position"
    else:
        share = abs(q3) / total if total > 0 else float("nan")
        why = f"channels that speak for the score lie below zero (Q3, {share:.0%} of all mass) and outweigh the rest at every position"
    yield Diagnosis(
        "all_negative",
        f"the map is nowhere positive ({values.min():.4g} to {values.max():.4g}), so the ReLU removes all of it: {why}.",
        evidence | {"share": share},
        "relu=False to see the signed map, whose largest values still say where the score has most support; the map of -L "
        "(counterfactual, target Negative) for the counter-evidence; LayerCAM; Contrast(c, d) to ask what tells two classes apart.",
    )


def _choice_of_zero(p: _Picture) -> Iterator[Diagnosis]:
    values = p.finite
    if not values.size or p.facts.positions == 1 or values.max() > 0 or values.min() >= 0:
        return
    # A channel without finite values has no minimum; its product is NaN, and the map is not finite there.
    offset = float(np.nansum(p.alpha * np.where(np.isfinite(p.facts.activations.low), p.facts.activations.low, 0)[p.number]))
    raised, mean = float(values.max()) - offset, float(values.mean())
    if raised <= FLATNESS * float(np.abs(values).max()) or offset >= 0:
        return
    yield Diagnosis(
        "choice_of_zero",
        f"the map is negative through the choice of zero: the channels' own minima, a part that is the same at every position, "
        f"add {offset:.4g} to it. Measured from each channel's minimum the map reaches {raised:.4g}, measured from its mean "
        f"{values.max() - mean:.4g}; a bias could hold that part without changing what the network computes.",
        {"minimum_baseline": offset, "mean_baseline": mean, "max_from_minimum": raised, "max_from_mean": float(values.max()) - mean},
        f"subtract sum_k alpha b before the ReLU: {offset:.4g} for b = minimum or {mean:.4g} for b = mean of each channel; the picture "
        "of the signed map stays the same, only the place where the ReLU cuts moves.",
    )


def _same_for_all_classes(p: _Picture) -> Iterator[Diagnosis]:
    own = p.map
    if own.size < 3 or not np.isfinite(own).all() or np.ptp(own) <= FLATNESS * np.abs(own).max():
        return
    correlations = []
    for others in p.context.others:
        other = others[p.number].astype(np.float64)
        if np.isfinite(other).all() and np.ptp(other) > FLATNESS * np.abs(other).max():
            # Scaled first: products of very small maps would vanish.
            both = np.stack([own / np.abs(own).max(), other / np.abs(other).max()]).reshape(2, -1)
            correlations.append(float(np.corrcoef(both)[0, 1]))
        else:
            return
    if correlations and min(correlations) > CLASS_CORRELATION:
        yield Diagnosis(
            "same_for_all_classes",
            f"the map is the same for other classes: raw maps of {len(correlations)} other class(es) correlate with it by at least "
            f"{min(correlations):.6f}. It shows what the layer looks at, not what tells this class from others.",
            {"classes": len(correlations), "correlation": min(correlations)},
            "Contrast(c, d), whose map is the difference of both; an earlier layer; check that the last layer's weights differ by class.",
        )


def _constant_gradient(p: _Picture) -> Iterator[Diagnosis]:
    table, peak = p.facts.gradients, p.gradient_peak
    if p.facts.positions == 1 or peak == 0 or table.nonfinite[p.number].any():
        return
    spread = float((table.high - table.low)[p.number].max())
    if spread <= FLATNESS * peak:
        yield Diagnosis(
            "constant_gradient",
            f"the gradient is the same at all positions of each channel (spread {spread:.2g} of {peak:.3g}), as it is before a global "
            "average pooling: Grad-CAM, HiResCAM and XGrad-CAM are one map here, and with a linear layer behind the pooling also CAM.",
            {"spread": spread, "gradient": peak},
            "nothing is wrong; to compare these methods, take a layer further from the output.",
        )


def _dead_channels(p: _Picture) -> Iterator[Diagnosis]:
    table, count = p.facts.activations, p.alpha.size
    constant = table.constant[p.number]
    dead, zero = int(np.count_nonzero(constant)), int(np.count_nonzero(constant & (table.high[p.number] == 0)))
    if p.facts.positions > 1 and dead >= DEAD_SHARE * count:
        yield Diagnosis(
            "dead_channels",
            f"{dead} of {count} channels ({dead / count:.0%}) have one value everywhere ({zero} of them 0) and show no place.",
            {"constant": dead, "zero": zero, "channels": count, "share": dead / count},
            "some are normal behind a ReLU; if most are, check the preprocessing and compare with another picture.",
        )


_RULES: tuple[Callable[[_Picture], Iterator[Diagnosis]], ...] = (
    _nonfinite,
    _saturated,
    _zero_gradient,
    _zero_map,
    _one_position,
    _flat,
    _all_negative,
    _choice_of_zero,
    _same_for_all_classes,
    _constant_gradient,
    _dead_channels,
)


def diagnose(facts: SignFacts, context: SignContext, picture: int, number: int = 0) -> tuple[Diagnosis, ...]:
    """Findings about one picture, the most important first; they are said to be about picture `number`."""
    one = _Picture(facts, context, picture)
    return tuple(replace(found, picture=number) for rule in _RULES for found in rule(one))
