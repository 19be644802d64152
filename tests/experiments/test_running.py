"""Every experiment on networks that are not trained: all rows, all identities, all figures, the same numbers again."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gradcam.experiments import EXPERIMENTS, Result, draw, run, run_on

NAMES = list(EXPERIMENTS)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(untrained):
    return {name: run_on(untrained, name) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_every_table_has_rows_and_a_number_per_seed(results, name):
    result = results[name]
    assert set(result.tables) == set(EXPERIMENTS[name].tables)
    for table in result.tables.values():
        assert table.rows and table.measures
        for row, values in table.rows.items():
            assert len(row) == len(table.keys)
            assert all(len(numbers) == 2 for numbers in values.values())
        assert any(np.isfinite(numbers).all() for values in table.rows.values() for numbers in values.values())


@pytest.mark.parametrize("name", NAMES)
def test_identities_hold_for_random_networks_too(results, name):
    assert results[name].identities
    for identity in results[name].identities:
        assert identity.holds, identity


@pytest.mark.parametrize("name", NAMES)
def test_the_same_numbers_with_another_number_of_threads(untrained, results, name):
    again = type(untrained)(untrained.scale, num_threads=1)
    assert json.dumps(run_on(again, name).to_dict()) == json.dumps(results[name].to_dict())


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_result_comes_back(results, name, tmp_path):
    results[name].save(tmp_path / "result.json")
    again = Result.load(tmp_path / "result.json")
    again.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "result.json").read_bytes()
    assert str(again) == str(results[name])


@pytest.mark.parametrize("name", NAMES)
def test_figures_are_drawn_the_same_twice(untrained, results, name, tmp_path):
    paths = draw(results[name], untrained, tmp_path)
    assert [path.name for path in paths] == [f"{name}-{figure}.png" for figure in EXPERIMENTS[name].figures]
    first = [path.read_bytes() for path in paths]
    assert all(content.startswith(b"\x89PNG") for content in first)
    assert [path.read_bytes() for path in draw(results[name], untrained, tmp_path)] == first


def test_unknown_experiments_are_named():
    with pytest.raises(ValueError, match=r"experiment: name: expected one of truth-table.*got 'truth'"):
        run("truth")
