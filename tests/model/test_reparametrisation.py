"""Other activations, the same function: what takes a change up, what hands it on, and what refuses it."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from model.networks import normal, resnet, two_inputs, two_outputs, vgg
from model.tails import CHANGES, FC, FLIPPED, HEAD, LINEAR, PARTLY, SHIFT, SIZE, W, network, node

import gradcam


def column(number: Any, axis: int = 1, rank: int = 4) -> np.ndarray:
    """Numbers of the channels against an array."""
    return np.reshape(number, (-1,) + (1,) * (rank - axis - 1))


def check(content: bytes | gradcam.Model, layer: str = "a", x: Any = None, axis: int = 1, **change: Any) -> gradcam.Model:
    """The function is the same and the layer has the activations that were asked for."""
    model = gradcam.load(content) if isinstance(content, bytes) else content
    new = gradcam.reparametrise(model, layer, **change)
    x = normal((2, 2, *SIZE), 1, np.float64) if x is None else x
    outputs = [o.name for o in model.outputs]
    before, after = (m.run(x, [*outputs, layer]) for m in (model, new))
    for name in outputs:
        np.testing.assert_allclose(after[name], before[name], rtol=0, atol=1e-12 * np.abs(before[name]).max())
        assert np.abs(before[name]).max() > 1e-3
    a = before[layer]
    want = a * column(change.get("scale", 1.0), axis, a.ndim) + column(change.get("shift", 0.0), axis, a.ndim)
    np.testing.assert_array_equal(after[layer], want)
    assert new.layers != ()
    return new


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("tail", LINEAR)
def test_linear_readers(tail, change):
    check(LINEAR[tail], **CHANGES[change])


@pytest.mark.parametrize("change", [name for name in CHANGES if name != "numbers"])
@pytest.mark.parametrize("tail", PARTLY)
def test_what_passes_and_what_is_refused(tail, change):
    content, passes = PARTLY[tail]
    if change in passes:
        check(content, **CHANGES[change])
    else:
        with pytest.raises(ValueError, match="^reparametrise: layer: "):
            gradcam.reparametrise(gradcam.load(content), "a", **CHANGES[change])


NONLINEAR = "and is not linear: only a positive scale without shift passes it"
PADDING = "pads it with zeros: a shift would not reach the padding"


@pytest.mark.parametrize(
    ("tail", "change", "text"),
    [
        ("relu", "shift", f"node '/p' (Relu, opset 17) reads 'a' {NONLINEAR}"),
        ("relu", "flip", f"node '/p' (Relu, opset 17) reads 'a' {NONLINEAR}"),
        ("max pool", "flip", "node '/p' (MaxPool, opset 17) reads 'a' and takes the extreme of it: only a positive scale passes it"),
        ("padded conv", "shift", f"node '/y' (Conv, opset 17) reads 'a' and {PADDING}"),
        ("same conv", "shift", f"node '/y' (Conv, opset 17) reads 'a' and {PADDING}"),
        ("pad", "shift", f"node '/p' (Pad, opset 17) reads 'a' and {PADDING}"),
        ("counted padding", "shift", "(AveragePool, opset 17) reads 'a' and counts the zeros of its padding"),
        ("add", "scale", "(Add, opset 17) reads 'a' together with another activation that is not scaled alike"),
        ("mul", "shift", "(Mul, opset 17) reads 'a' together with another activation: a shift does not pass their product"),
        ("inverse", "shift", "(Div, opset 17) reads 'a' and divides by it"),
        ("sigmoid", "scale", "node '/p' (Sigmoid, opset 17) reads 'a' and is not linear"),
        ("sum", "shift", "and adds up a number of elements that depends on the input: only a scale passes it"),
        ("pad with ones", "scale", "(Pad, opset 17) reads 'a' and pads it with a number other than 0"),
        ("positions that are pooled", "shift", "(GlobalAveragePool, opset 17) reads 'p' and takes elements together that change"),
        ("mean over channels", "scale", "and takes elements together that change differently"),
        ("positions", "shift", "node '/y' (Conv, opset 17) reads 'm' but there the change is not one number per channel"),
        ("output", "scale", "'a' is an output of the model"),
        ("output behind a pool", "flip", "node '/y' (AveragePool, opset 17) hands the change on to 'y', which is an output of the model"),
    ],
)
def test_reasons(tail, change, text):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the whole text is compared)
        gradcam.reparametrise(gradcam.load(PARTLY[tail][0]), "a", **CHANGES[change])
    assert str(caught.value).startswith("reparametrise: layer: ")
    assert text in str(caught.value)


def test_all_reasons_at_once():
    content = network(
        node("Relu", "a", out="p"),
        node("Tanh", "a", out="q"),
        node("Conv", "a", "w", out="r", pads=[1] * 4),
        w=W["w"],
        outputs=("p", "q", "r"),
    )
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        gradcam.reparametrise(gradcam.load(content), "a", shift=1)
    assert str(caught.value) == (
        "reparametrise: layer: 3 obstacles:\n"
        f"  node '/p' (Relu, opset 17) reads 'a' {NONLINEAR}\n"
        "  node '/q' (Tanh, opset 17) reads 'a' and is not linear\n"
        f"  node '/r' (Conv, opset 17) reads 'a' and {PADDING}"
    )


def test_a_weight_that_is_computed():
    tail = (node("Flatten", "a", out="f"), node("Gemm", "f", "v", out="g"), node("Transpose", "g", out="t"))
    x = normal((1, 2, *SIZE), 1, np.float64)
    content = network(*tail, node("MatMul", "h", "t"), node("Gemm", "f", "u", out="h"), u=(192, 2), v=(192, 2))
    check(content, x=x, scale=2)
    with pytest.raises(ValueError, match=r"\(MatMul, opset 17\) reads 'h' but its weight is not constant"):
        gradcam.reparametrise(gradcam.load(content), "h", scale=2)
    with pytest.raises(ValueError, match=r"\(MatMul, opset 17\) reads 't' as operand 1, where it cannot be compensated"):
        gradcam.reparametrise(gradcam.load(content), "g", scale=2)


def test_a_transposed_product():
    content = network(node("Flatten", "a", out="f"), node("Gemm", "f", "w", transA=1, transB=1), w=(3, 1))
    with pytest.raises(ValueError, match=r"reads 'f' but multiplies it transposed"):
        gradcam.reparametrise(gradcam.load(content), "a", scale=2)


# --- sizes that are not fixed


def test_any_size_of_picture():
    content = network(
        node("Mul", "a", "k", out="m"), node("Conv", "m", "v", out="p"), *HEAD, k=(4, 1, 1), v=(4, 4, 3, 3), **FC, size=("H", "W")
    )
    for size in ((6, 8), (11, 5)):
        check(content, x=normal((2, 2, *size), 1, np.float64), **CHANGES["both"])


def test_constants_that_depend_on_the_size_take_nothing_up():
    tail = (
        node("Shape", "a", out="shape"), node("Gather", "shape", "last", out="width"), node("Cast", "width", out="n", to=1),
        node("ReduceSum", "a", "axes", out="s"), node("Div", "s", "n", out="p"),
    )  # fmt: skip
    content = network(*tail, *HEAD, last=np.array(3), axes=np.array([3]), **FC, size=("H", "W"))
    for size in ((6, 8), (11, 5)):
        check(content, x=normal((2, 2, *size), 1, np.float64), **CHANGES["flip"])


def test_padding_that_depends_on_the_size():
    def same(*size: int | str) -> gradcam.Model:
        return gradcam.load(network(node("Conv", "a", "w", auto_pad="SAME_LOWER", strides=[2, 2]), w=(3, 4, 2, 2), size=size))  # type: ignore[arg-type]

    check(same(6, 8), **CHANGES["both"])  # even sizes need no padding
    with pytest.raises(ValueError, match="pads it with zeros"):
        gradcam.reparametrise(same("H", "W"), "a", shift=1)


def test_padding_that_is_computed_from_the_size():
    """An odd width gets one more column; the sizes that stand in for unknown ones are even."""
    tail = (
        node("Shape", "x", out="shape"), node("Gather", "shape", "last", out="width"), node("Mod", "width", "two", out="odd"),
        node("Concat", "zeros", "odd", out="pads", axis=0), node("Pad", "a", "pads", out="p"),
    )  # fmt: skip
    constants = {"last": np.array([3]), "two": np.array([2]), "zeros": np.zeros(7, np.int64)}
    content = network(*tail, *HEAD, **constants, **FC, size=("H", "W"))
    for size in ((6, 8), (6, 7)):
        check(content, x=normal((2, 2, *size), 1, np.float64), **CHANGES["flip"])
    with pytest.raises(ValueError, match=r"\(Pad, opset 17\) reads 'a' and pads it by an amount that depends on the size of the input"):
        gradcam.reparametrise(gradcam.load(content), "a", shift=1)


def test_a_layer_without_channels():
    content = network(node("ReduceMean", "a", out="p", axes=[1, 2, 3], keepdims=0), node("Unsqueeze", "p", "k"), k=np.array([1]))
    with pytest.raises(gradcam.LayerError, match=r"reparametrise: layer: 'p' of shape \(1,\) has no axis of channels"):
        gradcam.reparametrise(gradcam.load(content), "p", scale=2)


# --- the new model


def test_nodes_that_share_a_weight_keep_it():
    model = gradcam.load(LINEAR["shared weight"])
    x = normal((1, 2, *SIZE), 1, np.float64)
    other = model.run(x, ["q"])
    kept = {name: array.copy() for name, array in model._source.initializers.items()}
    new = check(model, **CHANGES["both"])
    np.testing.assert_array_equal(new.run(x, ["q"]), other)
    assert model._source.initializers.keys() == kept.keys()
    for name, array in kept.items():
        np.testing.assert_array_equal(model._source.initializers[name], array)


def test_names():
    model = gradcam.load(resnet())
    x = normal((1, 3, 16, 16), 1, np.float64)
    for layer in ("stage2", "/stage2/relu"):  # the tensor and the node that computes it
        new = gradcam.reparametrise(model, layer, shift=1, scale=-2)
        for name in ("stage2", "/stage2/relu"):
            np.testing.assert_array_equal(new.run(x, [name]), -2 * model.run(x, [name]) + 1)
        for name in ("stage2.original", "/stage2/relu.original"):
            np.testing.assert_array_equal(new.run(x, [name]), model.run(x, ["stage2"]))
    twice = gradcam.reparametrise(new, "stage2", scale=-0.5)
    np.testing.assert_allclose(twice.run(x, ["stage2"]), model.run(x, ["stage2"]) - 0.5, rtol=1e-15)
    np.testing.assert_allclose(twice(x), model(x), rtol=0, atol=1e-13)


def test_gradients():
    """dS/dA' = dS/dA / scale, whatever the shift."""
    model = gradcam.load(vgg())
    x = normal((2, 2, 8, 10), 1, np.float64)
    scale = np.random.default_rng(2).standard_normal(8)
    for layer, change in (("pool", {"shift": 0.5, "scale": scale}), ("relu2", {"shift": -0.25, "scale": np.abs(scale)})):
        new = gradcam.reparametrise(model, layer, **change)
        want = model.activations_and_gradients(x, layer=layer, target=1)[1]
        got = new.activations_and_gradients(x, layer=layer, target=1)[1]
        np.testing.assert_allclose(got * column(change["scale"]), want, rtol=0, atol=1e-13 * np.abs(want).max())
        assert np.abs(want).max() > 1e-3


