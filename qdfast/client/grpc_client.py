"""The part of a client that ``Client`` and ``AsyncClient`` share: requests in flight, deadlines, hedging, errors."""

from __future__ import annotations

import random
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from ..errors import DataError
from ..protocol import messages
from ..protocol import tfs_pb2 as pb
from ..protocol.base_client import BaseClient, sync_or_async
from ..protocol.errors import BadResponse, DeadlineExceeded, ModelNotFound, Unavailable, error_from_status, is_busy
from ..protocol.messages import ModelMetadata, ModelVersion
from ..protocol.requests import ModelSpec, Query
from .channel import (
    GET_MODEL_METADATA,
    GET_MODEL_STATUS,
    PEM,
    PREDICT,
    Metadata,
    channel_config,
    target_list,
    validate_metadata,
)

POLL_SECONDS = 0.05
MAX_OPTION = 1_000_000  # of seconds and counts: gRPC treats a much longer timeout as none
NOT_FOUND_SECONDS = 1.0  # how long `wait_ready` waits for a model that a running server does not know

HEDGE_TOKENS_PER_REQUEST = 0.1
"""Limits hedging to a tenth of all requests, so that slow servers do not get twice the work."""
MAX_HEDGE_TOKENS = 10.0

FIRST_PAUSE, MAX_PAUSE, MIN_PAUSE = 0.02, 0.5, 0.005
"""Seconds before a request is sent again that the server had no thread for: at first, at most, at least."""

BUSY_SECONDS = 10.0
"""How long after such a rejection a client leaves room for others, see ``_make_room``."""

_NOT_ANSWERED_BY_A_MODEL = {
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNIMPLEMENTED,
}

CallResult: TypeAlias = tuple[grpc.StatusCode, str, bytes]
"""A finished call: status, details, and the serialized response, or b"" if it failed."""


class _Pending:
    """A request in flight: one call, or two if it was hedged."""

    def __init__(self, method: str, request: bytes, timeout: float) -> None:
        self.method = method
        self.request = request
        self.started = time.monotonic()
        self.deadline = self.started + timeout
        self.calls: list[Any] = []

    def cancel(self, keep: Any = None) -> None:
        for call in self.calls:
            if call is not keep:
                call.cancel()


