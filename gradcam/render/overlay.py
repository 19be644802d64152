"""Heat maps over pictures."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradcam.render import peers
from gradcam.render.colormap import DIVERGING, colorize, colormap
from gradcam.resampling import resize

__all__ = ["as_rgb", "overlay"]

Floats = NDArray[np.floating[Any]]

_MODES = ("paper", "pytorch-grad-cam", "torchcam")


def overlay(image: ArrayLike, map: ArrayLike, alpha: float = 0.5, cmap: str | None = None, *, compat: str = "paper") -> NDArray[np.uint8]:
    """Draw a heat map over a picture.

    Parameters
    ----------
    image : array_like, shape (H, W, 3) or (H, W)
        uint8, or real numbers in [0, 1].
    map : array_like, shape (h, w)
        Finished map; it is resized to the image (``linear``).
    alpha : float
        Weight of the heat map, 0 to 1; the image has 1 - alpha.
    cmap : {"viridis", "inferno", "turbo", "jet", "diverging", "purple-green"}, optional
        Colour table. The first four are sequential: they show 0 to 1, values outside are clipped. The last two are diverging:
        the map is scaled to its largest absolute value, 0 has the neutral colour, counter-evidence is blue or purple. By
        default a map with negative values is drawn with ``diverging``, any other one with ``viridis``.
    compat : {"paper", "pytorch-grad-cam", "torchcam"}
        Whose picture to reproduce. The other two are drawn bit for bit as ``show_cam_on_image(..., use_rgb=True)`` and
        ``overlay_mask`` do, with their own jet unless `cmap` names a table; every table is used from 0 to 1. ``torchcam``
        resizes with Pillow (``image`` extra).

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        ``alpha colour + (1 - alpha) image``, rounded. Positions where the map is NaN get a grey "no data" colour.

    Raises
    ------
    ValueError, TypeError
        Wrong shapes or types, an unknown table or mode, or a weight outside [0, 1].
    MissingExtraError
        Pillow is not installed and ``torchcam`` has to resize.

    Notes
    -----
    ``pytorch-grad-cam`` divides the sum by its maximum, so that the brightest value is always 255; ``torchcam`` squares the map.
    Both cut fractions off. Their own argument is the weight of the image, 1 - alpha.
    """
    picture = as_rgb("overlay", image)
    values = _as_map(map)
    if not 0 <= alpha <= 1:
        raise ValueError(f"overlay: alpha: expected a weight between 0 and 1, got {alpha}")
    if compat not in _MODES:
        raise ValueError(f"overlay: compat: expected one of {', '.join(builtins.map(repr, _MODES))}, got {compat!r}")
    if cmap is not None:
        colormap(cmap)
    if compat == "torchcam":
        return peers.torchcam(picture, values, alpha, cmap)
    if values.shape != picture.shape[:2]:
        values = resize(values[None], picture.shape[:2])[0]
    if compat == "pytorch-grad-cam":
        return peers.pytorch_grad_cam(_as_unit(image, picture), values, alpha, cmap)
    shares, table = _shares(values, cmap)
    return np.rint(alpha * colorize(shares, table) + (1 - alpha) * picture).astype(np.uint8)


def _as_map(values: ArrayLike) -> Floats:
    array = np.asarray(values)
    if array.dtype.kind != "f" or array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"overlay: map: expected real numbers of shape (h, w), got {array.dtype} {array.shape}")
    return array


def _as_unit(image: Any, picture: NDArray[np.uint8]) -> Floats:
    """Return the picture in [0, 1], without rounding where it was given so."""
    given = np.asarray(image)
    if given.dtype.kind != "f":
        return picture.astype(np.float32) / 255
    given = given if given.ndim == 3 else given[..., None]
    return np.broadcast_to(given, picture.shape)


def _shares(values: Floats, cmap: str | None) -> tuple[Floats, str]:
    """Place of the values in a table, from 0 to 1, and the table; a diverging one has 0 at its centre."""
    peak = np.max(np.abs(values), where=np.isfinite(values), initial=0)
    table = cmap or ("diverging" if np.min(values, where=np.isfinite(values), initial=0) < 0 else "viridis")
    return (0.5 + 0.5 * (values / (peak or 1)) if table in DIVERGING else values), table


def as_rgb(function: str, image: Any) -> NDArray[np.uint8]:
    """Return a picture as uint8, shape (H, W, 3)."""
    picture = np.asarray(image)
    if picture.ndim not in (2, 3) or (picture.ndim == 3 and picture.shape[2] not in (1, 3)) or 0 in picture.shape:
        raise ValueError(f"{function}: image: expected shape (H, W, 3) or (H, W), got {picture.shape}")
    if picture.dtype.kind == "f":
        if not (np.isfinite(picture).all() and picture.min() >= 0 and picture.max() <= 1):
            raise ValueError(f"{function}: image: expected real numbers in [0, 1], or uint8")
        picture = np.rint(picture * 255).astype(np.uint8)
    if picture.dtype != np.uint8:
        raise TypeError(f"{function}: image: expected uint8 or real numbers in [0, 1], got {picture.dtype}")
    picture = picture if picture.ndim == 3 else picture[..., None]
    return np.ascontiguousarray(np.broadcast_to(picture, (*picture.shape[:2], 3)))
