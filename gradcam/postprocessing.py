"""From the signed raw map of a layer to the finished map: ReLU, resize, normalise, in the order of a compatibility mode.

Arrays are (N, *spatial) with one to three spatial axes. Images never influence each other. Coordinates, weights and sums
are float64; a float32 map comes back as float32, rounded once per step.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradcam.compat import Mode, Step
from gradcam.compat import mode as compat_mode
from gradcam.errors import BlankMapWarning, NonFiniteWarning

__all__ = ["flags", "interpolate", "normalize", "postprocess", "resize", "warn_blank"]

Floats = NDArray[np.floating[Any]]
Percentile = tuple[str, float, float]

_NORMALIZATIONS = ("none", "minmax", "max", "absmax", "sum")
_GRIDS = ("linear", "linear-corners", "nearest", "cubic-spline")


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
    maps = _as_maps("normalize", "map", map)
    _check_normalization("normalize", "mode", mode)
    return _normalize(maps, mode, shared=shared)


def resize(map: ArrayLike, size: int | Sequence[int], mode: str = "linear") -> Floats:
    """Resize each map, one axis after the other, without antialiasing.

    Parameters
    ----------
    map : array of float32 or float64, shape (N, *spatial)
        Maps with one batch axis and one to three spatial axes.
    size : int or sequence of int
        New lengths of the spatial axes.
    mode : {"linear", "linear-corners", "nearest", "cubic-spline"}
        Half-pixel linear (PyTorch ``align_corners=False``, OpenCV ``INTER_LINEAR``), linear with corners aligned
        (``align_corners=True``), nearest (PyTorch ``nearest``), cubic spline (``scipy.ndimage.zoom`` of order 3).

    Returns
    -------
    array of the same type, shape (N, *size)
        A new array. Equal sizes give a copy. Samples of weight 0 are not read, so a NaN stays where it is; only the cubic
        spline, whose samples depend on all others of their line, spreads it along the line.

    Raises
    ------
    TypeError
        The array is not of a floating type, or a size is no integer.
    ValueError
        Unknown mode, no batch axis, an axis of length 0, or a size that does not fit.
    """
    maps = _as_maps("resize", "map", map)
    lengths = _as_size("resize", size, maps.ndim - 1)
    _check_grid("resize", mode)
    return _resize(maps, lengths, mode)


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
    layers = [_as_maps("postprocess", "raw", layer) for layer in given]
    if not layers or len(layers) > 1 and record.aggregate is None:
        raise ValueError(f"postprocess: raw: expected a number of layers that mode {compat!r} supports, got {len(layers)}")
    if len({(layer.shape[0], layer.ndim, layer.dtype) for layer in layers}) > 1:
        shapes = ", ".join(f"{layer.shape} {layer.dtype}" for layer in layers)
        raise ValueError(f"postprocess: raw: expected layers of equal batch, rank and type, got {shapes}")
    ndim = layers[0].ndim - 1
    settings = _Settings(record, ndim, relu, normalize, mode)
    lengths = None if size is None else _as_size("postprocess", size, ndim)
    if len(layers) == 1:
        return settings.run(record.order, layers[0], lengths)
    lengths = lengths or tuple(max(layer.shape[axis] for layer in layers) for axis in range(1, ndim + 1))
    saturate = method in record.tanh_before_fusion
    finished = [settings.run(record.layer_order, layer, lengths, saturate=saturate) for layer in layers]
    how = aggregate or record.aggregate
    return settings.run(record.fused_order or (("normalize",) if how == "product" else ()), _combine(finished, how), lengths)


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

    def __init__(self, record: Mode, ndim: int, relu: bool | None, normalization: str | Percentile | None, grid: str | None) -> None:
        own_grid = record.grids[ndim - 1]
        if own_grid is None:
            raise ValueError(f"postprocess: raw: expected a number of spatial axes that mode {record.name!r} supports, got {ndim}")
        if normalization is not None:
            _check_normalization("postprocess", "normalize", normalization)
        if grid is not None:
            _check_grid("postprocess", grid)
        self.relu = record.relu if relu is None else relu
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
                maps = maps if size is None else _resize(maps, size, self.grid)
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
    maps = _as_maps("flags", "raw", raw)
    finite, axes = np.isfinite(maps), tuple(range(1, maps.ndim))
    low, high = (extreme.reshape(-1) for extreme in _extremes(maps, finite, axes))
    some = finite.any(axis=axes)
    return {
        "all_negative": some & (high <= 0) & (low < 0),
        "zero": some & (high == 0) & (low == 0),
        "constant": some & (np.maximum(high, 0) == np.maximum(low, 0)),
        "nonfinite": np.count_nonzero(~finite, axis=axes),
    }


def warn_blank(found: Mapping[str, NDArray[Any]], *, relu: bool = True, function: str = "explain", stacklevel: int = 2) -> None:
    """Issue at most one `BlankMapWarning` and one `NonFiniteWarning` for a batch.

    Parameters
    ----------
    found : mapping
        Result of `flags`.
    relu : bool
        Whether the finished maps went through ReLU; without it only a zero map is blank.
    function : str
        Name of the public function, for the text.
    stacklevel : int
        As in `warnings.warn`, counted from the caller of this function.
    """
    zero, negative = found["zero"], found["all_negative"]
    causes = {"zero everywhere": zero}
    if relu:
        causes |= {"nowhere positive (relu=False shows it)": negative, "constant": found["constant"] & ~zero & ~negative}
    texts = [f"{cause} for {_images(images)}" for cause, images in causes.items() if images.any()]
    if texts:
        warnings.warn(f"{function}: blank map: the raw map is {', '.join(texts)}", BlankMapWarning, stacklevel=stacklevel + 1)
    if found["nonfinite"].any():
        images = _images(found["nonfinite"] > 0)
        warnings.warn(f"{function}: NaN or infinity in the raw map of {images}", NonFiniteWarning, stacklevel=stacklevel + 1)


def interpolate(values: NDArray[np.float64], axis: int, low: NDArray[np.intp], fraction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear interpolation along one axis between samples ``low`` and ``low + 1``, the last sample being repeated.

    Equal neighbours give their value without rounding, so that a constant map stays constant, and a neighbour of weight 0
    is not read.
    """
    high = np.minimum(low + 1, values.shape[axis] - 1)
    near, far = values.take(low, axis=axis), values.take(high, axis=axis)
    shape = [1] * values.ndim
    shape[axis] = -1
    weight = fraction.reshape(shape)
    with np.errstate(invalid="ignore"):
        return np.where((weight == 0) | (near == far), near, near * (1 - weight) + far * weight)


