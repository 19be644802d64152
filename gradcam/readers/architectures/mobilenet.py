"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381) and V3 (Howard et al. 2019, arXiv:1905.02244)."""

from __future__ import annotations

from gradcam.readers.architectures._modules import Modules, architecture, divisible

# expansion, channels, blocks, stride of the first
_V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))

# kernel, expanded channels, channels, squeeze-and-excitation, activation, stride
_Block = tuple[int, int, int, bool, str, int]
_V3_LARGE: tuple[_Block, ...] = (
    (3, 16, 16, False, "relu", 1),
    (3, 64, 24, False, "relu", 2),
    (3, 72, 24, False, "relu", 1),
    (5, 72, 40, True, "relu", 2),
    (5, 120, 40, True, "relu", 1),
    (5, 120, 40, True, "relu", 1),
    (3, 240, 80, False, "hardswish", 2),
    (3, 200, 80, False, "hardswish", 1),
    (3, 184, 80, False, "hardswish", 1),
    (3, 184, 80, False, "hardswish", 1),
    (3, 480, 112, True, "hardswish", 1),
    (3, 672, 112, True, "hardswish", 1),
    (5, 672, 160, True, "hardswish", 2),
    (5, 960, 160, True, "hardswish", 1),
    (5, 960, 160, True, "hardswish", 1),
)
_V3_SMALL: tuple[_Block, ...] = (
    (3, 16, 16, True, "relu", 2),
    (3, 72, 24, False, "relu", 2),
    (3, 88, 24, False, "relu", 1),
    (5, 96, 40, True, "hardswish", 2),
    (5, 240, 40, True, "hardswish", 1),
    (5, 240, 40, True, "hardswish", 1),
    (5, 120, 48, True, "hardswish", 1),
    (5, 144, 48, True, "hardswish", 1),
    (5, 288, 96, True, "hardswish", 2),
    (5, 576, 96, True, "hardswish", 1),
    (5, 576, 96, True, "hardswish", 1),
)
_V3_EPS = 1e-3


@architecture("mobilenet_v2")
def mobilenet_v2(m: Modules) -> str:
    """Inverted residual blocks."""
    x = m.conv_norm(m.input(), "features.0", (3, 32), 3, act="relu6", stride=2)
    channels, index = 32, 1
    for expansion, out, blocks, first in _V2:
        for i in range(blocks):
            x = _inverted_residual(m, x, f"features.{index}", (channels, expansion * channels, out), 1 if i else first)
            channels, index = out, index + 1
    x = m.alias(m.conv_norm(x, f"features.{index}", (channels, 1280), act="relu6"), "features")
    return m.linear(m.pooled(x, "avgpool"), "classifier.1", (1280, m.classes("classifier.1")))


def _inverted_residual(m: Modules, x: str, path: str, channels: tuple[int, int, int], stride: int) -> str:
    before, inner, out = channels
    y, step = x, 0
    if inner != before:
        y, step = m.conv_norm(y, f"{path}.conv.0", (before, inner), act="relu6"), 1
    y = m.conv_norm(y, f"{path}.conv.{step}", (inner, inner), 3, act="relu6", stride=stride, groups=inner)
    y = m.norm(m.conv(y, f"{path}.conv.{step + 1}", (inner, out)), f"{path}.conv.{step + 2}", out)
    y = m.alias(y, f"{path}.conv")
    return m.net.add(x, y, name=path) if stride == 1 and before == out else m.alias(y, path)


@architecture("mobilenet_v3_small", blocks=_V3_SMALL, last=1024)
@architecture("mobilenet_v3_large", blocks=_V3_LARGE, last=1280)
def mobilenet_v3(m: Modules, blocks: tuple[_Block, ...], last: int) -> str:
    """Inverted residual blocks, some with squeeze-and-excitation."""
    x, channels = m.conv_norm(m.input(), "features.0", (3, 16), 3, act="hardswish", eps=_V3_EPS, stride=2), 16
    for index, block in enumerate(blocks, start=1):
        x, channels = _v3_block(m, x, f"features.{index}", channels, block), block[2]
    x = m.conv_norm(x, f"features.{len(blocks) + 1}", (channels, 6 * channels), act="hardswish", eps=_V3_EPS)
    x = m.alias(x, "features")
    x = m.net.hardswish(m.linear(m.pooled(x, "avgpool"), "classifier.0", (6 * channels, last)), name="classifier.1")
    return m.linear(x, "classifier.3", (last, m.classes("classifier.3")))


def _v3_block(m: Modules, x: str, path: str, before: int, block: _Block) -> str:
    kernel, inner, out, squeezed, act, stride = block
    y, step = x, 0
    if inner != before:
        y, step = m.conv_norm(y, f"{path}.block.0", (before, inner), act=act, eps=_V3_EPS), 1
    y = m.conv_norm(y, f"{path}.block.{step}", (inner, inner), kernel, act=act, eps=_V3_EPS, stride=stride, groups=inner)
    if squeezed:
        step += 1
        y = m.squeeze_excitation(y, f"{path}.block.{step}", (inner, divisible(inner // 4)), "relu", "hardsigmoid")
    y = m.alias(m.conv_norm(y, f"{path}.block.{step + 1}", (inner, out), act=None, eps=_V3_EPS), f"{path}.block")
    return m.net.add(x, y, name=path) if stride == 1 and before == out else m.alias(y, path)
