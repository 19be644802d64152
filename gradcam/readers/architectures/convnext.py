"""ConvNeXt (Liu et al. 2022, arXiv:2201.03545)."""

from __future__ import annotations

from gradcam.readers.architectures._modules import Modules, architecture


@architecture("convnext_tiny", width=96, blocks=(3, 3, 9, 3))
@architecture("convnext_small", width=96, blocks=(3, 3, 27, 3))
@architecture("convnext_base", width=128, blocks=(3, 3, 27, 3))
def convnext(m: Modules, width: int, blocks: tuple[int, ...]) -> str:
    """Patches, four stages of depthwise convolutions, linear layer."""
    x = m.conv(m.input(), "features.0.0", (3, width), 4, bias=True, stride=4, padding=0)
    x = m.alias(_norm_channels(m, x, "features.0.1", width), "features.0")
    for stage, count in enumerate(blocks):
        path = f"features.{2 * stage + 1}"
        for i in range(count):
            x = _block(m, x, f"{path}.{i}", width)
        x = m.alias(x, path)
        if stage < len(blocks) - 1:
            path = f"features.{2 * stage + 2}"
            x = m.conv(_norm_channels(m, x, f"{path}.0", width), f"{path}.1", (width, 2 * width), 2, bias=True, stride=2, padding=0)
            x = m.alias(x, path)
            width *= 2
    x = m.alias(x, "features")
    x = m.net.flatten(_norm_channels(m, m.net.global_average_pool(x, name="avgpool"), "classifier.0", width))
    return m.linear(x, "classifier.2", (width, m.classes("classifier.2")))


def _norm_channels(m: Modules, x: str, path: str, width: int) -> str:
    """LayerNorm2d: normalise over the channels of each position."""
    last = m.layer_norm(m.net.transpose(x, (0, 2, 3, 1)), path, width)
    return m.net.transpose(last, (0, 3, 1, 2), name=f"{path}.channels_first")


def _block(m: Modules, x: str, path: str, width: int) -> str:
    y = m.conv(x, f"{path}.block.0", (width, width), 7, bias=True, groups=width)
    y = m.layer_norm(m.net.transpose(y, (0, 2, 3, 1), name=f"{path}.block.1"), f"{path}.block.2", width)
    y = m.net.gelu(m.linear(y, f"{path}.block.3", (width, 4 * width)), name=f"{path}.block.4")
    y = m.net.transpose(m.linear(y, f"{path}.block.5", (4 * width, width)), (0, 3, 1, 2), name=f"{path}.block.6")
    y = m.net.mul(m.alias(y, f"{path}.block"), m.state.take(f"{path}.layer_scale", (width, 1, 1)), name=f"{path}.scaled")
    return m.net.add(y, x, name=path)
