"""Runs a model: checks inputs, finds forward graphs and plans for their shapes, keeps within the memory allowed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradcam.cache import Cache
from gradcam.environment import resolve_threads
from gradcam.errors import MemoryBudgetError, ModelFormatError
from gradcam.forward import Forward, build_forward
from gradcam.graph.ir import Graph, Shape
from gradcam.graph.passes.fold_batchnorm import FoldCache
from gradcam.graph.compilation import check_passes, compile_plan
from gradcam.graph.plan import PackCache, Plan
from gradcam.graph.source import Dim, InputSpec, Source, dims_text
from gradcam.ops import _call

__all__ = ["Bound", "Inputs", "Session"]

Inputs = ArrayLike | Mapping[str, ArrayLike]

_NOMINAL_SIZES = (224, 256, 299, 512, 128, 96, 64, 32, 28)
"""Tried for symbolic heights and widths when layers are listed before a picture was seen."""


@dataclass(slots=True)
class Bound:
    """Inputs of one call, checked, and the forward graph for their shapes."""

    forward: Forward
    key: tuple[Any, ...]
    arrays: list[NDArray[Any]]
    pictures: int
    squeeze: bool


def _check_shape(function: str, spec: InputSpec, shape: Shape, squeezed: bool) -> None:
    fits = len(shape) == len(spec.dims) and all(isinstance(d, str) or d == n for d, n in zip(spec.dims[1:], shape[1:], strict=True))
    if not fits:
        got = shape[1:] if squeezed else shape
        raise ValueError(
            f"{function}: input '{spec.name}': expected shape {dims_text(spec.dims)} with any number of pictures, "
            f"or one picture without axis 0, got {got}"
        )
    if 0 in shape[1:]:
        raise ValueError(f"{function}: input '{spec.name}': expected sizes of at least 1, got {shape}")


class Session:
    """A model file with its caches. Safe to use from several threads.

    Attributes
    ----------
    source : Source
        What was read.
    nominal : Forward
        Forward graph at the declared sizes.
    plans : Cache
        Compiled plans, by whatever they depend on.
    without : frozenset of str
        Passes that are left out, of `gradcam.graph.compilation.PASSES`.
    precision : {"float32", "bfloat16"}
        Of what convolutions and linear layers read.
    told : set
        Layers, methods and targets of which a warning has said why a map is blank.
    """

    def __init__(self, source: Source, max_bytes: int | None, without: Collection[str] = (), precision: str = "float32") -> None:
        check_passes("Session", without)
        self.source, self.max_bytes, self.precision = source, max_bytes, precision
        self.without = frozenset(without)
        self.plans: Cache[Any] = Cache(32)
        self.told = set[tuple[str, str, str]]()
        self._folds = FoldCache(1024)
        self._packs = PackCache(1024)
        self._forwards: Cache[Forward | None] = Cache(16)
        self.nominal = self._build_nominal()

    def compile(self, graph: Graph, real: np.dtype[Any]) -> Plan:
        """Compile a graph of this model; packed weights are shared between its plans."""
        return compile_plan(graph, real, self._packs, without=self.without, precision=self.precision)

    def bind(self, function: str, x: ArrayLike | Mapping[str, ArrayLike]) -> Bound:
        """Check the inputs and find the forward graph for their shapes."""
        given = self._by_name(function, x)
        arrays, squeezed, counts, real = [], set(), set(), None
        for spec in self.source.inputs:
            self._check_copy(function, spec.name, given[spec.name])
            array = _call.array(function, f"input '{spec.name}'", given[spec.name])
            squeeze = array.ndim == len(spec.dims) - 1
            if squeeze:
                array = array[None]
            _check_shape(function, spec, array.shape, squeeze)
            arrays.append(array)
            squeezed.add(squeeze)
            counts.add(array.shape[0])
            real = array.dtype if real is None else np.result_type(real, array.dtype)
        if len(squeezed) > 1 or len(counts) > 1:
            raise ValueError(f"{function}: x: expected the same number of pictures in all inputs, got {sorted(counts)}")
        assert real is not None
        if self.precision != "float32" and real != np.float32:
            raise TypeError(f"{function}: x: expected float32 for a model loaded with precision='{self.precision}', got {real}")
        arrays = [a.astype(real, copy=False) for a in arrays]
        pictures = counts.pop()
        shapes = {spec.name: (max(1, pictures), *a.shape[1:]) for spec, a in zip(self.source.inputs, arrays, strict=True)}
        forward = self._forward(function, shapes, real)
        key = (tuple(v.shape for v in forward.graph.inputs), real.char)
        return Bound(forward, key, arrays, pictures, squeezed.pop())

    def _forward(self, function: str, shapes: dict[str, Shape], real: np.dtype[Any]) -> Forward:
        forward = self._find(shapes, real)
        for spec in self.source.inputs if not forward.per_picture else ():
            given = shapes[spec.name][0]
            if isinstance(spec.dims[0], int) and spec.dims[0] != given:
                raise ValueError(
                    f"{function}: x: this model mixes the pictures of a batch, so it takes exactly {spec.dims[0]} at once, got {given}"
                )
        return forward

    def _find(self, shapes: dict[str, Shape], real: np.dtype[Any]) -> Forward:
        """Forward graph for one picture where the pictures do not meet, else for the whole batch.

        A file that names its batch in a reshape cannot be built for one picture: then it runs as it was exported.
        """
        single = {name: (1, *shape[1:]) for name, shape in shapes.items()}
        alone = self._forwards.get((tuple(single.values()), real.char, "one picture"), partial(self._try, single, real))
        if alone is not None and (alone.per_picture or single == shapes):
            return alone
        whole = self._forwards.get(
            (tuple(shapes.values()), real.char), partial(build_forward, self.source, shapes, real, self._folds, self.without)
        )
        assert whole is not None
        return whole

    def _try(self, shapes: dict[str, Shape], real: np.dtype[Any]) -> Forward | None:
        try:
            return build_forward(self.source, shapes, real, self._folds, self.without)
        except ModelFormatError:
            return None

    def allow(self, function: str, what: str, size: int) -> None:
        """Raise MemoryBudgetError if an array is larger than all the memory allowed, before it is made."""
        if self.max_bytes is not None and size > self.max_bytes:
            raise MemoryBudgetError(f"{function}: {what} holds {size} bytes, max_bytes allows {self.max_bytes}")

    def _check_copy(self, function: str, name: str, array: ArrayLike) -> None:
        """Refuse an input beyond the budget before it is copied (a view may claim any size)."""
        if isinstance(array, np.ndarray) and not (array.flags.c_contiguous and array.dtype.isnative):
            self.allow(function, f"input '{name}'", array.nbytes)

    def _by_name(self, function: str, x: ArrayLike | Mapping[str, ArrayLike]) -> Mapping[str, ArrayLike]:
        names = [spec.name for spec in self.source.inputs]
        if not isinstance(x, Mapping):
            if len(names) != 1:
                raise ValueError(f"{function}: x: expected a mapping with the inputs {', '.join(names)}")
            return {names[0]: x}
        if set(x) != set(names):
            raise ValueError(f"{function}: x: expected the inputs {', '.join(names)}, got {', '.join(map(str, x))}")
        return x

    def execute(
        self, plan: Plan, bound: Bound, arrays: Sequence[NDArray[Any]], num_threads: int | None, *, held: int = 0
    ) -> list[NDArray[Any]]:
        """Run a plan on all pictures after checking that its memory is allowed.

        Parameters
        ----------
        held : int
            Pictures whose results the caller collects from several runs.
        """
        runs = bound.pictures if bound.forward.per_picture else min(bound.pictures, 1)
        workers = resolve_threads(num_threads)
        if self.max_bytes is not None:
            need = plan.result_bytes * (runs + held) + plan.run_bytes(max(1, runs), plan.workers(runs, workers))
            if need > self.max_bytes:
                raise MemoryBudgetError(
                    f"run: needs {need} bytes for {max(bound.pictures, held)} pictures, max_bytes allows {self.max_bytes}: "
                    "pass fewer pictures, or batch_size=, or load with a larger max_bytes"
                )
        return plan.run(arrays, runs, workers)

    def _build_nominal(self) -> Forward:
        """Forward graph at the declared sizes: fails for models that cannot run, and lists the layers."""
        error: ModelFormatError | None = None
        symbolic = any(isinstance(n, str) for spec in self.source.inputs for n in spec.dims[1:])
        for size in _NOMINAL_SIZES if symbolic else _NOMINAL_SIZES[:1]:
            shapes = {s.name: tuple(_nominal(i, n, size) for i, n in enumerate(s.dims)) for s in self.source.inputs}
            try:
                return self._find(shapes, np.dtype(np.float32))
            except ModelFormatError as problem:
                error = error or problem
        assert error is not None
        raise error


def _nominal(axis: int, dim: Dim, size: int) -> int:
    """Size of an axis while no picture was seen: one picture, symbolic sizes as given."""
    return dim if isinstance(dim, int) else 1 if axis == 0 else size
