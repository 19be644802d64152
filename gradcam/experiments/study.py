"""Trained networks and scenes of the experiments, each made once."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradcam.datasets import Scenes, digit_scenes
from gradcam.datasets.composition import Split
from gradcam.experiments.cases import Cases, absent, present
from gradcam.experiments.networks import SIZE, Design
from gradcam.loading import load
from gradcam.model import Model
from gradcam.train import Adam, Trainer, one_cycle

__all__ = ["FULL", "QUICK", "Scale", "Study"]

_BATCH = 32
_RATE = 1e-2


@dataclass(frozen=True)
class Scale:
    """How much is computed.

    Attributes
    ----------
    seeds : tuple of int
        Each trains networks of its own.
    training_scenes, epochs : int
        What a network sees.
    test_scenes : int
        Scenes that are explained; no network has seen their handwriting.
    """

    seeds: tuple[int, ...]
    training_scenes: int
    epochs: int
    test_scenes: int


FULL = Scale(seeds=(0, 1, 2, 3, 4), training_scenes=12_800, epochs=3, test_scenes=400)
QUICK = Scale(seeds=(0,), training_scenes=6_400, epochs=2, test_scenes=40)


class Study:
    """What the experiments share.

    Parameters
    ----------
    scale : Scale
        How much is computed.
    models : path, optional
        Folder where trained networks are kept and found again.
    num_threads : int, optional
        See `gradcam.set_num_threads`.
    tell : callable, optional
        Called with a line of text for each network that was trained and each seed that is done.
    """

    def __init__(
        self,
        scale: Scale = FULL,
        *,
        models: str | os.PathLike[str] | None = None,
        num_threads: int | None = None,
        tell: Callable[[str], object] | None = None,
    ) -> None:
        self.scale, self.num_threads = scale, num_threads
        self._folder = None if models is None else Path(models)
        self.tell: Callable[[str], object] = (lambda line: None) if tell is None else tell
        self._models: dict[tuple[Design, int], Model] = {}

    @cached_property
    def training(self) -> Scenes:
        """Scenes that the networks learn from; the same for all seeds, which differ in initial weights and order."""
        return _scenes(self.scale.training_scenes, "train")

    @cached_property
    def test(self) -> Scenes:
        """Scenes that are explained."""
        return _scenes(self.scale.test_scenes, "test")

    def trained(self, design: Design, seed: int) -> Model:
        """Return the network of a design, trained; from the folder if it was trained before."""
        key = design, seed
        if key not in self._models:
            self._models[key] = self._find(design, seed)
        return self._models[key]

    def accuracy(self, design: Design, seed: int) -> float:
        """Share of the labels of all test scenes that a network gets right."""
        scores = self.scores(self.trained(design, seed), self.test.inputs)
        return float(((design.sign * (scores - design.threshold) > 0) == (self.test.labels != 0)).mean())

    def seen(self, design: Design, seed: int) -> Cases:
        """Objects of the test scenes that a network sees: those whose class it says is present."""
        cases = present(self.test)
        scores = self.scores(self.trained(design, seed), self.test.inputs)[cases.picture, cases.classes]
        return cases[design.sign * (scores - design.threshold) > 0]

    def example(self, design: Design, seed: int) -> Cases:
        """Cases of one picture to be shown: the objects of that in which a network sees most, then a class that it does not hold."""
        here, missing, seen = present(self.test), absent(self.test), self.seen(design, seed)
        picture = int(np.bincount((seen if len(seen) else here).picture).argmax())
        classes = np.append(here.classes[here.picture == picture], missing.classes[picture])
        pictures = np.full(len(classes), picture)
        return Cases(self.test[pictures], pictures, classes)

    def _find(self, design: Design, seed: int) -> Model:
        if self._folder is None:
            return self._train(design, seed)
        path = self._folder / f"{design.name}_{self.scale.training_scenes}x{self._epochs(design)}_seed{seed}.onnx"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._train(design, seed).save(path)
        return load(path)  # also what was trained just now: the same bits whether or not there was a file

    def _train(self, design: Design, seed: int) -> Model:
        epochs = self._epochs(design)
        steps = epochs * (self.scale.training_scenes // _BATCH)
        optimizer = Adam(one_cycle(_RATE, steps), weight_decay=0.02, decoupled=True)
        trainer = Trainer(design.model(seed), design.loss, optimizer, batch_size=_BATCH, seed=seed)
        wanted = design.wanted(self.training.labels)
        model = trainer.fit(
            self.training.images[:, None],
            wanted,
            epochs=epochs,
            transform=lambda images: np.divide(images, np.float32(255), dtype=np.float32),
            num_threads=self.num_threads,
        )
        self.tell(f"{design.name}, seed {seed}: {steps} steps, loss {np.mean(trainer.losses[-20:]):.4f}")
        return model

    def _epochs(self, design: Design) -> int:
        """Networks with tanh, which saturates, learn at about half the speed of the others."""
        return self.scale.epochs * (2 if design.activation == "tanh" else 1)

    def scores(self, model: Model, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores of pictures, (N, 10)."""
        return np.asarray(model(x, num_threads=self.num_threads))


def _scenes(count: int, split: Split) -> Scenes:
    """One to three digits in each picture."""
    return digit_scenes(count, seed=0, split=split, size=SIZE, objects=(1, 3), scale=(14, 20), distractors=2)
