"""torchvision's architectures at random weights, exported, and run by gradcam and by torch: one case per process.

python tests/extended/torchvision_cases.py resnet18 TorchScript
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

EXPORTERS = ("TorchScript", "dynamo")
TASKS = ("classification", "segmentation", "video")

DOUBLE = 150e6
"""Most parameters of a network that is compared in double precision."""

SINGLE = ("mvit_v2_s",)
"""Compared in float32 too, for their activations."""

BOUNDS = {"float64": 1e-5, "float32": 1e-3}
"""Largest difference allowed, relative to the largest value: exporters fold batch normalisations in float32."""

JUMPS = 1e-2
"""The same for the input gradients of networks in float32: some of their ReLUs are on the other side of zero."""

PARTS = ("outputs", "activations", "gradients", "input gradients", "map")
SLOPES = PARTS[2:]

EXACT = "largest with a file in double precision"
"""Compared where folding moved a ReLU to the other side of zero, so that the gradients before it jump."""

EXACT_BOUND = 1e-9

# Architectures keep their own size where it is built in; the others take a smaller picture that is no square.
SIZES = {"alexnet": (224, 224), "vgg": (224, 224), "vit": (224, 224), "swin_v2": (256, 256), "swin_": (224, 224), "maxvit": (224, 224)}
SIZES |= {"inception": (128, 160), "s3d": (16, 224, 224), "mvit": (16, 224, 224), "swin3d": (8, 112, 112)}
SIZE = {"classification": (96, 128), "segmentation": (96, 128), "video": (8, 64, 80)}


@dataclass(slots=True)
class Outcome:
    """What a case gave: differences by part, or why there are none."""

    size: tuple[int, ...] = ()
    parameters: int = 0
    precision: str = ""
    layer: str = ""
    op: str = ""
    shape: tuple[int, ...] = ()
    modules: tuple[str, ...] = ()
    differences: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    gigabytes: float = 0.0
    problem: str = ""

    @property
    def failure(self) -> str:
        """Why the case does not pass; empty if it does."""
        if self.problem:
            return self.problem
        far = [f"{part} differ by {self.differences.get(part, np.nan):.1e}" for part in PARTS if not self._close(part)]
        return "; ".join(far)

    def _close(self, part: str) -> bool:
        exact = part in SLOPES and self.differences.get(EXACT, np.nan) <= EXACT_BOUND
        bound = JUMPS if (part, self.precision) == ("input gradients", "float32") else BOUNDS[self.precision]
        return exact or self.differences.get(part, np.nan) <= bound


def architectures() -> dict[str, str]:
    """Name and task of every architecture."""
    from torchvision import models

    modules = (models, models.segmentation, models.video)
    return {name: task for task, module in zip(TASKS, modules, strict=True) for name in models.list_models(module=module)}


def size_of(name: str, task: str) -> tuple[int, ...]:
    """Size of the picture or clip that a case runs on."""
    return next((size for prefix, size in SIZES.items() if name.startswith(prefix)), SIZE[task])


# Networks ---------------------------------------------------------------------------------------------------------------


def network(name: str, task: str, x: Any) -> Any:
    """A network at random weights, in the mode of inference, in which nothing vanishes, explodes, or is neutral.

    Convolutions and linear layers are scaled to outputs of standard deviation 1 on `x`; batch normalisations, biases and
    scales are as far from neutral as those of a trained network.
    """
    import torch
    from torchvision import models

    torch.manual_seed(sum(map(ord, name)))
    options: dict[str, Any] = {"segmentation": {"weights_backbone": None}, "classification": {}, "video": {}}[task]
    if task == "segmentation" and not name.startswith("lraspp"):
        options["aux_loss"] = True  # as in the networks with weights
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = False  # soon replaced
    net = models.get_model(name, weights=None, **options).eval().requires_grad_(False)
    for module in net.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.1)
    for parameter in net.parameters():
        if parameter.numel() > 1 and float(parameter.min()) == float(parameter.max()):
            parameter += 0.3 * torch.randn_like(parameter)
        elif parameter.ndim == 2 and parameter.std() < 0.03:  # attention that looks everywhere alike
            parameter.normal_(0, parameter.shape[1] ** -0.5)
    _scale(net, x)
    return net


def _scale(net: Any, x: Any) -> None:
    """Scale what is learned, layer by layer as it is called."""
    import torch

    done = set()

    def scale(module: Any, _inputs: Any, output: Any) -> Any:
        spread = float(output.std()) if output.numel() > 1 else 0.0
        if module in done or not spread > 0:
            return output
        done.add(module)
        module.weight /= spread
        if module.bias is not None:
            module.bias /= spread
        return output / spread

    kinds = (torch.nn.modules.conv._ConvNd, torch.nn.Linear)
    handles = [module.register_forward_hook(scale) for module in net.modules() if isinstance(module, kinds)]
    net(x)
    for handle in handles:
        handle.remove()


def example(name: str, task: str) -> Any:
    """A random picture or clip with structure at several scales."""
    import torch

    size = size_of(name, task)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, 3, *size, generator=generator)
    for factor in (4, 16):
        coarse = torch.randn(1, 3, *(max(1, n // factor) for n in size), generator=generator)
        x += torch.nn.functional.interpolate(coarse, size=size)
    return x


def export(net: Any, x: Any, exporter: str, file: Path) -> None:
    """Write the file that a user would get from an exporter."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net.requires_grad_(True)  # as a user's network: torch has other operators for attention that is never differentiated
        torch.onnx.export(net, (x,), str(file), dynamo=exporter == "dynamo", verbose=False)
        net.requires_grad_(False)


