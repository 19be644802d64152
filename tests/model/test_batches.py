"""Any number of pictures, whatever the file was exported for: the same bytes as one by one."""

from __future__ import annotations

import numpy as np
import pytest
from model.networks import mixer, model_bytes, normal, reference, resnet, segmenter, two_inputs, two_outputs, vgg
from onnx import helper

import gradcam

MODELS = {
    "resnet, symbolic batch": (resnet("N"), (3, 16, 16)),
    "resnet, batch 1": (resnet(1), (3, 16, 16)),
    "resnet, batch 4": (resnet(4), (3, 16, 16)),
    "vgg, batch 1": (vgg(1), (2, 8, 10)),
    "segmenter, batch 1": (segmenter(1), (2, 6, 7)),
}


@pytest.fixture(scope="module", params=MODELS)
def case(request):
    content, shape = MODELS[request.param]
    return gradcam.load(content), content, shape


@pytest.mark.parametrize("pictures", [1, 2, 3, 5])
def test_forward_is_the_reference(case, pictures):
    model, content, shape = case
    x = normal((pictures, *shape))
    declared = model.inputs[0].shape[0]
    if declared in ("N", pictures):
        (expected,) = reference(content, {"x": x})
    else:  # the evaluator is bound to the declared batch
        block = [np.resize(x[i : i + 1], (declared, *shape)) for i in range(pictures)]
        expected = np.concatenate([reference(content, {"x": b})[0][:1] for b in block])
    np.testing.assert_allclose(model(x), expected, rtol=1e-4, atol=1e-5)


def everything(model, x, **options):
    why = model.explain(x, target=1, **options)
    a, g = model.activations_and_gradients(x, layer=why.layer, target=1)
    return [model(x), why.raw, why.map, why.weights, why.score, a, g]


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
@pytest.mark.filterwarnings("ignore::gradcam.BlankMapWarning")
def test_batch_has_the_bytes_of_single_pictures(case, threads):
    model, _, shape = case
    x = normal((5, *shape))
    with gradcam.threads(1):
        singles = [everything(model, x[i : i + 1]) for i in range(5)]
    with gradcam.threads(threads):
        together = everything(model, x)
    for whole, *parts in zip(together, *singles, strict=True):
        assert whole.tobytes() == np.concatenate(parts).tobytes()


@pytest.mark.filterwarnings("ignore::gradcam.BlankMapWarning")
def test_order_of_the_pictures_does_not_matter(case):
    model, _, shape = case
    x, order = normal((4, *shape)), [2, 0, 3, 1]
    for straight, permuted in zip(everything(model, x), everything(model, np.ascontiguousarray(x[order])), strict=True):
        assert np.ascontiguousarray(straight[order]).tobytes() == permuted.tobytes()


@pytest.mark.filterwarnings("ignore::gradcam.BlankMapWarning", "ignore::gradcam.NonFiniteWarning")
@pytest.mark.parametrize("threads", [1, 2])
def test_nan_in_one_picture_leaves_the_others_alone(case, threads):
    model, _, shape = case
    x = normal((3, *shape))
    spoiled = x.copy()
    spoiled[1, 0, 3, 3] = np.nan
    with gradcam.threads(threads):
        for clean, dirty in zip(everything(model, x), everything(model, spoiled), strict=True):
            assert clean[[0, 2]].tobytes() == dirty[[0, 2]].tobytes()
    assert np.isnan(model(spoiled)[1]).any()


@pytest.mark.filterwarnings("ignore::gradcam.BlankMapWarning")
def test_picture_without_batch_axis_is_answered_in_kind(case):
    model, _, shape = case
    x = normal((1, *shape))
    for batch, single in zip(everything(model, x), everything(model, x[0]), strict=True):
        assert single.shape == batch.shape[1:]
        assert single.tobytes() == batch.tobytes()


