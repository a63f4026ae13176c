"""Opens a URL over http or https, with an end to every wait, whatever the server sends."""

from __future__ import annotations

import http.client
import socket
import string
import threading
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress
from functools import partial
from typing import Any

from ..errors import DataError

_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 10


def open_url(request: urllib.request.Request, seconds: float) -> http.client.HTTPResponse:
    """Send a request and return the response, redirects followed. Proxies are taken from the environment.

    ``urllib`` follows redirects to ftp and from https to http, reads their bodies whole, and waits as long as a server
    sends a byte of the headers now and then.

    Args:
        request: the method and the headers are those of every request.
        seconds: maximum time until the headers of the response have arrived, and for each read of its body.

    Raises:
        DataError: a redirect to another scheme, or to an invalid URL; too many redirects.
        urllib.error.HTTPError: a status other than 2xx.
        OSError, http.client.HTTPException: the server cannot be reached, or does not answer in time or in HTTP.
    """
    for _ in range(_MAX_REDIRECTS + 1):
        watch = _Watch(seconds)
        try:
            with watch:
                response: http.client.HTTPResponse = watch.opener().open(request, timeout=seconds)
            if not watch.was_cut:  # else its headers may be incomplete
                return response
            response.close()
        except urllib.error.HTTPError as error:
            location = error.headers.get("Location")
            if error.code not in _REDIRECTS or location is None:
                raise
            error.close()
            url = _target(request.full_url, location)
            request = urllib.request.Request(url, headers=dict(request.header_items()), method=request.get_method())
        except ValueError as error:  # of a host that is not one
            raise DataError(f"not a URL: {request.full_url} ({error})") from error
        except (OSError, http.client.HTTPException):
            if not watch.was_cut:
                raise
        if watch.was_cut:
            raise TimeoutError(f"no response within {seconds:g} s")
    raise DataError(f"more than {_MAX_REDIRECTS} redirects")


def _target(url: str, location: str) -> str:
    try:
        target = urllib.parse.urljoin(url, location)
        old, new = urllib.parse.urlsplit(url).scheme, urllib.parse.urlsplit(target).scheme
    except ValueError as error:
        raise DataError(f"the server redirects to an invalid URL: {location}") from error
    if new not in (("https",) if old == "https" else ("http", "https")):
        raise DataError(f"the server redirects from {old} to another scheme: {target}")
    return urllib.parse.quote(target, encoding="iso-8859-1", errors="replace", safe=string.punctuation)


class _Watch:
    """Cuts the connections that are made with ``opener`` unless the block ends in time."""

    def __init__(self, seconds: float) -> None:
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True
        self.was_cut = False

    def opener(self) -> urllib.request.OpenerDirector:
        opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            _HttpHandler(self._connection),
            _HttpsHandler(self._connection),
        ):
            opener.add_handler(handler)
        return opener

    def _connection(self, kind: type[http.client.HTTPConnection], host: str, **options: Any) -> Any:
        connection = kind(host, **options)
        connection._create_connection = self._connect  # type: ignore[attr-defined]  # before TLS, which must end, too
        return connection

    def _connect(self, *args: Any, **options: Any) -> socket.socket:
        connected = socket.create_connection(*args, **options)
        self._sockets.append(connected.dup())  # TLS takes over the original
        return connected

    def _cut(self) -> None:
        self.was_cut = True
        for connected in self._sockets:
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> _Watch:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        for connected in self._sockets:
            connected.close()


class _HttpHandler(urllib.request.HTTPHandler):
    def __init__(self, connection: Any) -> None:
        super().__init__()
        self._connection = connection

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(self._connection, http.client.HTTPConnection), req)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def __init__(self, connection: Any) -> None:
        super().__init__()
        self._connection = connection

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(self._connection, http.client.HTTPSConnection), req)
