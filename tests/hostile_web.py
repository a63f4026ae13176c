"""Hostile HTTP requests, to the REST API of the embedded server and to the web page."""

from __future__ import annotations

import gzip
import json
import random
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import numpy as np
import tiny_model
from hostile_control import mutate
from outcomes import Outcomes

TIMEOUT = 60.0
STATUSES = frozenset(
    [
        "200",
        "304",
        "400",
        "403",
        "404",
        "405",
        "408",
        "411",
        "413",
        "414",
        "415",
        "421",
        "422",
        "429",
        "431",
        "501",
        "503",
    ]
)
CLOSED = "closed without a response"  # to what is no HTTP

DRAWING = [[[0, 100, 255], [0, 50, 255]], [[10, 20], [30, 40]]]
VALUES: tuple[object, ...] = (
    None, True, 0, -1, 1.5, 1e308, 2**63, 2**70, "", "x", "\ud800", [], {}, [[]], [[[]]], DRAWING, [DRAWING], "a" * 1000,
    {"b64": "AA=="}, {"b64": "!"}, [None], [[0, "x"]], [[[1e99], [0]]], [[[1], [2, 3]]], "\x00\x1b[31m",
)  # fmt: skip
KEYS = (
    "inputs",
    "instances",
    "signature_name",
    "deltas",
    "lengths",
    "drawing",
    "drawings",
    "word",
    "examples",
    "context",
    "x",
)
REST_PATHS = (
    "/v1/models/tiny:predict", "/v1/models/tiny", "/v1/models/tiny/versions/1:predict", "/v1/models/tiny:classify",
    "/v1/models/tiny:regress", "/v1/models/tiny/metadata", "/v1/models/tiny/labels/x:predict", "/v2/health/ready", "/",
    "/v1/models/tiny:draw", "/v1/models/%00:predict", "/v1/models/../../etc/passwd", "/v1/models/tiny/versions/99999999999999999999",
)  # fmt: skip
PLAY_PATHS = (
    "/api/guess", "/api/ndjson", "/api/model", "/api/drawings?word=cat", "/api/drawings", "/", "/../../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd", "/api/drawings?word=%00%1b", "/index.html", "/api/guess/../model",
)  # fmt: skip


def rest(address: str, count: int, seed: int = 0) -> Outcomes:
    """Send requests to the REST API at ``address``; among them good ones, which must be answered."""
    deltas = [[[3, 4, 0], [5, -6, 1]]]
    good = json.dumps({"inputs": {"deltas": deltas, "lengths": [2]}}).encode()
    p = tiny_model.probabilities(np.array(deltas, np.int16), np.array([2], np.int32))

    def right(body: bytes) -> bool:
        return bool(np.allclose(json.loads(body)["outputs"], p, atol=1e-5))

    return _attack(Outcomes("REST"), address, REST_PATHS, "/v1/models/tiny:predict", good, right, count, seed)


def play(address: str, count: int, seed: int = 0) -> Outcomes:
    """Send requests to the web page at ``address``."""
    good = json.dumps({"drawing": DRAWING}).encode()
    outcomes = Outcomes("play")
    return _attack(outcomes, address, PLAY_PATHS, "/api/guess", good, lambda body: b"guesses" in body, count, seed)


def _attack(
    outcomes: Outcomes,
    address: str,
    paths: tuple[str, ...],
    good_path: str,
    good: bytes,
    right: Callable[[bytes], bool],
    count: int,
    seed: int,
) -> Outcomes:
    rng = random.Random(seed)
    at = urlsplit(address)
    place = (at.hostname or "127.0.0.1", at.port or 80)
    while outcomes.total < count:
        request, whole = _request(rng, paths, good, at.netloc)
        status, _ = exchange(place, request, whole=whole)
        outcomes.add(status, STATUSES if whole else STATUSES | {CLOSED}, request)
        if outcomes.total % 50 == 0:
            status, body = exchange(place, post(good_path, good, at.netloc))
            while status == "429":  # the limit of requests
                status, body = exchange(place, post(good_path, good, at.netloc))
            outcomes.add("a good one answered" if status == "200" and right(body) else f"good one: {status}",
                         {"a good one answered"}, body)  # fmt: skip
    return outcomes


def post(path: str, body: bytes, host: str, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    if not any(header.lower().startswith("content-type") for header in headers):
        lines.append("Content-Type: application/json")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def exchange(place: tuple[str, int], request: bytes, *, whole: bool = True) -> tuple[str, bytes]:
    """The status and the body of the response to these bytes; ``whole``: they are a request with all of its body."""
    with socket.create_connection(place, TIMEOUT) as connection:
        response = b""
        try:
            connection.sendall(request)
            if not whole:  # otherwise the server would wait for the rest
                connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(1 << 16):
                response += part
        except TimeoutError:
            return "no end of the response", response
        except OSError:  # closed before all was sent
            pass
    head, _, body = response.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").partition(b"\r\n\r\n")
    if not head:
        return CLOSED, b""
    first = head.split(b"\r\n")[0].split(b" ")
    return (first[1].decode("latin-1") if len(first) > 1 else "no HTTP"), body


def _value(rng: random.Random, depth: int = 0) -> object:
    if depth > 3 or rng.random() < 0.5:
        return rng.choice(VALUES)
    if rng.random() < 0.5:
        return [_value(rng, depth + 1) for _ in range(rng.randint(0, 4))]
    return {rng.choice(KEYS): _value(rng, depth + 1) for _ in range(rng.randint(0, 4))}


def _request(rng: random.Random, paths: tuple[str, ...], good: bytes, host: str) -> tuple[bytes, bool]:
    """A request, and whether it is one with all of its body."""
    path = rng.choice(paths)
    match rng.randint(0, 6):
        case 0:
            body = mutate(rng, good)
        case 1:
            body = rng.choice((b"[" * 100_000, b'{"a":' * 50_000, b"1" * 100_000, b"\xff\xfe", b"{}", b"", b"NaN"))
        case 2:
            body = rng.randbytes(rng.randint(0, 300))
        case 3:
            body = json.dumps({**json.loads(good), rng.choice(KEYS): _value(rng)}).encode()
        case _:
            body = json.dumps(_value(rng)).encode()
    headers, gzipped = [], 0
    if rng.random() < 0.2:
        body = mutate(rng, gzip.compress(body))
        headers.append("Content-Encoding: gzip")
        gzipped = 1
    if rng.random() < 0.2:
        odd = ("Transfer-Encoding: chunked", "Content-Length: -1", "Content-Length: 99999999999999999999", "X: " + "y" * 70_000,
               "Expect: 100-continue", "Content-Type: text/plain", "Host: evil.example", "X-Forwarded-For: 1.2.3.4")  # fmt: skip
        headers.append(rng.choice(odd))
    request = post(path, body, host, *headers)
    if rng.random() < 0.15:
        request = request.replace(b"POST", rng.choice((b"GET", b"PUT", b"OPTIONS", b"DELETE", b"X" * 100, b"")), 1)
        headers.append("an odd method")
    if rng.random() < 0.2:
        return mutate(rng, request), False
    return request, len(headers) == gzipped
