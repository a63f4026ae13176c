"""Makes files of drawings in the forms that people have, from lines of ndjson. Nothing of qdfast is used."""

from __future__ import annotations

import bz2
import calendar
import csv
import gzip
import io
import json
import lzma
import random
import struct
import tarfile
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Fields = dict[str, Any]
EVERYTHING = ("x", "y", "stroke_offsets", "drawing_offsets", "key_id", "recognized", "countrycode", "timestamp", "word")
SHAPES = EVERYTHING[:4]
"""Columns of ``Drawings`` that a form carries."""


def fields_of(lines: bytes) -> list[Fields]:
    """The objects of ndjson."""
    return [json.loads(line) for line in lines.splitlines()]


def kaggle(
    lines: bytes, columns: str = "countrycode,drawing,key_id,recognized,timestamp,word", **options: Any
) -> bytes:
    """A table as in Kaggle's doodle challenge."""
    out = io.StringIO(newline="")
    table = csv.writer(out, lineterminator="\n", **options)
    table.writerow(names := columns.split(","))
    for fields in fields_of(lines):
        cells = {
            **fields,
            "drawing": json.dumps(fields["drawing"]),
            "timestamp": fields["timestamp"].removesuffix(" UTC"),
        }
        table.writerow([cells[name] for name in names])
    return out.getvalue().encode()


def google_binary(lines: bytes) -> bytes:
    """Google's binary format."""
    out = []
    for fields in fields_of(lines):
        seconds = calendar.timegm(time.strptime(fields["timestamp"][:19], "%Y-%m-%d %H:%M:%S"))
        country, strokes = fields["countrycode"].encode(), fields["drawing"]
        out.append(struct.pack("<Q2sbIH", int(fields["key_id"]), country, fields["recognized"], seconds, len(strokes)))
        out += [struct.pack("<H", len(x)) + bytes(x) + bytes(y) for x, y in strokes]
    return b"".join(out)


def steps_of(fields: Fields) -> np.ndarray:
    """The steps of a drawing, as sketch-rnn has them."""
    rows = [
        (x, y, i == len(xs) - 1) for xs, ys in fields["drawing"] for i, (x, y) in enumerate(zip(xs, ys, strict=True))
    ]
    points = np.array(rows, np.int16)
    return np.concatenate([np.diff(points[:, :2], axis=0), points[1:, 2:]], 1).astype(np.int16)


def sketch_rnn(lines: bytes, valid: int = 5, test: int = 5) -> bytes:
    """A .npz of sketch-rnn."""
    every = [steps_of(fields) for fields in fields_of(lines)]
    train = len(every) - valid - test
    arrays = {"train": every[:train], "valid": every[train : train + valid], "test": every[train + valid :]}
    out = io.BytesIO()
    objects: dict[str, Any] = {name: np.array([*found, None], object)[:-1] for name, found in arrays.items()}
    np.savez_compressed(out, **objects)
    return out.getvalue()


def zipped(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(files: Mapping[str, bytes], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def json_array(lines: bytes, **options: Any) -> bytes:
    return json.dumps(fields_of(lines), **options).encode()


Make = Callable[[bytes], bytes]

FORMS: dict[str, Make] = {
    "cat.ndjson": lambda lines: lines,
    "cat.JSONL": lambda lines: lines,
    "cat.jsonl.gz": gzip.compress,
    "cat.ndjson.GZ": gzip.compress,
    "cat.ndjson.bz2": bz2.compress,
    "cat.json.xz": lzma.compress,
    "cat.ndjson.lzma": lambda lines: lzma.compress(lines, format=lzma.FORMAT_ALONE),
    "cat.ndjson.gz.bz2": lambda lines: bz2.compress(gzip.compress(lines)),
    "cat.json": json_array,
    "cat.compact.json": lambda lines: json_array(lines, separators=(",", ":")),
    "cat.pretty.json": lambda lines: json_array(lines, indent=2),
    "cat.lines.json": lambda lines: b"[\n" + lines.rstrip(b"\n").replace(b"\n", b",\n") + b"\n]\n",
    "cat.commas.ndjson": lambda lines: lines.replace(b"\n", b",\n"),
    "cat.objects.ndjson": lambda lines: "\n".join(json.dumps(f, indent=1) for f in fields_of(lines)).encode(),
    "cat.array.bom.json": lambda lines: b"\xef\xbb\xbf" + json_array(lines),
    "cat.utf16.ndjson": lambda lines: lines.decode().encode("utf-16"),
    "cat.utf16be.ndjson": lambda lines: lines.decode().encode("utf-16-be"),
    "cat.utf32.json": lambda lines: json_array(lines).decode().encode("utf-32"),
    "cat.csv": kaggle,
    "cat.CSV.gz": lambda lines: gzip.compress(kaggle(lines)),
    "cat.semicolons.csv": lambda lines: kaggle(lines, delimiter=";"),
    "cat.tsv": lambda lines: kaggle(lines, "drawing,word,timestamp,key_id,countrycode,recognized", delimiter="\t"),
    "cat.quoted.csv": lambda lines: b"\xef\xbb\xbf" + kaggle(lines, quoting=csv.QUOTE_ALL).replace(b"\n", b"\r\n"),
    "cat.tar": lambda lines: tarred({"a/b/cat.ndjson": lines}),
    "cat.tgz": lambda lines: tarred({"cat.ndjson.gz": gzip.compress(lines)}, "w:gz"),
    "cat.tar.xz": lambda lines: tarred({"cat.csv": kaggle(lines)}, "w:xz"),
    "cat.zip": lambda lines: zipped({"a/cat.json": json_array(lines)}),
}
"""All columns of drawings in each form: file name -> what makes its bytes of lines."""

BINARY: dict[str, Make] = {
    "full_binary_cat.bin": google_binary,
    "cat.bin.gz": lambda lines: gzip.compress(google_binary(lines)),
    "cat.zip": lambda lines: zipped({"cat.bin": google_binary(lines)}),
}
SKETCH_RNN: dict[str, Make] = {
    "sketchrnn_cat.npz": sketch_rnn,
    "cat.npz.gz": lambda lines: gzip.compress(sketch_rnn(lines)),
    "cat.tar.gz": lambda lines: tarred({"cat.full.npz": sketch_rnn(lines)}, "w:gz"),
}


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The bytes with one to eight changes: of a byte, cut out, repeated or cut off. Never empty."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(out) or 1)
        match rng.randrange(5):
            case 0:
                out[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                out[at : at + 1] = bytes([(out[at] if out else 0) ^ 1 << rng.randrange(8)])
            case 2:
                del out[at : at + rng.randrange(1, 40)]
            case 3:
                out[at:at] = out[: rng.randrange(60)]
            case _:
                del out[at:]
    return bytes(out) or b"x"


def write(directory: Path, name: str, data: bytes) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_bytes(data)
    return directory / name
