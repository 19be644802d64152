"""explain, explain_many and activations_and_gradients agree with each other, with gradcam.cam, and with the model."""

from __future__ import annotations

import pickle
import threading
import warnings

import numpy as np
import pytest
from model.networks import Weights, conv, model_bytes, normal, resnet, segmenter, two_inputs, vgg
from onnx import helper

import gradcam
from gradcam import targets

METHODS = ("gradcam", "gradcam++", "hirescam", "layercam", "xgradcam")
RESNET, VGG = gradcam.load(resnet()), gradcam.load(vgg("N"))
X, V = normal((3, 3, 16, 16)), normal((3, 2, 8, 10))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("compat", ["paper", "pytorch-grad-cam", "torchcam", "captum"])
@pytest.mark.parametrize(("model", "x", "layer"), [(RESNET, X, "stage1"), (RESNET, X, "stage2"), (VGG, V, "relu2")])
@pytest.mark.filterwarnings("ignore::gradcam.BlankMapWarning")
def test_explanation_is_cam_of_activations_and_gradients(model, x, layer, method, compat):
    if compat == "captum" and method == "gradcam++":
        with pytest.raises(ValueError, match="gradcam\\+\\+: compat: mode 'captum' has no Grad-CAM\\+\\+"):
            model.explain(x, target=1, layer=layer, method=method, compat=compat)
        return
    why = model.explain(x, target=1, layer=layer, method=method, compat=compat)
    a, g = model.activations_and_gradients(x, layer=layer, target=1)
    raw = gradcam.cam(a, g, method=method, compat=compat, relu=False)
    np.testing.assert_allclose(why.raw, raw, rtol=1e-5, atol=1e-5 * np.abs(raw).max())
    size = {"paper": x.shape[2:], "pytorch-grad-cam": x.shape[2:]}.get(compat)
    np.testing.assert_array_equal(why.map, gradcam.postprocess(why.raw, size, compat=compat))
    assert (why.method, why.compat, why.layer) == (method, compat, layer)
    assert why.map.shape == (3, *(size or why.raw.shape[1:]))
    if method == "gradcam":
        np.testing.assert_allclose(why.weights, g.mean((2, 3)), rtol=1e-4, atol=1e-7)


def test_score_is_the_models_output():
    y = RESNET(X)
    for c in range(5):
        why = RESNET.explain(X, target=c, relu=False)
        assert why.score.tobytes() == np.ascontiguousarray(y[:, c]).tobytes()
        assert why.target == (targets.ClassScore(c),) * 3


def test_default_target_is_the_largest_score():
    best = RESNET(X).argmax(1)
    why = RESNET.explain(X, relu=False)
    assert [t.c for t in why.target] == best.tolist()
    given = RESNET.explain(X, target=[int(c) for c in best], relu=False)
    assert why.raw.tobytes() == given.raw.tobytes()
    assert why.score.tobytes() == given.score.tobytes()


def test_many_targets_equal_one_at_a_time():
    wanted = [0, None, targets.Contrast(1, 2), [0, 1, 2], targets.Negative(3)]
    together = RESNET.explain_many(X, wanted, layer="stage1", method="layercam", relu=False)
    assert len(together) == len(wanted)
    for why, target in zip(together, wanted, strict=True):
        alone = RESNET.explain(X, target=target, layer="stage1", method="layercam", relu=False)
        assert why.raw.tobytes() == alone.raw.tobytes()
        assert why.score.tobytes() == alone.score.tobytes()
        assert why.target == alone.target


def test_explain_many_of_nothing():
    assert RESNET.explain_many(X, []) == []


@pytest.mark.parametrize("threads", [2, 3, 4])
@pytest.mark.parametrize("pictures", [1, 3])
def test_number_of_threads_changes_no_bit(threads, pictures):
    for method in METHODS:
        one, many = (RESNET.explain(X[:pictures], target=1, layer="stem", method=method, relu=False, num_threads=n) for n in (1, threads))
        assert one.raw.tobytes() == many.raw.tobytes()
        assert one.score.tobytes() == many.score.tobytes()


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_batch_size_changes_no_bit(batch_size):
    calls = []
    whole = RESNET.explain(X, target=[1, None, targets.Contrast(0, 1)], relu=False)
    part = RESNET.explain(
        X,
        target=[1, None, targets.Contrast(0, 1)],
        relu=False,
        batch_size=batch_size,
        callback=lambda done, total: calls.append((done, total)),
    )
    assert part.raw.tobytes() == whole.raw.tobytes()
    assert part.target == whole.target
    assert calls == [(min(done, 3), 3) for done in range(batch_size, 3 + batch_size, batch_size)]


