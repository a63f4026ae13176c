"""The arguments by which commands are told whom to ask, and the client, or the model, that they describe."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .._quiet import import_tensorflow
from ..errors import DataError

if TYPE_CHECKING:
    from ..client import Client
    from ..protocol.base_client import BaseSyncClient


def add_target(parser: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
    """Add ``--target`` and how to speak with it. Returns the group for what may be given instead of a target."""
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "--target",
        default="127.0.0.1:8500",
        metavar="HOST:PORT[,…]",
        help="the server's gRPC address; several are asked in turn",
    )
    g = parser.add_argument_group("how to speak with the server")
    g.add_argument("--tls", action="store_true", help="by TLS; --ca, --certificate and --key imply it")
    g.add_argument("--ca", type=Path, metavar="FILE", help="PEM: authorities to trust instead of the usual ones")
    g.add_argument("--certificate", type=Path, metavar="FILE", help="PEM: the client's, for a server that wants one")
    g.add_argument("--key", type=Path, metavar="FILE", help="PEM: the certificate's key")
    g.add_argument(
        "--metadata",
        type=_pair,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="sent with every request, such as a token; may be repeated",
    )
    return either


def client_of(a: argparse.Namespace) -> Client:
    """The client that is described, for the ``model`` and ``version`` in ``a``, with its ``timeout``."""
    from ..client import Client

    return Client(
        a.target.split(","),
        model=a.model or "doodles",
        version=a.version,
        timeout=a.timeout,
        tls=a.tls,
        ca=a.ca,
        certificate=a.certificate,
        key=a.key,
        metadata=a.metadata,
    )


@contextmanager
def open_model(a: argparse.Namespace) -> Iterator[BaseSyncClient]:
    """The model in ``model_dir``, loaded here, or else the server's, which is waited for ``wait`` seconds.

    Raises:
        DataError: the model in ``model_dir`` is not ``model``, or cannot be loaded.
        ServingError: the server's cannot be asked.
    """
    if a.model_dir is not None:
        if a.model not in (None, name := a.model_dir.resolve().name):
            raise DataError(f"--model is {a.model}, but the model in {a.model_dir} is named as the directory: {name}")
        import_tensorflow()
        from ..serve.local_model import LocalModel

        yield LocalModel(a.model_dir, a.version)
        return
    with client_of(a) as client:
        client.wait_ready(a.wait)
        yield client


def _pair(text: str) -> tuple[str, str]:
    """An argparse type: NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{name!r} is not of the form NAME=VALUE")
    return name, value
