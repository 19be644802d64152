"""Weights beside the model: only plain files inside its folder, and nothing beyond their end."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from model.networks import model_bytes, normal
from onnx import TensorProto, helper

import gradcam

W = normal((3, 4))
CANARY = b"\x41" * 64
"""As many bytes as the weight needs, and more: a reader that follows a forbidden path would succeed with it."""


def save(folder: Path, name: str = "net.onnx", **entries: object) -> Path:
    """A model whose weight w (3, 4) lies outside; `entries` are its external data keys."""
    content = model_bytes([helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)], {"x": [1, 4]}, {"y": None}, check=False)
    model = onnx.load_model_from_string(content)
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3, 4], data_location=TensorProto.EXTERNAL)
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))
    model.graph.initializer.append(tensor)
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def folder(tmp_path):
    """A folder for the model, with a good weight file; a canary lies beside the folder."""
    (tmp_path / "canary.bin").write_bytes(CANARY)
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "w.bin").write_bytes(b"before" + W.tobytes() + b"after")
    return inside


X = normal((2, 4), 1)


@pytest.mark.parametrize("entries", [{"offset": 6, "length": 48}, {"offset": 6}, {"offset": 6, "length": 48, "checksum": "0" * 40}])
def test_weights_inside_the_folder_are_read(folder, entries):
    model = gradcam.load(save(folder, location="w.bin", **entries))
    np.testing.assert_allclose(model(X), X @ W.T, rtol=1e-5, atol=1e-6)


def test_weights_in_a_folder_below(folder):
    (folder / "deep").mkdir()
    (folder / "deep" / "w.bin").write_bytes(W.tobytes())
    np.testing.assert_allclose(gradcam.load(save(folder, location="deep/w.bin"))(X), X @ W.T, rtol=1e-5, atol=1e-6)


def test_model_reached_by_a_symbolic_link(folder, tmp_path):
    save(folder, location="w.bin", offset=6)
    link = tmp_path / "link.onnx"
    link.symlink_to(folder / "net.onnx")
    np.testing.assert_allclose(gradcam.load(link)(X), X @ W.T, rtol=1e-5, atol=1e-6)


def test_relative_path_of_the_model(folder, monkeypatch):
    save(folder, location="w.bin", offset=6)
    monkeypatch.chdir(folder)
    np.testing.assert_allclose(gradcam.load("net.onnx")(X), X @ W.T, rtol=1e-5, atol=1e-6)


def refused(path: Path, text: str = "initializer 'w'") -> None:
    with pytest.raises(gradcam.ModelFormatError, match=text) as caught:
        gradcam.load(path)
    assert "AAAA" not in str(caught.value)


@pytest.mark.parametrize(
    "location", ["../canary.bin", "deep/../../canary.bin", "./../canary.bin", "..", ".", "", "deep/..", "w.bin/../w.bin"]
)
def test_paths_that_leave_the_folder(folder, location):
    (folder / "deep").mkdir()
    refused(save(folder, location=location))


def test_absolute_paths(folder, tmp_path):
    refused(save(folder, location=tmp_path / "canary.bin"))
    refused(save(folder, location=folder / "w.bin"))


def test_no_location(folder):
    refused(save(folder, offset=0))
    refused(save(folder))


def test_file_that_is_not_there(folder):
    refused(save(folder, location="absent.bin"), "absent.bin")


def test_name_with_a_null_byte(folder):
    refused(save(folder, location="w.bin\0.txt"))


def test_very_long_name(folder):
    refused(save(folder, location="a" * 5000))


def test_symbolic_link_to_a_file(folder, tmp_path):
    (folder / "link.bin").symlink_to(tmp_path / "canary.bin")
    refused(save(folder, location="link.bin"))
    (folder / "inner.bin").symlink_to(folder / "w.bin")
    refused(save(folder, location="inner.bin"))


def test_symbolic_link_in_the_path(folder, tmp_path):
    (folder / "up").symlink_to(tmp_path)
    refused(save(folder, location="up/canary.bin"))


def test_hard_link(folder, tmp_path):
    os.link(tmp_path / "canary.bin", folder / "hard.bin")
    refused(save(folder, location="hard.bin"))


def test_folder_pipe_and_device(folder):
    (folder / "sub").mkdir()
    refused(save(folder, location="sub"))
    os.mkfifo(folder / "pipe")
    done = threading.Event()

    def work():
        refused(save(folder, location="pipe"))
        done.set()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(10)
    assert done.is_set()  # a reader that waits for a writer would hang


@pytest.mark.parametrize(
    "entries",
    [
        {"offset": 60},
        {"offset": 6, "length": 47},
        {"offset": 6, "length": 49},
        {"offset": 12},
        {"offset": -1},
        {"offset": 2**63},
        {"offset": 2**64},
        {"offset": 10**30},
        {"offset": "six"},
        {"offset": "6.0"},
        {"length": -48},
        {"length": 2**63},
        {"length": "all"},
        {"offset": 6, "basepath": ".."},
        {"offset": 6, "unknown": 1},
    ],
    ids=str,
)
def test_places_that_are_not_in_the_file(folder, entries):
    refused(save(folder, location="w.bin", **entries))


def test_empty_file(folder):
    (folder / "w.bin").write_bytes(b"")
    refused(save(folder, location="w.bin"))


def test_tensor_beyond_the_budget_is_not_read(folder):
    path = save(folder, location="w.bin")
    model = onnx.load_model_from_string(path.read_bytes())
    model.graph.initializer[0].dims[:] = [2**20, 2**20]
    path.write_bytes(model.SerializeToString())
    with open(folder / "w.bin", "wb") as file:
        file.truncate(2**43)  # sparse: the file is long enough
    with pytest.raises(gradcam.MemoryBudgetError, match="initializer 'w'"):
        gradcam.load(path)


def test_model_given_as_bytes_has_no_folder(folder):
    content = save(folder, location="w.bin", offset=6).read_bytes()
    with pytest.raises(gradcam.ModelFormatError, match="external data cannot be read when the model is given as bytes"):
        gradcam.load(content)


def test_attribute_tensor_outside(folder, tmp_path):
    value = TensorProto(name="c", data_type=TensorProto.FLOAT, dims=[12], data_location=TensorProto.EXTERNAL)
    value.external_data.add(key="location", value="../canary.bin")
    nodes = [helper.make_node("Constant", [], ["c"], value=value), helper.make_node("Add", ["x", "c"], ["y"])]
    path = folder / "constant.onnx"
    path.write_bytes(model_bytes(nodes, {"x": [1, 12]}, {"y": None}, check=False))
    with pytest.raises(gradcam.ModelFormatError, match="external data"):
        gradcam.load(path)


def test_swapped_by_a_link_while_loading(folder, tmp_path, monkeypatch):
    """The check of the path is repeated on the open file: what was put there in between is not followed."""
    path = save(folder, location="w.bin", offset=0)
    plain_open = os.open

    def swap(target, *arguments, **keywords):
        if str(target).endswith("w.bin"):
            (folder / "w.bin").unlink()
            (folder / "w.bin").symlink_to(tmp_path / "canary.bin")
        return plain_open(target, *arguments, **keywords)

    monkeypatch.setattr(os, "open", swap)
    refused(path)
