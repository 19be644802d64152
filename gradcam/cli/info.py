"""gradcam info."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

from gradcam.cli import _model
from gradcam.cli._plan import plan_lines
from gradcam.errors import UnsupportedOpError
from gradcam.graph.layers import LayerInfo
from gradcam.graph.plan import Plan
from gradcam.graph.source import dims_text
from gradcam.loading import load
from gradcam.model import Model

NAME = "info"
HELP = "print a model's inputs, outputs and layers, its default layer, and what would not run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", metavar="MODEL", help="ONNX file")
    parser.add_argument("--all", action="store_true", help="list other names of the layers too")
    parser.add_argument(
        "--plan", action="store_true", help="list the steps of a run with algorithm, bytes and GFLOP: forward, or of an explanation"
    )
    parser.add_argument("--layer", metavar="L", nargs="+", help="with --plan: plan of an explanation of these layers")
    parser.add_argument("--method", metavar="M", help="with --plan: plan of an explanation by this method (of --layer alone: gradcam)")
    parser.add_argument("--labels", metavar="FILE", help="class names, one a line")
    _model.add_precision_argument(parser)
    parser.add_argument("--max-bytes", type=int, default=2**32, metavar="N", help="most memory to use (default: 4 GiB)")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    try:
        model = load(arguments.model, labels=arguments.labels, max_bytes=arguments.max_bytes, precision=arguments.precision)
    except UnsupportedOpError as error:
        print(f"gradcam: {arguments.model} would not run:", *(f"  {p}" for p in error.problems), sep="\n", file=sys.stderr)
        return 2
    for kind, tensors in (("input", model.inputs), ("output", model.outputs)):
        for tensor in tensors:
            print(f"{kind:7}{tensor.name}  {dims_text(tensor.shape)}  {tensor.dtype}")
    print("layers" if model.layers else "no layers with positions")
    _print_tree(model)
    if arguments.all:
        for layer in model.layers:
            if layer.aliases:
                print(f"alias  {layer.name}: {', '.join(layer.aliases)}")
    if model.labels:
        print(f"labels {len(model.labels)}")
    wanted = _model.wants_arrays(model)
    print(f"takes {wanted}" if wanted else f"prepares pictures as {model.preprocess}")
    if arguments.plan:
        print(*plan_lines(_plan(model, arguments)), sep="\n")
    return 0


def _plan(model: Model, arguments: argparse.Namespace) -> Plan:
    if arguments.layer or arguments.method:
        return model.explain_plan(layer=_model.layer(arguments), method=arguments.method or "gradcam")
    return model.forward_plan()


@dataclass(slots=True)
class _Module:
    """Modules (by name) and layers in a module, in the order in which they are first computed."""

    children: dict[str, _Module] = field(default_factory=dict)
    content: list[str | LayerInfo] = field(default_factory=list)

    def child(self, name: str) -> _Module:
        """Return a module in this one."""
        if name not in self.children:
            self.children[name] = _Module()
            self.content.append(name)
        return self.children[name]

    def rows(self, depth: int = 1) -> Iterator[tuple[str, LayerInfo | None]]:
        """Indented names, with the layer where it is one; what stands alone in a module shares its line."""
        for entry in self.content:
            indent = "  " * depth
            if isinstance(entry, LayerInfo):
                yield f"{indent}{entry.name}", entry
                continue
            inner = self.children[entry]
            while len(inner.content) == 1 and isinstance(only := inner.content[0], str):
                entry, inner = f"{entry}.{only}", inner.children[only]
            if len(inner.content) == 1 and isinstance(alone := inner.content[0], LayerInfo):
                yield f"{indent}{entry}: {alone.name}", alone
            else:
                yield f"{indent}{entry}", None
                yield from inner.rows(depth + 1)


def _print_tree(model: Model) -> None:
    """Layers by module, each with operator and shape; the default is marked."""
    root, default = _Module(), model.default_layer
    for layer in model.layers:
        module = root
        for part in layer.module.split(".") if layer.module else ():
            module = module.child(part)
        module.content.append(layer)
    rows = list(root.rows())
    width = max((len(text) for text, layer in rows if layer is not None), default=0)
    for text, shown in rows:
        if shown is None:
            print(text)
            continue
        tokens = "" if shown.tokens is None else f"  {shown.tokens[0]} + {' x '.join(map(str, shown.tokens[1]))} tokens"
        print(f"{text:{width}}  {shown.op:12} {dims_text(shown.shape)}{tokens}{'  <- default' if shown == default else ''}")
