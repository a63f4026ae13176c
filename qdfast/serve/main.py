"""``serve``: run TensorFlow Serving if it is installed, else the embedded server, until a signal ends it."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal

from .._quiet import import_tensorflow
from ..errors import DataError, ServingError
from .address import address, require_free
from .tf_serving_process import BINARY, POLL_SECONDS, File, Tls, run_binary, say_ready
from .versions import newest_version


def serve(
    model_dir: File | None = None,
    *,
    models: File | None = None,
    name: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8500,
    embedded: bool | None = None,
    grace: float = 10.0,
    poll_seconds: float = 1.0,
    batching: File | Literal[False] | None = None,
    metrics_port: int | None = None,
    tls_cert: File | None = None,
    tls_key: File | None = None,
    tls_client_ca: File | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT. Prints ``serving NAME version V on HOST:PORT`` for every model that is ready.

    Args:
        model_dir: a model directory with a numbered sub-directory for every version; the highest is served.
        models: instead of it, a file with TensorFlow Serving's ModelServerConfig as text: several models, other version
            policies, labels. It is read again when it has changed.
        name: of the model in ``model_dir``; default: the directory's.
        host, port: where to listen; port 0 takes a free one. TensorFlow Serving listens on all interfaces.
        embedded: True for the embedded server, False for ``tensorflow_model_server``; None takes the latter if it is
            on the PATH.
        grace: seconds that requests under way are given to finish.
        poll_seconds: how often directories, and the file of models, are looked at.
        batching: a file with TensorFlow Serving's BatchingParameters as text; None: our defaults; False: every request
            is run alone.
        metrics_port: where Prometheus finds metrics, over HTTP; port 0 takes a free one; None: nowhere.
        tls_cert, tls_key: PEM files of the server's certificate and its key; None: no TLS.
        tls_client_ca: PEM file of the authority that clients' certificates must come from; None: clients need none.

    Raises:
        DataError: nothing that can be served, or a file that cannot be used.
        ServingError: a port is taken, or ``tensorflow_model_server`` is missing, cannot do it, or ended by itself.
    """
    if (model_dir is None) == (models is None):
        raise DataError("give either a model directory or a file that lists models")
    if models is not None and name is not None:
        raise DataError(f"{models}: models that are listed in a file have their names there")
    if (tls_cert is None) != (tls_key is None) or (tls_client_ca is not None and tls_cert is None):
        raise DataError("TLS needs both a certificate and its key")
    if model_dir is not None:
        name = name or Path(model_dir).resolve().name
        newest_version(Path(model_dir))
    path = None if embedded else shutil.which(BINARY)
    if embedded is False and path is None:
        raise ServingError(f"{BINARY} is not on the PATH; the embedded server needs only `pip install qdfast[serve]`")
    with _stop_signals() as stop:
        run = run_embedded if path is None else partial(run_binary, path)
        run(
            Path(model_dir or models or ""),
            name,
            stop,
            host=host,
            port=port,
            grace=grace,
            poll_seconds=poll_seconds,
            batching=batching,
            metrics_port=metrics_port,
            tls=None if tls_cert is None or tls_key is None else (tls_cert, tls_key, tls_client_ca),
        )


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set; a second signal has its usual effect."""
    stop = threading.Event()
    signals = (signal.SIGTERM, signal.SIGINT)

    def on_signal(number: int, frame: object) -> None:
        stop.set()
        for s, handler in before.items():
            signal.signal(s, handler)

    before = {s: signal.signal(s, on_signal) for s in signals}
    try:
        yield stop
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


def run_embedded(
    models: Path,
    name: str | None,
    stop: threading.Event,
    *,
    host: str,
    port: int,
    grace: float,
    poll_seconds: float,
    batching: File | Literal[False] | None,
    metrics_port: int | None,
    tls: Tls | None,
) -> None:
    """Run the embedded server until ``stop`` is set. Arguments as of ``serve``.

    Args:
        models: a model directory, whose model is ``name``; or, if that is None, a file that lists models.
    """
    from .batching_config import DEFAULTS, read_parameters
    from .model_config import ModelsFile
    from .tls import server_credentials

    require_free(host, port)  # this and the files are looked at before the seconds that TensorFlow takes to import
    file = ModelsFile(models)
    if name is None:
        file.read()
    parameters = None if batching is False else DEFAULTS if batching is None else read_parameters(batching)
    credentials = server_credentials(*tls) if tls else None
    import_tensorflow()
    from .server import Server

    server = Server(
        file if name is None else models,
        host=host,
        port=port,
        name=name,
        poll_seconds=poll_seconds,
        batching=parameters,
        credentials=credentials,
        metrics_port=metrics_port,
        on_available=lambda model, version: say_ready(model, version, address(host, server.port)),
    )
    server.start()
    # The kernel may hand the signal to another thread, which wakes nobody: Python runs the handler in this one, when it
    # next does anything.
    while not stop.wait(POLL_SECONDS):
        pass
    server.stop(grace)
