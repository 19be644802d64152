"""Models without an ONNX file: known architectures with plain weights, and PyTorch modules."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from numpy.typing import ArrayLike

from gradcam.graph_builder import make_model
from gradcam.labels import Labels
from gradcam.loading import load
from gradcam.model import Model
from gradcam.preprocess import Preprocess

__all__ = ["from_torch", "from_weights"]


def from_weights(
    architecture: str,
    weights: Mapping[str, ArrayLike] | str | os.PathLike[str],
    *,
    labels: Labels | None = None,
    max_bytes: int | None = 2**32,
) -> Model:
    """Return a known architecture of torchvision with given weights.

    Layers are named by torchvision's module paths (``layer4``, ``layer4.2.conv3``, ``features.28``).

    Parameters
    ----------
    architecture : str
        resnet18, 34, 50, 101, 152, wide_resnet50_2, resnext50_32x4d; vgg11, 13, 16, 19, each also with _bn; alexnet;
        squeezenet1_0, 1_1; mobilenet_v2; mobilenet_v3_small, _large; densenet121; efficientnet_b0 to b4; convnext_tiny,
        _small, _base; vit_b_16, vit_b_32.
    weights : mapping of str to array_like, or path
        torchvision's state dict: a mapping, a ``.npz`` file of ``numpy.savez(path, **weights)``, or a ``.safetensors`` file.
        float16 and bfloat16 are widened. The number of classes is that of the last layer.
    labels : sequence of str, mapping of int to str, or path, optional
        Names of the classes; a text file has one a line.
    max_bytes : int, optional
        Most bytes that the file and its tensors may hold and a run may take; None for no cap.

    Returns
    -------
    Model
        With ImageNet's preprocessing at the size that the architecture was trained for.

    Raises
    ------
    ValueError
        There is no such architecture; the text has the nearest three.
    ModelFormatError
        The file is malformed, or tensors are missing, extra (``num_batches_tracked`` aside), misshapen, not real numbers
        or hold NaN: all of them are listed.
    MemoryBudgetError
        It needs more than `max_bytes`.
    MissingExtraError
        The ``weights`` extra is not installed, which ``.safetensors`` needs.
    OSError
        The file cannot be read.
    """
    from gradcam.readers.weights import read_network

    source, size = read_network(architecture, weights, max_bytes)
    # A file is pickled by its name; what came as arrays, as arrays.
    origin = None if isinstance(weights, Mapping) else partial(from_weights, architecture, weights, max_bytes=max_bytes)
    return make_model(
        source, labels=labels, preprocess=Preprocess.preset("imagenet", size=(size, size)), max_bytes=max_bytes, origin=origin
    )


def from_torch(module: Any, example: Any, *, labels: Labels | None = None, max_bytes: int | None = 2**32) -> Model:
    """Return a PyTorch module as a model, by exporting it to ONNX in memory.

    The module runs in inference mode and is left as it was. The newer exporter of PyTorch is used where the package
    ``onnxscript`` is installed, else the older one.

    Parameters
    ----------
    module : torch.nn.Module
        What is exported, on any device.
    example : tensor or array, or a sequence of these
        Inputs with batch, in the order of the arguments of ``forward``, on the module's device. The model takes any number of
        pictures of this size.
    labels : sequence of str, mapping of int to str, or path, optional
        Names of the classes; a text file has one a line.
    max_bytes : int, optional
        See `gradcam.load`.

    Returns
    -------
    Model

    Raises
    ------
    MissingExtraError
        PyTorch or the ``onnx`` extra is not installed.
    TypeError
        `module` is no module, or `example` holds no tensors.
    UnsupportedOpError
        Lists every node that gradcam cannot run.
    """
    from gradcam.readers.torch import export

    return load(export(module, example), labels=labels, max_bytes=max_bytes)
