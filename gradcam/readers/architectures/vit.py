"""Vision Transformer (Dosovitskiy et al. 2020, arXiv:2010.11929)."""

from __future__ import annotations

from math import isqrt

from gradcam.readers.architectures._modules import Modules, architecture

_WIDTH, _HEADS, _LAYERS = 768, 12, 12
_OLD_NAMES = ((r"\.mlp\.linear_1\.", ".mlp.0."), (r"\.mlp\.linear_2\.", ".mlp.3."))


@architecture("vit_b_16", old_names=_OLD_NAMES, patch=16)
@architecture("vit_b_32", old_names=_OLD_NAMES, patch=32)
def vit(m: Modules, patch: int) -> str:
    """Patches and a class token, twelve layers of attention; the positions' embedding fixes the size of the picture."""
    side = max(1, isqrt(max(0, m.state.size("encoder.pos_embedding", 1, (224 // patch) ** 2 + 1) - 1)))
    x = m.conv(m.input(side * patch), "conv_proj", (3, _WIDTH), patch, bias=True, stride=patch, padding=0)
    x = m.net.transpose(m.net.reshape(x, (0, _WIDTH, -1)), (0, 2, 1), name="patches")
    x = m.net.concat([m.state.take("class_token", (1, 1, _WIDTH)), x])
    x = m.net.add(x, m.state.take("encoder.pos_embedding", (1, side**2 + 1, _WIDTH)), name="encoder.dropout")
    for i in range(_LAYERS):
        x = _layer(m, x, f"encoder.layers.encoder_layer_{i}")
    x = m.layer_norm(m.alias(x, "encoder.layers"), "encoder.ln", _WIDTH)
    x = m.net.select(m.alias(x, "encoder"), 1, 0)
    return m.linear(x, "heads.head", (_WIDTH, m.classes("heads.head")))


def _layer(m: Modules, x: str, path: str) -> str:
    x = m.net.add(_attention(m, m.layer_norm(x, f"{path}.ln_1", _WIDTH), f"{path}.self_attention"), x, name=f"{path}.add")
    y = m.linear(m.layer_norm(x, f"{path}.ln_2", _WIDTH), f"{path}.mlp.0", (_WIDTH, 4 * _WIDTH))
    y = m.linear(m.net.gelu(y, name=f"{path}.mlp.1"), f"{path}.mlp.3", (4 * _WIDTH, _WIDTH))
    return m.net.add(x, m.alias(y, f"{path}.mlp"), name=path)


def _attention(m: Modules, x: str, path: str) -> str:
    """softmax(q k' / sqrt(d)) v for each head."""
    weight = m.state.take(f"{path}.in_proj_weight", (3 * _WIDTH, _WIDTH))
    bias = m.state.take(f"{path}.in_proj_bias", (3 * _WIDTH,))
    parts = []
    for i, axes in enumerate(((0, 2, 1, 3), (0, 2, 3, 1), (0, 2, 1, 3))):
        rows = slice(i * _WIDTH, (i + 1) * _WIDTH)
        part = m.net.linear(x, weight[rows], bias[rows], name=f"{path}.{'qkv'[i]}")
        parts.append(m.net.transpose(m.net.reshape(part, (0, 0, _HEADS, _WIDTH // _HEADS)), axes))
    q, k, v = parts
    scores = m.net.matmul(m.net.mul(q, (_WIDTH // _HEADS) ** -0.5), k)
    mixed = m.net.matmul(m.net.softmax(scores, name=f"{path}.probabilities"), v)
    joined = m.net.reshape(m.net.transpose(mixed, (0, 2, 1, 3)), (0, 0, _WIDTH))
    return m.alias(m.linear(joined, f"{path}.out_proj", (_WIDTH, _WIDTH)), path)
