"""What an explanation holds, and how it shows itself."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradcam.compat import mode as compat_mode
from gradcam.errors import require
from gradcam.files import write_bytes
from gradcam.postprocessing import flags as find_flags
from gradcam.postprocessing import postprocess, warn_blank
from gradcam.render.overlay import as_rgb, overlay
from gradcam.targets import ClassScore, Target

if TYPE_CHECKING:
    from gradcam.preprocess import Preprocess

__all__ = ["Explanation"]


@dataclass(eq=False)
class Explanation:
    """Class-activation maps of a batch, or of one picture. Iterable over the batch.

    Attributes
    ----------
    raw : ndarray, shape (N, *layer size)
        Signed map at the layer's resolution. Without the batch axis if the model was called with one bare picture; the same
        holds for the other arrays.
    map : ndarray, shape (N, *size)
        Finished map in the order of the compatibility mode: `paper` [0, 1] at the input's size.
    weights : ndarray, shape (N, C), or None
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
        `numerics`: ``all_negative``, ``zero``, ``constant``, ``nonfinite``, ``degenerate_channels``.
    """

    raw: NDArray[Any]
    weights: NDArray[Any] | None
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
    image: NDArray[np.uint8] | None = None
    preprocess: Preprocess | None = None

    def __post_init__(self) -> None:
        """Drop the batch axis where the caller's picture had none."""
        self._batch = self.raw, self.weights, self.score
        if self.squeeze:
            self.raw, self.score = self.raw[0], self.score[0]
            self.weights = None if self.weights is None else self.weights[0]

    def __repr__(self) -> str:
        what = self.title(0) if len(self) else "nothing"
        return f"<gradcam.Explanation {self.method} of {what} at '{self.layer}', {len(self)} picture(s), raw map {self.raw.shape}>"

    def __len__(self) -> int:
        return len(self._batch[0])

    def __iter__(self) -> Iterator[Explanation]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, picture: int) -> Explanation:
        """Return the explanation of one picture, without a batch axis."""
        i = range(len(self))[picture]
        raw, weights, score = (None if a is None else a[i : i + 1] for a in self._batch)
        degenerate = None if self.degenerate is None else self.degenerate[i : i + 1]
        assert raw is not None
        assert score is not None
        return replace(self, raw=raw, weights=weights, score=score, target=self.target[i : i + 1], squeeze=True, degenerate=degenerate)

    @cached_property
    def map(self) -> NDArray[Any]:
        """Finished map."""
        mode = compat_mode(self.compat)
        size = self.size if mode.output == "input" else None
        finished = postprocess(self._batch[0], size, compat=self.compat, relu=self.relu, method=self.method)
        return finished[0] if self.squeeze else finished

    @cached_property
    def flags(self) -> dict[str, NDArray[Any]]:
        """What is remarkable about each raw map."""
        found = find_flags(self._batch[0])
        if self.degenerate is not None:
            found["degenerate_channels"] = np.count_nonzero(self.degenerate, axis=1)
        return found

    def warn(self, function: str) -> None:
        """Issue at most one BlankMapWarning and one NonFiniteWarning."""
        mode = compat_mode(self.compat)
        relu = (mode.relu and self.method not in mode.relu_exempt) if self.relu is None else self.relu
        if len(self):
            warn_blank(self.flags, relu=relu, function=function, stacklevel=4)

    def title(self, picture: int = 0) -> str:
        """Name what was explained in one picture, for people."""
        target = self.target[picture]
        if isinstance(target, ClassScore) and isinstance(target.c, int):
            name = self.labels.get(target.c)
            return f"class {target.c}" + (f" '{name}'" if name is not None and name != str(target.c) else "")
        return type(target).__name__

    # Pictures ------------------------------------------------------------------------------------------------------

    def overlay(
        self, image: NDArray[Any] | None = None, *, alpha: float = 0.5, cmap: str = "viridis", picture: int = 0
    ) -> NDArray[np.uint8]:
        """Draw the finished map of one picture over an image.

        Parameters
        ----------
        image : ndarray, shape (H, W, 3) or (H, W), optional
            uint8, or real numbers in [0, 1]. By default the photo that was explained, if it is known; else the map alone.
        alpha : float
            Weight of the map.
        cmap : str
            Colour table.
        picture : int
            Which picture of the batch.

        Returns
        -------
        ndarray of uint8, shape (H, W, 3)
        """
        finished = self.map if self.squeeze else self.map[picture]
        if finished.ndim != 2:
            raise ValueError(f"overlay: map: expected a map with two axes, got {finished.shape}")
        if image is not None:
            return overlay(image, finished, alpha=alpha, cmap=cmap)
        if self.image is None:
            return overlay(np.zeros((*finished.shape, 3), np.uint8), finished, alpha=1.0, cmap=cmap)
        if self.preprocess is None:
            return overlay(self.image, finished, alpha=alpha, cmap=cmap)
        photo = as_rgb("overlay", self.image)
        finished = self.preprocess.place(finished, photo.shape[:2])
        drawn = overlay(photo, finished, alpha=alpha, cmap=cmap)
        return np.where(np.isnan(finished)[..., None], photo, drawn)

    def plot(self, ax: Any = None, *, picture: int = 0) -> Any:
        """Draw one picture with matplotlib and return the axes.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.
        picture : int
            Which picture of the batch.
        """
        if ax is None:
            ax = require("matplotlib.figure", "plot").Figure().subplots()
        ax.imshow(self.overlay(picture=picture))
        ax.set_title(f"{self.title(picture)}, {self.method}")
        ax.set_axis_off()
        return ax

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the pictures (``.png``) or the arrays (``.npz``); never half a file.

        Parameters
        ----------
        path : path
            ``.png``: the overlay of the first picture. ``.npz``: map, raw, weights, score, target, layer, method, compat.

        Raises
        ------
        ValueError
            Another suffix.
        """
        import io

        suffix = Path(path).suffix.lower()
        if suffix == ".png":
            write_bytes(path, self._repr_png_())
        elif suffix == ".npz":
            buffer = io.BytesIO()
            np.savez(buffer, **self.arrays())
            write_bytes(path, buffer.getvalue())
        else:
            raise ValueError(f"save: path: expected a name that ends in .png or .npz, got '{path}'")

    def arrays(self) -> dict[str, Any]:
        """Everything as arrays, as `save` writes it."""
        weights = np.empty(0) if self.weights is None else self.weights
        titles = np.asarray([self.title(i) for i in range(len(self))])
        names = {"layer": np.asarray(self.layer), "method": np.asarray(self.method), "compat": np.asarray(self.compat)}
        return {"map": self.map, "raw": self.raw, "weights": weights, "score": self.score, "target": titles, **names}

    def _repr_png_(self) -> bytes:
        """Show the first picture in a notebook."""
        from gradcam.render.figure import encode_png

        return encode_png(self.overlay())
