"""Ask a served model about drawings, over gRPC: TensorFlow Serving or ``qdfast serve``.

    from qdfast.client import AsyncClient, Client

    with Client("127.0.0.1:8500", model="doodles") as client:
        for best in client.predict(drawings, k=3):
            print(best)                                 # [('cat', 0.93), ('dog', 0.04), ('mouse', 0.01)]

    async with AsyncClient(["10.0.0.1:8500", "10.0.0.2:8500"], model="doodles", ca="ca.pem") as client:
        answers = await client.predict(drawings)

Needs grpcio and protobuf (``pip install qdfast[client]``), not TensorFlow.
"""

from __future__ import annotations

import asyncio
import queue
import time
from types import TracebackType
from typing import Any

import grpc

from ..protocol.base_client import AsyncAsker, BlockingAsker
from ..protocol.messages import ModelMetadata, ModelVersion
from ..protocol.requests import BadResponse, DeadlineExceeded, InvalidRequest, ModelNotFound, Predictions, Unavailable
from .grpc_client import Outcome, Remote

__all__ = [
    "AsyncClient",
    "BadResponse",
    "Client",
    "DeadlineExceeded",
    "InvalidRequest",
    "ModelMetadata",
    "ModelNotFound",
    "ModelVersion",
    "Predictions",
    "Unavailable",
]


class Client(Remote, BlockingAsker):
    """A connection to one model of one server, or of several that have the same. Threads may share it.

    Args:
        target: ``host:port`` of the gRPC API, or any other gRPC target (``dns:///…``, ``unix:…``); or a list of
            ``host:port``, which are asked in turn, as are all addresses that one name has. Names in a list are resolved
            once, here.
        model: name of the model.
        version: a version's number or label; None for the newest.
        timeout: seconds that one request may take, attempts and all.
        max_batch: drawings a request may have; more are split into several.
        in_flight: requests of one question that may wait for their answers at once.
        tls: connect by TLS, and trust the usual authorities; ``ca``, ``certificate`` or ``key`` imply it.
        ca: PEM file (or bytes) of the authorities to trust instead. Of several targets, each one's certificate must be
            valid for the first one's host.
        certificate, key: PEM files (or bytes) of the client's own, where the server wants one (mutual TLS).
        metadata: sent with every call, such as ``[("authorization", "Bearer …")]``; a mapping or pairs.
        hedge_after: seconds after which a request without an answer is sent a second time, most often to another
            server, and the first answer counts; None: never. At most a tenth of all requests.

    Raises:
        DataError: an argument that cannot be.
        Unavailable: a name in a list of targets cannot be resolved.
    """

    def _open(self) -> None:
        self._channel = self._connection.open(grpc)

    def close(self) -> None:
        """Close the connection; requests of other threads end with Unavailable."""
        self._closed = True
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self, method: str, request: bytes, timeout: float) -> Any:
        return self._channel.unary_unary(method).future(request, timeout=timeout, metadata=self._metadata)

    async def _outcome(self, call: Any) -> Outcome:
        status = call.code()  # waits
        return status, call.details() or "", call.result() if status is grpc.StatusCode.OK else b""

    async def _alone(self, method: str, request: bytes, timeout: float) -> Outcome:
        # A blocking call takes a third of the time of a future, which another thread wakes this one for.
        try:
            response = self._channel.unary_unary(method)(request, timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as e:
            return e.code(), e.details() or "", b""
        return grpc.StatusCode.OK, "", response

    def _queue(self) -> Any:
        return queue.SimpleQueue()

    async def _get(self, ended: Any, timeout: float | None) -> Any:
        try:
            return ended.get(timeout=timeout)
        except queue.Empty:
            return None

    async def _sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class AsyncClient(Remote, AsyncAsker):
    """As ``Client``, with the same arguments and methods, but the methods are awaited.

    Tasks of one event loop may share it: that in which it is first asked something.
    """

    def _open(self) -> None:
        """Nothing yet: a channel belongs to the running event loop, and there may be none."""

    async def close(self) -> None:
        """Close the connection; requests of other tasks end with Unavailable."""
        self._closed = True
        if self._channel is not None:
            await self._channel.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _begin(self, method: str, request: bytes, timeout: float) -> Any:
        if self._channel is None:
            self._channel = self._connection.open(grpc.aio)
        return self._channel.unary_unary(method)(request, timeout=timeout, metadata=self._metadata)

    async def _outcome(self, call: Any) -> Outcome:
        # Not by awaiting the call itself, which is cancelled like this task when only the client is closed.
        status = await call.code()
        return status, await call.details() or "", await call if status is grpc.StatusCode.OK else b""

    async def _alone(self, method: str, request: bytes, timeout: float) -> Outcome:
        call = self._begin(method, request, timeout)
        try:
            return await self._outcome(call)
        finally:
            call.cancel()

    def _queue(self) -> Any:
        return asyncio.Queue()

    async def _get(self, ended: Any, timeout: float | None) -> Any:
        if not ended.empty():  # which wait_for overlooks where the time is up
            return ended.get_nowait()
        try:
            return await asyncio.wait_for(ended.get(), timeout)
        except asyncio.TimeoutError:
            return None

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
