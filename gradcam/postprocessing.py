"""From the signed raw map of a layer to the finished map: ReLU, resize, normalise, in the order of a compatibility mode.

Arrays are (N, *spatial) with one to three spatial axes. Images never influence each other. Sums are float64; a float32 map
comes back as float32, rounded once per step.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradcam.compat import Mode, Step
from gradcam.compat import mode as compat_mode
from gradcam.errors import BlankMapWarning, NonFiniteWarning
from gradcam.resampling import as_maps, as_size, check_grid, resample

__all__ = ["flags", "normalize", "plainly_alive", "postprocess", "warn_blank"]

Floats = NDArray[np.floating[Any]]
Percentile = tuple[str, float, float]

_NORMALIZATIONS = ("none", "minmax", "max", "absmax", "sum")


def normalize(map: ArrayLike, mode: str | Percentile = "minmax", *, shared: bool = False) -> Floats:
    """Scale each map.

    Parameters
    ----------
    map : array of float32 or float64, shape (N, *spatial)
        Maps with one batch axis and one to three spatial axes.
    mode : {"minmax", "max", "absmax", "sum", "none"} or ("percentile", lo, hi)
        ``(m - min) / (max - min)``; ``m / max``, 0 where max <= 0; ``m / max|m|``, which keeps zero and sign;
        ``m / sum m``; unchanged; or ``(m - p_lo) / (p_hi - p_lo)`` clipped to [0, 1], with linearly interpolated percentiles.
    shared : bool
        Take minimum, maximum, sum and percentiles over the whole batch, which keeps its images comparable.

    Returns
    -------
    array of the same shape and type
        A new array. A zero denominator gives zeros. Non-finite positions become NaN (``"none"`` leaves them) and are left
        out of the extremes.

    Raises
    ------
    TypeError
        The array is not of a floating type.
    ValueError
        Unknown mode, no batch axis, or an axis of length 0.
    """
    maps = as_maps("normalize", "map", map)
    _check_normalization("normalize", "mode", mode)
    return _normalize(maps, mode, shared=shared)


def postprocess(
    raw: ArrayLike | Sequence[ArrayLike],
    size: int | Sequence[int] | None = None,
    *,
    compat: str = "paper",
    relu: bool | None = None,
    normalize: str | Percentile | None = None,
    mode: str | None = None,
    aggregate: str | None = None,
    method: str = "gradcam",
) -> Floats:
    """Signed raw maps to finished maps, in the exact order of a compatibility mode.

    `paper`: ReLU, resize, exact min-max. `pytorch-grad-cam`: ReLU, min-max with 1e-7, resize, ReLU, min-max with 1e-7.
    `torchcam`: ReLU, min-max with 1e-8, then resize if a size is given. `captum`: resize if a size is given.

    Parameters
    ----------
    raw : array of float32 or float64, shape (N, *spatial), or list of such arrays
        Signed maps at layer size. A list holds several layers, whose spatial lengths may differ.
    size : int or sequence of int, optional
        Size of the finished maps; None leaves them at layer size (several layers: at the largest length of each axis).
    compat : str
        Compatibility mode.
    relu : bool, optional
        Whether negative evidence is removed. Without it `paper` scales by ``absmax`` to [-1, 1] and keeps zero at zero.
    normalize : str or ("percentile", lo, hi), optional
        Normalisation of `gradcam.normalize` in place of the mode's own.
    mode : str, optional
        Grid of `gradcam.resize` in place of the mode's own.
    aggregate : {"mean", "max", "product"}, optional
        How several layers are combined, in place of the mode's own way. Their order has no influence.
    method : str
        Name of the method: one mode treats several layers of LayerCAM differently.

    Returns
    -------
    array of the same type, shape (N, *size)
        Finished maps. A constant or nowhere positive map gives zeros.

    Raises
    ------
    TypeError, ValueError
        As `gradcam.normalize` and `gradcam.resize`; also a number of spatial axes or of layers that the mode refuses, and
        layers that do not agree in batch, rank or type.
    """
    record = compat_mode(compat)
    given: Sequence[Any] = raw if isinstance(raw, list | tuple) else [raw]
    layers = [as_maps("postprocess", "raw", layer) for layer in given]
    if not layers or len(layers) > 1 and record.aggregate is None:
        raise ValueError(f"postprocess: raw: expected a number of layers that mode {compat!r} supports, got {len(layers)}")
    if len({(layer.shape[0], layer.ndim, layer.dtype) for layer in layers}) > 1:
        shapes = ", ".join(f"{layer.shape} {layer.dtype}" for layer in layers)
        raise ValueError(f"postprocess: raw: expected layers of equal batch, rank and type, got {shapes}")
    ndim = layers[0].ndim - 1
    settings = _Settings(record, ndim, record.removes_negative(method, relu), normalize, mode)
    lengths = None if size is None else as_size("postprocess", size, ndim)
    if len(layers) == 1:
        return settings.run(record.order, layers[0], lengths)
    lengths = lengths or tuple(max(layer.shape[axis] for layer in layers) for axis in range(1, ndim + 1))
    saturate = method in record.tanh_before_fusion
    how = aggregate or record.aggregate
    # A product is one of finished maps, and always normalised (Refine-CAM in both peers that have it).
    each, fused = (record.order, ("normalize",)) if how == "product" else (record.layer_order, record.fused_order)
    finished = [settings.run(each, layer, lengths, saturate=saturate) for layer in layers]
    return settings.run(fused, _combine(finished, how), lengths)


def _combine(layers: list[Floats], how: str | None) -> Floats:
    values = np.sort(np.stack(layers).astype(np.float64), axis=0)  # sorted: rounding does not depend on the order of the layers
    with np.errstate(invalid="ignore"):
        if how == "mean":
            fused = values.mean(axis=0)
        elif how == "max":
            fused = values.max(axis=0)
        elif how == "product":
            fused = values.prod(axis=0)
        else:
            raise ValueError(f"postprocess: aggregate: expected mean, max or product, got {how!r}")
    return cast("Floats", fused.astype(layers[0].dtype))


class _Settings:
    """The settings of one call, the mode's own where the caller left them out, and the three steps."""

    def __init__(self, record: Mode, ndim: int, relu: bool, normalization: str | Percentile | None, grid: str | None) -> None:
        own_grid = record.grids[ndim - 1]
        if own_grid is None:
            raise ValueError(f"postprocess: raw: expected a number of spatial axes that mode {record.name!r} supports, got {ndim}")
        if normalization is not None:
            _check_normalization("postprocess", "normalize", normalization)
        if grid is not None:
            check_grid("postprocess", grid)
        self.relu = relu
        # A normalisation that the caller names is the exact one; the epsilon belongs to the peer's own.
        self.epsilon = record.epsilon if normalization is None else None
        self.normalization = normalization or (record.normalize if self.relu else record.signed_normalize)
        self.grid = grid or own_grid

    def run(self, steps: tuple[Step, ...], maps: Floats, size: tuple[int, ...] | None, *, saturate: bool = False) -> Floats:
        maps = maps.copy()
        for step in steps:
            if step == "relu":
                maps = np.where(maps < 0, maps.dtype.type(0), maps) if self.relu else maps  # NaN and -0.0 pass through
            elif step == "resize":
                maps = maps if size is None else resample(maps, size, self.grid)
            else:
                maps = _normalize(maps, self.normalization) if self.epsilon is None else _normalize_epsilon(maps, self.epsilon)
                maps = np.tanh(2 * maps) if saturate else maps
        return maps


