"""Write docs/models.md, and run what it reports.

    python tools/write_models_page.py                          # the page, from the last results
    python tools/write_models_page.py --torchvision 'vit*'     # runs some or all ('*') architectures of torchvision
    python tools/write_models_page.py --graphs                 # times the graphs of ../shared

Results are kept in tests/extended/results.json. Running needs torch, torchvision and onnxscript; `make extended` installs them.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
PAGE = ROOT / "docs" / "models.md"
RESULTS = ROOT / "tests" / "extended" / "results.json"
sys.path[:0] = [str(path) for path in (ROOT, ROOT / "tests") if str(path) not in sys.path]

from extended.torchvision_cases import (  # noqa: E402
    BOUNDS,
    EXACT,
    EXACT_BOUND,
    EXPORTERS,
    JUMPS,
    PARTS,
    TASKS,
    Outcome,
    architectures,
    read,
    run_apart,
    written,
)

HEAD = """# Models

*Written by `tools/write_models_page.py` from `tests/extended/results.json`.*

## torchvision

All classification, segmentation and video architectures of torchvision {torchvision}, exported at random weights by both exporters of
PyTorch {torch} (`torch.onnx.export` with `dynamo=False`, TorchScript, and `dynamo=True` with onnxscript {onnxscript}), in their default
settings, then read by `gradcam.load` (onnx {onnx}) and compared with torch's autograd. `make extended` runs it again.

* The score is a sum of the whole first output, each number times a random one, so that no part of a gradient cancels. Weights are
  scaled layer by layer to outputs of standard deviation 1; nothing vanishes, explodes or is neutral.
* The five numbers of a case are differences of *{parts}*:
  the largest one relative to the largest value; for input gradients the root mean square of the difference relative to that of the
  gradients. The map is Grad-CAM at the default layer.
* Torch's side of the default layer is the tensor that torch computes with the same values, wherever it comes from. Where the layer
  is called after a module, the output of that module has to be the same.
* Both sides compute in double precision on the float32 weights of the file (bound {bound64:.0e}); networks of more than 150 million
  parameters, and one with large activations, in float32 (bound {bound32:.0e}). Exporters fold batch normalisations into convolutions in
  float32, which moves a few ReLUs to the other side of zero and lets the gradients before them jump. Where these differ by more than the
  bound, the network was exported in double precision too, and the sixth number, *exact*, is the largest of the five then
  (bound {exact:.0e}). What is computed in float32 has no such second look: there the bound of the input gradients is {jumps:.0e}.

{passed} of {cases} cases pass{missing}.
"""

GRAPHS = """
## Time per graph

The exports of `../shared/graphs` (TorchScript `ts`, dynamo `dyn`, Keras by TensorFlow `tf` and by torch), checked by
`../shared/acceptance/graphs.py`: outputs, gradients and maps at several depths, default layer. Milliseconds on {machine}
(load {load:.1f} when it began; with more than a little, others held the cores), float32, one run of the example inputs: `load` reads
the file from memory and builds the graph; `first` is the first forward run, which makes the plan; `forward` and `gradient` (forward, and
backward to the first of the layers that are checked) are the best within
{least:.0f} seconds of later runs.

{passed} of {cases} graphs pass.

