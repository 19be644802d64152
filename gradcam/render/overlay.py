"""Heat maps over pictures, volumes and signals."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradcam.render import peers
from gradcam.render.colormap import blend, colormap, shares
from gradcam.render.montage import Slices, montage
from gradcam.render.signal import draw_signal
from gradcam.resampling import resize

__all__ = ["as_rgb", "draw_alone", "overlay"]

Floats = NDArray[np.floating[Any]]

_MODES = ("paper", "pytorch-grad-cam", "torchcam")


def overlay(
    image: ArrayLike,
    map: ArrayLike,
    alpha: float = 0.5,
    cmap: str | None = None,
    *,
    compat: str = "paper",
    slices: Slices = None,
) -> NDArray[np.uint8]:
    """Draw a heat map over a picture, over slices of a volume or frames of a video, or behind the curves of a signal.

    Parameters
    ----------
    image : array_like
        Picture, shape (H, W, 3) or (H, W), or volume, shape (D, H, W, 3) or (D, H, W): uint8, or real numbers in [0, 1].
        Signal, shape (C, L) or (L,): any real numbers.
    map : array_like, shape (h, w), (d, h, w) or (l,)
        Finished map; its axes say what `image` is, to which it is resized (``linear``).
    alpha : float
        Weight of the heat map, 0 to 1; the image has 1 - alpha.
    cmap : {"viridis", "inferno", "turbo", "jet", "diverging", "purple-green"}, optional
        Colour table. The first four are sequential: they show 0 to 1, values outside are clipped. The last two are diverging:
        the map is scaled to its largest absolute value, 0 has the neutral colour, counter-evidence is blue or purple. By
        default a map with negative values is drawn with ``diverging``, any other one with ``viridis``.
    compat : {"paper", "pytorch-grad-cam", "torchcam"}
        Whose picture to reproduce. The other two are drawn bit for bit as ``show_cam_on_image(..., use_rgb=True)`` and
        ``overlay_mask`` do, with their own jet unless `cmap` names a table; every table is used from 0 to 1. ``torchcam``
        resizes with Pillow (``image`` extra). They draw pictures alone.
    slices : int or sequence of int, optional
        Of a volume or video: how many slices, spread evenly, or the numbers of those to show (negative ones count from the
        end); by default all, but at most 16 spread evenly.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        Of a picture in its own size: ``alpha colour + (1 - alpha) image``, rounded. Of a volume its slices side by side, in
        the same colours on one scale. Of a signal one curve per channel, each from its least to its greatest value, before
        the colours of the map along the time axis. Positions where the map is NaN get a grey "no data" colour.

    Raises
    ------
    ValueError, TypeError
        Wrong shapes or types, an unknown table or mode, a weight outside [0, 1], or slices that do not exist.
    MissingExtraError
        Pillow is not installed, and a volume or signal is drawn or ``torchcam`` has to resize.

    Notes
    -----
    ``pytorch-grad-cam`` divides the sum by its maximum, so that the brightest value is always 255; ``torchcam`` squares the map.
    Both cut fractions off. Their own argument is the weight of the image, 1 - alpha.
    """
    values = _as_map(map)
    if not 0 <= alpha <= 1:
        raise ValueError(f"overlay: alpha: expected a weight between 0 and 1, got {alpha}")
    if compat not in _MODES or values.ndim != 2 and compat != "paper":
        allowed = _MODES if values.ndim == 2 else _MODES[:1]
        raise ValueError(f"overlay: compat: expected one of {', '.join(builtins.map(repr, allowed))}, got {compat!r}")
    if cmap is not None:
        colormap(cmap)
    if slices is not None and values.ndim != 3:
        raise ValueError(f"overlay: slices: expected a map of shape (d, h, w), got {values.shape}")
    if values.ndim == 1:
        return draw_signal(_as_curves(image), values, alpha, cmap)
    picture = as_rgb("overlay", image, values.ndim)
    if values.ndim == 3:
        return montage(picture, values, alpha, cmap, slices)
    if compat == "torchcam":
        return peers.torchcam(picture, values, alpha, cmap)
    if values.shape != picture.shape[:2]:
        values = resize(values[None], picture.shape[:2])[0]
    if compat == "pytorch-grad-cam":
        return peers.pytorch_grad_cam(_as_unit(image, picture), values, alpha, cmap)
    places, scale = shares(values, cmap)
    return blend(picture, places, scale.table, alpha)


def draw_alone(map: ArrayLike, cmap: str | None = None, slices: Slices = None) -> NDArray[np.uint8]:
    """Draw the colours of a map without what lies under it; see `overlay`."""
    values = _as_map(map)
    if values.ndim == 1:
        return draw_signal(None, values, 1.0, cmap)
    return overlay(np.zeros(values.shape, np.uint8), values, 1.0, cmap, slices=slices)


def _as_map(values: ArrayLike) -> Floats:
    array = np.asarray(values)
    if array.dtype.kind != "f" or not 1 <= array.ndim <= 3 or 0 in array.shape:
        raise ValueError(f"overlay: map: expected real numbers of shape (h, w), (d, h, w) or (l,), got {array.dtype} {array.shape}")
    return array


def _as_curves(signal: ArrayLike) -> Floats:
    """Return a signal as (C, L)."""
    array = np.asarray(signal)
    if array.dtype.kind not in "fiu" or array.ndim not in (1, 2) or 0 in array.shape:
        raise ValueError(f"overlay: image: expected a signal of real numbers, shape (C, L) or (L,), got {array.dtype} {array.shape}")
    return np.atleast_2d(array).astype(np.float64)


def _as_unit(image: Any, picture: NDArray[np.uint8]) -> Floats:
    """Return the picture in [0, 1], without rounding where it was given so."""
    given = np.asarray(image)
    if given.dtype.kind != "f":
        return picture.astype(np.float32) / 255
    given = given if given.ndim == 3 else given[..., None]
    return np.broadcast_to(given, picture.shape)


def as_rgb(function: str, image: Any, axes: int = 2) -> NDArray[np.uint8]:
    """Return a picture as uint8, shape (H, W, 3), or with three axes of positions a volume (D, H, W, 3)."""
    picture = np.asarray(image)
    if picture.ndim not in (axes, axes + 1) or (picture.ndim > axes and picture.shape[axes] not in (1, 3)) or 0 in picture.shape:
        space = ", ".join("DHW"[-axes:])
        raise ValueError(f"{function}: image: expected shape ({space}, 3) or ({space}), got {picture.shape}")
    if picture.dtype.kind == "f":
        if not (np.isfinite(picture).all() and picture.min() >= 0 and picture.max() <= 1):
            raise ValueError(f"{function}: image: expected real numbers in [0, 1], or uint8")
        picture = np.rint(picture * 255).astype(np.uint8)
    if picture.dtype != np.uint8:
        raise TypeError(f"{function}: image: expected uint8 or real numbers in [0, 1], got {picture.dtype}")
    picture = picture if picture.ndim > axes else picture[..., None]
    return np.ascontiguousarray(np.broadcast_to(picture, (*picture.shape[:axes], 3)))