def test_callback_of_explain_many():
    calls = []
    RESNET.explain_many(X, [0, 1], batch_size=2, callback=lambda *progress: calls.append(progress), relu=False)
    assert calls == [(2, 3), (3, 3)]


def test_exception_in_the_callback_stops_the_work():
    class Enough(Exception):
        pass

    calls = []

    def callback(done, total):
        calls.append(done)
        if done == 2:
            raise Enough

    with pytest.raises(Enough):
        RESNET.explain(X, target=1, batch_size=1, callback=callback)
    assert calls == [1, 2]
    assert RESNET.explain(X, target=1, relu=False).raw.shape == (3, 4, 4)


def test_progress_bar(capsys):
    pytest.importorskip("tqdm")
    RESNET.explain(X, target=1, progress=True, batch_size=1, relu=False)
    out, err = capsys.readouterr()
    assert out == ""
    assert "3/3" in err


def test_explanation_is_iterable_over_the_batch():
    why = RESNET.explain(X, target=[0, 1, 2], relu=False)
    assert len(why) == 3
    for i, one in enumerate(why):
        assert one.raw.shape == (4, 4)
        np.testing.assert_array_equal(one.raw, why.raw[i])
        np.testing.assert_array_equal(one.map, why.map[i])
        np.testing.assert_array_equal(one.weights, why.weights[i])
        assert one.target == (targets.ClassScore(i),)
    np.testing.assert_array_equal(why[-1].raw, why.raw[2])
    with pytest.raises(IndexError):
        why[3]


@pytest.mark.filterwarnings("ignore::gradcam.BlankMapWarning")
def test_relu_of_the_finished_map():
    why, signed = RESNET.explain(X, target=1), RESNET.explain(X, target=1, relu=False)
    assert why.raw.tobytes() == signed.raw.tobytes()
    assert why.map.min() >= 0
    assert signed.map.min() < 0
    assert np.abs(signed.map).max() <= 1
    np.testing.assert_array_equal(why.map, gradcam.postprocess(why.raw, (16, 16)))
    np.testing.assert_array_equal(signed.map, gradcam.postprocess(why.raw, (16, 16), relu=False))


