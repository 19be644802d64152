"""From an ONNX file to a model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from os import PathLike

from gradcam.labels import Labels
from gradcam.model import Model
from gradcam.ops.bf16 import check_precision

__all__ = ["load"]


def load(
    path: str | PathLike[str] | bytes,
    *,
    outputs: Sequence[str] | None = None,
    labels: Labels | None = None,
    max_bytes: int | None = 2**32,
    winograd: bool = True,
    precision: str = "float32",
) -> Model:
    """Load an ONNX model.

    Parameters
    ----------
    path : path or bytes
        The file, or its content.
    outputs : sequence of str, optional
        Tensors to take as the model's outputs; what only others need is left out, and need not be runnable.
    labels : sequence of str, mapping of int to str, or path, optional
        Names of the classes; a text file has one a line. By default those in the model's metadata (``gradcam.labels``).
    max_bytes : int, optional
        Most bytes that the file may hold, and that a run may take with the results of all runs of a call; None for no cap.
    winograd : bool
        Compute 3x3 convolutions of float32 pictures by Winograd's algorithm where that is faster. Its rounding error is about that of
        the direct sum, but a NaN or an infinity spreads over tiles of 4 x 4 pixels. False for exactness studies.
    precision : {"float32", "bfloat16"}
        "bfloat16" rounds what direct convolutions and linear layers of the forward pass read, activations and weights, to 8 significant
        bits; sums, other layers and the gradient stay in float32. Up to twice as fast on a CPU with AVX512_BF16; scores differ in the
        second or third digit (see docs/precision.md). Such a model takes no float64 arrays.

    Returns
    -------
    Model

    Raises
    ------
    ValueError
        Another `precision`, or one that this CPU lacks.
    ModelFormatError
        The content is malformed.
    UnsupportedOpError
        Lists every node that gradcam cannot run.
    MemoryBudgetError
        The file needs more than `max_bytes`.
    MissingExtraError
        The ``onnx`` extra is not installed.
    OSError
        The file cannot be read.
    """
    from gradcam.readers.onnx import read_onnx

    check_precision("load", precision)
    source = read_onnx(path, outputs=outputs, max_bytes=max_bytes)
    wanted = None if outputs is None else tuple(outputs)
    origin = partial(load, path, outputs=wanted, max_bytes=max_bytes, winograd=winograd, precision=precision)
    return Model(source, labels=labels, max_bytes=max_bytes, origin=origin, winograd=winograd, precision=precision)
