"""Time and memory of Grad-CAM against batch, picture size and threads, and memory over many explanations.

    python benchmarks/bench_growth.py resnet50.onnx --write

Every row is a process of its own, so that its peak of resident memory is that of this case alone. The model is an exported ONNX file whose
input is N x 3 x H x W; fixed sizes in it are made free. The file has to compute with any of them, as convolutional networks with a pooled
head do.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from measuring import machine, memory, report, shortest, table

import gradcam

WARM = 10


def freed(path: str) -> bytes:
    """The file with any number of pictures of any size."""
    import onnx

    model = onnx.load(path)
    for value, axes in ((model.graph.input[0], "NCHW"), (model.graph.output[0], "N")):
        for axis, name in enumerate(axes):
            if name != "C":
                value.type.tensor_type.shape.dim[axis].dim_param = name
    return model.SerializeToString()


def worker(path: str, batch: int, size: int, threads: int, seconds: float, repetitions: int) -> dict[str, float]:
    """Seconds of the forward pass and of Grad-CAM, and the memory; with repetitions, how much it grows over so many."""
    model = gradcam.load(freed(path))
    x = np.random.default_rng(0).standard_normal((batch, 3, size, size)).astype(np.float32)
    calls = {
        "forward": lambda: model(x, num_threads=threads),
        "cam": lambda: model.explain(x, target=281, num_threads=threads, relu=False).raw,
    }
    if repetitions:
        for _ in range(WARM):
            calls["cam"]()
        before = memory("VmRSS")
        for _ in range(repetitions):
            calls["cam"]()
        return {"grown": memory("VmRSS") - before, "peak": memory("VmHWM")}
    for call in calls.values():
        call()
    return {name: shortest(call, 1, seconds) for name, call in calls.items()} | {"peak": memory("VmHWM")}


def measure(*arguments: Any) -> dict[str, float]:
    """Run `worker` in a process of its own."""
    done = subprocess.run([sys.executable, __file__, *map(str, arguments), "--worker"], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--sizes", type=int, nargs="+", default=[112, 160, 224, 320, 448, 512])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=2.0, help="for each time")
    parser.add_argument("--explanations", type=int, default=1000, help="over which memory may grow")
    parser.add_argument("--write", action="store_true", help="put the result into benchmarks/README.md")
    options = parser.parse_args()
    began = machine()
    cases = [(batch, 224, threads) for batch in options.batches for threads in options.threads]
    cases += [(1, size, threads) for size in options.sizes if size != 224 for threads in options.threads]
    rows = [
        ["pictures", "size", "threads", "forward, ms", "Grad-CAM, ms", "Grad-CAM, ms a picture", "us a picture and 1000 pixels", "peak, MB"]
    ]
    for batch, size, threads in cases:
        found = measure(options.model, batch, size, threads, options.seconds, 0)
        forward, cam = 1e3 * found["forward"], 1e3 * found["cam"]
        each = 1e3 * cam / batch / (size * size / 1e3)
        times = [f"{forward:.1f}", f"{cam:.1f}", f"{cam / batch:.1f}", f"{each:.0f}"]
        rows.append([str(batch), f"{size} px", str(threads), *times, f"{found['peak'] / 1e6:.0f}"])
    grown = measure(options.model, 1, 224, max(options.threads), 0, options.explanations)
    growth = (
        f"Memory after {WARM} explanations and after {options.explanations} more of one picture of 224 px: {grown['grown'] / 1e6:+.2f} MB."
    )
    lines = [f"{Path(options.model).stem}, float32, target given; {began}", growth, "", *table(rows, options.write)]
    report(__file__, lines, options.write)


if __name__ == "__main__":
    if sys.argv[-1] == "--worker":
        path, batch, size, threads, seconds, repetitions = sys.argv[1:-1]
        print(json.dumps(worker(path, int(batch), int(size), int(threads), float(seconds), int(repetitions))))
    else:
        main()
