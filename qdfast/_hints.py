"""Says which extra of qdfast to install where a package is missing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

_CLIENT = ("grpc", "google.protobuf")
_WEB = ("starlette", "uvicorn")
MODULES = {
    "train": ("tensorflow", "keras", "sklearn", "scipy", "matplotlib", "jinja2"),
    "jax": ("jax",),
    "local": ("onnxruntime",),
    "onnx": ("tf2onnx", "onnx", "onnxruntime"),
    "openvino": ("openvino", "nncf"),
    "client": _CLIENT,
    "serve": (
        *("tensorflow", "tensorflow_serving", "grpc_health", "grpc_reflection", "prometheus_client", "rapidjson"),
        *(*_CLIENT, *_WEB),
    ),
    "play": (*_WEB, *_CLIENT, "onnxruntime"),
    "convert": ("pyarrow",),
    "zstd": ("zstandard",),
    "pictures": ("PIL",),
    "beam": ("apache_beam",),
    "completion": ("shtab",),
}
"""The modules of each extra that its features import."""

_PACKAGES = {"PIL": "Pillow", "sklearn": "scikit-learn", "google": "protobuf", "google.protobuf": "protobuf"}
"""What packages are called, where nobody knows their module."""


class MissingPackage(ModuleNotFoundError):
    """A package of an extra is not installed; the message says how to install it."""


def install(*extras: str) -> str:
    """The command that installs extras, also where the package index does not have qdfast.

    >>> install("play", "serve")
    "pip install 'qdfast[play,serve]' (from a clone: pip install '.[play,serve]')"
    """
    names = ",".join(extras)
    return f"pip install 'qdfast[{names}]' (from a clone: pip install '.[{names}]')"


@contextmanager
def needs(*extras: str) -> Iterator[None]:
    """Raise MissingPackage where the code inside imports a module of ``extras`` that is not installed.

    Extras of the outermost feature count: `qdfast play` needs gRPC for its client, and installs it by ``play``.
    """
    try:
        yield
    except ModuleNotFoundError as e:
        name = e.name or ""
        for module in (module for extra in extras for module in MODULES[extra]):
            if name.split(".")[0] == module.split(".")[0]:
                raise _missing(name, extras) from e
        raise


def require(*extras: str) -> None:
    """Check that the packages of ``extras`` are installed, without importing them.

    Raises:
        MissingPackage: one is not.
    """
    for module in (module for extra in extras for module in MODULES[extra]):
        try:
            found = find_spec(module)
        except ModuleNotFoundError:  # of the package that a module is in
            found = None
        if found is None:
            raise _missing(module, extras)


def check_built() -> None:
    """Check that there is a C extension for this Python.

    Raises:
        ImportError: there is none, as in a clone that is not installed.
    """
    if find_spec("qdfast._core") is not None:
        return
    clone = Path(__file__).resolve().parents[1]
    version = ".".join(map(str, sys.version_info[:2]))
    raise ImportError(
        f"{clone / 'qdfast'}: its C extension is not built for Python {version}: run `pip install -e .` in {clone}; "
        "to import an installed qdfast instead, start Python in another directory",
        name="qdfast._core",
    )


def _missing(module: str, extras: tuple[str, ...]) -> MissingPackage:
    return MissingPackage(f"{_PACKAGES.get(module, module)} is not installed: {install(*extras)}", name=module)
