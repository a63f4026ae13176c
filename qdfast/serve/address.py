"""Hosts and ports."""

from __future__ import annotations

import socket

from ..errors import ServingError


def address(host: str, port: int) -> str:
    """``host:port``, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def require_free(host: str, port: int) -> int:
    """The port, or for port 0 one that is free at the moment.

    Raises:
        ServingError: it cannot be listened on; the message says why.
    """
    try:
        if not 0 <= port < 1 << 16:  # getaddrinfo takes the remainder
            raise OverflowError("no such port")
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gRPC: a port just left is free
            probe.bind(where)
            return int(probe.getsockname()[1])
    except (OSError, OverflowError) as e:
        reason = getattr(e, "strerror", None) or str(e)
        raise ServingError(f"cannot listen on {address(host, port)}: {reason}") from e
