"""Other parsers of these files, each as a function from ndjson bytes to flat columns.

``Flat`` holds x, y, stroke_offsets and drawing_offsets like ``qdfast.Drawings``, so that results can be compared.
Libraries that are not installed are skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

HERE = Path(__file__).parent


class Flat(NamedTuple):
    x: Any
    y: Any
    stroke_offsets: Any
    drawing_offsets: Any

    def equals(self, other: Any) -> bool:
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in self._fields)


def from_lists(drawings: Iterable[Any]) -> Flat:
    """Flat columns of drawings as nested lists."""
    drawings = list(drawings)
    strokes = list(chain.from_iterable(drawings))
    x = np.fromiter(chain.from_iterable(s[0] for s in strokes), np.uint8)
    y = np.fromiter(chain.from_iterable(s[1] for s in strokes), np.uint8)
    stroke_offsets = np.cumsum(np.fromiter(chain([0], (len(s[0]) for s in strokes)), np.int64))
    return Flat(x, y, stroke_offsets, np.cumsum(np.fromiter(chain([0], map(len, drawings)), np.int64)))


def from_arrow(drawings: Any) -> Flat:
    """Flat columns of an Arrow column list<list<list<uint8>>>, without a Python object per drawing."""
    lists = drawings.values.values
    lengths = np.diff(lists.offsets.to_numpy())
    is_x = np.repeat(np.arange(len(lengths)) % 2 == 0, lengths)
    values = lists.values.to_numpy()
    stroke_offsets = np.concatenate([[0], np.cumsum(lengths[::2])])
    return Flat(values[is_x], values[~is_x], stroke_offsets, drawings.offsets.to_numpy())


def with_json(data: bytes) -> Flat:
    return from_lists(json.loads(line)["drawing"] for line in data.splitlines())


def with_orjson(data: bytes) -> Flat:
    return from_lists(orjson.loads(line)["drawing"] for line in data.splitlines())


def orjson_alone(data: bytes) -> None:
    for line in data.splitlines():
        orjson.loads(line)


def _msgspec() -> Callable[[bytes], Flat]:
    msgspec = import_module("msgspec")
    line = msgspec.defstruct("Line", [("drawing", list[tuple[list[int], list[int]]])])
    decoder = msgspec.json.Decoder(line)
    return lambda data: from_lists(found.drawing for found in decoder.decode_lines(data))


def _pysimdjson() -> Callable[[bytes], Flat]:
    parser = import_module("simdjson").Parser()
    return lambda data: from_lists(parser.parse(line)["drawing"].as_list() for line in data.splitlines())


def _pyarrow() -> Callable[[bytes], Flat]:
    pa, reader = import_module("pyarrow"), import_module("pyarrow.json")
    drawing = pa.list_(pa.list_(pa.list_(pa.uint8())))
    parse = reader.ParseOptions(pa.schema([("drawing", drawing)]), unexpected_field_behavior="ignore")
    read = reader.ReadOptions(use_threads=False)

    def run(data: bytes) -> Flat:
        table = reader.read_json(pa.BufferReader(data), read, parse)
        return from_arrow(table["drawing"].combine_chunks())

    return run


def _polars() -> Callable[[bytes], Flat]:
    os.environ["POLARS_MAX_THREADS"] = "1"
    pl = import_module("polars")
    schema = {"drawing": pl.List(pl.List(pl.List(pl.UInt8)))}

    def run(data: bytes) -> Flat:
        drawings = pl.read_ndjson(data, schema=schema)["drawing"].to_arrow()
        return from_arrow(drawings)

    return run


def _duckdb() -> Callable[[bytes], Flat]:
    connection = import_module("duckdb").connect(config={"threads": 1})
    import_module("pyarrow")
    query = "SELECT drawing FROM read_json(?, format='newline_delimited', columns={drawing: 'UTINYINT[][][]'})"
    folder = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
    path = Path(folder.name, "drawings.ndjson")

    def run(data: bytes) -> Flat:
        if not path.exists() or path.stat().st_size != len(
            data
        ):  # DuckDB reads files only; written during the check, so not timed
            path.write_bytes(data)
        found = connection.sql(query, params=[str(path)])
        table = found.to_arrow_table() if hasattr(found, "to_arrow_table") else found.arrow()
        return from_arrow(table["drawing"].combine_chunks())

    run.folder = folder  # type: ignore[attr-defined]  # keeps the directory as long as the function
    return run


LIBRARIES: dict[str, Callable[[], Callable[[bytes], Flat]]] = {
    "msgspec, typed": _msgspec,
    "pysimdjson": _pysimdjson,
    "pyarrow": _pyarrow,
    "polars": _polars,
    "DuckDB": _duckdb,
}


def libraries() -> dict[str, Callable[[bytes], Flat]]:
    """The parsers whose libraries are installed."""
    found = {}
    for name, make in LIBRARIES.items():
        try:
            found[name] = make()
        except ImportError as e:
            print(f"{name} skipped: {e}")
    return found


class SimdjsonOnDemand:
    """simdjson's C++ On-Demand, compiled here from simdjson_ondemand.cpp; the program times itself."""

    name = "simdjson C++ On-Demand"

    def __init__(self, data: bytes) -> None:
        self.folder = tempfile.TemporaryDirectory()
        program, self.source = Path(self.folder.name, "ondemand"), Path(self.folder.name, "data.ndjson")
        compiler = shutil.which("c++") or "c++"
        command = [compiler, "-O3", "-march=native", "-std=c++17", str(HERE / "simdjson_ondemand.cpp"), "-lsimdjson"]
        done = subprocess.run([*command, "-o", str(program)], capture_output=True, text=True)
        if done.returncode:
            raise ImportError(done.stderr.splitlines()[0] if done.stderr else "no C++ compiler")
        self.program = program
        self.source.write_bytes(data)

    def columns(self) -> Flat:
        out = Path(self.folder.name, "columns")
        subprocess.run([self.program, self.source, "0", out], check=True)
        return Flat(*(np.fromfile(f"{out}.{n}", t) for n, t in (("x", "u1"), ("y", "u1"), ("s", "<i8"), ("d", "<i8"))))

    def seconds(self) -> float:
        """Of one round, after one that warms up."""
        done = subprocess.run([self.program, self.source, "1"], capture_output=True, text=True, check=True)
        return float(done.stdout)
