from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradcam import load
from gradcam.cli import main

DATA = Path(str(files("gradcam") / "data"))
MODEL, SCENE, OTHER = str(DATA / "digits.onnx"), str(DATA / "scene_1.png"), str(DATA / "scene_2.png")
BOXES = json.loads((DATA / "scenes.json").read_text())["scene_1.png"]["boxes"]
PRESENT = [box["digit"] for box in BOXES]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("warnings.showwarning", lambda *a, **k: None)  # main() replaces it; put back afterwards


def picture_size(path):
    with Image.open(path) as image:
        return image.size


def test_demo_draws_one_picture(tmp_path, capsys):
    assert main(["demo", "-o", "demo.png"]) == 0
    assert min(picture_size("demo.png")) > 300
    out = capsys.readouterr().out
    assert f"digits in the scene: {', '.join(map(str, sorted(PRESENT)))}; the model sees: {', '.join(map(str, sorted(PRESENT)))}" in out
    assert [p.name for p in tmp_path.iterdir()] == ["demo.png"]  # no temporary file is left


def test_info_lists_layers_and_marks_the_default(capsys):
    assert main(["info", MODEL, "--all", "--plan"]) == 0
    out = capsys.readouterr().out
    assert "input  image  (axis0, 1, 64, 64)  float32" in out
    assert sum(line.endswith("<- default") for line in out.splitlines()) == 1
    assert "blocked_winograd_output" in out
    assert "arena" in out


def plan_rows(out):
    """Number, kernel and node of each step, and the line of totals."""
    lines = out.splitlines()
    first = next(i for i, line in enumerate(lines) if line.lstrip().startswith("step"))
    return [[*line.split()[:2], line.split()[-1]] for line in lines[first + 1 : -1]], lines[-1]


def test_info_prints_the_plan_of_a_forward_run(capsys):
    assert main(["info", MODEL, "--plan"]) == 0
    rows, totals = plan_rows(capsys.readouterr().out)
    plan = load(MODEL).forward_plan()
    assert [(number, kernel) for number, kernel, _ in rows] == [(str(i), s.kernel) for i, s in enumerate(plan.steps)]
    assert rows[0][2] == plan.steps[0].node.outputs[0].name
    gflop = 2e-9 * sum(s.products for s in plan.steps)
    assert totals == f"weights {plan.weight_bytes:,} bytes, arena {plan.arena_bytes:,} bytes, {gflop:.4f} GFLOP for one picture"
    assert gflop > 1e-3


def test_info_prints_the_plan_of_an_explanation(capsys):
    first = load(MODEL).layers[0].name
    assert main(["info", MODEL, "--plan", "--layer", first, "--method", "layercam"]) == 0
    rows, _ = plan_rows(capsys.readouterr().out)
    assert "cam_product" in {kernel for _, kernel, _ in rows}
    assert any(node.endswith(".grad") for *_, node in rows)
    assert main(["info", MODEL, "--plan", "--method", "gradcam"]) == 0
    assert "cam_combine" in {kernel for _, kernel, _ in plan_rows(capsys.readouterr().out)[0]}


def test_info_has_no_single_plan_of_a_method_with_noise(capsys):
    assert main(["info", MODEL, "--plan", "--method", "smoothgradcam++"]) == 2
    assert "method: 'smoothgradcam++' runs several plans" in capsys.readouterr().err


