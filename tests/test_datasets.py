"""Scenes: the same bits everywhere, boxes and masks that fit each other, splits that share nothing, settings that are checked."""

from __future__ import annotations

import hashlib
import sys

import numpy as np
import pytest

from gradcam.datasets import DISTRACTOR, REGIONS, SHAPES, TEXTURES, Handwriting, digit_scenes, load_handwriting, shape_scenes
from gradcam.datasets.draws import Draws
from gradcam.errors import MissingExtraError


def glyphs():
    """Two drawings of each digit, 8 x 8, made of the bits of its number: no scikit-learn needed."""
    images = np.zeros((20, 8, 8))
    for i in range(20):
        images[i, 1:7, 2:6] = 4
        images[i, 1:7, 2 + i % 4] = 16
        images[i, 1 + i % 6, 2:6] = 15 - i % 3
    return Handwriting(images, np.arange(20) % 10)


def digits(count, **settings):
    return digit_scenes(count, handwriting=glyphs(), **settings)


MAKERS = pytest.mark.parametrize("make", [digits, shape_scenes])
ARRAYS = ("images", "labels", "classes", "boxes", "owner", "negative")


def digest(scenes):
    """Hash of all arrays, little endian."""
    parts = [np.ascontiguousarray(getattr(scenes, name)) for name in ARRAYS]
    return hashlib.sha256(b"".join(a.astype(a.dtype.newbyteorder("<")).tobytes() for a in parts)).hexdigest()[:16]


def same(a, b):
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ARRAYS)


# Same bits ------------------------------------------------------------------------------------------------------------


def test_the_bits_are_those_of_every_other_machine():
    assert digest(digits(30, seed=5, contrast="mixed")) == "89fb1b77169006db"
    assert digest(digits(30, seed=5, split="test", size=48, objects=(0, 2), scale=(10, 15.5), distractors=0)) == "59fd3df989b3baaf"
    assert digest(shape_scenes(30, seed=5, contrast="mixed")) == "2c7f3ee01f5268c3"
    assert digest(shape_scenes(30, seed=5, by="texture", split="validation")) == "991056c0db2efc0b"


def test_the_bits_of_real_handwriting():
    pytest.importorskip("sklearn")
    assert digest(digit_scenes(30, seed=2)) == "932bd7fcf25fd184"


@MAKERS
def test_a_scene_does_not_depend_on_how_many_are_made(make):
    many, few = make(105, seed=1), make(3, seed=1)
    assert same(many[:3], few)
    assert not np.array_equal(many.images[0], many.images[100])  # the second chunk is not the first again


@MAKERS
def test_other_seeds_and_splits_are_other_scenes(make):
    made = [make(2, seed=seed, split=split) for seed in (0, 1) for split in ("train", "validation", "test")]
    assert len({digest(scenes) for scenes in made}) == 6


def test_draws_by_hand():
    raw = np.random.PCG64(np.random.SeedSequence((3, 4))).random_raw(2)
    assert Draws(3, 4).uniform(-1, 1, (2,)).tolist() == [float(int(r) >> 11) / 2**53 * 2 - 1 for r in raw]
    octets = [b for r in raw for b in int(r).to_bytes(8, "little")]
    expected = [(sum(octets[i : i + 4]) - 510) / 147.8 for i in (0, 4, 8)]
    np.testing.assert_allclose(Draws(3, 4).noise((3,)), expected, rtol=1e-6)
    x, y = Draws(1).directions(50).T
    np.testing.assert_allclose(x * x + y * y, 1, rtol=1e-15)
    cosine, sine = Draws(2).turns(0.5, 50)
    np.testing.assert_allclose(cosine**2 + sine**2, 1, rtol=1e-15)
    assert np.abs(np.arctan2(sine, cosine)).max() <= 2 * np.arctan(0.5)


def test_draws_have_the_distributions_that_they_say():
    noise = Draws(0).noise((100_000,))
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.01
    counts = np.bincount(Draws(1).below(5, (50_000,)))
    assert counts.size == 5
    assert abs(counts / 10_000 - 1).max() < 0.05
    rows = Draws(2).distinct(2000, 3, 6)
    assert all(len(set(row)) == 3 for row in rows.tolist())
    assert abs(np.bincount(rows.reshape(-1)) / 1000 - 1).max() < 0.15


# What is in a scene ---------------------------------------------------------------------------------------------------


