"""The C extensions. Everything else is in pyproject.toml.

QDFAST_SANITIZE=1 builds with AddressSanitizer and UndefinedBehaviorSanitizer (see `make sanitize`), QDFAST_COVERAGE=1
with the counters that gcov reads (see `make coverage`).
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
    compile_args, link_args = ["-std=c11", "-O3", "-fvisibility=hidden"], []
# A fused product and sum rounds otherwise, and no result may depend on the CPU. Pythons built with -fwrapv pass it on,
# which keeps loops from being vectorized; no kernel relies on it (`make sanitize` would tell).
compile_args += ["-ffp-contract=off", "-fno-wrapv", "-Wno-psabi"]


def extension(name: str, kernels: list[str]) -> Extension:
    """The binding ``qdfast/<name>.pyx`` with the C files that it binds."""
    return Extension(
        f"qdfast.{name}",
        [f"qdfast/{name}.pyx", *kernels],
        include_dirs=["csrc"],
        depends=[*sorted(map(str, Path("csrc").glob("*.h"))), "qdfast/_qd.pxd"],
        libraries=["m"],
        extra_compile_args=compile_args,
        extra_link_args=link_args,
    )


kernels = sorted(map(str, Path("csrc").glob("*.c")))
simplifying = ["csrc/simplify.c"]
extensions = [
    extension("_core", [c for c in kernels if c not in simplifying]),
    extension("_simplify", [*simplifying, "csrc/deltas.c"]),  # for qd_check
]

directives = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    "freethreading_compatible": True,
}
setup(ext_modules=cythonize(extensions, compiler_directives=directives))
