"""Arrays in place of photos."""

from __future__ import annotations

import json

import numpy as np
import pytest
from model.networks import SIZES, conv_net, model_bytes, resnet
from onnx import helper
from PIL import Image

import gradcam
from gradcam.cli import main
from gradcam.render.montage import pictured


pytestmark = pytest.mark.filterwarnings("ignore::gradcam.BlankMapWarning")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("warnings.showwarning", lambda *a, **k: None)


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def write_model(axes):
    with open("m.onnx", "wb") as file:
        file.write(conv_net(axes))
    return gradcam.load("m.onnx")


def sample(axes, *batch, seed=0):
    return np.random.default_rng(seed).standard_normal((*batch, 2, *SIZES[axes]))


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("batch", [(), (1,)])
def test_an_array_goes_in_as_it_is(axes, batch, capsys):
    model, x = write_model(axes), sample(axes, *batch)
    np.save("x.npy", x)
    assert main(["explain", "m.onnx", "x.npy", "--target", "1", "-o", "x.png", "--npz", "x.npz"]) == 0
    assert "preprocessing" not in capsys.readouterr().err
    why = model.explain(x.reshape(2, *SIZES[axes]).astype(np.float32), target=1)
    with np.load("x.npz") as arrays:
        np.testing.assert_array_equal(arrays["map"], why.map)
    np.testing.assert_array_equal(pixels("x.png"), why.overlay(pictured(x.reshape(2, *SIZES[2]).astype(np.float32)) if axes == 2 else None))


def test_slices_are_chosen(capsys):
    model, x = write_model(3), sample(3)
    np.save("x.npy", x)
    why = model.explain(x.astype(np.float32), target=0)
    for numbers, slices in ((["2"], 2), (["3", "0"], [3, 0])):
        assert main(["explain", "m.onnx", "x.npy", "--target", "0", "--slices", *numbers, "-o", "x.png"]) == 0
        np.testing.assert_array_equal(pixels("x.png"), why.overlay(slices=slices))
    assert main(["explain", "m.onnx", "x.npy", "--slices", "5"]) == 2
    assert "slices: expected 1 to 4 slices, got 5" in capsys.readouterr().err


