"""What a client asks and what it makes of the answers, apart from how the messages travel.

A query holds the drawings, says into which requests they are split, and collects the responses in any order:

    query = TopK(drawings, 3, Asked("127.0.0.1:8500", "doodles"))
    for i in range(len(query)):
        query.take(i, send(query.request(i)))
    predictions = query.result()
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import ndjson, strokes
from .._core import SIDE
from ..bitmaps import AnyDrawings, Bitmaps
from ..drawings import Drawings
from ..errors import DataError, ServingError
from ..storage.names import Kind
from . import tfs_pb2 as pb
from . import wire

MAX_REQUEST_BYTES = 3 << 20
"""Padded deltas in one request, unless a single drawing has more: many proxies pass no message of 4 MB."""

WORTH_THREADS = 1 << 20
"""Bytes of ndjson from which on it pays to start threads for parsing it."""

WORTH_A_REQUEST = 32
"""Drawings from which on a request's fixed cost is small beside its work."""

DrawingsLike: TypeAlias = Drawings | Bitmaps | list[Any] | tuple[Any, ...] | bytes | bytearray | memoryview
"""Drawings; bitmaps; a list of drawings, each a list of strokes ``[xs, ys]``; or the bytes of ndjson."""

Answer = TypeVar("Answer")


class Unavailable(ServingError):
    """No server at the address, or it cannot take the request now. Trying again later may help."""


class DeadlineExceeded(ServingError):
    """The answer did not come in time."""


class ModelNotFound(ServingError):
    """The server has no such model, or not this version or label of it."""


class InvalidRequest(ServingError):
    """The server or the model refuses the request; sent again, it will be refused again."""


class OtherInput(InvalidRequest):
    """The model takes inputs of other names than the request has: ``takes`` says which kind, as far as it is known."""

    takes: Kind | None = None


class BadResponse(ServingError):
    """The answer is not what the signature promises."""


_REFUSALS: dict[str, tuple[type[ServingError], str]] = {
    "UNAVAILABLE": (Unavailable, "is the server running? `qdfast serve MODEL_DIR` starts one"),
    "UNAUTHENTICATED": (InvalidRequest, "does the server want a token? `metadata` sends it"),
    "PERMISSION_DENIED": (InvalidRequest, "may this token, or certificate, ask for this model?"),
    "DEADLINE_EXCEEDED": (DeadlineExceeded, "give it a longer timeout, or fewer drawings a request"),
    "NOT_FOUND": (ModelNotFound, "is this the name, and the version, the server was started with?"),
    "INVALID_ARGUMENT": (InvalidRequest, "is there such a version, and was the model written by `qdfast export`?"),
    "FAILED_PRECONDITION": (InvalidRequest, "was the model written by `qdfast export`?"),
    "UNIMPLEMENTED": (InvalidRequest, "is this TensorFlow Serving's gRPC port (8500), not its REST port (8501)?"),
    "CANCELLED": (Unavailable, "the connection was closed meanwhile"),
    "RESOURCE_EXHAUSTED": (Unavailable, "send fewer drawings a request, or fewer requests at once"),
}


# What gRPC says, with UNAVAILABLE, where a connection was made and TLS not agreed upon.
_HANDSHAKE = re.compile("handshake|SSL|TLS|certificate", re.IGNORECASE)
_TLS_ADVICE = "do both sides speak TLS, and do `ca`, `certificate` and `key` fit the server's?"

# How TensorFlow Serving names the inputs that a signature has and a request has not, and what a model has them for.
_MISSING = re.compile(r"Missing but required: \{([^}]*)\}")
_TAKES: dict[str, Kind] = {"bitmaps": "bitmaps", "deltas,lengths": "strokes", "lengths,deltas": "strokes"}


@dataclass(frozen=True)
class Asked:
    """Whom a question goes to: an address, and a model there in a version (number, label, or None for the newest)."""

    target: str
    model: str
    version: int | str | None = None

    def __str__(self) -> str:
        version = "" if self.version is None else f" (version {self.version})"
        return f"model {self.model!r}{version} at {self.target}"

    def refusal(self, status: str, details: str) -> ServingError:
        """The exception for a call that ended with gRPC ``status``: one line with model, address, status and advice."""
        kind, advice = _REFUSALS.get(status, (ServingError, "the server's log says more"))
        # TensorFlow's messages go on with the name of the graph's node on further lines.
        said = details.strip().partition("\n")[0].rstrip(". ")
        if kind is Unavailable and _HANDSHAKE.search(said):
            advice = _TLS_ADVICE
        message = f"{self}: {status}: {said}; {advice}"
        if (missing := _MISSING.search(said)) and kind is InvalidRequest:
            error = OtherInput(message)
            error.takes = _TAKES.get(missing[1])
            return error
        return kind(message)


