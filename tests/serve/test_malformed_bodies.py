"""A body that turns out to be no HTTP, while its request is being answered."""

from __future__ import annotations

import logging
import socket
from contextlib import suppress
from typing import Any

import pytest

pytest.importorskip("uvicorn")

from qdfast.serve.http_server import HttpServer

TIMEOUT = 20.0
BAD_CHUNK = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n"


async def answer_at_once(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def answer_then_read(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"begun", "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        pass


@pytest.mark.parametrize("app", [answer_at_once, answer_then_read])
def test_it_is_rejected_without_an_error_of_the_server(app: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    server = HttpServer(app, "127.0.0.1", 0)
    try:
        halves = [BAD_CHUNK[:-9], BAD_CHUNK[-9:]]
        for parts, wait in (([BAD_CHUNK], False), (halves, False), (halves, True)):
            with socket.create_connection(("127.0.0.1", server.port), TIMEOUT) as connection:
                response = b""
                connection.sendall(parts[0])
                if wait:
                    response = connection.recv(1 << 16)
                if len(parts) > 1:
                    connection.sendall(parts[1])
                with suppress(ConnectionResetError):
                    while part := connection.recv(1 << 16):
                        response += part
            assert response.split(b" ")[1:2] in ([b"400"], [b"404"], [b"200"], [])
    finally:
        server.stop(5)
    assert "Traceback" not in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
