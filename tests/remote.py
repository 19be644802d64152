"""The C core on another CPU: what the package asks of `gradcam._core` is computed by a process that runs tests/c/remote.c.

``GRADCAM_TEST_REMOTE`` holds its command, such as an emulator and a program for another kind of CPU. The tests then hold the levels of that
CPU to the values and bounds that they hold this one's to. What the process refuses is asked of the extension once more, for the error that
it raises.
"""

from __future__ import annotations

import shlex
import struct
import subprocess
import threading
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from gradcam import _core
from gradcam.ops import _call

LEVELS, OPERANDS, CALL, PLAN, RUN, RUN_BYTES, FREE = range(7)
CONSTANT = 1
INPUT, OUTPUT = 2, 3
OK = 0
HERE = _core.isa
CORE_CALL, CORE_OPERANDS, CORE_PLAN = _core.call, _core.operands, _core.Plan
REFUSALS = (TypeError, ValueError, AttributeError, IndexError, struct.error)

Array = NDArray[Any]


def integers(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}q", *values)


def text(value: str) -> bytes:
    return integers(len(value)) + value.encode()


def attributes(ints: tuple[int, ...], reals: tuple[float, ...]) -> bytes:
    return integers(len(ints), *ints) + integers(len(reals)) + struct.pack(f"<{len(reals)}d", *reals)


def prepared(kernel: str, isa: str, dtype: str, ints: tuple[int, ...], reals: tuple[float, ...]) -> bytes:
    if kernel not in _core.kernels or isa not in _core.isas:
        raise ValueError("no such kernel or level")
    return text(kernel) + text(isa) + integers("fd".index(dtype)) + attributes(ints, reals)


class Arrays:
    """The arrays of one message: each once, so that operands which are one array here are one array there."""

    def __init__(self, dtype: str) -> None:
        self._dtypes = (np.dtype(dtype), np.dtype(np.int64), np.dtype(np.uint16), np.dtype(np.uint8))
        self._numbers: dict[tuple[int, int], int] = {}
        self._arrays: list[Array] = []

    def number(self, array: Array | None, *, writes: bool = False) -> int:
        if array is None:
            return -1
        if array.dtype not in self._dtypes or not (array.flags.c_contiguous and array.flags.aligned and array.flags.writeable >= writes):
            raise TypeError("not an array for a kernel")
        key = (array.ctypes.data, array.nbytes)
        if key not in self._numbers:
            self._numbers[key] = len(self._arrays)
            self._arrays.append(array)
        return self._numbers[key]

    def message(self) -> bytes:
        return integers(len(self._arrays)) + b"".join(integers(a.nbytes) + a.tobytes() for a in self._arrays)


