"""TensorFlow Serving's REST API on the embedded server, and what this package adds to it.

    GET  /v1/models/M[/versions/V|/labels/L]                state of the versions
    GET  /v1/models/M[/versions/V|/labels/L]/metadata       signatures
    POST /v1/models/M[/versions/V|/labels/L]:predict        also :classify and :regress
    GET  /monitoring/prometheus/metrics                     if the server has metrics

Paths, answers and errors are those of TensorFlow Serving's ``http_rest_api_handler.cc`` and ``http_rest_api_util.cc``,
byte for byte. This package adds

    POST /v1/models/M[/versions/V|/labels/L]:draw           raw strokes in, labels out
    GET  /v2/health/live, /v2/health/ready, /v2/models/M[/versions/V]/ready      probes of the Open Inference Protocol

Requests are answered by the same ``Service`` as gRPC's, so by the same models, and in the same batches.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson
from google.protobuf.json_format import MessageToJson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    predict_pb2,
    regression_pb2,
)

from ..errors import DataError
from ..protocol import messages
from ..protocol.base_client import BaseSyncClient
from ..protocol.errors import BadResponse, InvalidRequest, WrongInput, error_from_status
from ..protocol.requests import ModelSpec, Query
from .call_threads import CallThreads
from .manager import ModelManager
from .metrics import PATH as METRICS_PATH
from .metrics import Metrics
from .rapid_json import invalid, parse_object, signature_name
from .request_body import BodyError, parse_drawing, parse_json, read_body
from .rest_inputs import fill_examples, predict_inputs
from .rest_outputs import error_text, predictions_text
from .servable import RequestError
from .service import SIGNATURE_DEF, Service

log: logging.Logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 1 << 26  # as of a gRPC message
BODY_SECONDS = 30.0
MAX_CALLS = 1024
"""Maximum requests in progress; more are rejected with 429."""

GUESSES = 5
"""Labels that ``:draw`` returns unless told otherwise."""

_MODEL = r"(?i)/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?"
_POST = re.compile(_MODEL + ":(classify|regress|predict|draw)", re.ASCII)
_GET = re.compile(_MODEL.replace("/([^/:]+)", "(?:/([^/:]+))?", 1) + "(?:/(metadata))?", re.ASCII)
_READY = re.compile(r"/v2/models/([^/]+)(?:/versions/(\d+))?/ready", re.ASCII)
_METHODS = ("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH")

_HTTP_STATUS = {
    "OK": 200,
    "CANCELLED": 499,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "UNAUTHENTICATED": 401,
}  # others: 500


@dataclass
class _Call:
    """A request in progress: what gRPC's context is to the ``Service``, and what the metrics count."""

    method: str = ""
    model: str = ""
    version: str = ""
    active: bool = True

    def is_active(self) -> bool:
        """Whether the client still waits."""
        return self.active


class _Rejected(Exception):
    """A request that TensorFlow Serving rejects with 400 and no body."""


