"""Models written as ONNX files, read back by gradcam and by ONNX's own evaluator."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from graph.composed_cases import COMPOSED
from graph.onnx_cases import CASES, build, by_definition, expected
from graph.position_cases import POSITION_CASES
from graph.test_bodies import BY_SHAPE, conditional, loop
from model import networks
from model.networks import normal, reference

import gradcam

EVERY = [(case, opset) for case in (*CASES, *COMPOSED, *POSITION_CASES) for opset in (case.opsets[0], case.opsets[-1])]


def saved(model: gradcam.Model, folder) -> bytes:
    model.save(folder / "model.onnx")
    content = (folder / "model.onnx").read_bytes()
    onnx.checker.check_model(onnx.load_model_from_string(content))
    return content


def results(model: gradcam.Model, x) -> list[np.ndarray]:
    found = model(x)
    return list(found.values()) if isinstance(found, dict) else [found]


@pytest.mark.parametrize(("case", "opset"), EVERY, ids=str)
def test_every_operator_comes_back(tmp_path, case, opset):
    content, x = build(case, opset)
    model = gradcam.load(content)
    model.save(tmp_path / "model.onnx")
    again = gradcam.load(tmp_path / "model.onnx")
    assert [o.name for o in again.outputs] == [o.name for o in model.outputs]
    assert [i.shape for i in again.inputs] == [i.shape for i in model.inputs]
    for got, want in zip(results(again, x), results(model, x), strict=True):
        assert got.tobytes() == want.tobytes()


def is_defined_by_its_evaluator(case) -> bool:
    return by_definition(case, case.opsets[-1], build(case, case.opsets[-1])[1]) is None


@pytest.mark.parametrize("case", [c for c in CASES if is_defined_by_its_evaluator(c)], ids=str)
def test_onnx_computes_the_same_of_both_files(tmp_path, case):
    content, x = build(case, case.opsets[-1])
    gradcam.load(content).save(tmp_path / "model.onnx")
    for got, want in zip(reference((tmp_path / "model.onnx").read_bytes(), {"x": x}), expected(content, x), strict=True):
        np.testing.assert_array_equal(got, want)


def test_a_network_keeps_its_layers_labels_and_preprocessing(tmp_path):
    content = networks.resnet()
    model = gradcam.load(content, labels=["a", "b", "c", "d", "e"])
    model.preprocess = gradcam.Preprocess.preset("unit", size=(16, 16))
    again = gradcam.load(saved(model, tmp_path))
    assert str(again) == str(model)
    assert again.labels == model.labels
    assert again.preprocess == model.preprocess
    x = normal((3, 3, 16, 16))
    assert again(x).tobytes() == model(x).tobytes()
    assert again.explain(x, target="d").map.tobytes() == model.explain(x, target="d").map.tobytes()
    np.testing.assert_allclose(reference(saved(model, tmp_path), {"x": x})[0], model(x), rtol=1e-4, atol=1e-5)


def test_opset_and_metadata_are_those_of_the_file(tmp_path):
    content = networks.model_bytes(
        [onnx.helper.make_node("Relu", ["x"], ["y"])], {"x": ("N", 3)}, {"y": None}, opset=13, metadata={"author": "nobody"}, check=False
    )
    written = onnx.load_model_from_string(saved(gradcam.load(content), tmp_path))
    assert [(o.domain, o.version) for o in written.opset_import] == [("", 13)]
    assert {p.key: p.value for p in written.metadata_props} == {"author": "nobody"}
    assert written.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def network(size: int | None = 7, pooled=(2, 3)) -> gradcam.Model:
    net = gradcam.GraphBuilder()
    x = net.input("x", (None, 3, size, size))
    y = net.silu(net.conv(x, normal((4, 3, 3, 3)), normal((4,), 1), padding=1, name="stem"))
    y = net.batch_norm(y, normal((4,), 2), np.abs(normal((4,), 3)) + 0.5, name="norm")
    y = net.adaptive_average_pool(y, pooled, name="pooled")
    net.output("scores", net.linear(net.flatten(y), normal((5, 4 * pooled[0] * pooled[1]), 4), name="head"))
    return net.model(labels=list("abcde"))


@pytest.mark.parametrize("pooled", [(2, 3), (7, 1), (1, 1)])
def test_a_model_built_by_hand(tmp_path, pooled):
    model, x = network(pooled=pooled), normal((2, 3, 7, 7), 5)
    content = saved(model, tmp_path)
    assert onnx.load_model_from_string(content).opset_import[0].version == 20
    np.testing.assert_allclose(reference(content, {"x": x})[0], model(x), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(gradcam.load(content)(x), model(x), rtol=1e-5, atol=1e-5)
    assert json.loads(onnx.load_model_from_string(content).metadata_props[0].value) == list("abcde")


def test_pooling_to_a_size_needs_a_size(tmp_path):
    with pytest.raises(gradcam.UnsupportedOpError, match=r"node 'pooled' \(AdaptiveAveragePool.*declare their sizes"):
        network(None).save(tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
    network(None, (1, 1)).save(tmp_path / "model.onnx")


def test_reparametrised_models(tmp_path):
    model, x = gradcam.reparametrise(gradcam.load(networks.resnet()), "stem.conv", shift=0.3, scale=-2.0), normal((1, 3, 16, 16))
    assert gradcam.load(saved(model, tmp_path))(x).tobytes() == model(x).tobytes()


def test_graphs_inside_nodes(tmp_path):
    for content, shape in ((conditional(BY_SHAPE, (1, "n")), (1, 4)), (loop(3), None)):
        model = gradcam.load(content)
        x = normal(shape or model.inputs[0].shape)
        again = results(gradcam.load(saved(model, tmp_path)), x)
        assert [a.tobytes() for a in again] == [a.tobytes() for a in results(model, x)]


@pytest.mark.parametrize("kind", [onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE])
def test_other_real_types_become_float32(tmp_path, kind):
    w = normal((3, 4), 1).astype(onnx.helper.tensor_dtype_to_np_dtype(kind))
    nodes = [onnx.helper.make_node("Cast", ["x"], ["z"], to=kind), onnx.helper.make_node("MatMul", ["z", "w"], ["y"])]
    content = networks.model_bytes(nodes, {"x": (2, 3)}, {"y": None}, {"w": w}, check=False)
    model, x = gradcam.load(content), normal((2, 3))
    np.testing.assert_allclose(reference(saved(model, tmp_path), {"x": x})[0], model(x), rtol=1e-6)


def test_a_file_that_stands_there_is_replaced_whole_or_not_at_all(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"old")
    with pytest.raises(gradcam.UnsupportedOpError):
        network(None).save(tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_bytes() == b"old"


@pytest.mark.torch
def test_onnxruntime_computes_the_same(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    for model, shape in ((network(), (2, 3, 7, 7)), (gradcam.load(networks.resnet()), (2, 3, 16, 16))):
        session = runtime.InferenceSession(saved(model, tmp_path), providers=["CPUExecutionProvider"])
        x = normal(shape, 6)
        np.testing.assert_allclose(session.run(None, {"x": x})[0], model(x), rtol=1e-4, atol=1e-5)