@MAKERS
@pytest.mark.parametrize("size", [64, 50])
def test_boxes_masks_and_labels_say_the_same(make, size):
    scenes = make(120, seed=7, size=size, scale=(14, 20))
    count = len(scenes.names)
    assert scenes.images.shape == scenes.owner.shape == (120, size, size)
    assert [getattr(scenes, name).dtype for name in ARRAYS] == [np.uint8, np.uint8, np.int64, np.int64, np.uint8, np.bool_]
    for i in range(120):
        present = scenes.classes[i] >= 0
        assert sorted(scenes.classes[i][present]) == np.flatnonzero(scenes.labels[i]).tolist()
        for slot, (c, box) in enumerate(zip(scenes.classes[i], scenes.boxes[i], strict=True)):
            rows, columns = np.nonzero(scenes.owner[i] == slot + 1)
            if c < 0:
                assert not rows.size
                assert not box.any()
            else:
                assert box.tolist() == [[rows.min(), rows.max() + 1], [columns.min(), columns.max() + 1]]
                assert np.array_equal(scenes.class_masks(int(c))[i], scenes.owner[i] == slot + 1)
                assert np.array_equal(scenes.class_boxes(int(c))[i], box)
    for c in range(count):
        absent = scenes.labels[:, c] == 0
        assert not scenes.class_masks(c)[absent].any()
        assert not scenes.class_boxes(c)[absent].any()
        assert (scenes.slots(c) < 0).tolist() == absent.tolist()


@MAKERS
def test_boxes_keep_apart(make):
    scenes = make(100, seed=3)
    for boxes, classes in zip(scenes.boxes, scenes.classes, strict=True):
        taken = np.zeros((66, 66), np.int64)
        for (top, bottom), (left, right) in boxes[classes >= 0]:
            taken[top : bottom + 1, left : right + 1] += 1
        assert taken.max() <= 1


@MAKERS
def test_regions_split_a_picture(make):
    scenes = make(40, seed=11)
    for c in (0, len(scenes.names) - 1):
        regions = scenes.regions(c)
        assert regions.shape == (40, len(REGIONS), 64, 64)
        assert (regions.sum(axis=1) == 1).all()
        own, other, distractor, ground = regions.swapaxes(0, 1)
        assert np.array_equal(own, scenes.class_masks(c))
        assert np.array_equal(distractor, scenes.owner == DISTRACTOR)
        assert np.array_equal(ground, scenes.owner == 0)
        assert other.any() and own.any()


@MAKERS
def test_ink_is_lighter_than_the_ground_and_darker_in_negative_contrast(make):
    light, dark, mixed = (make(60, seed=4, contrast=contrast) for contrast in ("positive", "negative", "mixed"))
    ink = (light.owner > 0) & (light.owner < DISTRACTOR)
    assert light.images[ink].mean() > light.images[light.owner == 0].mean() + 40
    assert np.array_equal(dark.images, 255 - light.images)
    assert np.array_equal(dark.owner, light.owner)
    assert 10 < mixed.negative.sum() < 50
    assert np.array_equal(mixed.images, np.where(mixed.negative[:, None, None], dark.images, light.images))


@MAKERS
def test_how_many_objects_and_distractors(make):
    scenes = make(250, seed=1, objects=(0, 2), distractors=0)
    assert set(scenes.labels.sum(axis=1)) == {0, 1, 2}
    assert not (scenes.owner == DISTRACTOR).any()
    assert scenes.classes.shape == (250, 2)
    assert (make(20, seed=1, distractors=5).owner == DISTRACTOR).any(axis=(1, 2)).all()
    assert set(make(60, objects=(2, 2), distractors=1).labels.sum(axis=1)) == {2}


@MAKERS
def test_every_class_is_about_as_frequent(make):
    shares = make(1000, seed=2).labels.mean(axis=0)
    assert shares.max() < 1.3 * shares.min()


def test_shapes_and_textures_are_labels_of_the_same_pictures():
    shapes, textures = shape_scenes(80, seed=9), shape_scenes(80, seed=9, by="texture")
    assert shapes.names == SHAPES
    assert textures.names == TEXTURES
    for name in ("images", "boxes", "owner", "negative"):
        assert np.array_equal(getattr(shapes, name), getattr(textures, name))
    assert np.array_equal(shapes.classes >= 0, textures.classes >= 0)
    pairs = {(s, t) for s, t in zip(shapes.classes.reshape(-1), textures.classes.reshape(-1), strict=True) if s >= 0}
    assert len(pairs) > 30  # drawn independently: nearly all 36 occur


def test_rows_differ_along_columns_and_columns_along_rows():
    """An object's stripes change across their own direction much more than along it."""
    scenes = shape_scenes(250, seed=0, by="texture", distractors=0)
    for name, across, along in (("rows", 0, 1), ("columns", 1, 0)):
        masks = scenes.class_masks(TEXTURES.index(name))
        change = []
        for axis in (across, along):
            inside = np.take(masks, range(1, 64), axis + 1) & np.take(masks, range(63), axis + 1)
            change.append(np.abs(np.diff(scenes.images.astype(float), axis=axis + 1))[inside].mean())
        assert change[0] > 2 * change[1]


