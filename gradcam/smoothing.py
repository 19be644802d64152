"""Explanations from several runs of one network: noisy inputs, and flipped and scaled ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.compat import Mode
from gradcam.explanation import Explanation
from gradcam.graph.explain_graph import Layer
from gradcam.runs import Job, gradients_of
from gradcam.session import Bound, Session
from gradcam.targets import Target

__all__ = ["augmented", "average", "draw_noise", "noisy_operands"]

_FACTORS = (0.9, 1.0, 1.1)


def draw_noise(caller: str, options: Mapping[str, Any], session: Session, bound: Bound) -> NDArray[Any]:
    """Noise of shape (samples, N, ...) for the only input: `noise` as it is, or draws in float64 from `rng`.

    Omeiza et al. 2019; torchcam's defaults: four samples, standard deviation 0.3 in units of the input.
    """
    if len(bound.arrays) != 1:
        raise ValueError(f"{caller}: x: expected a model of one input for noise, got {len(bound.arrays)} inputs")
    x = bound.arrays[0]
    if options.get("noise") is not None:
        noise = np.asarray(options["noise"])
        if noise.dtype.kind != "f" or noise.ndim != x.ndim + 1 or noise.shape[1:] != x.shape or not len(noise):
            raise ValueError(
                f"{caller}: noise: expected real numbers of shape (samples, {', '.join(map(str, x.shape))}), got {noise.shape}"
            )
    else:
        samples, std = options.get("samples", 4), options.get("std", 0.3)
        if not isinstance(samples, int | np.integer) or samples < 1:
            raise ValueError(f"{caller}: samples: expected a positive integer, got {samples!r}")
        if not np.isfinite(std) or std < 0:
            raise ValueError(f"{caller}: std: expected a number of at least 0, got {std!r}")
        session.allow(caller, f"samples: noise for {samples} copies", 8 * samples * x.size)
        noise = np.random.default_rng(options.get("rng")).standard_normal((samples, *x.shape)) * std
    return noise.astype(x.dtype, copy=False)


def noisy_operands(
    job: Job, row: Sequence[Target], noise: NDArray[Any], batch_size: int | None = None
) -> tuple[dict[str, NDArray[Any]], ...]:
    """Gradients at each layer for every noisy copy of the input, and the activations of the last one where the mode wants them.

    Copies are run together as the pictures of a batch, `batch_size` at most and no more than the memory allows.
    """
    x, (count, pictures) = job.bound.arrays[0], noise.shape[:2]
    operands = []
    for layer in job.layers:
        samples = np.empty((pictures, count, *layer.shape[1:]), x.dtype)
        last = np.empty((pictures, *layer.shape[1:]), x.dtype)
        size = _copies_at_once(job, layer, batch_size or count * pictures)
        for start in range(0, count * pictures, size):
            sample, picture = np.divmod(np.arange(start, min(start + size, count * pictures)), pictures)
            bound = replace(job.bound, arrays=[x[picture] + noise[sample, picture]], pictures=len(picture))
            activations, gradients = gradients_of(replace(job, bound=bound, layers=(layer,)), [row[i] for i in picture])
            samples[picture, sample] = layer.arrange(gradients)
            final = sample == count - 1
            last[picture[final]] = layer.arrange(activations)[final]
        operands.append({"gradient_samples": samples} | ({"last_activations": last} if job.mode.smooth_gradcam_pp == "last" else {}))
    return tuple(operands)


def _copies_at_once(job: Job, layer: Layer, wanted: int) -> int:
    """Noisy copies in one run: one where pictures mix, else those whose inputs and collected results fill half of the memory."""
    if not job.bound.forward.per_picture:
        return 1
    if job.session.max_bytes is None:
        return max(1, wanted)
    each = job.bound.arrays[0].dtype.itemsize * (prod(job.bound.arrays[0].shape[1:]) + 4 * prod(layer.value.shape))
    return max(1, min(wanted, job.session.max_bytes // (2 * each)))


def augmented(bound: Bound) -> Iterator[tuple[bool, Bound]]:
    """Inputs as they are and flipped left to right, each multiplied by 0.9, 1 and 1.1 (pytorch-grad-cam); whether they are flipped."""
    axes = [_last_space(bound, i) for i in range(len(bound.arrays))]
    for flipped in (False, True):
        turned = [np.flip(a, axis) if flipped and axis else a for a, axis in zip(bound.arrays, axes, strict=True)]
        for factor in _FACTORS:
            arrays = [np.ascontiguousarray(a * a.dtype.type(factor)) for a in turned]
            yield flipped, replace(bound, arrays=arrays) if flipped or factor != 1 else bound


def _last_space(bound: Bound, number: int) -> int:
    """Last spatial axis of an input; 0 if it has none."""
    value = bound.forward.graph.inputs[number]
    if len(value.shape) < 3:
        return 0
    return len(value.shape) - 1 if bound.forward.channel_axis(value) == 1 else len(value.shape) - 2


def average(make: Callable[..., Explanation], passes: Sequence[list[NDArray[Any]]], mode: Mode) -> Explanation:
    """Explanation whose maps are means over the passes.

    Parameters
    ----------
    make : callable
        Makes the explanation from raw maps, one per layer, and optionally the finished map.
    passes : sequence of list of ndarray
        Raw maps of each pass.
    """
    raws = [_mean(maps) for maps in zip(*passes, strict=True)]
    plain = make(raws)
    if mode.augmented == "finished":
        return make(raws, _mean([make(maps).finish(maps) for maps in passes]))
    return make(raws, plain.finish([_mean([plain.stage(m) for m in maps]) for maps in zip(*passes, strict=True)]))


def _mean(maps: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.asarray(np.mean(maps, axis=0, dtype=np.float64)).astype(maps[0].dtype)