@pytest.mark.filterwarnings("ignore::gradcam.BlankMapWarning")
def test_no_pictures(case):
    model, _, shape = case
    x = np.empty((0, *shape), np.float32)
    assert model(x).shape == (0, *model.outputs[0].shape[1:])
    why = model.explain(x, target=1)
    assert why.raw.shape[0] == why.map.shape[0] == why.score.shape[0] == len(why) == 0
    a, g = model.activations_and_gradients(x, layer=why.layer, target=1)
    assert a.shape == g.shape
    assert a.shape[0] == 0


@pytest.mark.parametrize(
    "view",
    [
        lambda x: np.asfortranarray(x),
        lambda x: x[..., ::-1][..., ::-1],
        lambda x: np.concatenate([x, x], axis=-1)[..., : x.shape[-1]],
        lambda x: np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1),
        lambda x: x.astype(x.dtype.newbyteorder()),
        lambda x: np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape),
        lambda x: np.broadcast_to(x[:1], x.shape),
    ],
    ids=["F order", "reversed", "sliced", "channels last", "byte-swapped", "misaligned and read-only", "broadcast"],
)
def test_layout_of_the_input_in_memory_does_not_matter(case, view):
    model, _, shape = case
    x = normal((2, *shape))
    other = view(x)
    plain = np.ascontiguousarray(other.astype(np.float32))
    assert model(other).tobytes() == model(plain).tobytes()


def test_inputs_are_never_written(case):
    model, _, shape = case
    x = normal((2, *shape))
    kept = x.copy()
    x.flags.writeable = False
    model.explain(x, target=0, relu=False)
    model.activations_and_gradients(x, layer="x", target=0)
    np.testing.assert_array_equal(x, kept)


def test_results_belong_to_the_caller(case):
    model, _, shape = case
    x = normal((2, *shape))
    first = model(x)
    kept = first.copy()
    first[...] = 7
    np.testing.assert_array_equal(model(x), kept)


# --- batches that the file insists on


def test_file_that_names_its_batch_in_a_reshape_runs_as_it_was_exported():
    weights = {"w": normal((3, 2, 3, 3)), "shape": np.array([2, 3 * 16])}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Reshape", ["c", "shape"], ["y"]),
    ]
    content = model_bytes(nodes, {"x": [2, 2, 4, 4]}, {"y": [2, 48]}, weights)
    x = normal((2, 2, 4, 4))
    np.testing.assert_allclose(gradcam.load(content)(x), reference(content, {"x": x})[0], rtol=1e-4, atol=1e-5)


def test_batch_in_a_reshape_with_an_open_axis_is_not_misread():
    weights = {"shape": np.array([2, -1])}
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["flat"]), helper.make_node("Softmax", ["flat"], ["y"], axis=1)]
    content = model_bytes(nodes, {"x": [2, 4, 3]}, {"y": [2, 12]}, weights)
    x = normal((2, 4, 3))
    np.testing.assert_allclose(gradcam.load(content)(x), reference(content, {"x": x})[0], rtol=1e-5, atol=1e-6)


def test_model_that_mixes_pictures_takes_the_whole_batch_at_once():
    content = mixer()
    model = gradcam.load(content)
    for pictures in (1, 2, 4):
        x = normal((pictures, 2, 5, 5))
        np.testing.assert_allclose(model(x), reference(content, {"x": x})[0], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="explain: x: this model mixes the pictures of a batch"):
        model.explain(x, layer="relu1", target=0)
    with pytest.raises(ValueError, match="activations_and_gradients: x: this model mixes the pictures"):
        model.activations_and_gradients(x, layer="relu1", target=0)
    assert model.explain(x[:1], layer="conv1", target=0, relu=False).raw.shape == (1, 5, 5)


def test_model_that_mixes_pictures_is_bound_to_a_fixed_batch():
    nodes = [helper.make_node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1), helper.make_node("Sub", ["x", "m"], ["y"])]
    model = gradcam.load(model_bytes(nodes, {"x": [2, 3]}, {"y": [2, 3]}))
    x = normal((2, 3))
    np.testing.assert_allclose(model(x), x - x.mean(0), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="mixes the pictures of a batch, so it takes exactly 2 at once, got 3"):
        model(normal((3, 3)))


