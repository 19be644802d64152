"""The C core. Private: positional-only, strict, no defaults, no conversions."""

from typing import Any, Literal, final

from numpy.typing import NDArray

Dtype = Literal["f", "d"]

isa: str
isas: tuple[str, ...]
kernels: tuple[str, ...]
openmp: bool
bfloat16: bool
compiler: str
flags: str

def call(
    kernel: str,
    isa: str,
    dtype: str,
    ints: tuple[int, ...],
    reals: tuple[float, ...],
    inputs: tuple[NDArray[Any] | None, ...],
    outputs: tuple[NDArray[Any], ...],
    workers: int,
    /,
) -> None: ...
def operands(
    kernel: str, isa: str, dtype: str, ints: tuple[int, ...], reals: tuple[float, ...], /
) -> tuple[tuple[int, ...], tuple[int, ...]]: ...
def omp_max_threads() -> int: ...
def before_fork() -> None: ...
def fail_allocation(after: int, /) -> None: ...

@final
class Plan:
    def __new__(
        cls, dtype: str, isa: str, arena_bytes: int, buffers: tuple[tuple[int, int, int, Any], ...], steps: tuple[tuple[Any, ...], ...], /
    ) -> Plan: ...
    def run(
        self, inputs: tuple[NDArray[Any], ...], outputs: tuple[NDArray[Any], ...], pictures: int, workers: int, poll: bool, /
    ) -> None: ...
    def keep_memory(self, /) -> None: ...
    def run_bytes(self, pictures: int, workers: int, /) -> int: ...
