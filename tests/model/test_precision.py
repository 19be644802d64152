"""`gradcam.load(precision="bfloat16")`."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from model.networks import Weights, model_bytes, normal
from onnx import helper

import gradcam
from gradcam import _core
from gradcam.cli import main
from gradcam.ops import _call

NATIVE = _core.bfloat16 and _core.isa == "avx512"


@pytest.fixture(autouse=True)
def _level(monkeypatch):
    """Where the CPU lacks bfloat16, a level that is asked for."""
    if not NATIVE:
        monkeypatch.setattr(_call, "isa", "scalar")
        monkeypatch.setenv("GRADCAM_ISA", "scalar")


@pytest.fixture(scope="module")
def content():
    w = Weights()
    nodes = [
        helper.make_node("Conv", ["x", w.add("w1", 32, 3, 3, 3)], ["c1"], pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["a"]),
        helper.make_node("Conv", ["a", w.add("w2", 48, 32, 3, 3)], ["c2"], strides=[2, 2]),
        helper.make_node("Relu", ["c2"], ["b"]),
        helper.make_node("Conv", ["b", w.add("w3", 64, 48, 1, 1)], ["c3"]),
        helper.make_node("Relu", ["c3"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Gemm", ["features", w.add("w4", 32, 64), w.add("b4", 32)], ["h"], transB=1),
        helper.make_node("Relu", ["h"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", w.add("fc", 32, 3)], ["y"]),
    ]
    return model_bytes(nodes, {"x": ["N", 3, "H", "W"]}, {"y": ["N", 3]}, w)


X = normal((3, 3, 21, 18), 7)


def kernels(model):
    return [step.kernel for step in model.forward_plan().steps]


def close(found, want, bound):
    assert 0 < abs(found - want).max() <= bound * abs(want).max()


def test_it_is_off_by_default(content):
    assert not any("bf16" in kernel for kernel in kernels(gradcam.load(content)))


def test_the_layers_that_run_in_bfloat16(content):
    found = [kernel for kernel in kernels(gradcam.load(content, precision="bfloat16")) if "bf16" in kernel]
    assert found == ["bf16_round", "bf16_conv_output", "bf16_conv_output", "bf16_round", "bf16_linear_output"]


def test_models_made_of_a_model_keep_the_choice(content):
    model = gradcam.load(content, precision="bfloat16")
    others = [pickle.loads(pickle.dumps(model)), gradcam.reparametrise(model, "a", scale=np.full(32, 2.0))]
    assert all("bf16_conv_output" in kernels(m) for m in (model, *others))


def test_scores_are_near(content):
    close(gradcam.load(content, precision="bfloat16").run(X), gradcam.load(content).run(X), 0.02)


def test_layers_are_returned_in_float32(content):
    models = [gradcam.load(content, precision=p) for p in ("bfloat16", "float32")]
    for layer in ("a", "b", "c"):
        found, want = (m.run(X, [layer]) for m in models)
        assert found.dtype == np.float32
        assert abs(found - want).max() <= 0.02 * abs(want).max()


@pytest.mark.parametrize("layer", ["a", "b", "c"])
def test_gradients_are_near_and_never_blank(content, layer):
    models = [gradcam.load(content, precision=p) for p in ("bfloat16", "float32")]
    (a, da), (b, db) = (m.activations_and_gradients(X, layer=layer, target=1) for m in models)
    assert abs(a - b).max() <= 0.02 * abs(b).max()
    assert da.any(axis=(1, 2, 3)).all()
    assert np.linalg.norm(da - db) <= 0.1 * np.linalg.norm(db)  # a unit near zero may be alive in one of them alone


@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "layercam", "eigencam"])
def test_maps_are_near(content, method):
    found, want = (gradcam.load(content, precision=p).explain(X, target=1, layer="b", method=method) for p in ("bfloat16", "float32"))
    assert np.corrcoef(found.map.ravel(), want.map.ravel())[0, 1] > 0.99


def test_the_same_bits_for_any_number_of_threads_and_pictures(content):
    model = gradcam.load(content, precision="bfloat16")
    want = model.explain(X, target=1, layer="b", num_threads=1)
    for threads in (2, 3):
        assert model.explain(X, target=1, layer="b", num_threads=threads).raw.tobytes() == want.raw.tobytes()
    one = np.concatenate([model.explain(X[i : i + 1], target=1, layer="b", num_threads=2).raw for i in range(3)])
    assert one.tobytes() == want.raw.tobytes()


def test_an_unknown_precision(content):
    with pytest.raises(ValueError, match=r"load: precision: expected one of 'float32', 'bfloat16', got 'float16'"):
        gradcam.load(content, precision="float16")


def test_a_cpu_without_it(content, monkeypatch):
    monkeypatch.setattr(_core, "bfloat16", False)
    monkeypatch.setattr(_call, "isa", _core.isas[-1])
    monkeypatch.delenv("GRADCAM_ISA", raising=False)
    with pytest.raises(ValueError, match=r"load: precision: expected 'float32', got 'bfloat16': .* AVX512_BF16, this one has scalar"):
        gradcam.load(content, precision="bfloat16")
    gradcam.load(content)


def test_a_lower_level_computes_it_where_it_is_asked_for(content, monkeypatch):
    want = gradcam.load(content, precision="bfloat16").run(X)
    monkeypatch.setattr(_call, "isa", "scalar")
    monkeypatch.delenv("GRADCAM_ISA", raising=False)
    with pytest.raises(ValueError, match="load: precision"):
        gradcam.load(content, precision="bfloat16")
    monkeypatch.setenv("GRADCAM_ISA", "scalar")
    found = gradcam.load(content, precision="bfloat16").run(X)
    assert abs(found - want).max() <= 0.01 * abs(want).max()


def test_double_input_is_refused(content):
    model = gradcam.load(content, precision="bfloat16")
    for function in (model.run, model.explain):
        with pytest.raises(TypeError, match=r"x: expected float32 for a model loaded with precision='bfloat16', got float64"):
            function(X.astype(np.float64))


def test_commands_take_it(content, tmp_path, capsys):
    path, picture = tmp_path / "net.onnx", tmp_path / "x.npy"
    path.write_bytes(content)
    np.save(picture, X[:1])
    assert main(["info", str(path), "--plan", "--precision", "bfloat16"]) == 0
    assert "bf16_conv_output" in capsys.readouterr().out
    scores = []
    for precision in ("float32", "bfloat16"):
        assert (
            main(
                [
                    "explain",
                    str(path),
                    str(picture),
                    "--target",
                    "1",
                    "--precision",
                    precision,
                    "-o",
                    str(tmp_path),
                    "--npz",
                    str(tmp_path / "n.npz"),
                ]
            )
            == 0
        )
        scores.append(float(np.load(tmp_path / "n.npz")["score"].ravel()[0]))
    close(np.array(scores[1:]), np.array(scores[:1]), 0.05)
