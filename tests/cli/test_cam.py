from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

import gradcam
from gradcam.cli import main
from gradcam.render.colormap import colormap


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("warnings.showwarning", lambda *a, **k: None)  # main() replaces it; put back afterwards


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def picture(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture
def arrays(tmp_path):
    rng = np.random.default_rng(0)
    a = np.maximum(rng.standard_normal((3, 8, 5, 7)), 0).astype(np.float32)
    g = rng.standard_normal(a.shape).astype(np.float32)
    np.save(tmp_path / "a.npy", a)
    np.save(tmp_path / "g.npy", g)
    return a, g


@pytest.mark.parametrize(
    ("method", "compat"),
    [("gradcam", "captum"), *((m, c) for m in ("gradcam", "layercam", "gradcam++") for c in ("paper", "pytorch-grad-cam", "torchcam"))],
)
def test_npy_holds_what_cam_returns(arrays, tmp_path, capsys, method, compat):
    for extra, options in (([], {}), (["--signed"], {"relu": False})):
        assert main(["cam", "a.npy", "g.npy", "--method", method, "--compat", compat, *extra, "-o", "map.npy"]) == 0
        want = gradcam.cam(*arrays, method=method, compat=compat, **options)
        got = np.load("map.npy")
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"a.npy: {method}, maps (3, 5, 7) -> map.npy" in captured.err
    assert names(tmp_path) == ["a.npy", "g.npy", "map.npy"]


def test_channels_last(arrays, tmp_path):
    for name, array in zip("ag", arrays, strict=True):
        np.save(tmp_path / f"last_{name}.npy", np.asfortranarray(np.moveaxis(array, 1, -1)))
    assert main(["cam", "last_a.npy", "last_g.npy", "--channel-axis", "-1", "-o", "map.npy"]) == 0
    np.testing.assert_allclose(np.load("map.npy"), gradcam.grad_cam(*arrays), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("axes", [1, 3])
def test_maps_that_are_no_pictures_are_written_as_arrays_only(tmp_path, capsys, axes):
    a = np.random.default_rng(1).random((2, 3, *(4, 5, 6)[:axes]))
    np.save(tmp_path / "a.npy", a)
    assert main(["cam", "a.npy", "a.npy", "-o", "map.npy"]) == 0
    np.testing.assert_array_equal(np.load("map.npy"), gradcam.grad_cam(a, a))
    for output in ("map.png", "folder"):
        assert main(["cam", "a.npy", "a.npy", "-o", output]) == 2
        assert (
            "cam: -o: expected FILE.npy, since only maps with two spatial axes can be drawn; got maps of shape (2, 4"
            in capsys.readouterr().err
        )
    assert names(tmp_path) == ["a.npy", "map.npy"]


def test_png_is_the_first_finished_map_alone(arrays):
    assert main(["cam", "a.npy", "g.npy", "-o", "map.png"]) == 0
    finished = gradcam.postprocess(gradcam.cam(*arrays, relu=False), (160, 224))[0]
    got = picture("map.png")
    np.testing.assert_array_equal(got, gradcam.overlay(np.zeros((160, 224)), finished, alpha=1.0))
    assert got.shape == (160, 224, 3)
    brightest = np.unravel_index(finished.argmax(), finished.shape)
    np.testing.assert_array_equal(got[brightest], colormap("viridis")[255])


@pytest.mark.parametrize("compat", ["paper", "pytorch-grad-cam", "torchcam", "captum"])
def test_png_over_a_picture(arrays, tmp_path, compat):
    photo = np.random.default_rng(2).integers(0, 256, (40, 30, 3), np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    assert main(["cam", "a.npy", "g.npy", "--image", "photo.png", "--compat", compat, "-o", "map.png"]) == 0
    raw = gradcam.cam(*arrays, relu=False)
    size = (40, 30) if compat in ("paper", "pytorch-grad-cam") else None
    finished = gradcam.postprocess(raw, size, compat=compat, normalize="absmax" if compat == "captum" else None)[0]
    assert (finished.min() < 0) == (compat == "captum")
    np.testing.assert_array_equal(picture("map.png"), gradcam.overlay(photo, finished))


def test_a_signed_picture_is_drawn_with_a_diverging_table(arrays):
    assert main(["cam", "a.npy", "g.npy", "--signed", "-o", "map.png"]) == 0
    finished = gradcam.postprocess(gradcam.cam(*arrays, relu=False), (160, 224), relu=False)[0]
    np.testing.assert_array_equal(picture("map.png"), gradcam.overlay(np.zeros((160, 224)), finished, alpha=1.0, cmap="diverging"))


def test_a_folder_gets_the_maps_and_a_picture_of_each(arrays, tmp_path):
    assert main(["cam", "a.npy", "g.npy", "--method", "hirescam", "-o", "out/maps"]) == 0
    folder = tmp_path / "out" / "maps"
    assert names(folder) == ["a.0.hirescam.png", "a.1.hirescam.png", "a.2.hirescam.png", "a.hirescam.npy"]
    np.testing.assert_array_equal(np.load(folder / "a.hirescam.npy"), gradcam.hires_cam(*arrays))
    drawn = [picture(folder / f"a.{i}.hirescam.png") for i in range(3)]
    for i in range(3):
        np.save(tmp_path / f"a{i}.npy", arrays[0][i : i + 1])
        np.save(tmp_path / f"g{i}.npy", arrays[1][i : i + 1])
        assert main(["cam", f"a{i}.npy", f"g{i}.npy", "--method", "hirescam", "-o", "one.png"]) == 0
        np.testing.assert_array_equal(picture("one.png"), drawn[i])
    assert (drawn[0] != drawn[1]).any()


def test_a_mode_that_does_not_normalise_is_drawn_to_scale(tmp_path):
    a = np.random.default_rng(3).random((1, 2, 4, 4)) / 1000
    np.save(tmp_path / "a.npy", a)
    assert main(["cam", "a.npy", "a.npy", "--compat", "captum", "-o", "map.png"]) == 0
    shares = gradcam.normalize(gradcam.grad_cam(a, a), "max")[0]
    np.testing.assert_array_equal(picture("map.png"), gradcam.overlay(np.zeros((224, 224)), shares, alpha=1.0))


@pytest.mark.filterwarnings("default::gradcam.BlankMapWarning")
def test_a_blank_map_is_drawn_with_a_warning(tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.ones((1, 2, 3, 3)))
    np.save(tmp_path / "g.npy", -np.ones((1, 2, 3, 3)))
    assert main(["cam", "a.npy", "g.npy", "-o", "map.png"]) == 0
    assert "cam: blank map: the raw map is nowhere positive (relu=False shows it) for image 0" in capsys.readouterr().err
    np.testing.assert_array_equal(picture("map.png").reshape(-1, 3), np.tile(colormap("viridis")[0], (225 * 225, 1)))
    assert main(["cam", "a.npy", "g.npy", "--signed", "-o", "map.png"]) == 0
    assert "blank" not in capsys.readouterr().err
    np.testing.assert_array_equal(picture("map.png")[0, 0], colormap("diverging")[0])


def test_gradients_may_be_left_out_where_the_method_does_not_need_them(arrays, capsys):
    a, _ = arrays
    assert main(["cam", "a.npy", "--method", "fem", "--signed", "-o", "map.npy"]) == 0
    np.testing.assert_array_equal(np.load("map.npy"), gradcam.cam(a, method="fem", relu=False))
    assert main(["cam", "a.npy", "-o", "map.npy"]) == 2
    assert "cam: GRADIENTS.npy: expected a file, since method 'gradcam' needs gradients; got none" in capsys.readouterr().err


def bad_files(tmp_path, arrays):
    a, _ = arrays
    np.savez(tmp_path / "both.npz", a=a)
    (tmp_path / "renamed.npy").write_bytes((tmp_path / "both.npz").read_bytes())
    np.save(tmp_path / "objects.npy", np.asarray([{}], object), allow_pickle=True)
    (tmp_path / "short.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-5])
    (tmp_path / "header.npy").write_bytes(b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f4',")
    (tmp_path / "text.npy").write_text("1 2 3")
    (tmp_path / "empty.npy").write_bytes(b"")
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6, 10**3)})
    (tmp_path / "huge.npy").write_bytes(buffer.getvalue())
    np.save(tmp_path / "integers.npy", np.ones((3, 8, 5, 7), int))
    np.save(tmp_path / "other.npy", a[:, :, :4])
    np.save(tmp_path / "none.npy", a[:0])
    (tmp_path / "notes.txt").write_text("no picture")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["both.npz", "g.npy"], "cam: both.npz: expected a .npy file, got a .npz file"),
        (["a.npy", "renamed.npy"], "cam: renamed.npy: expected a .npy file, got a .npz file"),
        (["objects.npy", "g.npy"], "cam: objects.npy: this array cannot be read: Object arrays cannot be loaded"),
        (["short.npy", "g.npy"], "cam: short.npy: this array cannot be read"),
        (["header.npy", "g.npy"], "cam: header.npy: this array cannot be read"),
        (["huge.npy", "g.npy"], "cam: huge.npy: this array cannot be read"),
        (["text.npy", "g.npy"], "cam: text.npy: expected a .npy file as numpy.save writes it, got something else"),
        (["empty.npy", "g.npy"], "cam: empty.npy: expected a .npy file"),
        (["missing.npy", "g.npy"], "missing.npy"),
        (["integers.npy", "g.npy"], "cam: activations: expected"),
        (["a.npy", "other.npy"], "cam: gradients: expected shape (3, 8, 5, 7) like the activations, got (3, 8, 4, 7)"),
        (["a.npy", "g.npy", "--method", "magic"], "cam: method: expected one of gradcam"),
        (["a.npy", "g.npy", "--compat", "magic"], "compat: expected one of 'paper'"),
        (["a.npy", "g.npy", "--channel-axis", "0"], "cam: channel_axis: expected an axis"),
        (["a.npy", "g.npy", "--image", "notes.txt"], "notes.txt: this is no picture"),
        (["none.npy", "none.npy"], "cam: -o: expected FILE.npy or a folder, since there is no picture to draw"),
    ],
)
def test_what_cannot_start_ends_with_2_and_writes_nothing(arrays, tmp_path, capsys, arguments, text):
    bad_files(tmp_path, arrays)
    before = names(tmp_path)
    assert main(["cam", *arguments, "-o", "map.png"]) == 2
    captured = capsys.readouterr()
    assert text in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert names(tmp_path) == before


