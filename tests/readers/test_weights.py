"""from_weights: the architectures against exports of the same networks, files, and what is refused."""

from __future__ import annotations

import importlib.util
import io
import json
import pickle
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from readers import exported

import gradcam
from gradcam import MemoryBudgetError, MissingExtraError, ModelFormatError
from gradcam.readers.architectures import ARCHITECTURES


def load_script(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FAMILIES = [
    *("alexnet", "densenet121", "efficientnet_b2", "mobilenet_v2", "mobilenet_v3_large", "resnet34", "resnext50_32x4d"),
    *("squeezenet1_0", "squeezenet1_1", "vgg11_bn"),
    "convnext_tiny",
    "vit_b_32",
]
"""Architectures that are run; tests/extended runs all of them."""

LISTED = """
resnet18 resnet34 resnet50 resnet101 resnet152 wide_resnet50_2 resnext50_32x4d vgg11 vgg13 vgg16 vgg19 vgg11_bn vgg13_bn vgg16_bn vgg19_bn
alexnet squeezenet1_0 squeezenet1_1 mobilenet_v2 mobilenet_v3_small mobilenet_v3_large densenet121 efficientnet_b0 efficientnet_b1
efficientnet_b2 efficientnet_b3 efficientnet_b4 convnext_tiny convnext_small convnext_base vit_b_16 vit_b_32
"""

PARAMETERS = {
    "resnet18": 11689512,
    "resnet34": 21797672,
    "resnet50": 25557032,
    "resnet101": 44549160,
    "resnet152": 60192808,
    "wide_resnet50_2": 68883240,
    "resnext50_32x4d": 25028904,
    "vgg11": 132863336,
    "vgg13": 133047848,
    "vgg16": 138357544,
    "vgg19": 143667240,
    "vgg11_bn": 132868840,
    "vgg13_bn": 133053736,
    "vgg16_bn": 138365992,
    "vgg19_bn": 143678248,
    "alexnet": 61100840,
    "squeezenet1_0": 1248424,
    "squeezenet1_1": 1235496,
    "mobilenet_v2": 3504872,
    "mobilenet_v3_small": 2542856,
    "mobilenet_v3_large": 5483032,
    "densenet121": 7978856,
    "efficientnet_b0": 5288548,
    "efficientnet_b1": 7794184,
    "efficientnet_b2": 9109994,
    "efficientnet_b3": 12233232,
    "efficientnet_b4": 19341616,
    "convnext_tiny": 28589128,
    "convnext_small": 50223688,
    "convnext_base": 88591464,
    "vit_b_16": 86567656,
    "vit_b_32": 88224232,
}
"""Numbers of trainable parameters that torchvision states for its weights."""


def test_every_listed_architecture_is_there():
    assert set(ARCHITECTURES) == set(LISTED.split()) == set(PARAMETERS)


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_number_of_parameters(name):
    shapes = exported.tensors(name)
    assert sum(int(np.prod(shape)) for part, shape in shapes.items() if ".running_" not in part) == PARAMETERS[name]


# Against exports -------------------------------------------------------------------------------------------------------


def distance(got: np.ndarray, want: np.ndarray) -> float:
    assert got.shape == want.shape
    return float(np.abs(got - want).max() / np.abs(want).max())


EXPORTS = [
    ("resnet18-ts13bn", "resnet18", 1e-5, "layer4"),
    ("resnet18-dyn", "resnet18", 1e-5, "layer4"),
    ("resnet50-ts", "resnet50", 1e-5, "layer4"),
    ("alexnet-ts", "alexnet", 1e-5, "features.11"),
    ("squeezenet1_1-ts", "squeezenet1_1", 1e-5, "features"),
    ("mobilenet_v2-ts", "mobilenet_v2", 1e-5, "features"),
    ("mobilenet_v3_small-dyn", "mobilenet_v3_small", 1e-3, "features"),
    ("densenet121-dyn", "densenet121", 1e-5, "relu"),
    ("efficientnet_b0-ts", "efficientnet_b0", 1e-5, "features.8"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("graph", "name", "eps", "layer"), EXPORTS, ids=[e[0] for e in EXPORTS])
def test_equals_the_export(shared, graph, name, eps, layer):
    fill = load_script(shared / "graphs" / "fill.py")
    onnx_model = fill.fill(shared / "graphs" / graph)
    (x,) = fill.example_inputs(shared / "graphs" / graph).values()
    model = gradcam.from_weights(name, exported.exported_state(onnx_model, name, eps))
    peer = gradcam.load(onnx_model.SerializeToString())
    assert distance(model(x), peer(x)) < 1e-5
    default = model.default_layer
    assert layer in (default.name, *default.aliases)
    target = int(peer(x)[0].argmax())
    a, g = model.activations_and_gradients(x, layer=layer, target=target)
    peer_a, peer_g = peer.activations_and_gradients(x, target=target)
    assert distance(a, peer_a) < 1e-5
    assert distance(g, peer_g) < 1e-5
    scale = np.abs(g.mean((2, 3), keepdims=True) * a).sum(1).max()
    ours, theirs = (m.explain(x, target=target, relu=False).raw for m in (model, peer))
    assert np.abs(ours - theirs).max() < 1e-5 * scale


@pytest.mark.parametrize("name", FAMILIES)
def test_runs_and_explains_at_the_paths_of_torchvision(name):
    state = exported.random_state(name)
    head = [part for part in state if part.endswith(".weight")][-1].removesuffix(".weight")
    for part in ("weight", "bias"):
        state[f"{head}.{part}"] = state[f"{head}.{part}"][:7]
    model = gradcam.from_weights(name, state, max_bytes=None)
    size = ARCHITECTURES[name].size
    assert model.preprocess == gradcam.Preprocess.preset("imagenet", size=(size, size))
    assert model.outputs[0].shape == ("axis0", 7)
    if name.startswith("vit"):
        assert model.inputs[0].shape[2:] == (224, 224)
        return
    paths = {"resnet": "layer4", "wide": "layer4.2.conv3", "resnext": "layer4.2.conv3", "mobile": "features.5", "vgg": "features.0"}
    path = next((p for prefix, p in paths.items() if name.startswith(prefix)), "features")
    picture = np.random.default_rng(0).standard_normal((1, 3, 96, 64)).astype(np.float32)
    why = model.explain(picture, layer=path, relu=False)
    assert why.map.shape == (1, 96, 64)
    assert np.isfinite(why.raw).all()


# Files -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def state() -> dict[str, np.ndarray]:
    state = exported.random_state("squeezenet1_1")
    return {name: array[:5] if name.startswith("classifier") else array for name, array in state.items()}


PICTURE = np.random.default_rng(1).standard_normal((1, 3, 64, 64)).astype(np.float32)


def test_npz_equals_the_dict(tmp_path, state):
    want = gradcam.from_weights("squeezenet1_1", state)(PICTURE)
    np.savez(tmp_path / "plain.npz", **state)
    np.savez_compressed(tmp_path / "packed.NPZ.npz", **state)
    fortran = {name: np.asfortranarray(array) for name, array in state.items()}
    np.savez(tmp_path / "fortran.npz", **fortran)
    for path in tmp_path.iterdir():
        np.testing.assert_array_equal(gradcam.from_weights("squeezenet1_1", path)(PICTURE), want)


def test_half_precision_is_widened_and_double_kept(state):
    model = gradcam.from_weights("squeezenet1_1", {name: array.astype(np.float16) for name, array in state.items()})
    widened = {name: array.astype(np.float16).astype(np.float64) for name, array in state.items()}
    same = gradcam.from_weights("squeezenet1_1", widened)
    np.testing.assert_array_equal(model(PICTURE), same(PICTURE))


def test_pickle_of_a_file_names_it_and_of_a_dict_holds_it(tmp_path, state):
    np.savez(tmp_path / "w.npz", **state)
    from_file, from_dict = (
        gradcam.from_weights("squeezenet1_1", tmp_path / "w.npz", labels=list("abcde")),
        gradcam.from_weights("squeezenet1_1", state),
    )
    assert len(pickle.dumps(from_file)) < 10_000
    for model in (from_file, from_dict):
        copy = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(copy(PICTURE), model(PICTURE))
        assert (copy.labels, copy.preprocess) == (model.labels, model.preprocess)


def test_names_of_older_files():
    densenet = exported.random_state("densenet121")
    older = {
        name.replace("norm1.", "norm.1.").replace("conv2.", "conv.2.") if "denselayer" in name else name: a for name, a in densenet.items()
    }
    assert "features.denseblock1.denselayer1.conv.2.weight" in older
    gradcam.from_weights("densenet121", older)


def test_counts_of_batches_are_ignored():
    state = exported.random_state("resnet18")
    gradcam.from_weights("resnet18", state | {"bn1.num_batches_tracked": np.array(7), "layer1.0.bn1.num_batches_tracked": np.array(7)})


def test_safetensors_equals_the_dict(tmp_path, state):
    safetensors = pytest.importorskip("safetensors.numpy")
    safetensors.save_file(state, tmp_path / "w.safetensors")
    want = gradcam.from_weights("squeezenet1_1", state)(PICTURE)
    np.testing.assert_array_equal(gradcam.from_weights("squeezenet1_1", tmp_path / "w.safetensors")(PICTURE), want)


def write_safetensors(path: Path, state: dict[str, np.ndarray], dtype: str) -> None:
    """The format by hand: length, JSON header, bytes."""
    header, start = {}, 0
    for name, array in state.items():
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": [start, start + array.nbytes]}
        start += array.nbytes
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(array.tobytes() for array in state.values()))


def test_safetensors_of_bfloat16_are_widened(tmp_path, state):
    pytest.importorskip("safetensors")
    upper = {name: (np.ascontiguousarray(array).view(np.uint32) >> 16).astype(np.uint16) for name, array in state.items()}
    write_safetensors(tmp_path / "w.safetensors", upper, "BF16")
    widened = {name: (array.astype(np.uint32) << 16).view(np.float32) for name, array in upper.items()}
    got = gradcam.from_weights("squeezenet1_1", tmp_path / "w.safetensors")(PICTURE)
    np.testing.assert_array_equal(got, gradcam.from_weights("squeezenet1_1", widened)(PICTURE))


def test_broken_safetensors(tmp_path, state):
    pytest.importorskip("safetensors")
    path = tmp_path / "w.safetensors"
    for content in (b"", b"\0" * 8, struct.pack("<Q", 2**62) + b"{}", b"\xff" * 100, struct.pack("<Q", 2) + b"[]"):
        path.write_bytes(content)
        with pytest.raises(ModelFormatError, match="this is no .safetensors file"):
            gradcam.from_weights("squeezenet1_1", path)
    write_safetensors(path, {"a": np.zeros(3, np.uint8)}, "F8_E4M3")
    with pytest.raises(ModelFormatError, match="tensor 'a' holds F8_E4M3, which is not read"):
        gradcam.from_weights("squeezenet1_1", path)


def test_safetensors_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    (tmp_path / "w.safetensors").write_bytes(b"\0" * 8)
    with pytest.raises(MissingExtraError, match=r"gradcam-native\[weights\]"):
        gradcam.from_weights("squeezenet1_1", tmp_path / "w.safetensors")


# What is refused -------------------------------------------------------------------------------------------------------


def test_unknown_architecture_names_the_nearest_three():
    with pytest.raises(ValueError, match=r"from_weights: architecture: 'resnet 50' is not known; nearest: resnet50, \w+, \w+$"):
        gradcam.from_weights("resnet 50", {})


def test_everything_that_is_wrong_is_listed_at_once(state):
    changed = dict(state)
    del changed["features.0.bias"]
    changed["features.3.squeeze.weight"] = changed["features.3.squeeze.weight"][:, :5]
    changed["features.3.squeeze.bias"] = np.zeros(16, int)
    changed["features.4.squeeze.bias"] = np.full(16, np.nan)
    changed["fc.weight"] = np.zeros((3, 4))
    with pytest.raises(ModelFormatError) as caught:
        gradcam.from_weights("squeezenet1_1", changed)
    assert str(caught.value).splitlines() == [
        "from_weights: weights: expected the tensors of squeezenet1_1, got 5 problems:",
        "  missing: features.0.bias (64,)",
        "  misshapen: features.3.squeeze.weight: expected (16, 64, 1, 1), got (16, 5, 1, 1)",
        "  not real: features.3.squeeze.bias: expected float32 or float64, got int64",
        "  not a number: features.4.squeeze.bias: expected no NaN",
        "  extra: fc.weight (3, 4)",
    ]


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_nothing_at_all_lists_every_tensor(name):
    with pytest.raises(ModelFormatError) as caught:
        gradcam.from_weights(name, {})
    assert str(caught.value).count("missing: ") == len(exported.tensors(name))


def test_wrong_arguments(tmp_path):
    with pytest.raises(TypeError, match="from_weights: weights: expected a mapping, or the path of a file, got list"):
        gradcam.from_weights("alexnet", [1])
    with pytest.raises(TypeError, match="expected a mapping with str keys"):
        gradcam.from_weights("alexnet", {1: np.zeros(3)})
    with pytest.raises(ModelFormatError, match=r"expected a .npz or .safetensors file .*safetensors.torch.save_file"):
        gradcam.from_weights("alexnet", tmp_path / "weights.pt")
    with pytest.raises(FileNotFoundError):
        gradcam.from_weights("alexnet", tmp_path / "none.npz")


def header(shape: str, dtype: str = "<f4") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def archive(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as written:
        for name, content in members.items():
            written.writestr(f"{name}.npy", content)
    return file.getvalue()


class Canary:
    def __reduce__(self):
        return (pytest.fail, ("the file ran code",))


def pickled() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([Canary()], dtype=object), allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "this is no .npz file"),
        (b"PK\x03\x04" + b"\0" * 60, "this is no .npz file"),
        (archive(a=b"")[:-30], "this is no .npz file"),
        (archive(a=b"hello"), "member 'a.npy': this is no array"),
        (archive(a=pickled()), "member 'a.npy': expected plain numbers, got object"),
        (
            archive(a=header("(1000000, 1000000)") + b"\0" * 8),
            r"member 'a.npy': shape \(1000000, 1000000\) of float32 needs 4000000000000 bytes, but 8 are there",
        ),
        (archive(a=header("(2,)") + b"\0" * 12), "needs 8 bytes, but 12 are there"),
        (archive(a=header("(-2,)")), r"expected plain numbers, got float32 of shape \(-2,\)"),
        (archive(a=header("(2,)", "<c8") + b"\0" * 16), "expected plain numbers, got complex64"),
        (archive(a=header("(2,)", "|V2") + b"\0" * 4), "expected plain numbers, got"),
        (archive(a=b"\x93NUMPY\x03\x00" + header("(2,)")[8:]), "version"),
        (archive(a=header("(33554432,)") + b"\0" * 2**27), "bytes claim to hold 134217"),
    ],
    ids=["empty", "rubbish", "cut", "no array", "pickle", "huge", "longer", "negative", "complex", "void", "version", "bomb"],
)
def test_hostile_npz(tmp_path, content, text):
    path = tmp_path / "w.npz"
    path.write_bytes(content)
    with pytest.raises(ModelFormatError, match=text) as caught:
        gradcam.from_weights("alexnet", path)
    assert caught.value.path == str(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_npz_with_two_members_of_a_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as written:
        for _ in range(2):
            written.writestr("a.npy", header("()") + b"\0" * 4)
    with pytest.raises(ModelFormatError, match="members with different names, got 2"):
        gradcam.from_weights("alexnet", tmp_path / "w.npz")


def test_max_bytes(tmp_path, state):
    np.savez(tmp_path / "w.npz", **state)
    size = (tmp_path / "w.npz").stat().st_size
    with pytest.raises(MemoryBudgetError, match="from_weights: .*the file has"):
        gradcam.from_weights("squeezenet1_1", tmp_path / "w.npz", max_bytes=size - 1)
    (tmp_path / "w.npz").write_bytes(archive(a=header("(1000000,)") + b"\0" * 4_000_000))
    with pytest.raises(MemoryBudgetError, match="the tensors need 4000"):
        gradcam.from_weights("squeezenet1_1", tmp_path / "w.npz", max_bytes=10**6)
