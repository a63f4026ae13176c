"""The ASGI application: the page, and an API that takes raw strokes as JSON and returns the model's guesses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ..classifier import Classifier
from ..client import Client, DeadlineExceeded, ModelNotFound, ModelVersion, Unavailable
from ..drawings import Drawings
from ..errors import DataError, ServingError
from ..ndjson import format_ndjson
from ..serve.request_body import MAX_WORD_LENGTH, BodyError, parse_drawing, parse_drawings, parse_json, read_body
from .examples import Examples
from .middleware import API_PREFIX, GuardMiddleware, error_response

T = TypeVar("T")

PAGE = Path(__file__).parent / "page"
GUESSES = 5
EXAMPLES = 12
MAX_BODY_BYTES = 1 << 20  # twice what 10,000 points take
BODY_SECONDS = 10.0
MAX_CONCURRENT = 64  # requests of all clients that are being answered


class LocalModel(Classifier):
    """An ONNX file that the page asks as it asks a server."""

    def model_status(self) -> list[ModelVersion]:
        return [ModelVersion(self.version or 1, "AVAILABLE")]


def create_app(
    client: Client | LocalModel,
    words: Callable[[], Sequence[str]],
    examples: Examples,
    hosts: frozenset[str] | None = None,
) -> Starlette:
    """Create the application: the page and its API.

    Errors are ``{"error": reason}``: 4xx if the request is invalid, 503 if the model is unavailable.

    Args:
        client: asks the model.
        words: returns the words for the game; called whenever the page is opened; may raise a ServingError.
        examples: drawings to show after a round.
        hosts: host names that a request may have in its Host header; None for any.
    """

    answering = 0

    async def run(work: Callable[[], T]) -> T:
        """Run ``work`` on a thread. A request counts from here, so that slow bodies keep nobody out."""
        nonlocal answering
        if answering >= MAX_CONCURRENT:
            raise HTTPException(429, "too many concurrent requests: try again", {"Retry-After": "1"})
        answering += 1
        try:
            return await run_in_threadpool(work)
        finally:
            answering -= 1

    async def model(request: Request) -> Response:
        """``{"model", "version", "words"}``."""

        def ask() -> dict[str, Any]:
            available = [v.version for v in client.model_status() if v.state == "AVAILABLE"]
            if not available:
                raise Unavailable(f"{client.model_spec} is not loaded")
            return {"model": client.model_spec.name, "version": available[0], "words": list(words())}

        return JSONResponse(await run(ask))

    async def guess(request: Request) -> Response:
        """``{"guesses": [[label, probability], …], "version"}`` for ``{"drawing": [[xs, ys], …]}``."""
        body = await _read_body(request)

        def ask() -> dict[str, Any]:
            predictions = client.predict(_parse_body(body, parse_drawing), k=GUESSES)
            return {"guesses": predictions[0], "version": predictions.version}

        return JSONResponse(await run(ask))

    async def ndjson(request: Request) -> Response:
        """Lines in Google's format for ``{"drawings": [{"drawing", "word", "recognized"}, …]}``."""
        body = await _read_body(request)
        lines = await run(lambda: format_ndjson(_parse_body(body, parse_drawings)))
        return Response(lines, media_type="application/x-ndjson")

    async def drawings(request: Request) -> Response:
        """``{"drawings": [[[xs, ys], …], …], "kind"}`` for the class ``word``, coordinates 0..255."""
        word = request.query_params.get("word", "")
        if not 1 <= len(word) <= MAX_WORD_LENGTH:
            raise HTTPException(422, f"`word` must have 1 to {MAX_WORD_LENGTH} characters")
        try:
            shown, kind = await run(lambda: examples.sample(word, EXAMPLES))
        except (DataError, OSError):  # which name files that the client need not know
            raise HTTPException(500, "the drawings of this class can no longer be read") from None
        return JSONResponse({"drawings": shown, "kind": kind})

    return Starlette(
        routes=[
            Mount(
                API_PREFIX,
                routes=[
                    Route("/model", model),
                    Route("/guess", guess, methods=["POST"]),
                    Route("/ndjson", ndjson, methods=["POST"]),
                    Route("/drawings", drawings),
                ],
            ),
            Mount("/", StaticFiles(directory=PAGE, html=True)),
        ],
        middleware=[Middleware(GuardMiddleware, hosts=hosts)],
        exception_handlers={
            HTTPException: _handler(lambda e: JSONResponse({"error": e.detail}, e.status_code, e.headers)),
            BodyError: _handler(lambda e: error_response(e.status, e.reason)),
            ClientDisconnect: _handler(lambda e: error_response(400, "the client disconnected")),
            ServingError: _handler(lambda e: error_response(502, str(e))),
            **dict.fromkeys(
                (Unavailable, DeadlineExceeded, ModelNotFound), _handler(lambda e: error_response(503, str(e)))
            ),
        },
    )


def _handler(respond: Callable[[Any], Response]) -> Callable[[Request, Exception], Awaitable[Response]]:
    """Make an exception handler. Starlette would run an ordinary function on a thread, which may not be free."""

    async def handle(request: Request, error: Exception) -> Response:
        return respond(error)

    return handle


async def _read_body(request: Request) -> bytes:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "the body must be application/json")  # which other sites' scripts cannot send
    return await read_body(request.stream(), MAX_BODY_BYTES, BODY_SECONDS)


def _parse_body(body: bytes, parse: Callable[[dict[str, Any]], Drawings]) -> Drawings:
    try:
        return parse(parse_json(body))
    except DataError as e:
        raise HTTPException(422, str(e)) from None
    except ValueError as e:
        raise HTTPException(400, f"not JSON: {e}") from None
