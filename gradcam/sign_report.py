"""Where the sign of a class-activation map comes from: quadrants, masses, channels, and a diagnosis in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradcam.postprocessing import flags as find_flags
from gradcam.render.signs import plot_signs
from gradcam.sign_diagnosis import Diagnosis, SignContext, diagnose
from gradcam.sign_facts import SignFacts, Weighting, measure

__all__ = ["QUADRANTS", "Channels", "Contributor", "Counterfactual", "Removed", "SignReport", "Top", "signs"]

QUADRANTS = (
    "supporting channels, active",
    "opposing channels, below zero",
    "supporting channels, below zero",
    "opposing channels, active",
)
"""What Q1 to Q4 hold: the first two are positive, the last two negative."""


class Removed(NamedTuple):
    """What the ReLU removes: sum of R(-L), its share of sum |L|, and the share of positions with L < 0."""

    mass: Any
    share: Any
    area: Any


class Counterfactual(NamedTuple):
    """The map of the negated score: -L, what the ReLU leaves of it, and its quadrants (-Q4, -Q3, -Q2, -Q1)."""

    map: NDArray[Any]
    shown: NDArray[Any]
    quadrants: tuple[NDArray[Any], ...]


class Channels(NamedTuple):
    """What is said of each channel.

    Weight, mean activation, sums of its positive and of its negative activations, mass in each quadrant (last axis), and
    the flat position of its largest absolute activation.
    """

    alpha: NDArray[Any]
    mean: NDArray[Any]
    positive: NDArray[Any]
    negative: NDArray[Any]
    contribution: NDArray[Any]
    position: NDArray[Any]


class Contributor(NamedTuple):
    """A channel with its weight, mean activation, mass in the signed map, and where its activation is largest."""

    channel: int
    alpha: float
    mean_activation: float
    contribution: float
    position: tuple[int, ...]


class Top(NamedTuple):
    """The channels with the largest masses for the score, and against it."""

    supporting: tuple[Contributor, ...]
    opposing: tuple[Contributor, ...]


@dataclass(frozen=True, eq=False)
class SignReport:
    """Sign analysis of a batch, or of one picture. Iterable over the batch.

    The map L = sum_k alpha A splits exactly into Q1 (supporting channels, active), Q2 (opposing channels, below zero),
    Q3 (supporting channels, below zero) and Q4 (opposing channels, active); a channel supports the score if its weight
    alpha is positive. For a report of one picture (``report[i]``) all arrays lack the batch axis.
    """

    facts: SignFacts
    context: SignContext
    squeeze: bool = False
    first: int = 0

    def __len__(self) -> int:
        return len(self.facts.map)

    def __iter__(self) -> Iterator[SignReport]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, picture: int) -> SignReport:
        """Return the report of one picture, without a batch axis."""
        i = range(len(self))[picture]
        one = slice(i, i + 1)

        def rows(table: Any) -> Any:
            return replace(table, **{name: value[one] for name, value in vars(table).items()})

        f = self.facts
        facts = replace(
            f, map=f.map[one], quadrants=f.quadrants[one], alpha=f.alpha[one], contributions=f.contributions[one],
            activations=rows(f.activations), gradients=rows(f.gradients),
        )  # fmt: skip
        return SignReport(facts, self.context.of(i), True, self.first + i)

    def _own(self, array: Any) -> Any:
        return array[0] if self.squeeze else array

    @property
    def map(self) -> NDArray[Any]:
        """Signed map, shape (N, *S)."""
        return np.asarray(self._own(self.facts.map))

    @property
    def quadrants(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
        """The four maps Q1 to Q4, each of shape (N, *S); they sum to the map."""
        q1, q2, q3, q4 = (self._own(self.facts.quadrants[:, q]) for q in range(4))
        return q1, q2, q3, q4

    @property
    def masses(self) -> NDArray[np.float64]:
        """Sum of each quadrant over the positions, shape (N, 4)."""
        return np.asarray(self._own(self.facts.masses))

    @property
    def shares(self) -> NDArray[np.float64]:
        """``|M_i| / sum |M|``, shape (N, 4); 0 where all masses are 0."""
        sizes = np.abs(self.facts.masses)
        total = sizes.sum(1, keepdims=True)
        with np.errstate(invalid="ignore"):
            return np.asarray(self._own(np.where(total == 0, 0, sizes / np.where(total == 0, 1, total))))

    @cached_property
    def removed(self) -> Removed:
        """What the ReLU removes; positions that are not finite are left out."""
        maps = self.facts.map.reshape(len(self), self.facts.positions).astype(np.float64)
        maps = np.where(np.isfinite(maps), maps, 0)
        mass, whole = np.maximum(-maps, 0).sum(1), np.abs(maps).sum(1)
        return Removed(*(self._own(v) for v in (mass, mass / np.where(whole == 0, 1, whole), (maps < 0).mean(1))))

    @property
    def channels(self) -> Channels:
        """What is said of each channel; arrays of shape (N, C), contributions (N, C, 4)."""
        f = self.facts
        with np.errstate(invalid="ignore"):
            mean = (f.activations.positive + f.activations.negative) / f.positions
        table = f.activations
        return Channels(*(self._own(v) for v in (f.alpha, mean, table.positive, table.negative, f.contributions, table.peak)))

    @property
    def counterfactual(self) -> Counterfactual:
        """The map of the negated score, which shows what the ReLU removed."""
        negated = -self.map
        q1, q2, q3, q4 = self.quadrants
        return Counterfactual(negated, np.where(negated < 0, negated.dtype.type(0), negated), (-q4, -q3, -q2, -q1))

    @cached_property
    def flags(self) -> dict[str, NDArray[Any]]:
        """What is remarkable, one value per picture.

        ``all_negative``, ``zero``, ``constant`` and ``nonfinite`` of the map; ``zero_gradient``; ``dead_channels``: number of
        channels with one value everywhere.
        """
        f = self.facts
        silent = (f.gradients.largest == 0).all(1) & (f.gradients.nonfinite == 0).all(1)
        return find_flags(f.map) | {"zero_gradient": silent, "dead_channels": np.count_nonzero(f.activations.constant, axis=1)}

    @cached_property
    def diagnosis(self) -> tuple[Diagnosis, ...]:
        """Findings about all pictures, the most important of each picture first."""
        return tuple(d for i in range(len(self)) for d in diagnose(self.facts, self.context, i, self.first + i))

    def top(self, k: int = 5, *, picture: int = 0) -> Top:
        """Return the channels that contribute most to the signed map of one picture.

        Parameters
        ----------
        k : int
            At most so many for and so many against; channels that contribute nothing are left out.
        picture : int
            Which picture of the batch.

        Returns
        -------
        Top
            ``supporting``: largest positive masses, ``opposing``: largest negative ones; each a tuple of `Contributor`.
        """
        if k < 0:
            raise ValueError(f"top: k: expected 0 or more, got {k}")
        f, i = self.facts, range(len(self))[picture]
        total = f.contributions[i].sum(-1)
        total = np.where(np.isfinite(total), total, 0)
        mean = (f.activations.positive[i] + f.activations.negative[i]) / f.positions

        def contributor(c: int) -> Contributor:
            place = tuple(int(x) for x in np.unravel_index(int(f.activations.peak[i, c]), f.space))
            return Contributor(c, float(f.alpha[i, c]), float(mean[c]), float(total[c]), place)

        supporting = [contributor(int(c)) for c in np.argsort(-total, kind="stable")[:k] if total[c] > 0]
        opposing = [contributor(int(c)) for c in np.argsort(total, kind="stable")[:k] if total[c] < 0]
        return Top(tuple(supporting), tuple(opposing))

    # As text, numbers and pictures -----------------------------------------------------------------------------------

    def summary(self, picture: int = 0) -> str:
        """One line about one picture."""
        one = self if self.squeeze else self[picture]
        parts = ", ".join(f"Q{q + 1} {share:.0%}" for q, share in enumerate(one.shares))
        line = f"signs {parts}; ReLU removes {one.removed.share:.0%} of the mass, {one.removed.area:.0%} of the area"
        kinds = [d.kind.replace("_", " ") for d in one.diagnosis]
        return f"{line}; {', '.join(kinds)}" if kinds else line

    def __str__(self) -> str:
        """Full report of all pictures."""
        return "\n\n".join(self._text(i) for i in range(len(self))) or "no pictures"

    def describe(self, k: int = 5, *, picture: int = 0) -> str:
        """Full report of one picture as text, with `k` channels for and against."""
        return self._text(range(len(self))[picture], k)

    def _text(self, i: int, k: int = 5) -> str:
        one = self if self.squeeze else self[i]
        c = one.context
        head = f"picture {one.first}"
        head += f": {c.titles[0]}" if c.titles else ""
        head += f", score {float(c.scores[0]):.4g}" if c.scores is not None else ""
        head += f", layer {c.layer}" if c.layer else ""
        size = " x ".join(map(str, one.facts.space))
        lines = [f"{head} ({size} positions, {one.facts.alpha.shape[1]} channels)"]
        values = one.map[np.isfinite(one.map)]
        extent = f"{values.min():.4g} to {values.max():.4g}, sum {values.sum(dtype=np.float64):.4g}" if values.size else "nowhere finite"
        lines.append(f"  signed map    {extent}")
        for q, (name, mass, share) in enumerate(zip(QUADRANTS, one.masses, one.shares, strict=True)):
            lines.append(f"  {'quadrants' if q == 0 else '':12}  Q{q + 1} {name:32} {_signed(mass, 4):>11}  {share:4.0%}")
        mass, share, area = one.removed
        lines.append(f"  ReLU removes  {mass:.4g} ({share:.0%} of the mass) at {area:.0%} of the positions")
        top = one.top(k)
        for label, contributors in (("for", top.supporting), ("against", top.opposing)):
            for rank, t in enumerate(contributors):
                place = ", ".join(map(str, t.position))
                lines.append(
                    f"  {label if rank == 0 else '':12}  channel {t.channel:<5} {t.contribution:+11.4g}  "
                    f"alpha {t.alpha:+.3g}, mean activation {t.mean_activation:.3g}, strongest at ({place})"
                )
        for rank, found in enumerate(one.diagnosis):
            lines += [f"  {'diagnosis' if rank == 0 else '':12}  {found.kind}: {found.text}", f"  {'':12}  try: {found.advice}"]
        return "\n".join(lines)

    def to_dict(self, k: int = 5) -> dict[str, Any]:
        """Return what is known as plain numbers and texts that JSON can hold; NaN and infinity become None.

        Parameters
        ----------
        k : int
            Channels for and against.

        Returns
        -------
        dict
            ``pictures``: a list with one dict each. For a report of one picture that dict itself.
        """
        if not self.squeeze:
            return {"pictures": [one.to_dict(k) for one in self]}
        c, top = self.context, self.top(k)
        record = {
            "target": c.titles[0] if c.titles else None,
            "score": None if c.scores is None else float(c.scores[0]),
            "layer": c.layer,
            "positions": list(self.facts.space),
            "channels": self.facts.alpha.shape[1],
            "masses": {f"Q{q + 1}": float(mass) for q, mass in enumerate(self.masses)},
            "shares": {f"Q{q + 1}": float(share) for q, share in enumerate(self.shares)},
            "removed": {name: float(value) for name, value in self.removed._asdict().items()},
            "top": {name: [t._asdict() for t in found] for name, found in top._asdict().items()},
            "flags": {name: value.tolist()[0] for name, value in self.flags.items()},
            "diagnosis": [{"kind": d.kind, "text": d.text, "evidence": d.evidence, "advice": d.advice} for d in self.diagnosis],
        }
        found = _plain(record)
        assert isinstance(found, dict)
        return found

    def plot(self, image: ArrayLike | None = None, *, picture: int = 0) -> Any:
        """Draw one picture with matplotlib and return the figure.

        Parameters
        ----------
        image : array_like, shape (H, W, 3) or (H, W), optional
            The picture itself, if the report does not know it; without one, what the ReLU leaves of the map takes its place.
        picture : int
            Which picture of the batch.

        Returns
        -------
        matplotlib.figure.Figure
            Picture, signed map and four quadrants on one scale: blue is against, white is zero, red is for.

        Raises
        ------
        ValueError
            The map has three spatial axes.
        MissingExtraError
            Matplotlib is not installed.
        """
        one = self if self.squeeze else self[picture]
        return plot_signs(one, one.context.image if image is None else image)


def _signed(value: float, digits: int) -> str:
    """A number with its sign; zero has none."""
    return f"{value:+.{digits}g}" if value else "0"


def _plain(value: Any) -> Any:
    """Copy with plain Python numbers and None for what JSON cannot say."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def signs(
    activations: ArrayLike,
    gradients: ArrayLike,
    *,
    channel_axis: int = 1,
    method: Weighting = "gradcam",
    num_threads: int | None = None,
) -> SignReport:
    """Explain where the sign of a Grad-CAM map comes from.

    Parameters
    ----------
    activations, gradients : array_like of float32 or float64, shape (N, C, *S)
        Values of the layer for N pictures, and the gradient of the explained score; one to three spatial axes. float16 is
        widened to float32.
    channel_axis : int
        Axis of the channels: 1, or -1 for channels-last arrays (N, *S, C), which are read where they lie.
    method : {"gradcam", "hirescam"}
        Whose map is analysed: one weight per channel, or the gradient itself as the weight of each position.
    num_threads : int, optional
        See `gradcam.set_num_threads`.

    Returns
    -------
    SignReport
        Four quadrant maps that sum to the signed map, their masses, what the ReLU removes, the channels that matter, the map
        of the negated score, and a diagnosis in plain words.

    Raises
    ------
    TypeError
        Arrays that are not real numbers or differ in type.
    ValueError
        Shapes that differ or have no batch axis, channel axis or spatial axis; an unknown axis or method.

    Examples
    --------
    >>> import numpy as np, gradcam
    >>> a, g = np.ones((1, 2, 3, 3), np.float32), np.full((1, 2, 3, 3), -0.5, np.float32)
    >>> report = gradcam.signs(a, g)
    >>> report.masses.tolist(), bool(report.flags["all_negative"][0])
    ([[0.0, 0.0, 0.0, -9.0]], True)
    """
    facts = measure("signs", activations, gradients, channel_axis=channel_axis, weighting=method, num_threads=num_threads)
    return SignReport(facts, SignContext())
