"""The Prometheus metrics of the embedded server.

    qdfast_requests_total{model, version, method, status}     finished calls, over gRPC and REST, by gRPC status
    qdfast_request_seconds{model, method}                     duration of calls (histogram)
    qdfast_requests_in_flight                                 calls in progress
    qdfast_batch_rows                                         drawings per run of the model (histogram)
    qdfast_queue_rows                                         drawings that wait for the model
    qdfast_model_loaded{model, version}                       1 for every version that answers

``model`` is "" if the server has no such model, and ``version`` is "" if no version answered, so that clients cannot
create new label values.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import grpc
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from starlette.responses import PlainTextResponse, Response

from .http_server import HttpServer

PATH = "/monitoring/prometheus/metrics"
"""The path in TensorFlow Serving."""

SECONDS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics(grpc.ServerInterceptor):  # type: ignore[misc]
    """A gRPC interceptor that counts calls, and an HTTP server for the metrics.

    Args:
        versions: returns the versions that answer, by model name; called whenever the metrics are read.
        queued_rows: returns the number of rows that wait for the model; called likewise.
    """

    def __init__(
        self, versions: Callable[[], Mapping[str, Sequence[int]]], queued_rows: Callable[[], int] = lambda: 0
    ) -> None:
        self._versions = versions
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "qdfast_requests", "Calls by gRPC status.", ("model", "version", "method", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "qdfast_request_seconds", "Duration of calls.", ("model", "method"), buckets=SECONDS, registry=self.registry
        )
        self._in_flight = Gauge("qdfast_requests_in_flight", "Calls in progress.", registry=self.registry)
        self._batches = Histogram("qdfast_batch_rows", "Rows per run.", buckets=ROWS, registry=self.registry)
        Gauge("qdfast_queue_rows", "Rows waiting.", registry=self.registry).set_function(queued_rows)
        self.registry.register(self)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the versions that answer, for the registry."""
        family = GaugeMetricFamily("qdfast_model_loaded", "1 for a version that answers.", labels=("model", "version"))
        for model, versions in self._versions().items():
            for version in versions:
                family.add_metric((model, str(version)), 1)
        yield family

    def observe_batch(self, rows: int) -> None:
        """Count a run of the model, of ``rows`` rows."""
        self._batches.observe(rows)

    def intercept_service(self, continuation: Callable[[Any], Any], call: Any) -> Any:
        """Count calls with one request and one response; the others are health streams."""
        handler = continuation(call)
        if handler is None or handler.unary_unary is None:
            return handler
        respond, method = handler.unary_unary, call.method.rpartition("/")[2]

        def respond_and_count(request: Any, context: grpc.ServicerContext) -> Any:
            start = time.perf_counter()
            version = ""
            with self._in_flight.track_inprogress():
                try:
                    response = respond(request, context)
                    version = _model_spec_field(response, "version")
                    return response
                finally:
                    model, seconds = _model_spec_field(request, "name"), time.perf_counter() - start
                    self.observe_request(model, version, method, _status(context), seconds)

        return grpc.unary_unary_rpc_method_handler(
            respond_and_count,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def observe_request(self, model: str, version: str, method: str, status: str, seconds: float) -> None:
        """Count a finished call. Arguments as in the labels; ``model`` may be any name."""
        model = model if model in self._versions() else ""
        self._requests.labels(model, version, method, status).inc()
        self._seconds.labels(model, method).observe(seconds)

    def response(self) -> Response:
        """Return the metrics as an HTTP response."""
        return Response(generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    def serve(self, host: str, port: int) -> HttpServer:
        """Serve the metrics at /metrics and at TensorFlow Serving's /monitoring/prometheus/metrics.

        Raises:
            ServingError: the port cannot be listened on.
        """

        async def app(scope: Any, receive: Any, send: Any) -> None:
            known = scope["path"] in ("/metrics", PATH)
            response = self.response() if known else PlainTextResponse(f"not found; the metrics are at {PATH}\n", 404)
            await response(scope, receive, send)

        return HttpServer(app, host, port)


def _model_spec_field(message: Any, field: str) -> str:
    """The ``name`` or ``version`` in the ModelSpec of a request or response; "" if it has none."""
    if "model_spec" not in message.DESCRIPTOR.fields_by_name:
        return ""
    spec = message.model_spec
    return spec.name if field == "name" else str(spec.version.value) if spec.HasField("version") else ""


def _status(context: grpc.ServicerContext) -> str:
    code = context.code()
    return code.name if code else "OK"