@pytest.mark.parametrize("layer", ["stem.conv", "stage1.conv1", "stage2", "gap", "features"])
def test_residual_network(layer):
    model = gradcam.load(resnet())
    check(model, layer, normal((2, 3, 16, 16), 1, np.float64), shift=0.7, scale=-1.5)


def test_several_inputs_and_outputs():
    image, vector = normal((2, 2, 6, 5), 1, np.float64), normal((2, 3), 2, np.float64)
    check(gradcam.load(two_outputs()), "relu1", image, shift=SHIFT, scale=FLIPPED)
    check(gradcam.load(two_inputs()), "relu1", {"image": image, "vector": vector}, scale=FLIPPED)


def test_float32_runs():
    model = gradcam.load(resnet())
    x = normal((2, 3, 16, 16), 1)
    new = gradcam.reparametrise(model, "stage2", shift=0.3, scale=-2)
    assert new(x).dtype == np.float32
    np.testing.assert_allclose(new(x), model(x), rtol=0, atol=1e-5 * np.abs(model(x)).max())


def test_what_is_kept():
    metadata = {"gradcam.labels": '["a", "b", "c", "d", "e"]'}
    model = gradcam.load(resnet(metadata=metadata), max_bytes=2**24)
    model.preprocess = gradcam.Preprocess.preset("unit", size=(16, 16))
    new = gradcam.reparametrise(model, "stage2", shift=1)
    assert (new.labels, new.inputs, new.outputs, new.preprocess) == (model.labels, model.inputs, model.outputs, model.preprocess)
    assert new._session.max_bytes == 2**24
    assert new._source.metadata == metadata
    assert gradcam.reparametrise(gradcam.load(resnet(), labels=["u"]), "stage2", shift=1).labels == {0: "u"}


