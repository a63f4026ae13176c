"""The exceptions that a client raises, and which gRPC status becomes which of them."""

from __future__ import annotations

import re

from ..errors import ServingError
from ..storage.names import Kind


class Unavailable(ServingError):
    """No server answers at the address, or it cannot take requests now. Trying again later may help."""


class DeadlineExceeded(ServingError):
    """The response did not arrive within the timeout."""


class ModelNotFound(ServingError):
    """The server does not have this model, or not this version or label of it."""


class InvalidRequest(ServingError):
    """The server or the model rejects the request. Sending it again does not help."""


class WrongInput(InvalidRequest):
    """The model's inputs have other names than those in the request.

    Attributes:
        expected: what the model takes instead, or None if that is unknown.
    """

    expected: Kind | None = None


class BadResponse(ServingError):
    """The response is malformed, or does not match the model's signature."""


_BY_STATUS: dict[str, tuple[type[ServingError], str]] = {
    "UNAVAILABLE": (Unavailable, "is the server running? `qdfast serve MODEL_DIR` starts one"),
    "UNAUTHENTICATED": (InvalidRequest, "if the server requires a token, pass it as `metadata`"),
    "PERMISSION_DENIED": (InvalidRequest, "check that this token or certificate may use the model"),
    "DEADLINE_EXCEEDED": (DeadlineExceeded, "use a longer `timeout` or a smaller `max_batch`"),
    "NOT_FOUND": (ModelNotFound, "check the model name and version against those of the server"),
    "INVALID_ARGUMENT": (InvalidRequest, "check the version, and that `qdfast export` wrote the model"),
    "FAILED_PRECONDITION": (InvalidRequest, "check that `qdfast export` wrote the model"),
    "UNIMPLEMENTED": (
        InvalidRequest,
        "the server does not have this method; check that it is TensorFlow Serving or `qdfast serve`",
    ),
    "CANCELLED": (Unavailable, "the connection was closed"),
    "RESOURCE_EXHAUSTED": (Unavailable, "send fewer drawings per request, or fewer requests at a time"),
}

# A server whose threads are all taken: TensorFlow Serving (gRPC's C++ server), and gRPC's Python server.
_BUSY = re.compile("thread ?pool exhausted|concurrent rpc limit", re.IGNORECASE)

# Better advice for some messages: status, what the message says, advice, in which {} is what the pattern captured.
_ADVICE_BY_MESSAGE = [
    (
        "UNAVAILABLE",
        re.compile("Failed parsing HTTP/2|http1", re.IGNORECASE),
        "use the server's gRPC port (8500), not its REST port (8501); if it uses TLS, pass `tls` or `ca`",
    ),
    (
        "UNAVAILABLE",
        re.compile("queue.* full|overloaded", re.IGNORECASE),
        "the server gets more requests than it can answer: send fewer at a time, or start more servers",
    ),
    (
        # What gRPC reports when it connects but the TLS handshake fails.
        "UNAVAILABLE",
        re.compile("handshake|SSL|TLS|certificate", re.IGNORECASE),
        "check that both sides use TLS, and that `ca`, `certificate` and `key` match the server's",
    ),
    (
        "RESOURCE_EXHAUSTED",
        _BUSY,
        "send fewer requests at a time, use a longer `timeout`, or start the server with more threads "
        "(--grpc_max_threads)",
    ),
    (
        "RESOURCE_EXHAUSTED",
        re.compile("message larger than max", re.IGNORECASE),
        "send fewer drawings per request: use a smaller `max_batch`",
    ),
    (
        "INVALID_ARGUMENT",
        re.compile(r"Task size \d+ is larger than maximum input batch size (\d+)"),
        "use a `max_batch` of at most {}, or set enable_large_batch_splitting in the server's batching file",
    ),
    (
        "FAILED_PRECONDITION",
        re.compile("different shapes and padding is turned off"),
        "turn batching off in the server: it batches only requests of one length",
    ),
]

# How TensorFlow Serving lists the inputs that the signature has and the request lacks.
_MISSING = re.compile(r"Missing but required: \{([^}]*)\}")
_INPUT_KINDS: dict[str, Kind] = {"bitmaps": "bitmaps", "deltas,lengths": "strokes", "lengths,deltas": "strokes"}


def is_busy(status: str, details: str) -> bool:
    """Whether a server rejected a call, with this status and message, because it had no thread for it.

    It has not begun such a call, and will accept it a little later. A message that is too large has the same status.
    """
    return status == "RESOURCE_EXHAUSTED" and _BUSY.search(details) is not None


def error_from_status(model: object, status: str, details: str) -> ServingError:
    """Make the exception for a call that failed.

    Args:
        model: what the call was sent to; its ``str`` begins the message.
        status: name of the gRPC status, such as "NOT_FOUND".
        details: the server's message.

    Returns:
        An exception with a one-line message: model, address, status, details and advice.
    """
    error_type, advice = _BY_STATUS.get(status, (ServingError, "see the server's log"))
    # TensorFlow names the graph node on further lines.
    reason = details.strip().partition("\n")[0].rstrip(". ")
    for of_status, pattern, better in _ADVICE_BY_MESSAGE:
        if status == of_status and (found := pattern.search(reason)):
            advice = better.format(*found.groups())
            break
    message = f"{model}: {status}: {reason}; {advice}"
    if (missing := _MISSING.search(reason)) and error_type is InvalidRequest:
        error = WrongInput(message)
        error.expected = _INPUT_KINDS.get(missing[1])
        return error
    return error_type(message)
