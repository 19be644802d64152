"""Strides, paddings and dilations of convolution and pooling nodes in ONNX."""

from __future__ import annotations

from gradcam.graph.ir import Shape
from gradcam.graph.onnx_form import OnnxNode

__all__ = ["windows"]

Ints = tuple[int, ...]


def windows(node: OnnxNode, size: Shape, kernel: Shape) -> tuple[Ints, Ints, Ints, Ints]:
    """Return stride, low padding, high padding and dilation, one number per spatial axis.

    `auto_pad` SAME_UPPER and SAME_LOWER give ceil(size / stride) outputs; the odd cell goes to the high or the low end.
    """
    rank = len(size)
    stride = _per_axis(node, "strides", rank)
    dilation = _per_axis(node, "dilations", rank)
    auto_pad = node.attrs.get("auto_pad", "NOTSET") or "NOTSET"
    if auto_pad == "NOTSET":
        pads = tuple(int(v) for v in node.attrs.get("pads", (0,) * (2 * rank)))
        if len(pads) != 2 * rank:
            raise node.bad(f"attribute 'pads': expected {2 * rank} numbers, got {len(pads)}")
        return stride, pads[:rank], pads[rank:], dilation
    if auto_pad == "VALID":
        return stride, (0,) * rank, (0,) * rank, dilation
    if auto_pad not in ("SAME_UPPER", "SAME_LOWER"):
        raise node.bad(f"attribute 'auto_pad': unknown value '{auto_pad}'")
    total = [max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n) for n, k, s, d in zip(size, kernel, stride, dilation, strict=True)]
    small, large = tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    return (stride, small, large, dilation) if auto_pad == "SAME_UPPER" else (stride, large, small, dilation)


def _per_axis(node: OnnxNode, name: str, rank: int) -> Ints:
    values = tuple(int(v) for v in node.attrs.get(name, (1,) * rank))
    if len(values) != rank:
        raise node.bad(f"attribute '{name}': expected {rank} numbers, got {len(values)}")
    if min(values) < 1:
        raise node.bad(f"attribute '{name}': expected numbers of at least 1, got {values}")
    return values
