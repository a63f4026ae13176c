"""The C extension. Everything else is in pyproject.toml.

QDFAST_SANITIZE=1 builds with AddressSanitizer and UndefinedBehaviorSanitizer (see `make sanitize`).
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

if os.environ.get("QDFAST_SANITIZE"):
    compile_args = ["-std=c11", "-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined"]
    compile_args += ["-fno-sanitize-recover=undefined"]
    link_args = ["-fsanitize=address,undefined"]
else:
    compile_args, link_args = ["-std=c11", "-O3", "-fvisibility=hidden"], []

core = Extension(
    "qdfast._core",
    ["qdfast/_core.pyx", *sorted(map(str, Path("csrc").glob("*.c")))],
    include_dirs=["csrc"],
    depends=[*sorted(map(str, Path("csrc").glob("*.h"))), "qdfast/_qd.pxd"],
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
setup(ext_modules=cythonize([core], compiler_directives=directives))
