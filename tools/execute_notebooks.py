"""Execute notebooks in place and keep their outputs: `python tools/execute_notebooks.py notebooks/experiments/*.ipynb`."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def execute(path: Path) -> None:
    """Run all cells in the notebook's own folder; what depends on the moment (times, paths) is not kept."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=None, kernel_name="python3", record_timing=False, resources={"metadata": {"path": str(path.parent)}}
    ).execute()
    for key in ("language_info", "kernelspec"):
        notebook.metadata.pop(key, None)
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        execute(Path(name))
        print(f"executed {name}")
