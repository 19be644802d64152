"""The sign report: its numbers, its forms, and what cannot be reported."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from model.networks import normal, vgg
from sign_models import explain, kinds

import gradcam

DATA = Path(str(files("gradcam") / "data"))
DIGIT, OTHER = (json.loads((DATA / "scenes.json").read_text())[f"scene_{i}.png"]["digits"][0] for i in (1, 2))


@pytest.fixture(scope="module")
def digits():
    return gradcam.load(DATA / "digits.onnx")


@pytest.fixture(scope="module")
def scene(digits):
    return digits.preprocess(gradcam.preprocess.open_image(DATA / "scene_1.png"))


# --- numbers and forms


def test_the_report_of_a_model_is_that_of_its_arrays(digits, scene):
    why = explain(digits, scene, DIGIT, relu=False)
    report = why.signs()
    a, g = digits.activations_and_gradients(scene, layer=why.layer, target=DIGIT)
    np.testing.assert_array_equal(report.map, gradcam.signs(a, g).map)
    np.testing.assert_array_equal(report.map, why.raw)
    np.testing.assert_array_equal(report.channels.alpha, why.weights.astype(np.float64))
    assert kinds(report) == set()


def test_numbers_are_those_of_numpy():
    a, g = normal((2, 3, 4, 5), 1, np.float64), normal((2, 3, 4, 5), 2, np.float64)
    report = gradcam.signs(a, g)
    raw = gradcam.cam(a, g, relu=False)
    np.testing.assert_allclose(report.masses, np.stack([q.sum((1, 2)) for q in report.quadrants], 1), rtol=1e-12)
    np.testing.assert_allclose(report.removed.mass, np.maximum(-raw, 0).sum((1, 2)), rtol=1e-12)
    np.testing.assert_allclose(report.removed.share, np.maximum(-raw, 0).sum((1, 2)) / np.abs(raw).sum((1, 2)), rtol=1e-12)
    np.testing.assert_allclose(report.removed.area, (raw < 0).mean((1, 2)))
    c = report.channels
    np.testing.assert_allclose(c.mean, a.mean((2, 3)), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(c.alpha, g.mean((2, 3)), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(c.positive, np.maximum(a, 0).sum((2, 3)), rtol=1e-12)
    np.testing.assert_allclose(c.negative, np.minimum(a, 0).sum((2, 3)), rtol=1e-12)
    np.testing.assert_array_equal(c.position, np.abs(a).reshape(2, 3, -1).argmax(2))
    np.testing.assert_allclose(c.contribution.sum(-1), c.alpha * a.sum((2, 3)), rtol=1e-12, atol=1e-14)


def test_top_channels_are_sorted_and_placed():
    a, g = normal((1, 30, 4, 5), 1, np.float64), normal((1, 30, 4, 5), 2, np.float64)
    report = gradcam.signs(a, g)
    total = g.mean((2, 3))[0] * a.sum((2, 3))[0]
    top = report.top(4)
    assert [t.channel for t in top.supporting] == np.argsort(-total)[:4].tolist()
    assert [t.channel for t in top.opposing] == np.argsort(total)[:4].tolist()
    for t in (*top.supporting, *top.opposing):
        assert t.contribution == pytest.approx(total[t.channel])
        assert abs(a[0, t.channel][t.position]) == np.abs(a[0, t.channel]).max()
    assert len(report.top(100).supporting) == (total > 0).sum()
    assert report.top(0) == ((), ())
    with pytest.raises(ValueError, match="top: k: expected 0 or more, got -1"):
        report.top(-1)


def test_a_batch_is_iterable_and_its_rows_are_pictures(digits):
    x = np.concatenate([digits.preprocess(gradcam.preprocess.open_image(DATA / f"scene_{i}.png")) for i in (1, 2)])
    report = explain(digits, x, [DIGIT, OTHER]).signs()
    assert len(report) == 2
    for i, one in enumerate(report):
        assert one.map.shape == report.map.shape[1:]
        np.testing.assert_array_equal(one.map, report.map[i])
        np.testing.assert_array_equal(one.masses, report.masses[i])
        np.testing.assert_array_equal(one.shares, report.shares[i])
        np.testing.assert_array_equal(one.channels.contribution, report.channels.contribution[i])
        assert one.removed.mass == report.removed.mass[i]
        assert one.top() == report.top(picture=i)
        assert one.summary() == report.summary(i)
        assert f"picture {i}: class {(DIGIT, OTHER)[i]}" in str(one)
        assert str(one) in str(report)
        assert {n: v[0] for n, v in one.flags.items()} == {n: v[i] for n, v in report.flags.items()}
    with pytest.raises(IndexError):
        report[2]


def test_one_picture_without_batch_axis_and_one_row_of_a_batch(digits, scene):
    bare = explain(digits, scene[0], DIGIT).signs()
    assert bare.map.ndim == 2
    row = explain(digits, np.concatenate([scene, scene * 0.5]), DIGIT)[1]
    half = explain(digits, scene[0] * 0.5, DIGIT).signs()
    np.testing.assert_array_equal(row.signs().map, half.map)


def test_hirescam_has_its_own_quadrants():
    model = gradcam.load(vgg("N"))
    x = normal((2, 2, 8, 10), 3)
    found = explain(model, x, 1, method="hirescam", relu=False)
    np.testing.assert_array_equal(found.signs().map, found.raw)
    assert np.abs(explain(model, x, 1).signs().map - found.raw).max() > 0


def test_text_and_json(digits, scene):
    report = explain(digits, scene, DIGIT).signs()
    text = report.describe(2)
    for part in (
        f"picture 0: class {DIGIT}, score",
        "16 x 16 positions, 64 channels",
        "Q1 supporting channels, active",
        "ReLU removes",
        "against",
    ):
        assert part in text
    assert text.count("alpha") == 4
    record = json.loads(json.dumps(report.to_dict(2), allow_nan=False))["pictures"][0]
    assert record["masses"]["Q4"] == pytest.approx(report.masses[0, 3])
    assert record["target"] == f"class {DIGIT}"
    assert len(record["top"]["supporting"]) == 2
    assert record == report[0].to_dict(2)
    assert "\n" not in report.summary()
    assert "Q4 54%" in report.summary()


def test_nan_is_null_in_json():
    a = np.ones((1, 2, 3), np.float32)
    a[0, 0, 1] = np.nan
    report = gradcam.signs(a, a)
    record = json.loads(json.dumps(report.to_dict(), allow_nan=False))["pictures"][0]
    assert record["masses"]["Q1"] is None
    assert record["removed"]["area"] == 0
    assert "nan" in str(report)


@pytest.mark.parametrize("shape", [(2, 3, 5), (1, 3, 4, 5)])
def test_plot(shape):
    pytest.importorskip("matplotlib")
    report = gradcam.signs(normal(shape, 1), normal(shape, 2))
    for image in (None, np.zeros((8, 8), np.uint8)):
        figure = report.plot(image)
        figure.canvas.draw()
        titles = [axes.get_title() for axes in figure.axes]
        for q in range(4):
            assert any(t.startswith(f"Q{q + 1} ") and f"({report.shares[0, q]:.0%})" in t for t in titles)
        limits = {axes.images[0].get_clim() for axes in figure.axes if axes.images and axes.get_title() != "picture"}
        assert len(limits) == 1  # one scale, zero in its middle
        low, high = limits.pop()
        assert low == -high
    with pytest.raises(ValueError, match="plot: map: expected one or two spatial axes"):
        gradcam.signs(normal((1, 2, 3, 3, 3)), normal((1, 2, 3, 3, 3))).plot()


# --- what cannot be reported


def test_without_a_model_there_is_no_report(digits, scene):
    why = replace(explain(digits, scene, DIGIT), probe=None)
    with pytest.raises(ValueError, match=r"signs: expected an explanation that a model made.* use gradcam.signs"):
        why.signs()


def test_a_pickled_explanation_leaves_the_model_behind(digits, scene):
    why = explain(digits, scene, DIGIT)
    copy = pickle.loads(pickle.dumps(why))
    assert copy.probe is None
    assert why.probe is not None
    assert copy.raw.tobytes() == why.raw.tobytes()
    assert copy[0].map.tobytes() == why[0].map.tobytes()


def test_several_layers_are_refused(digits, scene):
    why = explain(digits, scene, DIGIT)
    why._batch = ([why.raw, why.raw], *why._batch[1:])
    with pytest.raises(ValueError, match="signs: layer: expected one layer at a time, got 2"):
        why.signs()
