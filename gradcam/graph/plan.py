"""Graph -> plan: steps for the C engine, with every buffer placed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam import _core
from gradcam.cache import Cache
from gradcam.graph.ir import Graph, Node, Shape, Value
from gradcam.graph.memory import ALIGNMENT, Block, place
from gradcam.graph.operators import OPERATORS
from gradcam.ops import _call
from gradcam.ops._call import Attributes
from gradcam.ops.bf16 import BFLOAT16
from gradcam.ops.unary import BYTE

__all__ = ["PackCache", "Plan", "PlanBuilder"]

ARENA, CONSTANT, INPUT, OUTPUT = range(4)
REAL, INDEX, BF16, BYTES = range(4)
SERIAL_ELEMENTS = 1 << 16
"""Plans that move fewer elements than this stay on one thread."""
SERIAL_STEP = 1 << 12
"""So do plans whose steps move fewer than this on average: the barrier after a step would take longer than the step."""

FINITE_PART = 1 << 17
"""Elements that are looked at together: few enough to stay in a cache."""

PackCache = Cache[tuple[NDArray[Any], NDArray[Any]]]
"""Packed weights by identity of the array and geometry of the pack (with the array, which keeps the identity valid); also
what else was found out about an array."""


@dataclass(slots=True)
class Step:
    """One call of a kernel.

    Attributes
    ----------
    node : Node
        Whose result it computes, or a part of it.
    inplace : tuple of int
        Inputs that may be the same memory as the first output.
    products : int
        Products that the formula of a convolution or matrix product adds up for one picture, however they are computed.
    """

    node: Node
    kernel: str
    attributes: Attributes
    reads: tuple[Value | None, ...]
    writes: tuple[Value, ...]
    inplace: tuple[int, ...] = ()
    products: int = 0


class PlanBuilder:
    """Collects the steps that the operators' lowering rules emit."""

    def __init__(self, graph: Graph, real: np.dtype[Any], packs: PackCache) -> None:
        self.graph, self.real, self.packs = graph, real, packs
        self.steps: list[Step] = []
        self._root: dict[Value, Value] = {}
        for self._node in graph.nodes:
            OPERATORS[self._node.op].lower(self._node, self)

    def step(
        self,
        kernel: str,
        attributes: Attributes,
        reads: Sequence[Value | None],
        writes: Sequence[Value],
        *,
        inplace: tuple[int, ...] = (),
        products: int = 0,
    ) -> None:
        """Add a call of a kernel; see `Step`."""
        self.steps.append(Step(self._node, kernel, attributes, tuple(reads), tuple(writes), inplace, products))

    def alias(self, value: Value, source: Value) -> None:
        """Let `value` be the memory of `source`."""
        self._root[value] = self.root(source)

    def root(self, value: Value) -> Value:
        """Value whose memory `value` is."""
        while value in self._root:
            value = self._root[value]
        return value

    def temporary(self, shape: Shape) -> Value:
        """Memory that only the steps of one operator use."""
        return Value("temporary", shape, self.real)

    def packed(self, kernel: str, attributes: Attributes, weight: Value, key: tuple[int, ...], dtype: np.dtype[Any] | None = None) -> Value:
        """Weights in the layout and type that a kernel wants: packed now and cached if constant, else by a step.

        `key` holds all attributes that the layout depends on.
        """
        dtype = self.real if dtype is None else dtype
        source = self.root(weight)
        count = _core.operands(kernel, _call.isa, self.real.char, attributes.ints, attributes.reals)[1][0]
        if source.data is None:
            result = Value("temporary", (count,), dtype)
            self.step(kernel, attributes, (source,), (result,))
            return result
        array = source.data

        def pack() -> tuple[NDArray[Any], NDArray[Any]]:
            memory = _aligned(count, np.dtype(np.uint16) if dtype == BFLOAT16 else dtype)
            return array, _call.call(kernel, attributes, [np.ascontiguousarray(array)], [memory])[0]

        whole = (id(array), self.real.char, _call.isa, kernel, count, *key)
        return Value(f"{weight.name}.packed", (count,), dtype, self.packs.get(whole, pack)[1])

    def is_finite(self, value: Value) -> bool:
        """Whether all numbers of a value are known, and finite."""
        array = self.root(value).data
        if array is None:
            return False

        def look() -> tuple[NDArray[Any], NDArray[Any]]:
            flat = array.reshape(-1)
            parts = (flat[i : i + FINITE_PART] for i in range(0, flat.size, FINITE_PART))
            return array, np.asarray(all(np.isfinite(part).all() for part in parts))

        return bool(self.packs.get((id(array), "finite"), look)[1])


