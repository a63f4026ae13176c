"""Checks what callers pass as ndjson: data, or the sources of data. Messages name the function that takes the rest."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import orjson

from ..errors import DataError
from ..storage.source_files import SourceFile

Text: TypeAlias = "bytes | bytearray | memoryview | str | Mapping[str, Any]"
"""Bytes or text of ndjson, or the fields of one line."""


def ndjson_bytes(data: Text | Iterable[Text]) -> memoryview:
    """The bytes of ``data``. DataError: it is something else."""
    try:
        return memoryview(data).cast("B")  # type: ignore[arg-type]
    except TypeError:
        pass
    if isinstance(data, str):
        if data.strip() and "{" not in data:
            raise DataError(f"{_short(data)}: not ndjson; if it is a path, use read_ndjson")
        try:
            return memoryview(data.encode())
        except UnicodeEncodeError:
            raise DataError(f"{_short(data)}: not Unicode text") from None
    if isinstance(data, Mapping):
        return memoryview(_line(data))
    if isinstance(data, os.PathLike) or hasattr(data, "read"):
        raise DataError(f"{_name(data)}: a path or file, not ndjson: use read_ndjson")
    if isinstance(data, list | tuple):
        return memoryview(b"\n".join(map(ndjson_bytes, data)))
    raise DataError(f"not ndjson: {type(data).__name__}, not bytes, text or a dict with the fields of a line")


def _line(fields: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(dict(fields), default=_as_json, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as e:
        raise DataError(f"not the fields of a line: {e}") from None


def _as_json(value: Any) -> Any:
    """Arrays that orjson does not write itself, such as views of others."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError


def check_source(source: Any) -> None:
    """Check one source of ``read_ndjson``. DataError: it is neither a path nor a file opened for reading bytes."""
    if isinstance(source, SourceFile | os.PathLike) or hasattr(source, "readinto"):
        return
    if isinstance(source, Mapping | bytes | bytearray | memoryview):
        raise DataError(f"{type(source).__name__}, not a path: use parse_ndjson")
    if isinstance(source, str):
        if source.lstrip().startswith("{"):
            raise DataError(f"{_short(source)}: a line, not a path: use parse_ndjson")
        return
    if hasattr(source, "read"):
        raise DataError(f"{_name(source)}: opened as text: open it for reading bytes (mode 'rb')")
    if isinstance(source, list | tuple):
        raise DataError("several sources: use read_ndjson, or iter_ndjson for each")
    raise DataError(f"not a path or an open file: {type(source).__name__}")


def check_sources(sources: Any) -> None:
    """Check the sources of ``read_ndjson``, one or a list. DataError as for ``check_source``."""
    if isinstance(sources, list | tuple):
        for source in sources:
            check_source(source)
    elif not isinstance(sources, Iterator) or hasattr(sources, "read"):
        check_source(sources)


def _name(source: Any) -> str:
    return os.fspath(source) if isinstance(source, os.PathLike) else str(getattr(source, "name", "<stream>"))


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "…")