def test_pickle(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(resnet())
    x = normal((1, 3, 16, 16), 1, np.float64)
    new = gradcam.reparametrise(gradcam.load(path, labels=["u", "v"]), "stage2", shift=1, scale=[-1.0, 2.0] * 6)
    text = pickle.dumps(new)
    assert len(text) < 1500  # the path, not the weights
    again = pickle.loads(text)
    assert again.labels == new.labels
    np.testing.assert_array_equal(again(x), new(x))
    np.testing.assert_array_equal(again.run(x, ["stage2"]), new.run(x, ["stage2"]))


@pytest.mark.parametrize(("name", "tensor"), [("vgg", "last"), ("res", "last"), ("mob", "last"), ("vgg", "mid")])
def test_golden_networks(shared, name, tensor):
    path = shared / "golden" / f"net_{name}.onnx"
    with np.load(path.with_suffix(".npz")) as file:
        x, layer = file["input"].astype(np.float64), str(file[f"{tensor}/tensor"])
    model = gradcam.load(path)
    channels = next(info for info in model.layers if layer in (info.name, *info.aliases)).shape[1]
    generator = np.random.default_rng(4)
    scale = np.exp(generator.standard_normal(channels))
    check(model, layer, x, scale=scale)


# --- what is refused


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "reparametrise: shift, scale: expected at least one of them, got neither"),
        ({"scale": 0}, ValueError, "reparametrise: scale: expected numbers other than 0"),
        ({"scale": [1, 2, 0, 1]}, ValueError, "reparametrise: scale: expected numbers other than 0"),
        ({"scale": np.inf}, ValueError, "reparametrise: scale: expected finite numbers"),
        ({"shift": [0, np.nan, 0, 0]}, ValueError, "reparametrise: shift: expected finite numbers"),
        ({"shift": [1, 2, 3]}, ValueError, r"shift: expected a number, or one for each of the 4 channels, got shape \(3,\)"),
        ({"shift": np.ones((4, 1))}, ValueError, r"shift: expected a number, or one for each of the 4 channels, got shape \(4, 1\)"),
        ({"scale": "much"}, TypeError, "scale: expected a number, or one for each of the 4 channels"),
        ({"layer": "A", "scale": 2}, gradcam.LayerError, "layer: no tensor, node or module is called 'A'; nearest: 'a'"),
        ({"layer": None, "scale": 2}, gradcam.LayerError, "layer: expected the name of a tensor, node or module"),
        ({"layer": "w", "scale": 2}, gradcam.LayerError, "layer: no tensor, node or module is called 'w'"),
        ({"layer": "x", "scale": 2}, ValueError, "reparametrise: layer: 'x' is an input of the model"),
        ({"model": b"", "scale": 2}, TypeError, "reparametrise: model: expected a gradcam.Model, got bytes"),
    ],
)
def test_bad_arguments(arguments, error, message):
    arguments = {"model": gradcam.load(LINEAR["conv"]), "layer": "a"} | arguments
    with pytest.raises(error, match=message):
        gradcam.reparametrise(**arguments)


def test_changes_that_change_nothing():
    check(PARTLY["sigmoid"][0], shift=0, scale=1)
