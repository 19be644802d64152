"""Projection of activations on their first singular vector: what the eigen methods share."""

from __future__ import annotations

from typing import Literal, NamedTuple

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Value
from gradcam.ops.cam import EIGEN_TERMS

__all__ = ["SIGN_RULES", "Projection", "kernel_pca", "project"]

SIGN_RULES = ("energy", "extreme", "tie", "match")
"""Names of the rules by which a sign may be decided, in the order of their codes."""

_NEEDS_GRADIENTS = ("product", "abs-product", "relu-product", "relu-gradient")


class Projection(NamedTuple):
    """A signed map and how it came about.

    Attributes
    ----------
    map : Value, shape (1, *S)
        Signed map.
    info : Value, shape (1, 2)
        Code of the rule that decided the sign (`SIGN_RULES`), and 1 if the two largest singular values agree to 1e-9, so
        that the map is not unique.
    """

    map: Value
    info: Value


def project(
    g: Builder,
    channel_axis: int,
    term: str,
    *,
    activations: Value,
    gradients: Value | None = None,
    weights: Value | None = None,
    center: bool,
    sign: Literal["energy", "extreme"] = "energy",
    factor: int = 1,
    reference: Value | None = None,
    replace_nan: bool = False,
) -> Projection:
    """Emit ``L = X v`` with X the positions by channels matrix of a term and v its first right singular vector.

    Parameters
    ----------
    g : Builder
        Where the nodes go.
    channel_axis : int
        Axis of the channels in `activations` and `gradients`: 1, or the last one.
    term : {"activations", "product", "abs-product", "relu-product", "relu-gradient", "weighted"}
        Element [k, x] of the matrix: A, g A, abs(g) A, R(g A), R(g) A, or w[k] A with the ReLU R.
    activations, gradients : Value, shape (1, C, *S) or (1, *S, C)
        A, and g for the terms that have it.
    weights : Value, shape (1, C), optional
        w, for ``"weighted"``.
    center : bool
        Whether the mean over the positions is taken from each channel.
    sign : {"energy", "extreme"}
        A singular vector has no sign: ``"energy"`` takes the one for which the map agrees with the sum of abs(term) over
        the channels, and where that leaves it open the next rule; ``"extreme"`` begins with abs(max L) >= abs(min L).
        Last, the first entry of v of largest magnitude is positive.
    factor : {1, -1}
        Multiplies the map.
    reference : Value, shape (1, *S), optional
        Map to agree with, before all other rules: sum L r >= 0.
    replace_nan : bool
        Whether a NaN in the matrix counts as 0; else one makes the whole map NaN, as infinity always does.

    Returns
    -------
    Projection
        Map and info.

    Raises
    ------
    ValueError
        An unknown term, sign or factor; gradients or weights that the term needs are missing.

    Notes
    -----
    Muhammad and Yeasin, Eigen-CAM, IJCNN 2020. All sums are in float64; the vector has a relative residual of 1e-12.
    """
    if term not in EIGEN_TERMS:
        raise ValueError(f"project: term: expected one of {', '.join(EIGEN_TERMS)}, got {term!r}")
    if sign not in ("energy", "extreme"):
        raise ValueError(f"project: sign: expected energy or extreme, got {sign!r}")
    if factor not in (1, -1):
        raise ValueError(f"project: factor: expected 1 or -1, got {factor!r}")
    if term in _NEEDS_GRADIENTS and gradients is None:
        raise ValueError(f"project: gradients: expected a value for term {term!r}, got None")
    if term == "weighted" and weights is None:
        raise ValueError("project: weights: expected a value for term 'weighted', got None")
    used = (gradients if term in _NEEDS_GRADIENTS else None, weights if term == "weighted" else None)
    options = {"term": term, "center": center, "extreme": sign == "extreme", "factor": factor, "replace_nan": replace_nan}
    return Projection(*g.emit_all("CamEigen", activations, *used, reference, channel_axis=channel_axis, **options))


def kernel_pca(g: Builder, channel_axis: int, activations: Value, *, replace_nan: bool = False) -> Projection:
    """Emit the first component of kernel PCA with a sigmoid kernel: ``L = u sqrt(lambda)``.

    Lambda, u is the largest eigenpair of ``tanh(<X_x, X_y> / C + 1)`` centred in both indices, X being the centred
    activations; 0 where lambda is not positive. The entry of L of largest magnitude is positive.

    Parameters
    ----------
    g : Builder
        Where the nodes go.
    channel_axis : int
        Axis of the channels: 1, or the last one.
    activations : Value, shape (1, C, *S) or (1, *S, C)
        Activations.
    replace_nan : bool
        Whether NaN counts as 0.

    Returns
    -------
    Projection
        Map and info.

    Notes
    -----
    Karmani et al., KPCA-CAM, 2024. The kernel matrix takes 8 n^2 bytes for n positions, and so may the search for u.
    """
    options = {"term": "activations", "center": True, "kernel_pca": True, "extreme": True, "replace_nan": replace_nan}
    return Projection(*g.emit_all("CamEigen", activations, None, None, None, channel_axis=channel_axis, **options))
