"""CAM methods on arrays exported from any framework."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradcam.cache import Cache
from gradcam.compat import Mode
from gradcam.compat import mode as compat_mode
from gradcam.environment import resolve_threads
from gradcam.graph.builder import Builder
from gradcam.graph.compilation import compile_plan
from gradcam.graph.plan import Plan
from gradcam.methods import find_method
from gradcam.methods.base import Method, emit_cam, prepare_options
from gradcam.ops import _call
from gradcam.ops.cam import channel_arrays

__all__ = [
    "cam",
    "class_activation_map",
    "eigen_cam",
    "eigen_grad_cam",
    "elementwise_grad_cam",
    "fem",
    "grad_cam",
    "grad_cam_plus_plus",
    "hires_cam",
    "kpca_cam",
    "layer_cam",
    "random_cam",
    "seg_eigen_cam",
    "shapley_cam",
    "smooth_grad_cam_plus_plus",
    "xgrad_cam",
]

Floats = NDArray[np.floating[Any]]
_plans: Cache[Plan] = Cache(128)


def cam(
    activations: ArrayLike,
    gradients: ArrayLike | None = None,
    *,
    method: str = "gradcam",
    weights: ArrayLike | None = None,
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
        Values of the layer for N pictures, and the gradient of the explained score (of methods that need it); one to three
        spatial axes. float16 is widened to float32.
    method : str
        Name of a method, see `gradcam.list_methods`.
    weights : array_like, shape (C,) or (N, C), optional
        Channel weights of the methods that take them: ``"cam"``.
    relu : bool, optional
        Whether negative evidence is removed; as the compatibility mode does by default. False gives the signed raw map.
    channel_axis : int
        Axis of the channels: 1, or -1 for channels-last arrays (N, *S, C), which are read where they lie.
    compat : {"paper", "pytorch-grad-cam", "torchcam", "captum"}
        Whose numbers to reproduce.
    num_threads : int, optional
        See `gradcam.set_num_threads`.
    **options
        Options of the method; of all methods: `eigen_smooth` (project the channels on their first singular vector instead of
        adding them up) and `nan` (``"omit"`` leaves out channels that hold NaN or infinity).

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
    mode, found = compat_mode(compat), find_method("cam", method)
    if weights is not None:
        options["weights"] = weights
    found.check_options("cam", options)
    arrays, axis, given_axis = _arrays(found, activations, gradients, channel_axis)
    a = arrays[0]
    plain, operands = _options(found, options, a, axis, given_axis) if options or found.prepare else ({}, {})
    key = (
        method,
        mode.name,
        tuple(plain.items()) if plain else (),
        tuple([(name, array.shape[1:]) for name, array in operands.items()]) if operands else (),
        a.shape[1:],
        a.dtype.char,
        axis,
        _call.isa,
    )
    plan = _plans.get(key, partial(_compile, found, mode, plain, operands, arrays, axis))
    inputs = (*arrays, *map(np.ascontiguousarray, operands.values())) if operands else arrays
    raw, *eigen = plan.run(inputs, a.shape[0], resolve_threads(num_threads))
    if eigen and (eigen[0][:, 1] > 0).any():
        warnings.warn(f"cam: the two largest singular values agree: the map of '{method}' is not unique", UserWarning, stacklevel=2)
    if mode.removes_negative(method, relu):
        raw[raw < 0] = 0  # the array is ours; NaN and -0.0 pass through
    return raw


def _options(method: Method, options: Mapping[str, Any], a: Floats, axis: int, given_axis: int) -> tuple[dict[str, Any], dict[str, Floats]]:
    """Options and operands; those in the shape of the activations were given with the channels at `given_axis`."""
    shape = list(a.shape)
    shape.insert(given_axis, shape.pop(axis))
    plain, operands = prepare_options("cam", method, options, tuple(shape), given_axis, a.dtype)
    for name, array in operands.items():
        samples = {"activations": 0, "samples": 1}.get(method.operands[name])
        if samples is not None:
            operands[name] = np.moveaxis(array, given_axis + samples, axis + samples)
    return plain, operands


def _arrays(method: Method, activations: ArrayLike, gradients: ArrayLike | None, channel_axis: int) -> tuple[tuple[Floats, ...], int, int]:
    """Check the arrays; return those that the method needs, and where their channels are and were given."""
    if method.layerless or method.at_input:
        raise ValueError(f"cam: method: '{method.name}' needs a whole model, see gradcam.load and Model.explain")
    if "gradients" not in method.needs:
        return channel_arrays("cam", activations, channel_axis=channel_axis)
    if gradients is None:
        raise ValueError(f"cam: gradients: method '{method.name}' needs them")
    return channel_arrays("cam", activations, gradients, channel_axis=channel_axis)


def _compile(
    method: Method, mode: Mode, options: Mapping[str, Any], operands: Mapping[str, Floats], arrays: tuple[Floats, ...], axis: int
) -> Plan:
    g = Builder(arrays[0].dtype)
    shape = (1, *arrays[0].shape[1:])
    a, *gradients = (g.input(name, shape) for name, _ in zip(("activations", "gradients"), arrays, strict=False))
    given = {name: g.input(name, (1, *array.shape[1:])) for name, array in operands.items()}
    nodes = emit_cam(method, mode, g, a, gradients[0] if gradients else None, axis, options, given)
    g.graph.outputs = [nodes.raw] if nodes.eigen is None else [nodes.raw, nodes.eigen]
    return compile_plan(g.graph, arrays[0].dtype)


class _ArrayMethod(Protocol):
    """`cam` of one method."""

    def __call__(self, activations: ArrayLike, gradients: ArrayLike | None = None, **keywords: Any) -> Floats: ...


def _function(name: str) -> _ArrayMethod:
    """Make the function of a method of the registry: its name and formula, and `cam`'s arguments."""
    record = find_method("cam", name)

    def function(activations: ArrayLike, gradients: ArrayLike | None = None, **keywords: Any) -> Floats:
        return cam(activations, gradients, method=name, **keywords)

    function.__name__ = function.__qualname__ = record.function.__name__
    function.__doc__ = f"{record.function.__doc__}\n\n    {record.paper}. Arguments as in `gradcam.cam`, `method` apart.\n    "
    return function


class_activation_map = _function("cam")
eigen_cam = _function("eigencam")
eigen_grad_cam = _function("eigengradcam")
elementwise_grad_cam = _function("elementwise")
fem = _function("fem")
grad_cam = _function("gradcam")
grad_cam_plus_plus = _function("gradcam++")
hires_cam = _function("hirescam")
kpca_cam = _function("kpcacam")
layer_cam = _function("layercam")
random_cam = _function("randomcam")
seg_eigen_cam = _function("segeigencam")
shapley_cam = _function("shapleycam")
smooth_grad_cam_plus_plus = _function("smoothgradcam++")
xgrad_cam = _function("xgradcam")
