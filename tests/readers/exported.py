"""State dicts of torchvision's networks out of ONNX exports, and random ones."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from gradcam.readers.architectures import ARCHITECTURES, Modules, StateDict


class Recorder(StateDict):
    """Writes down what an architecture asks for, in its order."""

    def __init__(self) -> None:
        super().__init__({}, ())
        self.asked: dict[str, tuple[int, ...]] = {}

    def take(self, name, shape):
        self.asked[name] = shape
        return super().take(name, shape)


def tensors(architecture: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of an architecture with 1000 classes."""
    recorder = Recorder()
    ARCHITECTURES[architecture].build(Modules(recorder))
    return recorder.asked


def random_state(architecture: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights that keep the size of what passes through."""
    rng = np.random.default_rng(seed)
    state = {}
    for name, shape in tensors(architecture).items():
        array = rng.standard_normal(shape, np.float32) * np.float32((2 / max(1, np.prod(shape[1:]))) ** 0.5 if len(shape) > 1 else 0.1)
        state[name] = array + 1 if name.endswith(".running_var") else array
    return state


def module_path(node: str) -> str:
    """``/layer1/layer1.0/conv1/Conv`` -> ``layer1.0.conv1``."""
    path, before = "", None
    for part in node.strip("/").split("/")[:-1]:
        path = path + part.removeprefix(before) if before and part.startswith(f"{before}.") else f"{path}.{part}" if path else part
        before = part
    return path


def exported_state(model: onnx.ModelProto, architecture: str, eps: float) -> dict[str, np.ndarray]:
    """The state dict behind an export.

    Where the exporter folded a batch normalisation into a convolution, the state has a neutral one that adds the bias.
    """
    arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    arrays |= {n.output[0]: arrays[n.input[0]] for n in model.graph.node if n.op_type == "Identity" and n.input[0] in arrays}
    asked = list(tensors(architecture))
    state = {name: arrays[name] for name in asked if name in arrays}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "MatMul", "Gemm") or node.input[1] not in arrays:
            continue
        path = node.input[1].removesuffix(".weight") if node.input[1].endswith(".weight") else module_path(node.name)
        state[f"{path}.weight"] = arrays[node.input[1]]
        if len(node.input) < 3:
            continue
        if f"{path}.bias" in asked:
            state[f"{path}.bias"] = arrays[node.input[2]]
            continue
        norm = asked[asked.index(f"{path}.weight") + 1].removesuffix(".running_mean")
        bias = arrays[node.input[2]]
        neutral = {"weight": np.ones_like(bias), "bias": bias, "running_mean": 0 * bias, "running_var": np.full_like(bias, 1 - eps)}
        state |= {f"{norm}.{part}": array for part, array in neutral.items()}
    return state
