"""The command line: one module per subcommand."""

from __future__ import annotations

import argparse
import sys
import traceback
import warnings
from collections.abc import Sequence

from gradcam.cli import cam, demo, experiment, explain, info, signs, versions
from gradcam.errors import GradcamError

__all__ = ["main"]

_COMMANDS = (demo, info, explain, signs, cam, experiment, versions)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    0: all done; 1: some pictures failed; 2: nothing could start; 130: interrupted.
    """
    parser = argparse.ArgumentParser(
        prog="gradcam", description="Where in the picture is the evidence for this output? Class-activation maps of ONNX models."
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in _COMMANDS:
        sub = commands.add_parser(module.NAME, help=module.HELP, description=module.HELP)
        sub.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        module.add_arguments(sub)
        sub.set_defaults(run=module.run)
    arguments = parser.parse_args(argv)
    warnings.showwarning = _show_warning
    try:
        return int(arguments.run(arguments))
    except KeyboardInterrupt:
        print("gradcam: interrupted", file=sys.stderr)
        return 130
    except (GradcamError, OSError, ValueError, TypeError, MemoryError) as error:
        if arguments.debug:
            traceback.print_exc()
        print(f"gradcam: {error}", file=sys.stderr)
        return 2


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: object = None, line: str | None = None
) -> None:
    print(f"gradcam: {message}", file=sys.stderr)