def test_class_index_as_an_output_takes_any_batch():
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["gap"]),
        helper.make_node("Flatten", ["gap"], ["y"]),
        helper.make_node("ArgMax", ["x"], ["labels"], axis=1, keepdims=0),
    ]
    content = model_bytes(nodes, {"x": [1, 3, 4, 5]}, {"y": [1, 3], "labels": None}, check=False)
    model = gradcam.load(content)
    x = normal((3, 3, 4, 5))
    found = model(x)
    np.testing.assert_array_equal(found["labels"], x.argmax(1))
    np.testing.assert_allclose(found["y"], x.mean((2, 3)), rtol=1e-5, atol=1e-6)


def test_tensor_whose_first_axis_is_not_the_batch():
    nodes = [
        helper.make_node("Transpose", ["x"], ["turned"], perm=[1, 0, 2]),
        helper.make_node("Tanh", ["turned"], ["inner"]),
        helper.make_node("Transpose", ["inner"], ["y"], perm=[1, 0, 2]),
    ]
    model = gradcam.load(model_bytes(nodes, {"x": ["N", 4, 6]}, {"y": ["N", 4, 6]}))
    x = normal((3, 4, 6))
    found = model.run(x, outputs=["inner", "y"])
    np.testing.assert_allclose(found["y"], np.tanh(x), rtol=1e-6)
    np.testing.assert_allclose(found["inner"], np.tanh(x.transpose(1, 0, 2)), rtol=1e-6)


# --- several inputs and outputs


def test_several_inputs():
    content = two_inputs()
    model = gradcam.load(content)
    feeds = {"image": normal((3, 2, 6, 5)), "vector": normal((3, 3), 1)}
    np.testing.assert_allclose(model(feeds), reference(content, feeds)[0], rtol=1e-4, atol=1e-5)
    why = model.explain(feeds, target=1, layer="scaled", relu=False)
    assert why.map.shape == (3, 6, 5)
    single = model.explain({name: a[1] for name, a in feeds.items()}, target=1, layer="scaled", relu=False)
    assert single.raw.tobytes() == why.raw[1].tobytes()
    a, g = model.activations_and_gradients(feeds, layer="vector", target=2)
    np.testing.assert_array_equal(a, feeds["vector"])
    step = 1e-3
    for j in range(3):
        moved = [{**feeds, "vector": feeds["vector"] + s * step * np.eye(3, dtype=np.float32)[j]} for s in (1, -1)]
        moved = [model({name: v.astype(np.float64) for name, v in m.items()})[:, 2] for m in moved]
        np.testing.assert_allclose(g[:, j], (moved[0] - moved[1]) / (2 * step), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (normal((1, 2, 6, 5)), "run: x: expected a mapping with the inputs image, vector"),
        ({"image": normal((1, 2, 6, 5))}, "run: x: expected the inputs image, vector, got image"),
        ({"image": normal((1, 2, 6, 5)), "vector": normal((2, 3))}, r"expected the same number of pictures in all inputs, got \[1, 2\]"),
        ({"image": normal((2, 6, 5)), "vector": normal((1, 3))}, "expected the same number of pictures in all inputs"),
        (
            {"image": normal((1, 2, 6, 5)), "vector": normal((1, 3)), "more": 1},
            "expected the inputs image, vector, got image, vector, more",
        ),
    ],
)
def test_several_inputs_that_do_not_fit(x, message):
    with pytest.raises(ValueError, match=message):
        gradcam.load(two_inputs())(x)


