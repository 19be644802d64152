"""Networks and scenes that the experiments share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gradcam.experiments import QUICK, Design, Study

pytestmark = pytest.mark.slow

TINY = replace(QUICK, training_scenes=64, epochs=1, test_scenes=10)


def test_training_does_not_depend_on_threads_or_the_folder(tmp_path):
    lines = []
    kept = Study(TINY, models=tmp_path, num_threads=2, tell=lines.append)
    x = kept.test.inputs
    scores = np.asarray(kept.trained(Design(), 0)(x))
    assert len(lines) == 1 and "2 steps" in lines[0]
    again = Study(TINY, models=tmp_path, tell=lines.append)
    np.testing.assert_array_equal(again.trained(Design(), 0)(x), scores)
    assert len(lines) == 1, "it was trained a second time"
    np.testing.assert_allclose(Study(TINY, num_threads=1).trained(Design(), 0)(x), scores, rtol=1e-5, atol=1e-6)
    one, two = (Study(TINY, models=tmp_path / str(n), num_threads=n).trained(Design(), 0) for n in (1, 2))
    np.testing.assert_array_equal(one(x), two(x))


def test_training_changes_the_network_and_lowers_the_loss():
    losses = []
    study = Study(replace(TINY, training_scenes=640), tell=lambda line: losses.append(float(line.split("loss ")[1])))
    trained, fresh = study.trained(Design(), 1), Design().model(1)
    assert np.abs(np.asarray(trained(study.test.inputs)) - np.asarray(fresh(study.test.inputs))).max() > 0.1
    assert losses[0] < np.log(2)


@pytest.mark.parametrize("design", [Design(), Design(targets=(1, 0)), Design(loss="mean_squared_error", targets=(0, -1))])
def test_seen_and_accuracy(design, monkeypatch):
    study = Study(TINY)
    right = design.threshold + design.sign * np.where(study.test.labels != 0, 0.25, -0.25)
    right[0] = design.threshold - design.sign * 0.25  # says of the first picture that nothing is there
    monkeypatch.setattr(study, "trained", lambda design, seed: None)
    monkeypatch.setattr(study, "scores", lambda model, x: right)
    seen = study.seen(design, 0)
    assert len(seen) == int(study.test.labels[1:].sum()) and 0 not in seen.picture
    assert study.accuracy(design, 0) == pytest.approx(1 - study.test.labels[0].sum() / study.test.labels.size)


def test_no_test_handwriting_was_trained_on():
    study = Study(TINY)
    assert not any((a == b).all() for a in study.training.images for b in study.test.images)
    assert len(study.training) == 64 and len(study.test) == 10