def test_an_empty_batch_has_an_empty_array(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((0, 8, 5, 7), np.float32))
    assert main(["cam", "a.npy", "a.npy", "-o", "out"]) == 0
    assert names(tmp_path / "out") == ["a.gradcam.npy"]
    assert np.load("out/a.gradcam.npy").shape == (0, 5, 7)


@pytest.mark.parametrize("output", ["a.npy", "./g.npy", "photo.png", "folder"])
def test_an_input_is_never_overwritten(arrays, tmp_path, capsys, output):
    Image.fromarray(np.zeros((8, 9), np.uint8)).save(tmp_path / "photo.png")
    inputs = ["a.npy", "g.npy", "photo.png"]
    if output == "folder":  # the name that the array would get
        (tmp_path / "folder").mkdir()
        (tmp_path / "g.npy").rename(tmp_path / "folder" / "a.gradcam.npy")
        inputs[1] = "folder/a.gradcam.npy"
    before = {name: (tmp_path / name).read_bytes() for name in inputs}
    assert main(["cam", *inputs[:2], "--image", "photo.png", "-o", output]) == 2
    assert "is an input and would be overwritten" in capsys.readouterr().err
    assert {name: (tmp_path / name).read_bytes() for name in inputs} == before


def test_usage(capsys):
    for arguments in (["cam"], ["cam", "a.npy", "g.npy"], ["cam", "a.npy", "g.npy", "--channel-axis", "x", "-o", "map.npy"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
    with pytest.raises(SystemExit) as ended:
        main(["cam", "--help"])
    assert ended.value.code == 0
    assert "ACTIVATIONS.npy" in capsys.readouterr().out
