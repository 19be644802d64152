"""Run a script with passes of the graph compiler left out: what it checks must hold without each of them.

    python tools/without_passes.py fuse,blocked ../shared/acceptance/models.py --only squeezenet1.0

Processes that the script starts are not affected.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Collection
from pathlib import Path

from gradcam.session import Session
from gradcam.graph.compilation import PASSES, check_passes, compile_plan


def leave_out(names: Collection[str]) -> None:
    """Make every plan of this process without these passes."""
    check_passes("without_passes", names)
    compile_plan.__kwdefaults__["without"] = frozenset(names)
    make = Session.__init__

    def init(self, source, max_bytes, without=(), *precision):
        make(self, source, max_bytes, {*without, *names}, *precision)

    Session.__init__ = init


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(f"{__doc__}\nPasses: {', '.join(PASSES)}")
    _, names, script, *arguments = sys.argv
    leave_out(names.split(","))
    sys.argv = [script, *arguments]
    sys.path[0] = str(Path(script).resolve().parent)
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
