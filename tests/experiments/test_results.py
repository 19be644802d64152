"""Tables over seeds, claims, identities."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gradcam.experiments import Claim, Identity, Record
from gradcam.experiments.results import tabulate
from gradcam.metrics import mean_interval

SEEDS = [
    [Record("t", ("a",), {"x": 1.0}), Record("other", ("a",), {"z": 9.0}), Record("t", ("b",), {"x": 5.0, "y": 0.5})],
    [Record("t", ("a",), {"x": 3.0})],
]


def test_tabulate_keeps_order_and_fills_with_nan():
    table = tabulate("t", "caption", ("key",), SEEDS)
    assert list(table.rows) == [("a",), ("b",)]
    assert table.measures == ("x", "y")
    np.testing.assert_array_equal(table.values("x", "a"), [1, 3])
    np.testing.assert_array_equal(table.values("x", "b"), [5, np.nan])
    np.testing.assert_array_equal(table.values("y", "none"), [np.nan, np.nan])


def test_intervals_leave_out_seeds_without_a_number():
    table = tabulate("t", "caption", ("key",), SEEDS)
    assert table.interval("x", "a") == mean_interval([1, 3])
    assert table.interval("x", "b")[0::3] == (5, 1)
    assert table.interval("y", "none").n == 0


def test_markdown_has_mean_and_half_width():
    lines = tabulate("t", "caption", ("key",), SEEDS).markdown(digits=1).split("\n")
    half = 12.7062 * math.sqrt(2) / math.sqrt(2)
    assert lines[0] == "| key | x | y |"
    assert lines[2] == f"| a | 2.0 ± {half:.1f} | - |"
    assert lines[3] == "| b | 5.0 | 0.5 |"


def test_wrong_measures_and_rows_are_errors():
    table = tabulate("t", "caption", ("key",), SEEDS)
    with pytest.raises(KeyError, match="'w'"):
        table.values("w", "a")
    with pytest.raises(ValueError, match="tabulate: t: expected rows with the keys one, two"):
        tabulate("t", "caption", ("one", "two"), SEEDS)


@pytest.mark.parametrize(
    ("values", "above", "below", "holds"),
    [
        ([1.0, 1.1, 0.9], 0, None, True),
        ([1.0, -1.0, 1.0], 0, None, False),  # the mean is above, the interval is not
        ([0.1, 0.11, 0.09], 0, 0.5, True),
        ([0.1, 0.11, 0.09], 0, 0.05, False),
        ([0.3], 0.2, None, True),  # one seed has no interval
        ([np.nan, np.nan], None, None, False),
    ],
)
def test_claims_ask_the_whole_interval(values, above, below, holds):
    assert Claim.of("text", values, above=above, below=below).holds is holds


def test_identities_hold_up_to_their_bound():
    assert Identity("text", 1e-7, 1e-6).holds
    assert not Identity("text", math.nan, 1e-6).holds
    assert not Identity("text", 1e-5, 1e-6).holds
