"""Every architecture of torchvision from both exporters: outputs, activations, gradients and map equal those of torch.

Each case runs in a process of its own; docs/models.md is the table of their differences.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from extended import torchvision_cases as cases

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")
pytest.importorskip("onnxscript")

pytestmark = [pytest.mark.torch, pytest.mark.slow]

RESULTS = json.loads((Path(__file__).parent / "results.json").read_text(encoding="utf-8"))


def test_results_are_of_all_architectures():
    if torchvision.__version__.split("+")[0] != RESULTS["versions"]["torchvision"]:
        pytest.skip("docs/models.md is of another version of torchvision")
    assert RESULTS["tasks"] == cases.architectures()
    assert RESULTS["torchvision"].keys() == RESULTS["tasks"].keys()
    assert all(sorted(entry) == sorted(cases.EXPORTERS) for entry in RESULTS["torchvision"].values())


@pytest.mark.timeout(4000)
@pytest.mark.parametrize("exporter", cases.EXPORTERS)
@pytest.mark.parametrize("name", cases.architectures())
def test_equals_torch(name, exporter, capsys):
    outcome = cases.run_apart(name, exporter)
    with capsys.disabled():
        print(f"\n{name:30} {exporter:12}", *(f"{part} {far:.0e}" for part, far in outcome.differences.items()))
    known = cases.read(RESULTS["torchvision"].get(name, {}).get(exporter, {}))
    assert outcome.failure == (known.problem if name in RESULTS["torchvision"] else "")


# The comparison notices what is wrong ------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.ReLU(), torch.nn.AvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(20, 7))
    x = torch.randn(1, 3, 10, 10)
    net.eval().requires_grad_(False)
    file = tmp_path / "small.onnx"
    cases.export(net, x, "TorchScript", file)
    return net, x, file


def compared(net, x, file) -> cases.Outcome:
    outcome = cases.Outcome(precision="float64")
    try:
        cases._compare(net, x, file, outcome)
    except LookupError as error:
        outcome.problem = str(error)
    return outcome


def test_what_is_right_passes(small):
    outcome = compared(*small)
    assert outcome.failure == ""
    assert outcome.modules == ("1",)
    assert outcome.op == "Relu"


def test_other_weights_are_noticed(small):
    net, x, file = small
    net[4].weight[3, 2] += 0.01
    assert "outputs differ by" in compared(net, x, file).failure
    assert "gradients differ by" in compared(net, x, file).failure


def test_another_layer_is_noticed(small):
    net, x, file = small
    net[0].weight *= 1.01
    assert compared(net, x, file).problem.startswith("torch computes no tensor like ")


@pytest.mark.parametrize("part", ["gradients", "input gradients"])
def test_wrong_gradients_are_noticed(small, monkeypatch, part):
    import gradcam

    right = gradcam.Model.activations_and_gradients

    def wrong(self, x, *, layer=None, **keywords):
        activations, gradients = right(self, x, layer=layer, **keywords)
        return activations, gradients * (1.001 if (layer is None) == (part == "gradients") else 1)

    monkeypatch.setattr(gradcam.Model, "activations_and_gradients", wrong)
    assert compared(*small).failure.startswith(f"{part} differ by ")


def test_nothing_to_compare_is_no_success():
    zeros = np.zeros((2, 3))
    assert cases.distance(zeros, zeros) == cases.spread(zeros, zeros) == np.inf
    assert cases.Outcome(precision="float64").failure
