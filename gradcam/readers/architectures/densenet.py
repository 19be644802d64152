"""DenseNet (Huang et al. 2016, arXiv:1608.06993)."""

from __future__ import annotations

from gradcam.readers.architectures._modules import Modules, architecture

_GROWTH = 32
_OLD_NAMES = ((r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.", r"\1\2."),)


@architecture("densenet121", old_names=_OLD_NAMES, blocks=(6, 12, 24, 16))
def densenet(m: Modules, blocks: tuple[int, ...]) -> str:
    """Blocks in which every layer reads all layers before it, and transitions that halve."""
    x = m.norm(m.conv(m.input(), "features.conv0", (3, 64), 7, stride=2), "features.norm0", 64)
    x = m.net.max_pool(m.net.relu(x, name="features.relu0"), 3, stride=2, padding=1, name="features.pool0")
    channels = 64
    for block, layers in enumerate(blocks, start=1):
        path = f"features.denseblock{block}"
        for i in range(1, layers + 1):
            y = _dense_layer(m, x, f"{path}.denselayer{i}", channels)
            x = m.net.concat([x, y], name=path if i == layers else f"{path}.concat{i}")
            channels += _GROWTH
        if block < len(blocks):
            path, half = f"features.transition{block}", channels // 2
            x = m.net.relu(m.norm(x, f"{path}.norm", channels), name=f"{path}.relu")
            x = m.alias(m.net.average_pool(m.conv(x, f"{path}.conv", (channels, half)), 2, name=f"{path}.pool"), path)
            channels = half
    x = m.alias(m.norm(x, "features.norm5", channels), "features")
    return m.linear(m.pooled(m.net.relu(x, name="relu"), "avgpool"), "classifier", (channels, m.classes("classifier")))


def _dense_layer(m: Modules, x: str, path: str, channels: int) -> str:
    for i, (pair, kernel) in enumerate((((channels, 4 * _GROWTH), 1), ((4 * _GROWTH, _GROWTH), 3)), start=1):
        x = m.net.relu(m.norm(x, f"{path}.norm{i}", pair[0]), name=f"{path}.relu{i}")
        x = m.conv(x, f"{path}.conv{i}", pair, kernel)
    return m.alias(x, path)
