"""Answers of a served model for whole files: ndjson in, ndjson out, in constant memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import IO

import orjson

from .client import Client
from .drawings import Drawings
from .ndjson import Recognized
from .progress import Progress
from .report import ParseReport
from .sources import iter_drawings


def predict(
    sources: Sequence[str | os.PathLike[str] | IO[bytes]],
    out: IO[bytes],
    client: Client,
    *,
    k: int = 3,
    recognized: Recognized = "any",
    raw: bool = False,
) -> ParseReport:
    """Ask ``client`` about every drawing of ``sources``; write a line each, in order.

    A line is ``{"key_id": "…", "labels": [k names], "scores": [k probabilities]}``, best first; ``key_id`` is left out
    where the drawing has none.

    Returns:
        What became of the sources' lines.

    Raises:
        ServingError: the server cannot be asked; all lines written so far are good.
        DataError, OSError: a source that cannot be read.
    """
    report = ParseReport()
    with Progress("predict") as progress:
        for drawings in iter_drawings(sources, recognized=recognized, raw=raw):
            out.writelines(_lines(drawings, client, k))
            report += drawings.report or ParseReport(kept=len(drawings))
            progress.update(len(drawings))
    out.flush()
    return report


def _lines(drawings: Drawings, client: Client, k: int) -> Iterator[bytes]:
    answers = client.predict(drawings, k=k)
    rows = zip(drawings.key_id.tolist(), answers.labels.tolist(), answers.scores.tolist(), strict=True)
    for key_id, labels, scores in rows:
        line = {"key_id": str(key_id)} if key_id else {}
        yield orjson.dumps({**line, "labels": labels, "scores": scores}, option=orjson.OPT_APPEND_NEWLINE)
