"""gradcam experiment."""

from __future__ import annotations

import pytest

from gradcam import experiments
from gradcam.cli import main
from gradcam.experiments import EXPERIMENTS, Design, Result
from gradcam.experiments.cases import present
from gradcam.experiments.study import Study


@pytest.fixture
def untrained(monkeypatch):
    """Networks as they are before training, few scenes, and all objects count as seen."""
    monkeypatch.setattr(Study, "_train", lambda self, design, seed: design.model(seed))
    monkeypatch.setattr(Study, "seen", lambda self, design, seed: present(self.test))
    monkeypatch.setattr(experiments, "QUICK", experiments.Scale((0,), 64, 1, 5))


def test_list_names_every_experiment_with_its_question(capsys):
    assert main(["experiment", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(EXPERIMENTS)
    assert all(experiment.question in line for experiment, line in zip(EXPERIMENTS.values(), lines, strict=True))


def test_one_experiment_writes_results_figures_and_networks(untrained, tmp_path, capsys):
    out, networks = tmp_path / "out", tmp_path / "networks"
    assert main(["experiment", "class-discrimination", "--quick", "--seeds", "2", "-o", str(out), "--models", str(networks)]) == 0
    printed = capsys.readouterr()
    result = Result.load(out / "class-discrimination.json")
    assert result.seeds == (0, 1)
    assert str(result) in printed.out
    figures = [f"class-discrimination-{name}.png" for name in EXPERIMENTS["class-discrimination"].figures]
    assert sorted(path.name for path in out.iterdir()) == sorted([*figures, "class-discrimination.json"])
    assert sorted(path.name for path in networks.iterdir()) == [f"{Design().name}_64x1_seed{seed}.onnx" for seed in (0, 1)]
    assert "seed 1 measured" in printed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["truth"], "experiment: name: expected one of truth-table"),
        (["truth-table", "--seeds", "0"], "experiment: --seeds: expected at least 1, got 0"),
    ],
)
def test_bad_arguments_end_before_anything_is_written(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["experiment", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_missing_extra_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    monkeypatch.chdir(tmp_path)
    assert main(["experiment", "label-encoding", "--quick"]) == 2
    assert 'pip install "gradcam-native[experiments]"' in capsys.readouterr().err
