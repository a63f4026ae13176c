"""``serve``: run TensorFlow Serving if it is installed, else the embedded server, until a signal ends it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import ServingError
from ..quiet import import_quietly
from .address import address, require_free
from .versions import newest_version

BINARY = "tensorflow_model_server"
EVERYWHERE = ("0.0.0.0", "::")
POLL_SECONDS = 0.5


def serve(
    model_dir: str | os.PathLike[str],
    *,
    host: str = "127.0.0.1",
    port: int = 8500,
    name: str | None = None,
    embedded: bool | None = None,
    grace: float = 10.0,
) -> None:
    """Serve the model until SIGTERM or SIGINT. Prints ``serving NAME version V on HOST:PORT`` when it is ready.

    Args:
        model_dir: a model directory with a numbered sub-directory for every version; the highest is served.
        host, port: where to listen; port 0 takes a free one. TensorFlow Serving listens on all interfaces.
        name: of the model; default: the directory's.
        embedded: True for the embedded server, False for ``tensorflow_model_server``; None takes the latter if it is
            on the PATH.
        grace: seconds that requests under way are given to finish.

    Raises:
        DataError: no version of a model there, or it cannot be loaded.
        ServingError: the port is taken, or ``tensorflow_model_server`` is missing or ended by itself.
    """
    model_dir = Path(model_dir)
    name = name or model_dir.resolve().name
    newest_version(model_dir)
    binary = None if embedded else shutil.which(BINARY)
    if embedded is False and binary is None:
        raise ServingError(f"{BINARY} is not on the PATH; the embedded server needs only `pip install qdfast[serve]`")
    with _stop_signals() as stop:
        if binary is None:
            require_free(host, port)
            _run_embedded(model_dir, name, host, port, grace, stop)
        else:
            _run_binary(binary, model_dir, name, host, require_free(EVERYWHERE[0], port), grace, stop)


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


def _say_ready(name: str, version: int, host: str, port: int) -> None:
    print(f"serving {name} version {version} on {address(host, port)}", flush=True)


def _run_embedded(model_dir: Path, name: str, host: str, port: int, grace: float, stop: threading.Event) -> None:
    import_quietly("tensorflow")
    from .server import Server

    def say_ready(model: str, version: int) -> None:
        _say_ready(model, version, host, server.port)

    server = Server(model_dir, host=host, port=port, name=name, on_available=say_ready)
    server.start()
    stop.wait()
    server.stop(grace)


def _run_binary(
    binary: str, model_dir: Path, name: str, host: str, port: int, grace: float, stop: threading.Event
) -> None:
    if host not in EVERYWHERE:
        print(f"{BINARY} listens on all interfaces, not only on {host}", file=sys.stderr)
    command = [binary, f"--port={port}", f"--model_name={name}", f"--model_base_path={model_dir.resolve()}"]
    process = subprocess.Popen(command)
    try:
        version = _wait_ready(process, name, port, stop)
        if version is not None:
            _say_ready(name, version, host, port)
        while not stop.wait(POLL_SECONDS):
            _require_alive(process)
    finally:
        process.terminate()
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_ready(process: subprocess.Popen[bytes], name: str, port: int, stop: threading.Event) -> int | None:
    """The version that ``process`` serves, as soon as it does; None if ``stop`` is set before."""
    from ..client import Client

    with Client(f"127.0.0.1:{port}", model=name) as client:
        while not stop.is_set():
            _require_alive(process)
            try:
                return client.wait_ready(POLL_SECONDS)
            except ServingError:
                continue
    return None


def _require_alive(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        raise ServingError(f"{BINARY} ended with status {process.returncode}; what it printed says why")
