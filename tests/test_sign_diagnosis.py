"""Each diagnosis of the sign report, provoked from a model, and the warning that says the same."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from model.networks import Weights, conv, model_bytes, normal, resnet, vgg
from onnx import helper
from sign_models import ROWS, X, explain, kinds, only, pooled

import gradcam
from gradcam.sign_diagnosis import BLANK, SignContext
from gradcam.sign_report import SignReport
from gradcam.sign_runs import saturation
from gradcam.targets import ClassScore, Contrast, Weighted

# --- diagnoses, each from a model


def test_no_finding_for_an_ordinary_map():
    report = explain(gradcam.load(vgg("N")), normal((1, 2, 8, 10), 3), 1, layer="relu1", relu=False).signs()
    assert not kinds(report) & {"nonfinite", "flat", "same_for_all_classes", "constant_gradient", "saturated"}


def test_counter_evidence_everywhere():
    model = pooled([[-1, -2, -1], [1, 2, 1]], bias=[5, 5, 5])
    why = explain(model, X * 0.1, 0, layer="layer")
    report = why.signs()
    found = only(report[0], "all_negative")
    assert found.evidence["max"] < 0
    assert found.evidence["share"] == pytest.approx(1)
    assert found.evidence["Q4"] == pytest.approx(report.masses[0, 3])
    assert "Q4, 100% of all mass" in found.text
    assert "LayerCAM" in found.advice
    assert "Contrast" in found.advice
    assert report.flags["all_negative"].all()
    assert (report.removed.share == 1).all()
    assert (report.counterfactual.shown > 0).all()


def test_support_below_zero():
    model = pooled([[1, 2, 1], [0, 1, 0]], relu=False, bias=[-5, -5, -5])
    found = only(explain(model, X * 0.1, 0, layer="layer").signs()[0], "all_negative")
    assert abs(found.evidence["Q3"]) > abs(found.evidence["Q4"])
    assert "Q3" in found.text


def test_negative_through_the_choice_of_zero():
    """A shift that the last bias takes back changes no score, but makes the map negative."""
    c = int(np.argmax(ROWS.sum(1)))
    plain, shifted = pooled(ROWS), pooled(ROWS, shift=-9 * np.sign(ROWS[c]))
    np.testing.assert_allclose(shifted(X), plain(X), atol=1e-4)
    before, after = (explain(m, X, c, layer="layer", relu=False).signs() for m in (plain, shifted))
    assert (before.map.max((1, 2)) > 0).all()
    assert after.map.max() < 0
    found = only(after[1], "choice_of_zero")
    lowest = after.channels.alpha[1] * (after.facts.activations.low[1])
    assert found.evidence["minimum_baseline"] == pytest.approx(lowest.sum(), rel=1e-6)
    assert found.evidence["mean_baseline"] == pytest.approx(after.map[1].mean(), rel=1e-5)
    assert found.evidence["max_from_minimum"] == pytest.approx(before.map[1].max() - _offset(before, 1), rel=1e-4)
    assert "choice_of_zero" not in kinds(before)
    np.testing.assert_allclose(np.ptp(after.map - before.map, axis=(1, 2)), 0, atol=1e-5)  # one constant


def _offset(report, i):
    return (report.channels.alpha[i] * report.facts.activations.low[i]).sum()


def test_zero_weights_give_a_zero_gradient():
    model = pooled(np.zeros((3, 5)))
    report = explain(model, X, 0, layer="layer").signs()
    found = only(report[2], "zero_gradient")
    assert found.evidence["gradient"] == 0
    assert found.evidence["activation"] > 0
    assert found.picture == 2
    assert report.flags["zero_gradient"].all()
    assert report.flags["zero"].all()
    assert kinds(report) <= {"zero_gradient"}


def test_an_inactive_layer():
    report = explain(pooled(ROWS, bias=np.full(6, -50)), X, 0, layer="layer").signs()
    found = only(report[0], "zero_map")
    assert found.evidence["activation"] == 0
    assert "none of its channels is active" in found.text
    assert only(report[0], "dead_channels").evidence == {"constant": 6, "zero": 6, "channels": 6, "share": 1.0}


def test_gradients_that_average_to_zero():
    w = Weights()
    nodes = conv(w, "x", "layer", (2, 3))
    nodes.append(helper.make_node("Flatten", ["layer"], ["flat"]))
    signs = np.where(np.arange(30) % 2, -1, 1).astype(np.float32)
    w["fc"] = np.tile(signs, (2, 3))
    nodes.append(helper.make_node("Gemm", ["flat", "fc"], ["y"], transB=1))
    model = gradcam.load(model_bytes(nodes, {"x": ["N", 2, 5, 6]}, {"y": ["N", 2]}, w))
    found = only(explain(model, X, 0, layer="layer").signs()[0], "zero_map")
    assert found.evidence["gradient"] == 1
    assert found.evidence["alpha"] == 0
    assert "HiResCAM" in found.advice


def test_a_flat_map():
    weight = np.zeros((6, 2, 3, 3))
    report = explain(pooled(ROWS, weight=weight, bias=np.arange(6) + 1), X, 1, layer="layer").signs()
    found = only(report[0], "flat")
    assert found.evidence["value"] == pytest.approx(ROWS[1] @ (np.arange(6) + 1) / 30, rel=1e-5)
    assert found.evidence["varying_channels"] == 0
    assert found.evidence["spread"] <= 1e-6 * abs(found.evidence["value"])
    assert only(report[0], "dead_channels").evidence["zero"] == 0


def test_one_position():
    model = pooled(ROWS)
    report = gradcam.signs(*model.activations_and_gradients(X, layer="gap", target=0))
    found = only(report[0], "one_position")
    assert found.evidence == {"positions": 1, "map": pytest.approx(report.map[0, 0, 0])}
    assert not kinds(report) & {"flat", "constant_gradient", "dead_channels", "same_for_all_classes"}


def test_one_map_for_all_classes():
    same = pooled(np.outer([1, 2, 0.5, 3], ROWS[0]))
    found = only(explain(same, X, 1, layer="layer").signs()[0], "same_for_all_classes")
    assert found.evidence["classes"] == 2
    assert found.evidence["correlation"] > 0.9999
    assert "Contrast" in found.advice
    assert "same_for_all_classes" not in kinds(explain(pooled(ROWS), X, 1, layer="layer").signs())
    opposite = pooled(np.outer([1, -1, 1], ROWS[0]))
    assert "same_for_all_classes" not in kinds(explain(opposite, X, 0, layer="layer").signs())
    assert "same_for_all_classes" not in kinds(explain(same, X, 1, layer="layer").signs(compare=False))


@pytest.mark.parametrize(("target", "classes", "asked"), [(0, 4, 2), (3, 4, 2), (0, None, 1), (3, None, 1), (2, None, 2), (1, 1, 0)])
def test_other_classes_are_found(target, classes, asked):
    why = explain(pooled(ROWS), X, target, layer="layer", classes=classes)
    runs = []
    probe = why.probe
    why.probe = lambda t: runs.append(t) or probe(t)
    assert len(why.signs().context.others) == asked
    for row in runs[1:]:
        assert all(isinstance(t, ClassScore) and t.c != target for t in row)


def test_two_classes_are_compared_once():
    why = explain(pooled(ROWS[:2]), X, 1, layer="layer")
    assert len(why.signs().context.others) == 1
    assert len(explain(pooled(ROWS), X, Contrast(0, 1), layer="layer").signs().context.others) == 0


def saturated():
    return pooled(np.asarray(ROWS) * 4000, head="Softmax", bias=np.full(6, 1.0))


def test_a_saturated_probability():
    model = saturated()
    logits = explain(model, X, None, layer="layer")
    c = logits.target[0].c
    one_hot = np.eye(4, dtype=np.float32)[[t.c for t in logits.target]]
    why = explain(model, X, Weighted(one_hot), layer="layer")
    assert why.score[0] == pytest.approx(1)
    report = why.signs()
    found = only(report[0], "saturated")
    assert found.evidence["ratio"] < 1e-3
    assert found.evidence["logit_gradient"] == pytest.approx(np.abs(ROWS[c]).max() * 4000 / 30, rel=1e-5)
    assert "LogProbability" in found.advice
    assert "saturated" not in kinds(logits.signs())


def test_an_ordinary_probability_is_not_saturated():
    model = pooled(ROWS, head="Softmax")
    why = explain(model, X, Weighted(np.eye(4, dtype=np.float32)[[1]]), layer="layer")
    assert 0.01 < why.score[0] < 0.99
    assert "saturated" not in kinds(why.signs())


def test_a_logit_that_happens_to_be_one_is_not_saturated():
    model = pooled(np.eye(3, 6))
    why = explain(model, X, 0, layer="layer")
    why._batch = (why._batch[0], why._batch[1], np.ones(3))
    assert (
        saturation(why._batch[2], why.target, why.logit, why._measure)[0] is not None
    )  # it looks like a probability of 1, until the logit is asked
    assert "saturated" not in kinds(why.signs())


def test_saturation_from_numbers_alone():
    a, g = normal((2, 3, 4, 5), 1), normal((2, 3, 4, 5), 2) * np.float32(1e-9)
    facts = gradcam.signs(a, g).facts
    report = SignReport(facts, SignContext(probability=np.array([1 - 1e-9, 0.9])))
    assert [d.picture for d in report.diagnosis if d.kind == "saturated"] == [0]


def test_nan_in_the_picture():
    x = X.copy()
    x[1, 0, 2, 2] = np.nan
    report = explain(pooled(ROWS), x, 0, layer="layer").signs()
    assert "nonfinite" not in kinds(report[0])
    found = only(report[1], "nonfinite")
    assert found.evidence["activations_channels"] == 6
    assert found.evidence["activations"] == 54  # nine positions around it, in each channel
    assert found.evidence["map"] == 9
    assert found.evidence["gradients"] == 0
    assert "activations (channel 0, 1, 2, 3, 4, ...)" in found.text
    assert report.flags["nonfinite"].tolist() == [0, 9, 0]


def test_nan_in_the_gradient_names_its_channel():
    a, g = normal((1, 4, 3, 3), 1), normal((1, 4, 3, 3), 2)
    g[0, 2, 1, 1] = np.inf
    found = only(gradcam.signs(a, g), "nonfinite")
    assert found.evidence == {
        "map": 9,
        "activations": 0,
        "activations_channels": 0,
        "gradients": 1,
        "gradients_channels": 1,
        "gradients_first_channel": 2,
    }


def test_a_gradient_that_is_constant_over_positions():
    model = gradcam.load(resnet())
    x = normal((2, 3, 16, 16), 3)
    report = explain(model, x, 2).signs()
    found = only(report[1], "constant_gradient")
    assert found.evidence["spread"] <= 1e-6 * found.evidence["gradient"]
    maps = [explain(model, x, 2, method=m, relu=False).raw for m in ("gradcam", "hirescam", "xgradcam")]
    for other in maps[1:]:
        np.testing.assert_allclose(other, maps[0], atol=1e-5 * np.abs(maps[0]).max())
    assert "constant_gradient" not in kinds(explain(gradcam.load(vgg("N")), normal((1, 2, 8, 10), 3), 1).signs())


def test_dead_channels():
    bias = [0, 0, -50, -50, 0, 0]
    found = only(explain(pooled(ROWS, bias=bias), X, 0, layer="layer").signs()[0], "dead_channels")
    assert found.evidence == {"constant": 2, "zero": 2, "channels": 6, "share": pytest.approx(1 / 3)}
    one = explain(pooled(ROWS, bias=[0, 0, -50, 0, 0, 0]), X, 0, layer="layer").signs()
    assert "dead_channels" not in kinds(one)
    assert one.flags["dead_channels"].tolist() == [1, 1, 1]


# --- the warning says the same


def negative(pictures=X * 0.1):
    return explain(pooled([[-1, -2, -1], [1, 2, 1]], bias=[5, 5, 5]), pictures, 0, layer="layer")


def caught(why):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        why.warn("explain")
    return found


def test_a_blank_map_warns_with_its_diagnosis():
    why = negative()
    (warning,) = caught(why)
    assert warning.category is gradcam.BlankMapWarning
    text = str(warning.message)
    assert text.startswith("explain: blank map of image 0 and 2 more: the map is nowhere positive")
    found = only(why.signs()[0], "all_negative")
    assert found.text in text
    assert found.advice in text


def test_why_is_told_once_for_a_layer_method_and_target():
    model = pooled([[-1, -2, -1], [-1, -1, -2]], bias=[5, 5, 5])
    x = X * np.float32(0.1)

    def text(target, method="gradcam"):
        with pytest.warns(gradcam.BlankMapWarning) as found:
            why = model.explain(x, target=target, layer="layer", method=method)
        assert only(why.signs()[0], "all_negative").text
        return str(found[0].message)

    told = "explain: blank map of image 0 and 2 more: the map is nowhere positive"
    again = "explain: blank map: the raw map is nowhere positive (relu=False shows it) for images 0, 1, 2: an earlier warning and signs()"
    assert text(0).startswith(told)
    assert text(0).startswith(again)
    assert text(1).startswith(told)
    assert text(0, "hirescam").startswith(told)
    assert text(1).startswith(again)


def test_the_first_blank_picture_is_diagnosed():
    x = X.copy() * 0.1
    why = explain(pooled([[-1, -2, -1], [1, 2, 1]], bias=[5, 5, 5]), x, [1, 0, 1], layer="layer")
    (warning,) = caught(why)
    assert str(warning.message).startswith("explain: blank map of image 1: the map is nowhere positive")


def test_a_signed_map_is_not_blank_for_being_negative():
    assert caught(replace(negative(), relu=False)) == []


def test_nonfinite_maps_still_warn():
    x = X * np.float32(0.1)
    x[2, 0, 0, 0] = np.nan
    assert {w.category for w in caught(negative(x))} == {gradcam.BlankMapWarning, gradcam.NonFiniteWarning}


@pytest.mark.parametrize("error", [RuntimeError, MemoryError, gradcam.TargetError])
def test_a_model_that_fails_the_second_time_spoils_nothing(error):
    def fail(_):
        raise error("no")

    why = replace(negative(), probe=fail)
    (warning,) = caught(why)
    assert "nowhere positive (relu=False shows it) for images 0, 1, 2" in str(warning.message)


def test_a_warning_made_an_error_is_raised():
    with warnings.catch_warnings():
        warnings.simplefilter("error", gradcam.BlankMapWarning)
        with pytest.raises(gradcam.BlankMapWarning, match="nowhere positive"):
            negative().warn("explain")


def test_only_blank_maps_run_the_model_again():
    runs = []
    model = pooled(np.abs(ROWS))
    why = replace(explain(model, X, 0, layer="layer"), probe=lambda t: runs.append(t))
    assert caught(why) == []
    assert runs == []


def test_every_diagnosis_has_a_section_of_the_documentation():
    root = Path(__file__).resolve().parent.parent
    source = (root / "gradcam" / "sign_diagnosis.py").read_text()
    told = set(re.findall(r"^### `(\w+)`$", (root / "docs" / "signs.md").read_text(), re.MULTILINE))
    assert told == set(re.findall(r'yield Diagnosis\(\s*"(\w+)"', source))
    assert set(BLANK) < told
