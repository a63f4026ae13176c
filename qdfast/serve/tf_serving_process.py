"""``tensorflow_model_server`` as a process: its flags and configuration files, its start and its end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeAlias

from ..errors import DataError, ServingError
from .address import address, require_free
from .batching_config import DEFAULTS, as_text

File: TypeAlias = str | os.PathLike[str]
Tls: TypeAlias = tuple[File, File, File | None]
"""PEM files: a certificate, its key, and the authority of clients' certificates if they need one."""

BINARY = "tensorflow_model_server"
EVERYWHERE = ("0.0.0.0", "::")
METRICS_PATH = "/monitoring/prometheus/metrics"
POLL_SECONDS = 0.5


def run_binary(
    path: str,
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
    """Run the program at ``path`` until ``stop`` is set. Arguments as of ``serve``.

    Args:
        models: a model directory, whose model is ``name``; or, if that is None, a file that lists models.
    """
    if host not in EVERYWHERE:
        print(f"{BINARY} listens on all interfaces, not only on {host}", file=sys.stderr)
    port = require_free(EVERYWHERE[0], port)
    with TemporaryDirectory(prefix="qdfast-serve-") as directory:
        scratch = Path(directory)
        flags = [
            f"--port={port}",
            *_model_flags(models, name, poll_seconds),
            *_batching_flags(batching, scratch),
            *_metrics_flags(metrics_port, scratch),
            *_tls_flags(tls, scratch),
        ]
        names = _listed(models) if name is None else [name]
        with _Process([path, *flags], grace) as process:
            for model in names:
                version = process.wait_ready(model, port, stop, tls=tls is not None)
                if not stop.is_set():
                    say_ready(model, version, address(host, port))
            process.wait(stop)


def say_ready(name: str, version: int | None, where: str) -> None:
    """Print that a model is served; None: nobody can be asked which version."""
    print(f"serving {name}{'' if version is None else f' version {version}'} on {where}", flush=True)


def _listed(models: Path) -> list[str]:
    from .model_config import parse

    try:
        return [model.name for model in parse(models).model_config_list.config]
    except DataError as e:
        raise DataError(f"{models}: {e}") from e


def _model_flags(models: Path, name: str | None, poll_seconds: float) -> list[str]:
    if poll_seconds != int(poll_seconds):
        raise ServingError(f"{BINARY} looks at directories every so many whole seconds, not every {poll_seconds}")
    flags = [f"--file_system_poll_wait_seconds={int(poll_seconds)}"]
    if name is not None:
        return [*flags, f"--model_name={name}", f"--model_base_path={models.resolve()}"]
    return [
        *flags,
        f"--model_config_file={models.resolve()}",
        f"--model_config_file_poll_wait_seconds={int(poll_seconds)}",
        # Without it no file with labels is taken at the start, when no version is available yet.
        "--allow_version_labels_for_unavailable_models=true",
    ]


def _batching_flags(batching: File | Literal[False] | None, scratch: Path) -> list[str]:
    if batching is False:
        return []
    if batching is None:
        batching = scratch / "batching.config"
        batching.write_text(as_text(DEFAULTS))
    return ["--enable_batching=true", f"--batching_parameters_file={Path(batching).resolve()}"]


def _metrics_flags(port: int | None, scratch: Path) -> list[str]:
    if port is None:
        return []
    file = scratch / "monitoring.config"
    file.write_text(f'prometheus_config {{ enable: true path: "{METRICS_PATH}" }}')
    return [f"--rest_api_port={require_free(EVERYWHERE[0], port)}", f"--monitoring_config_file={file}"]


def _tls_flags(tls: Tls | None, scratch: Path) -> list[str]:
    if tls is None:
        return []
    from google.protobuf.text_encoding import CEscape

    from .tls import server_credentials

    server_credentials(*tls)  # says what is wrong with a file
    lines = [
        f'{field}: "{CEscape(Path(file).read_bytes(), as_utf8=False)}"'
        for field, file in zip(("server_cert", "server_key", "custom_ca"), tls, strict=True)
        if file is not None
    ]
    config = scratch / "ssl.config"
    config.touch(mode=0o600)
    config.write_text("\n".join([*lines, f"client_verify: {str(tls[2] is not None).lower()}"]))
    return [f"--ssl_config_file={config}"]


class _Process:
    """A running ``tensorflow_model_server``, ended at the end of the block: with SIGKILL if ``grace`` seconds pass."""

    def __init__(self, command: Sequence[str], grace: float) -> None:
        self._process = subprocess.Popen(command)
        self._grace = grace

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(self._grace)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def wait(self, stop: threading.Event) -> None:
        """Until ``stop`` is set. ServingError: it ended before."""
        while not stop.wait(POLL_SECONDS):
            self._require_alive()

    def wait_ready(self, model: str, port: int, stop: threading.Event, *, tls: bool) -> int | None:
        """Until it serves ``model`` or ``stop`` is set.

        Returns:
            The version. With TLS it is not known: who has no certificate can see only that connections are taken, which
            is when all models are loaded.
        """
        while not stop.is_set():
            self._require_alive()
            try:
                if tls:
                    socket.create_connection(("127.0.0.1", port)).close()
                    return None
                return _version(model, port)
            except (ServingError, OSError):
                stop.wait(POLL_SECONDS)
        return None

    def _require_alive(self) -> None:
        if self._process.poll() is not None:
            raise ServingError(f"{BINARY} ended with status {self._process.returncode}; what it printed says why")


def _version(model: str, port: int) -> int:
    from ..client import Client

    with Client(f"127.0.0.1:{port}", model=model) as client:
        return client.wait_ready(POLL_SECONDS)
