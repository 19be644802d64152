"""The one C extension. Everything else about the package is in pyproject.toml, what the compiler is told in tools/build_support.py."""

import os
import sys
from pathlib import Path

import numpy
from setuptools import Extension, setup

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "tools"))

from build_support import BuildExtension, strip_fast_math  # noqa: E402


def below_csrc(*patterns: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for pattern in patterns for path in (ROOT / "csrc").rglob(pattern))


strip_fast_math(os.environ)
setup(
    ext_modules=[
        Extension(
            "gradcam._core",
            sources=below_csrc("*.c"),
            depends=[*below_csrc("*.h", "*.inc"), "setup.py", "tools/build_support.py"],
            include_dirs=["csrc", numpy.get_include()],
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION"), ("NPY_TARGET_VERSION", "NPY_1_25_API_VERSION")],
            language="c",
        )
    ],
    cmdclass={"build_ext": BuildExtension},
)
