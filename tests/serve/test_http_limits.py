"""What clients may hold of an HTTP server: connections, headers that do not end, responses that are not read."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("uvicorn")

import httpx

from qdfast.serve import http_limits, request_body
from qdfast.serve.http_limits import HttpConfig
from qdfast.serve.http_server import HttpServer
from qdfast.serve.request_body import BodyError, read_body

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

TIMEOUT = 20.0
STALL = 0.3
HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
BIG = 64 << 20  # more than the buffers of the sockets


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Echo the client's address, then the body; /big returns more than a client gets without reading."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message.get("body", b""), message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    content = bytes(BIG) if scope["path"] == "/big" else scope["client"][0].encode() + b" " + body
    await send({"type": "http.response.body", "body": content})


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(http_limits, "STALL_SECONDS", STALL)
    server = HttpServer(app, "127.0.0.1", 0)
    yield server.port
    server.stop()


def connect(port: int, data: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
    connection.sendall(data)
    return connection


def seconds_until_closed(connection: socket.socket, trickle: bytes = b"") -> float:
    """How long the server keeps the connection, while it gets a byte now and then."""
    begun = time.monotonic()
    connection.settimeout(0.05)
    while time.monotonic() < begun + TIMEOUT:
        try:
            if trickle:
                connection.sendall(trickle)
            if not connection.recv(1 << 16):
                break
        except TimeoutError:
            continue
        except OSError:
            break
    else:
        pytest.fail("the connection is still open")
    return time.monotonic() - begun


@pytest.mark.parametrize(
    ("sent", "trickle"),
    [
        (b"", b""),
        (b"POST", b""),
        (HEAD, b""),
        (HEAD, b"a"),
        (HEAD, b"X-A: b\r\n"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET", b"/"),
        (HEAD + b"Content-Length: 3\r\n\r\nabc", b""),
    ],
)
def test_headers_that_do_not_end(port: int, sent: bytes, trickle: bytes) -> None:
    with connect(port, sent) as connection:
        assert seconds_until_closed(connection, trickle) >= STALL / 2
    assert httpx.get(f"http://127.0.0.1:{port}").status_code == 200


def test_headers_without_end_at_full_speed(port: int) -> None:
    with connect(port, HEAD) as connection:
        line = b"X-A: " + b"b" * 1000 + b"\r\n"
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            connection.sendall(line * 100_000)


def test_a_response_that_is_not_read(port: int) -> None:
    with connect(port, b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n") as connection:
        time.sleep(10 * STALL)
        received = 0
        with suppress(ConnectionResetError):
            while data := connection.recv(1 << 20):
                received += len(data)
        assert received < BIG


def test_a_response_that_is_read_slowly_is_whole(port: int) -> None:
    with connect(port, b"GET /big HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n") as connection:
        received = 0
        while data := connection.recv(8 << 20, socket.MSG_WAITALL):
            received += len(data)
            time.sleep(STALL / 3)
    assert received > BIG


def test_a_new_connection_gets_in_when_all_are_taken() -> None:
    server = HttpServer(app, "127.0.0.1", 0)
    config = server._server.config
    assert isinstance(config, HttpConfig)
    config.max_connections = 20
    with ExitStack() as stack:
        for sent in (b"", HEAD, HEAD + b"Content-Length: 99\r\n\r\nabc"):
            for _ in range(20):
                stack.enter_context(connect(server.port, sent))
        for _ in range(30):
            response = httpx.post(f"http://127.0.0.1:{server.port}", content=b"abc")
            assert response.content == b"127.0.0.1 abc"
    server.stop()


def test_connections_leave_nothing(port: int) -> None:
    config = HttpConfig(app)
    assert config.max_connections <= http_limits.MAX_CONNECTIONS
    assert not config.waiting
    server = HttpServer(app, "127.0.0.1", 0)
    for sent in (b"", HEAD, b"nonsense\r\n\r\n", HEAD + b"Content-Length: 9\r\n\r\n"):
        connect(server.port, sent).close()
    httpx.get(f"http://127.0.0.1:{server.port}")
    deadline = time.monotonic() + TIMEOUT
    while server._server.server_state.connections:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    used = server._server.config
    assert isinstance(used, HttpConfig)
    assert not used.waiting
    server.stop()


def test_nobody_makes_up_an_address(port: int) -> None:
    for header in ("X-Forwarded-For", "X-Real-IP", "Forwarded"):
        response = httpx.get(f"http://127.0.0.1:{port}", headers={header: "10.1.2.3"})
        assert response.content == b"127.0.0.1 "


def test_large_bodies_share_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_body, "MAX_TOTAL_BYTES", 100)
    monkeypatch.setattr(request_body, "MAX_SMALL_BYTES", 10)
    go_on = asyncio.Event()

    async def slow(size: int) -> AsyncIterator[bytes]:
        yield bytes(size)
        await go_on.wait()

    async def quick(size: int) -> AsyncIterator[bytes]:
        yield bytes(size)

    async def receive() -> None:
        waiting = [asyncio.create_task(read_body(slow(30), 50, TIMEOUT)) for _ in range(3)]
        await asyncio.sleep(0)
        assert len(await read_body(quick(10), 50, TIMEOUT)) == 10
        with pytest.raises(BodyError, match="too many large bodies"):
            await read_body(quick(20), 50, TIMEOUT)
        go_on.set()
        assert [len(body) for body in await asyncio.gather(*waiting)] == [30] * 3
        assert len(await read_body(quick(50), 50, TIMEOUT)) == 50

    asyncio.run(receive())
    assert request_body._total == 0
