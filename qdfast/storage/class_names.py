"""The class that the name of a file stands for."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import PurePosixPath
from urllib.parse import unquote

_FORMATS = "ndjson jsonl json csv tsv txt bin npy npz tfrecord tfrecords parquet arrow png"
_PACKED = "gz gzip bz2 xz zst zstd zip tar tgz tbz2 txz"
_SUFFIX = re.compile(rf"\.(?:{'|'.join(f'{_FORMATS} {_PACKED}'.split())})$", re.IGNORECASE)
_VERSION = re.compile(rf"(?P<kept>{_SUFFIX.pattern[:-1]})(?P<gone>\?.*|\.\d+)$", re.IGNORECASE | re.DOTALL)
_OTHER_SUFFIX = re.compile(r"\.(?=[^.]*[A-Za-z])[A-Za-z0-9]{1,8}$")
_PREFIX = re.compile(r"^(?:quickdraw_dataset_)?(?:full_(?:simplified|raw|binary|numpy_bitmap)|sketchrnn)_(?=.)", re.I)
_COPY = re.compile(
    r"""(?<=.)(?:
    \s*\(\d{1,3}\)                                       # Chrome, Firefox, Windows:  cat (1)  cat(1)
    | \s+-\s+copy                                        # Windows:  cat - Copy
    | \s+copy(?:\s+\d{1,3})?                             # macOS:  cat copy  cat copy 2
    | \s+\((?:another\s+|\d+(?:st|nd|rd|th)\s+)?copy\)   # GNOME:  cat (copy)  cat (3rd copy)
    )$""",
    re.IGNORECASE | re.VERBOSE,
)
_PLAIN = re.compile(r"([a-z0-9](?:[a-z0-9 -]*[a-z0-9])?)\.(?:ndjson|npy)")  # most names: there is nothing to remove
_COPY_OF = re.compile(r"^copy of\s+(?=\S)", re.IGNORECASE)  # Google Drive


def label_of(path: str | os.PathLike[str]) -> str:
    """The class that a file's name stands for, as its owner means it.

    1. The last part of the path counts. Percent-encoding is decoded first: ``full%2Fsimplified%2Fcat`` is a path. So is
       ``full\\simplified\\cat``, as in zip archives made by Windows.
    2. Suffixes of formats and of compression are removed in either case, as many as there are: ``.JSONL.gz``. Without
       any, another suffix of letters and digits is removed, once.
    3. What browsers, file managers and wget add to a copy is removed: ``cat (1)``, ``cat - Copy``, ``cat.ndjson.1``.
       ``is_copy`` tells whether there was any.
    4. The prefixes of Google's buckets are removed in either case: ``full_simplified_``, ``full_raw_``,
       ``full_binary_``, ``full_numpy_bitmap_``, ``sketchrnn_``; and ``.full`` of sketch-rnn's ``.npz`` files.
    5. Spaces around are removed, and Unicode is normalized (NFC). Nothing else changes: case, dots, digits, hyphens and
       underscores belong to the class.

    >>> label_of("data/cat.ndjson.gz"), label_of("full_numpy_bitmap_cat.npy"), label_of("t-shirt (1).ndjson")
    ('cat', 'cat', 't-shirt')
    >>> label_of("full%2Fsimplified%2FThe%20Eiffel%20Tower.ndjson"), label_of("sketchrnn_cat.full.npz")
    ('The Eiffel Tower', 'cat')
    """
    return _parse(path)[0]


def is_copy(path: str | os.PathLike[str]) -> bool:
    """Whether the file's name is one that a program gives to a copy.

    >>> is_copy("cat (1).ndjson"), is_copy("cat.ndjson")
    (True, False)
    """
    return _parse(path)[1]


def _parse(path: str | os.PathLike[str]) -> tuple[str, bool]:
    """The class, and whether the name is that of a copy."""
    base = os.path.basename(os.fspath(path))  # noqa: PTH119
    if (plain := _PLAIN.fullmatch(base)) and "copy" not in base:
        return plain[1], False
    whole = PurePosixPath(_decoded(PurePosixPath(path).name).replace("\\", "/")).name.strip()
    name, copy = whole, False
    if added := _VERSION.search(name):
        name, copy = name[: added.start("gone")], added["gone"][0] == "."
    known, sketch_rnn = False, False
    while True:
        if found := _SUFFIX.search(name):
            known, sketch_rnn = True, found[0].lower() == ".npz"
        elif found := _COPY.search(name):
            copy = True
        else:
            break
        if not (shorter := name[: found.start()].rstrip()):
            break
        name = shorter
    if sketch_rnn:
        name = re.sub(r"(?<=.)\.full$", "", name)
    if not known and (shorter := _OTHER_SUFFIX.sub("", name)):
        name = shorter
        while (shorter := _COPY.sub("", name)) != name:
            name, copy = shorter, True
    if found := _COPY_OF.search(name):
        name, copy = name[found.end() :], True
    return unicodedata.normalize("NFC", _PREFIX.sub("", name).strip()), copy


def _decoded(name: str) -> str:
    """``name`` without percent-encoding, of whatever depth. Text that is not encoded UTF-8 stays as it is."""
    try:
        while (decoded := unquote(name, errors="strict")) != name:
            name = decoded
    except UnicodeDecodeError:
        pass
    return name