def _aligned(count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Memory that begins with a cache line, so that vectors of it straddle none."""
    memory = np.empty(count * dtype.itemsize + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + count * dtype.itemsize].view(dtype)


class Plan:
    """A compiled graph: read-only, safe to run from several threads at once.

    Attributes
    ----------
    inputs, outputs : list of Value
        As in the graph; `run` takes and returns arrays in this order.
    steps : list of Step
        What runs, in order.
    arena_bytes : int
        Scratch memory for one picture.
    weight_bytes : int
        Constants that the steps read, packed where a kernel wants that.
    result_bytes : int
        Bytes of the results of one picture.
    """

    def __init__(self, graph: Graph, real: np.dtype[Any], packs: PackCache) -> None:
        builder = PlanBuilder(graph, real, packs)
        self.inputs, self.outputs, self.real = list(graph.inputs), list(graph.outputs), real
        self.steps = builder.steps
        layout = _Layout(builder)
        self._own, self._sources = layout.own, layout.sources
        self._copies_none = len(layout.own) == len(self.outputs) and all(v is w for v, w in zip(layout.own, self.outputs, strict=True))
        self._empty = [(*_blocks(v), v.dtype) for v in layout.own]
        self.arena_bytes = layout.arena_bytes
        self.weight_bytes = layout.weight_bytes
        self.result_bytes = sum(v.size * v.dtype.itemsize for v in self.outputs)
        self.work = sum(w.size for s in self.steps for w in (*s.reads, *s.writes) if w is not None)
        self._plan = _core.Plan(real.char, _call.isa, layout.arena_bytes, tuple(layout.buffers), tuple(layout.encoded))

    def keep_memory(self) -> None:
        """Hold on to the memory of a run for the next one, for plans that run again and again."""
        self._plan.keep_memory()

    def run_bytes(self, pictures: int, workers: int) -> int:
        """Bytes that a run takes beside its arrays."""
        return self._plan.run_bytes(pictures, workers)

    def workers(self, pictures: int, workers: int) -> int:
        """Threads worth using for so many pictures."""
        small = self.work * pictures < SERIAL_ELEMENTS or (pictures < workers and self.work < SERIAL_STEP * len(self.steps))
        return 1 if small else workers

    def run(self, arrays: Sequence[NDArray[Any]], pictures: int, workers: int) -> list[NDArray[Any]]:
        """Run all pictures.

        Parameters
        ----------
        arrays : sequence of ndarray
            C-contiguous, one per input: `pictures` blocks of the input's shape, or one block that serves all.
        pictures, workers : int
            How many pictures, and how many threads at the most.

        Returns
        -------
        list of ndarray
            One per output, with the pictures along axis 0.
        """
        results = [np.empty((pictures * first, *rest), dtype) for first, rest, dtype in self._empty]
        if pictures:
            poll = threading.current_thread() is threading.main_thread()
            self._plan.run(tuple(arrays), tuple(results), pictures, self.workers(pictures, workers), poll)
        if self._copies_none:
            return results
        given = dict(zip(self._own, results, strict=True))
        returned: set[Value] = set()
        arranged = []
        for value in self.outputs:
            fresh = value in given and value not in returned
            arranged.append(given[value] if fresh else self._copy(value, given, arrays, pictures))
            returned.add(value)
        return arranged

    def _copy(self, value: Value, given: dict[Value, NDArray[Any]], arrays: Sequence[NDArray[Any]], pictures: int) -> NDArray[Any]:
        """Result that is another result, an input or a constant in another shape."""
        first, rest = _blocks(value)
        source, result = self._sources.get(value, value), np.empty((pictures * first, *rest), value.dtype)
        if source in given:
            array = given[source]
        else:
            array = source.data if source.data is not None else arrays[self.inputs.index(source)]
        if array.size == result.size:
            return np.array(array.reshape(result.shape))
        result.reshape(pictures, *value.shape)[...] = array.reshape(value.shape)  # one block that serves all pictures
        return result


def _blocks(value: Value) -> tuple[int, Shape]:
    """Size of axis 0 of one picture, and the other sizes."""
    return (value.shape[0] if value.shape else 1), value.shape[1:]


def _kind(value: Value) -> int:
    return REAL if value.is_real else BF16 if value.dtype == BFLOAT16 else BYTES if value.dtype == BYTE else INDEX


class _Layout:
    """Buffers of a plan: which values share memory, where each lies, and the steps in terms of buffer numbers."""

    def __init__(self, builder: PlanBuilder) -> None:
        self.builder = builder
        self.numbers: dict[Value, int] = {}
        self.buffers: list[tuple[int, int, int, Any]] = []
        self.merged: dict[Value, Value] = {}
        self.own: list[Value] = []
        self.sources: dict[Value, Value] = {}
        self._fix_outputs()
        self._merge_in_place()
        self._place()
        self.encoded = [self._encode(s) for s in builder.steps]

    def owner(self, value: Value) -> Value:
        """Value whose buffer `value` lies in."""
        found = self.builder.root(value)
        passed = []
        while found in self.merged:
            passed.append(found)
            found = self.builder.root(self.merged[found])
        for value in passed[:-1]:  # long chains of elementwise steps are walked once
            self.merged[value] = found
        return found

    def _fix_outputs(self) -> None:
        """Give inputs and outputs their buffers; an output that is the memory of something else is copied after the run."""
        graph = self.builder.graph
        for slot, value in enumerate(graph.inputs):
            self._add(value, INPUT, slot)
        roots: dict[Value, Value] = {}
        for value in dict.fromkeys(graph.outputs):
            root = self.builder.root(value)
            if root in self.numbers or root.data is not None:
                self.sources[value] = roots.get(root, root)
            else:
                roots[root] = value
                self._add(root, OUTPUT, len(self.own))
                self.own.append(value)

    def _add(self, value: Value, place_: int, detail: Any) -> None:
        self.numbers[value] = len(self.buffers)
        self.buffers.append((place_, _kind(value), value.size, detail))

    def _merge_in_place(self) -> None:
        """Let an elementwise step write over an input that nothing reads afterwards."""
        last: dict[Value, int] = {}
        for i, step in enumerate(self.builder.steps):
            last.update((self.builder.root(v), i) for v in step.reads if v is not None)
        for i, step in enumerate(self.builder.steps):
            for position in step.inplace:
                value = step.reads[position]
                if value is None:
                    continue
                source, target = self.owner(value), self.builder.root(step.writes[0])
                if source in self.numbers or source.data is not None or source is target or source.size != target.size:
                    continue
                if (
                    last[self.builder.root(value)] > i
                    or last.get(source, i) > i
                    or sum(v is not None and self.owner(v) is source for v in step.reads) > 1
                ):
                    continue
                self.merged[source] = target
                last[target] = max(last.get(target, i), i)
                break

    def _place(self) -> None:
        """Place everything else in the arena by the time it lives."""
        blocks: dict[Value, Block] = {}
        itemsizes = (self.builder.real.itemsize, 8, 2, 1)
        for i, step in enumerate(self.builder.steps):
            for value in (*step.writes, *(v for v in step.reads if v is not None)):
                owner = self.owner(value)
                if owner in self.numbers:
                    continue
                if owner.data is not None:
                    self._add(owner, CONSTANT, np.ascontiguousarray(owner.data))
                elif owner in blocks:
                    blocks[owner].last = i
                else:
                    blocks[owner] = Block(owner.size * itemsizes[_kind(owner)], i, i)
        self.arena_bytes = place(list(blocks.values()))
        self.weight_bytes = sum(detail.nbytes for kind, _, _, detail in self.buffers if kind == CONSTANT)
        for value, block in blocks.items():
            self._add(value, ARENA, block.offset)

    def _encode(self, step: Step) -> tuple[str, tuple[int, ...], tuple[float, ...], tuple[int, ...], tuple[int, ...]]:
        reads = tuple(-1 if v is None else self.numbers[self.owner(v)] for v in step.reads)
        return step.kernel, step.attributes.ints, step.attributes.reals, reads, tuple(self.numbers[self.owner(v)] for v in step.writes)
