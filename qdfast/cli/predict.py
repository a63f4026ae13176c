"""Answers of a served model for whole files: ndjson in, ndjson out, in constant memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import IO

import orjson

from ..bitmaps import AnyDrawings
from ..dataset.sources import batches_of, resolve, source_name
from ..errors import DataError
from ..ndjson.parser import ParserPool
from ..parse_report import ParseReport
from ..protocol.asking import BlockingAsker
from ..protocol.query import Predictions
from ..storage.names import Recognized
from ..storage.progress import Progress


def predict(
    sources: Sequence[str | os.PathLike[str] | IO[bytes]],
    out: IO[bytes],
    model: BlockingAsker,
    *,
    k: int = 3,
    recognized: Recognized = "any",
    raw: bool = False,
) -> ParseReport:
    """Ask ``model`` about every drawing of ``sources``; write a line each, in order.

    A line is ``{"key_id": "…", "labels": [k names], "scores": [k probabilities]}``, best first; ``key_id`` is left out
    where the drawing has none.

    Returns:
        What became of the sources' lines.

    Raises:
        ServingError: the model cannot be asked; all lines written so far are good.
        DataError, OSError: a source that cannot be read, or has only bitmaps where the model needs strokes.
    """
    report = ParseReport()
    with Progress("predict") as progress, ParserPool(threads=None) as pool:
        for source in resolve(sources):
            for drawings in batches_of(source, recognized, pool, raw=raw):
                try:
                    answers = model.predict(drawings, k=k)
                except DataError as e:
                    raise DataError(f"{source_name(source)}: {e}") from e
                out.writelines(_lines(drawings, answers))
                report += drawings.report or ParseReport(kept=len(drawings))
                progress.update(len(drawings))
    out.flush()
    return report


def _lines(drawings: AnyDrawings, answers: Predictions) -> Iterator[bytes]:
    rows = zip(drawings.key_id.tolist(), answers.labels.tolist(), answers.scores.tolist(), strict=True)
    for key_id, labels, scores in rows:
        line = {"key_id": str(key_id)} if key_id else {}
        yield orjson.dumps({**line, "labels": labels, "scores": scores}, option=orjson.OPT_APPEND_NEWLINE)
