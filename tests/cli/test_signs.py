"""gradcam signs, the line that gradcam explain prints, and the quadrants in the demo picture."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from model.networks import Weights, conv, model_bytes
from onnx import helper
from PIL import Image

import gradcam
from gradcam.cli import main
from gradcam.render.colormap import NO_DATA, colormap
from gradcam.render.figure import Scale, panel
from gradcam.render.signs import sign_panel, signed_picture

DATA = Path(str(files("gradcam") / "data"))
MODEL, SCENE, OTHER = str(DATA / "digits.onnx"), str(DATA / "scene_1.png"), str(DATA / "scene_2.png")
BEFORE_RELU = "conv4"
PRESENT = json.loads((DATA / "scenes.json").read_text())["scene_1.png"]["digits"]
FIRST, LAST = map(str, (PRESENT[0], PRESENT[-1]))


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("warnings.showwarning", lambda *a, **k: None)  # main() replaces it; put back afterwards


def report(target, layer=None, scene=SCENE):
    model = gradcam.load(MODEL)
    x = model.preprocess(gradcam.preprocess.open_image(scene))
    return gradcam.signs(*model.activations_and_gradients(x, layer=layer or model.default_layer.name, target=target))


def test_the_full_report_as_text(tmp_path, capsys):
    assert main(["signs", MODEL, SCENE, "--target", FIRST, LAST, "--top", "2"]) == 0
    captured = capsys.readouterr()
    assert captured.out.count("signed map") == 2
    assert captured.out.count("alpha") == 8
    assert f"{SCENE}\npicture 0: class {FIRST}, score 17, layer relu4" in captured.out
    for q, mass in enumerate(report(PRESENT[0]).masses[0]):
        assert any(f"Q{q + 1} " in line and f" {mass:+.4g} " in line for line in captured.out.splitlines()) or mass == 0
    assert "preprocessing: exactly 64x64" in captured.err
    assert list(tmp_path.iterdir()) == []  # no picture was asked for


def test_json_records(capsys):
    assert main(["signs", MODEL, SCENE, OTHER, "--target", FIRST, "--layer", BEFORE_RELU, "--json", "--top", "1"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [r["picture"] for r in records] == [SCENE, OTHER]
    for record in records:
        want = report(PRESENT[0], BEFORE_RELU, record["picture"])
        assert record["layer"] == BEFORE_RELU
        np.testing.assert_allclose([record["masses"][f"Q{q}"] for q in (1, 2, 3, 4)], want.masses[0], rtol=1e-6)
        assert min(record["shares"].values()) > 0.05
        best = want.top(1).supporting[0]
        assert record["top"]["supporting"][0]["channel"] == best.channel
        assert record["top"]["supporting"][0]["position"] == list(best.position)
        assert record["removed"]["share"] == pytest.approx(want.removed.share[0])


def test_the_figure(tmp_path, capsys):
    assert main(["signs", MODEL, SCENE, "--target", LAST, "-o", "figure.png"]) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["figure.png"]
    with Image.open("figure.png") as image:
        assert image.size[0] > 3 * 256
        assert image.size[1] > 2 * 256
    assert f"class {LAST} -> figure.png" in capsys.readouterr().err


def test_several_figures_have_names_of_their_own(tmp_path):
    assert main(["signs", MODEL, SCENE, OTHER, "--target", LAST, FIRST, "-o", "out"]) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [f"scene_{i}.{c}.signs.png" for i in (1, 2) for c in (FIRST, LAST)]
    assert main(["signs", MODEL, SCENE, "--target", FIRST, "-o", "one"]) == 0
    assert [p.name for p in (tmp_path / "one").iterdir()] == ["scene_1.signs.png"]


def test_blank_maps_are_diagnosed_in_the_report_alone(tmp_path, capsys):
    w = Weights()
    nodes = conv(w, "x", "conv", (1, 3))
    nodes += [helper.make_node("Abs", ["conv"], ["positive"]), helper.make_node("GlobalAveragePool", ["positive"], ["gap"])]
    w["minus"] = -np.ones((3, 2), np.float32)
    nodes += [helper.make_node("Flatten", ["gap"], ["f"]), helper.make_node("MatMul", ["f", "minus"], ["y"])]
    (tmp_path / "m.onnx").write_bytes(model_bytes(nodes, {"x": ["N", 1, 16, 16]}, {"y": ["N", 2]}, w))
    assert main(["signs", "m.onnx", SCENE, "--target", "0"]) == 0
    captured = capsys.readouterr()
    assert "all_negative: the map is nowhere positive" in captured.out
    assert "try: relu=False" in captured.out
    assert "blank map" not in captured.err


def test_explain_prints_one_line(capsys):
    assert main(["explain", MODEL, SCENE, "--target", FIRST, LAST]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if ": signs " in line]
    assert lines == [f"{SCENE}: {report(c).summary()}" for c in (PRESENT[0], PRESENT[-1])]


def test_the_demo_names_the_contested_digit(capsys):
    assert main(["demo", "-o", "demo.png"]) == 0
    assert f"digit 8: {report(8).summary()}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["signs", MODEL, SCENE, "--target", "10"], "class 10 does not exist"),
        (["signs", MODEL, SCENE, "--layer", "nothing"], "nearest"),
        (["signs", MODEL, SCENE, "--top", "-1"], "signs: --top: expected 0 or more, got -1"),
        (["signs", "missing.onnx", SCENE], "missing.onnx"),
    ],
)
def test_what_cannot_start_ends_with_2(arguments, text, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert text in captured.err
    assert captured.out == ""


def test_a_picture_that_is_none_fails_alone_and_no_input_is_overwritten(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("no picture")
    assert main(["signs", MODEL, "notes.txt", SCENE, "--target", FIRST]) == 1
    captured = capsys.readouterr()
    assert "notes.txt: this is no picture" in captured.err
    assert f"class {FIRST}" in captured.out
    copy = tmp_path / "scene.png"
    copy.write_bytes(Path(SCENE).read_bytes())
    assert main(["signs", MODEL, "scene.png", "-o", "scene.png"]) == 2
    assert "signs: -o: scene.png is an input and would be overwritten" in capsys.readouterr().err


# --- drawing


def test_colours_are_signed_and_zero_is_neutral():
    table = colormap("diverging")
    drawn = signed_picture(np.array([[-2.0, 0.0, 2.0, np.nan, 9.0]]), 2.0)
    np.testing.assert_array_equal(drawn[0], [table[0], table[128], table[255], NO_DATA, table[255]])
    photo = np.full((1, 2, 3), 255, np.uint8)
    np.testing.assert_array_equal(signed_picture(np.array([[1.0, np.nan]]), 1.0, photo)[0], [table[255], photo[0, 1]])
    zero = signed_picture(np.zeros((1, 1)), 0.0)
    np.testing.assert_array_equal(zero[0, 0], table[128])


@pytest.mark.parametrize("shape", [(1, 3, 4, 5), (1, 3, 6)])
def test_the_panel_needs_no_picture(shape):
    rng = np.random.default_rng(0)
    one = gradcam.signs(rng.standard_normal(shape), rng.standard_normal(shape))[0]
    drawn = sign_panel(one)
    assert drawn.dtype == np.uint8
    assert drawn.shape == sign_panel(one, np.zeros((8, 8), np.uint8)).shape
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 50


def test_a_volume_cannot_be_drawn():
    a = np.ones((1, 2, 2, 2, 2))
    with pytest.raises(ValueError, match="signs: map: expected one or two spatial axes"):
        sign_panel(gradcam.signs(a, a)[0])


def test_titles_stay_within_their_cells():
    """A long title is cut, and two lines need more room than one."""
    white = np.full((8, 8, 3), 255, np.uint8)
    drawn = panel([[("W" * 90, white), ("", white)]])
    ink = np.flatnonzero((drawn != 255).any((0, 2)))
    assert ink.size
    assert ink.max() < 12 + 256
    assert panel([[("a\nb", white)]]).shape[0] > panel([[("a", white)]]).shape[0]


def test_the_bar_names_its_ends():
    white = np.full((8, 8, 3), 255, np.uint8)
    plain, named = (panel([[("", white)] * 3], s) for s in (Scale("text"), Scale("text", 0.25)))
    assert plain.shape == named.shape
    assert (plain != named).any()


def test_help(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["signs", "--help"])
    assert ended.value.code == 0
    assert "usage: gradcam signs" in capsys.readouterr().out
