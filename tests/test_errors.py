"""Bases, texts and pickling of the exceptions; the nearest names; imports of extras."""

from __future__ import annotations

import importlib
import pickle
import sys
from pathlib import Path

import pytest

from gradcam import errors
from gradcam.errors import (
    BlankMapWarning,
    BuildWarning,
    GradcamError,
    LayerError,
    MemoryBudgetError,
    MissingExtraError,
    ModelFormatError,
    NonFiniteWarning,
    TargetError,
    UnsupportedOpError,
    nearest,
    require,
)

EXAMPLES = [
    GradcamError("x"),
    ModelFormatError("negative dimension -3", path="m.onnx", where="node 'conv1'"),
    ModelFormatError("empty file"),
    UnsupportedOpError(["node 'a' uses op 'X'", "node 'b' uses op 'Y'"]),
    UnsupportedOpError("node 'a' uses op 'X'"),
    TargetError("no class 'tably'"),
    LayerError("no layer 'layer5'"),
    MemoryBudgetError("load: model", needed=5_000_000_000, allowed=2**32),
    MemoryBudgetError("load: too large"),
    MissingExtraError("Pillow is needed", extra="image", name="PIL"),
]


@pytest.mark.parametrize(
    ("cls", "bases"),
    [
        (ModelFormatError, (GradcamError, ValueError)),
        (UnsupportedOpError, (GradcamError, NotImplementedError)),
        (TargetError, (GradcamError, ValueError)),
        (LayerError, (GradcamError, ValueError)),
        (MemoryBudgetError, (GradcamError, MemoryError)),
        (MissingExtraError, (GradcamError, ImportError)),
        (BlankMapWarning, (UserWarning,)),
        (NonFiniteWarning, (UserWarning,)),
        (BuildWarning, (UserWarning,)),
    ],
)
def test_bases(cls, bases):
    assert cls.__bases__ == bases


def test_every_exception_has_an_example_here():
    classes = {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, GradcamError)}
    assert classes == {type(example) for example in EXAMPLES}


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("error", EXAMPLES, ids=lambda e: type(e).__name__)
def test_pickling(error, protocol):
    copy = pickle.loads(pickle.dumps(error, protocol))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_texts():
    texts = [str(error) for error in EXAMPLES]
    assert texts[1] == "m.onnx: negative dimension -3"  # messages about nodes name them themselves; `where` is for programs
    assert texts[2] == "empty file"
    assert texts[3] == "2 problems:\n  node 'a' uses op 'X'\n  node 'b' uses op 'Y'"
    assert texts[4] == "node 'a' uses op 'X'"
    assert texts[7] == "load: model: needs 5,000,000,000 bytes, allowed are 4,294,967,296; raise max_bytes (None: no limit)"
    assert texts[8] == "load: too large"


def test_model_format_error_says_where():
    error = ModelFormatError("bad", path=Path("a") / "b.onnx", where="byte 12")
    assert (error.path, error.where) == (str(Path("a") / "b.onnx"), "byte 12")


# --- nearest


@pytest.mark.parametrize(
    ("name", "best"),
    [("taby", "tabby"), ("TABBY", "tabby"), ("tiger", "tiger"), ("shepherd", "German Shepherd"), ("tigr cat", "tiger cat")],
)
def test_nearest_name_comes_first(name, best):
    names = ["tench", "tiger cat", "tiger", "tabby", "German Shepherd", "goldfish"]
    got = nearest(name, names)
    assert got[0] == best
    assert len(got) == 3 and set(got) <= set(names)


def test_nearest_of_little():
    assert nearest("x", []) == []
    assert nearest("x", ["a", "a"]) == ["a"]
    assert nearest("", ["a", "b", "c", "d"], count=2) == ["a", "b"]
    assert nearest("Relu", ["relu", "Relu"]) == ["Relu", "relu"]
    assert nearest("layer4", ["/layer1/relu", "/layer4/layer4.1/relu", "layer3"])[0] == "/layer4/layer4.1/relu"


# --- require


def test_require_returns_the_module():
    assert require("json.decoder", "x") is importlib.import_module("json.decoder")


def test_require_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "PIL.Image", raising=False)
    for module in ("PIL", "PIL.Image"):
        with pytest.raises(MissingExtraError, match=r'PIL is needed .* pip install "gradcam-native\[image\]"') as info:
            require(module, "image")
        assert (info.value.extra, info.value.name) == ("image", "PIL")


def test_require_of_a_package_that_is_not_there():
    with pytest.raises(MissingExtraError, match=r"gradcam-native\[plot\]"):
        require("a_package_that_nobody_has.part", "plot")


def test_require_lets_errors_of_a_broken_package_through(tmp_path, monkeypatch):
    (tmp_path / "half_installed.py").write_text("import a_package_that_nobody_has\n")
    (tmp_path / "no_library.py").write_text("raise ImportError('libfoo.so.1: cannot open shared object file')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("half_installed", "no_library"):
        with pytest.raises(ImportError) as info:
            require(module, "image")
        assert not isinstance(info.value, MissingExtraError)
