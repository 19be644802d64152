"""Pages that are written by a tool are those that the tool writes."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look
    spec.loader.exec_module(module)
    return module


def test_methods_page_is_the_registrys():
    module = tool("write_methods_page")
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "run `python tools/write_methods_page.py`"


def test_models_page_is_that_of_the_results():
    module = tool("write_models_page")
    assert module.PAGE.read_text(encoding="utf-8") == module.page(module.results()), "run `python tools/write_models_page.py`"


def test_experiments_page_is_that_of_the_results():
    pytest.importorskip("sklearn")
    module = tool("write_experiments_page")
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "run `python tools/write_experiments_page.py`"


@pytest.mark.parametrize("page", sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")]), ids=str)
def test_links_between_pages_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in link:
            assert (page.parent / link).exists(), link
