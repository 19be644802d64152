"""ResNet (He et al. 2015, arXiv:1512.03385), Wide ResNet (arXiv:1605.07146), ResNeXt (arXiv:1611.05431)."""

from __future__ import annotations

from typing import Any

from gradcam.readers.architectures._modules import Modules, architecture


@architecture("resnet18", blocks=(2, 2, 2, 2), bottleneck=False)
@architecture("resnet34", blocks=(3, 4, 6, 3), bottleneck=False)
@architecture("resnet50", blocks=(3, 4, 6, 3))
@architecture("resnet101", blocks=(3, 4, 23, 3))
@architecture("resnet152", blocks=(3, 8, 36, 3))
@architecture("wide_resnet50_2", blocks=(3, 4, 6, 3), width=128)
@architecture("resnext50_32x4d", blocks=(3, 4, 6, 3), width=4, groups=32)
def resnet(m: Modules, blocks: tuple[int, ...], bottleneck: bool = True, width: int = 64, groups: int = 1) -> str:
    """Stem, four stages of residual blocks, linear layer."""
    x = m.norm(m.conv(m.input(), "conv1", (3, 64), 7, stride=2), "bn1", 64)
    x = m.net.max_pool(m.net.relu(x, name="relu"), 3, stride=2, padding=1, name="maxpool")
    channels = 64
    for stage, count in enumerate(blocks):
        planes = 64 << stage
        out = 4 * planes if bottleneck else planes
        inner = planes * width // 64 * groups if bottleneck else planes
        for i in range(count):
            stride = 2 if stage and not i else 1
            x = _block(m, x, f"layer{stage + 1}.{i}", (channels, inner, out), stride, groups, bottleneck)
            channels = out
        x = m.alias(x, f"layer{stage + 1}")
    return m.linear(m.pooled(x, "avgpool"), "fc", (channels, m.classes("fc")))


def _block(m: Modules, x: str, path: str, channels: tuple[int, int, int], stride: int, groups: int, bottleneck: bool) -> str:
    """Residual block; its module `relu` is called several times, and names the last result."""
    before, inner, out = channels
    steps: list[tuple[tuple[int, int], int, dict[str, Any]]]
    if bottleneck:
        steps = [((before, inner), 1, {}), ((inner, inner), 3, {"stride": stride, "groups": groups}), ((inner, out), 1, {})]
    else:
        steps = [((before, inner), 3, {"stride": stride}), ((inner, out), 3, {})]
    y = x
    for i, (pair, kernel, options) in enumerate(steps, start=1):
        y = m.norm(m.conv(y, f"{path}.conv{i}", pair, kernel, **options), f"{path}.bn{i}", pair[1])
        y = y if i == len(steps) else m.net.relu(y, name=f"{path}.relu.{i}")
    if stride != 1 or before != out:
        x = m.norm(m.conv(x, f"{path}.downsample.0", (before, out), stride=stride), f"{path}.downsample.1", out)
        x = m.alias(x, f"{path}.downsample")
    return m.alias(m.net.relu(m.net.add(y, x, name=f"{path}.add"), name=path), f"{path}.relu")
