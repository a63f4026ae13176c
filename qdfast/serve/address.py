"""Hosts and ports to listen on."""

from __future__ import annotations

import socket

from ..errors import ServingError


def format_address(host: str, port: int) -> str:
    """Return ``host:port``, with an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_port(host: str, port: int) -> int:
    """Check that a port can be listened on.

    Returns:
        The port, or for port 0 one that is free at the moment.

    Raises:
        ServingError: the port cannot be listened on; the message says why.
    """
    try:
        if not 0 <= port < 1 << 16:  # getaddrinfo would take it modulo 2^16
            raise OverflowError("no such port")
        family, kind, protocol, _, sockaddr = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gRPC does: a port just closed is free
            probe.bind(sockaddr)
            return int(probe.getsockname()[1])
    except (OSError, OverflowError) as e:
        reason = getattr(e, "strerror", None) or str(e)
        raise ServingError(f"cannot listen on {format_address(host, port)}: {reason}") from e
