"""EfficientNet (Tan and Le 2019, arXiv:1905.11946)."""

from __future__ import annotations

from math import ceil

from gradcam.readers.architectures._modules import Modules, architecture, divisible

# expansion, kernel, stride of the first block, channels, blocks
_STAGES = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4), (6, 3, 1, 320, 1))


@architecture("efficientnet_b0", width=1.0, depth=1.0)
@architecture("efficientnet_b1", width=1.0, depth=1.1, size=240)
@architecture("efficientnet_b2", width=1.1, depth=1.2, size=288)
@architecture("efficientnet_b3", width=1.2, depth=1.4, size=300)
@architecture("efficientnet_b4", width=1.4, depth=1.8, size=380)
def efficientnet(m: Modules, width: float, depth: float) -> str:
    """Inverted residual blocks with squeeze-and-excitation, scaled in width and depth."""
    channels = divisible(32 * width)
    x = m.conv_norm(m.input(), "features.0", (3, channels), 3, act="silu", stride=2)
    for stage, (expansion, kernel, first, base, blocks) in enumerate(_STAGES, start=1):
        out = divisible(base * width)
        for i in range(ceil(blocks * depth)):
            x = _block(m, x, f"features.{stage}.{i}", (channels, divisible(channels * expansion), out), kernel, 1 if i else first)
            channels = out
        x = m.alias(x, f"features.{stage}")
    x = m.alias(m.conv_norm(x, f"features.{len(_STAGES) + 1}", (channels, 4 * channels), act="silu"), "features")
    return m.linear(m.pooled(x, "avgpool"), "classifier.1", (4 * channels, m.classes("classifier.1")))


def _block(m: Modules, x: str, path: str, channels: tuple[int, int, int], kernel: int, stride: int) -> str:
    before, inner, out = channels
    y, step = x, 0
    if inner != before:
        y, step = m.conv_norm(y, f"{path}.block.0", (before, inner), act="silu"), 1
    y = m.conv_norm(y, f"{path}.block.{step}", (inner, inner), kernel, act="silu", stride=stride, groups=inner)
    y = m.squeeze_excitation(y, f"{path}.block.{step + 1}", (inner, max(1, before // 4)), "silu", "sigmoid")
    y = m.alias(m.conv_norm(y, f"{path}.block.{step + 2}", (inner, out), act=None), f"{path}.block")
    return m.net.add(y, x, name=path) if stride == 1 and before == out else m.alias(y, path)
