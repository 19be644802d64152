"""What is measured of activations and gradients to explain the sign of a map; one compiled plan per shape."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradcam.cache import Cache
from gradcam.environment import resolve_threads
from gradcam.graph.builder import Builder
from gradcam.graph.compilation import compile_plan
from gradcam.graph.plan import Plan
from gradcam.ops import _call
from gradcam.ops.cam import channel_arrays

__all__ = ["ChannelTable", "SignFacts", "measure"]

Floats = NDArray[np.floating[Any]]
Weighting = Literal["gradcam", "hirescam"]
_SPLIT = 65536  # GCAM_SIGNS_SPLIT
_plans: Cache[Plan] = Cache(64)


@dataclass(frozen=True, eq=False)
class ChannelTable:
    """What is said of each channel of one array; all of shape (N, C).

    Attributes
    ----------
    positive, negative : ndarray of float64
        Sums of the positive and of the negative values.
    low, high : ndarray of float64
        Smallest and largest finite value; inf and -inf where there are none.
    nonfinite : ndarray of int64
        Number of values that are NaN or infinite.
    peak : ndarray of int64
        Flat position of the largest absolute value.
    """

    positive: NDArray[np.float64]
    negative: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    nonfinite: NDArray[np.int64]
    peak: NDArray[np.int64]

    @classmethod
    def from_kernel(cls, table: Floats) -> ChannelTable:
        """Unpack the rows that the kernel writes."""
        positive, negative, low, high, count, block, place = np.moveaxis(table.astype(np.float64), -1, 0)
        peak = block.astype(np.int64) * _SPLIT + place.astype(np.int64)
        return cls(positive, negative, low, high, count.astype(np.int64), peak)

    @property
    def largest(self) -> NDArray[np.float64]:
        """Largest absolute value of each channel; 0 where none is finite."""
        return np.maximum(np.maximum(self.high, -self.low), 0)

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Channels that have one value everywhere."""
        return np.asarray((self.low == self.high) & (self.nonfinite == 0))


@dataclass(frozen=True, eq=False)
class SignFacts:
    """Measurements of N pictures.

    Attributes
    ----------
    map : ndarray, shape (N, *S)
        Signed map.
    quadrants : ndarray, shape (N, 4, *S)
        Its four parts.
    alpha : ndarray of float64, shape (N, C)
        Mean gradient of each channel.
    contributions : ndarray of float64, shape (N, C, 4)
        Mass of each channel in each quadrant.
    activations, gradients : ChannelTable
        What is said of each array.
    weighting : {"gradcam", "hirescam"}
        Whether the quadrants are of Grad-CAM or of HiResCAM.
    """

    map: Floats
    quadrants: Floats
    alpha: NDArray[np.float64]
    contributions: NDArray[np.float64]
    activations: ChannelTable
    gradients: ChannelTable
    weighting: Weighting

    @cached_property
    def masses(self) -> NDArray[np.float64]:
        """Sum of each quadrant, shape (N, 4)."""
        return np.asarray(self.quadrants.reshape(*self.quadrants.shape[:2], self.positions).sum(-1, dtype=np.float64))

    @property
    def space(self) -> tuple[int, ...]:
        """Shape of a map."""
        return self.map.shape[1:]

    @property
    def positions(self) -> int:
        """Number of positions."""
        return int(np.prod(self.space))


def measure(
    function: str,
    activations: ArrayLike,
    gradients: ArrayLike,
    *,
    channel_axis: int = 1,
    weighting: Weighting = "gradcam",
    num_threads: int | None = None,
) -> SignFacts:
    """Check the arrays and measure them; see `gradcam.signs`."""
    (a, g), axis, _ = channel_arrays(function, activations, gradients, channel_axis=channel_axis)
    if weighting not in ("gradcam", "hirescam"):
        raise ValueError(f"{function}: method: expected one of 'gradcam', 'hirescam', got {weighting!r}")
    key = (weighting, a.shape[1:], a.dtype.char, axis, _call.isa)
    plan = _plans.get(key, lambda: _compile(weighting, a, axis))
    found = plan.run((a, g), a.shape[0], resolve_threads(num_threads))
    quadrants, signed, alpha = found[:3]
    table = ChannelTable.from_kernel(found[3])
    alpha = alpha.astype(np.float64)
    parts = np.moveaxis(found[5].astype(np.float64), 1, -1) if weighting == "hirescam" else _contributions(alpha, table)
    gradient_table = ChannelTable.from_kernel(found[4])
    return SignFacts(signed, quadrants, alpha, parts, table, gradient_table, weighting)


def _compile(weighting: Weighting, array: Floats, axis: int) -> Plan:
    b = Builder(array.dtype)
    shape = (1, *array.shape[1:])
    a, g = b.input("activations", shape), b.input("gradients", shape)
    alpha = b.emit("CamChannelMean", g, channel_axis=axis)
    first = alpha if weighting == "gradcam" else g
    quadrants = b.emit_all("CamQuadrants", first, a, over="channels", channel_axis=axis)
    b.graph.outputs = [*quadrants, alpha, *(b.emit("CamChannelSigns", v, channel_axis=axis) for v in (a, g))]
    if weighting == "hirescam":
        b.graph.outputs.append(b.emit("CamQuadrants", g, a, over="positions", channel_axis=axis))
    return compile_plan(b.graph, array.dtype)


def _contributions(alpha: NDArray[np.float64], table: ChannelTable) -> NDArray[np.float64]:
    """Mass of each channel in Q1 to Q4 of Grad-CAM."""
    supporting, opposing = np.maximum(alpha, 0), np.minimum(alpha, 0)
    pairs = ((supporting, table.positive), (opposing, table.negative), (supporting, table.negative), (opposing, table.positive))
    with np.errstate(invalid="ignore"):
        return np.stack([weight * total for weight, total in pairs], axis=-1)
