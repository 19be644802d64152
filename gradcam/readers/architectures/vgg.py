"""VGG (Simonyan and Zisserman 2014, arXiv:1409.1556), with and without batch normalisation."""

from __future__ import annotations

from gradcam.readers.architectures._modules import Modules, architecture


@architecture("vgg11", convolutions=(1, 1, 2, 2, 2))
@architecture("vgg13", convolutions=(2, 2, 2, 2, 2))
@architecture("vgg16", convolutions=(2, 2, 3, 3, 3))
@architecture("vgg19", convolutions=(2, 2, 4, 4, 4))
@architecture("vgg11_bn", convolutions=(1, 1, 2, 2, 2), normalised=True)
@architecture("vgg13_bn", convolutions=(2, 2, 2, 2, 2), normalised=True)
@architecture("vgg16_bn", convolutions=(2, 2, 3, 3, 3), normalised=True)
@architecture("vgg19_bn", convolutions=(2, 2, 4, 4, 4), normalised=True)
def vgg(m: Modules, convolutions: tuple[int, ...], normalised: bool = False) -> str:
    """Five stages of 3 x 3 convolutions, three linear layers."""
    x, channels, index = m.input(), 3, 0
    for count, out in zip(convolutions, (64, 128, 256, 512, 512), strict=True):
        for _ in range(count):
            x = m.conv(x, f"features.{index}", (channels, out), 3, bias=True)
            x = m.norm(x, f"features.{index + 1}", out) if normalised else x
            index += 1 + normalised
            x = m.net.relu(x, name=f"features.{index}")
            channels, index = out, index + 1
        x = m.net.max_pool(x, 2, name=f"features.{index}")
        index += 1
    x = m.alias(x, "features")
    x = m.net.flatten(m.net.adaptive_average_pool(x, 7, name="avgpool"))
    x = m.net.relu(m.linear(x, "classifier.0", (512 * 49, 4096)), name="classifier.1")
    x = m.net.relu(m.linear(x, "classifier.3", (4096, 4096)), name="classifier.4")
    return m.linear(x, "classifier.6", (4096, m.classes("classifier.6")))