# torch's side -----------------------------------------------------------------------------------------------------------


def distance(got: np.ndarray, want: np.ndarray) -> float:
    """Largest difference, relative to the largest value; infinity where there is nothing to compare."""
    scale = float(np.abs(want).max()) if want.size else 0.0
    if got.shape != want.shape or not 0 < scale < np.inf:
        return np.inf
    return float(np.abs(got - want).max() / scale)


def spread(got: np.ndarray, want: np.ndarray) -> float:
    """Root mean square of the difference, relative to that of what is wanted."""
    norm = float(np.linalg.norm(want))
    return float(np.linalg.norm(got - want)) / norm if got.shape == want.shape and 0 < norm < np.inf else np.inf


class TorchRun:
    """A run of a module in which the tensor is found that has given values, with gradients of a weighted sum of an output."""

    def __init__(self, net: Any, x: Any, wanted: np.ndarray, bound: float) -> None:
        import torch

        self.wanted, self.bound = torch.from_numpy(wanted), bound
        self.found: Any = None
        self.nearest = np.inf
        self.called: dict[str, Any] = {}
        x = x.clone().requires_grad_()
        handles = [module.register_forward_hook(self._called(path)) for path, module in net.named_modules() if path]
        with self._watching():
            output = net(x)
        for handle in handles:
            handle.remove()
        outputs = list(output.values()) if isinstance(output, Mapping) else [output]
        self.outputs = [o.detach().numpy() for o in outputs]
        (outputs[0] * torch.from_numpy(weights(outputs[0].shape)).to(x.dtype)).sum().backward()
        self.input_gradients = x.grad.numpy()
        self.gradients = None if self.found is None else self.found.grad.numpy()

    def _called(self, path: str) -> Any:
        def keep(_module: Any, _inputs: Any, output: Any) -> None:
            same = getattr(output, "shape", None) == self.wanted.shape
            self.called[path] = self._distance(output) if same else None

        return keep

    def _distance(self, tensor: Any) -> float:
        return float((tensor.detach() - self.wanted).abs().max() / self.wanted.abs().max())

    @contextmanager
    def _watching(self) -> Any:
        import torch

        class Watch(torch.overrides.TorchFunctionMode):
            def __torch_function__(mode, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: N805
                result = func(*args, **(kwargs or {}))
                if isinstance(result, torch.Tensor) and result.requires_grad and result.shape == self.wanted.shape and self.found is None:
                    far = self._distance(result)
                    self.nearest = min(self.nearest, far)
                    if far < self.bound:
                        result.retain_grad()
                        self.found = result
                        return result.clone()  # what works in place must not change what is kept
                return result

        with Watch():
            yield


def weights(shape: tuple[int, ...]) -> np.ndarray:
    """What an output is multiplied with before it is added up to the score."""
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


# Comparison -------------------------------------------------------------------------------------------------------------


def run(name: str, exporter: str) -> Outcome:
    """Run one case in this process."""
    outcome = Outcome()
    try:
        _run(name, exporter, outcome)
    except Exception as error:  # whatever goes wrong is the outcome
        lines = str(error).strip().splitlines() or [""]
        outcome.problem = f"{type(error).__name__}: {' '.join(lines[:4])}"
    outcome.gigabytes = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 1)
    return outcome


