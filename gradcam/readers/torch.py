"""PyTorch modules, by way of ONNX in memory."""

from __future__ import annotations

import inspect
import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from gradcam.errors import MissingExtraError

__all__ = ["export"]


def export(module: Any, example: Any) -> bytes:
    """Return a module as an ONNX model, in the mode of inference.

    Raises
    ------
    MissingExtraError
        PyTorch is not installed.
    TypeError
        `module` is no module, or `example` no tensor or sequence of tensors.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        raise MissingExtraError("from_torch: torch is needed for this and is not installed: pip install torch", name="torch") from error
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"from_torch: module: expected a torch.nn.Module, got {type(module).__name__}")
    given = example if isinstance(example, tuple | list) else (example,)
    try:
        inputs = tuple(torch.as_tensor(value) for value in given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"from_torch: example: expected a tensor or array, or a sequence of these: {error}") from error
    with _inference(module), warnings.catch_warnings():
        # Its older exporter says that it is the older one; the newer one needs a package more.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        names = _input_names(module, inputs)
        if find_spec("onnxscript") is not None:
            program: Any = torch.onnx.export(module, inputs, dynamo=True, input_names=names, verbose=False)
            return bytes(program.model_proto.SerializeToString())
        file: Any = io.BytesIO()
        torch.onnx.export(module, inputs, file, dynamo=False, input_names=names)
        return bytes(file.getvalue())


@contextmanager
def _inference(module: Any) -> Iterator[None]:
    """Every part of a module in the mode of inference, and in its own mode again afterwards."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _input_names(module: Any, inputs: Sequence[Any]) -> list[str]:
    """Names of the arguments of `forward`."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [name for name, parameter in inspect.signature(module.forward).parameters.items() if parameter.kind in kinds]
    return [*names, *(f"input{i}" for i in range(len(names), len(inputs)))][: len(inputs)]