class RestApi:
    """The ASGI application.

    Args:
        service: answers the requests.
        manager: holds the models.
        threads: maximum number of requests that are answered at a time, including those that wait for a batch.
        metrics: counts the requests and is served; None: neither.

    Attributes:
        threads: answer the requests.
    """

    threads: CallThreads

    def __init__(self, service: Service, manager: ModelManager, threads: int, metrics: Metrics | None = None) -> None:
        self._service = service
        self._manager = manager
        self._metrics = metrics
        self.threads = CallThreads(threads, "rest")
        self._in_progress = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        try:
            response = await self._respond(Request(scope, receive))
        except ClientDisconnect:
            return
        except BodyError as e:
            response = _json(e.status, error_text(e.reason))
        except asyncio.CancelledError:  # the grace of a stop has ended
            response = _json(503, error_text("the server is shutting down"))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        verb, path = request.method, request.scope["raw_path"].decode("latin-1")
        if verb not in _METHODS:
            return _html_error(501, "Not Implemented")
        if path == METRICS_PATH and self._metrics:
            return self._metrics.response()
        if path.startswith("/v2/") and verb == "GET":
            return self._probe(path)
        if not path.lower().startswith("/v1/"):
            return _html_error(404, "Not Found")
        if verb == "OPTIONS":  # of a browser; TensorFlow Serving has no body for it
            return Response(status_code=200 if re.search("https?://", request.headers.get("origin", "")) else 400)
        body = await read_body(request.stream(), MAX_BODY_BYTES, BODY_SECONDS)
        if self._in_progress >= MAX_CALLS:  # counted from here, so that slow bodies keep nobody out
            return _json(429, error_text(f"more than {MAX_CALLS} requests are in progress; try again later"))
        target = f"{path}?{query}" if (query := request.scope["query_string"].decode("latin-1")) else path
        compressed = "gzip" in request.headers.get("content-encoding", "")
        call = _Call()
        answer = partial(self._answer, verb, target, body, compressed, call)
        watch = asyncio.create_task(_watch(request, call))
        self._in_progress += 1
        try:
            status, text = await asyncio.get_running_loop().run_in_executor(self.threads, answer)
        finally:
            self._in_progress -= 1
            watch.cancel()
            call.active = False
        return _json(status, text)

    def _answer(self, verb: str, target: str, body: bytes, compressed: bool, call: _Call) -> tuple[int, str]:
        """Return the status and body for a request, and count it."""
        start = time.perf_counter()
        code = "OK"
        try:
            return 200, self._dispatch(verb, target, _decompress(body) if compressed else body, call)
        except RequestError as e:
            code = e.code
            return _HTTP_STATUS.get(code, 500), error_text(e.message)
        except _Rejected:
            code = "INVALID_ARGUMENT"
            return 400, ""
        except BodyError as e:
            code = "INVALID_ARGUMENT"
            return e.status, error_text(e.reason)
        except Exception:
            log.exception("internal error in a request")
            code = "INTERNAL"
            return 500, error_text("internal error; see the server's log")
        finally:
            if self._metrics and call.method:
                seconds = time.perf_counter() - start
                self._metrics.observe_request(call.model, call.version, call.method, code, seconds)

    def _dispatch(self, verb: str, target: str, body: bytes, call: _Call) -> str:
        match = {"GET": _GET, "POST": _POST}[verb].fullmatch(target) if verb in ("GET", "POST") else None
        if match is None:
            raise invalid(f"Malformed request: {verb} {target}")
        name, version, label, what = match.groups()
        call.model = _unquote(name or "")
        choice: int | str | None = None if label is None else _unquote(label)
        if version is not None:
            choice = _version_number(version)
            if choice is None:
                raise _Rejected
        if verb == "GET":
            if not name:
                raise invalid("Missing model name in request.")
            return self._metadata(choice, call) if what == "metadata" else self._status(choice, call)
        answer: dict[str, Callable[[int | str | None, bytes, _Call], str]] = {
            "predict": self._predict,
            "classify": self._classify,
            "regress": self._regress,
            "draw": self._draw,
        }
        if what not in answer:  # TensorFlow Serving's pattern ignores case, but not what it compares next
            raise invalid(f"Malformed request: {verb} {target}")
        return answer[what](choice, body, call)

    # ---- TensorFlow Serving's methods ----

    def _status(self, version: int | str | None, call: _Call) -> str:
        call.method = "GetModelStatus"
        request = _with_model(get_model_status_pb2.GetModelStatusRequest(), version, call)
        return _message_json(self._service.call(call.method, request, call)) + "\n"

    def _metadata(self, version: int | str | None, call: _Call) -> str:
        call.method = "GetModelMetadata"
        request = _with_model(get_model_metadata_pb2.GetModelMetadataRequest(), version, call)
        request.metadata_field.append(SIGNATURE_DEF)
        response = self._service.call(call.method, request, call)
        call.version = str(response.model_spec.version.value)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata[SIGNATURE_DEF].Unpack(signatures)
        return (
            f'{{\n"model_spec":{_message_json(response.model_spec)}\n,\n'
            f'"metadata": {{"signature_def": {_message_json(signatures)}\n}}\n}}\n'
        )

    def _predict(self, version: int | str | None, body: bytes, call: _Call) -> str:
        call.method = "Predict"
        request = _with_model(predict_pb2.PredictRequest(), version, call)
        fields = parse_object(body)
        name = request.model_spec.signature_name = signature_name(fields)
        definitions = self._manager.find(request.model_spec).definitions
        if (name or "serving_default") not in definitions:
            raise invalid(f'Serving signature name: "{name or "serving_default"}" not found in signature def')
        inputs = definitions[name or "serving_default"].inputs
        if not inputs:
            raise invalid(f"Failed to get input map for signature: {name or 'DEFAULT'}")
        arrays, by_row = predict_inputs(fields, {alias: _type_name(inputs[alias]) for alias in sorted(inputs)})
        for alias, array in arrays.items():
            messages.encode_tensor(array, request.inputs[alias])
        response = self._service.call(call.method, request, call)
        call.version = str(response.model_spec.version.value)
        types = {alias: _type_name(proto) for alias, proto in response.outputs.items()}
        return predictions_text(messages.predict_outputs(response), types, by_row)

    def _classify(self, version: int | str | None, body: bytes, call: _Call) -> str:
        call.method = "Classify"
        return self._answer_examples(classification_pb2.ClassificationRequest(), version, body, call)

    def _regress(self, version: int | str | None, body: bytes, call: _Call) -> str:
        call.method = "Regress"
        return self._answer_examples(regression_pb2.RegressionRequest(), version, body, call)

    def _answer_examples(self, request: Any, version: int | str | None, body: bytes, call: _Call) -> str:
        fields = parse_object(body)
        _with_model(request, version, call).model_spec.signature_name = signature_name(fields)
        fill_examples(fields, request)
        self._service.call(call.method, request, call)
        raise RequestError("UNIMPLEMENTED", f"the embedded server does not support {call.method}, only Predict")

    # ---- this package's ----

    def _draw(self, version: int | str | None, body: bytes, call: _Call) -> str:
        """``{"guesses": [[label, probability], …], "version"}`` for ``{"drawing": [[xs, ys], …], "k": 5}``."""
        call.method = "Draw"
        self._manager.find(_with_model(predict_pb2.PredictRequest(), version, call).model_spec)
        try:
            fields = parse_json(body)
            k = fields.get("k", GUESSES)
            if type(k) is not int or k < 1:
                raise DataError("`k` must be an integer of at least 1")
            client = _DirectClient(self._service, call, version)
            predictions = client.predict(parse_drawing(fields), k)
        except (DataError, InvalidRequest) as e:
            raise invalid(str(e)) from e
        except orjson.JSONDecodeError as e:
            raise invalid(f"not JSON: {e}") from e
        except BadResponse as e:  # of a model that is not for drawings
            raise RequestError("FAILED_PRECONDITION", str(e)) from e
        call.version = str(predictions.version)
        return orjson.dumps({"guesses": predictions[0], "version": predictions.version}).decode()

    def _probe(self, path: str) -> Response:
        """The health of the server or of a model, in the Open Inference Protocol."""
        if path == "/v2/health/live":
            return _json(200, '{"live": true}')
        if path == "/v2/health/ready":
            ready = all(map(self._manager.available, self._manager.names))
            return _json(200 if ready else 503, f'{{"ready": {str(ready).lower()}}}')
        if (match := _READY.fullmatch(path)) is None:
            return _html_error(404, "Not Found")
        name = _unquote(match[1])
        if name not in self._manager.names:
            return _json(404, error_text(f"Could not find any versions of model {name}"))
        versions = self._manager.available(name)
        ready = bool(versions) if match[2] is None else _version_number(match[2]) in versions
        return _json(200 if ready else 503, orjson.dumps({"name": name, "ready": ready}).decode())