def flags(raw: ArrayLike) -> dict[str, NDArray[Any]]:
    """Find blank and non-finite raw maps.

    Parameters
    ----------
    raw : array of float32 or float64, shape (N, *spatial)
        Signed maps.

    Returns
    -------
    dict of arrays of shape (N,), one value per image
        ``all_negative``: max <= 0 and min < 0, so that ReLU leaves nothing. ``zero``: 0 everywhere. ``constant``: max = min after
        ReLU, which includes the two before. ``nonfinite``: number of non-finite positions, which the other flags leave out.
    """
    maps = as_maps("flags", "raw", raw)
    finite, axes = np.isfinite(maps), tuple(range(1, maps.ndim))
    low, high = (extreme.reshape(-1) for extreme in _extremes(maps, finite, axes))
    some = finite.any(axis=axes)
    return {
        "all_negative": some & (high <= 0) & (low < 0),
        "zero": some & (high == 0) & (low == 0),
        "constant": some & (np.maximum(high, 0) == np.maximum(low, 0)),
        "nonfinite": np.count_nonzero(~finite, axis=axes),
    }


def plainly_alive(raw: Floats) -> bool:
    """Whether two numbers per map tell that `flags` has nothing to say: all finite, with a positive maximum above the minimum."""
    maps = raw.reshape(len(raw), -1)
    lows, highs = np.minimum.reduce(maps, axis=1).tolist(), np.maximum.reduce(maps, axis=1).tolist()
    return all(-inf < low < high < inf and high > 0 for low, high in zip(lows, highs, strict=True))


