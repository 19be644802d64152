"""Attention and RotaryEmbedding: what the cases of the `onnx` package do not reach (tests/onnx_conformance runs those)."""

from __future__ import annotations

import numpy as np
import pytest
from graph.cases import F64
from graph.onnx_cases import f32, ints
from graph.test_computed_positions import cast, check_gradients, model, node, values
from model.networks import normal, reference

import gradcam
from gradcam.graph.passes import is_per_picture
from gradcam.readers.onnx import read_onnx

Q, K, V = (1, 4, 3, 5), (1, 2, 6, 5), (1, 2, 6, 2)


def attend(q, k, v, allowed):
    """Plain loops over heads and queries; keys that are not allowed are not read."""
    y = np.zeros((*q.shape[:3], v.shape[3]))
    for b, h, i in np.ndindex(*q.shape[:3]):
        own = h * k.shape[1] // q.shape[1]
        keys = [j for j in range(k.shape[2]) if allowed[b, h, i, j]]
        scores = np.array([q[b, h, i] @ k[b, own, j] for j in keys]) / np.sqrt(q.shape[3])
        shares = np.exp(scores - scores.max(initial=-np.inf))
        for share, j in zip(shares / shares.sum(), keys, strict=True):
            y[b, h, i] += share * v[b, own, j]
    return y


def arrays(**more):
    return {"q": normal(Q, 1), "k": normal(K, 2), "v": normal(V, 3)} | more


def shapes(given):
    return {name: a.shape for name, a in given.items()}


def test_heads_that_share_keys():
    given = arrays()
    content = model([node("Attention", list("qkv"))], shapes(given), opset=23)
    want = attend(*given.values(), np.ones((1, 4, 3, 6), bool))
    np.testing.assert_allclose(values(content, given)[0], want, rtol=1e-6, atol=1e-7)
    check_gradients(content, given, ["q", "k", "v"])


@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("shape", [(6,), (3, 6), (4, 1, 6), (1, 1, 3, 6), (3, 4)])
def test_a_mask_of_booleans(shape, computed):
    """Also one that is computed, which is a number at run time, and one that leaves a query without keys."""
    mask = np.random.default_rng(4).random(shape) < 0.6
    mask[..., -1] = True
    if len(shape) == 2:
        mask[1] = False
    given = arrays(**({"m": f32(mask)} if computed else {}))
    nodes = [node("Greater", ["m", "half"], "flag"), node("Not", ["flag"], "n"), node("Not", ["n"], "mask")] if computed else []
    weights = {"half": f32(0.5)} if computed else {"mask": mask}
    content = model([*nodes, node("Attention", [*"qkv", "mask"])], shapes(given), weights, opset=23)
    whole = np.concatenate([mask, np.zeros((*shape[:-1], 6 - shape[-1]), bool)], -1)
    want = attend(given["q"], given["k"], given["v"], np.broadcast_to(whole, (1, 4, 3, 6)))
    np.testing.assert_allclose(values(content, given)[0], want, rtol=1e-6, atol=1e-7)
    check_gradients(content, given, ["q", "k", "v"])


def test_a_mask_of_numbers_has_a_gradient():
    given = arrays(m=normal((3, 6), 5))
    content = model([node("Attention", [*"qkv", "m"], is_causal=1, softcap=0.7)], shapes(given), opset=24)
    check_gradients(content, given, ["q", "k", "v", "m"])


def test_lengths_that_are_computed():
    given = arrays(real=f32([4]))
    nodes = [cast("real", "n"), node("Attention", [*"qkv", "", "", "", "n"], is_causal=1)]
    content = model(nodes, shapes(given), opset=24)
    allowed = np.arange(6) <= np.arange(3)[:, None] + 4 - 3
    want = attend(given["q"], given["k"], given["v"], np.broadcast_to(allowed & (np.arange(6) < 4), (1, 4, 3, 6)))
    np.testing.assert_allclose(values(content, given)[0], want, rtol=1e-6, atol=1e-7)
    check_gradients(content, given, ["q", "k", "v"])


def test_pictures_do_not_meet():
    content = model([node("Attention", ["x", "x", "x"], q_num_heads=2, kv_num_heads=2, is_causal=1)], {"x": ("n", 5, 6)}, opset=23)
    graph, _ = read_onnx(content).build({"x": (1, 5, 6)}, F64)
    assert is_per_picture(graph)
    x = normal((3, 5, 6), 1)
    np.testing.assert_allclose(gradcam.load(content)(x), reference(content, {"x": x, "q": x})[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize("interleaved", [0, 1])
def test_rotated_positions(ids, interleaved):
    given = {"x": normal((1, 2, 3, 6), 1), "c": normal((8, 2) if ids else (1, 3, 2), 2), "s": normal((8, 2) if ids else (1, 3, 2), 3)}
    attrs = {"interleaved": interleaved, "rotary_embedding_dim": 4}
    content = model([node("RotaryEmbedding", [*given, *["i"] * ids], **attrs)], shapes(given), {"i": ints(7, 0, 7).reshape(1, 3)}, opset=23)
    np.testing.assert_allclose(values(content, given)[0], reference(content, given)[0], rtol=1e-5, atol=1e-6)
    check_gradients(content, given, ["x", "c", "s"])


@pytest.mark.parametrize(
    ("op", "given", "attrs", "text"),
    [
        ("Attention", {"q": (1, 3, 4), "k": (1, 3, 4), "v": (1, 3, 4)}, {}, "attribute 'q_num_heads' a divisor"),
        ("Attention", {"q": (1, 3, 4), "k": (1, 3, 4), "v": (1, 3, 4)}, {"q_num_heads": 3, "kv_num_heads": 2}, "'q_num_heads' a divisor"),
        ("Attention", {"q": (1, 3, 2, 4), "k": (1, 2, 2, 4), "v": (1, 2, 2, 4)}, {}, "do not share 2"),
        ("Attention", {"q": (1, 2, 2, 4), "k": (1, 2, 2, 3), "v": (1, 2, 2, 4)}, {}, "do not fit together"),
        ("Attention", {"q": (1, 2, 2, 4), "k": (1, 2, 2, 4), "v": (1, 2, 3, 4)}, {}, "do not fit together"),
        ("Attention", {"q": (1, 2, 2, 4), "k": (1, 2, 2, 4), "v": (1, 2, 2, 4), "m": (2, 3)}, {}, "expected a mask"),
        ("RotaryEmbedding", {"x": (1, 2, 3, 6), "c": (1, 3, 2), "s": (1, 3, 2)}, {}, "expected cosines"),
        ("RotaryEmbedding", {"x": (1, 3, 6), "c": (1, 3, 3), "s": (1, 3, 3)}, {"num_heads": 4}, "'num_heads' a divisor"),
        ("RotaryEmbedding", {"x": (1, 2, 3, 6), "c": (1, 3, 4), "s": (1, 3, 4)}, {"rotary_embedding_dim": 8}, "expected cosines"),
    ],
)
def test_malformed(op, given, attrs, text):
    content = model([node(op, list(given), **attrs)], given, opset=23)
    with pytest.raises(gradcam.ModelFormatError, match=text):
        read_onnx(content).build(given, F64)
