"""What the embedded server counts, for Prometheus.

    qdfast_requests_total{model, version, method, status}     answered, refused and given up, by gRPC status
    qdfast_request_seconds{model, method}                     from a request's thread to its answer (histogram)
    qdfast_requests_in_flight                                 calls that have a thread
    qdfast_batch_rows                                         drawings of a run of the model (histogram)
    qdfast_queue_rows                                         drawings that wait for the model
    qdfast_model_loaded{model, version}                       1 for every version that answers

``model`` is "" where the server has none of the name asked for, and ``version`` is "" where none answered: a client can
not make the server remember names.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import grpc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily

from ..errors import ServingError
from .address import address, require_free

SECONDS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics(grpc.ServerInterceptor):  # type: ignore[misc]
    """Counts calls where it intercepts them, and serves all counts over HTTP.

    Args:
        versions: the versions that answer, by the name of the model; asked when the counts are.
        waiting: how many rows wait for the model; likewise.
    """

    def __init__(
        self, versions: Callable[[], Mapping[str, Sequence[int]]], waiting: Callable[[], int] = lambda: 0
    ) -> None:
        self._versions = versions
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "qdfast_requests", "Calls by gRPC status.", ("model", "version", "method", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "qdfast_request_seconds", "Duration of calls.", ("model", "method"), buckets=SECONDS, registry=self.registry
        )
        self._in_flight = Gauge("qdfast_requests_in_flight", "Calls worked on or waiting.", registry=self.registry)
        self._batches = Histogram("qdfast_batch_rows", "Rows run at once.", buckets=ROWS, registry=self.registry)
        Gauge("qdfast_queue_rows", "Rows waiting.", registry=self.registry).set_function(waiting)
        self.registry.register(self)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The versions that answer, for the registry."""
        family = GaugeMetricFamily("qdfast_model_loaded", "1 for a version that answers.", labels=("model", "version"))
        for model, versions in self._versions().items():
            for version in versions:
                family.add_metric((model, str(version)), 1)
        yield family

    def observe_batch(self, rows: int) -> None:
        """Count a run of the model."""
        self._batches.observe(rows)

    def intercept_service(self, continuation: Callable[[Any], Any], call: Any) -> Any:
        """Count calls of methods with one request and one response; the others are streams of health."""
        handler = continuation(call)
        if handler is None or handler.unary_unary is None:
            return handler
        respond, method = handler.unary_unary, call.method.rpartition("/")[2]

        def counted(request: Any, context: grpc.ServicerContext) -> Any:
            begun = time.perf_counter()
            version = ""
            with self._in_flight.track_inprogress():
                try:
                    response = respond(request, context)
                    version = _spec(response, "version")
                    return response
                finally:
                    model = _spec(request, "name")
                    model = model if model in self._versions() else ""
                    self._requests.labels(model, version, method, _status(context)).inc()
                    self._seconds.labels(model, method).observe(time.perf_counter() - begun)

        return grpc.unary_unary_rpc_method_handler(
            counted,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def serve(self, host: str, port: int) -> tuple[int, Callable[[], None]]:
        """Answer GET on every path, among them /metrics and TensorFlow Serving's /monitoring/prometheus/metrics.

        Returns the port and what ends it.

        Raises:
            ServingError: the port cannot be listened on.
        """
        port = require_free(host, port)
        try:
            httpd, thread = start_http_server(port, host, self.registry)
        except OSError as e:
            raise ServingError(f"cannot listen on {address(host, port)}: {e.strerror or e}") from e

        def end() -> None:
            httpd.shutdown()
            httpd.server_close()
            thread.join()

        return port, end


def _spec(message: Any, field: str) -> str:
    """``name`` or ``version`` of the model in a request or response, "" where it has none."""
    if "model_spec" not in message.DESCRIPTOR.fields_by_name:
        return ""
    spec = message.model_spec
    return spec.name if field == "name" else str(spec.version.value) if spec.HasField("version") else ""


def _status(context: grpc.ServicerContext) -> str:
    code = context.code()
    return code.name if code else "OK"
