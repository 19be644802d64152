"""Graph -> plan, by way of the passes that make it cheaper to run."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from gradcam.graph.ir import Graph
from gradcam.graph.passes import assign_layouts, fuse, fuse_gates, prune, share, take_row
from gradcam.graph.plan import PackCache, Plan

__all__ = ["PASSES", "check_passes", "compile_plan", "simplify"]

_REWRITES: dict[str, Callable[[Graph, np.dtype[Any], Collection[str]], Graph]] = {
    "take_row": lambda graph, real, _: take_row(graph, real),
    "prune": lambda graph, *_: prune(graph),
    "share": lambda graph, *_: share(graph),
    "gates": lambda graph, *_: fuse_gates(graph),
    "fuse": lambda graph, *_: fuse(graph),
    "blocked": lambda graph, real, without: assign_layouts(graph, real, winograd="winograd" not in without),
}
"""Passes by name, in the order in which they run."""

PASSES = ("fold_batchnorm", *_REWRITES, "winograd")
"""What can be left out by name: `gradcam.forward.Forward` folds, and joins gates, before differentiation; `blocked` chooses Winograd."""


def compile_plan(graph: Graph, real: np.dtype[Any], packs: PackCache | None = None, *, without: Collection[str] = ()) -> Plan:
    """Compile a graph.

    Parameters
    ----------
    packs : PackCache, optional
        Shares packed weights between the plans of a model.
    without : collection of str
        Passes to leave out, of `PASSES`.

    Raises
    ------
    ValueError
        There is no such pass.
    """
    return Plan(simplify(graph, real, without), real, PackCache(1) if packs is None else packs)


def simplify(graph: Graph, real: np.dtype[Any], without: Collection[str] = ()) -> Graph:
    """Return the graph that a plan is made of."""
    check_passes("compile_plan", without)
    for name, rewrite in _REWRITES.items():
        if name not in without:
            graph = rewrite(graph, real, without)
    return graph


def check_passes(function: str, without: Collection[str]) -> None:
    """Raise ValueError if a name is not among `PASSES`."""
    unknown = sorted(set(without) - set(PASSES))
    if unknown:
        raise ValueError(f"{function}: without: expected names among {', '.join(PASSES)}, got {', '.join(unknown)}")
