"""What stands before the application: who may ask, how often, and what browsers are told."""

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

API = "/api"
RATE, BURST = 30.0, 60  # requests a second of one client, and at once: the page asks ten times a second
MAX_UNDER_WAY = 64  # requests of all clients

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


class Rate:
    """So many requests a second for each client, and ``burst`` at once after a pause.

    Remembered are only the clients that have not yet paused long enough to have all of their burst again.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.burst, self._clock = rate, burst, clock
        self._busy_until: OrderedDict[str, float] = OrderedDict()  # if each request took 1 / rate, and all queued

    def __len__(self) -> int:
        return len(self._busy_until)

    def wait(self, client: str) -> float:
        """0 if the client may ask now, which counts; else the seconds after which it may."""
        now = self._clock()
        while self._busy_until and next(iter(self._busy_until.values())) <= now:
            self._busy_until.popitem(last=False)
        until = max(self._busy_until.get(client, now), now)
        if (queue := until - now) > (self.burst - 1) / self.rate:
            return queue - (self.burst - 1) / self.rate
        self._busy_until[client] = until + 1 / self.rate
        self._busy_until.move_to_end(client)
        return 0.0


class Guard:
    """ASGI middleware: checks the Host, limits the requests to ``/api/``, adds the security headers.

    Args:
        app: what is guarded.
        hosts: names the page may be called by; None for any. A web site that has its own name lead to this machine
            (DNS rebinding) is refused by it.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None = None) -> None:
        self.app, self.hosts = app, hosts
        self._rate = Rate(RATE, BURST)
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        self._under_way += 1
        try:
            await (self._refusal(scope) or self.app)(scope, receive, send_with_headers)
        finally:
            self._under_way -= 1

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        if self.hosts is not None and host_name(Headers(scope=scope).get("host", "")) not in self.hosts:
            return refusal(421, f"the page is at {', '.join(sorted(self.hosts))}, not at what the Host header says")
        if not scope["path"].startswith(f"{API}/"):
            return None
        if self._under_way > MAX_UNDER_WAY:
            return refusal(429, "too many requests of all clients at once: try again", 1.0)
        if wait := self._rate.wait((scope.get("client") or ("",))[0]):
            return refusal(429, f"more than {RATE:.0f} requests a second: try again", wait)
        return None


def refusal(status: int, reason: str, retry_after: float = 0.0) -> JSONResponse:
    """``{"error": reason}``."""
    headers = {"Retry-After": str(math.ceil(retry_after))} if retry_after else None
    return JSONResponse({"error": reason}, status, headers)


def host_name(header: str) -> str:
    """The name or address of a Host header, without its port; "" if it is none."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def names_of(host: str) -> frozenset[str] | None:
    """What a page that listens on ``host`` may be called by: of a loopback address its names, else None for any."""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    return frozenset({"localhost", "127.0.0.1", "::1", host.lower()}) if loopback else None
