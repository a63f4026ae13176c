"""Ask a served model about drawings, over gRPC: TensorFlow Serving or ``qdfast serve``.

    from qdfast.client import Client

    with Client("127.0.0.1:8500", model="doodles") as client:
        for best in client.predict(drawings, k=3):
            print(best)                                 # [('cat', 0.93), ('dog', 0.04), ('mouse', 0.01)]

Needs grpcio and protobuf (``pip install qdfast[client]``), not TensorFlow.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from . import query, wire
from . import tfs_pb2 as pb
from .bitmaps import AnyDrawings, Bitmaps
from .errors import DataError
from .query import (
    Answer,
    Asked,
    BadResponse,
    DeadlineExceeded,
    DrawingsLike,
    InvalidRequest,
    ModelNotFound,
    OtherInput,
    Predictions,
    Query,
    Unavailable,
)
from .shards import Kind
from .wire import ModelVersion

__all__ = [
    "BadResponse",
    "Client",
    "DeadlineExceeded",
    "InvalidRequest",
    "ModelNotFound",
    "ModelVersion",
    "Predictions",
    "Unavailable",
]

PREDICT = "/tensorflow.serving.PredictionService/Predict"
GET_MODEL_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"

CHANNEL_OPTIONS = (
    # gRPC's own limit of 4 MB is the client's to lift; the answer to one request is bounded by what it asked.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A server that is starting is found within a second, not within gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
POLL_SECONDS = 0.05
LONGEST = 1_000_000  # seconds (gRPC takes a far longer timeout for none at all), and anything else that is counted
NOT_FOUND_SECONDS = 1.0  # a server that is up knows its models, or will not


class Client:
    """A connection to one model of one server. Threads may share it.

    Args:
        target: ``host:port`` of the gRPC API, or any other gRPC target (``dns:///…``, ``unix:…``).
        model: name of the model.
        version: a version's number or label; None for the newest.
        timeout: seconds that one request may take.
        max_batch: drawings a request may have; more are split into several.
        in_flight: requests that may wait for their answers at once.
    """

    def __init__(
        self,
        target: str = "127.0.0.1:8500",
        *,
        model: str,
        version: int | str | None = None,
        timeout: float = 10.0,
        max_batch: int = 256,
        in_flight: int = 4,
    ) -> None:
        for name, value in (("timeout", timeout), ("max_batch", max_batch), ("in_flight", in_flight)):
            if not 0 < value <= LONGEST:
                raise DataError(f"{name} is {value}: it must be positive, and not above {LONGEST:,}")
        if not target or "://" in target.removeprefix("dns://"):
            raise DataError(f"target is {target!r}: it must be HOST:PORT of the gRPC API")
        if isinstance(version, int) and not 0 <= version < 1 << 63:
            raise DataError(f"version is {version}: it must be 0 to 2^63-1, or a label")
        self.asked = Asked(target, model, version)
        self.timeout = timeout
        self.max_batch = max_batch
        self.in_flight = in_flight
        self._takes: Kind | None = None  # what the model takes, once it has refused the other
        self._channel = grpc.insecure_channel(target, options=CHANNEL_OPTIONS)
        self._predict = self._channel.unary_unary(
            PREDICT,
            request_serializer=pb.PredictRequest.SerializeToString,
            response_deserializer=pb.PredictResponse.FromString,
        )
        self._get_model_status = self._channel.unary_unary(
            GET_MODEL_STATUS,
            request_serializer=pb.GetModelStatusRequest.SerializeToString,
            response_deserializer=pb.GetModelStatusResponse.FromString,
        )

    def predict(self, drawings: DrawingsLike, k: int = 3) -> Predictions:
        """The ``k`` most probable classes of each drawing, best first.

        Args:
            drawings: N drawings: ``Drawings``, a list of drawings as lists of strokes ``[xs, ys]``, or ndjson bytes;
                or ``Bitmaps``, for a model that takes these (for which strokes are drawn).
            k: of a model that was exported with fewer labels, or has fewer classes, all of these.

        Raises:
            DataError: a line of ndjson (ParseError) or an element of the list that is not a drawing; bitmaps for a
                model that needs strokes.
            Unavailable, DeadlineExceeded, ModelNotFound, InvalidRequest, BadResponse: subclasses of ServingError.
        """
        known = query.as_drawings(drawings)
        return self._ask(known, lambda sends: query.TopK(known, k, self.asked, self.max_batch, sends))

    def probabilities(self, drawings: DrawingsLike) -> NDArray[np.float32]:
        """float32 (N, C): the probability of each of the model's classes, in the model's order; (0, 0) if N is 0.

        Argument and errors as for ``predict``.
        """
        known = query.as_drawings(drawings)
        return self._ask(known, lambda sends: query.Probabilities(known, self.asked, self.max_batch, sends))

    def model_status(self) -> list[ModelVersion]:
        """The versions of the model the server knows of (only ``version``, if the client has one), newest first.

        Raises:
            Unavailable, DeadlineExceeded, ModelNotFound: subclasses of ServingError.
        """
        return self._model_status(self.timeout)

    def wait_ready(self, timeout: float = 30.0) -> int:
        """Wait until the server answers and has the model loaded; returns the version that will answer.

        Raises:
            Unavailable, DeadlineExceeded: what still hinders after ``timeout`` seconds.
            ModelNotFound: the server has not known the model for a second.
        """
        deadline = time.monotonic() + timeout
        unknown_since: float | None = None
        while True:
            hindrance: Exception
            try:
                states = self._model_status(min(max(deadline - time.monotonic(), 0.1), self.timeout))
                for v in states:
                    if v.state == "AVAILABLE":
                        return v.version
                said = ", ".join(f"version {v.version} is {v.state} {v.error}".rstrip() for v in states)
                hindrance = Unavailable(f"{self.asked} is not loaded: {said}")
                unknown_since = None
            except ModelNotFound as e:
                unknown_since = unknown_since or time.monotonic()
                if time.monotonic() - unknown_since > NOT_FOUND_SECONDS:
                    raise
                hindrance = e
            except (Unavailable, DeadlineExceeded) as e:
                unknown_since, hindrance = None, e
            if time.monotonic() + POLL_SECONDS >= deadline:
                raise hindrance
            time.sleep(POLL_SECONDS)

    def close(self) -> None:
        """Close the connection; requests of other threads end with an error."""
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.asked})"

    def _ask(self, drawings: AnyDrawings, query_of: Callable[[Kind], Query[Answer]]) -> Answer:
        """Ask with what the model takes; which that is says its refusal of the other."""
        sends = "bitmaps" if isinstance(drawings, Bitmaps) else self._takes or "strokes"
        try:
            return self._sent(query_of(sends))
        except OtherInput as e:
            if e.takes in (None, sends):
                raise
            self._takes = e.takes
            return self._sent(query_of(e.takes))

    def _sent(self, question: Query[Answer]) -> Answer:
        """Send the requests of ``question``, ``in_flight`` at a time."""
        pending: deque[tuple[int, grpc.Future]] = deque()
        try:
            for i in range(len(question)):
                if len(pending) == self.in_flight:
                    self._take(question, *pending.popleft())
                pending.append((i, self._predict.future(question.request(i), timeout=self.timeout)))
            while pending:
                self._take(question, *pending.popleft())
        finally:
            for _, call in pending:
                call.cancel()
        return question.result()

    def _take(self, question: Query[Any], i: int, call: grpc.Future) -> None:
        try:
            response = call.result()
        except grpc.RpcError as e:
            raise self._refusal(e) from None
        question.take(i, response)

    def _model_status(self, timeout: float) -> list[ModelVersion]:
        request = wire.status_request(self.asked.model, self.asked.version)
        try:
            response = self._get_model_status(request, timeout=timeout)
        except grpc.RpcError as e:
            raise self._refusal(e) from None
        return wire.model_versions(response)

    def _refusal(self, error: Any) -> Exception:
        return self.asked.refusal(error.code().name, error.details() or "")
