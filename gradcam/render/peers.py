"""Overlays as pytorch-grad-cam 1.5.7 and torchcam 0.5.0 draw them, bit for bit.

Both peers use a jet of their own: OpenCV's, and matplotlib's with the fractions cut off. Values of the map outside [0, 1] are
clipped here before they are used; the first peer lets them wrap around.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from gradcam.errors import require
from gradcam.render.colormap import colormap, paint

__all__ = ["pytorch_grad_cam", "torchcam"]

Floats = NDArray[np.floating[Any]]
Pixels = NDArray[np.uint8]

_MATPLOTLIB_JET = (
    ((0, 0.35, 0.66, 0.89, 1), (0, 0, 1, 1, 0.5)),
    ((0, 0.125, 0.375, 0.64, 0.91, 1), (0, 0, 1, 1, 0, 0)),
    ((0, 0.11, 0.34, 0.65, 1), (0.5, 1, 1, 0, 0)),
)
"""Positions and shares of red, green and blue between which matplotlib interpolates."""


def pytorch_grad_cam(image: Floats, values: Floats, alpha: float, cmap: str | None) -> Pixels:
    """Return what ``show_cam_on_image(image, values, use_rgb=True, image_weight=1 - alpha)`` does.

    Parameters
    ----------
    image : array of float32 or float64 in [0, 1], shape (H, W, 3)
        The picture.
    values : array of float32 or float64, shape (H, W)
        The map.
    alpha : float
        Weight of the map; the peer's own default is 0.5.
    cmap : str, optional
        A table of `gradcam.overlay`; OpenCV's jet by default.
    """
    colours = paint(255 * np.clip(values, 0, 1), _opencv_jet() if cmap is None else colormap(cmap))
    weight = 1 - alpha
    mixed = (1 - weight) * (colours.astype(np.float32) / 255) + weight * image
    return cast("Pixels", (255 * (mixed / (mixed.max() or 1))).astype(np.uint8))


def torchcam(image: Pixels, values: Floats, alpha: float, cmap: str | None) -> Pixels:
    """Return what ``overlay_mask(image, values, alpha=1 - alpha)`` does.

    The map is resized with Pillow's bicubic filter, whose overshoot is squared with the rest, as in the peer.

    Parameters
    ----------
    image : array of uint8, shape (H, W, 3)
        The picture.
    values : array of float32 or float64, shape (h, w)
        The map.
    alpha : float
        Weight of the map; the peer's own default is 0.3.
    cmap : str, optional
        A table of `gradcam.overlay`; matplotlib's jet, cut off, by default.
    """
    clipped = np.clip(values, 0, 1).astype(np.float32)
    if clipped.shape != image.shape[:2]:
        pillow = require("PIL.Image", "image")
        clipped = np.asarray(pillow.fromarray(clipped).resize(image.shape[1::-1], pillow.Resampling.BICUBIC))
    colours = paint(256 * clipped**2, _matplotlib_jet() if cmap is None else colormap(cmap)).astype(np.float32)
    # Pillow's blend adds a share of the difference, in float32, and cuts off.
    return cast("Pixels", (colours + np.float32(1 - alpha) * (image - colours)).astype(np.uint8))


def _opencv_jet() -> Pixels:
    row = np.arange(256)[:, None]
    table: NDArray[np.intp] = np.clip((383, 382, 383) - np.abs(4 * row - (765, 510, 255)), 0, 255)
    table[159, 2] = 1  # the formula has 2: OpenCV's literal lies just below 1.5 / 255
    return table.astype(np.uint8)


def _matplotlib_jet() -> Pixels:
    place = np.linspace(0, 1, 256)
    table: Pixels = np.stack([255 * np.interp(place, *channel) for channel in _MATPLOTLIB_JET], axis=-1).astype(np.uint8)
    return table
