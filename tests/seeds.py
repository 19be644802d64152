"""How many random cases a test tries: GRADCAM_LONG=20 tries twenty times as many."""

from __future__ import annotations

import os


def seeds(count: int) -> range:
    """Seeds of the random cases of a test, the same ones in every run; the long mode adds to them."""
    return range(count * int(os.environ.get("GRADCAM_LONG", "1")))
