"""A client apart from how it waits: requests in flight, deadlines, hedging, what refusals mean."""

from __future__ import annotations

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
from ..protocol.base_client import Asker, either_way
from ..protocol.messages import ModelMetadata, ModelVersion
from ..protocol.requests import Asked, BadResponse, DeadlineExceeded, ModelNotFound, Query, Unavailable
from .channel import GET_MODEL_METADATA, GET_MODEL_STATUS, PEM, PREDICT, Metadata, checked_metadata, connection

POLL_SECONDS = 0.05
LONGEST = 1_000_000  # seconds (gRPC takes a far longer timeout for none at all), and anything else that is counted
NOT_FOUND_SECONDS = 1.0  # a server that is up knows its models, or will not

HEDGED_SHARE = 0.1
"""Requests that may be sent twice, of all: more, and slow servers would get twice the work for being slow."""
HEDGED_AT_ONCE = 10.0

Outcome: TypeAlias = tuple[grpc.StatusCode, str, bytes]
"""Of a call: its status, what was said with it, and the response, b"" where there is none."""


class _Sent:
    """A request under way: one call, or later two, of which one counts."""

    def __init__(self, method: str, request: bytes, timeout: float) -> None:
        self.method = method
        self.request = request
        self.begun = time.monotonic()
        self.deadline = self.begun + timeout
        self.calls: list[Any] = []

    def cancel(self, but: Any = None) -> None:
        for call in self.calls:
            if call is not but:
                call.cancel()