def test_map_of_an_input_with_symbolic_size():
    model = gradcam.load(resnet("N", "S"))
    for size in (16, 24, 19):
        x = normal((2, 3, size, size))
        why = model.explain(x, target=1, relu=False)
        assert why.map.shape == (2, size, size)
        assert why.raw.shape == (2, -(-size // 4) if size % 4 == 0 else why.raw.shape[1], why.raw.shape[2])


# --- flags and warnings


def test_blank_map_warns_once_and_sets_a_flag():
    x = normal((3, 3, 16, 16))
    zero = targets.Weighted(np.zeros((1, 5)))
    with pytest.warns(gradcam.BlankMapWarning, match="explain: blank map of image 0 and 2 more: the gradient is 0 everywhere") as caught:
        why = RESNET.explain(x, target=zero)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert why.flags["zero"].all()
    assert not why.map.any()


def test_all_negative_map_is_blank_after_relu_only():
    w = Weights()
    nodes = conv(w, "x", "c", (2, 3))
    nodes += [helper.make_node("Abs", ["c"], ["positive"]), helper.make_node("GlobalAveragePool", ["positive"], ["gap"])]
    w["minus"] = -np.ones((3, 2), np.float32)
    nodes += [helper.make_node("Flatten", ["gap"], ["f"]), helper.make_node("MatMul", ["f", "minus"], ["y"])]
    model = gradcam.load(model_bytes(nodes, {"x": ["N", 2, 5, 5]}, {"y": ["N", 2]}, w))
    x = normal((1, 2, 5, 5))
    with pytest.warns(gradcam.BlankMapWarning, match="nowhere positive .* Try: relu=False"):
        why = model.explain(x, target=0, layer="positive")
    assert why.flags["all_negative"].tolist() == [True]
    assert not why.map.any()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        signed = model.explain(x, target=0, layer="positive", relu=False)
    assert signed.map.min() == -1


def test_nan_warns_once_and_sets_a_flag():
    x = X.copy()
    x[1] = np.nan
    with pytest.warns(gradcam.NonFiniteWarning) as caught:
        why = RESNET.explain(x, target=1, relu=False)
    assert len(caught) == 1
    assert why.flags["nonfinite"].tolist() == [0, 16, 0]
    assert np.isnan(why.raw[1]).all()
    assert np.isfinite(why.raw[[0, 2]]).all()


def test_degenerate_channels_are_counted():
    why = RESNET.explain(X, target=1, method="xgradcam", layer="stage2", relu=False)
    a, _ = RESNET.activations_and_gradients(X, layer="stage2", target=1)
    assert why.flags["degenerate_channels"].tolist() == (a.sum((2, 3)) == 0).sum(1).tolist()


# --- memory


def test_run_beyond_the_budget_is_refused_before_it_starts():
    content = resnet()
    model = gradcam.load(content, max_bytes=2_000_000)
    x = normal((300, 3, 16, 16))
    assert model.run(x, num_threads=1).shape == (300, 5)
    with pytest.raises(gradcam.MemoryBudgetError, match="run: .*max_bytes") as caught:
        model.run(x, outputs=["stem"], num_threads=1)  # 300 times 8 kB
    assert isinstance(caught.value, MemoryError)
    assert model.run(x[:3], outputs=["stem"], num_threads=1).shape == (3, 8, 16, 16)


def test_input_beyond_the_budget_is_refused_before_it_is_copied():
    model = gradcam.load(resnet(), max_bytes=2_000_000)
    huge = np.broadcast_to(np.float32(0), (2**32, 3, 16, 16))  # 12 TiB, and no memory
    with pytest.raises(gradcam.MemoryBudgetError, match="max_bytes"):
        model(huge)


def test_budget_of_explanations_and_gradients():
    content = resnet(1, 64)
    tight = gradcam.load(content, max_bytes=len(content) + 60_000)
    x = normal((1, 3, 64, 64))
    for call in (lambda: tight.explain(x, target=1), lambda: tight.activations_and_gradients(x, layer="stem", target=1)):
        with pytest.raises(gradcam.MemoryBudgetError, match="max_bytes"):
            call()
    free = gradcam.load(content, max_bytes=None)
    assert free.explain(x, target=1, relu=False).raw.shape == (1, 16, 16)


def test_batch_size_brings_a_run_into_the_budget():
    model = gradcam.load(resnet(), max_bytes=3_500_000)  # 5 maps of 400 pictures take 2 MB, and as much again as results of one run
    x, options = normal((400, 3, 16, 16)), {"layer": "stem", "relu": False, "num_threads": 1}
    with pytest.raises(gradcam.MemoryBudgetError, match="batch_size"):
        model.explain_many(x, range(5), **options)
    found = model.explain_many(x, range(5), **options, batch_size=50)
    assert [why.raw.shape for why in found] == [(400, 16, 16)] * 5


# --- pickling, threads


def test_model_is_pickled_as_its_file(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(resnet())
    model = gradcam.load(path, labels=["a", "b", "c", "d", "e"], outputs=["y"])
    why = model.explain(X, target="b", relu=False)
    text = pickle.dumps(model)
    assert len(text) < 1000  # the path, not the plans or weights
    again = pickle.loads(text)
    assert again.labels == model.labels
    assert again.explain(X, target="b", relu=False).raw.tobytes() == why.raw.tobytes()


def test_model_from_bytes_is_pickled_with_them():
    again = pickle.loads(pickle.dumps(RESNET))
    assert again(X).tobytes() == RESNET(X).tobytes()


def test_explanation_is_picklable():
    why = RESNET.explain(X, target=[0, None, targets.Contrast(0, 1)], relu=False)
    again = pickle.loads(pickle.dumps(why))
    assert again.raw.tobytes() == why.raw.tobytes()
    assert again.target == why.target
    assert again.map.tobytes() == why.map.tobytes()


def test_one_model_serves_many_threads():
    model = gradcam.load(resnet())  # fresh caches: the threads fill them together
    wanted = {c: RESNET.explain(X, target=c, layer=layer, relu=False).raw.tobytes() for c, layer in enumerate(("stem", "stage1", "stage2"))}
    wrong: list[int] = []

    def work(seed):
        for i in range(10):
            c = (seed + i) % 3
            found = model.explain(X, target=c, layer=("stem", "stage1", "stage2")[c], relu=False, num_threads=1 + i % 2)
            if found.raw.tobytes() != wanted[c]:
                wrong.append(c)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# --- what is refused


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"method": "grad-cam"}, ValueError, "explain: method: expected one of gradcam, .* got 'grad-cam'"),
        ({"compat": "keras"}, ValueError, "compat: expected one of 'paper'.* got 'keras'"),
        ({"eigen": True}, TypeError, "explain: eigen: no such option of method 'gradcam', which has none"),
        ({"batch_size": 0}, ValueError, "explain: batch_size: expected at least 1, got 0"),
        ({"num_threads": 0}, ValueError, "num_threads: expected a positive integer"),
        ({"num_threads": 1.5}, TypeError, "num_threads: expected a positive integer"),
        ({"channel_axis": 2}, gradcam.LayerError, "explain: channel_axis: expected 1 or -1, got 2"),
        ({"channel_axis": 0}, gradcam.LayerError, "explain: channel_axis: expected 1 or -1, got 0"),
        ({"channel_axis": 9}, gradcam.LayerError, "explain: channel_axis: expected 1 or -1, got 9"),
    ],
)
def test_bad_requests(keywords, error, message):
    with pytest.raises(error, match=message):
        RESNET.explain(X, target=1, **keywords)