def as_drawings(drawings: DrawingsLike) -> AnyDrawings:
    """``drawings`` as ``Drawings`` or ``Bitmaps``, none of them dropped.

    Raises:
        DataError: a line of ndjson (ParseError), or an element of the list, that is not a drawing.
    """
    if isinstance(drawings, Drawings | Bitmaps):
        return drawings
    if isinstance(drawings, bytes | bytearray | memoryview):
        threads = 1 if len(drawings) < WORTH_THREADS else None
        return ndjson.parse_ndjson(drawings, recognized="any", on_error="raise", threads=threads)
    return strokes.from_strokes(drawings)


def plan(lengths: NDArray[np.integer[Any]], max_batch: int) -> list[NDArray[np.int64]]:
    """Split drawings into requests.

    Drawings of similar length go together, since each is padded to the longest of its request; the longest come first.

    Args:
        lengths: (N,) points per drawing.
        max_batch: drawings a request may have, at least 1.

    Returns:
        Indices of the drawings of each request; every drawing is in exactly one.
    """
    order = np.argsort(-lengths, kind="stable").astype(np.int64)
    falling = lengths[order]
    parts, start = [], 0
    while start < len(order):
        longest = max(int(falling[start]), 1)
        size = max(1, min(max_batch, MAX_REQUEST_BYTES // (longest * 6)))
        # Where drawings get less than half as long, a new request is cheaper than padding them.
        short = int(np.searchsorted(-falling, -(longest / 2), side="right"))
        stop = min(start + size, max(short, start + WORTH_A_REQUEST), len(order))
        parts.append(order[start:stop])
        start = stop
    return parts


class Query(ABC, Generic[Answer]):
    """Drawings to send to one signature of a model.

    Args:
        drawings: what to ask about.
        asked: whom to ask.
        max_batch: drawings a request may have.
        sends: what the requests hold: "strokes" for deltas and lengths, or "bitmaps".

    Raises:
        DataError: there are only bitmaps, and strokes are to be sent.
    """

    signature: str
    outputs: tuple[str, ...]

    def __init__(self, drawings: AnyDrawings, asked: Asked, max_batch: int = 256, sends: Kind = "strokes") -> None:
        self.drawings = drawings
        self.asked = asked
        if sends == "bitmaps":
            size = min(max_batch, MAX_REQUEST_BYTES // SIDE**2)
            self.parts = [np.arange(a, min(a + size, len(drawings))) for a in range(0, len(drawings), size)]
            self._inputs = self._bitmaps
        elif isinstance(drawings, Drawings):
            self.parts = plan(drawings.lengths, max_batch)
            self._inputs = self._deltas
        else:
            raise DataError(f"{asked} needs strokes, and of bitmaps there are none")
        self.answered_by: set[int] = set()

    def __len__(self) -> int:
        """The number of requests."""
        return len(self.parts)

    def request(self, i: int) -> pb.PredictRequest:
        """Request ``i``."""
        inputs = self._inputs(self.parts[i])
        return wire.predict_request(self.asked.model, self.asked.version, self.signature, inputs, self.outputs)

    def _deltas(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Raw deltas int16 (n, longest, 3), uncut, and lengths int32 (n,)."""
        assert isinstance(self.drawings, Drawings)
        deltas, lengths = self.drawings.deltas(dtype=np.int16, index=rows)
        return {"deltas": deltas, "lengths": lengths}

    def _bitmaps(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """uint8 (n, 28, 28)."""
        return {"bitmaps": self.drawings.bitmaps(index=rows)}

    def take(self, i: int, response: pb.PredictResponse) -> None:
        """Put in the response to request ``i``.

        Raises:
            BadResponse: an output is missing, malformed or of an unexpected shape or dtype.
            InvalidRequest: the model cannot answer this query.
        """
        try:
            arrays = wire.predict_outputs(response)
        except DataError as e:
            raise BadResponse(f"{self.asked} answered with a malformed tensor: {e}") from e
        for name in self.outputs:
            if name not in arrays:
                raise BadResponse(f"{self.asked} answered without {name!r}")
            if arrays[name].ndim != 2 or len(arrays[name]) != len(self.parts[i]):
                shape = list(arrays[name].shape)
                raise BadResponse(f"{self.asked} answered {len(self.parts[i])} drawings with {name!r} of shape {shape}")
        self.answered_by.add(response.model_spec.version.value)
        self._put(self.parts[i], arrays)

    @abstractmethod
    def _put(self, rows: NDArray[np.int64], arrays: dict[str, NDArray[Any]]) -> None:
        """Store the outputs, each (len(rows), any), for the drawings ``rows``."""

    @abstractmethod
    def result(self) -> Answer:
        """The answer, in the order of the drawings; every request's response must have been taken."""


class Probabilities(Query[NDArray[np.float32]]):
    """The probability of every class; the result is float32 (N, C), (0, 0) for no drawings."""

    signature = "serving_default"
    outputs = ("probabilities",)
    _all: NDArray[np.float32] | None = None

    def _put(self, rows: NDArray[np.int64], arrays: dict[str, NDArray[Any]]) -> None:
        part = arrays["probabilities"]
        if self._all is None:
            self._all = np.empty((len(self.drawings), part.shape[1]), np.float32)
        if part.dtype != np.float32 or part.shape[1] != self._all.shape[1]:
            raise BadResponse(f"{self.asked} answered with {part.dtype} probabilities of {part.shape[1]} classes")
        self._all[rows] = part

    def result(self) -> NDArray[np.float32]:
        return np.empty((0, 0), np.float32) if self._all is None else self._all


class TopK(Query["Predictions"]):
    """The ``k`` most probable classes of each drawing, or all the model gives. InvalidRequest: ``k`` is less than 1."""

    signature = "top_k"
    outputs = ("labels", "scores")

    def __init__(
        self, drawings: AnyDrawings, k: int, asked: Asked, max_batch: int = 256, sends: Kind = "strokes"
    ) -> None:
        if k < 1:
            raise InvalidRequest(f"k is {k}: it must be at least 1")
        super().__init__(drawings, asked, max_batch, sends)
        self.k = k
        self._labels = np.empty((0, k), dtype=object)  # made by the first answer, as wide as that
        self._scores = np.empty((0, k), np.float32)

    def _put(self, rows: NDArray[np.int64], arrays: dict[str, NDArray[Any]]) -> None:
        labels, scores = arrays["labels"], arrays["scores"]
        if labels.dtype != object or scores.dtype != np.float32 or labels.shape != scores.shape:
            raise BadResponse(
                f"{self.asked} answered with labels {labels.dtype} {list(labels.shape)} "
                f"and scores {scores.dtype} {list(scores.shape)}"
            )
        if not len(self._labels):
            shape = len(self.drawings), min(self.k, labels.shape[1])
            self._labels, self._scores = np.full(shape, b"", dtype=object), np.empty(shape, np.float32)
        width = self._labels.shape[1]
        if labels.shape[1] < width:
            raise BadResponse(f"{self.asked}: another version took over meanwhile and gives fewer labels: ask again")
        self._labels[rows] = labels[:, :width]
        self._scores[rows] = scores[:, :width]

    def result(self) -> Predictions:
        raw = self._labels.ravel().tolist()
        text = {label: label.decode(errors="replace") for label in set(raw)}
        labels = np.array([text[label] for label in raw], dtype=np.str_).reshape(self._labels.shape)
        version = next(iter(self.answered_by)) if len(self.answered_by) == 1 else None
        return Predictions(labels, self._scores, version)


@dataclass(frozen=True, eq=False)
class Predictions:
    """The most probable classes of N drawings, best first.

    ``len(p)``, ``p[i]`` and iteration give the drawings' answers as lists of (label, score).

    Attributes:
        labels: str (N, k).
        scores: float32 (N, k), probabilities.
        version: the model version that answered; None if there were several (a new one was loaded meanwhile) or
            no drawings.
    """

    labels: NDArray[np.str_]
    scores: NDArray[np.float32]
    version: int | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> list[tuple[str, float]]:
        return list(zip(self.labels[i].tolist(), self.scores[i].tolist(), strict=True))

    def __iter__(self) -> Iterator[list[tuple[str, float]]]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        shown = [", ".join(f"{label} {score:.1%}" for label, score in self[i]) for i in range(min(len(self), 8))]
        if len(self) > len(shown):
            shown.append("…")
        version = "" if self.version is None else f", version {self.version}"
        return "\n  ".join([f"Predictions({len(self)} drawings{version})", *shown])
