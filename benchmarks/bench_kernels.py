"""Kernels of the layers of known networks, each alone on hot arrays, beside what the machine can do at that moment.

    python benchmarks/bench_kernels.py --write

Each layer goes through the graph compiler as in a network, with bias and activation; the step with its products is run by itself on arrays
of its size. GFLOP/s are nominal: two operations for each product of the formula, so that Winograd's algorithm may exceed the peak. The peak
is measured before each layer with as many threads: chains of fused multiply-adds in vectors of the kernels' width, compiled by the C
compiler. The share of the bandwidth is (bytes read and written, each once) / time, over the rate at which as many threads read a buffer of
that size over and over.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import numpy as np
from measuring import STREAM_BYTES, Call, calls_of_a_sample, fma_rate, machine, read_rate, report, shortest, table

from gradcam import _core
from gradcam.graph.builder import Builder
from gradcam.graph.compilation import compile_plan
from gradcam.graph.ir import Value
from gradcam.graph.plan import Step
from gradcam.ops import _call

F32 = np.dtype(np.float32)


@dataclass(frozen=True)
class Conv:
    """A square convolution with padding that keeps the size (at stride 1), or its input gradient."""

    network: str
    c: int
    k: int
    size: int
    kernel: int = 3
    stride: int = 1
    groups: int = 1
    gradient: bool = False

    @property
    def name(self) -> str:
        kind = f"{self.kernel}x{self.kernel}" + (" depthwise" if self.groups == self.c else "")
        stride = f" stride {self.stride}" if self.stride > 1 else ""
        return f"{kind}{stride}, {self.c} -> {self.k}, {self.size} px{', gradient' if self.gradient else ''}"

    def emit(self, g: Builder, rng: np.random.Generator) -> Value:
        """Emit it on blocked arrays, as between others; the first layer reads a plain picture."""
        pad, out = self.kernel // 2, -(-self.size // self.stride)
        w = g.constant(rng.standard_normal((self.k, self.c // self.groups, self.kernel, self.kernel)) / np.sqrt(self.c))
        window = {"stride": (self.stride,) * 2, "pad_lo": (pad,) * 2, "pad_hi": (pad,) * 2, "dilation": (1, 1), "groups": self.groups}
        if self.gradient:
            dy = g.input("dy", (1, self.k, out, out))
            return g.emit("ConvInputGrad", dy, w, input_shape=(1, self.c, self.size, self.size), **window)
        y = g.emit("Conv", g.input("x", (1, self.c, self.size, self.size)), w, g.constant(rng.standard_normal(self.k)), **window)
        return g.unary("Relu", y)


@dataclass(frozen=True)
class Product:
    """`rows` x `k` times a constant `k` x `m`, or a computed one in each of several heads."""

    network: str
    what: str
    rows: int
    k: int
    m: int
    heads: int = 0

    @property
    def name(self) -> str:
        return f"{self.what}, {f'{self.heads} x ' if self.heads else ''}{self.rows} x {self.k} x {self.m}"

    def emit(self, g: Builder, rng: np.random.Generator) -> Value:
        """Emit the product, with a bias if its weights are constant."""
        lead = (1, self.heads) if self.heads else (1,)
        x = g.input("x", (*lead, self.rows, self.k) if self.rows > 1 else (1, self.k))
        if self.heads:
            return g.emit("MatMul", x, g.input("w", (*lead, self.k, self.m)), trans_a=False, trans_b=False)
        y = g.emit("MatMul", x, g.constant(rng.standard_normal((self.k, self.m)) / np.sqrt(self.k)), trans_a=False, trans_b=False)
        return g.add(y, g.constant(rng.standard_normal(self.m)))


LAYERS: list[Conv | Product] = [
    Conv("ResNet-50", 3, 64, 224, 7, 2),
    Conv("ResNet-50", 64, 64, 56, 1),
    Conv("ResNet-50", 64, 64, 56),
    Conv("ResNet-50", 64, 256, 56, 1),
    Conv("ResNet-50", 256, 64, 56, 1),
    Conv("ResNet-50", 128, 128, 28),
    Conv("ResNet-50", 256, 256, 28, 3, 2),
    Conv("ResNet-50", 512, 1024, 28, 1, 2),
    Conv("ResNet-50", 256, 256, 14),
    Conv("ResNet-50", 1024, 256, 14, 1),
    Conv("ResNet-50", 512, 512, 7),
    Conv("ResNet-50", 512, 2048, 7, 1),
    Conv("ResNet-50", 64, 64, 56, gradient=True),
    Conv("ResNet-50", 256, 256, 28, 3, 2, gradient=True),
    Conv("ResNet-50", 512, 512, 7, gradient=True),
    Conv("ResNet-50", 512, 2048, 7, 1, gradient=True),
    Product("ResNet-50", "classes", 1, 2048, 1000),
    Conv("VGG-16", 3, 64, 224),
    Conv("VGG-16", 64, 64, 224),
    Conv("VGG-16", 128, 128, 112),
    Conv("VGG-16", 256, 256, 56),
    Conv("VGG-16", 512, 512, 28),
    Conv("VGG-16", 512, 512, 14),
    Product("VGG-16", "first linear layer", 1, 25088, 4096),
    Conv("MobileNetV2", 32, 32, 112, groups=32),
    Conv("MobileNetV2", 16, 96, 112, 1),
    Conv("MobileNetV2", 96, 96, 112, 3, 2, groups=96),
    Conv("MobileNetV2", 144, 24, 56, 1),
    Conv("MobileNetV2", 384, 384, 14, groups=384),
    Conv("MobileNetV2", 384, 64, 14, 1),
    Conv("MobileNetV2", 320, 1280, 7, 1),
    Conv("EfficientNet-B0", 144, 144, 56, 5, 2, groups=144),
    Conv("EfficientNet-B0", 480, 480, 14, 5, groups=480),
    Conv("EfficientNet-B0", 1152, 1152, 7, 5, groups=1152),
    Conv("EfficientNet-B0", 672, 112, 14, 1),
    Product("ViT-B/16", "queries, keys, values", 197, 768, 2304),
    Product("ViT-B/16", "into the hidden layer", 197, 768, 3072),
    Product("ViT-B/16", "out of the hidden layer", 197, 3072, 768),
    Product("ViT-B/16", "queries x keys", 197, 64, 197, heads=12),
    Product("ViT-B/16", "attention x values", 197, 197, 64, heads=12),
    Product("Swin-T", "queries, keys, values", 3136, 96, 288),
    Product("Swin-T", "into the hidden layer", 784, 192, 768),
]


@dataclass(frozen=True)
class Alone:
    """The step with the products of a layer, and arrays for it."""

    step: Step
    arrays: tuple[np.ndarray | None, ...]
    result: np.ndarray

    @classmethod
    def of(cls, layer: Conv | Product) -> Alone:
        rng = np.random.default_rng(0)
        g = Builder(F32)
        g.graph.outputs = [layer.emit(g, rng)]
        (step,) = (step for step in compile_plan(g.graph, F32).steps if step.products)

        def array(value: Value | None) -> np.ndarray | None:
            if value is None:
                return None
            return value.data if value.data is not None else rng.standard_normal(value.size).astype(F32)

        return cls(step, tuple(map(array, step.reads)), np.zeros(step.writes[0].size, F32))

    @property
    def bytes(self) -> int:
        return self.result.nbytes + sum(a.nbytes for a in self.arrays if a is not None)

    def call(self, threads: int) -> Call:
        step, given = self.step, (self.step.kernel, _call.isa, F32.char, self.step.attributes.ints, self.step.attributes.reals)
        assert len(step.writes) == 1
        return lambda: _core.call(*given, self.arrays, (self.result,), threads)


def measured(layer: Conv | Product, threads: int, seconds: float) -> list[Any]:
    """Microseconds, GFLOP/s, and the shares of the peak and of the bandwidth."""
    alone = Alone.of(layer)
    call = alone.call(threads)
    peak = fma_rate(threads)
    best = shortest(call, calls_of_a_sample(call)[0], seconds)
    rate = 2 * alone.step.products / best
    bandwidth = alone.bytes / best / read_rate(min(alone.bytes, STREAM_BYTES), threads)
    return [f"{1e6 * best:.0f}", f"{rate / 1e9:.0f}", f"{100 * rate / peak:.0f} %", f"{100 * bandwidth:.0f} %"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", help="beginnings of their names (default: all)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=0.3, help="for each layer and number of threads")
    parser.add_argument("--write", action="store_true", help="put the result into benchmarks/README.md")
    options = parser.parse_args()
    peaks = [f"{n} threads {fma_rate(n, 0.5) / 1e9:.0f} GFLOP/s, {read_rate(STREAM_BYTES, n) / 1e9:.1f} GB/s" for n in options.threads]
    head = ["network", "layer", "kernel", "GFLOP"]
    rows = [[*head, *(f"{what}, {n} thr" for n in options.threads for what in ("us", "GFLOP/s", "of peak", "of bandwidth"))]]
    began = machine()
    for layer in LAYERS:
        if options.networks and not layer.network.lower().startswith(tuple(name.lower() for name in options.networks)):
            continue
        step = Alone.of(layer).step
        cells = [cell for n in options.threads for cell in measured(layer, n, options.seconds)]
        rows.append([layer.network, layer.name, step.kernel.removesuffix("_output"), f"{2e-9 * step.products:.3f}", *cells])
    lines = [began, f"Peak of multiply-adds, and streaming read of {STREAM_BYTES >> 20} MiB: {'; '.join(peaks)}.", ""]
    report(__file__, [*lines, *table(rows, options.write)], options.write)


if __name__ == "__main__":
    main()
