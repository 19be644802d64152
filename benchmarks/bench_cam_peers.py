"""What bench_cam.py measures beside the package: formulas in NumPy and in torch, and pytorch-grad-cam's functions. All signed maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np

try:
    import torch
except ImportError:
    torch = None  # type: ignore[assignment]

Pairs = Iterator[tuple[np.ndarray, np.ndarray]]
Formula = Callable[[Any, Any], Any]

# --- NumPy, float32; sums over channels as matrix products


def _flat(v: np.ndarray) -> np.ndarray:
    return v.reshape(*v.shape[:2], -1)


def _np_combine(weights: np.ndarray, a: np.ndarray) -> np.ndarray:
    return (weights[:, None] @ _flat(a)).reshape(a.shape[0], *a.shape[2:])


def _np_plus_plus(a: np.ndarray, g: np.ndarray) -> np.ndarray:
    square = g * g
    share = square / (2 * square + a.sum((2, 3), keepdims=True) * square * g + np.float32(1e-6))
    return _np_combine((np.maximum(g, 0) * np.where(g != 0, share, 0)).sum((2, 3)), a)


def _np_fem(a: np.ndarray, g: np.ndarray) -> np.ndarray:
    bound = a.mean((2, 3), keepdims=True) + 2 * a.std((2, 3), keepdims=True)
    return _np_combine((a > bound).mean((2, 3), dtype=np.float32), a)


def _np_first_component(b: np.ndarray) -> np.ndarray:
    x = _flat(b)
    x = x - x.mean(2, keepdims=True)
    _, s, vt = np.linalg.svd(x, full_matrices=False)
    return (s[:, :1] * vt[:, 0]).reshape(b.shape[0], *b.shape[2:])


NUMPY: dict[str, Formula] = {
    "gradcam": lambda a, g: _np_combine(g.mean((2, 3)), a),
    "gradcam++": _np_plus_plus,
    "xgradcam": lambda a, g: _np_combine((g * a).sum((2, 3)) / (a.sum((2, 3)) + np.float32(1e-7)), a),
    "hirescam": lambda a, g: (g * a).sum(1),
    "elementwise": lambda a, g: np.maximum(g * a, 0).sum(1),
    "layercam": lambda a, g: (np.maximum(g, 0) * a).sum(1),
    "eigencam": lambda a, g: _np_first_component(a),
    "eigengradcam": lambda a, g: _np_first_component(g * a),
    "fem": _np_fem,
}

# --- torch: eager as the formula is written, and with the sum over channels as a matrix product


def _torch_sum(weights: Any, a: Any) -> Any:
    return (weights * a).sum(1)


def _torch_product(weights: Any, a: Any) -> Any:
    return torch.bmm(weights.flatten(1)[:, None], a.flatten(2)).reshape(a.shape[0], *a.shape[2:])


def _torch_plus_plus(a: Any, g: Any) -> Any:
    share = g.pow(2) / (2 * g.pow(2) + a.sum((2, 3), keepdim=True) * g.pow(3) + 1e-6)
    return (g.relu() * torch.where(g != 0, share, 0)).sum((2, 3), keepdim=True)


def _torch_xgrad(a: Any, g: Any) -> Any:
    return (g * a).sum((2, 3), keepdim=True) / (a.sum((2, 3), keepdim=True) + 1e-7)


def _torch_fem(a: Any, g: Any) -> Any:
    bound = a.mean((2, 3), keepdim=True) + 2 * a.std((2, 3), correction=0, keepdim=True)
    return (a > bound).float().mean((2, 3), keepdim=True)


def _torch_first_component(b: Any) -> Any:
    x = b.flatten(2)
    _, s, vt = torch.linalg.svd(x - x.mean(2, keepdim=True), full_matrices=False)
    return (s[:, :1] * vt[:, 0]).reshape(b.shape[0], *b.shape[2:])


TORCH_WEIGHTS: dict[str, Formula] = {
    "gradcam": lambda a, g: g.mean((2, 3), keepdim=True),
    "gradcam++": _torch_plus_plus,
    "xgradcam": _torch_xgrad,
    "fem": _torch_fem,
}
TORCH_MAPS: dict[str, Formula] = {
    "hirescam": lambda a, g: (g * a).sum(1),
    "elementwise": lambda a, g: (g * a).relu().sum(1),
    "layercam": lambda a, g: (g.relu() * a).sum(1),
    "eigencam": lambda a, g: _torch_first_component(a),
    "eigengradcam": lambda a, g: _torch_first_component(g * a),
}

PYTORCH_GRAD_CAM = {
    "gradcam": "grad_cam.GradCAM",
    "gradcam++": "grad_cam_plusplus.GradCAMPlusPlus",
    "xgradcam": "xgrad_cam.XGradCAM",
    "hirescam": "hirescam.HiResCAM",
    "elementwise": "grad_cam_elementwise.GradCAMElementWise",
    "layercam": "layer_cam.LayerCAM",
    "eigencam": "eigen_cam.EigenCAM",
    "eigengradcam": "eigen_grad_cam.EigenGradCAM",
    "fem": "fem.FEM",
}
METHODS = list(PYTORCH_GRAD_CAM)
SLOW_FACTORISATION = ("eigencam", "eigengradcam")
"""Methods whose peers decompose picture after picture, in seconds each: a batch says nothing that one picture does not."""


def _numpy_peer(method: str) -> Callable[[Pairs], Callable[[], Any]]:
    return lambda pairs: lambda: NUMPY[method](*next(pairs))


def _pytorch_grad_cam_peer(method: str) -> Callable[[Pairs], Callable[[], Any]] | None:
    module, name = PYTORCH_GRAD_CAM[method].split(".")
    try:
        kind = getattr(import_module(f"pytorch_grad_cam.{module}"), name)
    except ImportError:
        return None
    instance = object.__new__(kind)  # the functions that turn arrays into maps use no model
    instance.k = 2  # FEM's default
    instance.activations_and_grads = SimpleNamespace(release=lambda: None)

    def bind(pairs: Pairs) -> Callable[[], Any]:
        def call() -> Any:
            a, g = next(pairs)
            return instance.get_cam_image(None, None, None, a, g, False)

        return call

    return bind


def _torch_peer(formula: Formula | None) -> Callable[[Pairs], Callable[[], Any]] | None:
    if torch is None or formula is None:
        return None

    def bind(pairs: Pairs) -> Callable[[], Any]:
        def call() -> Any:
            a, g = next(pairs)
            with torch.inference_mode():
                return formula(torch.from_numpy(a), torch.from_numpy(g))

        return call

    return bind


def _with(combine: Formula, method: str) -> Formula | None:
    weights = TORCH_WEIGHTS.get(method)
    return None if weights is None else lambda a, g: combine(weights(a, g), a)


PEERS: dict[str, Callable[[str], Callable[[Pairs], Callable[[], Any]] | None]] = {
    "NumPy": _numpy_peer,
    "pytorch-grad-cam": _pytorch_grad_cam_peer,
    "torch": lambda method: _torch_peer(TORCH_MAPS.get(method) or _with(_torch_sum, method)),
    "torch, bmm": lambda method: _torch_peer(_with(_torch_product, method)),
}


def check_values(what: str, method: str, got: Any, wanted: np.ndarray) -> None:
    """Fail if a contender computes something else (a singular vector has no sign)."""
    got = np.asarray(got, np.float64)
    if method in SLOW_FACTORISATION:
        axes = tuple(range(1, got.ndim))
        got = got * np.sign((got * wanted).sum(axes, keepdims=True))
    error = np.abs(got - wanted).max() / np.abs(wanted).max()
    if not error < 1e-3:
        raise SystemExit(f"{what}: differs from ours by {error:.1e} of the largest value")


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def torch_threads(count: int) -> AbstractContextManager[None]:
    """Let torch use so many threads within a block."""
    return nullcontext() if torch is None else _threads(count)
