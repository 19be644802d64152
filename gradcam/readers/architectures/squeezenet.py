"""SqueezeNet (Iandola et al. 2016, arXiv:1602.07360)."""

from __future__ import annotations

from gradcam.readers.architectures._modules import Modules, architecture

_SQUEEZED = (16, 16, 32, 32, 48, 48, 64, 64)


@architecture("squeezenet1_0", stem=(96, 7), pools=(2, 6, 11))
@architecture("squeezenet1_1", stem=(64, 3), pools=(2, 5, 8))
def squeezenet(m: Modules, stem: tuple[int, int], pools: tuple[int, ...]) -> str:
    """Fire modules, with a pooling at each index of `pools`, and a convolution to the classes."""
    channels, kernel = stem
    x = m.net.relu(m.conv(m.input(), "features.0", (3, channels), kernel, bias=True, stride=2, padding=0), name="features.1")
    fires = iter(_SQUEEZED)
    for index in range(2, 13):
        if index in pools:
            x = m.net.max_pool(x, 3, stride=2, ceil_mode=True, name=f"features.{index}")
        else:
            squeezed = next(fires)
            x = _fire(m, x, f"features.{index}", channels, squeezed)
            channels = 8 * squeezed
    x = m.alias(x, "features")
    x = m.net.relu(m.conv(x, "classifier.1", (512, m.classes("classifier.1")), bias=True), name="classifier.2")
    return m.pooled(x, "classifier.3")


def _fire(m: Modules, x: str, path: str, channels: int, squeezed: int) -> str:
    x = m.net.relu(m.conv(x, f"{path}.squeeze", (channels, squeezed), bias=True), name=f"{path}.squeeze_activation")
    parts = []
    for kernel in (1, 3):
        part = f"{path}.expand{kernel}x{kernel}"
        parts.append(m.net.relu(m.conv(x, part, (squeezed, 4 * squeezed), kernel, bias=True), name=f"{part}_activation"))
    return m.net.concat(parts, name=path)
