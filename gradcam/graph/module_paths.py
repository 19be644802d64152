"""Modules of the exported network: the paths that exporters leave in a file, and the names that users know them by."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence

from gradcam.graph.onnx_form import OnnxNode

__all__ = ["child_paths", "last_tensors", "module_paths", "pattern_of"]

_DEPTH = 64
"""Most modules around a node; a name that claims more is none of an exporter."""

_QUOTED = re.compile(r"'([^'\\]*)'|\"([^\"\\]*)\"")
_REPEATED = re.compile(r"^(.*)_\d+$")
_WILDCARDS = {"**": ".*", "*": "[^./]*", "?": "[^./]"}
_INDEX = re.compile(r"\[(-?\d{1,9})\]")


def module_paths(name: str, scopes: str | None) -> tuple[str, ...]:
    """Paths of the modules that a node lies in, outermost first.

    Parameters
    ----------
    name : str
        Of the node. PyTorch's TorchScript exporter writes the attributes that lead to a module, then the operator:
        ``/layer4/layer4.2/relu_2/Relu`` lies in ``layer4``, ``layer4.2`` and ``layer4.2.relu_2``.
    scopes : str or None
        Metadata ``pkg.torch.onnx.name_scopes`` of PyTorch's dynamo exporter: the list of paths as text, the operator last.
    """
    if scopes is not None:
        found = [one or other for one, other in _QUOTED.findall(scopes)][:-1]
        plausible = len(found) <= _DEPTH and all(path.count(".") <= _DEPTH for path in found)
        return tuple(dict.fromkeys(path for path in found if path)) if plausible else ()
    segments = [segment for segment in name.split("/") if segment][:-1]
    paths: list[str] = []
    previous = ""
    for segment in segments if len(segments) + name.count(".") <= _DEPTH else ():
        # The name of a child in a Sequential repeats that of its parent.
        above = f"{paths[-1]}." if paths else ""
        if paths and segment.startswith(f"{previous}."):
            above = paths[-1].removesuffix(previous)
        paths.append(above + segment)
        previous = segment
    return tuple(paths)


def last_tensors(nodes: Sequence[OnnxNode], weights: Container[str], tensors: Container[str]) -> dict[str, str]:
    """Name of the tensor among `tensors` that is computed last in each module.

    The TorchScript exporter numbers the calls of a module that is called several times (``relu``, ``relu_1``). They count as
    one module, called by the plain name too, where they read no weights; modules with weights may really bear such names.
    """
    known = {path for node in nodes for path in node.scopes}
    weighted = {path for node in nodes if any(name in weights for name in node.inputs) for path in node.scopes}
    last: dict[str, str] = {}
    for node in nodes:
        tensor = next((name for name in node.outputs if name in tensors), None)
        for path in node.scopes if tensor is not None else ():
            last[path] = str(tensor)
            repeated = _REPEATED.match(path)
            if repeated and repeated[1] in known and path not in weighted and repeated[1] not in weighted:
                last[repeated[1]] = str(tensor)
    return last


def child_paths(name: str, names: Iterable[str]) -> str:
    """Write indices as exporters do: ``layer4[1]`` as ``layer4.1``; a negative one counts from the last child in `names`."""
    while (index := _INDEX.search(name)) is not None:
        parent, child = name[: index.start()], int(index[1])
        if child < 0:
            heads = {n[len(parent) + 1 :].split(".")[0] for n in names if n.startswith(f"{parent}.")}
            children = sorted(int(head) for head in heads if head.isdecimal())
            if -child > len(children):
                break
            child = children[child]
        name = f"{parent}.{child}{name[index.end() :]}"
    return name


def pattern_of(name: str) -> re.Pattern[str] | None:
    """Expression for a name with wildcards, None without: ``*`` and ``?`` stop at ``.`` and ``/``, ``**`` does not."""
    if "*" not in name and "?" not in name:
        return None
    parts = re.split(r"(\*\*|\*|\?)", name)
    return re.compile("".join(_WILDCARDS.get(part, re.escape(part)) for part in parts), re.DOTALL)
