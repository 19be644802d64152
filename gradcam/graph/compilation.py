"""Graph -> plan, by way of the passes that make it cheaper to run."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from gradcam.graph.ir import Graph
from gradcam.graph.passes import (
    assign_layouts,
    fuse,
    fuse_attention,
    fuse_gates,
    keep_choices,
    fuse_layer_norm,
    prune,
    reduce_early,
    share,
    take_row,
    use_bfloat16,
)
from gradcam.graph.passes.fuse import LINEAR_ROWS
from gradcam.graph.plan import PackCache, Plan

__all__ = ["PASSES", "check_passes", "compile_plan", "simplify"]

_REWRITES: dict[str, Callable[..., Graph]] = {
    # In bfloat16 the forward product reads rounded weights, and a score is what the forward pass says.
    "take_row": lambda graph, real, reduced, **_: take_row(graph, real, forward=not reduced),
    "prune": lambda graph, **_: prune(graph),
    "share": lambda graph, **_: share(graph),
    "reduce_early": lambda graph, real, **_: reduce_early(graph, real),
    "attention": lambda graph, **_: fuse_attention(graph),
    "gates": lambda graph, **_: fuse_gates(graph),
    "layer_norm": lambda graph, **_: fuse_layer_norm(graph),
    # Weights of half the size repay a second copy even for a single row.
    "fuse": lambda graph, reduced, **_: fuse(graph, least_rows=1 if reduced else LINEAR_ROWS),
    "blocked": lambda graph, real, without, **_: assign_layouts(graph, real, winograd="winograd" not in without),
    "choices": lambda graph, **_: keep_choices(graph),
}
"""Passes by name, in the order in which they run; last comes `use_bfloat16`, if the model asks for it."""

PASSES = ("fold_batchnorm", "pull_row", *_REWRITES, "winograd")
"""What can be left out by name. Before differentiation `gradcam.forward.Forward` folds, joins gates
and layer norms and pulls rows; `blocked` chooses Winograd."""


def compile_plan(
    graph: Graph, real: np.dtype[Any], packs: PackCache | None = None, *, without: Collection[str] = (), precision: str = "float32"
) -> Plan:
    """Compile a graph.

    Parameters
    ----------
    packs : PackCache, optional
        Shares packed weights between the plans of a model.
    without : collection of str
        Passes to leave out, of `PASSES`.
    precision : {"float32", "bfloat16"}
        Of what convolutions and linear layers of a float32 graph read.

    Raises
    ------
    ValueError
        There is no such pass.
    """
    return Plan(simplify(graph, real, without, precision), real, PackCache(1) if packs is None else packs)


def simplify(graph: Graph, real: np.dtype[Any], without: Collection[str] = (), precision: str = "float32") -> Graph:
    """Return the graph that a plan is made of."""
    check_passes("compile_plan", without)
    reduced = precision == "bfloat16" and real == np.float32
    for name, rewrite in _REWRITES.items():
        if name not in without:
            graph = rewrite(graph, real=real, without=without, reduced=reduced)
    return use_bfloat16(graph) if reduced else graph


def check_passes(function: str, without: Collection[str]) -> None:
    """Raise ValueError if a name is not among `PASSES`."""
    unknown = sorted(set(without) - set(PASSES))
    if unknown:
        raise ValueError(f"{function}: without: expected names among {', '.join(PASSES)}, got {', '.join(unknown)}")
