"""Turns drawings into Predict requests, and the responses into results, however the messages travel.

A query splits its drawings into requests and collects the responses in any order:

    query = TopKQuery(drawings, 3, ModelSpec("127.0.0.1:8500", "doodles"))
    for i in range(len(query)):
        query.add_response(i, send(query.request(i)))
    predictions = query.result()
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import ndjson, strokes
from .._core import SIDE
from .._printable import printable
from ..bitmaps import AnyDrawings, Bitmaps
from ..drawings import Drawings
from ..errors import DataError
from ..storage.names import Kind
from .errors import BadResponse, InvalidRequest

if TYPE_CHECKING:
    from . import tfs_pb2 as pb

MAX_REQUEST_BYTES = 3 << 20
"""Limit for the padded deltas in a request of several drawings: many proxies reject messages of 4 MB."""

MIN_THREADED_BYTES = 1 << 20
"""Size of ndjson above which several parsing threads are faster than one."""

MIN_REQUEST_ROWS = 32
"""Drawings per request above which the fixed cost of a request is negligible."""

SORTED_TOGETHER = 1 << 16
"""Drawings that are sorted by length at a time. More would be further apart in memory than caches are large."""

ROUNDING = 0.02
"""How far the sum of a drawing's probabilities may be from 1: those of models in half precision are not exact."""

SHOWN = 8
"""Scores that an error quotes."""