class Remote:
    """The process; held by one thread for as long as an exchange takes."""

    def __init__(self, command: str) -> None:
        self._process = subprocess.Popen(shlex.split(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._lock = threading.Lock()
        self.unused: list[int] = []

    def __enter__(self) -> Remote:
        self._lock.acquire()
        while self.unused:
            self.send(integers(FREE, self.unused.pop()))
            self.integer()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def send(self, message: bytes) -> None:
        self._process.stdin.write(message)
        self._process.stdin.flush()

    def receive(self, count: int) -> bytes:
        found = self._process.stdout.read(count)
        if len(found) != count:
            raise SystemExit(f"the remote process ended with {self._process.wait()}")
        return found

    def integer(self) -> int:
        return int(struct.unpack("<q", self.receive(8))[0])

    def fill(self, arrays: tuple[Array, ...]) -> None:
        for array in arrays:
            array.reshape(-1)[...] = np.frombuffer(self.receive(array.nbytes), array.dtype)

    def levels(self) -> tuple[str, ...]:
        with self:
            self.send(integers(LEVELS))
            return tuple(self.receive(self.integer()).decode() for _ in range(self.integer()))

    def operands(
        self, kernel: str, isa: str, dtype: str, ints: tuple[int, ...], reals: tuple[float, ...], /
    ) -> tuple[tuple[int, ...], ...]:
        try:
            message = prepared(kernel, isa, dtype, ints, reals)
        except REFUSALS:
            refused(CORE_OPERANDS, kernel, here(isa), dtype, ints, reals)
        with self:
            self.send(integers(OPERANDS) + message)
            status, counts = self.integer(), (self.integer(), self.integer())
            sizes = tuple(tuple(self.integer() for _ in range(count)) for count in counts)
        if status != OK:
            refused(CORE_OPERANDS, kernel, here(isa), dtype, ints, reals)
        return sizes

    def call(
        self,
        kernel: str,
        isa: str,
        dtype: str,
        ints: tuple[int, ...],
        reals: tuple[float, ...],
        inputs: tuple[Array | None, ...],
        outputs: tuple[Array, ...],
        workers: int,
        /,
    ) -> None:
        arrays = Arrays(dtype)
        try:
            operands = integers(*(arrays.number(x) for x in inputs), *(arrays.number(y, writes=True) for y in outputs))
            message = prepared(kernel, isa, dtype, ints, reals) + integers(len(inputs), len(outputs), workers)
        except REFUSALS:
            refused(CORE_CALL, kernel, here(isa), dtype, ints, reals, inputs, outputs, workers)
        with self:
            self.send(integers(CALL) + message + arrays.message() + operands)
            status = self.integer()
            if status == OK:
                self.fill(outputs)
        if status != OK:
            refused(CORE_CALL, kernel, here(isa), dtype, ints, reals, inputs, outputs, workers)


class Plan:
    """In place of `_core.Plan`."""

    remote: Remote

    def __init__(self, dtype: str, isa: str, arena_bytes: int, buffers: tuple[Any, ...], steps: tuple[Any, ...], /) -> None:
        self._dtype, self._number = dtype, -1
        arrays = Arrays(dtype)
        try:
            if isa not in _core.isas:
                raise ValueError("no such level")
            message = text(isa) + integers("fd".index(dtype), arena_bytes, len(buffers), len(steps))
            table = b"".join(integers(*head, arrays.number(detail) if head[0] == CONSTANT else detail) for *head, detail in buffers)
            for kernel, ints, reals, reads, writes in steps:
                table += text(kernel) + attributes(ints, reals) + integers(len(reads), len(writes), *reads, *writes)
        except REFUSALS:
            refused(CORE_PLAN, dtype, here(isa), arena_bytes, buffers, steps)
        with self.remote as remote:
            remote.send(integers(PLAN) + message + arrays.message() + table)
            status, self._number = remote.integer(), remote.integer()
        if status != OK:
            refused(CORE_PLAN, dtype, here(isa), arena_bytes, buffers, steps)

    def __del__(self) -> None:
        if self._number >= 0:
            self.remote.unused.append(self._number)

    def run(self, inputs: tuple[Array, ...], outputs: tuple[Array, ...], pictures: int, workers: int, poll: bool, /) -> None:
        arrays = Arrays(self._dtype)
        operands = integers(*(arrays.number(x) for x in inputs), *(arrays.number(y, writes=True) for y in outputs))
        with self.remote as remote:
            remote.send(integers(RUN, self._number, pictures, workers) + arrays.message() + operands)
            assert remote.integer() == OK
            remote.fill(outputs)

    def run_bytes(self, pictures: int, workers: int, /) -> int:
        with self.remote as remote:
            remote.send(integers(RUN_BYTES, self._number, pictures, workers))
            assert remote.integer() == OK
            return remote.integer()


def here(isa: str) -> str:
    """A level of this CPU in place of one of the other."""
    return HERE if isa in _core.isas else isa


def refused(function: Callable[..., object], *arguments: object) -> NoReturn:
    """Raise what the extension raises for the same arguments."""
    function(*arguments)
    raise AssertionError(f"{arguments[0]}: the remote process refused what this CPU's levels take")


def install(command: str) -> None:
    """Let the package use the levels of the process that `command` starts."""
    Plan.remote = remote = Remote(command)
    _core.isas = remote.levels()
    _core.isa = _call.isa = _core.isas[-1]
    _core.call, _core.operands, _core.Plan = remote.call, remote.operands, Plan
