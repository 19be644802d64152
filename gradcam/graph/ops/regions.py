"""RoiAlign and DeformConv: pictures read in regions and at offsets that are computed at run time."""

from __future__ import annotations

from math import ceil, prod

import numpy as np

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Value
from gradcam.graph.onnx_form import Inputs, OnnxNode, Unsupported, onnx_form
from gradcam.graph.ops.gather import checked_index
from gradcam.graph.ops.resample import check_positions
from gradcam.graph.ops.sample import Taps1d, interpolate, linear_taps, sample
from gradcam.graph.windows import windows


def _affine(g: Builder, x: Value, alpha: float, beta: float) -> Value:
    return g.emit("Affine", x, alpha=alpha, beta=beta) if x.data is None else g.constant(x.data * alpha + beta)


def _column(g: Builder, x: Value, index: int) -> Value:
    """Return a column of x (rows, columns) as (rows, 1)."""
    return g.emit("Slice", x, starts=(0, index), steps=(1, 1), sizes=(x.shape[0], 1))


# Regions -------------------------------------------------------------------------------------------------------------


def _points(node: OnnxNode, g: Builder, low: Value, size: Value, bins: int) -> Value:
    """Coordinates (rows, bins, points) of the points of each bin of a region from `low` on, both (rows, 1)."""
    points = int(node.attrs.get("sampling_ratio", 0))
    if points < 0:
        raise node.bad(f"attribute 'sampling_ratio': expected at least 0, got {points}")
    if points == 0:
        if size.data is None:
            raise Unsupported("attribute 'sampling_ratio' = 0 (as many points as the region is large) for computed regions")
        counts = np.maximum(np.ceil(size.data / bins), 1).reshape(-1)
        if not np.isfinite(counts).all() or len(set(counts.tolist())) > 1:
            raise Unsupported("attribute 'sampling_ratio' = 0 for regions of several sizes")
        points = ceil(counts[0])
    check_positions(node, bins, points)
    places = (np.arange(bins)[:, None] + (np.arange(points) + 0.5) / points) / bins
    steps = g.mul(size, g.constant(places.reshape(1, -1)))
    return g.reshape(g.add(low, steps), (low.shape[0], bins, points))


def _region_taps(g: Builder, x: Value, size: int) -> Taps1d:
    """Two neighbours; within one element beyond an end it is the end that counts, farther out nothing does."""
    inside = g.mul(g.emit("LessOrEqual", g.constant(-1.0), x), g.emit("LessOrEqual", x, g.constant(float(size))))
    positions, weights = linear_taps(g, g.emit("Clip", x, alpha=0.0, beta=size - 1.0))
    return positions, g.mul(weights, g.reshape(inside, (*x.shape, 1)))