@MAKERS
def test_subsets_and_inputs(make):
    scenes = make(12, seed=6)
    assert scenes.inputs.dtype == np.float32
    assert scenes.inputs.shape == (12, 1, 64, 64)
    np.testing.assert_array_equal(scenes.inputs[:, 0], (scenes.images / 255.0).astype(np.float32))
    chosen = scenes.labels[:, 1] == 1
    assert same(scenes[chosen], scenes[np.flatnonzero(chosen)])
    assert len(scenes[chosen]) == chosen.sum()
    assert scenes[2:5].names == scenes.names
    assert np.array_equal(scenes.boxes[tuple(scenes.objects.T)], scenes.boxes[scenes.classes >= 0])
    with pytest.raises(TypeError, match=r"Scenes: index: expected a slice or an array, got 3"):
        scenes[3]


@MAKERS
def test_no_scenes(make):
    scenes = make(0)
    assert len(scenes) == 0
    assert scenes.inputs.shape == (0, 1, 64, 64)
    assert scenes.regions(0).shape == (0, 4, 64, 64)
    assert shape_scenes(0, by="texture").names == TEXTURES


# Handwriting ----------------------------------------------------------------------------------------------------------


def test_splits_share_no_digit_and_hold_all_of_them():
    pytest.importorskip("sklearn")
    from sklearn.datasets import load_digits

    parts = [load_handwriting(split) for split in ("train", "validation", "test")]
    assert [len(part.labels) for part in parts] == [1078, 269, 450]
    data = load_digits()
    assert np.array_equal(np.concatenate([part.images for part in parts]), data.images)  # each digit of the file in one of them
    assert np.array_equal(np.concatenate([part.labels for part in parts]), data.target)
    assert all(set(part.labels) == set(range(10)) for part in parts)
    drawn = [{image.tobytes() for image in part.images} for part in parts]
    assert not (drawn[0] & drawn[1] or drawn[0] & drawn[2] or drawn[1] & drawn[2])  # nor does one occur twice


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingExtraError, match=r"gradcam-native\[experiments\]"):
        digit_scenes(1)
    assert len(shape_scenes(1)) == 1


# Bad input ------------------------------------------------------------------------------------------------------------

BAD = [
    ({"count": -1}, ValueError, "count: expected an integer of at least 0, got -1"),
    ({"count": 2.0}, TypeError, "count: expected an integer, got 2.0"),
    ({"count": True}, TypeError, "count: expected an integer, got True"),
    ({"seed": -1}, ValueError, "seed: expected an integer of at least 0, got -1"),
    ({"split": "dev"}, ValueError, "split: expected one of train, validation, test, got 'dev'"),
    ({"size": 8}, ValueError, "size: expected an integer of at least 16, got 8"),
    ({"contrast": "none"}, ValueError, "contrast: expected one of positive, negative, mixed, got 'none'"),
    ({"distractors": 17}, ValueError, "distractors: expected at most 16, got 17"),
    ({"objects": 3}, TypeError, "objects: expected two numbers, got 3"),
    ({"objects": (2, 1)}, ValueError, r"objects: expected the fewest and the most objects of a picture, 0 to \d+, got \(2, 1\)"),
    ({"objects": (0, 0)}, ValueError, "objects: expected the fewest and the most"),
    ({"objects": (1, 11)}, ValueError, "objects: expected the fewest and the most"),
    ({"scale": (20, 10)}, ValueError, r"scale: expected the smallest and the largest side of an object, 8 to 42\.6667, got \(20, 10\)"),
    ({"scale": (10, 60)}, ValueError, "scale: expected"),
    ({"scale": (10, float("nan"))}, ValueError, "scale: expected"),
    ({"size": 32, "scale": (21, 21), "objects": (4, 4)}, ValueError, "objects: expected as many as fit beside each other: 4 of up to 21"),
]


@MAKERS
@pytest.mark.parametrize(("settings", "error", "text"), BAD, ids=lambda v: str(v) if isinstance(v, dict) else "")
def test_bad_settings(make, settings, error, text):
    name = "digit_scenes" if make is digits else "shape_scenes"
    with pytest.raises(error, match=f"^{name}: {text}"):
        make(**{"count": 1} | settings)


def test_other_bad_input():
    with pytest.raises(ValueError, match="shape_scenes: by: expected one of shape, texture, got 'colour'"):
        shape_scenes(1, by="colour")
    with pytest.raises(ValueError, match="load_handwriting: split: expected one of train, validation, test, got 'all'"):
        load_handwriting("all")
    images, labels = glyphs()
    for given, text in (
        ((images[:, :4], labels), r"expected shapes \(N, 8, 8\) and \(N,\), got \(20, 4, 8\) and \(20,\)"),
        ((images[:5], labels[:5]), r"expected every digit 0 to 9 and no other label, got none of \[5, 6, 7, 8, 9\]"),
        ((images * 20, labels), "expected ink from 0 to 16"),
    ):
        with pytest.raises(ValueError, match=f"digit_scenes: handwriting: {text}"):
            digit_scenes(1, handwriting=given)
    for c in (-1, 10, 1.5):
        with pytest.raises(ValueError, match=rf"class_masks: c: expected a class from 0 to 9, got {c}"):
            digits(1).class_masks(c)
