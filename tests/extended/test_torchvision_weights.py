"""from_weights against torchvision: scores and Grad-CAM at the default layer, for every architecture, at random weights."""

from __future__ import annotations

import numpy as np
import pytest

import gradcam
from gradcam.readers.architectures import ARCHITECTURES

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")

pytestmark = [pytest.mark.torch, pytest.mark.slow, pytest.mark.timeout(600)]

TRANSFORMERS = ("vit_b_16", "vit_b_32", "convnext_tiny", "convnext_small", "convnext_base")


def random_network(name: str):
    """A network whose batch normalisations and scales are as far from neutral as those of a trained one."""
    torch.manual_seed(sum(map(ord, name)))
    net = getattr(torchvision.models, name)(weights=None, num_classes=37).eval()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.1)
        for part, parameter in net.named_parameters():
            if part.endswith(("layer_scale", "class_token", "heads.head.weight")):
                parameter.normal_(0, 0.3)
    return net


def torch_gradients(net, module: str, x, target: int):
    """Scores, activations of a module at its (last) call, and their gradient."""
    kept = []

    def keep(_module, _inputs, output):
        output.retain_grad()
        kept.append(output)
        return output.clone()  # what works in place must not change what is kept

    handle = dict(net.named_modules())[module].register_forward_hook(keep)
    scores = net(x)
    scores[:, target].sum().backward()
    handle.remove()
    return scores.detach().numpy(), kept[-1].detach().numpy(), kept[-1].grad.numpy()


def distance(got: np.ndarray, want: np.ndarray) -> float:
    """Largest difference, relative to the largest value."""
    assert got.shape == want.shape
    assert np.abs(want).max() > 0
    return float(np.abs(got - want).max() / np.abs(want).max())


def compare(net, model, x, path: str) -> dict[str, float]:
    """Largest differences in double precision, where no ReLU falls on the other side of zero by rounding."""
    net, x = net.double(), x.double()
    target = int(net(x).argmax())
    scores, activations, gradients = torch_gradients(net, path, x, target)
    ours = model.activations_and_gradients(x.numpy(), layer=path, target=target)
    errors = {
        "scores": distance(model(x.numpy()), scores),
        "activations": distance(ours[0], activations),
        "gradients": distance(ours[1], gradients),
    }
    if activations.ndim == 4:
        want = (gradients.mean(axis=(2, 3), keepdims=True) * activations).sum(axis=1)
        errors["map"] = distance(model.explain(x.numpy(), target=target, layer=path, relu=False).raw, want)
    return errors


def report(capsys, name: str, path: str, errors: dict[str, float]) -> None:
    with capsys.disabled():
        print(f"\n{name:20} {path:40}", *(f"{part} {error:.1e}" for part, error in errors.items()))


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_equals_torchvision(name, capsys):
    net = random_network(name)
    model = gradcam.from_weights(name, net.state_dict())
    x = torch.randn(1, 3, *model.preprocess.size)
    with torch.no_grad():
        errors = {"float32 scores": distance(model(x.numpy()), net(x).numpy())}
    assert max(errors.values()) < 1e-5
    layer = model.default_layer
    modules = dict(net.named_modules())
    path = next(n for n in (layer.name, *layer.aliases, "features") if n in modules)
    small = x if name.startswith("vit") else x[..., :96, :128]
    doubles = compare(net, model, small, path)
    report(capsys, name, path, errors | doubles)
    assert max(doubles.values()) < 1e-10


@pytest.mark.parametrize(
    ("name", "size"), [("vgg11", (256, 192)), ("vgg11", (288, 160)), ("alexnet", (301, 250)), ("squeezenet1_0", (131, 97))]
)
def test_other_sizes(name, size, capsys):
    net = random_network(name)
    model = gradcam.from_weights(name, net.state_dict())
    errors = compare(net, model, torch.randn(1, 3, *size), "features")
    report(capsys, f"{name} {size}", "features", errors)
    assert max(errors.values()) < 1e-10
