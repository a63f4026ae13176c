"""Runs ``tensorflow_model_server`` as a child process: its flags, its configuration files, its start and its end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from .._printable import printable
from ..errors import ServingError
from .address import check_port, format_address
from .options import File, ServeOptions, TlsFiles
from .tf_serving_checks import check
from .tf_serving_log import readable_lines

BINARY = "tensorflow_model_server"
ALL_INTERFACES = ("0.0.0.0", "::")
METRICS_PATH = "/monitoring/prometheus/metrics"
POLL_SECONDS = 0.5

GRPC_FLAGS = (
    # Calls that run at once. By default 4 for each core; more are rejected with RESOURCE_EXHAUSTED.
    "--grpc_max_threads=256",
    # The default of 5 minutes ends long calls of clients that ping to keep their connection open.
    "--grpc_channel_arguments=grpc.http2.min_ping_interval_without_data_ms=5000",
)


def run_tf_serving(binary: str, options: ServeOptions, stop: threading.Event) -> None:
    """Run the program at the path ``binary`` until ``stop`` is set."""
    host, tls = options.host, options.tls
    if host not in ALL_INTERFACES:
        print(f"{BINARY} listens on all interfaces, not only on {host}", file=sys.stderr)
    port = check_port(ALL_INTERFACES[0], options.port)
    models = check(options)
    with TemporaryDirectory(prefix="qdfast-serve-") as directory:
        scratch = Path(directory)
        flags = [
            f"--port={port}",
            *GRPC_FLAGS,
            *_model_flags(options),
            *_batching_flags(options.batching),
            *_http_flags(options, scratch),
            *_tls_flags(tls, scratch),
        ]
        with _Process([binary, *flags], options.grace) as process:
            for model in models:
                version = process.wait_ready(model.name, port, stop, tls=tls is not None)
                if not stop.is_set():
                    print_ready(model.name, version, format_address(host, port))
            process.wait(stop)


def print_ready(name: str, version: int | None, address: str) -> None:
    """Print that a model is served; ``version`` is None if it is unknown."""
    of = "" if version is None else f" version {version}"
    print(printable(f"serving {name}{of} on {address}"), flush=True)


def _model_flags(options: ServeOptions) -> list[str]:
    seconds = int(options.poll_seconds)
    if seconds != options.poll_seconds:
        raise ServingError(f"{BINARY} needs whole seconds between polls, not {options.poll_seconds}")
    flags = [f"--file_system_poll_wait_seconds={seconds}"]
    path = options.path.resolve()
    if options.model_name is not None:
        return [*flags, f"--model_name={options.model_name}", f"--model_base_path={path}"]
    return [
        *flags,
        f"--model_config_file={path}",
        f"--model_config_file_poll_wait_seconds={seconds}",
        # Without this flag, a file with labels is rejected at the start, when no version is available yet.
        "--allow_version_labels_for_unavailable_models=true",
    ]


def _batching_flags(batching: File | Literal[False] | None) -> list[str]:
    """Batching is off unless a file says how: TensorFlow Serving batches safely only under conditions of its models.

    With padding, one malformed request ends the server; without, requests of different lengths fail each other.
    """
    if not batching:
        return []
    return ["--enable_batching=true", f"--batching_parameters_file={Path(batching).resolve()}"]


def _http_flags(options: ServeOptions, scratch: Path) -> list[str]:
    ports = {port for port in (options.rest_port, options.metrics_port) if port is not None}
    if not ports:
        return []
    if len(ports) > 1:
        raise ServingError(f"{BINARY} has one HTTP port: give REST and metrics the same port, or use --embedded")
    if options.rest_port is not None and options.tls:
        raise ServingError(f"{BINARY} serves REST without TLS: use --embedded, or leave out the REST port")
    flags = [f"--rest_api_port={check_port(ALL_INTERFACES[0], ports.pop())}"]
    if options.metrics_port is None:
        return flags
    file = scratch / "monitoring.config"
    file.write_text(f'prometheus_config {{ enable: true path: "{METRICS_PATH}" }}')
    return [*flags, f"--monitoring_config_file={file}"]


def _tls_flags(tls: TlsFiles | None, scratch: Path) -> list[str]:
    if tls is None:
        return []
    from google.protobuf.text_encoding import CEscape

    from .tls import server_credentials

    server_credentials(*tls)  # raises an error if a file is invalid
    lines = [
        f'{field}: "{CEscape(Path(file).read_bytes(), as_utf8=False)}"'
        for field, file in zip(("server_cert", "server_key", "custom_ca"), tls, strict=True)
        if file is not None
    ]
    config = scratch / "ssl.config"
    config.touch(mode=0o600)
    config.write_text("\n".join([*lines, f"client_verify: {str(tls.client_ca is not None).lower()}"]))
    return [f"--ssl_config_file={config}"]


class _Process:
    """A running ``tensorflow_model_server``. Leaving the ``with`` block ends it, by SIGKILL after ``grace`` seconds.

    Its errors are written to stderr, one line each; with TF_CPP_MIN_LOG_LEVEL=0 its whole output, as it is.
    """

    def __init__(self, command: Sequence[str], grace: float) -> None:
        self._grace = grace
        self._log = threading.Thread(target=self._forward, name="log", daemon=True)
        if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
            self._process = subprocess.Popen(command, stdout=sys.stderr, text=True)
            return
        # At the level that this process has, 3, the server would not even say why it cannot load a model.
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "1"}
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment
        )
        self._log.start()

    def _forward(self) -> None:
        assert self._process.stdout is not None
        for line in readable_lines(self._process.stdout):
            print(line, file=sys.stderr, flush=True)

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(self._grace)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._end_log()

    def wait(self, stop: threading.Event) -> None:
        """Wait until ``stop`` is set.

        Raises:
            ServingError: the process exited before.
        """
        while not stop.wait(POLL_SECONDS):
            self._require_alive()

    def wait_ready(self, model: str, port: int, stop: threading.Event, *, tls: bool) -> int | None:
        """Wait until the process serves ``model`` or ``stop`` is set.

        Returns:
            The version. None with TLS: without a client certificate, one can see only that the port accepts
            connections, which happens when all models are loaded.
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

    def _end_log(self) -> None:
        """Wait for the last lines of a process that has exited."""
        if self._log.is_alive():
            self._log.join(1)

    def _require_alive(self) -> None:
        if self._process.poll() is not None:
            self._end_log()
            raise ServingError(f"{BINARY} exited with status {self._process.returncode}; see its output above")


def _version(model: str, port: int) -> int:
    from ..client import Client

    with Client(f"127.0.0.1:{port}", model=model) as client:
        return client.wait_ready(POLL_SECONDS)
