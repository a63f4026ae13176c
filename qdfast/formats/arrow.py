"""Converts drawings to Arrow tables and back, and reads and writes Arrow and Parquet files.

==============  ==================================================================================================
``drawing``     list of strokes, each a struct of ``x`` and ``y``: lists of uint8, as in Google's simplified files
``bitmap``      instead of ``drawing`` for bitmaps: 784 uint8, rows from the top, 0 is paper and 255 is ink
``word``        string: the class
``label``       int32: index of the class in the sorted list of all classes; -1 if it is not in the list
``key_id``      uint64, null where not given; this and the following only with ``drawing``
``recognized``  bool, null where not given
``countrycode`` string, null where not given
``timestamp``   timestamp in µs, UTC, null where not given
==============  ==================================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson
from numpy.typing import NDArray

from .._core import SIDE
from .._hints import needs
from ..bitmaps import AnyDrawings, Bitmaps
from ..drawings import COLUMNS, NO_TIMESTAMP, NOT_GIVEN, Drawings
from ..errors import DataError

with needs("convert"):
    import pyarrow as pa
    import pyarrow.ipc
    import pyarrow.parquet

_FIELDS = ("word", "countrycode", "timestamp", "recognized", "key_id", "drawing")
_ROWS = 1024  # that are Python objects at a time
_LINE = orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS


def to_arrow(drawings: AnyDrawings, classes: Sequence[str]) -> pa.Table:
    """The table described above. Coordinates are not copied."""
    return _columns_of(drawings, classes).replace_schema_metadata(_metadata(drawings, classes))


def _metadata(drawings: AnyDrawings, classes: Sequence[str]) -> dict[str, bytes]:
    """What Hugging Face's ``datasets`` reads: the type of each column, and the names of the labels."""
    number: dict[str, Any] = {"_type": "Sequence", "feature": _value("uint8")}
    features: dict[str, Any] = {"word": _value("string"), "label": {"names": list(classes), "_type": "ClassLabel"}}
    if isinstance(drawings, Bitmaps):
        features = {"bitmap": {**number, "length": SIDE * SIDE}, **features}
    else:
        features = {
            "drawing": [{"x": number, "y": number}],
            **features,
            "key_id": _value("uint64"),
            "recognized": _value("bool"),
            "countrycode": _value("string"),
            "timestamp": _value("timestamp[us, tz=UTC]"),
        }
    return {"huggingface": orjson.dumps({"info": {"features": features}})}


def _value(dtype: str) -> dict[str, str]:
    return {"dtype": dtype, "_type": "Value"}


def _columns_of(drawings: AnyDrawings, classes: Sequence[str]) -> pa.Table:
    codes = {name: code for code, name in enumerate(classes)}
    labels = np.array([codes.get(word, -1) for word in drawings.words], np.int32)[drawings.word_codes]
    classed = {"word": pa.array(drawings.words).take(pa.array(drawings.word_codes)), "label": pa.array(labels)}
    if isinstance(drawings, Bitmaps):
        pixels = pa.array(drawings.pixels.reshape(-1))
        return pa.table({"bitmap": pa.FixedSizeListArray.from_arrays(pixels, SIDE * SIDE), **classed})
    points = pa.array(drawings.stroke_offsets.astype(np.int32))
    x, y = (pa.ListArray.from_arrays(points, pa.array(values)) for values in (drawings.x, drawings.y))
    strokes = pa.StructArray.from_arrays([x, y], ["x", "y"])
    recognized, country, time = drawings.recognized, drawings.countrycode, drawings.timestamp
    return pa.table(
        {
            "drawing": pa.ListArray.from_arrays(pa.array(drawings.drawing_offsets.astype(np.int32)), strokes),
            **classed,
            "key_id": pa.array(drawings.key_id, mask=drawings.key_id == 0),
            "recognized": pa.array(recognized == 1, mask=recognized == NOT_GIVEN),
            "countrycode": pa.array(country, pa.binary(), mask=country == b"").cast(pa.string()),
            "timestamp": pa.array(time, pa.timestamp("us", "UTC"), mask=time == NO_TIMESTAMP),
        }
    )


