"""GridSample and AffineGrid: pictures read at coordinates that are computed at run time."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import numpy as np

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Value
from gradcam.graph.onnx_form import Inputs, OnnxNode, onnx_form
from gradcam.graph.ops.sample import Taps1d, interpolate, linear_taps, sample

CUBIC = -0.75
"""Parameter of Keys's cubic convolution that ONNX and PyTorch use here."""
_POWERS = np.array(
    [[0, 1, 0, 0], [CUBIC, 0, -CUBIC, 0], [-2 * CUBIC, -CUBIC - 3, 2 * CUBIC + 3, CUBIC], [CUBIC, CUBIC + 2, -CUBIC - 2, -CUBIC]]
)
"""Weights of the four taps around a coordinate as polynomials of its fraction: one row per power, one column per tap."""
_MODES = {"bilinear": "linear", "linear": "linear", "nearest": "nearest", "bicubic": "cubic", "cubic": "cubic"}


class _Axis(NamedTuple):
    """How one axis of `size` elements is read."""

    size: int
    mode: str
    padding: str
    aligned: bool

    @property
    def borders(self) -> tuple[float, float]:
        """What reflection mirrors at: the centres of the outer elements, or their outer edges."""
        return (0.0, self.size - 1.0) if self.aligned else (-0.5, self.size - 0.5)


def _affine(g: Builder, x: Value, alpha: float, beta: float) -> Value:
    return g.emit("Affine", x, alpha=alpha, beta=beta)


def _inside(g: Builder, axis: _Axis, x: Value) -> Value:
    """Move coordinates, or positions of taps, into the axis by border or reflection."""
    low, high = axis.borders
    if axis.padding == "reflection" and high > low:
        span = high - low
        x = _affine(g, x, 1.0, -low)
        rounds = g.emit("Floor", g.scale(x, 0.5 / span), alpha=0.0, beta=0.0)
        folded = g.emit("Abs", _affine(g, g.sub(x, g.scale(rounds, 2 * span)), 1.0, -span), alpha=0.0, beta=0.0)
        x = _affine(g, folded, -1.0, span + low)
    return x if axis.padding == "zeros" else g.emit("Clip", x, alpha=0.0, beta=axis.size - 1.0)


def _taps(g: Builder, axis: _Axis, x: Value) -> Taps1d:
    """Return the taps of coordinates (batch, count); 0 is the centre of the first element."""
    if axis.mode == "nearest":
        x = _inside(g, axis, g.emit("Round", x, alpha=0.0, beta=0.0))
        return g.reshape(x, (*x.shape, 1)), g.constant(np.ones((*x.shape, 1)))
    if axis.mode == "linear":
        return linear_taps(g, _inside(g, axis, x))
    x = g.reshape(x, (*x.shape, 1))  # taps alone are moved inside, as in PyTorch and onnxruntime
    low = g.emit("Floor", x, alpha=0.0, beta=0.0)
    part = g.sub(x, low)
    square = g.mul(part, part)
    powers = g.emit("Concat", g.constant(np.ones(part.shape)), part, square, g.mul(square, part), axis=2)
    positions = _inside(g, axis, g.add(low, g.constant(np.array([-1.0, 0.0, 1.0, 2.0]))))
    return positions, g.emit("MatMul", powers, g.constant(_POWERS), trans_a=False, trans_b=False)


@onnx_form("GridSample")
def grid_sample(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Linear, nearest or cubic interpolation of x (N, C, *S) at a grid (N, *O, rank) of coordinates, -1 to 1 from end to end."""
    x, grid = node.required(inputs, 0), node.required(inputs, 1)
    rank = len(x.shape) - 2
    mode, padding = node.attrs.get("mode", "linear"), node.attrs.get("padding_mode", "zeros")
    if mode not in _MODES or padding not in ("zeros", "border", "reflection"):
        raise node.bad(f"unknown mode '{mode}' or padding_mode '{padding}'")
    if not 1 <= rank <= 3 or 0 in x.shape[1:] or len(grid.shape) != rank + 2 or (grid.shape[0], grid.shape[-1]) != (x.shape[0], rank):
        raise node.bad(f"expected pictures (N, C, ...) of 1 to 3 spatial axes and a grid (N, ..., axes), got {x.shape} and {grid.shape}")
    count = prod(grid.shape[1:-1])
    flat = g.reshape(grid, (grid.shape[0], count, rank))
    taps = []
    for a, size in enumerate(x.shape[2:]):
        axis = _Axis(size, _MODES[mode], padding, bool(node.attrs.get("align_corners", 0)))
        column = g.emit("Slice", flat, starts=(0, 0, rank - 1 - a), steps=(1, 1, 1), sizes=(grid.shape[0], count, 1))
        where = _affine(g, g.reshape(column, (grid.shape[0], count)), 1.0, 1.0)
        where = g.scale(where, (size - 1) / 2) if axis.aligned else _affine(g, where, size / 2, -0.5)
        taps.append(_taps(g, axis, where))
    y = sample(g, x, *interpolate(g, taps, x.shape[2:]))
    return g.reshape(y, (*x.shape[:2], *grid.shape[1:-1]))


@onnx_form("AffineGrid")
def affine_grid(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """The grid of an affine map theta (N, rank, rank + 1) for pictures of a constant size (N, C, *S)."""
    theta, size = node.required(inputs, 0), tuple(int(n) for n in node.array(inputs, 1).reshape(-1))
    space, rank = size[2:], len(size) - 2
    if rank not in (2, 3) or theta.shape != (theta.shape[0], rank, rank + 1) or min(space) < 1:
        raise node.bad(f"expected maps (N, rank, rank + 1) and a size of 4 or 5 positive numbers, got {theta.shape} and {size}")
    cells = prod(space)
    g.reserve(cells * (rank + 1))
    aligned = bool(node.attrs.get("align_corners", 0))
    lines = [np.arange(n) * 2.0 / max(n - 1, 1) - (n > 1) if aligned else (2 * np.arange(n) + 1.0) / n - 1 for n in space]
    columns = [part.reshape(-1) for part in np.meshgrid(*lines, indexing="ij")][::-1]
    places = g.constant(np.stack([*columns, np.ones(cells)], 1))
    return g.reshape(g.emit("MatMul", places, theta, trans_a=False, trans_b=True), (theta.shape[0], *space, rank))
