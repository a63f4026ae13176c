"""The options of ``serve``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from ..errors import DataError

File: TypeAlias = str | os.PathLike[str]


class TlsFiles(NamedTuple):
    """PEM files: the server's certificate, its key, and the authority of client certificates (None: none required)."""

    certificate: File
    key: File
    client_ca: File | None


@dataclass(frozen=True)
class ServeOptions:
    """What to serve, where and how.

    Attributes:
        model_dir: a model directory with a numbered subdirectory for every version; the highest is served.
        models: alternatively, a file with TensorFlow Serving's ModelServerConfig as text, for several models, other
            version policies, and labels. It is read again when it changes.
        name: name of the model in ``model_dir``; default: the directory's name.
        host: address to listen on. TensorFlow Serving always listens on all interfaces.
        port: port to listen on; 0 takes a free one.
        embedded: True for the embedded server, False for ``tensorflow_model_server``; None for the latter if it is on
            the PATH.
        grace: seconds that requests in flight get to finish when the server stops.
        poll_seconds: interval at which directories and the ``models`` file are checked for changes.
        batching: a file with TensorFlow Serving's BatchingParameters as text, for all models; False to run every
            request alone. None: the embedded server batches the models that `qdfast export` wrote, and
            ``tensorflow_model_server`` runs every request alone.
        metrics_port: port for Prometheus metrics over HTTP; 0 takes a free one; None: no metrics.
        rest_port: port for the REST API; 0 takes a free one; None: no REST. It may be the same as ``metrics_port``.
        allow_reload: directories below which clients of the embedded server may load models, by
            HandleReloadConfigRequest. Default: none, the request is rejected. ``tensorflow_model_server`` accepts it
            always, with any directory.
        tls_cert: PEM file of the server's certificate; None: no TLS.
        tls_key: PEM file of the certificate's key.
        tls_client_ca: PEM file of the authority that must have signed the clients' certificates; None: clients need no
            certificate.

    Raises:
        DataError: options contradict each other.

    Example:
        >>> ServeOptions("models/doodles", port=8600).model_name
        'doodles'
    """

    model_dir: File | None = None
    models: File | None = None
    name: str | None = None
    host: str = "127.0.0.1"
    port: int = 8500
    embedded: bool | None = None
    grace: float = 10.0
    poll_seconds: float = 1.0
    batching: File | Literal[False] | None = None
    metrics_port: int | None = None
    rest_port: int | None = None
    allow_reload: tuple[File, ...] = ()
    tls_cert: File | None = None
    tls_key: File | None = None
    tls_client_ca: File | None = None

    def __post_init__(self) -> None:
        if (self.model_dir is None) == (self.models is None):
            raise DataError("give either a model directory or a file that lists models")
        if self.models is not None and self.name is not None:
            raise DataError(f"{self.models}: this file names its models, so a name must not be given")
        if (self.tls_cert is None) != (self.tls_key is None) or (
            self.tls_client_ca is not None and self.tls_cert is None
        ):
            raise DataError("TLS needs both a certificate and its key")

    @property
    def path(self) -> Path:
        """The model directory or the file that lists models."""
        return Path(self.model_dir or self.models or "")

    @property
    def model_name(self) -> str | None:
        """The name of the model in ``model_dir``; None if a file lists the models."""
        return None if self.model_dir is None else self.name or self.path.resolve().name

    @property
    def tls(self) -> TlsFiles | None:
        """The files for TLS; None without TLS."""
        if self.tls_cert is None or self.tls_key is None:
            return None
        return TlsFiles(self.tls_cert, self.tls_key, self.tls_client_ca)
