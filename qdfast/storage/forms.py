"""Tells what a file is by its first bytes, and by its name only where they leave it open."""

from __future__ import annotations

import csv
import os
import re
import zlib
from contextlib import suppress
from typing import Literal, TypeAlias, cast, get_args

from .._core import JsonLines
from .names import BITMAP_SUFFIX

HEAD = 1 << 16  # bytes that `identify` looks at: a whole first line, and a whole record of a binary file

Compression: TypeAlias = Literal["gzip", "bz2", "xz", "zstd"]
Encoding: TypeAlias = Literal["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
Form: TypeAlias = Literal[
    "ndjson", "json", "csv", "binary", "npz", "npy", "parquet", "arrow", "picture", "tar", "zip", "gzip", "bz2", "xz",
    "zstd", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "empty", "text", "refused"
]  # fmt: skip
"""What a file is.

``json`` is a JSON array of drawings, or objects that follow each other, pretty-printed or with commas between them.
``binary`` is Google's binary format, ``npz`` sketch-rnn's. ``text`` is some text, ``refused`` all that qdfast does not
read: ``refusal`` says why.
"""

COMPRESSIONS: tuple[str, ...] = get_args(Compression)
ENCODINGS: tuple[str, ...] = get_args(Encoding)
ARCHIVES = ("tar", "zip")
BITMAPS = ("npy", "picture")
EXTRAS: dict[Form, str] = {"parquet": "convert", "arrow": "convert", "picture": "pictures"}
"""The extra of qdfast that reads a form."""

LINES = ("ndjson", "json", "csv", "npz", "parquet", "arrow")  # read as lines of ndjson
STROKES = (*LINES, "binary")

REREAD = (*COMPRESSIONS, *ENCODINGS, *ARCHIVES, "json", "csv", "npz", "npy", "parquet", "arrow", "binary")
"""Forms that bytes in memory can be told to have for certain."""

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp")
COMPRESSED_SUFFIXES = (".gz", ".bz2", ".xz", ".lzma", ".zst")
ARCHIVE_SUFFIXES = (".tar", ".tgz", ".tbz", ".tbz2", ".txz", ".tzst", ".zip")
TEXT_SUFFIXES = (".ndjson", ".jsonl", ".json", ".csv", ".tsv")
SUFFIXES = (
    *TEXT_SUFFIXES, ".bin", ".npz", BITMAP_SUFFIX, ".parquet", ".arrow", ".feather", *PICTURE_SUFFIXES,
    *ARCHIVE_SUFFIXES,
)  # fmt: skip
"""Of files that may hold drawings, in lower case, without those of a compression."""

_BY_SUFFIX: dict[str, Form] = {BITMAP_SUFFIX: "npy", ".csv": "csv", ".tsv": "csv", ".bin": "binary"}

_BZIP2 = re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)")
_SHORTEST = 22  # bytes of a file of one of these forms: an empty zip archive; less may be lines of any kind
_MAGIC: tuple[tuple[bytes, Form], ...] = (
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x93NUMPY", "npy"),
    (b"PAR1", "parquet"),
    (b"ARROW1\0", "arrow"),
    (b"\x89PNG\r\n\x1a\n", "picture"),
    (b"\xff\xd8\xff", "picture"),
    (b"GIF8", "picture"),
    (b"II*\0", "picture"),
    (b"MM\0*", "picture"),
    (b"PK\x05\x06", "zip"),  # without members
)