def test_explain_one_picture_has_the_documented_name(tmp_path, capsys):
    assert main(["explain", MODEL, SCENE]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "layer relu4" in captured.err
    assert "preprocessing: exactly 64x64" in captured.err
    assert [p.name for p in tmp_path.iterdir()] == ["scene_1.gradcam.png"]
    assert picture_size("scene_1.gradcam.png") == (64, 64)


def test_explain_several_pictures_and_targets(tmp_path, capsys):
    first, last = PRESENT[0], PRESENT[-1]
    targets = ["--target", str(first), str(last)]
    assert main(["explain", MODEL, SCENE, OTHER, *targets, "--method", "layercam", "-o", "out", "--npz", "out", "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    pairs = [(picture, digit) for picture in ("scene_1.png", "scene_2.png") for digit in (first, last)]
    assert [(Path(r["picture"]).name, r["class"]) for r in records] == pairs
    assert all(r["method"] == "layercam" and Path(f).exists() for r in records for f in r["files"])
    assert sorted(p.name for p in (tmp_path / "out").glob("*.npz")) == [f"scene_{i}.{c}.npz" for i in (1, 2) for c in (first, last)]
    with np.load(f"out/scene_1.{first}.npz") as arrays:
        assert {"map", "raw", "weights", "score", "target"} <= set(arrays.files)
        assert arrays["map"].shape == (64, 64)
        box = BOXES[0]
        row, column = np.unravel_index(int(arrays["map"].argmax()), (64, 64))
        assert box["top"] <= row < box["bottom"]
        assert box["left"] <= column < box["right"]


def test_a_picture_that_is_none_fails_alone(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("no picture")
    assert main(["explain", MODEL, "notes.txt", SCENE, "missing.png"]) == 1
    err = capsys.readouterr().err
    assert "notes.txt: this is no picture" in err
    assert "missing.png" in err
    assert "Traceback" not in err
    assert (tmp_path / "scene_1.0.png").exists() or list(tmp_path.glob("scene_1.*.png"))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["explain", SCENE, SCENE], "scene_1.png"),
        (["explain", "missing.onnx", SCENE], "missing.onnx"),
        (["explain", MODEL, SCENE, "--target", "eleven"], "no class is called 'eleven'"),
        (["explain", MODEL, SCENE, "--target", "10"], "class 10 does not exist"),
        (["explain", MODEL, SCENE, "--layer", "relu9"], "nearest: 'relu"),
        (["explain", MODEL, SCENE, "--method", "magic"], "method: expected one of gradcam"),
        (["explain", MODEL, SCENE, "--compat", "magic"], "compat: expected one of 'paper'"),
        (["info", SCENE], "scene_1.png"),
    ],
)
def test_what_cannot_start_ends_with_2(arguments, text, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert text in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_debug_shows_the_traceback(capsys):
    assert main(["explain", MODEL, SCENE, "--target", "eleven", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_an_input_is_never_overwritten(tmp_path, capsys):
    copy = tmp_path / "scene.png"
    copy.write_bytes(Path(SCENE).read_bytes())
    assert main(["explain", MODEL, "scene.png", "-o", "scene.png"]) == 2
    assert "would be overwritten" in capsys.readouterr().err
    assert copy.read_bytes() == Path(SCENE).read_bytes()


def test_versions(capsys):
    assert main(["versions"]) == 0
    out = capsys.readouterr().out
    assert "NumPy" in out
    assert "isas" in out


@pytest.mark.parametrize("command", [[], ["demo"], ["info"], ["explain"], ["versions"]])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    assert "usage: gradcam" in capsys.readouterr().out


def test_usage_errors_end_with_2():
    for arguments in (["explain"], ["nonsense"], ["explain", MODEL, SCENE, "--preprocess", "magic"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_ends_with_130(tmp_path):
    code = f"import sys; from gradcam.cli import main; sys.exit(main(['explain', {MODEL!r}] + [{SCENE!r}] * 20000 + ['-o', 'out']))"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "2"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "out").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130
    assert b"interrupted" in err
    assert not list((tmp_path / "out").glob(".*"))  # nothing half written


def exported():
    """A module of three layers, named by PyTorch's older exporter."""
    from model.networks import Weights, conv, model_bytes

    weights, names = Weights(), [f"/trunk/conv{i}/Conv" for i in (1, 2, 3)]
    first, second, last = [f"{name}_output_0" for name in names]
    nodes = conv(weights, "image", first, (1, 16), 5, strides=[2, 2])
    nodes += conv(weights, first, second, (16, 16)) + conv(weights, second, last, (16, 4))
    for node, name in zip(nodes, names, strict=True):
        node.name = name
    return model_bytes(nodes, {"image": [1, 1, 64, 64]}, {last: [1, 4, 32, 32]}, weights)


def test_info_draws_modules_as_a_tree(tmp_path, capsys):
    from model.networks import vit

    (tmp_path / "exported.onnx").write_bytes(exported())
    assert main(["info", "exported.onnx"]) == 0
    lines = capsys.readouterr().out.splitlines()
    trunk = lines.index("  trunk")
    assert lines[trunk - 1] == "layers"
    assert lines[trunk + 1].split() == ["conv1:", "/trunk/conv1/Conv_output_0", "Conv", "(1,", "16,", "32,", "32)"]
    assert all(line.startswith("    conv") for line in lines[trunk + 1 : trunk + 4])
    assert not any(line.startswith("alias") for line in lines)
    (tmp_path / "vit.onnx").write_bytes(vit())
    assert main(["info", "vit.onnx"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (default,) = (line for line in lines if line.endswith("<- default"))
    assert default.split() == ["norm1:", "blocks.1.norm1", "Add", "(1,", "7,", "8)", "1", "+", "2", "x", "3", "tokens", "<-", "default"]
    assert lines.index("  blocks") < lines.index("    1") < lines.index(default)


def test_info_lists_every_name(tmp_path, capsys):
    (tmp_path / "exported.onnx").write_bytes(exported())
    assert main(["info", "exported.onnx", "--all"]) == 0
    assert "alias  /trunk/conv1/Conv_output_0: /trunk/conv1/Conv, trunk.conv1" in capsys.readouterr().out
