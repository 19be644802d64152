"""From a picture to a model's input, and from a map back onto the picture."""

from __future__ import annotations

import json
import contextlib
import os
import warnings
from dataclasses import dataclass, fields
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradcam.errors import ModelFormatError, require
from gradcam.resampling import resize

__all__ = ["Preprocess", "default_preprocess", "open_image"]

Numbers = float | tuple[float, ...]
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
_BASIC = ("PNG", "JPEG", "BMP")
"""Of these, those that Pillow reads without loading all its plugins."""

_PRESETS: dict[str, dict[str, Any]] = {
    "imagenet": {"channels": "rgb", "scale": 1 / 255, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    "caffe": {"channels": "bgr", "scale": 1.0, "mean": (104.0, 117.0, 123.0), "std": 1.0},
    "unit": {"scale": 1 / 255, "mean": 0.0, "std": 1.0},
    "signed": {"scale": 1 / 127.5, "mean": 1.0, "std": 1.0},
    "raw": {"scale": 1.0, "mean": 0.0, "std": 1.0},
}


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How a picture becomes a model's input: resize, crop, channels, ``(x scale - mean) / std``, layout.

    Parameters
    ----------
    size : (int, int)
        Height and width of the input.
    resize : {"short", "exact", "none"}
        ``short``: the short side becomes round(size x 256 / 224), or exactly the size without `crop`; ``exact``: both sides
        become the size, whatever the shape; ``none``: the picture keeps its size.
    crop : bool
        Cut the centre of the input's size out of the resized picture.
    channels : {"rgb", "bgr", "grey"}
        Order of the channels, or one grey channel.
    scale : float
        Grey levels 0 to 255 are multiplied by it.
    mean, std : float or one per channel
        Subtracted after scaling, and divided by.
    layout : {"NCHW", "NHWC"}
        Axes of the result.
    """

    size: tuple[int, int]
    resize: Literal["short", "exact", "none"] = "short"
    crop: bool = True
    channels: Literal["rgb", "bgr", "grey"] = "rgb"
    scale: float = 1 / 255
    mean: Numbers = 0.0
    std: Numbers = 1.0
    layout: Literal["NCHW", "NHWC"] = "NCHW"

    def __post_init__(self) -> None:
        """Check every field."""
        choices = {"resize": ("short", "exact", "none"), "channels": ("rgb", "bgr", "grey"), "layout": ("NCHW", "NHWC")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"Preprocess: {name}: expected one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        size = tuple(self.size)
        if len(size) != 2 or not all(isinstance(n, int | np.integer) and n > 0 for n in size):
            raise ValueError(f"Preprocess: size: expected (height, width), got {self.size!r}")
        object.__setattr__(self, "size", (int(size[0]), int(size[1])))
        count = 1 if self.channels == "grey" else 3
        for name in ("scale", "mean", "std"):
            values = np.asarray(getattr(self, name), np.float64)
            if not np.isfinite(values).all() or values.shape not in ((), (count,)) or (name == "std" and not values.all()):
                raise ValueError(
                    f"Preprocess: {name}: expected one finite number or {count} of them (std not 0), got {getattr(self, name)!r}"
                )
            if values.ndim:
                object.__setattr__(self, name, tuple(float(v) for v in values))

    @classmethod
    def preset(cls, name: str, *, size: tuple[int, int], channels: str | None = None, layout: str = "NCHW") -> Preprocess:
        """Return a preset.

        Parameters
        ----------
        name : {"imagenet", "caffe", "unit", "signed", "raw"}
            ``imagenet``: RGB, x / 255, ImageNet mean and deviation; ``caffe``: BGR minus (104, 117, 123); ``unit``: x / 255;
            ``signed``: x / 127.5 - 1; ``raw``: x.
        size : (int, int)
            Height and width of the input.
        channels : str, optional
            In place of the preset's own (RGB where it has none).
        layout : str
            Axes of the input.
        """
        if name not in _PRESETS:
            raise ValueError(f"Preprocess: preset: expected one of {', '.join(_PRESETS)}, got {name!r}")
        options = {"channels": "rgb"} | _PRESETS[name] | ({"channels": channels} if channels else {})
        return cls(size, layout=layout, **options)  # type: ignore[arg-type]

    @classmethod
    def from_metadata(cls, text: str) -> Preprocess:
        """Return the preprocessing that a model's metadata (``gradcam.preprocess``, JSON of the fields) describes."""
        try:
            given = json.loads(text)
            known = {f.name for f in fields(cls)}
            if not isinstance(given, dict) or set(given) - known or "size" not in given:
                raise ValueError(f"expected an object with 'size' and any of {', '.join(sorted(known))}")
            options: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
            return cls(**options)
        except (TypeError, ValueError) as error:
            raise ModelFormatError(f"metadata 'gradcam.preprocess': {error}") from error

    def __str__(self) -> str:
        how = {"short": "short side", "exact": "exactly", "none": "not resized,"}[self.resize]
        crop = ", centre crop" if self.crop and self.resize != "exact" else ""
        values = f"(x * {self.scale:.6g} - {_show(self.mean)}) / {_show(self.std)}"
        return f"{how} {self.size[0]}x{self.size[1]}{crop}, {self.channels}, {values}, {self.layout}"

    def __call__(self, image: ArrayLike) -> NDArray[np.float32]:
        """Return the input for one picture.

        Parameters
        ----------
        image : array_like of uint8, shape (H, W, 3) or (H, W)
            The picture.

        Returns
        -------
        ndarray of float32, shape (1, C, H, W) or (1, H, W, C)
        """
        pixels = np.asarray(image)
        if (
            pixels.dtype != np.uint8
            or pixels.ndim not in (2, 3)
            or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3))
            or 0 in pixels.shape
        ):
            raise ValueError(f"preprocess: image: expected uint8 of shape (H, W, 3) or (H, W), got {pixels.dtype} {pixels.shape}")
        pillow = require("PIL.Image", "image")
        picture = pillow.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)
        picture = picture.convert("L" if self.channels == "grey" else "RGB")
        size = self._resized(pixels.shape[:2])
        if size != pixels.shape[:2]:
            picture = picture.resize(size[::-1], pillow.Resampling.BILINEAR)
        values: NDArray[Any] = np.asarray(picture, np.float32)
        values = values[..., None] if values.ndim == 2 else values
        if self.crop and self.resize != "exact":
            values = self._crop(values)
        if values.shape[:2] != self.size and self.resize != "none":
            raise ValueError(f"preprocess: image: becomes {values.shape[:2]}, not the input's {self.size}: use crop=True or resize='exact'")
        values = values[..., ::-1] if self.channels == "bgr" else values
        values = (values * np.float32(self.scale) - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        values = values if self.layout == "NHWC" else values.transpose(2, 0, 1)
        return np.ascontiguousarray(values[None], np.float32)

    def placement(self, image_size: tuple[int, int]) -> tuple[float, float, float, float]:
        """Return the part of a photo that the model saw: top, left, bottom, right in its pixels.

        Parameters
        ----------
        image_size : (int, int)
            Height and width of the photo.
        """
        height, width = self._resized(image_size)
        if not self.crop or self.resize == "exact":
            return 0.0, 0.0, float(image_size[0]), float(image_size[1])
        rows, columns = min(self.size[0], height), min(self.size[1], width)
        top, left = (height - rows) // 2, (width - columns) // 2
        y, x = image_size[0] / height, image_size[1] / width
        return top * y, left * x, (top + rows) * y, (left + columns) * x

    def place(self, map: NDArray[Any], image_size: tuple[int, int]) -> NDArray[Any]:
        """Put a finished map back onto the photo: undo crop and resize; NaN where the model saw nothing.

        Parameters
        ----------
        map : ndarray, shape (h, w)
            Finished map.
        image_size : (int, int)
            Height and width of the photo.

        Returns
        -------
        ndarray, shape `image_size`
        """
        top, left, bottom, right = self.placement(image_size)
        y0, x0, y1, x1 = (round(v) for v in (top, left, bottom, right))
        placed = np.full(image_size, np.nan, map.dtype)
        placed[y0:y1, x0:x1] = resize(map[None], (y1 - y0, x1 - x0))[0]
        return placed

    def _resized(self, image_size: tuple[int, ...]) -> tuple[int, int]:
        """Size after the resize and before the crop."""
        height, width = int(image_size[0]), int(image_size[1])
        if self.resize == "none":
            return height, width
        if self.resize == "exact":
            return self.size
        # The same margin on both axes: the crop must fit where the input is not square.
        margin = 256 / 224 if self.crop else 1.0
        factor = max(round(n * margin) / m for n, m in zip(self.size, (height, width), strict=True))
        return max(round(height * factor), 1), max(round(width * factor), 1)

    def _crop(self, values: NDArray[Any]) -> NDArray[Any]:
        rows, columns = (min(n, m) for n, m in zip(self.size, values.shape[:2], strict=True))
        top, left = (values.shape[0] - rows) // 2, (values.shape[1] - columns) // 2
        return values[top : top + rows, left : left + columns]


def _show(values: Numbers) -> str:
    return f"{values:g}" if isinstance(values, float | int) else "(" + ", ".join(f"{v:g}" for v in values) + ")"


def open_image(source: str | os.PathLike[str] | IO[bytes]) -> NDArray[np.uint8]:
    """Read a picture as uint8, shape (H, W, 3), or (H, W) if it is grey.

    EXIF orientation is applied; transparency is laid on white; 16-bit grey is scaled to 8 bits.

    Parameters
    ----------
    source : path or file object
        PNG, JPEG, WebP, BMP or TIFF.

    Raises
    ------
    ValueError
        It is no picture, a damaged one, or one so large that it may be an attack; the text names the file.
    OSError
        It cannot be read.
    """
    pillow = require("PIL.Image", "image")
    name = os.fspath(source) if isinstance(source, str | os.PathLike) else "image"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pillow.DecompressionBombWarning)
            with _opened(pillow, source) as picture:
                picture.load()
                return _pixels(pillow, require("PIL.ImageOps", "image").exif_transpose(picture))
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except pillow.UnidentifiedImageError:
        raise ValueError(f"{name}: this is no picture in a format that is read ({', '.join(_FORMATS)})") from None
    except Exception as error:  # Pillow's decoders raise many kinds on damaged files
        raise ValueError(f"{name}: this picture cannot be read: {error}") from error