_UNPACK = "unpack it and name the files in it"
_REFUSED = (
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer, not the file itself: run `git lfs pull`"),
    (b"/annex/objects/", "a git-annex pointer, not the file itself: run `git annex get`"),
    (b"7z\xbc\xaf\x27\x1c", f"a 7z archive: {_UNPACK}"),
    (b"Rar!\x1a\x07", f"a RAR archive: {_UNPACK}"),
    (b"\x1f\x9d", "compressed by `compress`: uncompress it"),
    (b"\x04\x22\x4d\x18", "compressed by lz4: uncompress it"),
    (b"%PDF-", "a PDF document, not drawings"),
    (b"SQLite format 3\0", "an SQLite database: export the drawings as ndjson or CSV"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file: export the drawings as ndjson"),
    (b"FEA1", "an old Feather file: save it as Arrow or Parquet"),
    (b"\x00\x05\x16\x07", "macOS' notes on another file, not drawings: delete it"),
    (b"\x7fELF", "a program: no drawings"),
    (b"<", "an HTML or XML page, not drawings: probably a saved error message; download the file again"),
)
_SKETCH_RNN = (b"train.npy", b"valid.npy", b"test.npy")
_OFFICE = (b"[Content_Types].xml", b"_rels/", b"xl/", b"word/", b"mimetype", b"docProps/")
_PICKLE = "a Python pickle, which can run any code when it is opened: write the drawings as ndjson instead"
_BOM = b"\xef\xbb\xbf"
_SPACE = b" \t\r\n"
_ARRAY = re.compile(rb"\s*\[\s*(\{|\]\s*\Z)")
_PRETTY = re.compile(rb'\s*\{[ \t\r]*\n\s*"')
_NEXT = re.compile(rb"\}[ \t\r,]+\{")
_DELIMITERS = ",;\t|"


def identify(head: bytes, name: str | os.PathLike[str] = "") -> Form:
    """What a file is.

    Args:
        head: its first ``HEAD`` bytes, all if it has fewer.
        name: its name.

    >>> identify(b'{"word":"cat","drawing":[[[0,9],[4,4]]]}'), identify(b"<html>"), identify(b"", "cat.npy")
    ('ndjson', 'refused', 'npy')
    """
    if starts_with_object(head, name):
        return _objects(head)
    if _suffix(name) == ".bin" and looks_like_records(head, certain=False):
        return "binary"  # whatever the first key_id looks like
    if not head:
        return _BY_SUFFIX.get(_suffix(name), "empty")
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    if _BZIP2.match(head):
        return "bz2"
    if len(head) >= _SHORTEST:
        for magic, form in _MAGIC:
            if head.startswith(magic):
                return form
        if head.startswith(b"PK\x03\x04"):
            return _zip(head)
    if (head.startswith(b"RIFF") and head[8:12] == b"WEBP") or (head.startswith(b"BM") and head[6:10] == bytes(4)):
        return "picture"
    if os.fspath(name).lower().endswith(".lzma") and head.startswith(b"\x5d\0\0"):
        return "xz"
    if encoding := _encoding(head):
        return encoding
    if refusal(head, name, unknown=""):
        return "refused"
    if _is_tar(head):
        return "tar"
    text = head.removeprefix(_BOM).lstrip(_SPACE)
    if not text:
        return _BY_SUFFIX.get(_suffix(name), "ndjson")
    if text.startswith(b"{"):
        return _objects(text)
    if _ARRAY.match(text):
        return "json"
    if has_drawing_column(head):
        return "csv"
    return _otherwise(head, name)


def starts_with_object(head: bytes, name: str | os.PathLike[str]) -> bool:
    """Whether a file is certainly text that starts with an object, as lines of ndjson do."""
    return head[:1] == b"{" and head[1:2] != b"\0" and ".bin" not in os.fspath(name).lower()


def _objects(head: bytes) -> Form:
    """Lines of objects, or objects in another layout."""
    if _PRETTY.match(head):
        return "json"
    end = head.find(b"\n")
    if end < 0:
        return "json" if _NEXT.search(head) and _several(head) else "ndjson"
    return "json" if head[:end].rstrip(_SPACE).endswith(b"},") else "ndjson"


def _several(line: bytes) -> bool:
    """Whether objects follow each other on one line, or in lines that end as on old Macs."""
    objects = bytearray(line)
    JsonLines().feed(objects)
    return b"\n" in objects.rstrip()


def _otherwise(head: bytes, name: str | os.PathLike[str]) -> Form:
    """What the bytes alone do not tell."""
    suffix = _suffix(name)
    if is_text(head):
        if b"\n{" in head:
            return "ndjson"  # whose first line is invalid
        if suffix in (".ndjson", ".jsonl") and head.count(b"\n") < 10:
            return "ndjson"  # of which these few lines may be invalid
        return "text" if suffix == ".bin" else _BY_SUFFIX.get(suffix, "text")
    if suffix in (BITMAP_SUFFIX, ".bin"):
        return _BY_SUFFIX[suffix]
    return "binary" if looks_like_records(head) else "refused"


def _suffix(name: str | os.PathLike[str]) -> str:
    """The last suffix that is not that of a compression, in lower case."""
    base, suffix = os.path.splitext(os.fspath(name).lower())  # noqa: PTH122 - the name may be that of a stream
    while suffix in COMPRESSED_SUFFIXES:
        base, suffix = os.path.splitext(base)  # noqa: PTH122
    return suffix


def is_text(head: bytes) -> bool:
    """Whether these are the first bytes of a text in UTF-8, without control characters."""
    try:
        text = head.decode()
    except UnicodeDecodeError as e:
        if e.start < len(head) - 3 or e.reason != "unexpected end of data":
            return False
        text = head[: e.start].decode()
    return not any(ord(c) < 32 and c not in "\t\n\r\f" for c in text)


def looks_like_records(head: bytes, certain: bool = True) -> bool:
    """Whether these are the first records of a file in Google's binary format: two of them, or the only one.

    Unless ``certain``, any record that qdfast writes counts; else those that Google does.
    """
    at = records = 0
    while len(head) - at >= 17 and records < 2:
        key_id, country, recognized = head[at : at + 8], head[at + 8 : at + 10], head[at + 10]
        strokes = int.from_bytes(head[at + 15 : at + 17], "little")
        if recognized > 2 or not country.isascii() or not strokes:
            return False
        if certain and (recognized > 1 or not any(key_id) or not (country.isalpha() or country == b"\0\0")):
            return False
        at += 17
        for _ in range(strokes):
            at += 2 + 2 * int.from_bytes(head[at : at + 2], "little")
            if at > len(head):
                return records > 0 or len(head) == HEAD
        records += 1
    return records > 0


def table_header(head: bytes) -> tuple[list[str], str]:
    """The names of a table's columns, in lower case, and what separates its cells."""
    line = re.split(rb"[\r\n]", head.removeprefix(_BOM), maxsplit=1)[0].decode("latin-1")
    delimiter = max(_DELIMITERS, key=line.count)
    try:
        columns = next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        columns = []
    return [column.strip().lower() for column in columns], delimiter


def has_drawing_column(head: bytes) -> bool:
    """Whether the first line is the header of a table with a column "drawing"."""
    return "drawing" in table_header(head)[0]


def _first_member(head: bytes) -> bytes:
    return head[30 : 30 + int.from_bytes(head[26:28], "little")]


def _zip(head: bytes) -> Form:
    first = _first_member(head)
    if first in _SKETCH_RNN and not _is_bitmaps(head):
        return "npz"  # any other .npz is an archive of .npy files
    return "refused" if first.startswith(_OFFICE) else "zip"


def _is_bitmaps(head: bytes) -> bool:
    """Whether the first member of a zip archive is an array of bytes: Google has a class "train"."""
    start = head[30 + sum(int.from_bytes(head[at : at + 2], "little") for at in (26, 28)) :]
    if head[8:10] == b"\x08\0":
        with suppress(zlib.error):
            start = zlib.decompressobj(-15).decompress(start, 256)
    return b"'|u1'" in start[:256]


def _is_tar(head: bytes) -> bool:
    if len(head) < 512:
        return False
    import tarfile

    try:
        tarfile.TarInfo.frombuf(head[:512], "utf-8", "surrogateescape")  # checks a checksum
    except tarfile.HeaderError:
        return False
    return True


def _encoding(head: bytes) -> Encoding | None:
    marked: tuple[tuple[tuple[bytes, bytes], Encoding], ...] = (
        ((b"\xff\xfe\0\0", b"\0\0\xfe\xff"), "utf-32"),
        ((b"\xff\xfe", b"\xfe\xff"), "utf-16"),
    )
    for marks, encoding in marked:
        if head.startswith(marks):
            start = head[: 64 if len(head) >= 64 else len(head) // 4 * 4].decode(encoding, "replace")
            return encoding if len(start) > 3 and is_text(start.encode(errors="replace")) else None
    for size, low, name in ((2, 0, "utf-16-le"), (2, 1, "utf-16-be"), (4, 0, "utf-32-le"), (4, 3, "utf-32-be")):
        first = head[: 16 * size]
        chars = first[low::size]
        if len(chars) > 7 and first.count(0) == len(first) - len(chars) and is_text(chars) and chars.strip():
            return cast(Encoding, name)
    return None


def has_known_suffix(name: str | os.PathLike[str]) -> bool:
    """Whether a file of this name may hold drawings."""
    return _suffix(name) in SUFFIXES or os.fspath(name).lower().endswith(COMPRESSED_SUFFIXES)


def is_certain(name: str | os.PathLike[str]) -> bool:
    """Whether a file of this name is meant as drawings. Others may be anything: .json, .csv, .bin, .zip."""
    return _suffix(name) in (".ndjson", ".jsonl", BITMAP_SUFFIX)


def holds_drawings(form: Form, head: bytes, name: str | os.PathLike[str]) -> bool:
    """Whether a file whose name does not tell holds drawings, as far as its first bytes do."""
    if form in ("ndjson", "json"):
        return b'"drawing"' in head
    if form == "csv":
        return has_drawing_column(head)
    if form == "binary":
        return looks_like_records(head)
    return form in (*STROKES, *BITMAPS, *ARCHIVES)


def known_refusal(head: bytes, name: str | os.PathLike[str]) -> str:
    """Why a file is certainly of a format that is not read; "" if it may be lines of any kind."""
    return refusal(head, name, unknown="") if len(head) >= 64 and identify(head, name) == "refused" else ""


def refusal(head: bytes, name: str | os.PathLike[str] = "", unknown: str = "data of an unknown format") -> str:
    """Why a file is refused, and what to do. ``unknown`` if only its whole content is unknown.

    >>> refusal(b"%PDF-1.7")
    'a PDF document, not drawings'
    """
    text = head.removeprefix(_BOM).lstrip(_SPACE)
    for magic, why in _REFUSED:
        if (text if magic == b"<" else head).startswith(magic):
            return why
    if head.startswith(b"PK\x03\x04"):
        return "an office document: save the table as CSV" if _zip(head) == "refused" else ""
    if head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5") and head[2:3] in b"\x95cK](})X\x8c\x8aJNCU":
        return _PICKLE
    if _suffix(name) in (".pkl", ".pickle", ".pt", ".pth") and not is_text(head):
        return _PICKLE
    if _suffix(name) == ".tfrecord" and not is_text(head):
        return "a TFRecord file: `qdfast convert` reads directories of these that it has written"
    return unknown
