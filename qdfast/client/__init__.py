"""A gRPC client for a served model, on TensorFlow Serving or ``qdfast serve``.

    from qdfast.client import AsyncClient, Client

    with Client("127.0.0.1:8500", model="doodles") as client:
        for best in client.predict(drawings, k=3):
            print(best)                                 # [('cat', 0.93), ('dog', 0.04), ('mouse', 0.01)]

    async with AsyncClient(["10.0.0.1:8500", "10.0.0.2:8500"], model="doodles", ca="ca.pem") as client:
        predictions = await client.predict(drawings)

It needs grpcio and protobuf (the extra ``client``), not TensorFlow.
"""

from __future__ import annotations

import asyncio
import queue
import time
from types import TracebackType
from typing import Any

from .._hints import needs

with needs("client"):
    import grpc

    from ..protocol.base_client import BaseAsyncClient, BaseSyncClient
    from ..protocol.errors import BadResponse, DeadlineExceeded, InvalidRequest, ModelNotFound, Unavailable
    from ..protocol.messages import ModelMetadata, ModelVersion
    from ..protocol.requests import Predictions
    from .grpc_client import CallResult, GrpcClient

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


class Client(GrpcClient, BaseSyncClient):
    """A client for one model, on one server or on several that serve the same model.

    The methods block. Threads may share a client. Use it as a context manager, or call ``close``.

    Args:
        target: ``host:port`` of the gRPC API, or another gRPC target (``dns:///…``, ``unix:…``); or a list of
            ``host:port``. Requests rotate among the servers of a list, and among all addresses of a name. Names in a
            list are resolved once, when the client is made.
        model: name of the model.
        version: number or label of the version; text in digits is a number; None for the newest.
        timeout: seconds that one request may take, including retries.
        max_batch: maximum number of drawings per request; longer calls are split into several requests.
        in_flight: maximum number of requests of one call that are sent before their responses arrive.
        tls: use TLS and trust the usual certificate authorities. ``ca``, ``certificate`` or ``key`` imply it.
        ca: PEM file (or bytes) of the authorities to trust instead. With several targets, every server's certificate
            must be valid for the first target's host.
        certificate: PEM file (or bytes) of the client's certificate, for servers that require one (mutual TLS).
        key: PEM file (or bytes) of the certificate's private key.
        metadata: gRPC metadata to send with every call, such as ``[("authorization", "Bearer …")]``; a mapping or
            pairs.
        hedge_after: seconds after which a request without a response is sent a second time, usually to another server;
            the first response counts. At most one request in ten is sent twice. None: never.

    Raises:
        DataError: an argument is invalid.
        Unavailable: a name in a list of targets cannot be resolved.
        OSError: a PEM file cannot be read.

    Example:
        >>> with Client("127.0.0.1:8500", model="doodles") as client:  # doctest: +SKIP
        ...     client.wait_ready()
        ...     client.predict(open("drawings.ndjson", "rb").read(), k=3)[0]
        1
        [('cat', 0.93), ('dog', 0.04), ('mouse', 0.01)]
    """

    def _open(self) -> None:
        self._channel = self._config.create_channel(grpc)

    def close(self) -> None:
        """Close the connection. Requests in flight in other threads raise Unavailable."""
        self._closed = True
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start_call(self, method: str, request: bytes, timeout: float) -> Any:
        return self._channel.unary_unary(method).future(request, timeout=timeout, metadata=self._metadata)

    async def _wait(self, call: Any) -> CallResult:
        status = call.code()  # blocks
        return status, call.details() or "", call.result() if status is grpc.StatusCode.OK else b""

    async def _call_and_wait(self, method: str, request: bytes, timeout: float) -> CallResult:
        # A blocking call takes a third of the time of a future, for which another thread must wake this one.
        try:
            response = self._channel.unary_unary(method)(request, timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as e:
            return e.code(), e.details() or "", b""
        return grpc.StatusCode.OK, "", response

    def _new_queue(self) -> Any:
        return queue.SimpleQueue()

    async def _next_done(self, done: Any, timeout: float | None) -> Any:
        try:
            return done.get(timeout=timeout)
        except queue.Empty:
            return None

    async def _sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class AsyncClient(GrpcClient, BaseAsyncClient):
    """The asyncio version of ``Client``: the same arguments and methods, but the methods are awaited.

    The tasks of one event loop may share a client: the loop in which its first request is sent.

    Args, Raises: as for ``Client``.

    Example:
        >>> async def ask(drawings):
        ...     async with AsyncClient("127.0.0.1:8500", model="doodles") as client:
        ...         return await client.predict(drawings)
    """

    def _open(self) -> None:
        """Do nothing: a channel belongs to the running event loop, and there may be none yet."""

    async def close(self) -> None:
        """Close the connection. Requests in flight in other tasks raise Unavailable."""
        self._closed = True
        if self._channel is not None:
            await self._channel.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _start_call(self, method: str, request: bytes, timeout: float) -> Any:
        if self._channel is None:
            self._channel = self._config.create_channel(grpc.aio)
        return self._channel.unary_unary(method)(request, timeout=timeout, metadata=self._metadata)

    async def _wait(self, call: Any) -> CallResult:
        # Awaiting the call itself would raise CancelledError in this task when only the client is closed.
        status = await call.code()
        return status, await call.details() or "", await call if status is grpc.StatusCode.OK else b""

    async def _call_and_wait(self, method: str, request: bytes, timeout: float) -> CallResult:
        call = self._start_call(method, request, timeout)
        try:
            return await self._wait(call)
        finally:
            call.cancel()

    def _new_queue(self) -> Any:
        return asyncio.Queue()

    async def _next_done(self, done: Any, timeout: float | None) -> Any:
        if not done.empty():  # wait_for would miss it if no time is left
            return done.get_nowait()
        try:
            return await asyncio.wait_for(done.get(), timeout)
        except asyncio.TimeoutError:
            return None

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