class GrpcClient(BaseClient):
    """A client for a model on one or several servers; ``Client`` documents the arguments."""

    def __init__(
        self,
        target: str | Sequence[str] = "127.0.0.1:8500",
        *,
        model: str,
        version: int | str | None = None,
        timeout: float = 10.0,
        max_batch: int = 256,
        in_flight: int = 4,
        tls: bool = False,
        ca: PEM | None = None,
        certificate: PEM | None = None,
        key: PEM | None = None,
        metadata: Metadata = (),
        hedge_after: float | None = None,
    ) -> None:
        numbers = {"timeout": timeout, "max_batch": max_batch, "in_flight": in_flight}
        for name, value in (numbers | ({} if hedge_after is None else {"hedge_after": hedge_after})).items():
            if not 0 < value <= MAX_OPTION:
                raise DataError(f"{name} is {value}: it must be positive and at most {MAX_OPTION:,}")
        targets = target_list(target)
        super().__init__(ModelSpec.checked(",".join(targets), model, version), max_batch)
        self.timeout = timeout
        self.in_flight = in_flight
        self.hedge_after = hedge_after
        self._hedge_tokens = MAX_HEDGE_TOKENS
        self._busy_until = 0.0  # time.monotonic()
        self._call_seconds = 0.0  # duration of the last call
        self._metadata = validate_metadata(metadata)
        self._config = channel_config(targets, tls=tls, ca=ca, certificate=certificate, key=key)
        self._closed = False
        self._channel: Any = None
        self._open()

    @sync_or_async
    async def model_status(self) -> list[ModelVersion]:
        """Return the versions of the model that the server knows, and their states.

        Returns:
            ``ModelVersion``s, newest first; only the client's ``version`` if it has one.

        Raises:
            ServingError: Unavailable, DeadlineExceeded, ModelNotFound or BadResponse.

        Example:
            >>> client.model_status()  # doctest: +SKIP
            [ModelVersion(version=2, state='AVAILABLE', error=''), ModelVersion(version=1, state='END', error='')]
        """
        request = messages.status_request(self.model_spec.name, self.model_spec.version)
        response = await self._call(GET_MODEL_STATUS, request, pb.GetModelStatusResponse, self.timeout)
        return messages.model_versions(response)

    @sync_or_async
    async def metadata(self) -> ModelMetadata:
        """Return the signatures of the version that answers.

        Returns:
            ``ModelMetadata``: the version's number, and names, dtypes and shapes of inputs and outputs.

        Raises:
            ServingError: Unavailable, DeadlineExceeded, ModelNotFound or BadResponse.

        Example:
            >>> print(client.metadata())  # doctest: +SKIP
            version 1
              serving_default: deltas int16 [?, ?, 3], lengths int32 [?] -> probabilities float32 [?, 345]
        """
        request = messages.metadata_request(self.model_spec.name, self.model_spec.version)
        response = await self._call(GET_MODEL_METADATA, request, pb.GetModelMetadataResponse, self.timeout)
        try:
            return messages.model_metadata(response)
        except DataError as e:
            raise BadResponse(f"{self.model_spec} returned {e}") from e

    @sync_or_async
    async def wait_ready(self, timeout: float = 30.0) -> int:
        """Wait until the server answers and has loaded the model.

        Args:
            timeout: seconds to wait.

        Returns:
            The number of the version that answers; 0 if the server has Predict alone and does not tell.

        Raises:
            Unavailable, DeadlineExceeded: the server or the model was still not ready after ``timeout`` seconds.
            ModelNotFound: the server has not known the model for a second.
        """
        deadline = time.monotonic() + timeout
        unknown_since: float | None = None
        request = messages.status_request(self.model_spec.name, self.model_spec.version)
        while True:
            error: Exception
            try:
                seconds = min(max(deadline - time.monotonic(), 0.1), self.timeout)
                result = await self._call_result(GET_MODEL_STATUS, request, seconds)
                if result[0] is grpc.StatusCode.UNIMPLEMENTED:
                    return await self._require_predict(seconds)
                versions = messages.model_versions(self._parse(result, pb.GetModelStatusResponse))
                for v in versions:
                    if v.state == "AVAILABLE":
                        return v.version
                states = ", ".join(f"version {v.version} is {v.state} {v.error}".rstrip() for v in versions)
                error = Unavailable(f"{self.model_spec} is not loaded: {states}")
                unknown_since = None
            except ModelNotFound as e:
                unknown_since = unknown_since or time.monotonic()
                if time.monotonic() - unknown_since > NOT_FOUND_SECONDS:
                    raise
                error = e
            except (Unavailable, DeadlineExceeded) as e:
                unknown_since, error = None, e
            if time.monotonic() + POLL_SECONDS >= deadline:
                raise error
            await self._sleep(POLL_SECONDS)

    async def _require_predict(self, timeout: float) -> int:
        """Check that a server without ModelService has Predict, by a request that a model can only reject."""
        request = messages.predict_request(self.model_spec.name, self.model_spec.version, "", {})
        result = await self._call_result(PREDICT, request, timeout)
        if result[0] in _NOT_ANSWERED_BY_A_MODEL:
            self._parse(result, pb.PredictResponse)
        return 0

    async def _execute(self, query: Query[Any]) -> None:
        """Send the requests of ``query``, at most ``in_flight`` at a time."""
        if len(query) == 1:
            query.add_response(0, await self._call(PREDICT, query.request(0), pb.PredictResponse, self.timeout))
            return
        in_flight: deque[tuple[int, _Pending]] = deque()
        try:
            for i in range(len(query)):
                while len(in_flight) >= (1 if self._is_busy() else self.in_flight):
                    await self._receive_first(query, in_flight)
                await self._make_room()
                in_flight.append((i, self._send(PREDICT, query.request(i), self.timeout)))
            while in_flight:
                await self._receive_first(query, in_flight)
        finally:
            for _, pending in in_flight:
                pending.cancel()

    async def _receive_first(self, query: Query[Any], in_flight: deque[tuple[int, _Pending]]) -> None:
        i, pending = in_flight[0]
        result = await self._result(pending)
        # The server has not begun a request that it rejects, so its time begins when it is sent again.
        deadline = time.monotonic() + self.timeout
        result = await self._retry_while_busy(pending.method, pending.request, deadline, result)
        query.add_response(i, self._parse(result, pb.PredictResponse))
        in_flight.popleft()

    async def _call(self, method: str, request: Any, response_type: Any, timeout: float) -> Any:
        """Send one request and return its response."""
        return self._parse(await self._call_result(method, request, timeout), response_type)

    async def _call_result(self, method: str, request: Any, timeout: float) -> CallResult:
        """Send one request and return its result."""
        await self._make_room()
        started = time.monotonic()
        if self.hedge_after is None:
            self._require_open()
            content = request.SerializeToString()
            result = await self._call_and_wait(method, content, timeout)
            self._call_seconds = time.monotonic() - started
            return await self._retry_while_busy(method, content, started + timeout, result)
        pending = self._send(method, request, timeout)
        try:
            return await self._retry_while_busy(method, pending.request, pending.deadline, await self._result(pending))
        finally:
            pending.cancel()

    def _is_busy(self) -> bool:
        return time.monotonic() < self._busy_until

    async def _make_room(self) -> None:
        """Pause before a new request if a server had no thread for an earlier one.

        Without the pause, the clients whose requests run would take every thread again as soon as it is free, and those
        that were rejected would be so until their time is over.
        """
        if self._is_busy():
            await self._sleep(random.uniform(0, self._call_seconds / 5))

    async def _retry_while_busy(self, method: str, request: bytes, deadline: float, result: CallResult) -> CallResult:
        """Send a request again, as long as the server has no thread for it and there is time.

        The less of its time is left, the more often it is sent, so that those that have waited long go first. The
        fourth power keeps the longest wait of 32 clients of 8 threads within twice the average.
        """
        pause, time_given = FIRST_PAUSE, max(deadline - time.monotonic(), MIN_PAUSE)
        while is_busy(result[0].name, result[1]):
            self._busy_until = time.monotonic() + BUSY_SECONDS
            remaining = deadline - time.monotonic()
            seconds = max(random.uniform(0.5, 1) * pause * (remaining / time_given) ** 4, MIN_PAUSE)
            if seconds >= remaining:
                break
            await self._sleep(seconds)
            self._require_open()
            started = time.monotonic()
            last, result = result, await self._call_and_wait(method, request, deadline - started)
            self._call_seconds = time.monotonic() - started
            if result[0] is grpc.StatusCode.DEADLINE_EXCEEDED:
                return last  # the reason why there was so little time
            pause = min(2 * pause, MAX_PAUSE)
        return result

    def _send(self, method: str, request: Any, timeout: float) -> _Pending:
        self._require_open()
        pending = _Pending(method, request.SerializeToString(), timeout)
        pending.calls.append(self._start_call(method, pending.request, timeout))
        self._hedge_tokens = min(self._hedge_tokens + HEDGE_TOKENS_PER_REQUEST, MAX_HEDGE_TOKENS)
        return pending

    def _require_open(self) -> None:
        if self._closed:
            raise Unavailable(f"{self.model_spec}: the client was closed")

    async def _result(self, pending: _Pending) -> CallResult:
        call = pending.calls[0] if self.hedge_after is None else await self._hedge(pending, self.hedge_after)
        result = await self._wait(call)
        self._call_seconds = time.monotonic() - pending.started
        return result

    def _parse(self, result: CallResult, response_type: Any) -> Any:
        status, details, content = result
        if status is not grpc.StatusCode.OK:
            raise error_from_status(self.model_spec, status.name, details)
        try:
            return response_type.FromString(content)
        except DecodeError as e:
            raise BadResponse(f"{self.model_spec} returned an invalid {response_type.DESCRIPTOR.name}") from e

    async def _hedge(self, pending: _Pending, after: float) -> Any:
        """Send a slow request again; return the first call that ends, or the other if that one was not accepted."""
        done = self._new_queue()
        pending.calls[0].add_done_callback(done.put_nowait)
        call = await self._next_done(done, max(pending.started + after - time.monotonic(), 0))
        remaining = pending.deadline - time.monotonic()
        if call is None and self._hedge_tokens >= 1 and remaining > 0:
            self._hedge_tokens -= 1
            pending.calls.append(self._start_call(pending.method, pending.request, remaining))
            pending.calls[1].add_done_callback(done.put_nowait)
        if call is None:
            call = await self._next_done(done, None)
        if len(pending.calls) == 2:
            status, details, _ = await self._wait(call)
            if status is grpc.StatusCode.UNAVAILABLE or is_busy(status.name, details):
                call = await self._next_done(done, None)
        pending.cancel(keep=call)
        return call

    # The two kinds of gRPC channel, blocking and asyncio, differ in these:

    @abstractmethod
    def _open(self) -> None:
        """Set ``_channel``."""

    @abstractmethod
    def _start_call(self, method: str, request: bytes, timeout: float) -> Any:
        """Start a call; return gRPC's object for it."""

    @abstractmethod
    async def _wait(self, call: Any) -> CallResult:
        """Wait until ``call`` has ended."""

    @abstractmethod
    async def _call_and_wait(self, method: str, request: bytes, timeout: float) -> CallResult:
        """Start a call, and wait until it has ended."""

    @abstractmethod
    def _new_queue(self) -> Any:
        """A queue for calls that have ended; their callbacks put them in."""

    @abstractmethod
    async def _next_done(self, done: Any, timeout: float | None) -> Any:
        """The next call in the queue ``done``, or None after ``timeout`` seconds."""

    @abstractmethod
    async def _sleep(self, seconds: float) -> None: ...
