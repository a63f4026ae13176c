"""uvicorn with limits on what clients may hold: connections, and the time for headers and for reading responses.

uvicorn itself waits without limit for the rest of a request's headers and for a client that reads no response, and it
accepts any number of connections.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..storage.files import allow_open_files

MAX_CONNECTIONS = 2048
"""Open connections of a server. If there is one more, the one that has waited longest for a request is closed."""

MAX_HEADER_BYTES = 1 << 16
"""Size of a request's line and headers; larger ones are rejected with 400."""

STALL_SECONDS = 10.0
"""Time in which the headers of a request must arrive, and in which some of a response must be read."""


class HttpConfig(uvicorn.Config):
    """uvicorn's configuration for a server that must withstand any client.

    The client's address is that of the connection: headers such as X-Forwarded-For are ignored, as anybody can send
    them.

    Args:
        app: the ASGI application. It limits the time and size of bodies itself (``request_body.read_body``).
        max_connections: as ``MAX_CONNECTIONS``; at most half of the files that the process may open.
        options: further options of ``uvicorn.Config``.
    """

    max_connections: int

    def __init__(self, app: Any, *, max_connections: int = MAX_CONNECTIONS, **options: Any) -> None:
        super().__init__(
            app,
            http=_Connection,
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            proxy_headers=False,
            server_header=False,
            **options,
        )
        self.max_connections = min(max_connections, allow_open_files(max_connections) // 2)
        self.waiting: dict[_Connection, None] = {}  # connections without a complete request, the oldest first


class _Connection(H11Protocol):
    config: HttpConfig
    _timer: asyncio.TimerHandle | None = None
    _unsent = 0  # bytes of the response when the timer was started

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()
        if len(self.connections) > self.config.max_connections:
            oldest = next(iter(self.config.waiting))
            self.connections.discard(oldest)
            oldest._forget()
            oldest.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def send_400_response(self, msg: str) -> None:
        """Reject the bytes that came. If they are within a body, its request gets no other response any more."""
        complete = self.cycle is not None and self.cycle.response_complete
        if self.cycle is not None and not complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        elif complete:  # before the whole request had come
            self.transport.close()
        else:
            self.transport.abort()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_timer()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._watch()

    def _watch(self) -> None:
        """Start or stop the timer, as the state of the connection requires."""
        if self not in self.connections:  # closed
            return
        if self.cycle is None or self.cycle.response_complete:  # no headers yet
            self.config.waiting.setdefault(self)
            self._start_timer()
            return
        self._stop_timer()
        if not self.cycle.more_body:
            self.config.waiting.pop(self, None)

    def _forget(self) -> None:
        self._stop_timer()
        self.config.waiting.pop(self, None)

    def _start_timer(self) -> None:
        """Do not renew a timer that runs: each byte of a slow client would."""
        if self._timer is None:
            self._unsent = self.transport.get_write_buffer_size()
            self._timer = self.loop.call_later(STALL_SECONDS, self._time_out)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_out(self) -> None:
        self._timer = None
        if self.transport.get_write_buffer_size() < self._unsent:  # the client still reads the response
            self._start_timer()
        else:
            self.transport.abort()
