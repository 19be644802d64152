"""Resize and Upsample: one table of taps per axis, in float64, by the formulas of ONNX."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import floor, isfinite, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Shape, Value
from gradcam.graph.onnx_form import Inputs, OnnxNode, onnx_form
from gradcam.graph.ops.resample import check_positions, emit_taps
from gradcam.ops.resample import Taps

Floats = NDArray[np.float64]
MAX_ELEMENTS = 2**40


@dataclass(frozen=True, slots=True)
class Sampling:
    """The attributes of a Resize node that say how positions become samples."""

    mode: str
    transform: str
    nearest: str
    cubic: float
    antialias: bool
    exclude_outside: bool


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis that changes: old and new length, the factor between them, and the part of the axis that is shown."""

    old: int
    new: int
    scale: Fraction
    roi: tuple[float, float]


def _positions(how: Sampling, axis: Axis) -> Floats:
    """Source coordinate of every output. Factors are fractions of integers: a sample that is hit exactly is hit exactly."""
    index, scale, last = np.arange(axis.new, dtype=np.float64), axis.scale, axis.old - 1
    width = scale * axis.old  # need not be an integer where a factor is given
    half_pixel = (index + 0.5) * scale.denominator / scale.numerator - 0.5
    if how.transform == "half_pixel":
        return half_pixel
    if how.transform == "pytorch_half_pixel":
        return half_pixel if axis.new > 1 else np.zeros(1)
    if how.transform == "half_pixel_symmetric":
        return half_pixel + axis.old / 2 * float(1 - axis.new / width)
    if how.transform == "align_corners":
        return index * last / float(width - 1) if width != 1 else np.zeros(axis.new)
    if how.transform == "tf_half_pixel_for_nn":
        return half_pixel + 0.5
    if how.transform == "tf_crop_and_resize":
        begin, end = axis.roi
        if width == 1:
            return np.full(axis.new, 0.5 * (begin + end) * last)
        return begin * last + index * (end - begin) * last / float(width - 1)
    return index * scale.denominator / scale.numerator


def _nearest(how: Sampling, axis: Axis, x: Floats) -> NDArray[np.int64]:
    rounding = how.nearest
    if rounding == "simple":  # of opsets before 11, as onnxruntime reads them
        rounding = "floor" if axis.scale >= 1 else "ceil"
    if rounding == "round_prefer_floor":
        x = np.ceil(x - 0.5)
    elif rounding == "round_prefer_ceil":
        x = np.floor(x + 0.5)
    else:
        x = np.floor(x) if rounding == "floor" else np.ceil(x)
    return np.clip(x, 0, axis.old - 1).astype(np.int64)


def _kernel(how: Sampling, distance: Floats) -> Floats:
    """Weight of a sample at a distance: a triangle, or Keys's cubic convolution with parameter a."""
    d = np.abs(distance)
    if how.mode == "linear":
        return np.where(d < 1, 1 - d, 0.0)
    a = how.cubic
    near, far = ((a + 2) * d - (a + 3)) * d * d + 1, ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def _axis_taps(node: OnnxNode, how: Sampling, axis: Axis) -> tuple[Taps, NDArray[np.bool_]]:
    """Taps of one axis, and which outputs lie outside of the picture (tf_crop_and_resize): those have no taps."""
    check_positions(node, axis.new)
    x = _positions(how, axis)
    outside = (x < 0) | (x > axis.old - 1) if how.transform == "tf_crop_and_resize" else np.zeros(axis.new, np.bool_)
    x = np.where(outside, 0.0, x)
    if how.mode == "nearest":
        return Taps.pick(axis.old, np.where(outside, -1, _nearest(how, axis, x))), outside
    stretch = min(float(axis.scale), 1.0) if how.antialias else 1.0
    reach = 1 if how.mode == "linear" else 2
    first = floor(-reach / stretch) + 1
    check_positions(node, axis.new, 2 - 2 * first)
    base = np.ceil(x) - 1  # a sample that is hit exactly counts as the right one of the two neighbours
    offsets = np.arange(first, 2 - first)
    weights = _kernel(how, (offsets - (x - base)[:, None]) * stretch)
    indices = base[:, None].astype(np.int64) + offsets
    if how.exclude_outside:
        weights = np.where((indices < 0) | (indices >= axis.old), 0.0, weights)
    if how.exclude_outside or how.antialias:
        total = weights.sum(1, keepdims=True)
        weights = weights / np.where(total == 0, 1.0, total)
    weights[outside] = 0
    rows = np.broadcast_to(np.arange(axis.new)[:, None], weights.shape)
    return Taps.of(axis.old, axis.new, rows, np.clip(indices, 0, axis.old - 1), weights), outside


