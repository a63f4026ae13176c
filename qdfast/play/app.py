"""The page and what it asks for, as an ASGI application: raw strokes over HTTP in, the model's guesses out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import anyio
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ..client import Client, DeadlineExceeded, ModelNotFound, Unavailable
from ..drawings import Drawings
from ..errors import DataError, ServingError
from ..ndjson import format_ndjson
from .examples import Examples
from .middleware import API, Guard, refusal
from .request_body import MAX_WORD, read_drawing, read_drawings, read_json

PAGE = Path(__file__).parent / "page"
GUESSES = 5
EXAMPLES = 12
MAX_BYTES = 1 << 20  # of a body: 10,000 points take half of it
MAX_READ = 1 << 26  # bytes of a larger body that are read (and forgotten), so that its sender gets to read the answer
BODY_SECONDS = 10.0

Read = TypeVar("Read")


def application(
    client: Client, words: Callable[[], Sequence[str]], examples: Examples, hosts: frozenset[str] | None = None
) -> Starlette:
    """The web page and its API.

    Args:
        client: whom drawings are shown to.
        words: gives what the game may ask for; called whenever the page is opened, may raise a ServingError.
        examples: drawings to show after a round.
        hosts: names the page may be called by; None for any.

    Each refusal is ``{"error": reason}``: 4xx where the request is to blame, 503 where the model cannot be asked now.
    """

    async def model(request: Request) -> Response:
        """``{"model", "version", "words"}``."""

        def ask() -> dict[str, Any]:
            ready = [v.version for v in client.model_status() if v.state == "AVAILABLE"]
            if not ready:
                raise Unavailable(f"{client.model_spec} is not loaded")
            return {"model": client.model_spec.name, "version": ready[0], "words": list(words())}

        return JSONResponse(await run_in_threadpool(ask))

    async def guess(request: Request) -> Response:
        """``{"guesses": [[label, probability], …], "version"}`` for ``{"drawing": [[xs, ys], …]}``."""
        body = await _body(request)

        def ask() -> dict[str, Any]:
            answers = client.predict(_read(body, read_drawing), k=GUESSES)
            return {"guesses": answers[0], "version": answers.version}

        return JSONResponse(await run_in_threadpool(ask))

    async def ndjson(request: Request) -> Response:
        """Lines as Google writes them for ``{"drawings": [{"drawing", "word", "recognized"}, …]}``."""
        body = await _body(request)
        lines = await run_in_threadpool(lambda: format_ndjson(_read(body, read_drawings)))
        return Response(lines, media_type="application/x-ndjson")

    async def drawings(request: Request) -> Response:
        """``{"drawings": [[[xs, ys], …], …], "kind"}`` of the class ``word``, coordinates 0..255."""
        word = request.query_params.get("word", "")
        if not 1 <= len(word) <= MAX_WORD:
            raise HTTPException(422, f"`word` is not of 1 to {MAX_WORD} letters")
        some, kind = await run_in_threadpool(examples.some, word, EXAMPLES)
        return JSONResponse({"drawings": some, "kind": kind})

    return Starlette(
        routes=[
            Mount(
                API,
                routes=[
                    Route("/model", model),
                    Route("/guess", guess, methods=["POST"]),
                    Route("/ndjson", ndjson, methods=["POST"]),
                    Route("/drawings", drawings),
                ],
            ),
            Mount("/", StaticFiles(directory=PAGE, html=True)),
        ],
        middleware=[Middleware(Guard, hosts=hosts)],
        exception_handlers={
            HTTPException: lambda request, e: refusal(e.status_code, e.detail),
            ClientDisconnect: lambda request, e: refusal(400, "the request ended early"),
            ServingError: lambda request, e: refusal(502, str(e)),
            **dict.fromkeys((Unavailable, DeadlineExceeded, ModelNotFound), lambda request, e: refusal(503, str(e))),
        },
    )


async def _body(request: Request) -> bytes:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "the body is not application/json")  # so other sites' scripts cannot send it
    body, size = bytearray(), 0
    try:
        with anyio.fail_after(BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size <= MAX_BYTES:
                    body += part
                elif size > MAX_READ:
                    break
    except TimeoutError:
        raise HTTPException(408, f"the body did not come within {BODY_SECONDS:.0f} seconds") from None
    if size > MAX_BYTES:
        raise HTTPException(413, f"the body has more than {MAX_BYTES:,} bytes")
    return bytes(body)


def _read(body: bytes, read: Callable[[dict[str, Any]], Drawings]) -> Drawings:
    try:
        return read(read_json(body))
    except DataError as e:
        raise HTTPException(422, str(e)) from None
    except ValueError as e:
        raise HTTPException(400, f"not JSON: {e}") from None
