"""What an explanation holds, and how it shows itself."""

from __future__ import annotations

import operator
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradcam.compat import mode as compat_mode
from gradcam.errors import BlankMapWarning, require
from gradcam.files import write_bytes
from gradcam.methods.projection import SIGN_RULES
from gradcam.postprocessing import flags as find_flags
from gradcam.postprocessing import plainly_alive, postprocess, warn_blank
from gradcam.render.figure import encode_png
from gradcam.render.montage import Slices, pictured
from gradcam.render.overlay import as_rgb, draw_alone, overlay
from gradcam.sign_diagnosis import BLANK, SignContext
from gradcam.sign_facts import SignFacts, measure
from gradcam.sign_report import SignReport
from gradcam.sign_runs import other_maps, saturation
from gradcam.targets import ClassScore, Target

if TYPE_CHECKING:
    from gradcam.preprocess import Preprocess

__all__ = ["Explanation", "Probe"]

Probe = Callable[[Any], tuple[NDArray[Any], NDArray[Any]]]
"""Activations and gradients (N, C, *S) of a target: one for all pictures, a list with one each, or None for those explained."""


@dataclass(eq=False)
class Explanation:
    """Class-activation maps of a batch, or of one picture. Iterable over the batch.

    Attributes
    ----------
    raw : ndarray, shape (N, *layer size), or list of them
        Signed map at the layer's resolution; a list for several layers. Without the batch axis if the model was called with
        one bare picture; the same holds for the other arrays.
    map : ndarray, shape (N, *size)
        Finished map in the order of the compatibility mode: `paper` [0, 1] at the input's size.
    weights : ndarray, shape (N, C), list of them, or None
        Channel weights, of methods that have them.
    score : ndarray, shape (N,)
        The scalar that was explained.
    target : tuple of Target
        What was explained, one per picture.
    layer, method, compat : str
        How.
    logit : bool
        The score stands before a final Softmax, LogSoftmax or Sigmoid of the model.
    flags : dict of ndarray, shape (N,)
        `numerics`: ``all_negative``, ``zero``, ``constant``, ``nonfinite``, ``degenerate_channels``, and of the eigen
        methods ``sign`` (the rule that decided it: energy, extreme, tie or match) and ``not_unique``. Of several layers, blank flags
        hold where they hold for all, and the numbers are sums.
    probe : callable, optional
        Runs the model again for activations and gradients of the layer; `signs` needs it.
    classes : int, optional
        Number of classes of the explained output.
    measured : (ndarray, ndarray), optional
        Activations and gradients (N, C, *layer size), kept for `signs` where ``Model.explain(..., signs=True)`` asked for it.
    input : ndarray, shape (N, C, *S), optional
        Signals or volumes that were explained, as they were given (a view): what `overlay` draws the map over.
    attributions : ndarray, shape (N, C, *S), optional
        Of methods that attribute the score to every number of the input: signed, channels first; `raw` is the sum over the channels.
    """

    raw: NDArray[Any] | list[NDArray[Any]]
    weights: NDArray[Any] | list[NDArray[Any]] | None
    score: NDArray[Any]
    target: tuple[Target, ...]
    layer: str
    method: str
    compat: str
    size: tuple[int, ...] | None = None
    relu: bool | None = None
    squeeze: bool = False
    labels: Mapping[int, str] = field(default_factory=dict)
    logit: bool = False
    degenerate: NDArray[Any] | None = None
    eigen: NDArray[Any] | None = None
    aggregate: str | None = None
    finished: NDArray[Any] | None = None
    image: NDArray[np.uint8] | None = None
    preprocess: Preprocess | None = None
    probe: Probe | None = field(default=None, repr=False, compare=False)
    classes: int | None = None
    measured: tuple[NDArray[Any], NDArray[Any]] | None = field(default=None, repr=False)
    input: NDArray[Any] | None = field(default=None, repr=False)
    attributions: NDArray[Any] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Drop the batch axis where the caller's picture had none."""
        self._batch = self.raw, self.weights, self.score, self.attributions
        if self.squeeze:
            self.raw, self.weights, self.score, self.attributions = (_each(operator.itemgetter(0), a) for a in self._batch)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the model behind: a copy in another process cannot run it."""
        return vars(self) | {"probe": None}

    def __repr__(self) -> str:
        what = self.title(0) if len(self) else "nothing"
        shape = ", ".join(str(raw.shape) for raw in (self.raw if isinstance(self.raw, list) else [self.raw]))
        return f"<gradcam.Explanation {self.method} of {what} at '{self.layer}', {len(self)} picture(s), raw map {shape}>"

    def __len__(self) -> int:
        return len(self._batch[2])

    def __iter__(self) -> Iterator[Explanation]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, picture: int) -> Explanation:
        """Return the explanation of one picture, without a batch axis."""
        i = range(len(self))[picture]
        raw, weights, score, attributions = (_each(operator.itemgetter(slice(i, i + 1)), a) for a in self._batch)
        names = ("degenerate", "eigen", "finished", "input")
        measured = None if self.measured is None else (self.measured[0][i : i + 1], self.measured[1][i : i + 1])
        rows: dict[str, Any] = {name: None if (a := getattr(self, name)) is None else a[i : i + 1] for name in names}
        return replace(
            self,
            raw=raw,
            weights=weights,
            score=score,
            attributions=attributions,
            target=self.target[i : i + 1],
            squeeze=True,
            measured=measured,
            probe=None if self.probe is None else partial(_probe_row, self.probe, i),
            **rows,
        )

    @property
    def _raws(self) -> list[NDArray[Any]]:
        raw = self._batch[0]
        return raw if isinstance(raw, list) else [raw]

    @cached_property
    def map(self) -> NDArray[Any]:
        """Finished map."""
        finished = self.finish(self._raws) if self.finished is None else self.finished
        return finished[0] if self.squeeze else finished

    def finish(self, raws: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Finish raw maps, one per layer with a batch axis, as this explanation's own."""
        size = self.size if compat_mode(self.compat).output == "input" else None
        return postprocess(raws, size, compat=self.compat, relu=self.relu, aggregate=self.aggregate, method=self.method)

    def stage(self, raw: NDArray[Any]) -> NDArray[Any]:
        """Take raw maps of one layer through ReLU and resize, not through normalisation."""
        return postprocess(raw, self.size, compat=self.compat, relu=self.relu, normalize="none")

    @cached_property
    def flags(self) -> dict[str, NDArray[Any]]:
        """What is remarkable about each raw map."""
        each = [find_flags(raw) for raw in self._raws]
        found = {name: (np.sum if name == "nonfinite" else np.all)([one[name] for one in each], axis=0) for name in each[0]}
        if self.degenerate is not None:
            found["degenerate_channels"] = np.count_nonzero(self.degenerate, axis=1)
        if self.eigen is not None:
            rules = np.where(np.isfinite(self.eigen[:, 0]), self.eigen[:, 0], 0).astype(int)
            found["sign"] = np.asarray(SIGN_RULES)[rules]
            found["not_unique"] = self.eigen[:, 1] > 0
        return found

    def warn(self, function: str, told: set[tuple[str, str, str]] | None = None) -> None:
        """Issue at most one BlankMapWarning and one NonFiniteWarning.

        Parameters
        ----------
        told : set, optional
            Layers, methods and targets whose blank maps were explained before: why costs another run of the model.
        """
        if not len(self) or (self.eigen is None and all(map(plainly_alive, self._raws))):
            return
        relu = compat_mode(self.compat).removes_negative(self.method, self.relu)
        found = self.flags
        blank = found["zero"] | (found["all_negative"] | found["constant"]) & relu
        key = self.layer, self.method, str(self.target[int(np.argmax(blank))])
        known = told is not None and key in told
        if blank.any() and told is not None:
            told.add(key)
        if blank.any() and not known and (why := self._why_blank(int(np.argmax(blank)))):
            others = int(np.count_nonzero(blank)) - 1
            which = f"image {int(np.argmax(blank))}" + (f" and {others} more" if others else "")
            warnings.warn(f"{function}: blank map of {which}: {why}", BlankMapWarning, stacklevel=4)
            found = found | {name: np.zeros_like(blank) for name in ("zero", "all_negative", "constant")}
        hint = ": an earlier warning and signs() tell why" if known else ""
        warn_blank(found, relu=relu, function=function, hint=hint, stacklevel=4)
        if np.any(found.get("not_unique", False)):
            text = f"{function}: the two largest singular values agree: the map of '{self.method}' is not unique"
            warnings.warn(text, UserWarning, stacklevel=4)

    def _why_blank(self, picture: int) -> str:
        """Diagnosis of one picture as a text; empty if none can be made."""
        if self.probe is None or not isinstance(self._batch[0], np.ndarray):
            return ""
        try:
            findings = self[picture].signs(compare=False).diagnosis
        except Exception:  # the maps are done: whatever the model says to a second run, they are returned
            return ""
        return " ".join(f"{d.text} Try: {d.advice}" for d in findings if d.kind in BLANK)

    def signs(self, *, compare: bool = True) -> SignReport:
        """Explain where the sign of the map comes from; runs the model again for what `Model.explain` did not keep.

        Parameters
        ----------
        compare : bool
            Whether to compare with the maps of one or two other classes, which takes a run for each of them.

        Returns
        -------
        SignReport
            Of Grad-CAM's map at this layer, or of HiResCAM's if that is the method.

        Raises
        ------
        ValueError
            The explanation was not made by a model, or of several layers.
        """
        if not isinstance(self._batch[0], np.ndarray):
            raise ValueError(f"signs: layer: expected one layer at a time, got {len(self._batch[0])}")
        if self.probe is None:
            raise ValueError(
                "signs: expected an explanation that a model made, which can be run again for activations and gradients, "
                "got one without a model: use gradcam.signs(activations, gradients)"
            )
        facts = self._measure(None)
        probability, logit_gradient = saturation(self._batch[2], self.target, self.logit, self._measure)
        context = SignContext(
            titles=tuple(self.title(i) for i in range(len(self))),
            scores=self._batch[2],
            probability=probability,
            logit_gradient=logit_gradient,
            others=other_maps(self.target, self.classes, self._measure) if compare else (),
            layer=self.layer,
            image=self.image,
        )
        return SignReport(facts, context, self.squeeze)

    def _measure(self, target: Any) -> SignFacts:
        assert self.probe is not None
        arrays = self.measured if target is None and self.measured is not None else self.probe(target)
        return measure("signs", *arrays, weighting="hirescam" if self.method == "hirescam" else "gradcam")

    def title(self, picture: int = 0) -> str:
        """Name what was explained in one picture, for people."""
        target = self.target[picture]
        if isinstance(target, ClassScore) and isinstance(target.c, int):
            name = self.labels.get(target.c)
            return f"class {target.c}" + (f" '{name}'" if name is not None and name != str(target.c) else "")
        return type(target).__name__

    # Pictures ------------------------------------------------------------------------------------------------------

    def overlay(
        self,
        image: NDArray[Any] | None = None,
        *,
        alpha: float = 0.5,
        cmap: str | None = None,
        picture: int = 0,
        slices: Slices = None,
    ) -> NDArray[np.uint8]:
        """Draw the finished map of one picture over an image, a volume or a signal.

        Parameters
        ----------
        image : ndarray, optional
            As in `gradcam.overlay`. By default the photo that was explained, if it is known; the volume or signal that was
            explained; else the map alone.
        alpha : float
            Weight of the map.
        cmap : str, optional
            Colour table, see `gradcam.overlay`; by default a signed map is drawn with a diverging one.
        picture : int
            Which picture of the batch.
        slices : int or sequence of int, optional
            Of a volume or video: how many slices, or which, see `gradcam.overlay`.

        Returns
        -------
        ndarray of uint8, shape (H, W, 3)
        """
        finished = self.map if self.squeeze else self.map[picture]
        image = self.image if image is None else image
        if image is None and self.input is not None:
            seen = self.input[0 if self.squeeze else picture]
            image = seen if finished.ndim == 1 else pictured(seen)
        elif image is self.image and image is not None and self.preprocess is not None:
            return self._on_photo(finished, image, alpha, cmap)
        if image is None:
            return draw_alone(finished, cmap, slices)
        return overlay(image, finished, alpha, cmap, slices=slices)

    def _on_photo(self, finished: NDArray[Any], image: NDArray[Any], alpha: float, cmap: str | None) -> NDArray[np.uint8]:
        """Draw the map where the model looked; the rest of the photo stays as it is."""
        assert self.preprocess is not None
        photo = as_rgb("overlay", image)
        finished = self.preprocess.place(finished, photo.shape[:2])
        drawn = overlay(photo, finished, alpha=alpha, cmap=cmap)
        return np.where(np.isnan(finished)[..., None], photo, drawn)

    def plot(self, ax: Any = None, *, picture: int = 0, slices: Slices = None) -> Any:
        """Draw one picture with matplotlib and return the axes.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.
        picture : int
            Which picture of the batch.
        slices : int or sequence of int, optional
            As in `overlay`.
        """
        if ax is None:
            ax = require("matplotlib.figure", "plot").Figure().subplots()
        ax.imshow(self.overlay(picture=picture, slices=slices))
        ax.set_title(f"{self.title(picture)}, {self.method}")
        ax.set_axis_off()
        return ax

    def save(self, path: str | os.PathLike[str], *, slices: Slices = None) -> None:
        """Write the pictures (``.png``) or the arrays (``.npz``); never half a file.

        Parameters
        ----------
        path : path
            ``.png``: the overlay of the first picture. ``.npz``: map, raw, weights, score, target, layer, method, compat.
        slices : int or sequence of int, optional
            As in `overlay`.

        Raises
        ------
        ValueError
            Another suffix.
        """
        import io

        suffix = Path(path).suffix.lower()
        if suffix == ".png":
            write_bytes(path, self._repr_png_(slices))
        elif suffix == ".npz":
            buffer = io.BytesIO()
            np.savez(buffer, **self.arrays())
            write_bytes(path, buffer.getvalue())
        else:
            raise ValueError(f"save: path: expected a name that ends in .png or .npz, got '{path}'")

    def arrays(self) -> dict[str, Any]:
        """Everything as arrays, as `save` writes it; of several layers as ``raw.0``, ``raw.1``, ..."""
        titles = np.asarray([self.title(i) for i in range(len(self))])
        names = {"layer": np.asarray(self.layer), "method": np.asarray(self.method), "compat": np.asarray(self.compat)}
        several = _numbered("raw", self.raw) | _numbered("weights", np.empty(0) if self.weights is None else self.weights)
        several |= {} if self.attributions is None else {"attributions": self.attributions}
        return {"map": self.map, **several, "score": self.score, "target": titles, **names}

    def _repr_png_(self, slices: Slices = None) -> bytes:
        """Show the first picture in a notebook."""
        return encode_png(self.overlay(slices=slices))


def _each(function: Callable[[Any], Any], arrays: Any) -> Any:
    """Apply a function to an array, to each of a list, or to nothing."""
    if isinstance(arrays, list):
        return [function(a) for a in arrays]
    return None if arrays is None else function(arrays)


def _numbered(name: str, arrays: Any) -> dict[str, Any]:
    return {f"{name}.{i}": a for i, a in enumerate(arrays)} if isinstance(arrays, list) else {name: arrays}


def _probe_row(probe: Probe, picture: int, target: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Probe of one picture of a batch."""
    activations, gradients = probe(target[0] if isinstance(target, Sequence) and not isinstance(target, str) else target)
    return activations[picture : picture + 1], gradients[picture : picture + 1]