def from_arrow(table: pa.Table) -> AnyDrawings:
    """The inverse of ``to_arrow``.

    Raises:
        DataError: a column is missing or invalid.
    """
    try:
        columns = {name: table.column(name).combine_chunks() for name in table.column_names}
        words = pa.chunked_array([columns["word"]]).dictionary_encode().combine_chunks()
        names = {"words": words.dictionary.to_pylist() or ("",), "word_codes": words.indices.to_numpy()}
        if "bitmap" in columns:
            return Bitmaps(columns["bitmap"].flatten().to_numpy().reshape(-1, SIDE, SIDE), **names)
        drawing_offsets, strokes = _list(columns["drawing"])
        stroke_offsets, x = _list(strokes.field("x"))
        y_offsets, y = _list(strokes.field("y"))
        if not np.array_equal(y_offsets, stroke_offsets):
            raise DataError("a stroke has different numbers of x and y")
        return Drawings(
            x.to_numpy(),
            y.to_numpy(),
            stroke_offsets,
            drawing_offsets,
            key_id=_filled(columns["key_id"], "key_id"),
            recognized=_filled(columns["recognized"].cast(pa.uint8()), "recognized"),
            countrycode=_filled(columns["countrycode"].cast(pa.binary()), "countrycode"),
            timestamp=_filled(columns["timestamp"].cast(pa.int64()), "timestamp"),
            **names,
        )
    except (pa.ArrowException, KeyError, AttributeError) as e:
        raise DataError(f"not a table of drawings: {e}") from e


def _list(array: pa.ListArray) -> tuple[NDArray[np.int64], Any]:
    """Offsets that start at 0, and the values that they refer to."""
    offsets = array.offsets.to_numpy().astype(np.int64)
    return offsets - offsets[0], array.values.slice(offsets[0], offsets[-1] - offsets[0])


def _filled(array: pa.Array, name: str) -> NDArray[Any]:
    dtype, missing = COLUMNS[name]
    return np.asarray(array.fill_null(missing).to_numpy(zero_copy_only=False), dtype)


def arrow_lines(file: IO[bytes], form: str, name: str) -> Iterator[bytes]:
    """The rows of a Parquet or Arrow file as lines of ndjson, some thousand at a time, in constant memory.

    Columns have the names of ndjson's fields. A drawing may be a list of strokes, each a struct of ``x`` and ``y`` or a
    list of lists, or the text of these.

    Raises:
        DataError: no column "drawing", or a damaged file.
    """
    try:
        batches = _parquet_batches(file, name) if form == "parquet" else _arrow_batches(file, name)
        for batch in batches:
            yield b"".join(map(_line, batch.to_pylist()))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as e:
        raise DataError(f"{name}: a damaged {form.capitalize()} file: {' '.join(str(e).split())}") from e


def _parquet_batches(file: IO[bytes], name: str) -> Iterator[pa.RecordBatch]:
    table = pa.parquet.ParquetFile(file)
    return iter(table.iter_batches(_ROWS, columns=_columns(table.schema_arrow, name)))


def _arrow_batches(file: IO[bytes], name: str) -> Iterator[pa.RecordBatch]:
    table = pa.ipc.open_file(pa.PythonFile(file, "r"))
    columns = _columns(table.schema, name)
    for i in range(table.num_record_batches):
        batch = table.get_batch(i).select(columns)
        for start in range(0, len(batch), _ROWS):
            yield batch.slice(start, _ROWS)


def _columns(schema: pa.Schema, name: str) -> list[str]:
    if "drawing" not in schema.names:
        found = ", ".join(schema.names)[:200]
        raise DataError(f"{name}: a table without a column 'drawing' (its columns: {found})")
    return [column for column in _FIELDS if column in schema.names]


def _line(row: dict[str, Any]) -> bytes:
    drawing = row["drawing"]
    if isinstance(drawing, list) and all(isinstance(stroke, dict) for stroke in drawing):
        row["drawing"] = [[stroke.get("x"), stroke.get("y")] for stroke in drawing]
    if isinstance(time := row.get("timestamp"), datetime):
        utc = time.astimezone(timezone.utc) if time.tzinfo else time
        row["timestamp"] = f"{utc:%Y-%m-%d %H:%M:%S.%f} UTC"
    if isinstance(row.get("key_id"), int):
        row["key_id"] = str(row["key_id"])
    return orjson.dumps({k: v for k, v in row.items() if v is not None}, default=str, option=_LINE)


def write_parquet(path: Path, drawings: AnyDrawings, classes: Sequence[str]) -> None:
    """Write a Parquet file, compressed with zstd."""
    pa.parquet.write_table(to_arrow(drawings, classes), path, compression="zstd")


def read_parquet(path: Path) -> AnyDrawings:
    """Read a Parquet file. Errors as for ``from_arrow``."""
    return from_arrow(pa.parquet.ParquetFile(path).read())


def write_arrow(path: Path, drawings: AnyDrawings, classes: Sequence[str]) -> None:
    """Write an Arrow IPC file, uncompressed, so that it can be memory-mapped."""
    table = to_arrow(drawings, classes)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def read_arrow(path: Path) -> AnyDrawings:
    """Map an Arrow IPC file. Errors as for ``from_arrow``."""
    with pa.memory_map(str(path)) as file:
        return from_arrow(pa.ipc.open_file(file).read_all())
