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
    "UNIMPLEMENTED": (InvalidRequest, "use TensorFlow Serving's gRPC port (8500), not its REST port (8501)"),
    "CANCELLED": (Unavailable, "the connection was closed"),
    "RESOURCE_EXHAUSTED": (Unavailable, "send fewer drawings per request, or fewer requests at a time"),
}

# What gRPC reports, as UNAVAILABLE, when it connects but the TLS handshake fails.
_HANDSHAKE = re.compile("handshake|SSL|TLS|certificate", re.IGNORECASE)
_TLS_ADVICE = "check that both sides use TLS, and that `ca`, `certificate` and `key` match the server's"

# How TensorFlow Serving lists the inputs that the signature has and the request lacks.
_MISSING = re.compile(r"Missing but required: \{([^}]*)\}")
_INPUT_KINDS: dict[str, Kind] = {"bitmaps": "bitmaps", "deltas,lengths": "strokes", "lengths,deltas": "strokes"}


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
    if error_type is Unavailable and _HANDSHAKE.search(reason):
        advice = _TLS_ADVICE
    message = f"{model}: {status}: {reason}; {advice}"
    if (missing := _MISSING.search(reason)) and error_type is InvalidRequest:
        error = WrongInput(message)
        error.expected = _INPUT_KINDS.get(missing[1])
        return error
    return error_type(message)