class _DirectClient(BaseSyncClient):
    """A client of the ``Service`` in this process, for one call."""

    def __init__(self, service: Service, call: _Call, version: int | str | None) -> None:
        super().__init__(ModelSpec("this server", call.model, version), max_batch=1)
        self._service = service
        self._call = call

    async def _execute(self, query: Query[Any]) -> None:
        for i in range(len(query)):
            try:
                response = self._service.call("Predict", query.request(i), self._call)
            except RequestError as e:
                error = error_from_status(self.model_spec, e.code, e.message)
                if isinstance(error, WrongInput):  # of which the caller may find out what the model takes
                    raise error from e
                raise
            query.add_response(i, response)


async def _watch(request: Request, call: _Call) -> None:
    """Note when the client closes the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    call.active = False


def _with_model(request: Any, version: int | str | None, call: _Call) -> Any:
    spec = request.model_spec
    spec.name = call.model
    if isinstance(version, str):
        spec.version_label = version
    elif version is not None:
        spec.version.value = version
    return request


def _type_name(tensor: Any) -> str:
    """TensorFlow's name of the type of a TensorInfo or TensorProto, such as "float" or "int16"."""
    return str(types_pb2.DataType.Name(tensor.dtype))[3:].lower()


def _message_json(message: Any) -> str:
    return str(
        MessageToJson(message, indent=1, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    )


def _version_number(digits: str) -> int | None:
    """The number of a version; None if it has more than 64 bits."""
    digits = digits.lstrip("0")
    return None if len(digits) > 19 or int(digits or "0") >= 1 << 63 else int(digits or "0")


def _unquote(text: str) -> str:
    return unquote_to_bytes(text.encode("latin-1")).decode(errors="replace")


def _decompress(body: bytes) -> bytes:
    """Decompress gzip; what is not gzip is b"", as in TensorFlow Serving."""
    stream = zlib.decompressobj(wbits=31)
    try:
        text = stream.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error:
        return b""
    if len(text) > MAX_BODY_BYTES:
        raise BodyError(413, f"the body has more than {MAX_BODY_BYTES:,} bytes")
    return text


def _json(status: int, text: str) -> Response:
    return Response(text.encode(errors="surrogateescape"), status, media_type="application/json")


def _html_error(status: int, reason: str) -> Response:
    """The page that TensorFlow Serving's HTTP library has for an error."""
    page = f"<HTML><HEAD>\n<TITLE>{status} {reason}</TITLE>\n</HEAD><BODY>\n<H1>{reason}</H1>\n</BODY></HTML>\n"
    return Response(page, status, headers={"Content-Type": "text/html"})