def test_a_file_of_several_has_a_result_for_each(tmp_path, capsys):
    model, x = write_model(1), sample(1, 3)
    np.save("x.npy", x)
    assert main(["explain", "m.onnx", "x.npy", "-o", "out", "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [r["picture"] for r in records] == ["x.npy[0]", "x.npy[1]", "x.npy[2]"]
    classes = model(x.astype(np.float32)).argmax(1)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(f"x.{i}.{c}.png" for i, c in enumerate(classes))


def test_integers_and_booleans_are_numbers():
    write_model(2)
    counts = np.random.default_rng(0).integers(0, 255, (2, *SIZES[2]), np.uint8)
    for name, array in (("a", counts), ("b", counts.astype(np.float32)), ("c", counts.astype(">f8"))):
        np.save(f"{name}.npy", array)
        assert main(["explain", "m.onnx", f"{name}.npy", "--target", "0", "-o", f"{name}.png"]) == 0
    np.testing.assert_array_equal(pixels("a.png"), pixels("b.png"))
    np.testing.assert_array_equal(pixels("a.png"), pixels("c.png"))


def two_inputs():
    """A picture and a vector that is added to its features."""
    rng = np.random.default_rng(0)
    w = {"w": rng.standard_normal((4, 2, 3, 3)).astype(np.float32), "fc": rng.standard_normal((4, 3)).astype(np.float32)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["conv"], pads=[1] * 4),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("GlobalAveragePool", ["relu"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Mul", ["features", "extra"], ["sum"]),
        helper.make_node("MatMul", ["sum", "fc"], ["y"]),
    ]
    return model_bytes(nodes, {"x": ["N", 2, *SIZES[2]], "extra": ["N", 4]}, {"y": ["N", 3]}, w)


def test_several_inputs_come_by_name():
    with open("m.onnx", "wb") as file:
        file.write(two_inputs())
    x, extra = sample(2, 2).astype(np.float32), np.asarray([[1, 2, 3, 4], [4, 0, 1, -1]], np.float32)
    np.savez("x.npz", x=x, extra=extra)
    assert main(["explain", "m.onnx", "x.npz", "--target", "2", "-o", ".", "--npz", "out"]) == 0
    want = gradcam.load("m.onnx").explain({"x": x, "extra": extra}, target=2)
    for i in range(2):
        with np.load(f"out/x.{i}.2.npz") as arrays:
            np.testing.assert_array_equal(arrays["map"], want.map[i])
        np.testing.assert_array_equal(pixels(f"x.{i}.2.png"), want.overlay(pictured(x[i]), picture=i))
    np.savez("one.npz", x=x[0], extra=extra[0])
    assert main(["explain", "m.onnx", "one.npz", "--target", "2", "--npz", "one.out.npz"]) == 0
    with np.load("one.out.npz") as arrays:
        np.testing.assert_array_equal(arrays["map"], want.map[0])


@pytest.mark.parametrize(
    ("content", "name", "text"),
    [
        (np.zeros((2, 40, 1)), "x.npy", "x.npy: expected an array of shape (N, 2, 40) for input 'x', got (2, 40, 1)"),
        (np.zeros((2, 41)), "x.npy", "expected an array of shape (N, 2, 40) for input 'x', got (2, 41)"),
        (np.zeros((0, 2, 40)), "x.npy", "expected an array of shape (N, 2, 40)"),
        (np.zeros(40), "x.npy", "expected an array of shape"),
        (np.zeros((2, 40), complex), "x.npy", "expected real numbers for input 'x', got complex128"),
        (b"text", "x.npy", "x.npy: expected a .npy file as numpy.save writes it"),
        (b"text", "x.npz", "x.npz: this array cannot be read"),
        (b"PK\x03\x04" + bytes(9), "x.npz", "x.npz: this array cannot be read"),
        ({"y": np.zeros((2, 40))}, "x.npz", "x.npz: expected the inputs x, got y"),
        ({}, "x.npz", "x.npz: expected the inputs x, got no arrays"),
        (b"no photo either", "x.png", "x.png: this model takes no photo but arrays: expected a .npy file with x (N, 2, 40)"),
    ],
)
def test_a_file_that_does_not_fit_fails_alone(content, name, text, tmp_path, capsys):
    write_model(1)
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif isinstance(content, dict):
        np.savez(name, **content)
    else:
        np.save(name, content)
    np.save("good.npy", sample(1))
    assert main(["explain", "m.onnx", name, "good.npy", "missing.npy", "-o", "out"]) == 1
    err = capsys.readouterr().err
    assert text in err
    assert "missing.npy" in err
    assert "Traceback" not in err
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_objects_are_never_unpickled(capsys):
    write_model(1)
    np.save("x.npy", np.asarray([{}], object), allow_pickle=True)
    np.savez("x.npz", x=np.asarray([{}], object))
    assert main(["explain", "m.onnx", "x.npy", "x.npz"]) == 1
    assert capsys.readouterr().err.count("this array cannot be read: Object arrays cannot be loaded") == 2


def test_several_inputs_want_names(capsys):
    with open("m.onnx", "wb") as file:
        file.write(two_inputs())
    np.save("x.npy", sample(2))
    np.savez("uneven.npz", x=sample(2, 2), extra=np.zeros((3, 4)))
    assert main(["explain", "m.onnx", "x.npy", "photo.png", "uneven.npz"]) == 1
    err = capsys.readouterr().err
    assert "x.npy: expected a .npz file with the inputs x, extra" in err
    assert "photo.png: this model takes no photo but arrays: expected a .npz file with x (N, 2, 12, 10); extra (N, 4)" in err
    assert "uneven.npz: expected as many pictures in each input, got 2, 3" in err


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_signs_of_arrays(axes, capsys):
    write_model(axes)
    np.save("x.npy", sample(axes))
    assert main(["signs", "m.onnx", "x.npy", "--target", "1"]) == 0
    assert capsys.readouterr().out.startswith("x.npy\n")
    assert main(["signs", "m.onnx", "x.npy", "--target", "1", "-o", "s.png"]) == (2 if axes == 3 else 0)


@pytest.mark.parametrize("command", ["explain", "signs"])
def test_pictures_run_together(command, tmp_path, capsys, monkeypatch):
    """Batches hold pictures of equal shapes; the results are those of one by one."""
    from gradcam.session import Session

    runs, execute = [], Session.execute

    def counting(self, plan, bound, *arguments, **keywords):
        runs.append(bound.pictures)
        return execute(self, plan, bound, *arguments, **keywords)

    monkeypatch.setattr(Session, "execute", counting)
    (tmp_path / "m.onnx").write_bytes(resnet(size="S"))
    rng = np.random.default_rng(0)
    names = []
    for i, (count, size) in enumerate([(3, 16), (2, 16), (1, 20), (2, 20)]):
        np.save(f"x{i}.npy", rng.standard_normal((count, 3, size, size)))
        names.append(f"x{i}.npy")
    common = [command, "m.onnx", *names, "--target", "1", "2", "--json"]
    found = {}
    for size in (1, 4):
        runs.clear()
        assert main([*common, "--batch-size", str(size), "-o", f"out{size}"]) == 0
        assert runs[: 8 if size == 1 else 3] == ([1] * 8 if size == 1 else [4, 1, 3]) if command == "explain" else runs[0] == size
        found[size] = capsys.readouterr()
    assert found[4].out == found[1].out.replace("out1", "out4")
    assert found[4].err == found[1].err.replace("out1", "out4")
    pictures = sorted(p.name for p in (tmp_path / "out1").iterdir())
    assert len(pictures) == 16
    for name in pictures:
        assert (tmp_path / "out1" / name).read_bytes() == (tmp_path / "out4" / name).read_bytes()
    assert main([*common, "--batch-size", "0"]) == 2
    assert f"{command}: --batch-size: expected at least 1, got 0" in capsys.readouterr().err


def test_too_large_a_batch_says_so(tmp_path, capsys):
    (tmp_path / "m.onnx").write_bytes(resnet(size="S"))
    np.save("x.npy", np.zeros((8, 3, 64, 64)))
    arguments = ["explain", "m.onnx", "x.npy", "--target", "1", "--layer", "stage1", "--max-bytes", "1500000", "-o", "out"]
    assert main([*arguments, "--batch-size", "8"]) == 2
    assert "max_bytes allows 1500000: pass fewer pictures, or batch_size=" in capsys.readouterr().err
    assert main(arguments) == 0
    assert len(list((tmp_path / "out").iterdir())) == 8


def test_info_says_what_a_model_takes(tmp_path, capsys):
    for content, text in (
        (conv_net(1), "takes a .npy file with x (N, 2, 40)"),
        (conv_net(3), "takes a .npy file with x (N, 2, 4, 12, 10)"),
        (two_inputs(), "takes a .npz file with x (N, 2, 12, 10); extra (N, 4)"),
        (resnet(), "prepares pictures as short side 16x16, centre crop, rgb"),
    ):
        (tmp_path / "m.onnx").write_bytes(content)
        assert main(["info", "m.onnx"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[-1].startswith(text)
        assert sum(line.endswith("<- default") for line in lines) == 1


@pytest.mark.parametrize("axes", [1, 3])
def test_info_draws_signals_and_volumes_with_their_sizes(axes, tmp_path, capsys):
    (tmp_path / "m.onnx").write_bytes(conv_net(axes))
    assert main(["info", "m.onnx"]) == 0
    lines = capsys.readouterr().out.splitlines()
    shape = f"(1, 6, {', '.join(map(str, SIZES[axes]))})"
    assert lines[lines.index("layers") + 1 : -1] == [f"  conv  Conv         {shape}", f"  relu  Relu         {shape}  <- default"]


def test_photos_of_a_model_with_open_sizes(tmp_path, capsys):
    (tmp_path / "m.onnx").write_bytes(resnet(size="S"))
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 100, 3), np.uint8)).save("photo.png")
    model = gradcam.load("m.onnx")
    for size, steps in (
        ([], gradcam.Preprocess.preset("imagenet", size=(224, 224))),
        (["--size", "48", "80"], gradcam.Preprocess.preset("imagenet", size=(48, 80))),
    ):
        assert main(["explain", "m.onnx", "photo.png", *size, "--target", "1", "--npz", "a.npz", "-o", "a.png"]) == 0
        with np.load("a.npz") as arrays:
            assert arrays["map"].shape == steps.size
            np.testing.assert_array_equal(arrays["map"], model.explain(steps(pixels("photo.png"))[0], target=1).map)
        assert pixels("a.png").shape == (80, 100, 3)
    capsys.readouterr()
