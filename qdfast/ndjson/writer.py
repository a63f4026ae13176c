"""Writes ``Drawings`` as ndjson."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import orjson

from ..drawings import NO_TIMESTAMP, NOT_GIVEN, Drawings


def format_ndjson(drawings: Drawings) -> bytes:
    """Format drawings as ndjson, exactly as Google writes it.

    Args:
        drawings: fields that are not given are left out of the lines.

    Returns:
        UTF-8 text, one line per drawing.

    >>> import qdfast
    >>> qdfast.format_ndjson(qdfast.from_strokes([[[[0, 9], [4, 4]]]], words=["line"]))
    b'{"word":"line","drawing":[[[0,9],[4,4]]]}\\n'
    """
    out = []
    rows = zip(
        drawings,
        drawings.word.tolist(),
        drawings.countrycode.tolist(),
        drawings.timestamp.tolist(),
        drawings.recognized.tolist(),
        drawings.key_id.tolist(),
        strict=True,
    )
    for strokes, word, countrycode, timestamp, recognized, key_id in rows:
        line: dict[str, Any] = {}
        if word:
            line["word"] = word
        if countrycode:
            line["countrycode"] = countrycode.decode()
        if timestamp != NO_TIMESTAMP:
            line["timestamp"] = _timestamp_text(timestamp)
        if recognized != NOT_GIVEN:
            line["recognized"] = bool(recognized)
        if key_id:
            line["key_id"] = str(key_id)
        line["drawing"] = [[x.tolist(), y.tolist()] for x, y in strokes]
        out.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
    return b"".join(out)


def _timestamp_text(us: int) -> str:
    when = datetime(1970, 1, 1) + timedelta(microseconds=us)
    fraction = f".{when.microsecond:06d}".rstrip("0").rstrip(".")
    return f"{when.year:04d}-{when:%m-%d %H:%M:%S}{fraction} UTC"
