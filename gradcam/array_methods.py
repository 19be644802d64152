"""CAM methods on arrays exported from any framework."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradcam.cache import Cache
from gradcam.compat import mode as compat_mode
from gradcam.environment import resolve_threads
from gradcam.graph.builder import Builder
from gradcam.graph.passes import prune
from gradcam.graph.plan import Plan, compile_plan
from gradcam.methods import find_method
from gradcam.methods.base import CamBuilder
from gradcam.ops import _call

__all__ = ["cam", "grad_cam", "grad_cam_plus_plus", "hires_cam", "layer_cam", "xgrad_cam"]

Floats = NDArray[np.floating[Any]]
_plans: Cache[Plan] = Cache(128)


def cam(
    activations: ArrayLike,
    gradients: ArrayLike,
    *,
    method: str = "gradcam",
    relu: bool | None = None,
    channel_axis: int = 1,
    compat: str = "paper",
    num_threads: int | None = None,
    **options: Any,
) -> Floats:
    """Class-activation map of arrays, by any method.

    Parameters
    ----------
    activations, gradients : array_like of float32 or float64, shape (N, C, *S)
        Values of the layer for N pictures, and the gradient of the explained score; one to three spatial axes. float16 is
        widened to float32.
    method : str
        Name of a method, see `gradcam.list_methods`.
    relu : bool, optional
        Whether negative evidence is removed; as the compatibility mode does by default. False gives the signed raw map.
    channel_axis : int
        Axis of the channels: 1, or -1 for channels-last arrays (N, *S, C), which are read where they lie.
    compat : {"paper", "pytorch-grad-cam", "torchcam", "captum"}
        Whose numbers to reproduce.
    num_threads : int, optional
        See `gradcam.set_num_threads`.
    **options
        Options of the method.

    Returns
    -------
    ndarray, shape (N, *S)
        Map at the layer's resolution, not normalised, in the type of the activations.

    Raises
    ------
    TypeError
        Arrays that are not real numbers or differ in type; an option that the method does not have.
    ValueError
        Shapes that differ or have no batch axis, channel axis or spatial axis; an unknown method, mode or axis.

    Notes
    -----
    All sums are taken in float64, in an order that does not depend on the number of threads.

    Examples
    --------
    >>> import numpy as np, gradcam
    >>> a, g = np.ones((1, 2, 3, 3), np.float32), np.full((1, 2, 3, 3), 0.5, np.float32)
    >>> gradcam.cam(a, g).shape
    (1, 3, 3)
    """
    record, found = compat_mode(compat), find_method("cam", method)
    found.check_options("cam", options)
    a = _call.array("cam", "activations", activations, ndim=(3, 5))
    g = _call.array("cam", "gradients", gradients, like=a)
    if a.shape != g.shape:
        raise ValueError(f"cam: gradients: expected shape {a.shape} like the activations, got {g.shape}")
    axis = _channel_axis(a, channel_axis)
    if 0 in a.shape[1:]:
        raise ValueError(f"cam: activations: expected sizes of at least 1 on all axes but the batch, got {a.shape}")
    if axis not in (1, a.ndim - 1):
        a, g = (np.ascontiguousarray(np.moveaxis(v, axis, 1)) for v in (a, g))
        axis = 1
    key = (method, record.name, tuple(sorted(options.items())), a.shape[1:], a.dtype.char, axis, _call.isa)
    plan = _plans.get(key, lambda: _compile(method, compat, options, a, axis))
    raw = plan.run((a, g), a.shape[0], resolve_threads(num_threads))[0]
    remove = (record.relu and method not in record.relu_exempt) if relu is None else relu
    return np.where(raw < 0, raw.dtype.type(0), raw) if remove else raw


def _channel_axis(array: Floats, channel_axis: int) -> int:
    if not isinstance(channel_axis, int | np.integer) or not -array.ndim <= channel_axis < array.ndim or channel_axis % array.ndim == 0:
        raise ValueError(f"cam: channel_axis: expected an axis of the {array.ndim} other than the batch axis 0, got {channel_axis!r}")
    return int(channel_axis) % array.ndim


def _compile(method: str, compat: str, options: dict[str, Any], array: Floats, axis: int) -> Plan:
    g = Builder(array.dtype)
    shape = (1, *array.shape[1:])
    nodes = find_method("cam", method).function(
        CamBuilder(g, g.input("activations", shape), g.input("gradients", shape), axis, compat_mode(compat)), **options
    )
    g.graph.outputs = [nodes.raw]
    return compile_plan(prune(g.graph), array.dtype)


def grad_cam(activations: ArrayLike, gradients: ArrayLike, **keywords: Any) -> Floats:
    """Grad-CAM (Selvaraju et al. 2017) of arrays; keywords as in `gradcam.cam`."""
    return cam(activations, gradients, method="gradcam", **keywords)


def grad_cam_plus_plus(activations: ArrayLike, gradients: ArrayLike, **keywords: Any) -> Floats:
    """Grad-CAM++ (Chattopadhay et al. 2018) of arrays; keywords as in `gradcam.cam`."""
    return cam(activations, gradients, method="gradcam++", **keywords)


def xgrad_cam(activations: ArrayLike, gradients: ArrayLike, **keywords: Any) -> Floats:
    """XGrad-CAM (Fu et al. 2020) of arrays; keywords as in `gradcam.cam`."""
    return cam(activations, gradients, method="xgradcam", **keywords)


def hires_cam(activations: ArrayLike, gradients: ArrayLike, **keywords: Any) -> Floats:
    """HiResCAM (Draelos and Carin 2020) of arrays; keywords as in `gradcam.cam`."""
    return cam(activations, gradients, method="hirescam", **keywords)


def layer_cam(activations: ArrayLike, gradients: ArrayLike, **keywords: Any) -> Floats:
    """LayerCAM (Jiang et al. 2021) of arrays; keywords as in `gradcam.cam`."""
    return cam(activations, gradients, method="layercam", **keywords)
