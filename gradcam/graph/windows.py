"""Strides, paddings and dilations of convolution and pooling nodes in ONNX."""

from __future__ import annotations

from gradcam.graph.ir import Shape
from gradcam.graph.onnx_form import OnnxNode

__all__ = ["transposed_windows", "windows"]

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


def transposed_windows(node: OnnxNode, size: Shape, kernel: Shape) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    """Return stride, dilation, low and high cropping, and output padding of a transposed convolution.

    `output_shape`, and `auto_pad` SAME_UPPER and SAME_LOWER (size times stride outputs), give the cropping; its odd cell
    goes to the high end for SAME_UPPER, else to the low one.
    """
    rank = len(size)
    stride, dilation = _per_axis(node, "strides", rank), _per_axis(node, "dilations", rank)
    more = _per_axis(node, "output_padding", rank, fill=0)
    auto_pad = node.attrs.get("auto_pad", "NOTSET") or "NOTSET"
    if auto_pad not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise node.bad(f"attribute 'auto_pad': unknown value '{auto_pad}'")
    wanted = tuple(int(n) for n in node.attrs.get("output_shape", ()))[-rank:]
    if not wanted and auto_pad.startswith("SAME"):
        wanted = tuple(n * s for n, s in zip(size, stride, strict=True))
    if not wanted:
        pads = tuple(int(v) for v in node.attrs.get("pads", (0,) * (2 * rank))) if auto_pad == "NOTSET" else (0,) * (2 * rank)
        if len(pads) != 2 * rank:
            raise node.bad(f"attribute 'pads': expected {2 * rank} numbers, got {len(pads)}")
        return stride, dilation, pads[:rank], pads[rank:], more
    if len(wanted) != rank or min(wanted) < 1:
        raise node.bad(f"attribute 'output_shape': expected {rank} positive numbers, got {wanted}")
    axes = zip(size, kernel, stride, dilation, more, wanted, strict=True)
    total = [s * (n - 1) + m + d * (k - 1) + 1 - out for n, k, s, d, m, out in axes]
    small, large = tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    return (stride, dilation, small, large, more) if auto_pad == "SAME_UPPER" else (stride, dilation, large, small, more)


def _per_axis(node: OnnxNode, name: str, rank: int, fill: int = 1) -> Ints:
    values = tuple(int(v) for v in node.attrs.get(name, (fill,) * rank))
    if len(values) != rank:
        raise node.bad(f"attribute '{name}': expected {rank} numbers, got {len(values)}")
    if min(values) < fill:
        raise node.bad(f"attribute '{name}': expected numbers of at least {fill}, got {values}")
    return values
