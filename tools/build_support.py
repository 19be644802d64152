"""How the C core is compiled: flags, the OpenMP probe, and objects compiled side by side. Used by setup.py only.

Switches of the environment ("" and "0" mean off):

GRADCAM_NO_OPENMP       build without OpenMP
GRADCAM_REQUIRE_OPENMP  a compiler without OpenMP is an error, not a warning
GRADCAM_SANITIZE        sanitizers, for example ``address,undefined``
GRADCAM_WERROR          all warnings that the project keeps clean, each an error
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import MutableMapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
from setuptools import Extension
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, ExecError, LinkError, PlatformError

# Linked with one of these, a shared object switches subnormals off in the thread that loads it and in all later ones.
FAST_MATH = {
    "-Ofast",
    "-ffast-math",
    "-funsafe-math-optimizations",
    "-ffinite-math-only",
    "-fassociative-math",
    "-freciprocal-math",
}
COMPILE = "-std=c11 -O3 -ffp-contract=off -fno-math-errno -fno-trapping-math -fvisibility=hidden -fstack-protector-strong".split()
LINK = ["-Wl,-z,relro,-z,now"] if sys.platform.startswith("linux") else []
WARNINGS = "-Werror -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wvla -Wdouble-promotion".split()
# CPython's own flags hide signed overflow (-fwrapv) and assertions (-DNDEBUG) from the sanitizers.
SANITIZE = "-O1 -g -fno-sanitize-recover=all -fno-omit-frame-pointer -fno-wrapv -UNDEBUG".split()
MSVC_COMPILE = ["/std:c11", "/experimental:c11atomics", "/O2", "/fp:precise"]

OPENMP_PROBE = """
#include <omp.h>
int main(void)
{
    int threads = 0;
#pragma omp parallel num_threads(2) reduction(+ : threads)
    threads += 1;
    return threads > 0 && omp_get_max_threads() > 0 ? 0 : 1;
}
"""


def warn(*lines: str) -> None:
    bar = "*" * 78
    print("", bar, *(f"*** {line}" for line in lines), bar, "", sep="\n", file=sys.stderr, flush=True)


def enabled(name: str) -> bool:
    return os.environ.get(name, "") not in ("", "0")


def strip_fast_math(environ: MutableMapping[str, str]) -> None:
    for name in ("CC", "LDSHARED", "CFLAGS", "CPPFLAGS", "LDFLAGS"):
        words = environ.get(name, "").split()
        dropped = [word for word in words if word in FAST_MATH]
        if dropped:
            environ[name] = " ".join(word for word in words if word not in FAST_MATH)
            warn(f"{name}: dropped {' '.join(dropped)}: it would change the floating-point mode of the whole process")


class BuildExtension(build_ext):
    """build_ext with the flags above; only objects older than their source or any header are compiled, side by side."""

    def build_extension(self, ext: Extension) -> None:
        ext.extra_compile_args, ext.extra_link_args = self._flags()
        text = " ".join(ext.extra_compile_args).replace("\\", "/").replace('"', "'")
        ext.define_macros += [("GCAM_BUILD_FLAGS", f'"{text}"')]
        if enabled("GRADCAM_WERROR"):  # after the text: paths of this machine do not belong into the binary
            headers = [sysconfig.get_path("include"), numpy.get_include()]
            ext.extra_compile_args += [word for path in headers for word in ("-isystem", path)]
        # Other flags, other objects: a change of the environment never links stale ones. Linking anew each time is cheap.
        self.build_temp = str(Path("build", f"objects-{self._digest(ext)}"))
        self.force = True
        serial = self.compiler.compile
        self.compiler.compile = lambda sources, **options: self._compile(serial, sources, **options)
        try:
            super().build_extension(ext)
        finally:
            self.compiler.compile = serial

    def _flags(self) -> tuple[list[str], list[str]]:
        if self.compiler.compiler_type == "msvc":
            compile_args, link_args = [*MSVC_COMPILE], []
        else:
            compile_args, link_args = [*COMPILE], [*LINK, *([] if sys.platform == "win32" else ["-lm"])]
        openmp = self._openmp()
        if openmp is not None:
            compile_args += [*openmp[0], "-DGCAM_OPENMP=1"]
            link_args += openmp[1]
        if sanitizers := os.environ.get("GRADCAM_SANITIZE", ""):
            compile_args += [*SANITIZE, f"-fsanitize={sanitizers}"]
            link_args += [f"-fsanitize={sanitizers}"]
        if enabled("GRADCAM_WERROR"):
            compile_args += WARNINGS
        return compile_args, link_args

    def _openmp(self) -> tuple[list[str], list[str]] | None:
        """Flags to compile and to link with OpenMP, None without it."""
        required = enabled("GRADCAM_REQUIRE_OPENMP")
        if enabled("GRADCAM_NO_OPENMP"):
            if required:
                raise PlatformError("GRADCAM_NO_OPENMP and GRADCAM_REQUIRE_OPENMP contradict each other")
            return None
        if self.compiler.compiler_type == "msvc":
            candidates = [(["/openmp"], [])]
        elif sys.platform == "darwin":
            candidates = [(["-fopenmp"], ["-fopenmp"]), (["-Xpreprocessor", "-fopenmp"], ["-lomp"])]
        else:
            candidates = [(["-fopenmp"], ["-fopenmp"])]
        for candidate in candidates:
            if self._runs(OPENMP_PROBE, *candidate):
                return candidate
        if required:
            raise PlatformError("GRADCAM_REQUIRE_OPENMP is set, but no program with OpenMP could be compiled, linked and run")
        warn(
            "OpenMP was not found: gradcam will use ONE thread.",
            "Install a compiler that has it, or set GRADCAM_NO_OPENMP=1 to build without a warning.",
        )
        return None

    def _runs(self, program: str, compile_args: list[str], link_args: list[str]) -> bool:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.c")
            source.write_text(program)
            try:
                objects = self.compiler.compile([str(source)], output_dir=folder, extra_postargs=compile_args)
                self.compiler.link_executable(objects, "probe", output_dir=folder, extra_postargs=link_args)
            except (CompileError, LinkError, ExecError):
                return False
            executable = Path(folder, self.compiler.executable_filename("probe"))
            return subprocess.run([executable], timeout=60, check=False, stdout=subprocess.DEVNULL).returncode == 0

    def _digest(self, ext: Extension) -> str:
        compiler = getattr(self.compiler, "compiler_so", self.compiler.compiler_type)
        described = (compiler, ext.define_macros, ext.extra_compile_args, sys.version, numpy.__version__, self.debug)
        return hashlib.sha256(repr(described).encode()).hexdigest()[:10]

    def _compile(self, serial, sources: list[str], *, output_dir: str, depends: list[str], **options) -> list[str]:
        newest_header = max(os.path.getmtime(path) for path in depends)

        def one(source: str) -> str:
            (target,) = self.compiler.object_filenames([source], output_dir=output_dir)
            if not os.path.exists(target) or os.path.getmtime(target) <= max(newest_header, os.path.getmtime(source)):
                started = time.time()
                serial([source], output_dir=output_dir, depends=depends, **options)
                os.utime(target, (started, started))  # a file that changed meanwhile makes it out of date
            return target

        # The dispatch files hold all kernels of an ISA and take longest: they start first.
        order = sorted(sources, key=lambda source: "isa_" not in source)
        with ThreadPoolExecutor(self.parallel or os.cpu_count()) as pool:
            built = dict(zip(order, pool.map(one, order), strict=True))
        return [built[source] for source in sources]
