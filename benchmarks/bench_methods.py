"""Cost of every method at every depth of a network, in units of its forward pass.

    python benchmarks/bench_methods.py resnet50.onnx --write

One float32 picture of 224 px and a given class; the forward pass is timed in turns with the method, in the same process.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from measuring import interleaved, machine, report, table

import gradcam
from gradcam.methods import METHODS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--layers", nargs="+", default=["layer4", "layer3", "layer2", "layer1"], help="from the last to the first")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--write", action="store_true", help="put the result into benchmarks/README.md")
    options = parser.parse_args()
    began = machine()
    model = gradcam.load(options.model)
    x = np.random.default_rng(0).standard_normal((1, *model.inputs[0].shape[1:])).astype(np.float32)
    times: list[float] = []

    def cost(method: str, layer: str | None) -> str:
        """Time of an explanation over that of a forward pass."""
        contenders = {
            "forward": lambda: model(x, num_threads=options.threads),
            "method": lambda: model.explain(x, target=281, layer=layer, method=method, relu=False, num_threads=options.threads).raw,
        }
        try:
            for call in contenders.values():
                call()
        except ValueError:  # the method has no map of this layer
            return "-"
        best = interleaved(contenders, options.rounds)
        times.append(best["forward"])
        return f"{best['method'] / best['forward']:.2f}"

    rows = [["method", *options.layers]]
    for method in options.methods:
        if METHODS[method].layerless:
            rows.append([method, *[f"{cost(method, None)} (all layers)"], *["-"] * (len(options.layers) - 1)])
        else:
            rows.append([method, *(cost(method, layer) for layer in options.layers)])
    head = f"{Path(options.model).stem}, {options.threads} thread{'s' if options.threads > 1 else ''}; {began}"
    lines = [head, f"1.00 is a forward pass: {1e3 * min(times):.1f} ms.", "", *table(rows, options.write)]
    report(__file__, lines, options.write)


if __name__ == "__main__":
    main()
