"""AlexNet (Krizhevsky 2014, arXiv:1404.5997)."""

from __future__ import annotations

from gradcam.readers.architectures._modules import Modules, architecture


@architecture("alexnet")
def alexnet(m: Modules) -> str:
    """Five convolutions, three linear layers."""
    x = m.net.relu(m.conv(m.input(), "features.0", (3, 64), 11, bias=True, stride=4, padding=2), name="features.1")
    x = m.net.max_pool(x, 3, stride=2, name="features.2")
    x = m.net.relu(m.conv(x, "features.3", (64, 192), 5, bias=True), name="features.4")
    x = m.net.max_pool(x, 3, stride=2, name="features.5")
    for index, channels in ((6, (192, 384)), (8, (384, 256)), (10, (256, 256))):
        x = m.net.relu(m.conv(x, f"features.{index}", channels, 3, bias=True), name=f"features.{index + 1}")
    x = m.alias(m.net.max_pool(x, 3, stride=2, name="features.12"), "features")
    x = m.net.flatten(m.net.adaptive_average_pool(x, 6, name="avgpool"))
    x = m.net.relu(m.linear(x, "classifier.1", (256 * 36, 4096)), name="classifier.2")
    x = m.net.relu(m.linear(x, "classifier.4", (4096, 4096)), name="classifier.5")
    return m.linear(x, "classifier.6", (4096, m.classes("classifier.6")))