@onnx_form("RoiAlign")
def roi_align(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Mean (or largest tap) of interpolated points in each cell of a region (He et al. 2017)."""
    x, regions, owners = (node.required(inputs, i) for i in range(3))
    bins = [int(node.attrs.get(f"output_{name}", 1)) for name in ("height", "width")]
    mode, scale = node.attrs.get("mode", "avg"), float(node.attrs.get("spatial_scale", 1.0))
    half = node.attrs.get("coordinate_transformation_mode", "half_pixel" if node.opset >= 16 else "output_half_pixel") == "half_pixel"
    if len(x.shape) != 4 or 0 in x.shape or len(regions.shape) != 2 or regions.shape[1] != 4 or owners.shape != regions.shape[:1]:
        raise node.bad(f"expected pictures, regions (count, 4) and their pictures, got {x.shape}, {regions.shape} and {owners.shape}")
    if min(bins) < 1 or mode not in ("avg", "max"):
        raise node.bad(f"expected an output of at least 1 x 1 and mode avg or max, got {bins} and '{mode}'")
    count, (n, channels, *space) = regions.shape[0], x.shape
    if not count:
        return g.constant(np.zeros((0, channels, *bins)))
    taps, points = [], []
    for axis in (0, 1):
        low, high = (_affine(g, _column(g, regions, 1 - axis + 2 * end), scale, -0.5 if half else 0.0) for end in (0, 1))
        size = g.sub(high, low) if half else g.emit("Max", g.sub(high, low), g.constant(1.0))
        where = _points(node, g, low, size, bins[axis])
        points.append(where.shape[2])
        # Bins and points of both axes in one row: (regions, bins, bins, points, points).
        lead = (count, bins[0], 1, points[0], 1) if axis == 0 else (count, 1, bins[1], 1, where.shape[2])
        taps.append((g.reshape(where, lead), space[axis]))
    cells = (count, *bins, *points)
    lines = [_region_taps(g, g.reshape(g.expand(where, cells), (1, prod(cells))), size) for where, size in taps]
    flat = g.reshape(g.transpose(x, (1, 0, 2, 3)), (1, channels, n * prod(space))) if n > 1 else x
    index, weight = interpolate(g, lines, tuple(space), _blocks(node, g, owners, n, prod(space), cells))
    if mode == "max":
        return _largest(g, flat, index, weight, (channels, *bins), count)
    merged = (1, count * prod(bins), prod(points) * index.shape[2])
    y = sample(g, flat, g.reshape(index, merged), g.scale(g.reshape(weight, merged), 1 / prod(points)))
    return g.transpose(g.reshape(y, (channels, count, *bins)), (1, 0, 2, 3))


def _blocks(node: OnnxNode, g: Builder, owners: Value, n: int, elements: int, cells: tuple[int, ...]) -> Value | None:
    """Where the picture of each point begins in all pictures; None if there is one picture."""
    checked = checked_index(node, owners, n, g)
    if n == 1:
        return None
    if checked.data is None:
        raise Unsupported("pictures of regions that are computed at run time")
    starts = np.repeat(checked.data * elements, prod(cells[1:]))
    return g.constant(starts.reshape(1, -1))


def _largest(g: Builder, x: Value, index: Value, weight: Value, shape: tuple[int, ...], count: int) -> Value:
    """The largest product of weight and element, as ONNX defines the maximum."""
    channels, *bins = shape
    single = (1, index.size, 1)
    products = sample(g, x, g.reshape(index, single), g.reshape(weight, single))
    y = g.reduce("ReduceMax", g.reshape(products, (channels, count, *bins, index.size // (count * prod(bins)))), (4,), False)
    return g.transpose(y, (1, 0, 2, 3))


# Offsets -------------------------------------------------------------------------------------------------------------


@onnx_form("DeformConv")
def deform_conv(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Convolution whose taps are moved by offsets and weighted by a mask (Dai et al. 2017, Zhu et al. 2018)."""
    x, w, offset = (node.required(inputs, i) for i in range(3))
    bias, mask = node.optional(inputs, 3), node.optional(inputs, 4)
    if len(x.shape) != 4 or len(w.shape) != 4 or len(offset.shape) != 4 or 0 in (*x.shape, *w.shape):
        raise Unsupported(f"arrays of other than 4 axes: {x.shape}, {w.shape} and {offset.shape}")
    (n, channels, *space), kernel = x.shape, w.shape[2:]
    groups, parts, cells = int(node.attrs.get("group", 1)), int(node.attrs.get("offset_group", 1)), prod(kernel)
    stride, lo, hi, dilation = windows(node, tuple(space), kernel)
    axes = zip(space, kernel, stride, lo, hi, dilation, strict=True)
    out = tuple((size + a + b - d * (k - 1) - 1) // s + 1 for size, k, s, a, b, d in axes)
    fits = min(groups, parts, *out) >= 1 and channels == w.shape[1] * groups and w.shape[0] % groups == 0 and channels % parts == 0
    if not fits or offset.shape != (n, parts * cells * 2, *out) or mask is not None and mask.shape != (n, parts * cells, *out):
        raise node.bad(f"pictures {x.shape}, weights {w.shape}, offsets {offset.shape} and mask do not fit together")
    check_positions(node, cells * prod(out))
    moved = g.reshape(offset, (n * parts, cells, 2, prod(out)))
    taps = []
    for axis in (0, 1):
        own = np.indices(kernel)[axis].reshape(-1, 1) * dilation[axis] + np.indices(out)[axis].reshape(1, -1) * stride[axis] - lo[axis]
        part = g.emit("Slice", moved, starts=(0, 0, axis, 0), steps=(1, 1, 1, 1), sizes=(n * parts, cells, 1, prod(out)))
        where = g.add(g.reshape(part, (n * parts, cells, prod(out))), g.constant(own.astype(float)))
        taps.append(linear_taps(g, g.reshape(where, (n * parts, cells * prod(out)))))
    index, weight = interpolate(g, taps, tuple(space))
    if mask is not None:
        weight = g.mul(weight, g.reshape(mask, (n * parts, cells * prod(out), 1)))
    columns = sample(g, g.reshape(x, (n * parts, channels // parts, prod(space))), index, weight)
    columns = g.reshape(columns, (n, groups, w.shape[1] * cells, prod(out)))
    rows = g.reshape(w, (groups, w.shape[0] // groups, w.shape[1] * cells))
    y = g.reshape(g.emit("MatMul", rows, columns, trans_a=False, trans_b=False), (n, w.shape[0], *out))
    return y if bias is None else g.add(y, g.reshape(bias, (w.shape[0], 1, 1)))