def warn_blank(
    found: Mapping[str, NDArray[Any]], *, relu: bool = True, function: str = "explain", hint: str = "", stacklevel: int = 2
) -> None:
    """Issue at most one `BlankMapWarning` and one `NonFiniteWarning` for a batch.

    Parameters
    ----------
    found : mapping
        Result of `flags`.
    relu : bool
        Whether the finished maps went through ReLU; without it only a zero map is blank.
    function : str
        Name of the public function, for the text.
    hint : str
        End of the text about blank maps.
    stacklevel : int
        As in `warnings.warn`, counted from the caller of this function.
    """
    zero, negative = found["zero"], found["all_negative"]
    causes = {"zero everywhere": zero}
    if relu:
        causes |= {"nowhere positive (relu=False shows it)": negative, "constant": found["constant"] & ~zero & ~negative}
    texts = [f"{cause} for {_images(images)}" for cause, images in causes.items() if images.any()]
    if texts:
        warnings.warn(f"{function}: blank map: the raw map is {', '.join(texts)}{hint}", BlankMapWarning, stacklevel=stacklevel + 1)
    if found["nonfinite"].any():
        images = _images(found["nonfinite"] > 0)
        warnings.warn(f"{function}: NaN or infinity in the raw map of {images}", NonFiniteWarning, stacklevel=stacklevel + 1)


def _images(chosen: NDArray[np.bool_]) -> str:
    indices = np.flatnonzero(chosen)
    shown = ", ".join(map(str, indices[:5]))
    return f"image{'s' if indices.size > 1 else ''} {shown}{', ...' if indices.size > 5 else ''}"


def _check_normalization(function: str, argument: str, mode: str | Percentile) -> None:
    if isinstance(mode, str) and mode in _NORMALIZATIONS:
        return
    if isinstance(mode, tuple) and len(mode) == 3 and mode[0] == "percentile" and 0 <= mode[1] < mode[2] <= 100:
        return
    expected = f"one of {', '.join(_NORMALIZATIONS)} or ('percentile', lo, hi) with 0 <= lo < hi <= 100"
    raise ValueError(f"{function}: {argument}: expected {expected}, got {mode!r}")


def _extremes(maps: Floats, finite: NDArray[np.bool_], axes: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Minimum and maximum over the finite values, with axes kept; inf and -inf where there are none."""
    counted = True if finite.all() else finite  # a mask takes longer than the rest
    low = np.min(maps, axis=axes, where=counted, initial=np.inf, keepdims=True)
    high = np.max(maps, axis=axes, where=counted, initial=-np.inf, keepdims=True)
    return low, high


def _normalize(maps: Floats, mode: str | Percentile, *, shared: bool = False) -> Floats:
    """Exact normalisation, see `normalize`."""
    if mode == "none" or maps.size == 0:
        return maps.copy()
    axes = tuple(range(0 if shared else 1, maps.ndim))
    finite = np.isfinite(maps)
    values = np.where(finite, maps, 0).astype(np.float64)
    # A power of two per image changes no quotient, and keeps differences and sums of huge values finite and those of
    # subnormal values apart from zero; 2^1023 is the largest one.
    _, exponent = np.frexp(np.max(np.abs(values), axis=axes, keepdims=True))
    values *= np.ldexp(1.0, np.minimum(-exponent, 1023))
    low, high = _extremes(values, finite, axes)
    shift: Floats = np.zeros(())
    if mode == "minmax":
        shift, scale = low, high - low
    elif mode == "max":
        scale = np.maximum(high, 0)
    elif mode == "absmax":
        scale = np.maximum(np.abs(low), np.abs(high))
    elif mode == "sum":
        scale = np.sum(values, axis=axes, keepdims=True)
    else:
        shift, upper = _percentiles(values, finite, axes, float(mode[1]), float(mode[2]))
        scale = upper - shift
    usable = np.isfinite(scale) & (scale != 0)
    values -= shift
    values /= np.where(usable, scale, 1)
    result = np.where(usable, values, 0)
    if isinstance(mode, tuple):
        result = np.clip(result, 0, 1)
    with np.errstate(over="ignore"):  # a map that nearly sums to 0 may leave the range of float32
        return np.where(finite, result, np.nan).astype(maps.dtype)


def _percentiles(
    values: NDArray[np.float64], finite: NDArray[np.bool_], axes: tuple[int, ...], lo: float, hi: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    some = finite.any(axis=axes, keepdims=True)
    kept = np.where(finite | ~some, values, np.nan)  # an image without finite values keeps its zeros: NumPy warns of empty slices
    low, high = np.nanpercentile(kept, (lo, hi), axis=axes, keepdims=True)
    return np.asarray(low), np.asarray(high)


def _normalize_epsilon(maps: Floats, epsilon: float) -> Floats:
    """Min-max as the peers compute it: in the type of the map, epsilon in the denominator, one NaN spoils its image."""
    if maps.size == 0:
        return maps
    axes = tuple(range(1, maps.ndim))
    with np.errstate(invalid="ignore", over="ignore"):
        shifted = maps - maps.min(axis=axes, keepdims=True)
        return cast("Floats", shifted / (shifted.max(axis=axes, keepdims=True) + maps.dtype.type(epsilon)))
