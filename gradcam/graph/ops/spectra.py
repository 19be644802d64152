"""DFT, STFT and windows: products with constant matrices, whose rows are transforms of single impulses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Value
from gradcam.graph.onnx_form import Inputs, OnnxNode, onnx_form
from gradcam.graph.ops.resample import check_positions, pick

Matrix = NDArray[np.float64]


def _matrix(node: OnnxNode, size: int, parts: int, length: int, inverse: bool, onesided: bool) -> tuple[Matrix, int]:
    """Return the matrix from (size, parts) to (frequencies, parts), both flattened, and the number of parts of the result."""
    if size < 1 or parts not in (1, 2) or length < 1:
        raise node.bad(f"expected real numbers or pairs along the last axis and a length of at least 1, got {parts} and {length}")
    check_positions(node, size * parts, 2 * length)
    impulses = np.eye(size * parts).reshape(size * parts, size, parts)
    signals = impulses[..., 0] if parts == 1 else impulses[..., 0] + 1j * impulses[..., 1]
    if inverse and onesided:
        return np.fft.irfft(signals, length, axis=1), 1
    result = np.fft.ifft(signals, length, axis=1) if inverse else np.fft.fft(signals, length, axis=1)
    result = result[:, : length // 2 + 1] if onesided else result
    return np.stack([result.real, result.imag], -1).reshape(size * parts, -1), 2


def _integer(node: OnnxNode, inputs: Inputs, index: int, default: int) -> int:
    return default if node.optional(inputs, index) is None else int(node.array(inputs, index).reshape(()))


@onnx_form("DFT")
def dft(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Along one axis of real or complex (last axis 2) signals, cut or padded with zeros to `dft_length`."""
    x = node.required(inputs, 0)
    rank, inverse, onesided = len(x.shape), bool(node.attrs.get("inverse", 0)), bool(node.attrs.get("onesided", 0))
    axis = node.axis(_integer(node, inputs, 2, -2) if node.opset >= 20 else int(node.attrs.get("axis", 1)), rank)
    if axis == rank - 1:
        raise node.bad("the last axis holds real and imaginary parts")
    default = 2 * (x.shape[axis] - 1) if inverse and onesided else x.shape[axis]
    matrix, parts = _matrix(node, x.shape[axis], x.shape[-1], _integer(node, inputs, 1, default), inverse, onesided)
    perm = (*(a for a in range(rank - 1) if a != axis), axis, rank - 1)
    rows = g.transpose(x, perm)
    lead = rows.shape[:-2]
    y = g.emit("MatMul", g.reshape(rows, (*lead, len(matrix))), g.constant(matrix), trans_a=False, trans_b=False)
    y = g.reshape(y, (*lead, matrix.shape[1] // parts, parts))
    return g.transpose(y, tuple(int(a) for a in np.argsort(perm)))


@onnx_form("STFT")
def stft(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Transforms of overlapping frames of signals (N, samples, parts): (N, frames, frequencies, 2)."""
    x, window = node.required(inputs, 0), node.optional(inputs, 2)
    if len(x.shape) != 3:
        raise node.bad(f"expected signals (N, samples, parts), got {x.shape}")
    n, samples, parts = x.shape
    step, length = _integer(node, inputs, 1, 0), _integer(node, inputs, 3, window.size if window is not None else samples)
    if step < 1 or not 1 <= length <= samples or window is not None and window.shape != (length,):
        raise node.bad(f"steps of {step}, frames of {length} of {samples} samples and the window do not fit together")
    frames = 1 + (samples - length) // step
    check_positions(node, frames, length)
    matrix, _ = _matrix(node, length, parts, length, False, bool(node.attrs.get("onesided", 1)))
    cut = pick(g, x, 1, np.arange(frames)[:, None] * step + np.arange(length))
    if window is not None:
        cut = g.mul(g.reshape(cut, (n, frames, length, parts)), g.reshape(window, (length, 1)))
    y = g.emit("MatMul", g.reshape(cut, (n, frames, length * parts)), g.constant(matrix), trans_a=False, trans_b=False)
    return g.reshape(y, (n, frames, matrix.shape[1] // 2, 2))


_WINDOWS = {"HannWindow": (0.5, 0.5, 0.0), "HammingWindow": (25 / 46, 21 / 46, 0.0), "BlackmanWindow": (0.42, 0.5, 0.08)}
"""Constant, first and second cosine."""


@onnx_form(*_WINDOWS)
def window(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Of a constant size; periodic, or symmetric."""
    size = _integer(node, inputs, 0, 0)
    if size < 1:
        raise node.bad(f"expected a size of at least 1, got {size}")
    check_positions(node, size)
    g.reserve(size)
    angle = 2 * np.pi * np.arange(size) / max(size if node.attrs.get("periodic", 1) else size - 1, 1)
    constant, first, second = _WINDOWS[node.op_type]
    return g.constant(constant - first * np.cos(angle) + second * np.cos(2 * angle))