def _factor(node: OnnxNode, value: float) -> Fraction:
    """The simplest fraction that a float32 factor stands for: a third is written as 0.33333334."""
    if not isfinite(value) or value <= 0:
        raise node.bad(f"expected finite positive scales, got {value}")
    simple = Fraction(value).limit_denominator(4096)
    return simple if simple > 0 and np.float32(float(simple)) == np.float32(value) else Fraction(value)


def _given(node: OnnxNode, inputs: Inputs, index: int) -> NDArray[Any] | None:
    """A constant input; None where it is absent or empty."""
    array = None if node.optional(inputs, index) is None else node.array(inputs, index).reshape(-1)
    return array if array is not None and array.size else None


def _from_sizes(node: OnnxNode, shape: Shape, axes: tuple[int, ...], sizes: NDArray[Any]) -> dict[int, tuple[int, Fraction]]:
    if sizes.dtype.kind not in "iu" or sizes.min() < 1:
        raise node.bad(f"expected sizes of at least 1, got {sizes.tolist()}")
    factors = [Fraction(int(n), shape[a]) for a, n in zip(axes, sizes, strict=True)]
    policy = node.attrs.get("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return {a: (int(n), factor) for a, n, factor in zip(axes, sizes, factors, strict=True)}
    if policy not in ("not_larger", "not_smaller"):
        raise node.bad(f"attribute 'keep_aspect_ratio_policy': unknown value '{policy}'")
    factor = min(factors) if policy == "not_larger" else max(factors)
    return {a: (floor(factor * shape[a] + Fraction(1, 2)), factor) for a in axes}


def _targets(node: OnnxNode, inputs: Inputs, shape: Shape, axes: tuple[int, ...]) -> dict[int, tuple[int, Fraction]]:
    """New length and factor of each axis."""
    scales: NDArray[Any] | None
    if node.op_type == "Upsample" and node.opset < 9:
        scales, sizes = np.asarray(node.attrs.get("scales", ()), np.float32), None
    else:
        modern = node.op_type == "Resize" and node.opset > 10
        scales, sizes = _given(node, inputs, 2 if modern else 1), _given(node, inputs, 3) if modern else None
    if (scales is None) == (sizes is None):
        raise node.bad("expected either scales or sizes")
    numbers = scales if sizes is None else sizes
    assert numbers is not None
    if numbers.size != len(axes):
        raise node.bad(f"expected {len(axes)} scales or sizes, got {numbers.size}")
    if sizes is not None:
        return _from_sizes(node, shape, axes, sizes)
    # The length is a product in float32, as ONNX's shape inference takes it.
    with np.errstate(over="ignore"):
        products = [float(np.float32(shape[a]) * np.float32(s)) for a, s in zip(axes, numbers, strict=True)]
    factors = [_factor(node, float(s)) for s in numbers]
    if not all(1 <= p <= MAX_ELEMENTS for p in products):
        raise node.bad(f"scales {numbers.tolist()} give no size for {shape}")
    return {a: (floor(p), factor) for a, p, factor in zip(axes, products, factors, strict=True)}


def _sampling(node: OnnxNode) -> Sampling:
    old = node.op_type == "Upsample" or node.opset < 11
    how = Sampling(
        mode=node.attrs.get("mode", "nearest"),
        transform="asymmetric" if old else node.attrs.get("coordinate_transformation_mode", "half_pixel"),
        nearest="simple" if old else node.attrs.get("nearest_mode", "round_prefer_floor"),
        cubic=float(node.attrs.get("cubic_coeff_a", -0.75)),
        antialias=bool(node.attrs.get("antialias", 0)),
        exclude_outside=bool(node.attrs.get("exclude_outside", 0)),
    )
    transforms = ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric", "align_corners", "asymmetric", "tf_half_pixel_for_nn")
    choices = {
        "mode": (how.mode, ("nearest", "linear", "cubic")),
        "coordinate_transformation_mode": (how.transform, (*transforms, "tf_crop_and_resize")),
        "nearest_mode": (how.nearest, ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil", "simple")),
    }
    for attribute, (value, known) in choices.items():
        if value not in known:
            raise node.bad(f"attribute '{attribute}': unknown value '{value}'")
    if how.antialias and how.mode == "nearest":
        raise node.bad("attribute 'antialias': expected mode linear or cubic, got nearest")
    if not isfinite(how.cubic):
        raise node.bad(f"attribute 'cubic_coeff_a': expected a finite number, got {how.cubic}")
    return how


def _regions(node: OnnxNode, inputs: Inputs, axes: tuple[int, ...], how: Sampling) -> dict[int, tuple[float, float]]:
    """Part of each axis that is shown; all of it unless tf_crop_and_resize says otherwise."""
    if how.transform != "tf_crop_and_resize":
        return dict.fromkeys(axes, (0.0, 1.0))
    roi = _given(node, inputs, 1)
    if roi is None or roi.size != 2 * len(axes) or not np.isfinite(roi).all():
        raise node.bad(f"input 'roi': expected {2 * len(axes)} finite numbers, got {None if roi is None else roi.tolist()}")
    return {a: (float(roi[i]), float(roi[len(axes) + i])) for i, a in enumerate(axes)}


@onnx_form("Resize", "Upsample")
def resize(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """All modes of opsets 10 and newer, Upsample of 7 to 9; axes that shrink go first, those that grow last, the inner ones before."""
    x = node.required(inputs, 0)
    how, rank = _sampling(node), len(x.shape)
    axes = tuple(node.axis(int(a), rank) for a in node.attrs.get("axes") or range(rank))
    if len(set(axes)) != len(axes):
        raise node.bad(f"attribute 'axes': {axes} name an axis twice")
    if 0 in x.shape:
        raise node.bad(f"expected an input of at least one element, got shape {x.shape}")
    targets, regions = _targets(node, inputs, x.shape, axes), _regions(node, inputs, axes, how)
    shape = tuple(targets[a][0] if a in targets else n for a, n in enumerate(x.shape))
    if prod(shape) > MAX_ELEMENTS:
        raise node.bad(f"an array of shape {shape} is too large")
    extrapolated = np.zeros((1,) * rank, np.bool_)
    y = x
    changed = [a for a in axes if targets[a] != (x.shape[a], Fraction(1)) or regions[a] != (0, 1)]
    for a in sorted(changed, key=lambda a: (targets[a][1], -a if targets[a][1] > 1 else a)):
        taps, outside = _axis_taps(node, how, Axis(x.shape[a], *targets[a], regions[a]))
        if outside.any():
            extrapolated = extrapolated | outside.reshape([-1 if i == a else 1 for i in range(rank)])
        y = emit_taps(g, y, a, taps)
    value = float(node.attrs.get("extrapolation_value", 0.0))
    return g.add(y, g.constant(np.where(extrapolated, value, 0.0))) if value and extrapolated.any() else y
