"""gradcam versions."""

from __future__ import annotations

import argparse

from gradcam.environment import show_versions

NAME = "versions"
HELP = "print versions, instruction sets and threads: everything a bug report needs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    show_versions()
    return 0
