"""Heat maps over pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradcam.resampling import resize
from gradcam.render.colormap import colorize

__all__ = ["as_rgb", "overlay"]


def overlay(image: ArrayLike, map: ArrayLike, alpha: float = 0.5, cmap: str = "viridis") -> NDArray[np.uint8]:
    """Draw a heat map over a picture.

    Parameters
    ----------
    image : array_like, shape (H, W, 3) or (H, W)
        uint8, or real numbers in [0, 1].
    map : array_like, shape (h, w)
        Finished map; it is resized to the image (``linear``). Values in [0, 1] use `cmap`. A map with negative values is
        signed: it is scaled to its largest absolute value and drawn with a diverging table that is neutral at zero.
    alpha : float
        Weight of the heat map, 0 to 1; the image has 1 - alpha.
    cmap : {"viridis", "inferno", "turbo", "jet", "diverging"}
        Colour table.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        ``alpha colour + (1 - alpha) image``, rounded. Positions where the map is NaN get a grey "no data" colour.

    Raises
    ------
    ValueError, TypeError
        Wrong shapes or types, an unknown table, or a weight outside [0, 1].
    """
    picture = as_rgb("overlay", image)
    values = np.asarray(map)
    if values.dtype.kind != "f" or values.ndim != 2:
        raise ValueError(f"overlay: map: expected real numbers of shape (h, w), got {values.dtype} {values.shape}")
    if not 0 <= alpha <= 1:
        raise ValueError(f"overlay: alpha: expected a weight between 0 and 1, got {alpha}")
    if values.shape != picture.shape[:2]:
        values = resize(values[None], picture.shape[:2])[0]
    finite = values[np.isfinite(values)]
    if finite.size and finite.min() < 0:
        values, cmap = 0.5 + 0.5 * values / np.abs(finite).max(), "diverging"
    return np.rint(alpha * colorize(values, cmap) + (1 - alpha) * picture).astype(np.uint8)


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
