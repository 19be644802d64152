"""torchvision's classifiers: one module per family; importing this package fills `ARCHITECTURES`."""

from gradcam.readers.architectures import alexnet, convnext, densenet, efficientnet, mobilenet, resnet, squeezenet, vgg, vit
from gradcam.readers.architectures._modules import ARCHITECTURES, Modules, StateDict

__all__ = [
    "ARCHITECTURES",
    "Modules",
    "StateDict",
    "alexnet",
    "convnext",
    "densenet",
    "efficientnet",
    "mobilenet",
    "resnet",
    "squeezenet",
    "vgg",
    "vit",
]
