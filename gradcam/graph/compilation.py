"""Graph -> plan, by way of the passes that make it cheaper to run."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from gradcam.graph.ir import Graph
from gradcam.graph.passes import assign_layouts, fuse
from gradcam.graph.plan import PackCache, Plan

__all__ = ["compile_plan"]


def compile_plan(graph: Graph, real: np.dtype[Any], packs: PackCache | None = None, *, without: Collection[str] = ()) -> Plan:
    """Compile a graph.

    Parameters
    ----------
    packs : PackCache, optional
        Shares packed weights between the plans of a model.
    without : collection of str
        Passes to leave out: ``"fuse"``, ``"blocked"``, ``"winograd"``.
    """
    if "fuse" not in without:
        graph = fuse(graph)
    if "blocked" not in without:
        graph = assign_layouts(graph, real, winograd="winograd" not in without)
    return Plan(graph, real, PackCache(1) if packs is None else packs)
