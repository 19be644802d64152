"""Trains a model: batches in a seeded order, one plan per step, an optimizer, checkpoints."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from gradcam.cache import Cache
from gradcam.environment import resolve_threads
from gradcam.errors import ModelFormatError, require
from gradcam.files import write_bytes
from gradcam.graph.ir import Shape
from gradcam.model import Model
from gradcam.readers.weights import read_weights
from gradcam.train.losses import LOSSES, Loss
from gradcam.train.optimizers import Adam, Optimizer
from gradcam.train.parameters import checked_names, parameter_names, statistics_of, with_weights
from gradcam.train.step import Step, StepResult, compile_step

__all__ = ["Trainer"]

Array = NDArray[Any]


class Trainer:
    """Training of a model. The same seeds give the same bits, for any number of threads.

    Parameters
    ----------
    model : Model
        Where it starts; see `gradcam.train.initialise`. It stays as it is.
    loss : str or Loss
        ``"softmax_cross_entropy"``, ``"sigmoid_cross_entropy"``, ``"mean_squared_error"``, or a function that emits one.
    optimizer : Optimizer, optional
        `Adam` by default.
    batch_size : int
        Pictures of a step.
    seed : int
        Of the order of the pictures.
    parameters : sequence of str, optional
        Names of the weights to be trained; all of `parameter_names` by default. The others stay as they are, running
        statistics of batch norm aside.
    output : str, optional
        Output that the loss reads; the first by default.
    dtype : dtype
        float32, or float64 for a slow and exact run.

    Attributes
    ----------
    steps : int
        Steps done.
    losses : list of float
        Loss of each of them, before its update.

    Examples
    --------
    >>> net = gradcam.GraphBuilder()                                                                   # doctest: +SKIP
    >>> x = net.input("image", (None, 1, 28, 28))                                                      # doctest: +SKIP
    >>> x = net.relu(net.conv(x, np.zeros((8, 1, 3, 3)), np.zeros(8), padding=1))                      # doctest: +SKIP
    >>> net.output("scores", net.linear(net.flatten(net.global_average_pool(x)), np.zeros((10, 8))))   # doctest: +SKIP
    >>> trainer = Trainer(initialise(net.model(), seed=0), "softmax_cross_entropy", Adam(1e-3))        # doctest: +SKIP
    >>> trained = trainer.fit(images, classes, epochs=5)                                               # doctest: +SKIP
    """

    def __init__(
        self,
        model: Model,
        loss: str | Loss,
        optimizer: Optimizer | None = None,
        *,
        batch_size: int = 64,
        seed: int = 0,
        parameters: Sequence[str] | None = None,
        output: str | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self._loss = _loss(loss)
        if batch_size < 1:
            raise ValueError(f"Trainer: batch_size: expected at least 1, got {batch_size}")
        self.real = np.dtype(dtype)
        if self.real not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise TypeError(f"Trainer: dtype: expected float32 or float64, got {self.real}")
        self._model, self.batch_size, self.seed = model, batch_size, seed
        self.optimizer: Optimizer = Adam() if optimizer is None else optimizer
        self._output = model.outputs[0].name if output is None else output
        if self._output not in model._source.outputs:
            raise ValueError(f"Trainer: output: expected one of {', '.join(model._source.outputs)}, got {output!r}")
        names = checked_names("Trainer", model, parameter_names(model) if parameters is None else parameters)
        arrays = model._source.initializers
        self._vector = np.concatenate([arrays[name].reshape(-1) for name in names], dtype=self.real, casting="same_kind")
        self._parameters = _views(self._vector, {name: arrays[name].shape for name in names})
        self._statistics = {name: arrays[name].astype(self.real) for name in statistics_of(model._source)}
        self._state = {slot: np.zeros_like(self._vector) for slot in self.optimizer.slots}
        self._steps: Cache[Step] = Cache(4)
        self.steps, self.losses = 0, list[float]()

    # What it has come to -----------------------------------------------------------------------------------------------

    @property
    def parameters(self) -> dict[str, Array]:
        """Copies of the trained weights by name."""
        return {name: array.copy() for name, array in self._parameters.items()}

    def model(self) -> Model:
        """Return the model with the weights and the running statistics of now."""
        return with_weights(self._model, self._parameters | self._statistics)

    # Training ----------------------------------------------------------------------------------------------------------

    def fit(
        self,
        x: ArrayLike | Mapping[str, ArrayLike],
        targets: ArrayLike,
        *,
        epochs: int,
        transform: Callable[[Array], Array] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        callback: Callable[[Trainer], object] | None = None,
        progress: bool = False,
        num_threads: int | None = None,
    ) -> Model:
        """Train until `epochs` epochs are done, counted from the first step: after `load` it goes on where it was.

        Each epoch takes whole batches of a new order; pictures that do not fill one are left out of that epoch.

        Parameters
        ----------
        x : array_like, or mapping of input name to array_like
            Pictures with batch, of any numbers that convert to `dtype`.
        targets : array_like
            One row per picture in the shape of the scores, or the class of each as an integer.
        epochs : int
            How many times each picture is seen.
        transform : callable, optional
            Applied to the pictures of a batch (to those of the first input).
        checkpoint : path, optional
            Saved after each epoch.
        callback : callable, optional
            Called with the trainer after each step; an exception in it stops the training.
        progress : bool
            Show a progress bar (tqdm).
        num_threads : int, optional
            See `gradcam.set_num_threads`.

        Returns
        -------
        Model
            The trained model.

        Raises
        ------
        ValueError
            Pictures and targets do not fit, or there are fewer than `batch_size`.
        MissingExtraError
            The ``experiments`` extra is not installed, which `progress` and `checkpoint` need.
        """
        pictures = self._by_name(x)
        wanted = np.asarray(targets)
        counts = {len(array) for array in (*pictures.values(), wanted)}
        if len(counts) > 1 or min(counts) < self.batch_size:
            raise ValueError(f"fit: x, targets: expected the same number of at least {self.batch_size} pictures, got {sorted(counts)}")
        each = counts.pop() // self.batch_size
        bar = require("tqdm", "experiments").tqdm(total=epochs * each, initial=self.steps, unit="step") if progress else None
        try:
            while self.steps < epochs * each:
                epoch, place = divmod(self.steps, each)
                order = self.order(epoch, len(wanted))
                for start in range(place * self.batch_size, each * self.batch_size, self.batch_size):
                    index = order[start : start + self.batch_size]
                    batch = {name: array[index] for name, array in pictures.items()}
                    if transform is not None:
                        first = next(iter(batch))
                        batch[first] = transform(batch[first])
                    loss = self.step(batch, wanted[index], num_threads=num_threads)
                    if callback is not None:
                        callback(self)
                    if bar is not None:
                        bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
                        bar.update()
                if checkpoint is not None:
                    self.save(checkpoint)
        finally:
            if bar is not None:
                bar.close()
        return self.model()

    def order(self, epoch: int, count: int) -> NDArray[np.int64]:
        """Return the order of `count` pictures in an epoch (from 0), which the seed decides."""
        return np.random.default_rng((self.seed, epoch)).permutation(count)

    def step(self, x: ArrayLike | Mapping[str, ArrayLike], targets: ArrayLike, *, num_threads: int | None = None) -> float:
        """Do one step on one batch and return its loss, which is that before the update."""
        result = self.gradients(x, targets, num_threads=num_threads)
        self.optimizer.update(self.steps, self._vector, result.gradients, self._state)
        self._statistics = dict(zip(self._statistics, result.statistics, strict=True))
        self.steps += 1
        self.losses.append(result.loss)
        return result.loss

    def gradients(self, x: ArrayLike | Mapping[str, ArrayLike], targets: ArrayLike, *, num_threads: int | None = None) -> StepResult:
        """Return the loss of one batch, the gradients of the parameters in one vector, and the next statistics; change nothing."""
        batch = [np.ascontiguousarray(array, self.real) for array in self._by_name(x).values()]
        shapes = {spec.name: array.shape for spec, array in zip(self._model._source.inputs, batch, strict=True)}
        step = self._steps.get(tuple(shapes.values()), partial(self._compile, shapes))
        arrays = [*batch, *self._parameters.values(), *self._statistics.values(), self._targets(targets, step.scores)]
        return step.run(arrays, resolve_threads(num_threads))

    def _compile(self, shapes: Mapping[str, Shape]) -> Step:
        return compile_step(self._model._source, shapes, self.real, list(self._parameters), self._loss, self._output)

    def _by_name(self, x: ArrayLike | Mapping[str, ArrayLike]) -> dict[str, Array]:
        specs = self._model._source.inputs
        names = [spec.name for spec in specs]
        given = x if isinstance(x, Mapping) else dict(zip(names, [x], strict=False))
        if set(given) != set(names):
            raise ValueError(f"Trainer: x: expected a mapping with the inputs {', '.join(names)}, got {', '.join(map(str, given))}")
        arrays = {name: np.asarray(given[name]) for name in names}
        for spec, array in zip(specs, arrays.values(), strict=True):
            sizes = zip(spec.dims[1:], array.shape[1:], strict=False)
            if array.ndim != len(spec.dims) or any(isinstance(d, int) and d != n for d, n in sizes):
                raise ValueError(f"Trainer: x: input '{spec.name}': expected shape {spec.dims} with any batch, got {array.shape}")
        return arrays

    def _targets(self, targets: ArrayLike, scores: Shape) -> Array:
        """Targets in the shape of the scores; classes as rows of zeros with a one."""
        given = np.asarray(targets)
        if given.dtype.kind in "iu" and given.shape == (scores[0], *scores[2:]) and len(scores) > 1:
            if given.min() < 0 or given.max() >= scores[1]:
                raise ValueError(f"Trainer: targets: expected classes from 0 to {scores[1] - 1}, got {given.min()} to {given.max()}")
            given = np.moveaxis(np.eye(scores[1], dtype=self.real)[given], -1, 1)
        if given.shape != scores:
            raise ValueError(f"Trainer: targets: expected shape {scores} like the scores, or classes, got {given.shape}")
        return np.ascontiguousarray(given, self.real)

    # Checkpoints -------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write weights, statistics, the optimizer's state and the losses to a ``.safetensors`` file.

        A trainer of the same model and options that loads it goes on with the same bits as one that was never interrupted.
        """
        if Path(path).suffix != ".safetensors":
            raise ValueError(f"Trainer.save: path: expected a name that ends in .safetensors, got {os.fspath(path)!r}")
        write_bytes(path, require("safetensors.numpy", "experiments").save(self._tensors()))

    def load(self, path: str | os.PathLike[str]) -> None:
        """Take over what `save` wrote.

        Raises
        ------
        ModelFormatError
            The file does not hold the tensors of this model and optimizer.
        """
        found, own = dict(read_weights(path, None)), self._tensors()
        if "losses" in found:
            own["losses"] = found["losses"]
        wrong = [n for n in own.keys() | found.keys() if n not in found or n not in own or found[n].shape != own[n].shape]
        if wrong or any(found[name].dtype != array.dtype for name, array in own.items()):
            raise ModelFormatError(f"Trainer.load: expected the tensors of this trainer, got others: {', '.join(sorted(wrong))}", path=path)
        if found["losses"].ndim != 1 or found["losses"].dtype != np.float64:
            raise ModelFormatError("Trainer.load: expected one loss per step", path=path)
        for group, arrays in (("parameter", self._parameters), ("optimizer", self._state), ("statistic", self._statistics)):
            for name, array in arrays.items():
                array[...] = found[f"{group}/{name}"]
        self.losses = found["losses"].tolist()
        self.steps = len(self.losses)

    def _tensors(self) -> dict[str, Array]:
        groups = (("parameter", self._parameters), ("optimizer", self._state), ("statistic", self._statistics))
        tensors = {f"{group}/{name}": np.ascontiguousarray(array) for group, arrays in groups for name, array in arrays.items()}
        return tensors | {"losses": np.array(self.losses, np.float64)}


def _loss(loss: str | Loss) -> Loss:
    if not isinstance(loss, str):
        return loss
    if loss not in LOSSES:
        raise ValueError(f"Trainer: loss: expected a function or one of {', '.join(LOSSES)}, got {loss!r}")
    return LOSSES[loss]


def _views(vector: Array, shapes: Mapping[str, Shape]) -> dict[str, Array]:
    """Parts of a vector in given shapes, one after the other."""
    views, start = {}, 0
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        views[name] = vector[start : start + size].reshape(shape)
        start += size
    return views
