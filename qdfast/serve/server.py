"""The embedded server: one model directory over TensorFlow Serving's gRPC API."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from ..errors import DataError, ServingError
from .address import address, require_free
from .batching import Batcher, run_alone
from .config import ModelConfig, model_configs
from .manager import Manager
from .metrics import Metrics
from .parameters import DEFAULTS, BatchingParameters
from .service import MODEL_SERVICE, PREDICTION_SERVICE, Service
from .versions import newest_version

log = logging.getLogger(__name__)

OPTIONS = (
    # Else a second server on the same port gets half of the requests, without a word.
    ("grpc.so_reuseport", 0),
    # The largest tensor of 4-byte numbers that a message may have filled by its server (wire.MAX_FILL).
    ("grpc.max_receive_message_length", 1 << 26),
    ("grpc.max_send_message_length", -1),
    # gRPC's own 5 minutes end the connections of clients whose pings keep them open through a load balancer.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
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
    """Serves the highest version of a model, and new ones as they appear.

    Args:
        models: what to serve; a path is one model directory, with a sub-directory for every version.
        host, port: where to listen; port 0 takes a free one, see ``port`` after ``start``.
        name: of the model, where ``models`` is a path; default: the directory's.
        threads: calls that are worked on at once; waiting for a batch counts as work.
        poll_seconds: how often the directory is looked at for another version.
        batching: how requests are put together; None runs each alone.
        credentials: for TLS, see ``tls.server_credentials``; None listens without.
        metrics_port: where Prometheus finds the counts over HTTP; None counts nothing, port 0 takes a free one, see
            ``metrics_port`` after ``start``.
        on_available: called with a model's name and a version's number when it begins to answer.
    """

    def __init__(
        self,
        models: Path | Sequence[ModelConfig],
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
        (self.model,) = model_configs(models, name)
        self.host = host
        self.port = port
        self._poll_seconds = poll_seconds
        self._on_available = on_available
        self._manager = Manager(self.model.path, self.model.name)
        self._health = Health()
        self._credentials = credentials
        self.metrics_port = metrics_port
        self._end_metrics: Callable[[], None] = lambda: None
        self._metrics = Metrics(self._loaded, lambda: batcher.waiting if batcher else 0)
        batcher = Batcher(batching, self._metrics.observe_batch) if batching else None
        self._grpc = grpc.server(
            ThreadPoolExecutor(threads, thread_name_prefix="rpc"),
            interceptors=[] if metrics_port is None else [self._metrics],
            options=OPTIONS,
            maximum_concurrent_rpcs=MAX_CALLS,
        )
        self._grpc.add_generic_rpc_handlers(Service(self._manager, batcher.run if batcher else run_alone).handlers())
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="versions", daemon=True)

    def start(self) -> None:
        """Load the highest version that can be loaded, then listen.

        Raises:
            DataError: there is no version of a model, or none can be loaded.
            ServingError: a port cannot be listened on.
        """
        newest_version(self._manager.model_dir)
        version = self._load()
        self._listen()
        if self.metrics_port is not None:
            self.metrics_port, self._end_metrics = self._metrics.serve(self.host, self.metrics_port)
        for service in ("", PREDICTION_SERVICE, MODEL_SERVICE):
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        self._grpc.start()
        self._on_available(self.model.name, version)
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

    def _load(self) -> int:
        broken: list[DataError] = []
        while True:
            try:
                version = self._manager.refresh()
            except DataError as e:
                broken.append(e)
                continue
            if version is not None:
                for error in broken:
                    log.error("%s; version %d is served instead", error, version)
                return version
            raise broken[0] if broken else DataError(f"{self._manager.model_dir}: no version of a model in it")

    def stop(self, grace: float = 10.0) -> None:
        """Report NOT_SERVING, take no more calls, and finish those under way, for at most ``grace`` seconds."""
        self._stopping.set()
        self._health.shut_down()
        self._grpc.stop(grace).wait()
        self._end_metrics()

    def _watch(self) -> None:
        said = ""
        while not self._stopping.wait(self._poll_seconds):
            try:
                version = self._manager.refresh()
            except (DataError, OSError) as e:
                if str(e) != said:  # the same trouble every second is one line
                    log.error("%s; what was served before still is", e)
                said = str(e)
                continue
            said = ""
            if version is not None:
                self._on_available(self.model.name, version)

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