def test_several_outputs_come_by_name_in_the_models_order():
    content = two_outputs()
    model = gradcam.load(content)
    x = normal((2, 2, 6, 5))
    found = model(x)
    assert list(found) == ["a", "b"]
    for got, want in zip(found.values(), reference(content, {"x": x}), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    some = model.run(x, outputs=["b", "relu1"])
    assert list(some) == ["b", "relu1"]
    assert some["b"].tobytes() == found["b"].tobytes()
    assert isinstance(model.run(x, outputs=["b"]), np.ndarray)


def test_float64_runs_the_whole_model_in_float64(case):
    model, _, shape = case
    x = normal((2, *shape), dtype=np.float64)
    y = model(x)
    assert y.dtype == np.float64
    np.testing.assert_allclose(model(x.astype(np.float32)), y, rtol=1e-4, atol=1e-5)
    assert not np.array_equal(y, y.astype(np.float32))  # more digits than float32 has
    why = model.explain(x, target=1, relu=False)
    assert why.raw.dtype == why.score.dtype == np.float64
    with gradcam.threads(3):
        assert model(x).tobytes() == y.tobytes()


def test_float64_gradient_is_the_central_difference(case):
    model, _, shape = case
    x = normal((1, *shape), 5, np.float64)
    _, g = model.activations_and_gradients(x, layer="x", target=1)
    direction, step = normal(x.shape, 6, np.float64), 1e-6
    score = [model.explain(x + s * step * direction, target=1, relu=False).score[0] for s in (1, -1)]
    np.testing.assert_allclose(np.vdot(g, direction), (score[0] - score[1]) / (2 * step), rtol=1e-6)


def test_float16_input_is_widened(case):
    model, _, shape = case
    x = normal((1, *shape)).astype(np.float16)
    assert model(x).tobytes() == model(x.astype(np.float32)).tobytes()


def test_another_input_size_reuses_the_packed_weights():
    """What a size costs in memory is its own graph, not another copy of the weights."""
    import tracemalloc

    weights = {"w": normal((64, 64, 3, 3)), "v": normal((64, 64, 3, 3))}  # 147 kB each
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", "v"], ["y"], pads=[1, 1, 1, 1]),
    ]
    model = gradcam.load(model_bytes(nodes, {"x": ["N", 64, "H", "W"]}, {"y": ["N", 64, "H", "W"]}, weights))
    model(normal((1, 64, 5, 5)))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for size in range(6, 26):
            model(normal((1, 64, 5, size)))
        growth = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert growth < 1_000_000, f"20 sizes took {growth:,} bytes"


def test_many_input_sizes_give_the_same_numbers_as_a_fresh_model():
    """Caches of folded and packed weights never hand out those of another graph."""
    content = resnet("N", "S")
    model = gradcam.load(content)
    for dtype in (np.float64, np.float32):
        for size in range(8, 30):
            x = normal((1, 3, size, size), size, dtype)
            assert model(x).tobytes() == gradcam.load(content)(x).tobytes(), (dtype, size)


def test_results_of_all_runs_together_keep_within_the_memory_allowed():
    """batch_size bounds a run, not what is collected: kept gradients of many pictures are refused before they are computed."""
    model, x = gradcam.load(resnet(), max_bytes=3_000_000), normal((60, 3, 16, 16))
    assert model.explain(x, target=1, layer="stage1", relu=False, batch_size=4).raw.shape == (60, 8, 8)
    assert model.explain(x[:4], target=1, layer="stem", relu=False, batch_size=4, signs=True).measured[0].shape == (4, 8, 16, 16)
    with pytest.raises(gradcam.MemoryBudgetError, match=r"run: needs \d+ bytes for 200 pictures, max_bytes allows 3000000"):
        model.explain(np.tile(x, (4, 1, 1, 1))[:200], target=1, layer="stem", relu=False, batch_size=4, signs=True)


def test_noise_keeps_within_the_memory_allowed():
    model, x = gradcam.load(resnet(), max_bytes=3_000_000), normal((2, 3, 16, 16))
    with pytest.raises(gradcam.MemoryBudgetError, match="explain: samples: noise for 1000 copies holds 12288000 bytes, max_bytes allows"):
        model.explain(x, target=1, method="smoothgradcam++", samples=1000)
