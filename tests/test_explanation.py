from __future__ import annotations

import io
import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gradcam

DATA = Path(str(files("gradcam") / "data"))
SCENE = DATA / "scene_1.png"
DIGIT, OTHER = (json.loads((DATA / "scenes.json").read_text())[f"scene_{i}.png"]["digits"][0] for i in (1, 2))


@pytest.fixture(scope="module")
def model():
    return gradcam.load(DATA / "digits.onnx")


def decoded(png):
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image)


def test_the_one_liner_takes_paths_models_and_arrays(model):
    with Image.open(SCENE) as image:
        pixels = np.asarray(image)
    found = [gradcam.explain(m, image, target=DIGIT) for m, image in ((DATA / "digits.onnx", SCENE), (model, str(SCENE)), (model, pixels))]
    for why in found:
        assert why.map.shape == (64, 64)
        assert why.raw.tobytes() == found[0].raw.tobytes()
        assert why.overlay().shape == (64, 64, 3)
    other = gradcam.explain(model, SCENE, target=DIGIT, preprocess=gradcam.Preprocess.preset("signed", size=(64, 64), channels="grey"))
    assert other.raw.tobytes() != found[0].raw.tobytes()


def test_a_photo_is_painted_only_where_the_model_looked(model):
    photo = np.full((128, 256, 3), 90, np.uint8)
    steps = gradcam.Preprocess((64, 64), channels="grey")
    why = gradcam.explain(model, photo, target=DIGIT, preprocess=steps, relu=False)
    drawn = why.overlay()
    assert drawn.shape == photo.shape
    assert (drawn[:, :60] == 90).all()
    assert (drawn[:, -60:] == 90).all()
    assert (drawn[40:90, 100:160] != 90).any()


def test_saving(model, tmp_path):
    why = gradcam.explain(model, SCENE, target=DIGIT)
    why.save(tmp_path / "a.png")
    why.save(tmp_path / "a.npz")
    np.testing.assert_array_equal(decoded((tmp_path / "a.png").read_bytes()), why.overlay())
    with np.load(tmp_path / "a.npz") as arrays:
        np.testing.assert_array_equal(arrays["map"], why.map)
        np.testing.assert_array_equal(arrays["raw"], why.raw)
        assert str(arrays["target"][0]) == f"class {DIGIT}"
    with pytest.raises(ValueError, match=r"save: path: expected a name that ends in \.png or \.npz"):
        why.save(tmp_path / "a.jpg")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", "a.png"]


def test_nothing_is_written_half(model, tmp_path, monkeypatch):
    why = gradcam.explain(model, SCENE, target=DIGIT)
    (tmp_path / "a.npz").write_bytes(b"before")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        why.save(tmp_path / "a.npz")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.npz", b"before")]


def test_a_batch_is_iterable(model):
    x = np.concatenate([model.preprocess(gradcam.preprocess.open_image(DATA / f"scene_{i}.png")) for i in (1, 2)])
    why = model.explain(x, target=[DIGIT, OTHER])
    assert len(why) == 2
    for i, one in enumerate(why):
        np.testing.assert_array_equal(one.map, why.map[i])
        np.testing.assert_array_equal(one.weights, why.weights[i])
        assert one.score == why.score[i]
        assert one.target == why.target[i : i + 1]
        assert len(one) == 1
    assert f"class {DIGIT}" in repr(why)
    np.testing.assert_array_equal(why.overlay(picture=1), why[1].overlay())


def test_notebooks_and_matplotlib(model):
    pytest.importorskip("matplotlib")
    why = gradcam.explain(model, SCENE, target=DIGIT)
    np.testing.assert_array_equal(decoded(why._repr_png_()), why.overlay())
    axes = why.plot()
    assert axes.get_title() == f"class {DIGIT}, gradcam"
    assert why.plot(axes) is axes


def test_signed_maps_keep_zero(model):
    why = gradcam.explain(model, SCENE, target=DIGIT, relu=False)
    assert -1 <= why.map.min() < 0 < why.map.max() <= 1
    assert np.abs(why.map).max() == 1
