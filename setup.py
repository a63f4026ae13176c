"""The C extension. Everything else is in pyproject.toml.

QDFAST_SANITIZE=1 builds with AddressSanitizer and UndefinedBehaviorSanitizer (see `make sanitize`), QDFAST_COVERAGE=1
with the counters that gcov reads (see `make coverage`). An optimization level in CFLAGS replaces -O3.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

if os.environ.get("QDFAST_SANITIZE"):
    compile_args = ["-std=c11", "-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined"]
    compile_args += ["-fno-sanitize-recover=undefined"]
    link_args = ["-fsanitize=address,undefined"]
elif os.environ.get("QDFAST_COVERAGE"):
    compile_args, link_args = ["-std=c11", "-O0", "--coverage"], ["--coverage"]
else:
    compile_args, link_args = ["-std=c11", "-fvisibility=hidden"], []
    if "-O" not in os.environ.get("CFLAGS", ""):
        compile_args.append("-O3")
# -ffp-contract=off: a fused multiply-add rounds differently, and no result may depend on the CPU.
# -fno-wrapv: a Python built with -fwrapv passes it on, and it prevents vectorization. No kernel relies on it
# (`make sanitize` would tell).
compile_args += ["-ffp-contract=off", "-fno-wrapv", "-Wno-psabi"]

core = Extension(
    "qdfast._core",
    ["qdfast/_core.pyx", *sorted(map(str, Path("csrc").glob("*.c")))],
    include_dirs=["csrc"],
    depends=[
        *sorted(map(str, Path("csrc").glob("*.h"))),
        "qdfast/_qd.pxd",
        "qdfast/_formats.pxi",
        "qdfast/_simplify.pxi",
    ],
    libraries=["m"],
    extra_compile_args=compile_args,
    extra_link_args=link_args,
)
directives = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    "freethreading_compatible": True,
}
setup(ext_modules=cythonize(core, compiler_directives=directives))