| graph | acceptance | load | first | forward | gradient |
| --- | --- | --- | --- | --- | --- |
"""

LEAST = 2.0
"""Seconds of repetition that the best time is taken from."""
NOT_RUN = "not run"


# torchvision ------------------------------------------------------------------------------------------------------------


def layer_text(outcome: Outcome) -> str:
    """The layer by its module, else its tensor, with operator and shape."""
    name = outcome.modules[0] if outcome.modules else outcome.layer
    return f"`{name}` {outcome.op} {outcome.shape}" if name else ""


def cell(outcome: Outcome) -> str:
    """The differences of a case, or why it fails."""
    if outcome.problem == NOT_RUN:
        return NOT_RUN
    if outcome.failure:
        return f"**fails**: {outcome.failure.replace('|', '/')}"
    exact = f", exact {outcome.differences[EXACT]:.0e}" if EXACT in outcome.differences else ""
    return " ".join(f"{outcome.differences[part]:.0e}" for part in PARTS) + exact


def torchvision_rows(outcomes: dict[str, dict[str, Outcome]], tasks: dict[str, str]) -> Iterable[str]:
    """One table per task."""
    for task in TASKS:
        yield from (f"\n### {task.capitalize()}\n", f"| architecture | input | parameters | default layer | {' | '.join(EXPORTERS)} |")
        yield "|" + " --- |" * (4 + len(EXPORTERS))
        for name in sorted(name for name, its in tasks.items() if its == task):
            both = [outcomes[name][exporter] for exporter in EXPORTERS]
            ran = next((outcome for outcome in both if outcome.size), both[0])
            size = " x ".join(map(str, ran.size))
            layers = "<br>".join(dict.fromkeys(filter(None, map(layer_text, both)))) or "none"
            precision = ", float32" if ran.precision == "float32" else ""
            yield f"| {name} | {size}{precision} | {ran.parameters / 1e6:.1f} M | {layers} | {' | '.join(map(cell, both))} |"


# Graphs -----------------------------------------------------------------------------------------------------------------


def best(call: Callable[[], Any], least: float = 0.0) -> float:
    """Least seconds of one call, among as many as `least` seconds hold."""
    seconds: list[float] = []
    while not seconds or sum(seconds) < least:
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return round(min(seconds), 6)


def time_graph(name: str) -> dict[str, Any]:
    """Seconds of the steps of one graph, and what the acceptance script says."""
    import fill
    import gradcam
    import graphs
    import numpy as np

    spec = fill.spec(str(SHARED / "graphs" / name))
    content = fill.fill(str(SHARED / "graphs" / name)).SerializeToString()
    inputs = fill.example_inputs(str(SHARED / "graphs" / name))
    x = next(iter(inputs.values())) if len(inputs) == 1 else inputs
    target = gradcam.targets.Weighted(np.asarray(graphs.seed_array(spec["scores"][0])), output=spec["scores"][0]["output"])
    layer = spec["targets"][0]["name"]
    seconds = {"load": best(lambda: gradcam.load(content))}
    model = gradcam.load(content)
    seconds["first"] = best(lambda: model(x))
    seconds["forward"] = best(lambda: model(x), LEAST)
    model.activations_and_gradients(x, layer=layer, target=target)
    seconds["gradient"] = best(lambda: model.activations_and_gradients(x, layer=layer, target=target), LEAST)
    script = [sys.executable, str(SHARED / "acceptance" / "graphs.py"), "--only", name]
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(script, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": paths})
    if done.returncode:
        print(done.stdout[-2000:], done.stderr[-2000:], flush=True)
    return {"passed": done.returncode == 0, **seconds}


def time_graphs(machine: str) -> dict[str, Any]:
    """Time all graphs of the folder, one after the other."""
    sys.path[:0] = [str(SHARED / "graphs"), str(SHARED / "acceptance")]
    found, load = {}, os.getloadavg()[0]
    for path in sorted((SHARED / "graphs").glob("*.onnx")):
        found[path.stem] = time_graph(path.stem)
        print(path.stem, found[path.stem], flush=True)
    return {"machine": machine, "load": load, "graphs": found}


def graph_rows(graphs: dict[str, dict[str, Any]]) -> Iterable[str]:
    """One row per graph."""
    for name, entry in graphs.items():
        times = " | ".join(f"{1000 * entry[step]:.1f}" for step in ("load", "first", "forward", "gradient"))
        yield f"| {name} | {'passes' if entry['passed'] else '**fails**'} | {times} |"


# Page -------------------------------------------------------------------------------------------------------------------


def results() -> dict[str, Any]:
    """What the last runs gave."""
    return dict(json.loads(RESULTS.read_text(encoding="utf-8"))) if RESULTS.exists() else {}


def outcomes_of(found: dict[str, Any]) -> dict[str, dict[str, Outcome]]:
    """Outcomes by architecture and exporter."""
    kept = found["torchvision"]
    return {
        name: {e: read(kept[name][e]) if e in kept.get(name, {}) else Outcome(problem=NOT_RUN) for e in EXPORTERS}
        for name in found["tasks"]
    }


def page(found: dict[str, Any]) -> str:
    """Return the whole page."""
    outcomes, graphs = outcomes_of(found), found["times"]["graphs"]
    every = [outcome for cases in outcomes.values() for outcome in cases.values()]
    missing = sum(outcome.problem == NOT_RUN for outcome in every)
    head = HEAD.format(
        missing=f"; {missing} were not run" if missing else "",
        **found["versions"],
        parts=", ".join(PARTS),
        bound64=BOUNDS["float64"],
        bound32=BOUNDS["float32"],
        exact=EXACT_BOUND,
        jumps=JUMPS,
        passed=sum(not outcome.failure for outcome in every),
        cases=len(every),
    )
    passed = sum(entry["passed"] for entry in graphs.values())
    times = GRAPHS.format(machine=found["times"]["machine"], load=found["times"]["load"], least=LEAST, passed=passed, cases=len(graphs))
    return "\n".join([head.rstrip("\n"), *torchvision_rows(outcomes, found["tasks"]), times.rstrip("\n"), *graph_rows(graphs), ""])


def run_torchvision(pattern: str, exporters: Iterable[str]) -> None:
    """Run the architectures that match, and keep each outcome at once."""
    tasks = architectures()
    versions = {name: version(name).split("+")[0] for name in ("torch", "torchvision", "onnxscript", "onnx")}
    for name in fnmatch.filter(tasks, pattern):
        for exporter in exporters:
            outcome = run_apart(name, exporter)
            found = results()  # which another run may have changed meanwhile
            found["versions"], found["tasks"] = versions, tasks
            found.setdefault("torchvision", {}).setdefault(name, {})[exporter] = written(outcome)
            save(found)
            print(
                f"{'FAIL' if outcome.failure else 'ok  '} {name:32} {exporter:12} {outcome.gigabytes:4.1f} GB  {cell(outcome)}", flush=True
            )


def save(found: dict[str, Any]) -> None:
    """Keep what was found."""
    RESULTS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def main() -> None:
    """Run what is asked for, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torchvision", metavar="PATTERN")
    parser.add_argument("--exporter", choices=EXPORTERS, action="append")
    parser.add_argument("--graphs", action="store_true")
    parser.add_argument("--machine", default="an AMD EPYC with AVX-512, 2 cores")
    arguments = parser.parse_args()
    if arguments.torchvision:
        run_torchvision(arguments.torchvision, arguments.exporter or EXPORTERS)
    if arguments.graphs:
        times = time_graphs(arguments.machine)
        save(results() | {"times": times})
    PAGE.write_text(page(results()), encoding="utf-8")


if __name__ == "__main__":
    main()
