"""Servers that answer with anything, for the client and for `download`."""

from __future__ import annotations

import base64
import hashlib
import random
import tempfile
import threading
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from hostile_control import mutate
from outcomes import Outcomes
from scripted_server import METADATA, Scripted, answer, drawings, expected, status

from qdfast.errors import DataError, ServingError
from qdfast.quickdraw import download as download_module

ERRORS = {
    "InvalidRequest",
    "BadResponse",
    "Unavailable",
    "ModelNotFound",
    "DeadlineExceeded",
    "ServingError",
    "WrongInput",
}
BODY = np.random.default_rng(0).bytes(20_000)


def client(count: int, seed: int = 0) -> Outcomes:
    """Ask a server whose answers are damaged. An answer that passes must be made of probabilities."""
    rng, outcomes = random.Random(seed), Outcomes("client")
    server = Scripted()
    asked = drawings([5, 2, 9])
    right = expected(asked)

    def damaged(request: Any, context: Any) -> Any:
        response = answer(request)
        for name in list(response.outputs):
            tensor = response.outputs[name]
            match rng.randint(0, 9):
                case 0:
                    tensor.dtype = rng.randint(0, 25)
                case 1:
                    del tensor.tensor_shape.dim[:]
                case 2:
                    tensor.tensor_shape.dim.add(size=rng.choice((-1, 0, 1, 2**40, 2**62)))
                case 3 if tensor.float_val:
                    tensor.float_val[0] = rng.choice((float("nan"), float("inf"), -1.0, 2.0))
                case 4:
                    tensor.float_val.extend([0.5] * rng.randint(1, 9))
                case 5 if tensor.string_val:
                    tensor.string_val[0] = rng.choice((b"", b"\xff", b"\x1b[31m", b"x" * 10_000))
                case 6:
                    del response.outputs[name]
                case 7:
                    response.outputs["odd"].CopyFrom(tensor)
        data = response.SerializeToString()
        return mutate(rng, data) if rng.random() < 0.4 else data

    server.predict = damaged
    server.status = lambda r, c: mutate(rng, status("AVAILABLE").SerializeToString())
    server.metadata = lambda r, c: mutate(rng, METADATA.SerializeToString())
    with server.client(timeout=10) as c:
        while outcomes.total < count:
            method = rng.choice(("predict", "predict", "probabilities", "model_status", "metadata"))
            try:
                result = getattr(c, method)(*([asked] if method.startswith("pr") else []))
                outcome = "answered"
                if method == "predict" and not _are_probabilities(result.scores):
                    outcome = "no probabilities"
                if method == "probabilities" and not (_are_probabilities(result) and result.shape == right.shape):
                    outcome = "no probabilities"
            except ServingError as e:
                outcome = type(e).__name__ if str(e).isprintable() and "\n" not in str(e) else "an unprintable message"
            except Exception as e:
                outcome = f"{type(e).__name__}: {e}"
            outcomes.add(outcome, ERRORS | {"answered"}, method)
    server.server.stop(None)
    return outcomes


def _are_probabilities(scores: np.ndarray) -> bool:
    return bool(
        np.isfinite(scores).all() and (scores >= 0).all() and (scores <= 1.001).all() and (scores.sum(1) < 1.01).all()
    )


def download(count: int, seed: int = 0) -> Outcomes:
    """Download from a server that sends anything. A file that is left must be as the server says that it is."""
    rng, outcomes = random.Random(seed), Outcomes("download")
    digest = base64.b64encode(hashlib.md5(BODY).digest()).decode()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            self.wfile.write(_response(rng, digest, self.command))

        do_HEAD = do_GET

    with ExitStack() as stack:
        server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        stack.callback(server.shutdown)
        stack.enter_context(mock.patch.object(download_module, "_BACKOFF", 0.001))
        out = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        while outcomes.total < count:
            url = f"http://127.0.0.1:{server.server_port}/x"
            try:
                (path,) = download_module.download([f"c{outcomes.total % 7}"], out, base_url=url, retries=1, timeout=1)
                outcome = "a whole file" if path.exists() else "no file"
            except (DataError, OSError) as e:
                kind = "DataError" if isinstance(e, DataError) else "OSError"
                outcome = kind if str(e).isprintable() else f"an unprintable message: {e!r}"
            except Exception as e:
                outcome = f"{type(e).__name__}: {e}"
            outcomes.add(outcome, {"a whole file", "DataError", "OSError"}, outcomes.total)
            for file in out.iterdir():
                if rng.random() < 0.5:
                    file.unlink()
    return outcomes


def _response(rng: random.Random, digest: str, method: str) -> bytes:
    code = rng.choice((200, 200, 200, 206, 301, 302, 304, 404, 416, 429, 500, 503, 999))
    lengths = (len(BODY), len(BODY), 0, -1, 10**30, "9" * 5000, "x", len(BODY) + 5, len(BODY) - 5)
    headers = {
        "Content-Length": rng.choice(lengths),
        "x-goog-hash": rng.choice((f"md5={digest}", "md5=!", "crc32c=", "\x1b[31m")),
    }
    if rng.random() < 0.5:
        headers["ETag"] = rng.choice(('"a"', '"\x1b"', "", '"' + "e" * 5000 + '"'))
    if code in (301, 302):
        headers["Location"] = rng.choice(
            ("http://[::1", "ftp://x/y", "file:///etc/passwd", "/x", "", "http://127.0.0.1:1/\x1b")
        )
    if code == 206:
        headers["Content-Range"] = rng.choice(("bytes 0-19999/20000", "bytes 5-2/1", "x", f"bytes 0-{'9' * 5000}/1"))
    if rng.random() < 0.1:
        headers["Retry-After"] = rng.choice(("-1", "x", "0", "nan"))
    head = (
        f"HTTP/1.1 {code} \r\n"
        + "".join(f"{key}: {value}\r\n" for key, value in headers.items())
        + "Connection: close\r\n\r\n"
    )
    response = head.encode("latin-1") + (
        b"" if method == "HEAD" else BODY[: rng.choice((len(BODY), len(BODY), 0, 100))]
    )
    return mutate(rng, response) if rng.random() < 0.3 else response