def _opened(pillow: Any, source: str | os.PathLike[str] | IO[bytes]) -> Any:
    if isinstance(source, str | os.PathLike):  # a stream may not be read twice
        with contextlib.suppress(pillow.UnidentifiedImageError):
            return pillow.open(source, formats=_BASIC)
    return pillow.open(source, formats=_FORMATS)


def _pixels(pillow: Any, picture: Any) -> NDArray[np.uint8]:
    if picture.mode.startswith("I;16"):
        return (np.asarray(picture) >> 8).astype(np.uint8)
    if picture.mode in ("I", "F"):
        values = np.asarray(picture, np.float64)
        return np.clip(values / (257 if values.max() > 255 else 1), 0, 255).astype(np.uint8)
    if picture.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        white = pillow.new("RGBA", layer.size, "white")
        return np.asarray(pillow.alpha_composite(white, layer).convert("RGB"))
    return np.asarray(picture.convert("L" if picture.mode in ("1", "L") else "RGB"))


def default_preprocess(shape: tuple[int, ...], channels_last: bool) -> Preprocess:
    """Return the preset for an input of which nothing but the shape is known: by its number of channels."""
    if len(shape) != 4:
        return Preprocess.preset("raw", size=(1, 1))
    channels, (height, width) = (shape[3], shape[1:3]) if channels_last else (shape[1], shape[2:])
    return Preprocess.preset(
        "unit" if channels == 1 else "imagenet",
        size=(height, width),
        channels="grey" if channels == 1 else "rgb",
        layout="NHWC" if channels_last else "NCHW",
    )