def _run(name: str, exporter: str, outcome: Outcome) -> None:
    task = architectures()[name]
    x = example(name, task)
    net = network(name, task, x)
    outcome.size = tuple(x.shape[2:])
    outcome.parameters = sum(p.numel() for p in net.parameters())
    outcome.precision = "float32" if outcome.parameters > DOUBLE or name in SINGLE else "float64"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.onnx"
        started = time.perf_counter()
        export(net, x, exporter, file)
        outcome.seconds["export"] = round(time.perf_counter() - started, 3)
        found = _compare(net, x, file, outcome)
        if outcome.precision == "float64" and max(found[part] for part in SLOPES) > BOUNDS["float64"]:
            export(net.double(), x.double(), exporter, file)
            exact = Outcome(precision="float64")
            outcome.differences = found | {EXACT: max(_compare(net, x, file, exact).values())}


def _compare(net: Any, x: Any, file: Path, outcome: Outcome) -> dict[str, float]:
    """Fill in the outcome; returns its differences."""
    import gradcam

    def timed(step: str, call: Any) -> Any:
        started = time.perf_counter()
        result = call()
        outcome.seconds[step] = round(time.perf_counter() - started, 3)
        return result

    if outcome.precision == "float64":
        net, x = net.double(), x.double()
    model = timed("load", lambda: gradcam.load(file))
    picture = x.numpy()
    outputs = timed("forward", lambda: model(picture))
    outputs = list(outputs.values()) if isinstance(outputs, dict) else [outputs]
    layer = model.default_layer
    if layer is None:
        raise LookupError("no default layer")
    outcome.layer, outcome.op, outcome.shape = layer.name, layer.op, layer.shape
    target = gradcam.targets.Weighted(weights(outputs[0].shape), output=model.outputs[0].name)
    activations, gradients = timed("gradients", lambda: model.activations_and_gradients(picture, target=target))
    input_gradients = model.activations_and_gradients(picture, layer=model.inputs[0].name, target=target)[1]
    explained = model.explain(picture, target=target, relu=False).raw

    theirs = TorchRun(net, x, activations, BOUNDS[outcome.precision])
    if theirs.gradients is None:
        raise LookupError(f"torch computes no tensor like {layer.name} {layer.shape}: the nearest differs by {theirs.nearest:.1e}")
    outcome.modules = tuple(path for path in layer.aliases if theirs.called.get(path) is not None)
    wrong = [path for path in outcome.modules if theirs.called[path] >= BOUNDS[outcome.precision]]
    if wrong:
        raise LookupError(f"the layer is called {wrong[0]}, but that module returned something else")
    if len(outputs) != len(theirs.outputs):
        raise LookupError(f"{len(outputs)} outputs, but torch has {len(theirs.outputs)}")
    kept = theirs.found.detach().numpy()
    first, slopes = layer.channels_first(kept), layer.channels_first(theirs.gradients)
    axes = tuple(range(2, first.ndim))
    outcome.differences = {
        "outputs": max(map(distance, outputs, theirs.outputs)),
        "activations": distance(activations, kept),
        "gradients": distance(gradients, theirs.gradients),
        "input gradients": spread(input_gradients, theirs.input_gradients),
        "map": distance(explained, (slopes.mean(axes, keepdims=True) * first).sum(1)),
    }
    return outcome.differences


def run_apart(name: str, exporter: str, limit: float = 3600) -> Outcome:
    """Run one case in a process of its own, whose memory is free again afterwards."""
    command = [sys.executable, str(Path(__file__).resolve()), name, exporter]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return Outcome(problem=f"not done within {limit:.0f} s")
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return Outcome(problem=f"the process ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return read(json.loads(lines[-1]))


def read(entry: Mapping[str, Any]) -> Outcome:
    """Outcome as it was written by `written`."""
    return Outcome(**{key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()})


def written(outcome: Outcome) -> dict[str, Any]:
    """Plain numbers and texts of an outcome."""
    return asdict(outcome)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("exporter", choices=EXPORTERS)
    arguments = parser.parse_args()
    print(json.dumps(written(run(arguments.name, arguments.exporter))))
