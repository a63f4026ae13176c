"""Middleware in front of the application: checks the Host header, limits the request rate, adds security headers."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

API_PREFIX = "/api"
RATE, BURST = 30.0, 60  # per client: requests per second, and at once; the page sends ten per second

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


class RateLimiter:
    """Allows each client ``rate`` requests per second, and ``burst`` at once after a pause.

    It remembers a client only until the client may send a full burst again.
    """

    rate: float
    burst: int

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.burst, self._clock = rate, burst, clock
        self._busy_until: OrderedDict[str, float] = OrderedDict()  # if requests were queued and each took 1 / rate

    def __len__(self) -> int:
        return len(self._busy_until)

    def acquire(self, client: str) -> float:
        """Return 0, and count the request, if the client may send it now; otherwise the seconds to wait."""
        now = self._clock()
        while self._busy_until and next(iter(self._busy_until.values())) <= now:
            self._busy_until.popitem(last=False)
        until = max(self._busy_until.get(client, now), now)
        if (queue := until - now) > (self.burst - 1) / self.rate:
            return queue - (self.burst - 1) / self.rate
        self._busy_until[client] = until + 1 / self.rate
        self._busy_until.move_to_end(client)
        return 0.0


class GuardMiddleware:
    """ASGI middleware that checks the Host header, limits requests to ``/api/``, and adds security headers.

    It does not use Starlette's TrustedHostMiddleware, which in most supported releases rejects IPv6 addresses such as
    ``[::1]:8000``, and which answers in plain text instead of JSON.

    Args:
        app: the application.
        hosts: host names that the Host header may contain; None for any. This check rejects web sites that let their
            own name resolve to this machine (DNS rebinding).
    """

    app: ASGIApp
    hosts: frozenset[str] | None

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None = None) -> None:
        self.app, self.hosts = app, hosts
        self._rate_limiter = RateLimiter(RATE, BURST)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await (self._check(scope) or self.app)(scope, receive, send_with_headers)

    def _check(self, scope: Scope) -> JSONResponse | None:
        """Return an error response if the request is to be rejected."""
        if self.hosts is not None and host_name(Headers(scope=scope).get("host", "")) not in self.hosts:
            return error_response(421, f"the Host header must be one of {', '.join(sorted(self.hosts))}")
        if not scope["path"].startswith(f"{API_PREFIX}/"):
            return None
        if wait := self._rate_limiter.acquire(_client(scope)):
            return error_response(429, f"more than {RATE:.0f} requests per second: try again", wait)
        return None


def error_response(status: int, reason: str, retry_after: float = 0.0) -> JSONResponse:
    """Make the response ``{"error": reason}``; ``retry_after`` is in seconds."""
    headers = {"Retry-After": str(math.ceil(retry_after))} if retry_after else None
    return JSONResponse({"error": reason}, status, headers)


def _client(scope: Scope) -> str:
    """The client's address; of IPv6 the network of 64 bits, since one client has all addresses in it."""
    address, *_ = scope.get("client") or ("",)
    if ":" not in address:
        return str(address)
    ipv6 = ipaddress.IPv6Address(address)
    return str(ipv6.ipv4_mapped or ipaddress.IPv6Network((int(ipv6) >> 64 << 64, 64)))


def host_name(header: str) -> str:
    """Return the name or address in a Host header, without the port; "" if the header is invalid."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def allowed_hosts(host: str) -> frozenset[str] | None:
    """Return the host names of a page that listens on ``host``: those of a loopback address, else None for any."""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    return frozenset({"localhost", "127.0.0.1", "::1", host.lower()}) if loopback else None
