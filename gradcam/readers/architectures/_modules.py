"""What the architectures are written with: torchvision's modules under torchvision's names, and the registry."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.graph.network_builder import NetworkBuilder
from gradcam.ops import _call

__all__ = ["ARCHITECTURES", "Architecture", "Modules", "StateDict", "architecture", "divisible"]

Shape = tuple[int, ...]


class StateDict:
    """Tensors by name. What is missing, misshapen or left over is collected, so that it can be told at once.

    Parameters
    ----------
    arrays : mapping
        Tensors by torchvision's names.
    old_names : pairs of (pattern, replacement)
        Names in files that torchvision itself still reads.
    """

    def __init__(self, arrays: Mapping[str, Any], old_names: tuple[tuple[str, str], ...]) -> None:
        self._arrays: dict[str, Any] = {}
        for name, array in arrays.items():
            for pattern, replacement in old_names:
                name = re.sub(pattern, replacement, name)
            self._arrays[name] = array
        self._taken: set[str] = set()
        self._problems: list[str] = []

    def take(self, name: str, shape: Shape) -> NDArray[Any]:
        """Return a tensor, or an empty one of as many axes in its place: the network is built on, to find all problems."""
        self._taken.add(name)
        try:
            return self._checked(name, shape)
        except (TypeError, ValueError) as error:
            self._problems.append(str(error))
        return np.zeros((0,) * len(shape), np.float32)

    def _checked(self, name: str, shape: Shape) -> NDArray[Any]:
        if name not in self._arrays:
            raise ValueError(f"missing: {name} {shape}")
        array = _call.array("not real", name, self._arrays[name])
        if array.shape != shape:
            raise ValueError(f"misshapen: {name}: expected {shape}, got {array.shape}")
        if np.isnan(array).any():
            raise ValueError(f"not a number: {name}: expected no NaN")
        return array

    def size(self, name: str, axis: int, default: int) -> int:
        """Size of an axis of a tensor; `default` where it does not exist, which `take` will tell."""
        shape = np.shape(self._arrays[name]) if name in self._arrays else ()
        return shape[axis] if axis < len(shape) and shape[axis] > 0 else default

    def problems(self) -> list[str]:
        """Everything that is wrong, once the network was built."""
        extra = sorted(name for name in self._arrays.keys() - self._taken if not name.endswith("num_batches_tracked"))
        return [*self._problems, *(f"extra: {name} {tuple(np.shape(self._arrays[name]))}" for name in extra)]


class Modules:
    """Layers whose weights are found by the module's path, which also names the result."""

    def __init__(self, state: StateDict) -> None:
        self.net, self.state = NetworkBuilder(), state

    def input(self, size: int | None = None) -> str:
        """Add the input: RGB pictures of any size, or of one size."""
        return self.net.input("input", (None, 3, size, size))

    def classes(self, path: str) -> int:
        """Return the number of classes that the last layer tells."""
        return self.state.size(f"{path}.bias", 0, self.state.size(f"{path}.weight", 0, 1000))

    def conv(
        self, x: str, path: str, channels: tuple[int, int], kernel: int = 1, *, bias: bool = False, groups: int = 1, **options: Any
    ) -> str:
        """Convolve; a padding that is not given keeps the size."""
        weight = self.state.take(f"{path}.weight", (channels[1], channels[0] // groups, kernel, kernel))
        offset = self.state.take(f"{path}.bias", channels[1:]) if bias else None
        return self.net.conv(x, weight, offset, groups=groups, name=path, **({"padding": (kernel - 1) // 2} | options))

    def norm(self, x: str, path: str, channels: int, eps: float = 1e-5) -> str:
        """Batch normalisation."""
        parts = (self.state.take(f"{path}.{part}", (channels,)) for part in ("running_mean", "running_var", "weight", "bias"))
        return self.net.batch_norm(x, *parts, eps=eps, name=path)

    def conv_norm(
        self, x: str, path: str, channels: tuple[int, int], kernel: int = 1, *, act: str | None, eps: float = 1e-5, **options: Any
    ) -> str:
        """Conv2dNormActivation: convolution, batch normalisation and an activation."""
        x = self.norm(self.conv(x, f"{path}.0", channels, kernel, **options), f"{path}.1", channels[1], eps)
        return self.alias(x if act is None else self.act(act, x, f"{path}.2"), path)

    def act(self, function: str, x: str, path: str | None = None) -> str:
        """Activation by the name of the builder's method; "relu6" is a clip."""
        return self.net.clip(x, 0, 6, name=path) if function == "relu6" else str(getattr(self.net, function)(x, name=path))

    def linear(self, x: str, path: str, features: tuple[int, int]) -> str:
        """Linear layer."""
        return self.net.linear(
            x, self.state.take(f"{path}.weight", features[::-1]), self.state.take(f"{path}.bias", features[1:]), name=path
        )

    def layer_norm(self, x: str, path: str, features: int, eps: float = 1e-6) -> str:
        """Layer normalisation of the last axis."""
        parts = (self.state.take(f"{path}.{part}", (features,)) for part in ("weight", "bias"))
        return self.net.layer_norm(x, *parts, eps=eps, name=path)

    def squeeze_excitation(self, x: str, path: str, channels: tuple[int, int], act: str, gate: str) -> str:
        """Multiply each channel by a gate that is computed from the means of all channels."""
        y = self.net.global_average_pool(x, name=f"{path}.avgpool")
        y = self.act(act, self.conv(y, f"{path}.fc1", channels, bias=True), f"{path}.activation")
        y = self.act(gate, self.conv(y, f"{path}.fc2", channels[::-1], bias=True), f"{path}.scale_activation")
        return self.net.mul(x, y, name=path)

    def alias(self, x: str, path: str) -> str:
        """Let a tensor be found by the path of an outer module too; the result has to be used in its place."""
        return self.net.identity(x, name=path)

    def pooled(self, x: str, path: str) -> str:
        """Global average pooling and flatten."""
        return self.net.flatten(self.net.global_average_pool(x, name=path))


@dataclass(frozen=True, slots=True)
class Architecture:
    """How a network is built, and the size of the pictures that it was trained for."""

    build: Callable[[Modules], str]
    size: int
    old_names: tuple[tuple[str, str], ...]


ARCHITECTURES: dict[str, Architecture] = {}

Family = Callable[..., str]


def architecture(name: str, *, size: int = 224, old_names: tuple[tuple[str, str], ...] = (), **options: Any) -> Callable[[Family], Family]:
    """Register one architecture of a family, with the options that make it; the family returns the scores."""

    def register(family: Family) -> Family:
        ARCHITECTURES[name] = Architecture(partial(family, **options), size, old_names)
        return family

    return register


def divisible(value: float, by: int = 8) -> int:
    """Nearest multiple of `by` that is not less than nine tenths of `value`."""
    near = max(by, int(value + by / 2) // by * by)
    return near + by if near < 0.9 * value else near
