from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from gradcam import ModelFormatError, Preprocess
from gradcam.preprocess import open_image


def picture(height=40, width=60, channels=3, seed=0):
    shape = (height, width, channels) if channels else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def encoded(image, format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    buffer.seek(0)
    return buffer


@pytest.mark.parametrize(
    ("preset", "want"),
    [
        ("imagenet", lambda x: (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]),
        ("caffe", lambda x: x[..., ::-1] - [104.0, 117.0, 123.0]),
        ("unit", lambda x: x / 255),
        ("signed", lambda x: x / 127.5 - 1),
        ("raw", lambda x: x),
    ],
)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_presets(preset, want, layout):
    x = picture(32, 32)
    got = Preprocess.preset(preset, size=(32, 32), layout=layout)
    got = Preprocess(**{f: getattr(got, f) for f in got.__slots__} | {"resize": "exact"})(x)
    assert got.dtype == np.float32
    assert got.shape == ((1, 3, 32, 32) if layout == "NCHW" else (1, 32, 32, 3))
    got = got[0].transpose(1, 2, 0) if layout == "NCHW" else got[0]
    np.testing.assert_allclose(got, want(x.astype(np.float64)), rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("name", ["000000000285", "000000000450", "000000000785"])
def test_the_golden_input_of_a_trained_model(shared, name):
    golden = np.load(shared / "models" / "golden" / f"squeezenet1.0_coco{int(name)}.npz")["input"]
    image = open_image(shared / "images" / f"{name}.jpg")
    height, width = image.shape[:2]
    scale = 256 / min(height, width)  # that model's own rule: short side 256, crop 227
    resized = Image.fromarray(image).resize((round(width * scale), round(height * scale)), Image.Resampling.BILINEAR)
    steps = Preprocess.preset("caffe", size=(227, 227))
    cropped = Preprocess(**{f: getattr(steps, f) for f in steps.__slots__} | {"resize": "none"})(np.asarray(resized))
    np.testing.assert_allclose(cropped, golden, atol=1.0)


def test_short_side_and_centre_crop():
    steps = Preprocess.preset("raw", size=(56, 56))
    assert steps(picture(100, 200)).shape == (1, 3, 56, 56)
    top, left, bottom, right = steps.placement((100, 200))
    assert (bottom - top, right - left) == pytest.approx((100 * 56 / 64, 100 * 56 / 64))
    assert (top + bottom) / 2 == pytest.approx(50, abs=1)
    assert (left + right) / 2 == pytest.approx(100, abs=1)


def test_a_map_goes_back_to_where_the_model_looked():
    steps = Preprocess.preset("raw", size=(56, 56))
    image = np.zeros((100, 200, 3), np.uint8)
    image[20:30, 110:120] = 255
    x = steps(image)[0].mean(0)
    placed = steps.place(x / x.max(), (100, 200))
    assert placed.shape == (100, 200)
    assert np.isnan(placed[:, :50]).all()
    assert np.isnan(placed[:, 150:]).all()
    row, column = np.unravel_index(np.nanargmax(placed), placed.shape)
    assert 19 <= row <= 30
    assert 109 <= column <= 120
    exact = Preprocess((10, 10), resize="exact", crop=False)
    assert np.isfinite(exact.place(np.ones((10, 10), np.float32), (31, 17))).all()


def test_grey_models_and_grey_pictures():
    grey = Preprocess((8, 8), resize="exact", channels="grey", scale=1.0)
    np.testing.assert_array_equal(grey(picture(8, 8, 0))[0, 0], picture(8, 8, 0))
    assert grey(picture(9, 9, 3)).shape == (1, 1, 8, 8)
    rgb = Preprocess((8, 8), resize="exact", scale=1.0)
    np.testing.assert_array_equal(rgb(picture(8, 8, 1))[0], np.repeat(picture(8, 8, 1).transpose(2, 0, 1), 3, 0))


def test_metadata():
    steps = Preprocess.from_metadata(json.dumps({"size": [4, 6], "channels": "bgr", "mean": [1, 2, 3], "std": 2.0, "scale": 1}))
    assert steps == Preprocess((4, 6), channels="bgr", mean=(1.0, 2.0, 3.0), std=2.0, scale=1)
    for bad in ("no json", "[]", '{"channels": "rgb"}', '{"size": [4, 6], "colour": 1}', '{"size": [0, 6]}', '{"size": [4, 6], "std": 0}'):
        with pytest.raises(ModelFormatError, match=r"gradcam\.preprocess"):
            Preprocess.from_metadata(bad)


class Pipe(io.RawIOBase):
    """A stream that can be read once."""

    def __init__(self, content):
        self.rest = io.BytesIO(content)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self.rest.readinto(buffer)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP", "WEBP", "TIFF"])
def test_formats_from_files_and_streams(format, tmp_path):
    options = {"lossless": True} if format == "WEBP" else {}
    content = encoded(Image.fromarray(picture(10, 20)), format, **options).getvalue()
    path = tmp_path / "picture"
    path.write_bytes(content)
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    for source in (path, str(path), io.BytesIO(content), io.BufferedReader(Pipe(content))):
        np.testing.assert_array_equal(open_image(source), expected)


def test_orientation_transparency_palette_and_sixteen_bits():
    image = Image.fromarray(picture(10, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    assert open_image(encoded(image, "JPEG", exif=exif)).shape == (20, 10, 3)
    clear = np.zeros((4, 4, 4), np.uint8)
    assert (open_image(encoded(Image.fromarray(clear))) == 255).all()
    assert open_image(encoded(image.convert("P"))).shape == (10, 20, 3)
    assert open_image(encoded(image.convert("CMYK"), "TIFF")).shape == (10, 20, 3)
    deep = Image.fromarray(np.full((4, 4), 0x8000, np.uint16))
    assert (open_image(encoded(deep)) == 128).all()
    assert open_image(encoded(image.convert("L"))).shape == (10, 20)


def test_what_is_no_picture(tmp_path):
    for name, content in (
        ("empty.png", b""),
        ("text.png", b"hello"),
        ("cut.jpg", encoded(Image.fromarray(picture(200, 200)), "JPEG").read()[:900]),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=name):
            open_image(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        open_image(tmp_path / "missing.png")


def test_a_bomb_is_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match="cannot be read"):
        open_image(encoded(Image.fromarray(picture(11, 11))))


def test_bad_fields_and_pictures():
    for bad in ({"size": (4,)}, {"resize": "fit"}, {"channels": "xyz"}, {"mean": (1, 2)}, {"std": np.nan}, {"layout": "HW"}):
        with pytest.raises(ValueError, match=f"Preprocess: {next(iter(bad))}"):
            Preprocess(**{"size": (4, 4)} | bad)
    with pytest.raises(ValueError, match="preset"):
        Preprocess.preset("nothing", size=(4, 4))
    with pytest.raises(ValueError, match="preprocess: image: expected uint8"):
        Preprocess((4, 4))(np.zeros((4, 4, 3)))
