"""The embedded server: serves models over TensorFlow Serving's gRPC API."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from tensorflow_serving.apis import model_service_pb2, prediction_service_pb2  # noqa: F401 - for reflection

from ..client.channel import MODEL_SERVICE, PREDICTION_SERVICE
from ..errors import ServingError
from .address import check_port, format_address
from .batching import Batcher, run_unbatched
from .batching_config import DEFAULTS, BatchingParameters
from .call_threads import CallThreads
from .http_server import HttpServer
from .manager import ModelManager
from .metrics import Metrics
from .model_config import ModelConfig, ModelConfigFile, single_model
from .options import File, TlsFiles
from .parse_interceptor import ParseInterceptor
from .reload_roots import ReloadRoots
from .rest import RestApi
from .service import Service
from .watcher import Watcher

SERVER_OPTIONS = (
    # Fail if the port is taken; by default a second server would silently get half of the requests.
    ("grpc.so_reuseport", 0),
    # The largest tensor of 4-byte numbers that the server would fill itself (messages.MAX_FILL).
    ("grpc.max_receive_message_length", 1 << 26),
    ("grpc.max_send_message_length", -1),
    # The default of 5 minutes would close connections whose clients ping to keep them open through a load balancer.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Close connections gracefully from time to time, so that clients resolve the servers' name again.
    ("grpc.max_connection_age_ms", 300_000),
    # Then end the calls that are still open: a client can begin a call, never send its request, and so keep a thread.
    ("grpc.max_connection_age_grace_ms", 120_000),
    # Drop the connection of a client that vanished after this time; the default is hours.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)
MAX_CALLS = 1024
"""Maximum calls that run or wait for a thread; more are rejected with RESOURCE_EXHAUSTED."""

STOP_SECONDS = 2.0
"""Time that a stop takes at most, after the grace for calls in progress."""


class HealthServicer(health.HealthServicer):  # type: ignore[misc]
    """The standard health service, which can also end Watch calls, as these would delay a graceful stop."""

    def __init__(self) -> None:
        self._watchers: list[Callable[[Any], None]] = []
        super().__init__()

    def Watch(self, request: Any, context: Any, send_response_callback: Any = None) -> Any:
        """Stream the status of a service: its current status, then every change."""
        self._watchers.append(send_response_callback)
        context.add_callback(lambda: self._watchers.remove(send_response_callback))
        return super().Watch(request, context, send_response_callback)

    def shut_down(self) -> None:
        """Report NOT_SERVING from now on, and end all Watch streams."""
        self.enter_graceful_shutdown()
        for send_response in list(self._watchers):
            send_response(None)


class Server:
    """Serves the versions that the models' policies select, and new ones as they appear.

    Args:
        models: what to serve: a model directory with a subdirectory for every version, a list of ``ModelConfig``, or a
            ``ModelConfigFile``, which is read again when it changes.
        host: address to listen on.
        port: port to listen on; 0 takes a free one, which is in ``port`` after ``start``.
        name: name of the model if ``models`` is a path; default: the directory's name.
        threads: maximum number of calls in progress, including those that wait for a batch.
        poll_seconds: interval at which directories and the ``ModelConfigFile`` are checked for changes.
        batching: parameters of batching; None runs each request alone.
        credentials: for TLS, from ``tls.server_credentials``; None: no TLS.
        metrics_port: port for Prometheus metrics over HTTP; 0 takes a free one, which is in ``metrics_port`` after
            ``start``; None: no metrics.
        rest_port: port for the REST API; 0 takes a free one, which is in ``rest_port`` after ``start``; None: no REST.
            If it is also ``metrics_port``, both are served there.
        rest_tls: files for TLS of the REST API; None: no TLS.
        allow_reload: directories below which clients may load models, by HandleReloadConfigRequest; default: none, the
            request is rejected.
        on_available: called with a model's name and a version's number when the version begins to answer.

    Raises:
        DataError: the ``ModelConfigFile`` cannot be read, TensorFlow Serving would reject it, or a directory of
            ``allow_reload`` does not exist.

    Example:
        >>> with Server(Path("models/doodles"), port=8500):  # doctest: +SKIP
        ...     ...
    """

    port: int

    def __init__(
        self,
        models: Path | Sequence[ModelConfig] | ModelConfigFile,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        name: str | None = None,
        threads: int = 128,
        poll_seconds: float = 1.0,
        batching: BatchingParameters | None = DEFAULTS,
        credentials: grpc.ServerCredentials | None = None,
        metrics_port: int | None = None,
        rest_port: int | None = None,
        rest_tls: TlsFiles | None = None,
        allow_reload: Sequence[File] = (),
        on_available: Callable[[str, int], None] = lambda name, version: None,
    ) -> None:
        config_file = models if isinstance(models, ModelConfigFile) else None
        if isinstance(models, ModelConfigFile):
            models = models.read()
        elif isinstance(models, Path):
            models = single_model(models, name)
        self.host = host
        self.port = port
        self._on_available = on_available
        self._announced: dict[str, list[int]] = {}
        self._listening = False
        self._manager = ModelManager(models, self._announce)
        self._watcher = Watcher(self._manager, config_file, poll_seconds)
        self._health = HealthServicer()
        self._credentials = credentials
        self.metrics_port = metrics_port
        self.rest_port = rest_port
        self._rest_tls = rest_tls
        self._rest: HttpServer | None = None
        self._metrics_server: HttpServer | None = None
        self._metrics = Metrics(self._loaded, lambda: batcher.queued_rows if batcher else 0)
        batcher = Batcher(batching, self._metrics.observe_batch) if batching else None
        self._threads = CallThreads(threads, "rpc")
        self._grpc = grpc.server(
            self._threads,
            interceptors=[ParseInterceptor()] if metrics_port is None else [ParseInterceptor(), self._metrics],
            options=SERVER_OPTIONS,
            maximum_concurrent_rpcs=MAX_CALLS,
        )
        service = Service(self._manager, batcher.run if batcher else run_unbatched, ReloadRoots(allow_reload))
        self._rest_api = RestApi(service, self._manager, threads, self._metrics if metrics_port is not None else None)
        self._grpc.add_generic_rpc_handlers(service.handlers())
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        services = (PREDICTION_SERVICE, MODEL_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(services, self._grpc)

    @property
    def names(self) -> list[str]:
        """The names of the configured models."""
        return self._manager.names

    def start(self) -> None:
        """Load what can be loaded, then listen.

        Raises:
            DataError: no model has a version that can be loaded.
            ServingError: a port cannot be listened on.
        """
        self._watcher.load()
        self._listen()
        if self.metrics_port is not None and not self.metrics_port == self.rest_port != 0:
            self._metrics_server = self._metrics.serve(self.host, self.metrics_port)
            self.metrics_port = self._metrics_server.port
        if self.rest_port is not None:
            self._rest = HttpServer(self._rest_api, self.host, self.rest_port, self._rest_tls)
            self.rest_port = self._rest.port
        for service in ("", PREDICTION_SERVICE, MODEL_SERVICE):
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        self._grpc.start()
        self._listening = True
        for name in self.names:
            self._announce(name)
        self._watcher.start()

    def _listen(self) -> None:
        check_port(self.host, self.port)  # raises an error with the reason, which gRPC only logs
        address = format_address(self.host, self.port)
        try:
            if self._credentials is None:
                self.port = self._grpc.add_insecure_port(address)
            else:
                self.port = self._grpc.add_secure_port(address, self._credentials)
        except RuntimeError as e:
            raise ServingError(f"cannot listen on {address}: {e}") from e

    def _loaded(self) -> dict[str, list[int]]:
        return {name: self._manager.available(name) for name in self._manager.names}

    def _announce(self, name: str) -> None:
        """Update a model's health status, and report versions that have begun to answer."""
        if not self._listening:
            return
        available = self._manager.available(name)
        status = health_pb2.HealthCheckResponse.SERVING if available else health_pb2.HealthCheckResponse.NOT_SERVING
        self._health.set(name, status)
        new = [version for version in available if version not in self._announced.get(name, ())]
        self._announced[name] = available
        for version in new:
            self._on_available(name, version)

    def stop(self, grace: float = 10.0) -> int:
        """Report NOT_SERVING, reject new calls, and let calls in progress finish for up to ``grace`` seconds.

        Then they are cancelled, and ``stop`` returns, at the latest after ``STOP_SECONDS`` more.

        Returns:
            The number of calls whose threads still run: the model has not answered them.
        """
        end = time.monotonic() + grace + STOP_SECONDS

        def left() -> float:
            return max(0.0, end - time.monotonic())

        self._watcher.stop()
        self._health.shut_down()
        stopped = self._grpc.stop(grace)
        if self._rest:
            self._rest.stop(grace, left())
        stopped.wait(left())
        if self._metrics_server:
            self._metrics_server.stop(0.0, left())
        still_running = self._threads.wait_idle(left()) + self._rest_api.threads.wait_idle(left())
        return still_running if stopped.is_set() else max(still_running, 1)

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
