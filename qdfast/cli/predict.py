"""`qdfast predict`: classify the drawings of whole files, in constant memory."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import orjson

from ..bitmaps import AnyDrawings
from ..classifier import Classifier
from ..dataset.prepared import Prepared
from ..dataset.sources import batches_of, resolve, source_name
from ..errors import DataError
from ..ndjson.parser import ParserPool
from ..parse_report import ParseReport
from ..protocol.base_client import BaseSyncClient
from ..protocol.requests import Predictions
from ..storage.files import naming
from ..storage.names import Recognized
from ..storage.progress import Progress
from ..storage.source_files import SourceFile
from ..storage.versions import is_onnx


@contextmanager
def open_model(a: argparse.Namespace) -> Iterator[BaseSyncClient]:
    """Open the model that the arguments of `qdfast predict` name.

    With ``model_dir``, the model is loaded into this process, an ONNX file without TensorFlow. Else a client is
    connected to the server at ``target``, and up to ``wait`` seconds pass until the server is ready.

    Raises:
        DataError: ``model_dir`` holds no model, or one that is not called ``model``.
        ServingError: the server cannot be reached, or has no such model.
    """
    if a.model_dir is not None:
        if a.model not in (None, name := a.model_dir.resolve().name.removesuffix(".onnx")):
            raise DataError(f"--model is {a.model}, but the model in {a.model_dir} is called {name}")
        if is_onnx(a.model_dir):
            yield Classifier(a.model_dir, a.version)
            return
        from ..serve.local_model import LocalModel

        yield LocalModel(a.model_dir, a.version)
        return
    from ..client import Client

    with Client(
        a.target.split(","),
        model=a.model or "doodles",
        version=a.version,
        timeout=a.timeout,
        tls=a.tls,
        ca=a.ca,
        certificate=a.certificate,
        key=a.key,
        metadata=a.metadata,
    ) as client:
        client.wait_ready(a.wait)
        yield client


def predict(
    sources: Sequence[str | os.PathLike[str] | IO[bytes] | Prepared | SourceFile],
    out: IO[bytes],
    model: BaseSyncClient,
    *,
    k: int = 3,
    recognized: Recognized = "any",
    raw: bool = False,
) -> ParseReport:
    """Classify every drawing of ``sources``, and write one line of ndjson per drawing, in order.

    A line is ``{"key_id": "…", "labels": [k names], "scores": [k probabilities]}``, with the likeliest class first. A
    drawing without a ``key_id`` gets a line without one.

    Args:
        sources: files, directories, prepared directories or open binary files.
        out: binary file that the lines are written to.
        model: an open model or client, as from ``open_model``.
        k: number of labels per drawing.
        recognized: "only" skips the drawings that Google's game did not recognize; "any" keeps all.
        raw: simplify the strokes first, as for Google's raw files.

    Returns:
        How many lines were kept and rejected, and why.

    Raises:
        ServingError: a request failed. The lines written before are complete and correct.
        DataError: a source has only bitmaps, but the model needs strokes.
        OSError: a source cannot be read.
    """
    report, name = ParseReport(), Path(str(getattr(out, "name", "output")))
    with Progress("predict") as progress, ParserPool(threads=None) as pool:
        for source in resolve(sources):
            for drawings in batches_of(source, recognized, pool, raw=raw):
                try:
                    answers = model.predict(drawings, k=k)
                except DataError as e:
                    raise DataError(f"{source_name(source)}: {e}") from e
                with naming(name):
                    out.writelines(_lines(drawings, answers))
                report += drawings.report or ParseReport(kept=len(drawings))
                progress.update(len(drawings))
    with naming(name):
        out.flush()
    return report


def _lines(drawings: AnyDrawings, answers: Predictions) -> Iterator[bytes]:
    rows = zip(drawings.key_id.tolist(), answers.labels.tolist(), answers.scores.tolist(), strict=True)
    for key_id, labels, scores in rows:
        fields = {"key_id": str(key_id)} if key_id else {}
        line = orjson.dumps({**fields, "labels": labels, "scores": scores}, option=orjson.OPT_APPEND_NEWLINE)
        yield line if all(map(str.isprintable, labels)) else _escaped(line)


def _escaped(line: bytes) -> bytes:
    """The same JSON with escapes for what a terminal would obey."""
    return json.dumps(orjson.loads(line), separators=(",", ":")).replace("\x7f", r"\u007f").encode() + b"\n"