def _images(chosen: NDArray[np.bool_]) -> str:
    indices = np.flatnonzero(chosen)
    shown = ", ".join(map(str, indices[:5]))
    return f"image{'s' if indices.size > 1 else ''} {shown}{', ...' if indices.size > 5 else ''}"


def _as_maps(function: str, argument: str, maps: ArrayLike) -> Floats:
    array = np.asarray(maps)
    if array.dtype == np.float16 or array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    if array.dtype.type not in (np.float32, np.float64):
        raise TypeError(f"{function}: {argument}: expected float32 or float64, got {array.dtype}")
    if not 2 <= array.ndim <= 4:
        raise ValueError(f"{function}: {argument}: expected one batch axis and 1 to 3 spatial axes, got shape {array.shape}")
    if 0 in array.shape[1:]:
        raise ValueError(f"{function}: {argument}: expected spatial axes of length 1 or more, got shape {array.shape}")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _as_size(function: str, size: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    items = size if isinstance(size, Sequence | np.ndarray) else (size,)
    try:
        lengths = tuple(operator.index(item) for item in items)
    except TypeError:
        raise TypeError(f"{function}: size: expected integers, got {size!r}") from None
    if len(lengths) != ndim or min(lengths) < 1:
        raise ValueError(f"{function}: size: expected {ndim} positive integer{'s' if ndim > 1 else ''}, got {size!r}")
    return lengths


def _check_grid(function: str, mode: str) -> None:
    if mode not in _GRIDS:
        raise ValueError(f"{function}: mode: expected one of {', '.join(_GRIDS)}, got {mode!r}")


def _check_normalization(function: str, argument: str, mode: str | Percentile) -> None:
    if isinstance(mode, str) and mode in _NORMALIZATIONS:
        return
    if isinstance(mode, tuple) and len(mode) == 3 and mode[0] == "percentile" and 0 <= mode[1] < mode[2] <= 100:
        return
    expected = f"one of {', '.join(_NORMALIZATIONS)} or ('percentile', lo, hi) with 0 <= lo < hi <= 100"
    raise ValueError(f"{function}: {argument}: expected {expected}, got {mode!r}")


def _extremes(maps: Floats, finite: NDArray[np.bool_], axes: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Minimum and maximum over the finite values, with axes kept; inf and -inf where there are none."""
    low = np.min(maps, axis=axes, where=finite, initial=np.inf, keepdims=True)
    high = np.max(maps, axis=axes, where=finite, initial=-np.inf, keepdims=True)
    return low, high


def _normalize(maps: Floats, mode: str | Percentile, *, shared: bool = False) -> Floats:
    """Exact normalisation, see `normalize`."""
    if mode == "none" or maps.size == 0:
        return maps.copy()
    axes = tuple(range(0 if shared else 1, maps.ndim))
    finite = np.isfinite(maps)
    values = np.where(finite, maps, 0).astype(np.float64)
    # A power of two per image changes no quotient, and keeps differences and sums of huge values finite and those of
    # subnormal values apart from zero.
    _, exponent = np.frexp(np.max(np.abs(values), axis=axes, keepdims=True))
    values = np.ldexp(values, -exponent)
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
    result = np.where(usable, (values - shift) / np.where(usable, scale, 1), 0)
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


def _resize(maps: Floats, size: tuple[int, ...], mode: str) -> Floats:
    if maps.shape[1:] == size:
        return maps.copy()
    values = maps.astype(np.float64)
    for axis, length in enumerate(size, start=1):
        if values.shape[axis] != length:
            values = _resize_axis(values, axis, length, mode)
    return values.astype(maps.dtype)


def _resize_axis(values: NDArray[np.float64], axis: int, length: int, mode: str) -> NDArray[np.float64]:
    """Resize one axis. Positions are fractions of integers, so a sample that is hit exactly has a weight of exactly 0 beside it."""
    old = values.shape[axis]
    index = np.arange(length)
    if mode == "nearest":
        return np.asarray(values.take(np.minimum(index * old // length, old - 1), axis=axis))
    if mode == "linear":
        low, rest = np.divmod(np.maximum((2 * index + 1) * old - length, 0), 2 * length)
        return interpolate(values, axis, low, rest / (2 * length))
    low, rest = np.divmod(index * (old - 1), max(length - 1, 1))
    fraction = rest / max(length - 1, 1)
    if mode == "linear-corners":
        return interpolate(values, axis, low, fraction)
    return _interpolate_spline(values, axis, low, fraction)


def _interpolate_spline(
    values: NDArray[np.float64], axis: int, low: NDArray[np.intp], fraction: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Cubic B-spline through the samples, mirrored at the first and the last of them."""
    lines = np.moveaxis(values, axis, -1)
    # The weights sum to 1, so values may be taken relative to the first: a constant line stays constant to the last bit.
    origin = lines[..., :1]
    with np.errstate(invalid="ignore"):
        coefficients = _spline_coefficients(lines - origin)
        t = fraction
        weights = ((1 - t) ** 3 / 6, (4 - 6 * t**2 + 3 * t**3) / 6, (1 + 3 * t + 3 * t**2 - 3 * t**3) / 6, t**3 / 6)
        last = lines.shape[-1] - 1
        result = np.zeros((*lines.shape[:-1], low.size))
        for offset, weight in zip((-1, 0, 1, 2), weights, strict=True):
            # Whole-sample mirror: index -1 is 1, index last + 1 is last - 1.
            tap = np.abs(low + offset) % max(2 * last, 1)
            tap = np.minimum(tap, 2 * last - tap)
            result += coefficients[..., tap] * weight
        return np.moveaxis(result + origin, -1, axis)


def _spline_coefficients(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Solve (c[i-1] + 4 c[i] + c[i+1]) / 6 = m[i] with mirrored ends along the last axis, by elimination without pivoting."""
    count = samples.shape[-1]
    if count == 1:
        return samples
    c = 6 * samples
    # Row 0 is 4 c[0] + 2 c[1], row -1 is 2 c[-2] + 4 c[-1], the others 1, 4, 1.
    ratio = np.empty(count)
    ratio[0] = 0.5
    c[..., 0] /= 4
    for i in range(1, count):
        before = 2.0 if i == count - 1 else 1.0
        pivot = 4 - before * ratio[i - 1]
        ratio[i] = 1 / pivot
        c[..., i] = (c[..., i] - before * c[..., i - 1]) / pivot
    for i in range(count - 2, -1, -1):
        c[..., i] -= ratio[i] * c[..., i + 1]
    return c