class Remote(Asker):
    """Asks a model of one server, or of several; ``qdfast.client`` says what the arguments mean."""

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
        counted = {"timeout": timeout, "max_batch": max_batch, "in_flight": in_flight}
        for name, value in (counted | ({} if hedge_after is None else {"hedge_after": hedge_after})).items():
            if not 0 < value <= LONGEST:
                raise DataError(f"{name} is {value}: it must be positive, and not above {LONGEST:,}")
        if isinstance(version, int) and not 0 <= version < 1 << 63:
            raise DataError(f"version is {version}: it must be 0 to 2^63-1, or a label")
        targets = [target] if isinstance(target, str) else list(target)
        if not targets:
            raise DataError("target is an empty list: it must have at least one HOST:PORT")
        super().__init__(Asked(",".join(targets), model, version), max_batch)
        self.timeout = timeout
        self.in_flight = in_flight
        self.hedge_after = hedge_after
        self._hedges = HEDGED_AT_ONCE  # that may be sent
        self._metadata = checked_metadata(metadata)
        self._connection = connection(targets, tls=tls, ca=ca, certificate=certificate, key=key)
        self._closed = False
        self._channel: Any = None
        self._open()

    @either_way
    async def model_status(self) -> list[ModelVersion]:
        """The versions of the model the server knows of (only ``version``, if the client has one), newest first.

        Raises:
            Unavailable, DeadlineExceeded, ModelNotFound: subclasses of ServingError.
        """
        return await self._model_status(self.timeout)

    @either_way
    async def metadata(self) -> ModelMetadata:
        """The version of the model that answers, and its signatures: names, dtypes and shapes.

        Raises:
            Unavailable, DeadlineExceeded, ModelNotFound, BadResponse: subclasses of ServingError.
        """
        request = messages.metadata_request(self.asked.model, self.asked.version)
        response = await self._call(GET_MODEL_METADATA, request, pb.GetModelMetadataResponse, self.timeout)
        try:
            return messages.model_metadata(response)
        except DataError as e:
            raise BadResponse(f"{self.asked} answered with {e}") from e

    @either_way
    async def wait_ready(self, timeout: float = 30.0) -> int:
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
                states = await self._model_status(min(max(deadline - time.monotonic(), 0.1), self.timeout))
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
            await self._sleep(POLL_SECONDS)

    async def _model_status(self, timeout: float) -> list[ModelVersion]:
        request = messages.status_request(self.asked.model, self.asked.version)
        return messages.model_versions(await self._call(GET_MODEL_STATUS, request, pb.GetModelStatusResponse, timeout))

    async def _exchange(self, question: Query[Any]) -> None:
        """Send the requests of ``question``, ``in_flight`` at a time."""
        if len(question) == 1:
            question.take(0, await self._call(PREDICT, question.request(0), pb.PredictResponse, self.timeout))
            return
        pending: deque[tuple[int, _Sent]] = deque()
        try:
            for i in range(len(question)):
                if len(pending) == self.in_flight:
                    await self._take(question, pending)
                pending.append((i, self._send(PREDICT, question.request(i), self.timeout)))
            while pending:
                await self._take(question, pending)
        finally:
            for _, sent in pending:
                sent.cancel()

    async def _take(self, question: Query[Any], pending: deque[tuple[int, _Sent]]) -> None:
        i, sent = pending[0]
        question.take(i, self._read(await self._answered(sent), pb.PredictResponse))
        pending.popleft()

    async def _call(self, method: str, request: Any, answer: Any, timeout: float) -> Any:
        """The answer, a message of type ``answer``, to a request that is sent alone."""
        if self.hedge_after is None:
            self._require_open()
            return self._read(await self._alone(method, request.SerializeToString(), timeout), answer)
        sent = self._send(method, request, timeout)
        try:
            return self._read(await self._answered(sent), answer)
        finally:
            sent.cancel()

    def _send(self, method: str, request: Any, timeout: float) -> _Sent:
        self._require_open()
        sent = _Sent(method, request.SerializeToString(), timeout)
        sent.calls.append(self._begin(method, sent.request, timeout))
        self._hedges = min(self._hedges + HEDGED_SHARE, HEDGED_AT_ONCE)
        return sent

    def _require_open(self) -> None:
        if self._closed:
            raise Unavailable(f"{self.asked} cannot be asked: the client was closed")

    async def _answered(self, sent: _Sent) -> Outcome:
        call = sent.calls[0] if self.hedge_after is None else await self._hedged(sent, self.hedge_after)
        return await self._outcome(call)

    def _read(self, outcome: Outcome, answer: Any) -> Any:
        status, details, content = outcome
        if status is not grpc.StatusCode.OK:
            raise self.asked.refusal(status.name, details)
        try:
            return answer.FromString(content)
        except DecodeError as e:
            raise BadResponse(f"{self.asked} answered with what is no {answer.DESCRIPTOR.name}") from e

    async def _hedged(self, sent: _Sent, after: float) -> Any:
        """The call that counts: the first to have ended, unless that is UNAVAILABLE and the other still under way."""
        ended = self._queue()
        sent.calls[0].add_done_callback(ended.put_nowait)
        call = await self._get(ended, max(sent.begun + after - time.monotonic(), 0))
        left = sent.deadline - time.monotonic()
        if call is None and self._hedges >= 1 and left > 0:
            self._hedges -= 1
            sent.calls.append(self._begin(sent.method, sent.request, left))
            sent.calls[1].add_done_callback(ended.put_nowait)
        if call is None:
            call = await self._get(ended, None)
        if len(sent.calls) == 2 and (await self._outcome(call))[0] is grpc.StatusCode.UNAVAILABLE:
            call = await self._get(ended, None)
        sent.cancel(but=call)
        return call

    # What differs between gRPC's two kinds of channel:

    @abstractmethod
    def _open(self) -> None:
        """Set ``_channel``."""

    @abstractmethod
    def _begin(self, method: str, request: bytes, timeout: float) -> Any:
        """Begin a call; returns gRPC's object for it."""

    @abstractmethod
    async def _outcome(self, call: Any) -> Outcome:
        """Wait until ``call`` has ended."""

    @abstractmethod
    async def _alone(self, method: str, request: bytes, timeout: float) -> Outcome:
        """Begin a call, and wait until it has ended."""

    @abstractmethod
    def _queue(self) -> Any:
        """A queue that can be put into by a call that has ended."""

    @abstractmethod
    async def _get(self, ended: Any, timeout: float | None) -> Any:
        """What comes out of the queue, or None after ``timeout`` seconds."""

    @abstractmethod
    async def _sleep(self, seconds: float) -> None: ...
