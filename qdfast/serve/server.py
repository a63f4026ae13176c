"""The embedded server: models over TensorFlow Serving's gRPC API."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from tensorflow_serving.apis import model_service_pb2, prediction_service_pb2  # noqa: F401 - reflection looks them up

from ..client.channel import MODEL_SERVICE, PREDICTION_SERVICE
from ..errors import ServingError
from .address import address, require_free
from .batching import Batcher, run_alone
from .batching_config import DEFAULTS, BatchingParameters
from .manager import Manager
from .metrics import Metrics
from .model_config import ModelConfig, ModelsFile, one_model
from .parse_interceptor import Parsing
from .service import Service
from .watcher import Watcher

OPTIONS = (
    # Else a second server on the same port gets half of the requests, without a word.
    ("grpc.so_reuseport", 0),
    # The largest tensor of 4-byte numbers that a message may have filled by its server (messages.MAX_FILL).
    ("grpc.max_receive_message_length", 1 << 26),
    ("grpc.max_send_message_length", -1),
    # gRPC's own 5 minutes end the connections of clients whose pings keep them open through a load balancer.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Now and then a connection ends, in good order, and its client looks up anew which servers there are.
    ("grpc.max_connection_age_ms", 300_000),
    # A client whose machine has gone away holds its connection for so long, not for hours.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)
MAX_CALLS = 1024
"""Calls that have a thread or wait for one; more are refused with RESOURCE_EXHAUSTED."""


class Health(health.HealthServicer):  # type: ignore[misc]
    """The standard health service; it can end the calls of its watchers, who would hold up an orderly stop."""

    def __init__(self) -> None:
        self._watchers: list[Callable[[Any], None]] = []
        super().__init__()

    def Watch(self, request: Any, context: Any, send_response_callback: Any = None) -> Any:
        """Stream the status of a service, first as it is, then whenever it changes."""
        self._watchers.append(send_response_callback)
        context.add_callback(lambda: self._watchers.remove(send_response_callback))
        return super().Watch(request, context, send_response_callback)

    def shut_down(self) -> None:
        """Report NOT_SERVING from now on, also to the watchers, and end their streams."""
        self.enter_graceful_shutdown()
        for end in list(self._watchers):
            end(None)


class Server:
    """Serves models: the versions that their policies want, and new ones as they appear.

    Args:
        models: what to serve; a path is one model directory, with a sub-directory for every version. A ModelsFile is
            read again when it has changed.
        host, port: where to listen; port 0 takes a free one, see ``port`` after ``start``.
        name: of the model, where ``models`` is a path; default: the directory's.
        threads: calls that are worked on at once; waiting for a batch counts as work.
        poll_seconds: how often directories, and the ModelsFile, are looked at.
        batching: how requests are put together; None runs each alone.
        credentials: for TLS, see ``tls.server_credentials``; None listens without.
        metrics_port: where Prometheus finds the counts over HTTP; None counts nothing, port 0 takes a free one, see
            ``metrics_port`` after ``start``.
        on_available: called with a model's name and a version's number when it begins to answer.

    Raises:
        DataError: the ModelsFile cannot be read, or is refused.
    """

    def __init__(
        self,
        models: Path | Sequence[ModelConfig] | ModelsFile,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        name: str | None = None,
        threads: int = 128,
        poll_seconds: float = 1.0,
        batching: BatchingParameters | None = DEFAULTS,
        credentials: grpc.ServerCredentials | None = None,
        metrics_port: int | None = None,
        on_available: Callable[[str, int], None] = lambda name, version: None,
    ) -> None:
        file = models if isinstance(models, ModelsFile) else None
        if isinstance(models, ModelsFile):
            models = models.read()
        elif isinstance(models, Path):
            models = one_model(models, name)
        self.host = host
        self.port = port
        self._on_available = on_available
        self._announced: dict[str, list[int]] = {}
        self._listening = False
        self._manager = Manager(models, self._announce)
        self._watcher = Watcher(self._manager, file, poll_seconds)
        self._health = Health()
        self._credentials = credentials
        self.metrics_port = metrics_port
        self._end_metrics: Callable[[], None] = lambda: None
        self._metrics = Metrics(self._loaded, lambda: batcher.waiting if batcher else 0)
        batcher = Batcher(batching, self._metrics.observe_batch) if batching else None
        self._grpc = grpc.server(
            ThreadPoolExecutor(threads, thread_name_prefix="rpc"),
            interceptors=[Parsing()] if metrics_port is None else [Parsing(), self._metrics],
            options=OPTIONS,
            maximum_concurrent_rpcs=MAX_CALLS,
        )
        self._grpc.add_generic_rpc_handlers(Service(self._manager, batcher.run if batcher else run_alone).handlers())
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        services = (PREDICTION_SERVICE, MODEL_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(services, self._grpc)

    @property
    def names(self) -> list[str]:
        """Of the models to be served."""
        return self._manager.names

    def start(self) -> None:
        """Load what can be loaded, then listen.

        Raises:
            DataError: no model has a version that can be loaded.
            ServingError: a port cannot be listened on.
        """
        self._watcher.load()
        self._listen()
        if self.metrics_port is not None:
            self.metrics_port, self._end_metrics = self._metrics.serve(self.host, self.metrics_port)
        for service in ("", PREDICTION_SERVICE, MODEL_SERVICE):
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        self._grpc.start()
        self._listening = True
        for name in self.names:
            self._announce(name)
        self._watcher.start()

    def _listen(self) -> None:
        require_free(self.host, self.port)  # says why not; gRPC says it in its log
        where = address(self.host, self.port)
        try:
            if self._credentials is None:
                self.port = self._grpc.add_insecure_port(where)
            else:
                self.port = self._grpc.add_secure_port(where, self._credentials)
        except RuntimeError as e:
            raise ServingError(f"cannot listen on {where}: {e}") from e

    def _loaded(self) -> dict[str, list[int]]:
        return {name: self._manager.available(name) for name in self._manager.names}

    def _announce(self, name: str) -> None:
        """Report the health of a model, and those of its versions that have begun to answer."""
        if not self._listening:
            return
        available = self._manager.available(name)
        status = health_pb2.HealthCheckResponse.SERVING if available else health_pb2.HealthCheckResponse.NOT_SERVING
        self._health.set(name, status)
        new = [version for version in available if version not in self._announced.get(name, ())]
        self._announced[name] = available
        for version in new:
            self._on_available(name, version)

    def stop(self, grace: float = 10.0) -> None:
        """Report NOT_SERVING, take no more calls, and finish those under way, for at most ``grace`` seconds."""
        self._watcher.stop()
        self._health.shut_down()
        self._grpc.stop(grace).wait()
        self._end_metrics()

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
