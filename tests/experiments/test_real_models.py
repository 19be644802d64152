"""Trained models of others: the tool that asks them, and that its page is that of its results."""

from __future__ import annotations

import json

import numpy as np
import pytest
from test_docs import tool

import gradcam
from gradcam.preprocess import Preprocess

REAL = tool("measure_real_models")


@pytest.fixture(scope="module")
def results():
    return json.loads(REAL.RESULTS.read_text(encoding="utf-8"))


def test_the_page_is_that_of_the_results(results):
    assert REAL.PAGE.read_text(encoding="utf-8") == REAL.page(results), "run `python tools/measure_real_models.py`"


def test_no_cell_contradicts_the_theory(results):
    """What may change need not."""
    for found in results["models"].values():
        for rows in found["changes"].values():
            for name, row in rows.items():
                for change, theory in row["theory"].items():
                    assert theory == "changes" or REAL.as_predicted(theory, row["measured"][change]), (name, change)


@pytest.mark.parametrize(
    ("theory", "measured", "agrees"),
    [
        ("=", "= (1e-16)", True),
        ("=", "0.3", False),
        ("=", "const 0.3 (1e-16)", False),
        ("const", "const 0.3 (1e-16)", True),
        ("const", "0.3", False),
        ("changes", "0.3", True),
        ("changes", "= (0e+00)", False),
        ("changes", "const 0.3 (1e-16)", False),
    ],
)
def test_as_predicted(theory, measured, agrees):
    assert REAL.as_predicted(theory, measured) is agrees


def test_boxes_follow_the_crop():
    steps = Preprocess.preset("raw", size=(56, 56))
    image = np.zeros((100, 200, 3), np.uint8)
    image[20:60, 90:110] = 255
    mask = REAL.box_mask(steps, (100, 200), [(20, 90, 60, 110)])
    assert mask.shape == (56, 56)
    assert (mask != (steps(image)[0].mean(axis=0) > 127)).sum() <= 2 * sum(mask.any(axis=axis).sum() for axis in (0, 1)) * 0.1
    two = REAL.box_mask(steps, (100, 200), [(20, 90, 60, 110), (70, 60, 80, 70)])
    np.testing.assert_array_equal(two, mask | REAL.box_mask(steps, (100, 200), [(70, 60, 80, 70)]))
    assert not REAL.box_mask(steps, (100, 200), [(0, 0, 100, 40)]).any()  # cut off


def test_boxes_of_resized_pictures():
    steps = Preprocess.preset("raw", size=(4, 8))
    mask = REAL.box_mask(gradcam.Preprocess(size=(4, 8), resize="exact", crop=False), (40, 40), [(10, 5, 30, 20)])
    want = np.zeros((4, 8), bool)
    want[1:3, 1:4] = True
    np.testing.assert_array_equal(mask, want)
    assert steps.size == mask.shape


@pytest.mark.parametrize("trained", REAL.MODELS, ids=lambda trained: trained.file)
def test_pictures_and_boxes(shared, trained):
    model = gradcam.load(shared / "models" / trained.file)
    seen = REAL.photos(trained, model)
    assert len(seen) == len(trained.questions) == len(seen.inputs) == len(seen.masks)
    assert seen.masks.shape == (len(seen), *seen.size)
    assert seen.masks.any(axis=(1, 2)).all()


def test_numbers_of_the_smallest_model_come_again(shared, results):
    (trained,) = (one for one in REAL.MODELS if one.file.startswith("cifar"))
    model = gradcam.load(shared / "models" / trained.file)
    seen, found = REAL.photos(trained, model), results["models"][trained.file]
    for i, question in enumerate(trained.questions):
        numbers = REAL.picture_numbers(model, seen[i], trained.layers[-1])
        stored = found["pictures"][question.name]
        assert numbers["probability"] == pytest.approx(stored["probability"], abs=1e-4)
        assert numbers["rank"] == stored["rank"]
        for variant, metrics in numbers["variants"].items():
            assert metrics == pytest.approx(stored["variants"][variant], abs=1e-3)
        for layer in trained.layers[-2:]:
            quadrants = REAL.quadrant_numbers(model, seen[i], layer)
            known = {key: value for key, value in found["layers"][layer][question.name].items() if value is not None}
            assert {key: quadrants[key] for key in known} == pytest.approx(known, abs=1e-3)


def test_probabilities_are_those_of_the_models_page(results):
    """README of ../shared/models: both.png as it is, and pictures for the person detector."""
    squeezenet, detector = (results["models"][name]["pictures"] for name in ("squeezenet1.0.onnx", "vww-mobilenet.onnx"))
    assert squeezenet["cat in both.png"]["probability"] == pytest.approx(0.1539, abs=5e-4)
    assert squeezenet["dog in both.png"]["probability"] == pytest.approx(0.1127, abs=5e-4)
    assert detector["person in 000000000785.jpg"]["probability"] == pytest.approx(0.991, abs=2e-3)
    assert detector["person in 000000000872.jpg"]["probability"] == pytest.approx(0.998, abs=2e-3)
