"""The modes say what the table of the specification says, and their fields agree with each other."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from gradcam.compat import MODES, mode

TABLE = {  # field: paper, pytorch-grad-cam, torchcam, captum
    "relu": (True, True, True, False),
    "relu_exempt": ((), (), ("cam",), ()),
    "order": (
        ("relu", "resize", "normalize"),
        ("relu", "normalize", "resize", "relu", "normalize"),
        ("relu", "normalize", "resize"),
        ("relu", "resize", "normalize"),
    ),
    "normalize": ("minmax", "minmax", "minmax", "none"),
    "signed_normalize": ("absmax", "minmax", "minmax", "none"),
    "epsilon": (None, 1e-7, 1e-8, None),
    "grids": (
        ("linear", "linear", "linear"),
        (None, "linear", "cubic-spline"),
        ("linear", "linear", "linear"),
        ("nearest", "nearest", "nearest"),
    ),
    "output": ("input", "input", "layer", "layer"),
    "gradcam_pp": ("cancelled", "epsilon", "cubed", None),
    "gradcam_pp_epsilon": (0, 1e-6, 0, 0),
    "smooth_gradcam_pp": ("mean", None, "last", None),
    "smooth_gradcam_pp_epsilon": (0, 0, 1e-8, 0),
    "xgradcam_epsilon": (None, 1e-7, 1e-8, None),
    "fem_mask": ("binary", "fraction", None, None),
    "eigen_center": (False, True, None, None),
    "eigen_sign": ("energy", "lapack", None, None),
    "ablation_denominator": ("abs", "signed", None, None),
    "scorecam_grid": ("linear", "linear-corners", "linear", None),
    "scorecam_epsilon": (0, 1e-8, 1e-8, 0),
    "aggregate": ("mean", "mean", "max", None),
    "default_target": ("argmax", "argmax", None, None),
    "literal_targets": (False, True, True, True),
    "nan": ("propagate", "spread", "drop", "propagate"),
}


@pytest.mark.parametrize("field", TABLE)
def test_table(field):
    assert tuple(getattr(record, field) for record in MODES.values()) == TABLE[field]


def test_names():
    assert list(MODES) == ["paper", "pytorch-grad-cam", "torchcam", "captum"]
    for name, record in MODES.items():
        assert mode(name) is record
        assert record.name == name


@pytest.mark.parametrize("name", ["Paper", "", None, 3, ["paper"]])
def test_unknown_names_list_the_valid_ones(name):
    with pytest.raises(ValueError, match="compat: expected one of 'paper', 'pytorch-grad-cam', 'torchcam', 'captum', got"):
        mode(name)


@pytest.mark.parametrize("record", MODES.values(), ids=lambda record: record.name)
def test_records_are_constants(record):
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.relu = False
    assert hash(record) == hash(pickle.loads(pickle.dumps(record)))
    with pytest.raises(TypeError):
        MODES["own"] = record


@pytest.mark.parametrize("record", MODES.values(), ids=lambda record: record.name)
def test_fields_agree(record):
    # Several layers need their two sequences exactly where the mode combines layers; one layer takes all of the steps.
    assert bool(record.layer_order) == (record.aggregate is not None)
    if record.name == "pytorch-grad-cam":
        assert record.layer_order + record.fused_order == record.order
    elif record.aggregate:
        assert record.layer_order == record.order
    assert (record.gradcam_pp == "epsilon") == (record.gradcam_pp_epsilon > 0)
    assert (record.scorecam_order is None) == (record.scorecam_grid is None)
    assert (record.ablation_denominator is None) == (record.ablation_value is None)
    assert (record.eigen_center is None) == (record.eigen_sign is None)