def test_modes_that_need_a_target():
    for compat in ("torchcam", "captum"):
        with pytest.raises(gradcam.TargetError, match=f"target: mode '{compat}' needs a target"):
            RESNET.explain(X, compat=compat)
    assert RESNET.explain(X, compat="pytorch-grad-cam", relu=False).raw.shape == (3, 4, 4)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (normal((3, 16, 15)), ValueError, r"input 'x': expected shape \(N, 3, 16, 16\) with any number of pictures, .* got \(3, 16, 15\)"),
        (normal((1, 4, 16, 16)), ValueError, r"got \(1, 4, 16, 16\)"),
        (normal((16, 16)), ValueError, r"got \(16, 16\)"),
        (normal((1, 1, 3, 16, 16)), ValueError, r"got \(1, 1, 3, 16, 16\)"),
        (np.float32(3), ValueError, r"got \(\)"),
        (np.zeros((1, 3, 16, 16), np.int64), TypeError, "input 'x': expected float32 or float64, got int64"),
        (np.zeros((1, 3, 16, 16), np.uint8), TypeError, "expected float32 or float64, got uint8"),
        (np.zeros((1, 3, 16, 16), bool), TypeError, "got bool"),
        (np.zeros((1, 3, 16, 16), np.complex64), TypeError, "got complex64"),
        (np.zeros((1, 3, 16, 16), object), TypeError, "got object"),
        ("picture.png", TypeError, "expected float32 or float64"),
        (None, TypeError, "expected float32 or float64, got object"),
        ({"y": normal((1, 3, 16, 16))}, ValueError, "x: expected the inputs x, got y"),
        ({}, ValueError, "x: expected the inputs x"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
@pytest.mark.parametrize("call", ["run", "explain", "activations_and_gradients"])
def test_bad_inputs(call, x, error, message):
    keywords = {"run": {}, "explain": {"target": 1}, "activations_and_gradients": {"target": 1, "layer": "stage2"}}[call]
    with pytest.raises(error, match=message) as caught:
        getattr(RESNET, call)(x, **keywords)
    assert str(caught.value).startswith(f"{call}: ")


def test_empty_spatial_axis_is_refused():
    model = gradcam.load(resnet("N", "S"))
    with pytest.raises(ValueError, match=r"run: input 'x': expected sizes of at least 1, got \(1, 3, 0, 5\)"):
        model(np.zeros((1, 3, 0, 5), np.float32))


def test_pictures_too_small_for_the_network_are_refused():
    w = Weights()
    w.add("w", 2, 1, 5, 5)
    model = gradcam.load(model_bytes([helper.make_node("Conv", ["x", "w"], ["y"])], {"x": ["N", 1, "H", "W"]}, {"y": None}, w, check=False))
    with pytest.raises(ValueError, match="kernel"):
        model(normal((1, 1, 4, 4)))


def test_mixed_types_of_several_inputs_run_in_the_wider():
    model = gradcam.load(two_inputs())
    feeds = {"image": normal((1, 2, 6, 5)), "vector": normal((1, 3), dtype=np.float64)}
    assert model(feeds).dtype == np.float64


def test_default_layers():
    assert RESNET.default_layer.name == "stage2"
    assert VGG.default_layer.name == "relu2"
    assert gradcam.load(segmenter()).default_layer.name == "relu1"
    assert RESNET.explain(X, target=0, relu=False).layer == "stage2"


def test_no_default_layer():
    w = Weights()
    w.add("w", 6, 3)
    model = gradcam.load(model_bytes([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": ["N", 6]}, {"y": ["N", 3]}, w))
    assert model.default_layer is None
    assert model.layers == ()
    with pytest.raises(gradcam.LayerError, match="layer: the model has no layer with positions .* pass layer="):
        model.explain(normal((1, 6)), target=0)
    a, g = model.activations_and_gradients(normal((2, 6)), layer="x", target=1)
    np.testing.assert_array_equal(g, np.broadcast_to(w["w"][:, 1], (2, 6)))