DrawingsLike: TypeAlias = Drawings | Bitmaps | list[Any] | tuple[Any, ...] | bytes | bytearray | memoryview
"""Drawings; bitmaps; a list of drawings, each a list of strokes ``[xs, ys]``; or the bytes of ndjson."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class ModelSpec:
    """A model on a server.

    Attributes:
        target: the server's address, or the model directory if the model runs in this process.
        name: the model's name.
        version: number or label; None for the newest version.
    """

    target: str
    name: str
    version: int | str | None = None

    @classmethod
    def checked(cls, target: str, name: object, version: object = None) -> ModelSpec:
        """Check what a caller passed; the text of a number, such as "1", is that version and not a label.

        Raises:
            DataError: the name or the version is not one.
        """
        if not isinstance(name, str) or not name:
            raise DataError(f"model is {name!r}: it must be the model's name")
        if isinstance(version, str) and version.isascii() and version.isdigit():
            version = int(version)
        if isinstance(version, np.integer):
            version = int(version)
        if isinstance(version, bool) or not isinstance(version, int | str | None):
            raise DataError(f"version is {version!r}: it must be a number or a label")
        if version == "" or (isinstance(version, int) and not 0 <= version < 1 << 63):
            raise DataError(f"version is {version!r}: it must be 0 to 2^63-1, or a label")
        return cls(target, name, version)

    def __str__(self) -> str:
        version = "" if self.version is None else f" (version {self.version})"
        return f"model {self.name!r}{version} at {self.target}"


def as_drawings(drawings: DrawingsLike) -> AnyDrawings:
    """Convert ``drawings`` to ``Drawings`` or ``Bitmaps`` without dropping any.

    Raises:
        DataError: a line of ndjson (ParseError) or an element of the list is not a drawing.
    """
    if isinstance(drawings, Drawings | Bitmaps):
        return drawings
    if isinstance(drawings, bytes | bytearray | memoryview):
        threads = 1 if len(drawings) < MIN_THREADED_BYTES else None
        return ndjson.parse_ndjson(drawings, recognized="any", on_error="raise", threads=threads)
    return strokes.from_strokes(drawings)


def split_into_requests(lengths: NDArray[np.integer[Any]], max_batch: int) -> list[NDArray[np.int64]]:
    """Split drawings into requests, so that drawings of similar length go together.

    Each drawing is padded to the longest of its request, and the requests with the longest drawings come first; both
    among ``SORTED_TOGETHER`` drawings at a time.

    Args:
        lengths: (N,) points per drawing.
        max_batch: maximum number of drawings per request, at least 1.

    Returns:
        Indices of the drawings of each request; every drawing is in exactly one.
    """
    return [
        rows + first
        for first in range(0, len(lengths), SORTED_TOGETHER)
        for rows in _split(lengths[first : first + SORTED_TOGETHER], max_batch)
    ]


def _split(lengths: NDArray[np.integer[Any]], max_batch: int) -> Iterator[NDArray[np.int64]]:
    negative = -lengths.astype(np.int64)
    order = np.argsort(negative, kind="stable").astype(np.int64)
    ascending = negative[order]
    start = 0
    while start < len(order):
        longest = max(-int(ascending[start]), 1)
        size = max(1, min(max_batch, MAX_REQUEST_BYTES // (longest * 6)))
        # Once drawings are less than half as long, another request costs less than their padding. The number searched
        # for has the array's type: otherwise NumPy would convert the whole array for every request.
        half = int(np.searchsorted(ascending, np.int64(-((longest + 1) // 2)), side="right"))
        stop = min(start + size, max(half, start + MIN_REQUEST_ROWS), len(order))
        yield order[start:stop]
        start = stop


class Query(ABC, Generic[Result]):
    """Drawings to send to one signature of a model.

    Args:
        drawings: the N drawings.
        model: the model to ask.
        max_batch: maximum number of drawings per request.
        input_kind: what the requests hold: "strokes" (deltas and lengths) or "bitmaps".

    Raises:
        DataError: ``drawings`` are bitmaps, and ``input_kind`` is "strokes".
    """

    signature_name: str
    outputs: tuple[str, ...]

    def __init__(
        self, drawings: AnyDrawings, model: ModelSpec, max_batch: int = 256, input_kind: Kind = "strokes"
    ) -> None:
        self.drawings = drawings
        self.model = model
        if input_kind == "bitmaps":
            size = min(max_batch, MAX_REQUEST_BYTES // SIDE**2)
            self._rows = [np.arange(a, min(a + size, len(drawings))) for a in range(0, len(drawings), size)]
            self._inputs = self._bitmaps
        elif isinstance(drawings, Drawings):
            self._lengths = drawings.lengths
            self._rows = split_into_requests(self._lengths, max_batch)
            self._inputs = self._deltas
        else:
            raise DataError(f"{model} needs strokes, but only bitmaps were given")
        self._versions: set[int | None] = set()  # that have responded

    def __len__(self) -> int:
        """The number of requests."""
        return len(self._rows)

    def inputs(self, i: int) -> dict[str, NDArray[Any]]:
        """The model's inputs in request ``i``, by name."""
        return self._inputs(self._rows[i])

    def request(self, i: int) -> pb.PredictRequest:
        """Request ``i``."""
        from . import messages  # a model in this process needs neither messages nor protobuf

        model = self.model
        return messages.predict_request(model.name, model.version, self.signature_name, self.inputs(i), self.outputs)

    def _deltas(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Raw deltas int16 (n, longest, 3), not truncated, and lengths int32 (n,)."""
        assert isinstance(self.drawings, Drawings)
        # Without ``max_len``, every request would compute the lengths of all drawings.
        longest = int(self._lengths[rows].max())
        deltas, lengths = self.drawings.deltas(longest, dtype=np.int16, index=rows)
        return {"deltas": deltas, "lengths": lengths}

    def _bitmaps(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Bitmaps uint8 (n, 28, 28)."""
        # The rows are consecutive, and a slice costs nothing, while an index may cost as much as all drawings.
        return {"bitmaps": self.drawings[int(rows[0]) : int(rows[-1]) + 1].bitmaps()}

    def add_response(self, i: int, response: pb.PredictResponse) -> None:
        """Store the response to request ``i``.

        Raises:
            BadResponse: an output is missing, malformed, or has an unexpected shape or dtype.
        """
        from . import messages

        try:
            arrays = messages.predict_outputs(response)
        except DataError as e:
            raise BadResponse(f"{self.model} returned a malformed tensor: {e}") from e
        self.add_outputs(i, arrays, response.model_spec.version.value)

    def add_outputs(self, i: int, arrays: dict[str, NDArray[Any]], version: int | None) -> None:
        """Store the outputs of the model for request ``i``, and which version they are from; None if it has none.

        Raises:
            BadResponse: an output is missing, or has an unexpected shape or dtype.
        """
        rows = self._rows[i]
        for name in self.outputs:
            if name not in arrays:
                raise BadResponse(f"{self.model} returned no output {name!r}")
            if arrays[name].ndim != 2 or len(arrays[name]) != len(rows):
                shape = list(arrays[name].shape)
                raise BadResponse(f"{self.model} returned {name!r} of shape {shape} for {len(rows)} drawings")
        self._versions.add(version)
        self._store(rows, arrays)

    @abstractmethod
    def _store(self, rows: NDArray[np.int64], arrays: dict[str, NDArray[Any]]) -> None:
        """Store the outputs, each (len(rows), any), for the drawings ``rows``."""

    @abstractmethod
    def result(self) -> Result:
        """The result in the order of the drawings, once all responses have been added.

        Raises:
            BadResponse: the scores are not probabilities.
        """


class ProbabilitiesQuery(Query[NDArray[np.float32]]):
    """The probability of every class; the result is float32 (N, C), or (0, 0) without drawings."""

    signature_name = "serving_default"
    outputs: tuple[str, ...] = ("probabilities",)
    _probabilities: NDArray[np.float32] | None = None

    def _store(self, rows: NDArray[np.int64], arrays: dict[str, NDArray[Any]]) -> None:
        received = arrays["probabilities"]
        if self._probabilities is None:
            self._probabilities = np.empty((len(self.drawings), received.shape[1]), np.float32)
        if received.dtype != np.float32 or received.shape[1] != self._probabilities.shape[1]:
            raise BadResponse(f"{self.model} returned {received.dtype} probabilities of {received.shape[1]} classes")
        self._probabilities[rows] = received

    def result(self) -> NDArray[np.float32]:
        if self._probabilities is None:
            return np.empty((0, 0), np.float32)
        _check_scores(self.model, self._probabilities, complete=True)
        return self._probabilities


def _check_scores(model: ModelSpec, scores: NDArray[np.float32], *, complete: bool) -> None:
    """Check the probabilities of classes, float32 (n, classes): of all, or of the most probable ones, in order.

    Raises:
        BadResponse: these are no probabilities. The message says what the server returned.
    """
    wrong = ~((scores >= 0) & (scores <= 1 + ROUNDING)).all(axis=1)  # or NaN
    reason = "scores that are not from 0 to 1"
    if not wrong.any():
        excess = scores.sum(axis=1, dtype=np.float64) - 1
        wrong = (abs(excess) if complete else excess) > ROUNDING
        reason = f"scores with a sum {'other' if complete else 'of more'} than 1"
    if not wrong.any() and not complete:
        wrong = (np.diff(scores, axis=1) > 0).any(axis=1)
        reason = "scores that do not decrease"
    if wrong.any():
        row = scores[wrong.argmax()]
        shown = ", ".join(f"{score:.6g}" for score in row[:SHOWN]) + (", …" if len(row) > SHOWN else "")
        raise BadResponse(f"{model} returned {reason}: {shown}; check that `qdfast export` wrote the model")


class TopKQuery(Query["Predictions"]):
    """The ``k`` most probable classes of each drawing, or as many as the model returns.

    Raises:
        InvalidRequest: ``k`` is less than 1.
    """

    signature_name = "top_k"
    outputs: tuple[str, ...] = ("labels", "scores")

    def __init__(
        self, drawings: AnyDrawings, k: int, model: ModelSpec, max_batch: int = 256, input_kind: Kind = "strokes"
    ) -> None:
        if k < 1:
            raise InvalidRequest(f"k is {k}: it must be at least 1")
        super().__init__(drawings, model, max_batch, input_kind)
        self.k = k
        self._labels = np.empty((0, k), dtype=object)  # allocated by the first response, which says how wide
        self._scores = np.empty((0, k), np.float32)

    def _store(self, rows: NDArray[np.int64], arrays: dict[str, NDArray[Any]]) -> None:
        labels, scores = arrays["labels"], arrays["scores"]
        if labels.dtype != object or scores.dtype != np.float32 or labels.shape != scores.shape:
            raise BadResponse(
                f"{self.model} returned labels {labels.dtype} {list(labels.shape)} "
                f"and scores {scores.dtype} {list(scores.shape)}"
            )
        if not len(self._labels):
            shape = len(self.drawings), min(self.k, labels.shape[1])
            self._labels, self._scores = np.full(shape, b"", dtype=object), np.empty(shape, np.float32)
        width = self._labels.shape[1]
        if labels.shape[1] < width:
            raise BadResponse(f"{self.model} changed to a version that returns fewer labels; try again")
        self._labels[rows] = labels[:, :width]
        self._scores[rows] = scores[:, :width]

    def result(self) -> Predictions:
        _check_scores(self.model, self._scores, complete=False)
        raw = self._labels.ravel().tolist()
        text = {label: label.decode(errors="replace") for label in set(raw)}
        labels = np.array([text[label] for label in raw], dtype=np.str_).reshape(self._labels.shape)
        version = next(iter(self._versions)) if len(self._versions) == 1 else None
        return Predictions(labels, self._scores, version)


@dataclass(frozen=True, eq=False)
class Predictions:
    """The most probable classes of N drawings, most probable first.

    ``len(p)`` is N; ``p[i]`` and iteration give one drawing's classes as a list of (label, score).

    Attributes:
        labels: str (N, k), class names.
        scores: float32 (N, k), their probabilities.
        version: the model version that answered; None if there were several (a new version was loaded during the
            call), or no drawings.

    Example:
        >>> import numpy as np
        >>> p = Predictions(np.array([["cat", "dog"]]), np.array([[0.75, 0.25]], np.float32), version=3)
        >>> p[0]
        [('cat', 0.75), ('dog', 0.25)]
        >>> [best for (best, _), *_ in p]
        ['cat']
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
        best = [self[i] for i in range(min(len(self), 8))]
        shown = [printable(", ".join(f"{label} {score:.1%}" for label, score in classes)) for classes in best]
        if len(self) > len(shown):
            shown.append("…")
        version = "" if self.version is None else f", version {self.version}"
        return "\n  ".join([f"Predictions({len(self)} drawings{version})", *shown])
