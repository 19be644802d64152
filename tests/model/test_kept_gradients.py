"""Explanations that keep activations and gradients for their sign report."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from model.networks import SIZES, conv_net, normal, resnet, vit

import gradcam
from gradcam.session import Session

MODELS = {
    "pictures": (resnet(), (2, 3, 16, 16), None),
    "signals": (conv_net(1), (2, 2, *SIZES[1]), "relu"),
    "volumes": (conv_net(3), (2, 2, *SIZES[3]), "relu"),
    "tokens": (vit(), (2, 2, 8, 12), None),
}


@pytest.fixture
def runs(monkeypatch):
    """Number of pictures of each run of a plan."""
    counted: list[int] = []
    execute = Session.execute

    def counting(self, plan, bound, *arguments, **keywords):
        counted.append(bound.pictures)
        return execute(self, plan, bound, *arguments, **keywords)

    monkeypatch.setattr(Session, "execute", counting)
    return counted


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gradcam.BlankMapWarning)
        yield


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("target", [1, None])
@pytest.mark.parametrize(
    ("method", "options"),
    [("gradcam", {}), ("hirescam", {}), ("eigencam", {}), ("layercam", {"aug_smooth": True}), ("smoothgradcam++", {"rng": 0})],
)
def test_the_report_is_the_same_without_another_run(name, target, method, options, runs):
    content, shape, layer = MODELS[name]
    model, x = gradcam.load(content), normal(shape, 3)
    plain = model.explain(x, target=target, layer=layer, method=method, batch_size=1, **options)
    want = plain.signs(compare=False)
    kept = model.explain(x, target=target, layer=layer, method=method, batch_size=1, signs=True, **options)
    # A gradient reads the weights of attention, which one fused node does not give: then other sums are rounded.
    bound = 1e-5 if name == "tokens" else 0
    np.testing.assert_allclose(kept.raw, plain.raw, rtol=bound, atol=bound * abs(plain.raw).max())
    np.testing.assert_allclose(kept.score, plain.score, rtol=bound)
    runs.clear()
    got = kept.signs(compare=False)
    row = kept[1].signs(compare=False)
    assert not runs
    for a, b in zip((got.map, *got.quadrants), (want.map, *want.quadrants), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(row.map, want.map[1])
    assert [d.kind for d in got[0].diagnosis] == [d.kind for d in want[0].diagnosis]
    plain.signs(compare=False)
    assert runs == [2]


def test_what_cannot_be_kept_is_computed_again(runs):
    model, x = gradcam.load(resnet()), normal((1, 3, 16, 16))
    several = model.explain(x, target=1, layer=["stage1", "stage2"], signs=True)
    assert several.measured is None
    other = model.explain(x, target=1, method="finercam", signs=True)  # its gradient is that of another score
    assert other.measured is None
    runs.clear()
    np.testing.assert_array_equal(other.signs(compare=False).map, model.explain(x, target=1).signs(compare=False).map)
    assert model.explain(x, target=1, method="fullgrad", signs=True).measured is None


def test_several_targets_keep_a_gradient_each(runs):
    model, x = gradcam.load(resnet()), normal((2, 3, 16, 16))
    found = model.explain_many(x, [0, 3], signs=True)
    runs.clear()
    maps = [one.signs(compare=False).map for one in found]
    assert not runs
    for target, got in zip((0, 3), maps, strict=True):
        np.testing.assert_array_equal(got, model.explain(x, target=target).signs(compare=False).map)
    empty = model.explain(np.zeros((0, 3, 16, 16), np.float32), target=0, signs=True)
    assert len(empty) == 0


def test_results_belong_to_one_explanation_alone():
    model, x = gradcam.load(resnet()), normal((2, 3, 16, 16))
    first, *others = model.explain_many(x, [0, 0, 3], signs=True)
    arrays = [[one.raw, one.score, one.weights, *one.measured] for one in (first, *others)]
    want = [[array.copy() for array in found] for found in arrays[1:]]
    for array in arrays[0]:
        array[...] = np.nan
    for found, copies in zip(arrays[1:], want, strict=True):
        for array, copy in zip(found, copies, strict=True):
            np.testing.assert_array_equal(array, copy)
    again = model.explain(x, target=0, signs=True)
    np.testing.assert_array_equal(again.raw, others[0].raw)


@pytest.mark.parametrize("method", ["gradcam", "eigencam"])
def test_the_command_line_runs_the_model_once(method, runs, tmp_path, monkeypatch, capsys):
    from gradcam.cli import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.onnx").write_bytes(resnet())
    np.save("x.npy", normal((3, 16, 16)))
    assert main(["explain", "m.onnx", "x.npy", "--target", "1", "2", "--method", method]) == 0
    assert runs == [1]
    assert capsys.readouterr().err.count("% of") >= 2  # the lines on signs are there
