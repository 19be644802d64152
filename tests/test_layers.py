"""The direction of dependence that docs/architecture.md states."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "gradcam"

# From top to bottom; a module imports only from its own layer or from layers below it.
LAYERS = [
    {"__init__", "__main__", "cli"},
    {"experiments"},
    {"one_liner", "reparametrisation", "weights", "train"},
    {"graph_builder", "loading"},
    {"model"},
    {"explaining"},
    {"smoothing"},
    {"runs"},
    {"session", "explanation"},
    {"forward", "labels", "render", "preprocess", "sign_report", "sign_runs", "sign_diagnosis", "sign_facts"},
    {"readers", "writers", "array_methods"},
    {"graph.explain_graph"},
    {"methods", "targets", "postprocessing", "localisation", "resampling", "metrics", "datasets"},
    {"graph"},
    {"ops"},
    {"_core"},
    {"errors", "environment", "compat", "cache", "files"},
]


def layer(module: str) -> int:
    """Number of a module's layer, 0 at the top."""
    name = module.removeprefix("gradcam").removeprefix(".") or "__init__"
    for i, members in enumerate(LAYERS):
        if name in members:
            return i
    head = name.split(".")[0]
    return next(i for i, members in enumerate(LAYERS) if head in members)


def imports(path: Path) -> set[str]:
    """Modules of the package that a file imports when it is loaded."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "gradcam":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = (ROOT / Path(*inner.split("."))).with_suffix(".py").exists() or (ROOT / Path(*inner.split("."))).is_dir()
                found.add(inner if is_module or inner == "gradcam._core" else node.module)
    return found


MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    for other in imports(path):
        # what lies at the bottom may be used by all, and asks the core only inside its functions
        assert layer(module) <= layer(other), f"{module} imports {other}, which lies above it"


ORDER = ["python", "engine", "dispatch", "blocked", "ops", "cam", "simd", "base"]
ALLOWED = {
    "base": {"base"},
    "simd": {"simd", "base"},
    "ops": {"ops", "simd", "base"},
    "cam": {"cam", "simd", "base"},
    "blocked": {"blocked", "ops", "simd", "base"},
    "dispatch": {"dispatch", "blocked", "ops", "cam", "simd", "base"},
    "engine": {"engine", "dispatch", "base"},
    "python": set(ORDER),
}
SOURCES = sorted(p for p in (ROOT / "csrc").rglob("*") if p.suffix in (".c", ".h", ".inc"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT / "csrc")))
def test_includes_go_down(path):
    folder = path.relative_to(ROOT / "csrc").parts[0]
    text = path.read_text()
    for included in re.findall(r'#include "(\w+)/', text):
        assert included in ALLOWED[folder], f"{path} includes from {included}"
    if folder != "python":
        assert "Python.h" not in text
        assert "numpy/" not in text


def test_only_one_file_pair_names_openmp():
    users = {p.relative_to(ROOT / "csrc").as_posix() for p in SOURCES if re.search(r"omp\.h|omp_|#pragma omp", p.read_text())}
    assert users <= {"base/parallel.c", "base/parallel.h", "python/module.c"}  # the binding only carries the word in a name
