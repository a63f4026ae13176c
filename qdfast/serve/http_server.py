"""Runs an ASGI application on a thread of its own, as long as the embedded server runs."""

from __future__ import annotations

import socket
import ssl
import threading
from typing import Any

import uvicorn

from ..errors import ServingError
from .address import check_port, format_address
from .http_limits import HttpConfig
from .options import TlsFiles


class HttpServer:
    """An HTTP server on a thread.

    Args:
        app: the ASGI application.
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        tls: files for TLS; None: no TLS.

    Attributes:
        port: the port it listens on.

    Raises:
        ServingError: the port cannot be listened on.
    """

    port: int

    def __init__(self, app: Any, host: str, port: int, tls: TlsFiles | None = None) -> None:
        config = HttpConfig(app, **_tls(tls))
        self._socket = listen(host, port)
        self.port = int(self._socket.getsockname()[1])
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="http", daemon=True)
        self._thread.start()

    def stop(self, grace: float = 0.0, timeout: float | None = None) -> None:
        """Accept no more requests, and let those in progress finish for up to ``grace`` seconds.

        Args:
            grace: seconds.
            timeout: seconds to wait for all of this; default: until it has happened.
        """
        self._server.config.timeout_graceful_shutdown = grace  # type: ignore[assignment]  # of asyncio.wait_for
        self._server.should_exit = True
        self._thread.join(timeout)
        self._socket.close()


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        ServingError: the port cannot be listened on; the message says why.
    """
    check_port(host, port)  # raises an error with the reason
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        # Accepted connections inherit this. asyncio sets it only on sockets that it created; without it, the body of a
        # response waits 40 ms for its headers to be acknowledged.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as e:
        raise ServingError(f"cannot listen on {format_address(host, port)}: {e.strerror}") from e


def _tls(files: TlsFiles | None) -> dict[str, Any]:
    if files is None:
        return {}
    required = ssl.CERT_NONE if files.client_ca is None else ssl.CERT_REQUIRED
    return {
        "ssl_certfile": files.certificate,
        "ssl_keyfile": files.key,
        "ssl_ca_certs": files.client_ca,
        "ssl_cert_reqs": required,
    }
